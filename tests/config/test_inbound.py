"""`inbound` of email channels: what is refused, and what it needs instead."""

from __future__ import annotations

import pytest

from dcbridge.config.loader import parse
from dcbridge.settings.problems import ConfigurationError

CONFIGURATION = """
public_url: https://bridge.example.com
digital_channels: {base_url: https://dc.example.com/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {one: {secrets: [0123456789abcdef]}}
providers: {mail: {kind: smtp, host: mail.example.com}}
channels:
  company.com: {type: email, provider: mail, inbound: {addresses: [care@company.com]MORE}}
  other.example: {type: email, provider: mail, inbound: {addresses: [OTHER]}}
"""


def refusal(text: str) -> str:
    try:
        parse(text, {})
    except ConfigurationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("more", "other", "says"),
    [
        ("", "hello@other.example", ""),
        ("", "Care@company.com", 'is a mailbox of channel "company.com" as well'),
        ("", "care+x@other.example", "has a +: what stands behind it is ignored"),
        (", to: email, unverified: hold, reply_reference: plus", "hello@other.example", ""),
        (", to: openmedia, service: x", "hello@other.example", "genesys.api_key: is missing"),
        (", to: openmedia", "hello@other.example", "inbound.service: is missing"),
        (", to: securemail", "hello@other.example", "inbound.to: needs genesys.secure_email"),
        (", to: securemail", "hello@other.example", "genesys.api_key: is missing"),
        (", reply_reference: local_part", "hello@company.com", ""),
    ],
)
def test_what_is_refused(more: str, other: str, says: str) -> None:
    found = refusal(CONFIGURATION.replace("MORE", more).replace("OTHER", other))
    assert says in found
    assert bool(says) == bool(found)


@pytest.mark.parametrize(("letters", "refused"), [(22, False), (23, True)])
def test_a_reference_needs_room(letters: int, *, refused: bool) -> None:
    text = CONFIGURATION.replace("MORE", "").replace(
        "[OTHER]", f"[{'x' * letters}@other.example], reply_reference: plus"
    )
    assert ("there is no room for a reference" in refusal(text)) == refused


def test_one_channel_has_all_references_of_a_domain() -> None:
    text = CONFIGURATION.replace("MORE", ", reply_reference: local_part")
    text = text.replace("[OTHER]", "[hello@Company.com], reply_reference: local_part")
    assert 'is local_part for channel "company.com" of this domain as well' in refusal(text)


BOX = "host: imap.example.com, username: care"
OAUTH2 = "oauth2: {token_url: https://example.com/token, client_id: id}"


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (f"{BOX}, password: geheim", ""),
        (f"{BOX}, {OAUTH2}, after: 'move:Taken', since: 2026-12-01, security: starttls", ""),
        (BOX, "password: is missing: a mailbox needs password or oauth2"),
        (f"{BOX}, password: geheim, {OAUTH2}", "keep one of them"),
        (f"{BOX}, password: geheim, after: read", "should be seen, flag, delete or move:<folder>"),
        (f"{BOX}, password: geheim, after: 'move:'", "should be seen, flag, delete or move:<folder>"),
        (f"{BOX}, password: geheim, after: 'move:INBOX'", "moves to the folder that is looked into"),
        (f"{BOX}, password: geheim, poll_every: 1800", "poll_every"),
        (f"{BOX}, password: geheim, security: none", "security"),
        (f'{BOX}, password: geheim, folder: "a\\r\\nb"', "should have no control characters"),
        (f"{BOX}, {OAUTH2.replace('https', 'http')}", "should begin with https://"),
    ],
)
def test_a_mailbox_on_an_imap_server(box: str, says: str) -> None:
    text = CONFIGURATION.replace("OTHER", "hello@other.example").replace("MORE", f", imap: {{care: {{{box}}}}}")
    found = refusal(text)
    assert says in found
    assert bool(says) == bool(found)
    assert "geheim" not in found


def test_a_folder_belongs_to_one_channel() -> None:
    box = f", imap: {{one: {{{BOX}, password: geheim}}}}"
    text = CONFIGURATION.replace("MORE", box).replace("[OTHER]", f"[hello@other.example]{box}")
    assert 'is the folder of "company.com.one" as well' in refusal(text)
    assert refusal(text.replace("username: care", "username: care, folder: A", 1)) == ""


def test_a_certificate_that_is_not_checked_deserves_a_look() -> None:
    box = f"{BOX}, password: geheim, verify_certificate: false"
    text = CONFIGURATION.replace("OTHER", "hello@other.example").replace("MORE", f", imap: {{one: {{{box}}}}}")
    found = [warning for warning in parse(text, {}).warnings if "verify_certificate" in warning.path]
    assert [one.path for one in found] == ["channels.company.com.inbound.imap.one.verify_certificate"]


SECURE = """
genesys:
  base_url: https://gapi.example.com
  api_key: the-key
  secure_email: {fields: {from: "{address}", text: "{text}"}MORE}
"""
CODE = "t-0dd4461c073a"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (f", verified: {CODE}", ""),
        ("", "genesys.secure_email.verified: is missing: nobody has seen an email with these fields"),
        (", verified: t-000000000000", "genesys.secure_email.verified: is not the code of these fields"),
        (f", verified: {CODE}, securebox: billing", "is not the code of these fields"),
        (f", verified: {CODE}, files: {{field: f, each: {{c: '{{base64}}'}}}}", "is not the code of these fields"),
        (", securebox: no", "securebox"),
        (", files: {field: f, each: {c: '{text}'}}", "has a name in braces that is no value"),
        (", files: {field: f, each: {c: '{mimetype}'}}", "does not use {base64}"),
    ],
)
def test_an_email_is_handed_in_by_a_template_that_was_tried(more: str, says: str) -> None:
    text = CONFIGURATION.replace("MORE", ", to: securemail").replace("OTHER", "hello@other.example")
    found = refusal(text + SECURE.replace("MORE", more))
    assert says in found
    assert bool(says) == bool(found)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("{text: '{text}'}", "does not use {address}"),
        ("{from: '{address}'}", "does not use {text}"),
        ("{from: '{address}', text: '{text', x: y}", "has a single {"),
        ("{from: '{address} {adress}', text: '{text}'}", "has a name in braces that is no value"),
        ("{from: '{address}', text: '{text}', x: }", "has a field without a value"),
        ("{from: '{address}', text: '{text}', x: {a: {b: {c: {d: {e: {f: {g: {h: x}}}}}}}}}", "more than 8 levels"),
        ("{from: '{address}', text: '{text}', x: [" + "y, " * 100 + "]}", "more than 100 texts"),
        ("{from: '{address}', text: '{text|none} {{x}}', x: [y, {z: '{time}'}]}", ""),
    ],
)
def test_a_template_has_values_that_there_are(fields: str, says: str) -> None:
    """Without a channel that uses it, it need not be verified."""
    text = CONFIGURATION.replace("MORE", "").replace("OTHER", "hello@other.example")
    found = refusal(text + SECURE.replace('{from: "{address}", text: "{text}"}MORE', fields))
    assert says in found
    assert bool(says) == bool(found)
