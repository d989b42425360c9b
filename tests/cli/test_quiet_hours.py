"""What an operator sees of a message that waits for quiet hours to end."""

from __future__ import annotations

import time

import pytest

from tests.cli.session import Session


async def test_trace_and_status_say_until_when(session: Session) -> None:
    ref, now = await session.sending("m-1"), time.time()
    hold = session.ledger.quiet.hold
    assert await hold(ref, "mine", now + 600, now, fingerprint="f", how="wait", detail="x") == "waits"
    shown = await session.types("trace", ref)
    until = f"{time.strftime('%Y-%m-%dT%H:%M', time.gmtime(now + 600))}"
    assert f"quiet hours of its consumer, until {until}" in shown.out
    assert "waits for quiet hours to end" in shown.out
    status = await session.types("status")
    assert "1 in quiet hours, the first for 10 min" in status.out or "the first for 9 min" in status.out
    assert "its consumer's quiet hours to end" in status.out
    told = (await session.types("status", "--json")).json
    [channel] = [one for one in told["channels"] if one["quiet"]]
    assert (channel["quiet"]["messages"], channel["oldest_age"]) == (1, 0.0)
    assert 590 < channel["quiet"]["opens_in"] <= 601


@pytest.mark.parametrize("line", ["n-", "n-x-f-0123456789", "n-99999999999999999999-f-c", "n-1"])
async def test_a_line_that_cannot_be_read_is_no_reason_to_say_nothing(session: Session, line: str) -> None:
    ref = await session.put("m-1")
    await session.redis.hset(f"dcb:m:{ref}", "q", line)
    await session.redis.zadd("dcb:lines", {line: 1})
    assert (await session.types("trace", ref)).code == 0
    assert (await session.types("status")).code in (0, 1)
    await session.ledger.sweep.run()
