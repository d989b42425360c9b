"""`dcbridge addresses`: what to enter where, and no secret in it."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from dcbridge.cli.addresses import BEARER, NAMED, addresses
from dcbridge.config.loader import parse
from dcbridge.providers import KINDS
from tests.cli.session import Session

SECRET = "the-secret-of-a-path-0123"
CONFIGURATION = """
public_url: https://bridge.example.com/
digital_channels: {base_url: https://genesys.example.com, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
interactions: {events: {secrets: [the-app-secret-of-now]}}
providers:
  us: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef0123456789abcdef}
  eu: {kind: infobip, api_key: key, base_url: "https://x.api.infobip.com", callback_secret: the-secret-of-a-path-0123}
  signed: {kind: vonage, api_key: a1, api_secret: b2, signature_secret: the-secret-of-a-path-0123}
  mail: {kind: smtp, host: smtp.example.com, callback_secret: the-secret-of-a-path-0123}
channels: {"0123456789": {type: sms, provider: us, number: "+15557650123"}}
"""
FOUND = [
    ("Digital Channels", "messages", "/webhooks/messages/main", "signed with main's secret"),
    ("Digital Channels", "interactions", "/webhooks/interactions/events", "signed with events's secret"),
    ("us", "status", "/callbacks/us/status", NAMED),
    ("us", "inbound", "/callbacks/us/inbound", ""),
    ("eu", "status", "/callbacks/eu/status/<callback_secret>", ""),
    ("eu", "inbound", "/callbacks/eu/inbound/<callback_secret>", ""),
    ("signed", "status", "/callbacks/signed/status", ""),
    ("signed", "inbound", "/callbacks/signed/inbound", ""),
    ("mail", "status", "/callbacks/mail/status", BEARER),
]


def test_each_address_is_shown_with_what_belongs_to_it() -> None:
    found = [astuple(one) for one in addresses(parse(CONFIGURATION, {}))]
    assert found == [(at, of, f"https://bridge.example.com{path}", note) for at, of, path, note in FOUND]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_address_or_sessions_of_ours(kind: str) -> None:
    assert bool(KINDS[kind].can.callbacks) != bool(KINDS[kind].can.window)


async def test_the_command_shows_no_secret(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(CONFIGURATION)
    said = await session.types("addresses", "--config", str(file))
    assert (said.code, said.err) == (0, "")
    assert "eu, inbound: https://bridge.example.com/callbacks/eu/inbound/<callback_secret>\n" in said.out
    assert SECRET not in said.out
    told = await session.types("addresses", "--json", "--config", str(file))
    assert [tuple(one.values()) for one in told.lines][2] == astuple(list(addresses(parse(CONFIGURATION, {})))[2])
    assert SECRET not in told.out
