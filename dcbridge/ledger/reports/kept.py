"""Our side of both books: every message that should be at Genesys, by the id that both sides know."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal

from redis.asyncio import Redis

from dcbridge.ledger.fields import MessageEntry, TaskEntry, TaskState
from dcbridge.ledger.reports.search import everything
from dcbridge.messages import is_own

_FIELDS = {
    "state": MessageEntry.state.wire,
    "channel": MessageEntry.channel_id.wire,
    "message_id": MessageEntry.message_id.wire,
    "at": MessageEntry.accepted_at.wire,
    "job": TaskEntry.job.wire,
    "ended": TaskEntry.ended_at.wire,
    "ids": TaskEntry.posted_ids.wire,
}


@dataclass(frozen=True, slots=True)
class OurMessage:
    """One message by one id, "" where the id is not known. Copies of an agent message are one message to Genesys."""

    ref: str
    kind: Literal["agent", "consumer"]
    channel: str
    id: str
    at: float  # when it was accepted, or posted: seconds since 1970
    state: str


async def our_messages(redis: Redis) -> AsyncIterator[tuple[int, list[OurMessage]]]:
    """How many keys were looked at, and the messages among them, page by page. What is not posted yet is not one."""
    async for looked, entries in everything(redis, tuple(_FIELDS.values())):
        yield looked, [one for member, facts in entries.items() for one in _of(member, facts)]


def _of(member: str, found: Mapping[str, str]) -> list[OurMessage]:
    facts = {name: found.get(wire, "") for name, wire in _FIELDS.items()}
    ref, channel = member.partition(":")[2], facts["channel"]
    if is_own(channel):
        return []  # dcbridge wrote it: Genesys does not know it
    if member.startswith("m:"):
        at = _seconds(facts["at"])
        return [OurMessage(ref, "agent", channel, facts["message_id"], at, facts["state"])]
    if facts["job"] != "consumer" or facts["state"] != TaskState.DONE or not facts["ids"]:
        return []
    ids = [""] if facts["ids"] == "-" else facts["ids"].split(" ")
    return [OurMessage(ref, "consumer", channel, one, _seconds(facts["ended"]), "posted") for one in ids]


def _seconds(ms: str) -> float:
    return int(ms) / 1000 if ms.isdigit() else 0.0
