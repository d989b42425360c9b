"""One timer for all requests: each is cancelled when its own time is over, and no other one is."""

from __future__ import annotations

import asyncio

import pytest

from dcbridge.http.deadlines import Deadlines


async def test_what_is_done_in_time_is_returned_and_leaves_nothing() -> None:
    deadlines = Deadlines(5.0)
    assert await deadlines.within(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="its own"):
        await deadlines.within(_fails())
    assert not deadlines._due


async def _fails() -> None:
    raise ValueError("its own")


async def test_each_ends_when_its_own_time_is_over() -> None:
    deadlines = Deadlines(0.2)
    loop = asyncio.get_running_loop()
    ended: list[tuple[int, float]] = []

    async def hang(number: int) -> None:
        began = loop.time()
        with pytest.raises(TimeoutError):
            await deadlines.within(asyncio.Event().wait())
        ended.append((number, loop.time() - began))

    first = asyncio.create_task(hang(1))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(10):
        assert await deadlines.within(asyncio.sleep(0, "in time")) == "in time"
        await asyncio.gather(first, hang(2))
    assert [number for number, _ in ended] == [1, 2]
    assert all(seconds > 0.15 for _, seconds in ended)


async def test_a_task_goes_on_after_its_time_was_over() -> None:
    deadlines = Deadlines(0.05)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await deadlines.within(asyncio.Event().wait())
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_by_somebody_else_stays_one() -> None:
    deadlines = Deadlines(30.0)
    task = asyncio.create_task(deadlines.within(asyncio.Event().wait()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not deadlines._due
