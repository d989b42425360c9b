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
        (", to: openmedia", "hello@other.example", "needs the name of an Open Media service"),
        (", to: securemail", "hello@other.example", "needs a Secure Email box and the body"),
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
