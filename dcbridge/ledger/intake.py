"""What one webhook leaves in the ledger, and the one call that writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import NamedTuple

from dcbridge.ledger import Ledger, NewMessage
from dcbridge.ledger.fields import Kind


class NewDeadLetter(NamedTuple):
    """A message that cannot be carried, and that no receipt could name. `raw`: private."""

    id: str
    channel_id: str
    reason: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Intake:
    """What `dcbridge.intake.read` made of a webhook."""

    endpoint: str
    message_ids: tuple[str, ...]  # in order, one each; never empty
    channels: tuple[str, ...]  # that it names, each once; "" for a message that names none
    copies: tuple[NewMessage, ...] = ()
    dead_letters: tuple[NewDeadLetter, ...] = ()
    unconfigured: tuple[str, ...] = ()  # channels
    problems: tuple[str, ...] = ()  # each once, code first
    readable: bool = True  # False: the body is not JSON


async def accept(ledger: Ledger, intake: Intake) -> list[bool]:
    """Write all of it: True for each copy that is new. What fails in the middle is mended by the redelivery.

    The calls wait at one moment, so what is small travels in one script, and what is bulk as bulk does.
    """
    if not intake.dead_letters and not intake.unconfigured:
        return await ledger.messages.accept(intake.copies)
    beside: list[Awaitable[object]] = [
        ledger.dead_letters.add(one.id, Kind.AGENT_MESSAGE, one.channel_id, one.reason, one.raw)
        for one in intake.dead_letters
    ]
    if intake.unconfigured:
        beside.append(ledger.unconfigured.remember(intake.unconfigured, intake.endpoint))
    fresh, _ = await asyncio.gather(ledger.messages.accept(intake.copies), asyncio.gather(*beside))
    return fresh
