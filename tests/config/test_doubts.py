"""What `check` warns of: secrets in the file, variables without braces, ids of another kind, values of an example."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dcbridge.config.loader import parse
from dcbridge.settings.problems import ConfigurationError, Problem

ENVIRONMENT = {
    "APP_SECRET": "f3b1c7e09a5d42861",
    "OTHER_SECRET": "0a5d42861f3b1c7e9",
    "TWILIO_TOKEN": "9d1b3f5a7c0e2846",
    "PASSWORD": "correct-horse-42",
    "HOST": "mail.example.com",
}
GOOD = """\
public_url: https://bridge.example.com
digital_channels:
  base_url: https://digital.example.com/nexus/v3
  contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11
endpoints:
  main: {secrets: ["${APP_SECRET}"]}
providers:
  co:
    kind: twilio
    account_sid: AC0123456789abcdef0123456789abcdef
    auth_token: ${TWILIO_TOKEN}
  post:
    kind: smtp
    host: mail.example.com
    username: bridge
    password: ${PASSWORD}
channels:
  "0123456789": {type: sms, provider: co, number: "+15557650123", endpoint: main}
  company.com: {type: email, provider: post, endpoint: main}
"""
CLEAR = "3e5a7c9b1d0f2846"  # a secret of nobody's


def warnings(*edits: str) -> list[str]:
    """What is said of GOOD with each "old → new" done; "⏎" is a line end."""
    text = GOOD
    for edit in edits:
        old, new = (part.replace("⏎", "\n") for part in edit.split(" → "))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    told = [str(one) for one in parse(text, ENVIRONMENT).warnings]
    assert CLEAR not in "".join(told)
    return told


def test_nothing_is_said_of_the_good_one() -> None:
    assert warnings() == []


IN_FILE = (
    "is a secret in the file itself, so everybody who can read the file has it; write ${NAME} for a variable"
    " of the environment, or file:/path for a file of its own"
)
EXAMPLE = "looks like an example or a placeholder; write the value that is meant"
KIND = "is no account SID of Twilio: that is AC and 32 hex digits"
HEX = "0123456789abcdef0123456789abcdef"
PASSWORD_SEEN = "is false: a server in between can read the password; set it to true"
TABLE = [
    # secrets in the file
    ('["${APP_SECRET}"] → [' + CLEAR + "]", f"6: endpoints.main.secrets[0]: {IN_FILE}"),
    (
        '["${APP_SECRET}"]} → ["${APP_SECRET}"], retired_secrets: [' + CLEAR + "]}",
        f"6: endpoints.main.retired_secrets[0]: {IN_FILE}",
    ),
    ("${TWILIO_TOKEN} → " + CLEAR, f"11: providers.co.auth_token: {IN_FILE}"),
    (
        "    auth_token: → ⏎    previous_auth_tokens: [" + CLEAR + "]⏎    auth_token:",
        f"12: providers.co.previous_auth_tokens[0]: {IN_FILE}",
    ),
    (
        "    auth_token: →     signing_keys: {CR1: " + CLEAR + "}⏎    auth_token:",
        f"11: providers.co.signing_keys.CR1: {IN_FILE}",
    ),
    ("${PASSWORD} → " + CLEAR, f"16: providers.post.password: {IN_FILE}"),
    (
        "    password: →     callback_secret: " + CLEAR + "⏎    password:",
        f"16: providers.post.callback_secret[0]: {IN_FILE}",
    ),
    ("  contact_center_id →   api_key: " + CLEAR + "⏎  contact_center_id", f"4: digital_channels.api_key: {IN_FILE}"),
    # variables without braces
    (
        "${PASSWORD} → $SECRET_OF_MAIL",
        "16: providers.post.password: begins with $ and has no braces: it stands for itself,"
        " and for no variable; write ${NAME} where a variable is meant",
    ),
    (
        "host: mail.example.com → host: a.$HOST",
        "14: providers.post.host: has $HOST in it, without braces: it stands for itself; write ${HOST}",
    ),
    # placeholders
    ("${PASSWORD} → <password>", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → changeme", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → CHANGE_ME_NOW", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → your-password", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → password123", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → xxxxxxxx", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → '{{ password }}'", f"16: providers.post.password: {EXAMPLE}"),
    ("${PASSWORD} → $(PASSWORD)", f"16: providers.post.password: {EXAMPLE}"),
    ("host: mail.example.com → host: your-mail-host", f"14: providers.post.host: {EXAMPLE}"),
    ("username: bridge → username: TBD", f"15: providers.post.username: {EXAMPLE}"),
    ("username: bridge → username: <user>", f"15: providers.post.username: {EXAMPLE}"),
    (
        "5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11 → 00000000-0000-0000-0000-000000000000",
        f"4: digital_channels.contact_center_id: {EXAMPLE}",
    ),
    # an id of another kind
    (f"sid: AC{HEX} → sid: AC1", f"10: providers.co.account_sid: {KIND}; count them"),
    (
        f"sid: AC{HEX} → sid: SK{HEX}",
        f"10: providers.co.account_sid: {KIND}; this is a SID of another kind, for api_key_sid",
    ),
    (
        f"sid: AC{HEX} → sid: MG{HEX}",
        f"10: providers.co.account_sid: {KIND}; this is a SID of another kind, for messaging_service_sid",
    ),
    (f"sid: AC{HEX} → sid: PN{HEX}", f"10: providers.co.account_sid: {KIND}; this is a SID of another kind"),
    (f"sid: AC{HEX} → sid: 15557650123", f"10: providers.co.account_sid: {KIND}; this is a phone number"),
    (f"sid: AC{HEX} → sid: acme", f"10: providers.co.account_sid: {KIND}; count them"),
    (
        "    auth_token: →     messaging_service_sid: ACME⏎    auth_token:",
        "11: providers.co.messaging_service_sid: is no messaging service SID of Twilio: that is MG and 32 hex digits",
    ),
    # what travels unencrypted
    (
        "    auth_token: →     base_url: http://sms.example.com⏎    auth_token:",
        "11: providers.co.base_url: is http: messages and the auth token travel unencrypted; write https://",
    ),
    (
        "    password: →     verify_certificate: false⏎    password:",
        f"16: providers.post.verify_certificate: {PASSWORD_SEEN}",
    ),
    # secrets that are shared
    (
        '["${APP_SECRET}"]} → ["${APP_SECRET}"]}⏎  two: {secrets: ["${OTHER_SECRET}", "${APP_SECRET}"]}',
        "7: endpoints.two.secrets[1]: is the secret of endpoints.main, too: who has it can sign for both; give"
        " each endpoint secrets of its own",
    ),
    (
        '["${APP_SECRET}"]} → ["${APP_SECRET}"], retired_secrets: ["${APP_SECRET}"]}',
        "6: endpoints.main.retired_secrets[0]: is also among secrets, and so is not retired; leave it"
        " out of one of the two",
    ),
]


@pytest.mark.parametrize(("edit", "said"), TABLE)
def test_what_deserves_a_look(edit: str, said: str) -> None:
    told = [line for line in warnings(edit) if "is used by no channel" not in line]
    if IN_FILE not in said:
        told = [line for line in told if IN_FILE not in line]
    assert told == [f"bridge.yaml:{said}"]


@pytest.mark.parametrize(
    "edit",
    [
        "${PASSWORD} → 'file:PATH'",
        "${PASSWORD} → 'a${PASSWORD}'",
        "${PASSWORD} → '${PASSWORD} costs $5'",
        "host: mail.example.com → host: mail.$NOWHERE",
        "    auth_token: →     base_url: http://127.0.0.1:8090⏎    auth_token:",
        "    auth_token: →     base_url: https://company.example⏎    auth_token:",
        f"sid: AC{HEX} → sid: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11⏎    base_url: https://space.example.com",
        "    username: bridge⏎    password: ${PASSWORD} →     verify_certificate: false",
        'public_url → interactions: {main: {secrets: ["${APP_SECRET}"]}}⏎public_url',
        '["${APP_SECRET}"]} → ["${APP_SECRET}", "${OTHER_SECRET}"]}',
    ],
)
def test_its_neighbours_deserve_none(edit: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(CLEAR)
    assert warnings(edit.replace("PATH'", f"{tmp_path / 'secret'}'")) == []


def test_a_variable_that_is_set_and_has_no_braces_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(GOOD.replace("${PASSWORD}", "$PASSWORD"), ENVIRONMENT)
    assert [str(one) for one in refused.value.problems] == [
        "bridge.yaml:16: providers.post.password: is $PASSWORD without braces, which stands for itself; write"
        " ${PASSWORD}"
    ]


def test_the_address_of_a_sink_is_a_secret_where_it_holds_a_password() -> None:
    sink = 'public_url → interactions: {{main: {{secrets: ["${{OTHER_SECRET}}"]}}}}⏎subscribers: {{crm: {{sink: {{kind: redis-stream, stream: s, url: "rediss://{}r.example.com"}}}}}}⏎public_url'  # noqa: E501 (one line)
    assert warnings(sink.format("")) == []
    assert warnings(sink.format(f":{CLEAR}@")) == [f"bridge.yaml:2: subscribers.crm.sink.url: {IN_FILE}"]


def test_a_warning_is_a_problem_without_its_teeth() -> None:
    [told] = parse(GOOD.replace("${PASSWORD}", CLEAR), ENVIRONMENT).warnings
    assert isinstance(told, Problem)
    assert CLEAR not in repr(dataclasses.asdict(told))
