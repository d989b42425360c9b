"""How a send ended, and what follows from it: state, delay, reason, and whether a person is called."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge import errors
from dcbridge.config.accounts import Retry
from tests.ledger.ledger_bench import Bench, new_message
from tests.workers.far_side import SMS, TAKEN, FarSide, Reply, hang_up, saying
from workers import outbound
from workers.failures import wait


@dataclass(frozen=True)
class Row:
    """One answer of the provider and its consequence; `wait` are bounds in seconds."""

    what: str
    reply: Reply
    state: str
    wait: tuple[float, float] | None = None
    reason: str | None = None
    fault: str = ""
    channel: str = SMS


# first 2 s, factor 3, jitter a half: the second attempt comes after 1 to 2 seconds.
FIRST = (0.5, 2.0)
ROWS = [
    Row("taken", TAKEN, "sent", (86000, 86400)),
    Row("taken, and that is enough", TAKEN, "delivered", channel="taken"),
    Row("taken, and unreadable", saying(201, b"<html>"), "sent", (86000, 86400), fault="unreadable"),
    Row("taken and unreadable proves no delivery", saying(200, {}), "sent", fault="unreadable", channel="taken"),
    Row("refused number", saying(400, {"code": 21211}), "failed", reason="530"),
    Row("opted out", saying(400, {"code": 21610}), "failed", reason="350"),
    Row("refused, nobody knows why", saying(400, b"?"), "failed", reason="500"),
    Row("not found", saying(404, {"code": 99999}), "failed", reason="500"),
    Row("too many", saying(429, {"code": 20429}), "retry", FIRST),
    Row("too many, seconds said", saying(429, {"code": 20429}, Retry_After="60"), "retry", (55, 60)),
    Row("too many, less than our own wait", saying(429, b"", Retry_After="0"), "retry", FIRST),
    Row("credentials", saying(401, {"code": 20003}), "retry", FIRST, fault="account_fault"),
    Row(
        "credentials, whatever the lane's limit", saying(401), "retry", FIRST, fault="account_fault", channel="hurried"
    ),
    Row("server error", saying(500, b"oops"), "unknown", (6, 7)),
    Row("gateway timeout", saying(504), "unknown", (6, 7)),
    Row("no answer", hang_up, "unknown", (6, 7)),
    Row("nobody there", TAKEN, "retry", FIRST, channel="unreachable"),
    Row("later than the lane may wait", saying(429, b"", Retry_After="60"), "failed", reason="310", channel="hurried"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
async def test_what_follows_from_an_answer(side: FarSide, row: Row) -> None:
    side.provider.replies = [row.reply]
    ref = await side.accept(channel=row.channel)
    await outbound.send(side.context, ref)
    entry = await side.entry(ref)
    assert (entry.state, entry.reason or None) == (row.state, row.reason)
    if row.wait:
        assert row.wait[0] < await side.wait_of(ref) <= row.wait[1]
    provider = "nowhere" if row.channel == "unreachable" else "twilio"
    for kind in ("unreadable", "account_fault", "bug"):
        assert side.counted("dcbridge_errors_total", kind=kind, name=provider) == (kind == row.fault), kind
    assert await side.difference() == 0
    assert len(side.provider.heard) == (row.channel != "unreachable")


def test_every_error_has_a_row() -> None:
    """Deferred is SMTP's, Gone a subscriber's."""
    known = {error.__name__ for error in errors.SendError.__subclasses__()}
    told = {
        "Unreachable",
        "Throttled",
        "Deferred",
        "OutcomeUnknown",
        "Refused",
        "AccountFault",
        "Unreadable",
        "Gone",
    }
    assert known == told


async def test_each_wait_is_longer_than_the_one_before(side: FarSide) -> None:
    side.provider.usual = saying(429)
    ref = await side.accept()
    bench, bounds = Bench(side.redis), [(1, 2), (3, 6), (5, 10), (5, 10)]
    for low, high in bounds:
        await outbound.send(side.context, ref)
        assert low - 0.5 < await side.wait_of(ref) <= high
        await bench.pass_time(11)
    assert (await side.entry(ref)).attempts == 4
    side.provider.usual = TAKEN
    await outbound.send(side.context, ref)
    assert (await side.entry(ref)).state == "sent"


@given(
    first=st.floats(0.01, 100), factor=st.floats(1, 10), most=st.floats(100, 1000), jitter=st.floats(0, 1),
    attempt=st.integers(1, 10_000), at_least=st.none() | st.floats(0, 5000),
)  # fmt: skip
def test_a_wait_keeps_its_bounds(
    first: float, factor: float, most: float, jitter: float, attempt: int, at_least: float | None
) -> None:
    found = wait(Retry(first=first, factor=factor, most=most, jitter=jitter), attempt, at_least)
    assert found >= (at_least or 0.0)
    assert found <= max(most, at_least or 0.0)
    if at_least is None:
        assert found >= min(first, most) * (1 - jitter) * 0.999


async def test_a_bug_of_ours_before_the_request_is_told_and_is_no_loop(side: FarSide) -> None:
    ref = await side.accept()
    await side.redis.set(f"dcb:p:{ref}", b"not what was stored")
    await outbound.send(side.context, ref)
    entry = await side.entry(ref)
    assert (entry.state, entry.reason, entry.detail) == ("failed", "500", "internal error")
    assert side.counted("dcbridge_errors_total", kind="bug", name="") == 1
    assert side.provider.heard == []


async def test_two_workers_with_the_same_job_send_once(side: FarSide) -> None:
    ref = await side.accept()
    await asyncio.gather(*(outbound.send(side.context, ref) for _ in range(5)))
    assert len(side.provider.heard) == 1
    assert (await side.entry(ref)).state == "sent"


async def test_parts_go_in_order_each_by_a_job_of_its_own(side: FarSide) -> None:
    ref = await side.accept(text="word " * 400)
    for number in (1, 2):
        await outbound.send(side.context, ref)
        assert len(side.provider.heard) == number
    assert (await side.entry(ref)).state == "sent"
    texts = [form["Body"] for form in side.provider.forms]
    assert "".join(texts).replace(" ", "") == "word" * 400
    assert [form["To"] for form in side.provider.forms] == ["+16504661149"] * 2
    assert [form["From"] for form in side.provider.forms] == ["+15557650123"] * 2


async def test_a_channel_that_left_the_configuration_waits_for_an_operator(side: FarSide) -> None:
    copy = new_message("m-1", channel_id="gone", time_to_live=100.0)
    await side.context.ledger.messages.accept([copy])
    await outbound.send(side.context, copy.ref)
    entry = await side.entry(copy.ref)
    assert (entry.state, entry.line, entry.total_attempts) == ("accepted", "u-gone", 0)
    assert side.counted("dcbridge_errors_total", kind="unconfigured", name="") == 1
