"""The job `ask`: what it asks, what follows from each answer, and from none."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from dcbridge.messages import MessageStatus, UpdateStatus
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, FarSide, Reply, hang_up, saying
from workers import lookups, outbound
from workers.reconciler import sweep

CHANNEL, NUMBER = "asked", "+15557650128"
TEXT = "Agent message text"


@dataclass
class Asked:
    """A message whose provider hung up on the request, and what the provider then says it has."""

    side: FarSide
    bench: Bench
    listed: list[dict[str, Any]]
    passed: float = 0.0  # seconds by which the clock was put forward

    async def unknown(self, message_id: str = "m-1", channel: str = CHANNEL, **changes: Any) -> str:
        ref = await self.side.accept(message_id, channel, **changes)
        self.side.provider.replies = [hang_up]
        await outbound.send(self.side.context, ref)
        assert await self.bench.state(ref) == "unknown"
        self.side.provider.usual = self.list_it
        return ref

    async def pass_time(self, seconds: float) -> None:
        await self.bench.pass_time(seconds)
        self.passed += seconds

    async def list_it(self, request: Request) -> Response:
        """A page of the list, or the one message; rows are dated from when the test began."""
        if request.method == "POST":
            return Response(orjson.dumps({"sid": "SM-late"}), 201)
        sid = request.url.path.rpartition("/")[2].removesuffix(".json")
        body: object = {"messages": self.listed, "next_page_uri": None}
        if sid != "Messages":
            found = [row for row in self.listed if row["sid"] == sid]
            body = found[0] if found else {"code": 20404, "status": 404}
        return Response(orjson.dumps(body), 404 if body == {"code": 20404, "status": 404} else 200)

    def has(self, sid: str = "SM1", **changes: object) -> None:
        row: dict[str, object] = {
            "sid": sid,
            "to": "+" + CONSUMER,
            "from": NUMBER,
            "body": TEXT,
            "status": "delivered",
            "direction": "outbound-api",
            "date_created": formatdate(time.time(), usegmt=True),
            "error_code": None,
        }
        self.listed.append(row | changes)

    async def ask(self, ref: str) -> str:
        """The sweep finds it due, and its job runs; the state after that."""
        await sweep(self.side.context)
        assert await self.bench.pop_job("inbound") == ref
        await lookups.ask(self.side.context, ref)
        return await self.bench.state(ref)

    def counted(self, answer: str, about: str = "outcome") -> float:
        return self.side.counted("dcbridge_status_lookups_total", provider="asked", about=about, answer=answer)


@pytest.fixture
async def asked(side: FarSide) -> Asked:
    await side.context.ledger.pacing.announce(side.context.configuration.limits())
    return Asked(side, Bench(side.redis), [])


# ---------------------------------------------------------------- about an outcome


async def test_a_message_that_the_provider_has_is_not_sent_again(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has()
    await asked.pass_time(11)
    assert await asked.ask(ref) == "delivered"
    [url] = asked.side.provider.asked
    assert dict(parse_qsl(urlsplit(url).query)) == {"To": "+" + CONSUMER, "From": NUMBER, "PageSize": "200"}
    assert len(asked.side.provider.heard) == 1
    assert (await asked.side.entry(ref)).provider_id(0) == "SM1"
    assert await asked.bench.owed(CHANNEL) == [("m-1", "Delivered", "")]
    assert asked.counted("found") == 1
    assert await asked.side.difference() == 0


async def test_what_became_of_it_is_told_with_its_reason(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has(status="undelivered", error_code=30005)
    await asked.pass_time(11)
    assert await asked.ask(ref) == "failed"
    assert await asked.bench.owed(CHANNEL) == [("m-1", "Failed", "530")]


async def test_one_that_is_under_way_waits_for_its_update_and_is_asked_about_by_its_id(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has(status="queued")
    await asked.pass_time(11)
    assert await asked.ask(ref) == "sent"
    assert 599 < await asked.side.wait_of(ref) <= 600
    asked.listed[0]["status"] = "delivered"
    await asked.pass_time(601)
    assert await asked.ask(ref) == "delivered"
    assert urlsplit(asked.side.provider.asked[-1]).path.endswith("/Messages/SM1.json")


async def test_taken_is_delivered_where_the_channel_says_so(asked: Asked) -> None:
    ref = await asked.unknown(channel="asked-taken")
    asked.has(status="queued", **{"from": "+15557650130"})
    await asked.pass_time(11)
    assert await asked.ask(ref) == "delivered"


@pytest.mark.parametrize("channel", [CHANNEL, "asked-fails"])
async def test_an_absent_message_is_sent_again_when_the_list_has_caught_up_whatever_the_policy(
    asked: Asked, channel: str
) -> None:
    ref = await asked.unknown(channel=channel)
    await asked.pass_time(11)
    assert await asked.ask(ref) == "unknown"
    assert 8 < await asked.side.wait_of(ref) <= 9  # list_lag is 20
    await asked.pass_time(10)
    assert await asked.ask(ref) == "retry"
    await outbound.send(asked.side.context, ref)
    assert (await asked.bench.state(ref), len(asked.side.provider.heard)) == ("sent", 2)
    assert (asked.counted("not_yet"), asked.counted("absent")) == (1, 1)
    counted = await asked.side.redis.hgetall("dcb:counts")
    assert int(counted[b"unknown_not_there"]) == 1
    assert b"unknown_resend" not in counted


async def test_a_row_from_before_the_request_is_not_ours(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has(date_created=formatdate(time.time() - 3600, usegmt=True))
    await asked.pass_time(21)
    assert await asked.ask(ref) == "retry"


async def test_the_same_words_twice_at_once_are_told_apart_by_the_ids_that_are_known(asked: Asked) -> None:
    """Two channels write the same words to one consumer from one number; one of them was answered."""
    ref = await asked.unknown()
    asked.has("SM-theirs")
    asked.has("SM-ours")
    await asked.side.redis.set("dcb:id:asked:SM-theirs", "f" * 24 + " 0")
    await asked.pass_time(11)
    assert await asked.ask(ref) == "delivered"
    assert (await asked.side.entry(ref)).provider_id(0) == "SM-ours"


async def test_what_another_provider_of_the_same_account_sent_is_not_ours(asked: Asked) -> None:
    theirs = await asked.side.accept("m-2", "twin")
    asked.side.provider.usual = saying(201, {"sid": "SM-theirs"})
    await outbound.send(asked.side.context, theirs)
    asked.has("SM-theirs")
    ref = await asked.unknown()
    await asked.pass_time(21)
    assert await asked.ask(ref) == "retry"


@pytest.mark.parametrize(("channel", "then"), [(CHANNEL, "retry"), ("asked-fails", "failed")])
@pytest.mark.parametrize(
    ("rows", "why"),
    [([{}, {}], "several with this text"), ([{"body": "Sent from a trial: Agent"}], "one with another text")],
)
async def test_what_cannot_be_told_apart_is_for_the_policy(
    asked: Asked, channel: str, then: str, rows: list[dict[str, object]], why: str
) -> None:
    ref = await asked.unknown(channel=channel)
    sender = asked.side.context.configuration.channels[channel].number
    for number, row in enumerate(rows):
        asked.has(f"SM{number}", **{"from": sender, **row})
    await asked.pass_time(21)
    with capture_logs() as said:
        assert await asked.ask(ref) == then
    assert [line["detail"] for line in said if line["event"] == "status_lookup_answered"] == [why]
    assert asked.counted("unclear") == 1


async def test_after_a_resend_both_copies_are_ours(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has("SM1", body="rewritten")
    await asked.pass_time(21)
    assert await asked.ask(ref) == "retry"  # by policy: nobody could tell
    asked.side.provider.replies = [hang_up]
    await outbound.send(asked.side.context, ref)
    asked.listed.clear()
    asked.has("SM1", status="sent")
    asked.has("SM2")
    await asked.pass_time(21)
    assert await asked.ask(ref) == "delivered"
    whose = await asked.side.context.ledger.lookups.whose("asked", ["SM1", "SM2"])
    assert set(whose.values()) == {f"{ref} 0"}


async def test_equal_parts_of_one_text_are_not_mixed_up(asked: Asked) -> None:
    ref = await asked.side.accept("m-1", CHANNEL, text="x" * 3200)
    asked.side.provider.replies = [saying(201, {"sid": "SM-first"}), hang_up]
    await outbound.send(asked.side.context, ref)
    await outbound.send(asked.side.context, ref)
    asked.side.provider.usual = asked.list_it
    asked.has("SM-first", body="x" * 1600, status="sent")
    await asked.pass_time(21)
    assert await asked.ask(ref) == "retry"  # the second is not there
    await outbound.send(asked.side.context, ref)
    entry = await asked.side.entry(ref)
    assert (entry.state, entry.provider_id(0), entry.provider_id(1)) == ("sent", "SM-first", "SM-late")


async def test_a_list_is_gone_through_to_its_end(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has("SM-ours")
    old = formatdate(time.time() - 3600, usegmt=True)

    async def pages(request: Request) -> Response:
        number = int(request.query_params.get("Page", "0"))
        path = f"{request.url.path}?PageSize=200&Page={number + 1}&PageToken=PA1"
        rows = asked.listed if number == 3 else [{**asked.listed[0], "sid": f"SM{number}", "date_created": old}]
        body = {"messages": rows, "next_page_uri": path if number < 5 else None}
        return Response(orjson.dumps(body))

    asked.side.provider.usual = pages
    await asked.pass_time(11)
    assert await asked.ask(ref) == "delivered"
    assert (await asked.side.entry(ref)).provider_id(0) == "SM-ours"


async def test_a_list_without_an_end_is_not_read_for_ever_and_proves_nothing(asked: Asked) -> None:
    ref = await asked.unknown(channel="asked-fails")

    async def endless(request: Request) -> Response:
        body = {"messages": [], "next_page_uri": f"{request.url.path}?Page=1"}
        return Response(orjson.dumps(body))

    asked.side.provider.usual = endless
    await asked.pass_time(21)
    assert await asked.ask(ref) == "failed"
    assert len(asked.side.provider.asked) == lookups.PAGES


async def test_an_update_that_comes_while_we_ask_settles_it(asked: Asked) -> None:
    ref = await asked.unknown()

    async def slow(_request: Request) -> Response:
        assert await asked.bench.update(ref, "delivered") == "delivered"
        return Response(orjson.dumps({"messages": []}))

    asked.side.provider.usual = slow
    await asked.pass_time(21)
    assert await asked.ask(ref) == "delivered"
    assert len(asked.side.provider.heard) == 1


async def test_a_message_of_before_this_was_kept_is_for_the_policy(asked: Asked) -> None:
    """An entry that became unknown under an older version does not say when its request began."""
    ref = await asked.unknown()
    asked.has()
    await asked.side.redis.hdel(f"dcb:m:{ref}", "us", "un")
    await asked.pass_time(21)
    assert await asked.ask(ref) == "retry"


# ---------------------------------------------------------------- no answer


FAULTS: list[tuple[str, Reply]] = [
    ("throttled", saying(429, {"code": 20429})),
    ("outcome_unknown", saying(500)),
    ("outcome_unknown", hang_up),
    ("account_fault", saying(401, {"code": 20003})),
    ("unreadable", saying(200, b"<html>")),
    ("refused", saying(400, {"code": 20001})),
]


@pytest.mark.parametrize(("outcome", "reply"), FAULTS)
async def test_a_question_that_fails_is_asked_again_a_few_times_and_then_the_policy_decides(
    asked: Asked, outcome: str, reply: Reply
) -> None:
    ref = await asked.unknown(channel="asked-fails")
    asked.side.provider.usual = reply
    await asked.pass_time(21)
    for wait in ((1, 2), (3, 6), (5, 10), (5, 10)):  # 2, 6, 18, no more than 10 seconds, less a half by chance
        with capture_logs() as said:
            assert await asked.ask(ref) == "unknown"
        assert [line["outcome"] for line in said if line["event"] == "status_lookup_failed"] == [outcome]
        assert wait[0] - 0.5 < await asked.side.wait_of(ref) <= wait[1]
        await asked.pass_time(wait[1])
    assert await asked.ask(ref) == "failed"
    assert asked.counted("failed") == lookups.TRIES
    assert await asked.bench.owed("asked-fails") == [("m-1", "Failed", "500")]


async def test_a_question_that_fails_once_is_answered_the_next_time(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has()
    asked.side.provider.replies = [saying(500)]
    await asked.pass_time(11)
    assert await asked.ask(ref) == "unknown"
    await asked.pass_time(3)
    assert await asked.ask(ref) == "delivered"


async def test_a_question_that_fails_opens_no_breaker(asked: Asked) -> None:
    """A login may be good for sending and not for reading."""
    ref = await asked.unknown()
    asked.side.provider.usual = saying(401, {"code": 20003})
    await asked.side.redis.delete("dcb:failing:asked")
    await asked.pass_time(21)
    await asked.ask(ref)
    assert await asked.bench.keys("dcb:breaker*") == []
    assert await asked.bench.keys("dcb:failing:*") == []
    assert asked.side.counted("dcbridge_errors_total", kind="status_lookup_account_fault", name="asked") == 1


@pytest.mark.parametrize(("reply", "closed"), [(None, True), (saying(500), False), (saying(401), False)])
async def test_where_no_message_can_try_whether_the_provider_is_back_a_question_does(
    asked: Asked, reply: Reply | None, closed: bool
) -> None:
    ref = await asked.unknown()
    asked.has()
    await asked.pass_time(21)
    ledger, redis = asked.side.context.ledger, asked.side.redis
    await ledger.pacing.record_failure("asked", ref, "20003", at_once=True, threshold=1, first=0.001, most=60.0)
    if reply is not None:
        asked.side.provider.usual = reply
    await asyncio.sleep(0.01)
    assert await asked.ask(ref) == ("delivered" if closed else "unknown")
    assert bool(await redis.exists("dcb:breaker:asked")) is not closed
    if not closed:
        assert await redis.hget("dcb:breaker:asked", "wait") == b"2"  # ms, twice the first


async def test_a_retry_after_holds_for_everybody(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.side.provider.usual = saying(429, {"code": 20429}, Retry_After="40")
    await asked.pass_time(21)
    assert await asked.ask(ref) == "unknown"
    assert 39 < await asked.side.wait_of(ref) <= 40
    other = await asked.side.accept("m-2", CHANNEL, to="16504661140")
    await outbound.send(asked.side.context, other)
    assert (await asked.bench.state(other), len(asked.side.provider.heard)) == ("accepted", 1)


async def test_a_provider_that_never_answers_is_given_up(asked: Asked) -> None:
    ref = await asked.unknown()

    async def silence(_request: Request) -> Response:
        await asyncio.sleep(60)
        return Response()

    asked.side.provider.usual = silence
    await asked.pass_time(21)
    with capture_logs() as said:
        assert await asked.ask(ref) == "unknown"
    assert [line["code"] for line in said if line["event"] == "status_lookup_failed"] == ["timeout"]


# ---------------------------------------------------------------- about a delivery


async def sent(asked: Asked, message_id: str = "m-1", channel: str = CHANNEL, **changes: Any) -> str:
    ref = await asked.side.accept(message_id, channel, **changes)
    asked.side.provider.replies = [saying(201, {"sid": "SM1"})]
    await outbound.send(asked.side.context, ref)
    assert await asked.bench.state(ref) == "sent"
    asked.side.provider.usual = asked.list_it
    return ref


async def test_a_message_that_is_never_heard_of_is_asked_about_at_doubling_distances(asked: Asked) -> None:
    ref = await sent(asked)
    asked.has(status="sent")
    at = []
    for _ in range(4):
        wait = await asked.side.wait_of(ref)
        await asked.pass_time(wait + 0.01)
        at.append(round(asked.passed, -2))
        assert await asked.ask(ref) == "sent"
    assert at == [600, 1200, 2400, 4800]
    await asked.pass_time(await asked.side.wait_of(ref) + 0.01)
    assert await asked.ask(ref) == "unconfirmed"  # confirm_within is 5000
    assert round(asked.passed, -2) == 5000
    assert len(asked.side.provider.asked) == 5
    assert asked.counted("sent", "delivery") == 5


async def test_the_last_question_can_still_confirm_it(asked: Asked) -> None:
    ref = await sent(asked)
    asked.has(status="delivered")
    await asked.pass_time(5001)
    assert await asked.ask(ref) == "delivered"
    assert await asked.bench.owed(CHANNEL) == [("m-1", "Delivered", "")]


@pytest.mark.parametrize("reply", [saying(500), saying(429), hang_up])
async def test_a_last_question_that_fails_too_often_leaves_it_unconfirmed(asked: Asked, reply: Reply) -> None:
    ref = await sent(asked, channel="asked-fails")
    asked.side.provider.usual = reply
    await asked.pass_time(86401)
    for _ in range(lookups.TRIES - 1):
        assert await asked.ask(ref) == "sent"
        await asked.pass_time(11)
    assert await asked.ask(ref) == "unconfirmed"
    assert await asked.bench.owed("asked-fails") == [("m-1", "Failed", "500")]


async def test_an_earlier_question_that_fails_too_often_is_asked_again_later(asked: Asked) -> None:
    ref = await sent(asked)
    asked.side.provider.usual = saying(500)
    await asked.pass_time(601)
    for _ in range(lookups.TRIES - 1):
        await asked.ask(ref)
        await asked.pass_time(11)
    assert await asked.ask(ref) == "sent"
    assert 600 < await asked.side.wait_of(ref) < 700
    assert not (await asked.side.entry(ref)).lookup_failures


async def test_a_message_that_the_provider_no_longer_knows_is_unconfirmed_in_the_end(asked: Asked) -> None:
    ref = await sent(asked)
    await asked.pass_time(601)
    assert await asked.ask(ref) == "sent"
    assert asked.counted("absent", "delivery") == 1
    await asked.pass_time(5000)
    assert await asked.ask(ref) == "unconfirmed"
    assert len(asked.side.provider.heard) == 1  # it was taken once: nothing is sent again


async def test_only_parts_whose_last_word_is_not_known_are_asked_about(asked: Asked) -> None:
    ref = await asked.side.accept("m-1", CHANNEL, text="x" * 3200)
    asked.side.provider.replies = [saying(201, {"sid": "SM0"}), saying(201, {"sid": "SM1"})]
    await outbound.send(asked.side.context, ref)
    await outbound.send(asked.side.context, ref)
    asked.side.provider.usual = asked.list_it
    assert await asked.bench.update(ref, "delivered", 0) == "noted"
    asked.has("SM1", status="delivered")
    await asked.pass_time(601)
    assert await asked.ask(ref) == "delivered"
    assert [urlsplit(url).path.rpartition("/")[2] for url in asked.side.provider.asked] == ["SM1.json"]


async def test_a_provider_that_was_silenced_for_too_long_leaves_the_message_unconfirmed(asked: Asked) -> None:
    ref = await sent(asked)
    pacing = asked.side.context.ledger.pacing
    await pacing.record_failure("asked", ref, "20003", at_once=True, threshold=1, first=5.0, most=60.0)
    await asked.pass_time(5001)
    assert await asked.ask(ref) == "sent"  # nobody is asked now
    assert asked.side.provider.asked == []
    await asked.pass_time(900)
    await sweep(asked.side.context)
    assert await asked.bench.state(ref) == "unconfirmed"


async def test_a_channel_that_can_no_longer_be_asked_about_waits_until_the_end(asked: Asked) -> None:
    ref = await sent(asked)
    asked.side.context.providers["asked"].status_lookup = None
    await asked.pass_time(601)
    await sweep(asked.side.context)
    assert await asked.bench.state(ref) == "sent"
    assert 4390 < await asked.side.wait_of(ref) <= 4400


# ---------------------------------------------------------------- what is shown


async def test_nothing_that_is_written_down_says_who_or_what(asked: Asked) -> None:
    ref = await asked.unknown()
    asked.has()
    await asked.pass_time(11)
    with capture_logs() as said:
        assert await asked.ask(ref) == "delivered"
    [line] = [line for line in said if line["event"] == "status_lookup_answered"]
    assert (line["about"], line["answer"], line["provider_id"]) == ("outcome", "found", "SM1")
    found = (await asked.side.entry(ref)).hash
    entry = {name: value for name, value in found.items() if name not in (b"from", b"to")}
    for private in (TEXT, CONSUMER, NUMBER):
        assert private not in repr(said)
        assert private not in repr(entry)
    assert CONSUMER not in repr(MessageStatus("SM1", UpdateStatus.SENT))
