"""bridge.yaml: what is understood, and what a person is told who got it wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AfterValidator, TypeAdapter, ValidationError

from dcbridge.config.loader import load, parse
from dcbridge.config.models import Configuration
from dcbridge.config.reference import EXAMPLE, markdown
from dcbridge.providers import KINDS
from dcbridge.settings.problems import ConfigurationError, explain
from dcbridge.settings.types import is_loopback

CANARY = "canary-8f1e6a-and-more"
GOOD = """\
public_url: https://bridge.example.com
digital_channels:
  base_url: https://digital.example.com/nexus/v3
  contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11
endpoints:
  main:
    secrets: [main-secret-00001, main-secret-00002]
    retired_secrets: [main-secret-00000]
providers:
  twilio:
    kind: twilio
    account_sid: AC00000000000000000000000000000000
    auth_token: token-of-the-account
  mail:
    kind: smtp
    host: smtp.example.com
channels:
  0123456789:
    type: sms
    provider: twilio
    number: "+15557650123"
  company.com:
    type: email
    provider: mail
"""


def edited(*edits: str) -> str:
    """GOOD with each "old → new" done; "⏎" is a line end."""
    text = GOOD
    for edit in edits:
        old, new = (part.replace("⏎", "\n") for part in edit.split(" → "))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def problems(text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, environ)
    return [str(problem) for problem in caught.value.problems]


def warnings(*edits: str) -> list[str]:
    """All but that the secrets of GOOD stand in the file, which `test_configuration_doubts` is about."""
    told = [str(warning) for warning in parse(edited(*edits), {}).warnings]
    return [line for line in told if "is a secret in the file itself" not in line]


def test_the_good_one_is_understood() -> None:
    configuration = parse(GOOD, {})
    assert warnings() == []
    assert list(configuration.channels) == ["0123456789", "company.com"]
    assert [channel.delivered_when for channel in configuration.channels.values()] == ["confirmed", "taken"]
    assert configuration.channels["0123456789"].time_to_live == 14400
    assert configuration.providers["mail"].fields.model_dump()["port"] == 587


SECOND = "second:⏎    type: sms⏎    provider: twilio⏎    number: "

# What is changed in GOOD, the one problem that follows, and the change that is accepted in its place.
TABLE = [
    ("public_url: https → public_url: http",
     'bridge.yaml:1: public_url: should begin with https://; http is for this computer itself (localhost) only',
     "https://bridge.example.com → http://localhost:8080/"),
    ("https://bridge.example.com → bridge.example.com",
     "bridge.yaml:1: public_url: should be a whole URL: https://, a host and perhaps a path",
     "https://bridge.example.com → https://bridge.example.com/path/"),
    ("https://bridge.example.com → https://user@bridge.example.com",
     "bridge.yaml:1: public_url: should have no user, no query and no fragment",
     "https://bridge.example.com → https://bridge.example.com:8443"),
    ("https://bridge.example.com → https://my_bridge.example.com",
     "bridge.yaml:10: providers.twilio: public_url: Twilio calls no host with an underscore in its name",
     "https://bridge.example.com → https://my-bridge.example.com"),
    ("public_url: https://bridge.example.com⏎ → ", "bridge.yaml:1: public_url: is missing",
     "com⏎digital → com⏎⏎digital"),
    ("5f3c0c2e- → 5f3c0c2e",
     "bridge.yaml:4: digital_channels.contact_center_id: should be a UUID: 8-4-4-4-12 hex digits",
     "5f3c0c2e- → 5F3C0C2E-"),
    ("/nexus/v3⏎ → /nexus/v3⏎  empty_signature: emty⏎",
     "bridge.yaml:4: digital_channels.empty_signature: should be empty, omit or path, and is something else;"
     ' did you mean "empty"?', "/nexus/v3⏎ → /nexus/v3⏎  empty_signature: omit⏎"),
    ('/nexus/v3⏎ → /nexus/v3⏎  api_key: "key\\n"⏎',
     "bridge.yaml:4: digital_channels.api_key: should be printable ASCII on one line, without spaces around it: it"
     " stands in a header", "/nexus/v3⏎ → /nexus/v3⏎  api_key: key 1⏎"),
    ("  main: →   Main:", "bridge.yaml:6: endpoints.Main: a name has 1 to 64 small letters, digits and -",
     "  main: →   main-1:"),
    ("0123456789: → a b:",
     "bridge.yaml:18: channels.a b: a channel id has 1 to 200 characters, without white space and /",
     "0123456789: → a-b:"),
    ("retired_secrets → retierd_secrets",
     'bridge.yaml:8: endpoints.main.retierd_secrets: is not a known key; did you mean "retired_secrets"?',
     "    retired_secrets: [main-secret-00000]⏎ → "),
    ("[main-secret-00001, main-secret-00002] → main-secret-00001",
     "bridge.yaml:7: endpoints.main.secrets: should be a list: [one, two], or lines that begin with a dash, and"
     " is a text",
     "[main-secret-00001, main-secret-00002] → [main-secret-00001]"),
    ("[main-secret-00001, main-secret-00002] → []", "bridge.yaml:7: endpoints.main.secrets: should not be empty",
     "[main-secret-00001, main-secret-00002] → ⏎    - main-secret-00001"),
    ("main-secret-00001 → main-secret-001",
     "bridge.yaml:7: endpoints.main.secrets[0]: has 15 characters; a secret needs at least 16",
     "main-secret-00001 → main-secret-0001"),
    ("main-secret-00001 → ''", "bridge.yaml:7: endpoints.main.secrets[0]: should not be empty",
     "main-secret-00001 → 'main-secret-00001'"),
    ("main-secret-00001 → !main-secret-00001",
     "bridge.yaml:7: endpoints.main.secrets[0]: begins with !, which YAML takes for a tag; put the whole value in"
     " quotes", "main-secret-00001 → '!main-secret-00001'"),
    ("kind: twilio → kind: twillio",
     f'bridge.yaml:11: providers.twilio.kind: should be one of {", ".join(sorted(KINDS))}, and is something else;'
     ' did you mean "twilio"?', "kind: twilio → kind: 'twilio'"),
    ("    kind: twilio⏎ → ", "bridge.yaml:10: providers.twilio.kind: is missing", "kind: twilio⏎ → kind:    twilio⏎"),
    ("    host: smtp → ⏎    port: x⏎    host: smtp",
     "bridge.yaml:17: providers.mail.port: should be the number of a port, 1 to 65535, and is a text",
     "    host: smtp →     port: 25⏎    host: smtp"),
    ("    host: smtp →     verify_certificate: [1, 2, 3]⏎    host: smtp",
     "bridge.yaml:16: providers.mail.verify_certificate: should be true or false, and is a list",
     "    host: smtp →     verify_certificate: no⏎    host: smtp"),
    ("provider: twilio → provider: twillio",
     'bridge.yaml:20: channels.0123456789.provider: no provider is named "twillio"; did you mean "twilio"?',
     "provider: twilio → provider: twilio # so"),
    ("provider: mail → provider: twilio",
     "bridge.yaml:24: channels.company.com.provider: twilio carries sms, and this channel is email",
     "type: email⏎    provider: mail → type: sms⏎    provider: twilio⏎    number: Company"),
    ("provider: mail → provider: mail⏎    endpoint: mian",
     'bridge.yaml:25: channels.company.com.endpoint: no endpoint is named "mian"; did you mean "main"?',
     "provider: mail → provider: mail⏎    endpoint: main"),
    ("type: sms → type: SMS", "bridge.yaml:19: channels.0123456789.type: should be sms or email, and is something"
     ' else; did you mean "sms"?', "type: sms → type: 'sms'"),
    ("type: sms → type: sms⏎    time_to_live: 0", "bridge.yaml:20: channels.0123456789.time_to_live: should be more"
     " than 0 seconds", "type: sms → type: sms⏎    time_to_live: 1"),
    ("type: sms → type: sms⏎    default_region: us", "bridge.yaml:20: channels.0123456789.default_region: should be a"
     " country in two capital letters, such as US", "type: sms → type: sms⏎    default_region: US"),
    ("type: sms → type: sms⏎    retry: {most: 0.5}", "bridge.yaml:20: channels.0123456789.retry: most (0.5 seconds) is"
     " less than first (1 seconds)", "type: sms → type: sms⏎    retry: {most: 1}"),
    ("type: sms → type: sms⏎    type: email",
     "bridge.yaml:20: channels.0123456789.type: is written twice, in lines 19 and 20; keep one of the two",
     "type: sms → type: sms⏎⏎"),
    ("company.com:⏎    type: email⏎    provider: mail → " + SECOND + "+1 555 765-0123",
     'bridge.yaml:25: channels.second.number: has the number of channel "0123456789" at the same provider: what a'
     " consumer answers is for either; give each channel a number of its own",
     "company.com:⏎    type: email⏎    provider: mail → " + SECOND + "+1 555 765-0124"),
    ("type: sms → type: sms⏎    pace: {brust: 2}",
     'bridge.yaml:20: channels.0123456789.pace.brust: is not a known key; did you mean "burst"?',
     "type: sms → type: sms⏎    pace: {burst: 2}"),
    ("kind: twilio → kind: twilio⏎    pace: {per_secnd: 2}",
     'bridge.yaml:12: providers.twilio.pace.per_secnd: is not a known key; did you mean "per_second"?',
     "kind: twilio → kind: twilio⏎    pace: {per_second: 2}"),
    ("public_url: → breaker: {failurs: 3}⏎public_url:",
     'bridge.yaml:1: breaker.failurs: is not a known key; did you mean "failures"?',
     "public_url: → breaker: {failures: 3}⏎public_url:"),
    ("type: sms → type:", "bridge.yaml:19: channels.0123456789.type: should be sms or email, and is empty",
     "type: sms → type:⏎      sms"),
    ("host: smtp.example.com → host: ${HOST}",
     "bridge.yaml:16: providers.mail.host: the environment variable HOST is not set",
     "host: smtp.example.com → host: smtp.$HOST"),
    ("token-of-the-account → a${", "bridge.yaml:13: providers.twilio.auth_token: has ${ without the name of a variable"
     " and }; write $${ for the two characters", "token-of-the-account → a$${"),
    ("token-of-the-account → file:nowhere/token", "bridge.yaml:13: providers.twilio.auth_token: the file nowhere/token"
     " cannot be read: No such file or directory", "token-of-the-account → ' file:nowhere/token'"),
    ("kind: smtp → kindd: smtp",
     'bridge.yaml:14: providers.mail.kind: is missing; "kindd" stands here and may be meant: write kind',
     "kind: smtp → kind: smtp⏎"),
    ("kind: smtp → Kind: smtp",
     'bridge.yaml:14: providers.mail.kind: is missing; "Kind" stands here and may be meant: write kind',
     "kind: smtp → kind: smtp⏎"),
    *(
        (f"host: smtp.example.com → host: {opened}smtp.example.com{closed}",
         "bridge.yaml:16: providers.mail.host: stands in typographic quotation marks, which YAML takes for a part of"
         " the value; write plain ones, \" or ', around it", 'host: smtp.example.com → host: "smtp.example.com"')
        for opened, closed in ("“”", "„“", "‘’", "«»")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "said", "right"), TABLE)
def test_one_slip_is_one_problem_and_its_twin_is_accepted(broken: str, said: str, right: str) -> None:
    unused = [" is used by no channel"]
    assert [line for line in problems(edited(broken)) if not line.endswith(tuple(unused))] == [said]
    parse(edited(right), {})


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = edited("https://bridge → http://bridge", "kind: smtp → kind: pigeon", "type: sms → typ: sms", "00001 → 1")
    told = problems(text + "surprise: 1\n")
    assert [line.split(": ")[1] for line in told] == [
        "public_url", "endpoints.main.secrets[0]", "providers.mail.kind", "channels.0123456789.typ",
        "surprise",
    ]  # fmt: skip
    assert told[-2].endswith('is not a known key; did you mean "type"?')


def test_an_unknown_name_and_a_wrong_type_do_not_hide_each_other() -> None:
    told = problems(edited("type: sms⏎    provider: twilio → type: fax⏎    provider: nobody"))
    assert [line.split(": ")[1] for line in told] == ["channels.0123456789.type", "channels.0123456789.provider"]


def test_a_mistake_in_a_field_of_a_provider_names_its_neighbours() -> None:
    assert problems(edited("account_sid → acount_sid")) == [
        'bridge.yaml:12: providers.twilio.acount_sid: is not a known key; did you mean "account_sid"?',
    ]


@pytest.mark.parametrize(
    ("without_a_name", "path", "name"),
    [
        ("  main:⏎    secrets: [main-secret-00001, main-secret-00002]⏎    retired_secrets: [main-secret-00000] →"
         "   secrets: [main-secret-00001]", "6: endpoints.secrets", "a name of your own"),
        ("  mail:⏎    kind: smtp⏎    host: smtp →   kind: smtp⏎  host: smtp", "14: providers.kind",
         "a name of your own"),
        ("  company.com:⏎    type: email⏎    provider: mail →   type: email⏎  provider: mail", "22: channels.type",
         "the channel id"),
    ],
)  # fmt: skip
def test_fields_without_a_name_above_them_are_one_problem(without_a_name: str, path: str, name: str) -> None:
    section = path.partition(" ")[2].partition(".")[0]
    fix = f"put a line between the two: {name} and a colon"
    assert problems(edited(without_a_name)) == [f"bridge.yaml:{path}: stands directly below {section}; {fix}"]


def test_several_endpoints_need_a_choice() -> None:
    two = "  main:⏎ →   second: {secrets: [second-secret-0001]}⏎  main:⏎"
    assert problems(edited(two)) == [
        f"bridge.yaml:{line}: channels.{name}.endpoint: is missing, and there are several endpoints;"
        " choose from second, main"
        for line, name in ((19, "0123456789"), (23, "company.com"))
    ]
    configuration = parse(
        edited(two, "type: sms → type: sms⏎    endpoint: main", "type: email → type: email⏎    endpoint: second"), {}
    )
    assert configuration.endpoint_of("company.com") == "second"


def test_a_variable_with_nothing_in_it_is_no_value() -> None:
    broken = edited("token-of-the-account → ${TWILIO_TOKEN}")
    assert problems(broken, TWILIO_TOKEN="") == [
        "bridge.yaml:13: providers.twilio.auth_token: is empty: the environment variable is set, and has nothing in it"
    ]
    parse(broken, {"TWILIO_TOKEN": "x"})
    parse(edited("smtp.example.com → smtp.example.com${NOTHING}"), {"NOTHING": ""})


def test_an_event_that_is_nearly_one_is_a_warning() -> None:
    subscriber = "subscribers: {crm: {sink: {kind: redis-stream, url: 'rediss://r', stream: s}, events: [STARTD, X]}}⏎"
    told = warnings(f"public_url: → {subscriber}interactions: {{main: {{secrets: [main-secret-00001]}}}}⏎public_url:")
    assert told == ['bridge.yaml:1: subscribers.crm.events[0]: is no event that we know; did you mean "STARTED"?']


def test_at_least_one_endpoint_and_one_channel() -> None:
    told = problems(GOOD[: GOOD.index("endpoints:")] + "endpoints: {}\nchannels: {}\n")
    assert told == ["bridge.yaml:5: endpoints: should not be empty", "bridge.yaml:6: channels: should not be empty"]


def test_values_come_from_the_environment() -> None:
    text = edited("main-secret-00001 → '${A}-and-${B}-secret'", "token-of-the-account → $${A} costs $5")
    configuration = parse(text, {"A": "one", "B": "file:two"})
    assert configuration.secrets_for("main")[0] == b"one-and-file:two-secret"
    assert configuration.providers["twilio"].fields.model_dump()["auth_token"].get_secret_value() == "${A} costs $5"
    assert problems(text, AA="x") == [
        "bridge.yaml:7: endpoints.main.secrets[0]: the environment variable A is not set",
        "bridge.yaml:7: endpoints.main.secrets[0]: the environment variable B is not set",
    ]
    assert problems(edited("main-secret-00001 → '${APP_SECRT}'"), APP_SECRET=CANARY) == [
        "bridge.yaml:7: endpoints.main.secrets[0]: the environment variable APP_SECRT is not set;"
        ' did you mean "APP_SECRET"?'
    ]


def test_a_value_from_the_environment_is_never_read_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from the mounted file")
    given = {"A": "file:secret", "FOLDER": str(tmp_path)}
    configuration = parse(edited("[main-secret-00001, → ['${A}-and-more', 'file:${FOLDER}/secret',"), given)
    assert configuration.secrets_for("main")[:2] == [b"file:secret-and-more", b"from the mounted file"]


def test_secrets_come_from_mounted_files(tmp_path: Path) -> None:
    (tmp_path / "app").write_text("mounted-secret-01\n")
    (tmp_path / "windows").write_bytes(b"mounted-secret-02\r\n\r\n")
    file = tmp_path / "my.yaml"
    file.write_text(edited("[main-secret-00001, main-secret-00002] → [file:app, file:windows]"))
    configuration = load(file, {})
    assert configuration.secrets_for("main") == [b"mounted-secret-01", b"mounted-secret-02"]
    (tmp_path / "app").write_text("\n")
    (tmp_path / "windows").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {})
    assert str(caught.value).splitlines() == [
        "my.yaml:7: endpoints.main.secrets[0]: the file app is empty",
        "my.yaml:7: endpoints.main.secrets[1]: the file windows cannot be read: it is not UTF-8 text",
    ]


def test_a_file_whose_name_is_not_known_is_one_problem() -> None:
    assert problems(edited("token-of-the-account → file:${NOWHERE}/token")) == [
        "bridge.yaml:13: providers.twilio.auth_token: the environment variable NOWHERE is not set"
    ]


def test_a_validator_that_quotes_the_value_is_cut_short() -> None:
    def refuse(value: str) -> str:
        raise ValueError(f"cannot use {value}")

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Annotated[str, AfterValidator(refuse)]).validate_python(CANARY)
    assert explain(caught.value.errors()[0]) == ("cannot use a text", "")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "no.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigurationError, match=f"cannot be read: {said}"):
            load(path, {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(ConfigurationError, match="is not UTF-8 text"):
        load(tmp_path / "latin.yaml", {})


def test_short_secrets_are_for_this_computer_only() -> None:
    short = "main-secret-00001 → secret"
    assert len(problems(edited(short))) == 1
    assert warnings(short, "https://bridge.example.com → http://127.0.0.1:8080") == [
        "bridge.yaml:7: endpoints.main.secrets[0]: has 6 characters; a secret needs at least 16",
        "bridge.yaml:7: endpoints.main.secrets[0]: looks like an example or a placeholder; write the value that is"
        " meant",
    ]


def test_what_deserves_a_look_is_a_warning() -> None:
    assert warnings(
        "https://digital.example.com/nexus/v3 → http://digital.example.com/nexus",
        "main-secret-00002 → 'main-secret-00002 '",
        "provider: mail → provider: mail⏎    secrets: [the-channels-own-secret]",
        "  mail:⏎ →   spare: {kind: smtp, host: a}⏎  mail:⏎",
    ) == [
        "bridge.yaml:7: endpoints.main.secrets[1]: has white space around it, which is then part of the secret",
        "bridge.yaml:3: digital_channels.base_url: does not end in /nexus/v3",
        "bridge.yaml:3: digital_channels.base_url: is http: messages and keys travel unencrypted",
        "bridge.yaml:14: providers.spare: is used by no channel",
    ]


def test_urls_lose_slashes_that_would_be_doubled() -> None:
    configuration = parse(edited("com/nexus/v3 → com//nexus//v3/", "bridge.example.com → bridge.example.com//"), {})
    assert configuration.digital_channels.base_url == "https://digital.example.com/nexus/v3"
    assert configuration.public_url == "https://bridge.example.com"


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://localhost", True), ("http://a.localhost:1", True), ("http://127.8.0.1", True), ("http://[::1]:1", True),
     ("http://10.0.0.1", False), ("http://localhost.example.com", False), ("http://[", False)],
)  # fmt: skip
def test_loopback(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_a_channel_has_its_own_secrets_or_those_of_its_endpoint() -> None:
    own = "provider: mail → provider: mail⏎    secrets: [the-channels-own-1, the-channels-own-2]"
    configuration = parse(edited(own), {})
    mine, theirs = [b"the-channels-own-1", b"the-channels-own-2"], [b"main-secret-00001", b"main-secret-00002"]
    assert configuration.secrets_for("main") == theirs
    assert configuration.secrets_for("main", "nobody") == theirs
    assert configuration.secrets_for("main", "0123456789") == theirs
    assert configuration.secrets_for("main", "company.com") == mine
    assert configuration.retired_for("main", "company.com") == [b"main-secret-00000"]
    assert [configuration.signing_secret(name) for name in configuration.channels] == [theirs[0], mine[0]]
    with pytest.raises(KeyError):
        configuration.secrets_for("nobody")
    assert configuration.channel("nobody") is None


def test_the_secrets_of_a_channel_do_not_open_another_endpoint() -> None:
    configuration = parse(
        edited(
            "  main:⏎ →   second: {secrets: [second-secret-0001]}⏎  main:⏎",
            "type: sms → type: sms⏎    endpoint: main",
            "provider: mail → provider: mail⏎    endpoint: main⏎    secrets: [the-channels-own-1]",
        ),
        {},
    )
    assert configuration.secrets_for("second", "company.com") == [b"second-secret-0001"]


def test_what_a_channel_does_not_say_is_said_for_all() -> None:
    other = "11111111-2222-3333-4444-555555555555"
    configuration = parse(
        edited(
            f"type: sms → type: sms⏎    contact_center_id: {other}⏎    retry: {{first: 9}}",
            "providers:⏎ → retry: {factor: 3, jitter: 0}⏎providers:⏎",
        ),
        {},
    )
    assert [configuration.ccid(name) for name in configuration.channels] == [
        other,
        "5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11",
    ]
    assert configuration.retry_of("0123456789").model_dump() == {"first": 9, "factor": 3, "most": 300, "jitter": 0}
    assert configuration.retry_of("company.com") == configuration.retry


SECRET_PLACES = [
    "main-secret-00001 → X", "main-secret-00000 → X", "token-of-the-account → X",
    "host: smtp.example.com → host: a⏎    username: u⏎    password: X", "base_url → api_key: X⏎  base_url",
]  # fmt: skip
WRONG = ["https://bridge → http://bridge", "type: sms → type: fax", "0123456789 → a/b", "5f3c → "]


@pytest.mark.parametrize("place", SECRET_PLACES)
def test_secrets_never_print(place: str, tmp_path: Path) -> None:
    configuration = parse(edited(place.replace("X", CANARY)), {})
    printed = (
        repr(configuration) + str(configuration) + configuration.model_dump_json() + repr(configuration.model_dump())
    )
    assert CANARY not in printed
    in_file = tmp_path / "secret"
    in_file.write_text(CANARY)
    # The secret, in each form that a slip of the pen could give it, in a file with other faults.
    shapes = [CANARY, f"[{CANARY}]", f"[[{CANARY}]]", f"!{CANARY}", f"*{CANARY}", f"&{CANARY}", f"'{CANARY}", "${C}",
              f"@{CANARY}", f"%{CANARY}", f"${{{CANARY}", f"${{{CANARY}}}", f"file:{in_file}", f"file:{CANARY}",
              "'${C}'", f"'file:{in_file}'"]  # fmt: skip
    for shape in shapes:
        with pytest.raises(ConfigurationError) as caught:
            parse(edited(place.replace("X", shape), *WRONG), {"C": CANARY})
        told = str(caught.value) + repr(caught.value) + repr(caught.value.problems)
        if shape != f"${{{CANARY}}}":  # what stands between ${ and } is a variable's name, unless it cannot be one
            assert CANARY not in told, shape
        assert "main-secret" not in told
    assert CANARY not in "".join(problems(edited(place.replace("X", "${canary-8f1e6a}"), *WRONG)))


@pytest.mark.parametrize("key", ["provider", "endpoint", "type", "default_region", "time_to_live", "contact_center_id"])
def test_a_value_that_came_from_elsewhere_is_never_quoted(key: str) -> None:
    line = "provider: twilio → provider: ${C}" if key == "provider" else f"type: sms → {key}: ${{C}}"
    told = problems(edited(line), C=CANARY)
    assert told
    assert CANARY not in "".join(told)


def test_models_refuse_without_showing_the_input() -> None:
    with pytest.raises(ValidationError) as caught:
        Configuration.model_validate({"public_url": CANARY, "endpoints": {"main": {"secrets": CANARY, CANARY: 1}}})
    assert CANARY not in str(caught.value).replace(f"endpoints.main.{CANARY}", "")


def test_the_configuration_cannot_be_changed() -> None:
    configuration = parse(GOOD, {})
    with pytest.raises(ValidationError):
        configuration.channels["0123456789"].type = "email"  # type: ignore[misc]


def test_the_example_in_the_documentation_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "app_secret").write_text("a secret that is mounted\n")
    names = ("DIGITAL_CHANNELS_API_KEY", "OLD_APP_SECRET", "INTERACTIONS_SECRET", "TWILIO_AUTH_TOKEN", "SMTP_PASSWORD")
    text = EXAMPLE.replace("/run/secrets", str(tmp_path))
    environ = dict.fromkeys(names, "sixteen characters") | {"CRM_SIGNING_SECRET": f"whsec_{'c' * 32}"}
    configuration = parse(text, environ)
    assert configuration.warnings == ()
    assert list(configuration.channels) == ["0123456789", "company.com"]


def test_the_documentation_is_that_of_the_models() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert page.read_text() == markdown(), "python -m dcbridge.config.reference > docs/configuration.md"
    assert "| `DCBRIDGE_LEASE` |" in markdown()
