"""`dcbridge fail`: an operator ends what waits for a channel that is in nobody's configuration any more."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from tests.cli.session import Session
from tests.ledger.ledger_bench import CHANNEL

GONE = "no-longer-here"


async def state_of(session: Session, ref: str) -> list[str]:
    found = await cast(Awaitable[list[bytes | None]], session.redis.hmget(f"dcb:m:{ref}", ["s", "r"]))
    return [(one or b"").decode() for one in found]


async def waiting(session: Session, channel: str) -> str:
    """A message that waits for a channel that no worker knows."""
    ref = await session.put("m-1", channel_id=channel)
    await session.ledger.messages.claim(ref, "mine", 60)
    assert await session.ledger.unconfigured.strand(ref, "mine") == "waits"
    return ref


async def test_a_channel_that_is_configured_is_left_alone(session: Session) -> None:
    ref = await session.put("m-1")
    said = await session.types("fail", CHANNEL)
    assert (said.code, "is in bridge.yaml" in said.err) == (1, True)
    assert (await state_of(session, ref))[0] == "accepted"


async def test_what_waits_for_a_channel_that_is_gone_fails_once(session: Session) -> None:
    ref = await waiting(session, GONE)
    counted = await session.types("fail", GONE, "--dry-run")
    assert (counted.code, counted.out) == (0, f"would fail 1 message of channel {GONE}\n")
    assert (await state_of(session, ref))[0] == "accepted"
    said = await session.types("fail", GONE)
    assert (said.code, "failed 1 message " in said.out) == (0, True)
    assert await state_of(session, ref) == ["failed", "500"]
    again = await session.types("fail", GONE)
    assert (again.code, "failed 0 messages" in again.out) == (0, True)
