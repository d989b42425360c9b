"""Circular garbage that outlived the young generations is found when memory has grown."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from dcbridge.runtime.gc_tuning import collect_on_growth, tune_gc


@pytest.fixture(autouse=True)
def the_collector_as_it_was() -> Iterator[None]:
    usual = gc.get_threshold()
    yield
    gc.set_threshold(*usual)
    gc.unfreeze()


class _Circle:
    def __init__(self, size: int) -> None:
        self.itself = self
        self.holds = bytearray(b"x") * size  # written, and too large for what the process has freed before


def _old_garbage(size: int) -> weakref.ref[_Circle]:
    """In the oldest generation, where the thresholds of a busy process hardly ever look."""
    circle = _Circle(size)
    gc.collect()
    return weakref.ref(circle)


async def _gone(circle: weakref.ref[_Circle], seconds: float) -> bool:
    for _ in range(int(seconds / 0.02)):
        if circle() is None:
            return True
        await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize(("grown", "found"), [(4 << 20, True), (1 << 30, False)])
async def test_it_is_found_when_memory_has_grown_and_not_looked_for_otherwise(grown: int, found: bool) -> None:
    tune_gc()
    collecting = asyncio.create_task(collect_on_growth(0.02, grown))
    await asyncio.sleep(0.05)
    circle = _old_garbage(128 << 20)
    assert await _gone(circle, 10.0 if found else 0.3) is found
    collecting.cancel()
    if not found:
        gc.collect()
        assert circle() is None


async def test_what_is_needed_is_the_new_level() -> None:
    tune_gc()
    looks: list[str] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        if phase == "start" and facts["generation"] == 2:
            looks.append(phase)

    gc.callbacks.append(note)
    collecting = asyncio.create_task(collect_on_growth(0.02, 4 << 20))
    try:
        await asyncio.sleep(0.05)
        needed = bytearray(b"x") * (128 << 20)
        await asyncio.sleep(0.5)
        assert len(looks) == 1
        assert len(needed) == 128 << 20
    finally:
        gc.callbacks.remove(note)
        collecting.cancel()
