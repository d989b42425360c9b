"""The table of wires: one line for each kind of SMS provider."""

from __future__ import annotations

from sandbox.config import Account
from sandbox.wires.base import Wire
from sandbox.wires.http import HttpWire
from sandbox.wires.infobip import InfobipWire
from sandbox.wires.telnyx import TelnyxWire
from sandbox.wires.twilio import TwilioWire
from sandbox.wires.vonage import VonageWire
from sandbox.world import World

KINDS: dict[str, type[HttpWire] | type[InfobipWire] | type[TelnyxWire] | type[TwilioWire] | type[VonageWire]] = {
    "http": HttpWire,
    "infobip": InfobipWire,
    "telnyx": TelnyxWire,
    "twilio": TwilioWire,
    "vonage": VonageWire,
}


def build(world: World, name: str, account: Account) -> Wire:
    """The wire of one account. Raises KeyError for a kind that has none."""
    return KINDS[account.kind](world, name, account)
