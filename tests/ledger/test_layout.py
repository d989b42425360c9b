"""The number of the layout: written once, raised and never lowered, and a newer one is refused by whoever writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.layout import LAYOUT, LAYOUTS, WrongLayout, problem
from tests.ledger.ledger_bench import CHANNEL, Bench
from tests.stack import Stack, until

NEWER = str(LAYOUT + 1).encode()


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


@pytest.mark.parametrize("found", [None, b"1", str(LAYOUT).encode()])
async def test_an_older_one_is_raised_and_ones_own_is_kept(bench: Bench, found: bytes | None) -> None:
    if found is not None:
        await bench.redis.set("dcb:layout", found)
    layout = bench.ledger.layout
    await layout.require()
    assert await layout.stored() == found  # looking writes nothing
    for _ in range(2):
        await layout.raise_it()
        assert await layout.stored() == str(LAYOUT).encode()


async def test_a_newer_one_is_never_lowered(bench: Bench) -> None:
    await bench.redis.set("dcb:layout", NEWER)
    layout = bench.ledger.layout
    await layout.raise_it()
    assert await layout.stored() == NEWER
    with pytest.raises(WrongLayout, match=f"layout {LAYOUT + 1}, written by a newer version.*1 to {LAYOUT}"):
        await layout.require()


@pytest.mark.parametrize("stored", [NEWER, b"999", b"999999999", b"1" * 400, b"", b"0", b"-1", b"two", b"1.5", b"\xff"])
def test_what_is_newer_or_no_number_is_refused(stored: bytes) -> None:
    assert problem(stored)
    assert len(problem(stored)) < 300


@pytest.mark.parametrize("stored", [None, *(str(number).encode() for number in LAYOUTS)])
def test_what_this_version_carries_on_is_not(stored: bytes | None) -> None:
    assert problem(stored) == ""


async def test_who_waits_in_a_list_of_the_first_layout_is_looked_at_at_once(bench: Bench) -> None:
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 1 0 1 1"})
    refs = [await bench.put(f"m-{n}", to_id=f"m{n}") for n in range(3)]
    for ref, hold in zip(refs, (f"c-{CHANNEL}", "p-acme", "p-acme"), strict=True):
        await bench.redis.rpush(f"dcb:hold:{hold}", f"m:{ref}")
        await bench.redis.zadd("dcb:due", {f"m:{ref}": 9e15})
    await bench.redis.zrem("dcb:due", f"m:{refs[2]}")  # it has gone by another way
    await bench.ledger.layout.raise_it()
    assert await bench.keys("dcb:hold:*") == []
    rows: Any = await bench.redis.zrange("dcb:due", 0, -1, withscores=True)
    due = {member.decode(): score for member, score in rows}
    assert due.keys() == {f"m:{ref}" for ref in refs[:2]}
    assert max(due.values()) < 9e15


# ---------------------------------------------------------------- processes


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(parts=("sandbox",)) as running:
        yield running


def runs(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    return stack.command(*command)


COMMANDS = [
    ("serve",), ("worker",), ("worker", "--burst"), ("dead", "replay", "--all"), ("dead", "drop", "--all"),
    ("aside", "list"), ("events", "replay", "--subscriber", "sandbox", "--since", "1h"),
    ("subscribers", "enable", "sandbox"), ("resume", "twilio"), ("fail", "nobody"), ("books",), ("status",),
    ("trace", "x"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_newer_layout_is_refused_in_one_sentence(stack: Stack, command: tuple[str, ...]) -> None:
    with stack.ledger() as redis:
        redis.flushall()
        redis.set("dcb:layout", NEWER)
        ran = runs(stack, *command)
        assert ran.returncode == 2, ran.stderr
        assert f"layout {LAYOUT + 1}, written by a newer version" in ran.stderr
        assert "Traceback" not in ran.stderr
        assert [key for key in redis.keys("*") if key != b"dcb:layout"] == []  # and nothing was written


def test_check_says_it(stack: Stack) -> None:
    with stack.ledger() as redis:
        redis.flushall()
        assert runs(stack, "check").returncode == 0
        redis.set("dcb:layout", NEWER)
    ran = runs(stack, "check")
    assert ran.returncode == 1
    assert f"error: redis: the ledger has layout {LAYOUT + 1}" in ran.stderr


def test_the_number_is_written_at_the_first_start_and_again_in_a_store_that_is_empty(stack: Stack) -> None:
    with stack.ledger() as redis:
        for part in ("service", "worker"):
            redis.flushall()
            stack.start(part)
            until(lambda: redis.get("dcb:layout") == str(LAYOUT).encode(), f"the {part} writes the number")
            if part == "service":
                stack.terminate(part)
        until(lambda: redis.exists("dcb:store"), "the worker sweeps")
        swept = redis.hget("dcb:watched", "clock")
        until(lambda: redis.hget("dcb:watched", "clock") != swept, "and again, since it knows the store")
        redis.flushall()
        until(lambda: redis.get("dcb:layout") == str(LAYOUT).encode(), "the worker writes it again")
        redis.set("dcb:layout", NEWER)  # a newer version starts beside it
        stack.start("service", wait=False)
        assert stack.processes["service"].wait(30) == 2
        assert stack.is_ready("worker")  # and whoever runs goes on
        stack.terminate("worker")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_service_that_starts_without_redis_looks_at_it_later(processes: str) -> None:
    with Stack(parts=(), settings={"DCBRIDGE_SERVICE_PROCESSES": processes}) as own:
        with own.ledger() as redis:
            redis.set("dcb:layout", NEWER)
        own.freeze_redis()
        process = own.run("service", [sys.executable, "-m", "dcbridge", "serve"])
        until(lambda: own.lines("service", "service_started"), "it has started")
        own.thaw_redis()
        assert process.wait(30) == 2
        said = own.said("service")
        assert f"error: Redis: the ledger has layout {LAYOUT + 1}, written by a newer version" in said
        assert "1 problem to fix." in said
        assert "Traceback" not in said


def test_the_page_for_operators_names_this_layout() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations" / "upgrade.md").read_text()
    assert f"This version has layout {LAYOUT};" in page
