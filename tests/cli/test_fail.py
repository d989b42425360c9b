"""`dcbridge fail`: an operator ends what waits for a channel that is in nobody's configuration any more."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from tests.cli.desk import Desk
from tests.ledger.ledger_bench import CHANNEL

GONE = "no-longer-here"


async def state_of(desk: Desk, ref: str) -> list[str]:
    found = await cast(Awaitable[list[bytes | None]], desk.redis.hmget(f"dcb:m:{ref}", ["s", "r"]))
    return [(one or b"").decode() for one in found]


async def waiting(desk: Desk, channel: str) -> str:
    """A message that waits for a channel that no worker knows."""
    ref = await desk.put("m-1", channel_id=channel)
    await desk.ledger.claim(ref, "mine", 60)
    assert await desk.ledger.strand(ref, "mine") == "waits"
    return ref


async def test_a_channel_that_is_configured_is_left_alone(desk: Desk) -> None:
    ref = await desk.put("m-1")
    said = await desk.types("fail", CHANNEL)
    assert (said.code, "is in bridge.yaml" in said.err) == (1, True)
    assert (await state_of(desk, ref))[0] == "accepted"


async def test_what_waits_for_a_channel_that_is_gone_fails_once(desk: Desk) -> None:
    ref = await waiting(desk, GONE)
    counted = await desk.types("fail", GONE, "--dry-run")
    assert (counted.code, counted.out) == (0, f"would fail 1 message of channel {GONE}\n")
    assert (await state_of(desk, ref))[0] == "accepted"
    said = await desk.types("fail", GONE)
    assert (said.code, "failed 1 message " in said.out) == (0, True)
    assert await state_of(desk, ref) == ["failed", "500"]
    again = await desk.types("fail", GONE)
    assert (again.code, "failed 0 messages" in again.out) == (0, True)
