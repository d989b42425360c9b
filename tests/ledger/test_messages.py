"""The ledger's stories: acceptance, copies, parts, lanes, the jobs it queues and what it forgets."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import redis as sync_redis
from redis.asyncio import Redis
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, KEEP, KEEP_DEAD, PAYLOAD, Bench, copies_of, new_message

SECRET_TEXT = b'{"text":"a very private text"}'


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


# ---------------------------------------------------------------- acceptance


async def test_a_message_is_accepted_once(bench: Bench) -> None:
    assert await bench.ledger.messages.accept([new_message()]) == [True]
    assert await bench.ledger.messages.accept([new_message(payload=b"other")]) == [False]
    assert await bench.queued() == [new_message().ref]
    assert (await bench.ledger.messages.claim(new_message().ref, "t", 60.0)).entry.payload == PAYLOAD


async def test_a_redelivery_days_after_the_end_is_recognised_and_forgotten_after_that(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.taken(ref, delivered=True)
    await bench.ledger.receipts.done(CHANNEL, [ref])
    await bench.pass_time(KEEP - 10)
    assert await bench.ledger.messages.accept([new_message()]) == [False]
    await bench.pass_time(20)
    assert await bench.ledger.messages.accept([new_message()]) == [True]


async def test_a_redelivery_that_nobody_would_make_any_more_is_counted(bench: Bench) -> None:
    await bench.put("m-1")
    for seconds, late in ((0.0, 0), (3500.0, 0), (200.0, 1), (86400.0, 2)):
        await bench.pass_time(seconds)
        assert await bench.ledger.messages.accept([new_message("m-1")]) == [False]
        assert (await read(bench.redis)).counts.get("redelivered_late", 0) == late


@pytest.mark.parametrize("other", [{"channel_id": "other"}, {"message_id": "m-2"}])
async def test_only_channel_and_message_id_make_a_message(bench: Bench, other: dict[str, str]) -> None:
    await bench.put()
    message_id = other.pop("message_id", "m-1")
    assert await bench.ledger.messages.accept([new_message(message_id, **other)]) == [True]


async def test_the_same_message_twice_in_one_write_is_one(bench: Bench) -> None:
    twice = [*copies_of("m-1", "a", "b"), *copies_of("m-1", "a", "b"), new_message("m-2")]
    assert await bench.ledger.messages.accept(twice) == [True, True, False, False, True]
    assert await bench.difference() == 0


async def test_nothing_to_accept_is_nothing(bench: Bench) -> None:
    assert await bench.ledger.messages.accept([]) == []
    assert await bench.keys("*") == []


async def test_a_message_with_a_reason_ends_at_once_and_is_kept_as_a_dead_letter(bench: Bench) -> None:
    copies = copies_of("m-1", "a", "b", reason=520, detail="text is not a text")
    copies[0] = new_message("m-1", to_id="a", copies=2, reason=520, detail="text is not a text", raw=b"the bytes")
    assert await bench.ledger.messages.accept(copies) == [True, True]
    assert await bench.queued() == []
    assert await bench.lanes() == {}
    assert await bench.owed() == [("m-1", "Failed", "520")] * 2
    letter = await _hash(bench.redis, f"dcb:dead:m-{copies[0].ref}")
    assert letter[b"raw"] == b"the bytes"
    assert letter[b"reason"] == b"text is not a text"
    assert await bench.keys("dcb:p:*") == []
    assert await bench.difference() == 0


# ---------------------------------------------------------------- copies


async def test_copies_share_one_payload_until_the_last_needs_it_no_more(bench: Bench) -> None:
    copies = copies_of("m-1", "a", "b", "c", payload=SECRET_TEXT)
    assert await bench.ledger.messages.accept(copies) == [True] * 3
    assert (await bench.whole_database()).count(b"very private") == 1
    for copy in copies:
        assert (await bench.ledger.messages.claim(copy.ref, "mine", 60.0)).entry.payload == SECRET_TEXT
    assert await bench.taken(copies[0].ref) == "sent"
    assert await bench.taken(copies[1].ref, delivered=True) == "delivered"
    assert await bench.ledger.messages.accept(copies) == [False] * 3  # a redelivery takes nothing away
    again = await bench.ledger.messages.claim(copies[2].ref, "mine", 60.0)
    assert again.entry.payload == SECRET_TEXT
    assert await bench.ledger.messages.fail(copies[2].ref, "mine", 530, "") == "failed"
    assert b"very private" not in await bench.whole_database()
    assert await bench.keys("dcb:p:*") == []


async def test_a_redelivery_after_some_copies_were_forgotten_is_still_one(bench: Bench) -> None:
    copies = copies_of("m-1", "a", "b", payload=SECRET_TEXT)
    await bench.ledger.messages.accept(copies)
    for copy in copies:
        await bench.ledger.messages.claim(copy.ref, "mine", 60.0)
    await bench.taken(copies[0].ref, delivered=True)
    await bench.ledger.receipts.done(CHANNEL, [copies[0].ref])
    await bench.pass_time(KEEP + 1)
    assert await bench.state(copies[0].ref) == "gone"
    assert await bench.ledger.messages.accept(copies) == [False] * 2
    await bench.taken(copies[1].ref, delivered=True)
    assert b"very private" not in await bench.whole_database()
    await bench.ledger.receipts.done(CHANNEL, [copies[1].ref])
    await bench.pass_time(KEEP + 1)
    assert await bench.ledger.messages.accept(copies) == [True] * 2


async def test_each_copy_ends_for_itself(bench: Bench) -> None:
    first, second = copies_of("m-1", "a", "b")
    await bench.ledger.messages.accept([first, second])
    assert len(await bench.lanes()) == 2
    await bench.ledger.messages.claim(first.ref, "mine", 60.0)
    await bench.ledger.messages.fail(first.ref, "mine", 530, "550")
    assert await bench.state(second.ref) == "accepted"
    assert [(o.to_id, o.status) for o in await bench.ledger.receipts.take(CHANNEL, 10, 60)] == [("a", "Failed")]


# ---------------------------------------------------------------- parts


async def test_parts_go_one_after_the_other_and_hold_the_lane_until_the_last(bench: Bench) -> None:
    ref = await bench.sending("m-1")
    behind = await bench.put("m-2")
    await bench.ledger.messages.parts(ref, "mine", 2)
    assert await bench.taken(ref, part=0, count=2) == "next"
    assert await bench.state(ref) == "accepted"
    assert (await bench.ledger.messages.claim(behind, "b", 60.0)).why == "not its turn"
    claimed = await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert (claimed.entry.part, claimed.entry.attempts, claimed.entry.total_attempts) == (1, 1, 2)
    assert await bench.taken(ref, part=1, count=2) == "sent"
    assert await bench.update(ref, "delivered", 0) == "noted"
    assert await bench.update(ref, "delivered", 1) == "delivered"
    assert (await bench.ledger.messages.claim(behind, "b", 60.0)).ours


async def test_reports_of_parts_in_any_order_before_the_answers(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.parts(ref, "mine", 2)
    assert await bench.update(ref, "delivered", 1) == "gone"  # part 1 was never on the wire
    assert await bench.update(ref, "delivered", 0) == "parked"
    assert await bench.taken(ref, part=0, count=2) == "next"
    await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert await bench.update(ref, "delivered", 1) == "parked"
    assert await bench.taken(ref, part=1, count=2) == "delivered"


async def test_a_part_that_failed_fails_the_message_though_the_next_one_is_on_its_way(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.parts(ref, "mine", 2)
    await bench.taken(ref, part=0, count=2)
    await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert await bench.update(ref, "failed", 0, reason="530", detail="30005") == "failed"
    assert await bench.taken(ref, part=1, count=2) == "stale"
    assert await bench.owed() == [("m-1", "Failed", "530")]


async def test_an_update_alone_settles_a_part_whose_answer_was_lost(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.parts(ref, "mine", 2)
    await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout")
    assert await bench.update(ref, "sent", 0) == "next"
    assert await bench.queued() == [ref, ref]  # the first job was never run
    claimed = await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert (claimed.entry.part, claimed.entry.provider_id(0)) == (1, "SM0")


async def test_a_message_whose_first_part_is_out_does_not_expire_before_the_second(bench: Bench) -> None:
    ref = await bench.sending(time_to_live=10.0)
    await bench.ledger.messages.parts(ref, "mine", 2)
    await bench.taken(ref, part=0, count=2)
    await bench.pass_time(20)
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours


async def test_an_update_for_a_message_nobody_knows(bench: Bench) -> None:
    assert await bench.update("0" * 24, "delivered") == "gone"
    assert await bench.keys("dcb:m:*") == []


# ---------------------------------------------------------------- lanes


async def test_only_the_head_of_a_lane_has_a_job_and_the_next_is_woken_in_order(bench: Bench) -> None:
    refs = [await bench.put(f"m-{n}") for n in range(3)]
    for n, ref in enumerate(refs):
        assert await bench.pop_job() == ref
        assert await bench.pop_job() is None
        assert (await bench.redis.zcard("dcb:due")) == 3  # the sent ones wait for their word, the others for their turn
        for later in refs[n + 1 :]:
            assert (await bench.ledger.messages.claim(later, "x", 60.0)).why == "not its turn"
        assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
        assert await bench.taken(ref) == "sent"
    assert await bench.lanes() == {}


async def test_a_retry_and_an_unknown_outcome_keep_the_lane(bench: Bench) -> None:
    first = await bench.sending("m-1")
    second = await bench.put("m-2")
    await bench.retry(first, delay=0.0)
    assert (await bench.ledger.messages.claim(second, "x", 60.0)).why == "not its turn"
    assert (await bench.ledger.messages.claim(first, "mine", 60.0)).ours
    await bench.ledger.messages.unknown(first, "mine", 0.0, "timeout")
    assert (await bench.ledger.messages.claim(second, "x", 60.0)).why == "not its turn"
    assert await bench.ledger.messages.settle(first, "fail") == "failed"
    assert (await bench.ledger.messages.claim(second, "x", 60.0)).ours


async def test_lanes_are_independent(bench: Bench) -> None:
    await bench.sending("m-1")
    for changes in ({"to_id": "16504661150"}, {"channel_id": "other"}):
        ref = await bench.put("m-2", **changes)
        assert (await bench.ledger.messages.claim(ref, "x", 60.0)).ours


async def test_a_message_that_an_update_settles_out_of_turn_leaves_the_middle_of_its_lane(bench: Bench) -> None:
    first, middle, last = [await bench.put(f"m-{n}") for n in range(3)]
    assert await bench.update(middle, "failed", reason="530") == "failed"
    [lane] = (await bench.lanes()).values()
    assert lane == [f"m:{first}", f"m:{last}"]
    assert await bench.queued() == [first]


async def test_expired_messages_leave_one_after_the_other(bench: Bench) -> None:
    refs = [await bench.put(f"m-{n}", time_to_live=10.0) for n in range(3)]
    await bench.pass_time(11)
    assert (await bench.ledger.messages.claim(await bench.pop_job() or "", "x", 60.0)).why == "expired"
    assert await bench.pop_job() is None  # the next one is over as well, and needs no worker to find that out
    await bench.sweep()
    assert [(await bench.ledger.messages.entry(ref)).reason for ref in refs] == ["305"] * 3
    assert await bench.lanes() == {}


# ---------------------------------------------------------------- jobs


ODD_CHANNELS = ['a"b', "a\\b", "ключ", "a/b", "é\u2028", "{}[]", "%d%s", "a'b;--"]


@pytest.mark.parametrize("channel", [CHANNEL, "company.com", *ODD_CHANNELS])
async def test_every_job_is_one_that_rq_can_fetch_and_run(
    bench: Bench, redis_server: EmbeddedRedis, channel: str
) -> None:
    ref = await bench.sending("m-1", channel_id=channel)
    await bench.ledger.messages.fail(ref, "mine", 530, "x")
    waiting = await bench.put("m-2", channel_id=channel)
    await bench.ledger.tasks.put(
        [NewTask("b-1", "callback", "", b"{}"), NewTask("c-1", "consumer", "lane", b"{}", "trace", channel)]
    )
    expected = {"send": {ref, waiting}, "receipts": {channel}, "callback": {"b-1"}, "consumer": {"c-1"}}
    found: dict[str, set[str]] = {}
    with sync_redis.Redis.from_url(redis_server.url) as connection:
        queues = {name.decode() for name in connection.smembers("rq:queues")}
        assert queues == {"rq:queue:outbound", "rq:queue:receipts", "rq:queue:inbound"}
        for queue in queues:
            for job_id in connection.lrange(queue, 0, -1):
                job = Job.fetch(job_id.decode(), connection=connection, serializer=JSONSerializer)
                assert job.get_status() == "queued"
                assert f"rq:queue:{job.origin}" == queue
                assert (job.kwargs, job.timeout, job.result_ttl) == ({}, 180, 0)
                assert job.func_name is not None
                assert inspect.iscoroutinefunction(import_attribute(job.func_name))
                [argument] = job.args
                assert PAYLOAD.decode() not in str(job.description)
                found.setdefault(job.func_name.rpartition(".")[2], set()).add(argument)
    assert found == expected
    assert [(o.ref, o.status) for o in await bench.ledger.receipts.take(channel, 10, 60.0)] == [(ref, "Failed")]


async def test_each_attempt_has_a_job_id_of_its_own(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.retry(ref, delay=0.0)
    await bench.sweep()
    assert len(await bench.keys("rq:job:send-*")) == 2


# ---------------------------------------------------------------- what is forgotten


@pytest.mark.parametrize("end", ["delivered", "failed", "removed", "unconfirmed"])
async def test_text_and_addresses_are_gone_when_the_receipt_is_posted(bench: Bench, end: str) -> None:
    ref = await bench.sending(payload=SECRET_TEXT, sender_id="the-sender", to_id="the-consumer")
    if end == "failed":
        await bench.ledger.messages.fail(ref, "mine", 530, "x")
    else:
        await bench.taken(ref, delivered=end == "delivered")
    if end == "removed":
        await bench.update(ref, "removed")
    if end == "unconfirmed":
        await bench.pass_time(101)
        assert await bench.ledger.messages.confirm_over(ref, "", "") == end
    assert await bench.state(ref) == end
    assert b"very private" not in await bench.whole_database()
    await bench.ledger.receipts.done(CHANNEL, [ref])
    left = await bench.whole_database()
    for private in (b"the-sender", b"the-consumer", CONSUMER.encode()):
        assert private not in left
    assert 0 < await bench.redis.pttl(f"dcb:m:{ref}") <= KEEP * 1000


async def test_nothing_in_flight_has_an_end_of_its_own(bench: Bench) -> None:
    await bench.sending("m-1", to_id="a")
    retry = await bench.sending("m-2", to_id="b")
    await bench.retry(retry)
    await bench.sent("m-3", to_id="c")
    failed = await bench.sending("m-4", to_id="d")
    await bench.ledger.messages.fail(failed, "mine", 500, "")  # its receipt is not posted yet
    for key in await bench.keys("dcb:m:*"):
        assert await bench.redis.pttl(key) == -1


async def test_dead_letters_end_and_are_listed_no_longer(bench: Bench) -> None:
    assert await bench.ledger.dead_letters.add("w-1", Kind.AGENT_MESSAGE, CHANNEL, "520", b"raw")
    assert not await bench.ledger.dead_letters.add("w-1", Kind.AGENT_MESSAGE, CHANNEL, "520", b"raw")
    assert 0 < await bench.redis.pttl("dcb:dead:w-1") <= KEEP_DEAD * 1000
    await bench.redis.zadd("dcb:dead", {"w-1": 0})
    await bench.ledger.dead_letters.add("w-2", Kind.AGENT_MESSAGE, CHANNEL, "520", b"raw")
    assert await bench.redis.zrange("dcb:dead", 0, -1) == [b"w-2"]


async def test_a_batch_of_interactions_is_kept_once_and_in_order(bench: Bench) -> None:
    assert await bench.ledger.events.put_batch("1", "main", "t", b"first \xff")
    assert await bench.ledger.events.put_batch("2", "main", "t", b"second")
    assert not await bench.ledger.events.put_batch("1", "main", "t", b"first again")
    entries: Any = await bench.redis.xrange("dcb:interactions")
    assert [fields[b"body"] for _, fields in entries] == [b"first \xff", b"second"]
    await bench.pass_time(KEEP + 1)
    assert await bench.ledger.events.put_batch("1", "main", "t", b"much later")


async def test_a_stray_channel_remembers_its_endpoint(bench: Bench) -> None:
    assert await bench.ledger.unconfigured.endpoint_of("nobody") == ""
    await bench.ledger.unconfigured.remember(["nobody"], "main")
    assert await bench.ledger.unconfigured.endpoint_of("nobody") == "main"


async def _hash(redis: Redis, key: str) -> dict[bytes, bytes]:
    found: Any = redis.hgetall(key)
    return dict(await found)


@pytest.mark.parametrize(
    ("said", "results"),
    [
        ([("a", "delivered"), ("b", "delivered"), ("c", "delivered")], ["noted", "repeated", "delivered"]),
        ([("a", "delivered"), ("a", "delivered"), ("b", "delivered"), ("c", "delivered")],
         ["noted", "repeated", "repeated", "delivered"]),
        ([("aa", "delivered"), ("a", "delivered"), ("b", "delivered")], ["noted", "repeated", "delivered"]),
        ([("a", "sent"), ("b", "delivered"), ("c", "delivered"), ("d", "delivered")],
         ["noted", "repeated", "repeated", "delivered"]),
        ([("a", "delivered"), ("b", "failed"), ("c", "delivered")], ["noted", "failed", "late"]),
        ([("a", "delivered"), ("b", "removed")], ["noted", "removed"]),
        ([("a", "delivered"), ("b", "delivered"), ("c", "delivered"), ("d", "delivered")],
         ["noted", "repeated", "delivered", "late"]),
    ],
)  # fmt: skip
async def test_a_part_of_several_sms_is_delivered_when_each_of_them_is(
    bench: Bench, said: list[tuple[str, str]], results: list[str]
) -> None:
    ref = await bench.sent()
    assert [await bench.update(ref, status, piece=piece, pieces=3) for piece, status in said] == results


async def test_sms_that_are_delivered_before_the_answer_is_read_count(bench: Bench) -> None:
    ref = await bench.sending()
    assert [await bench.update(ref, "delivered", piece=piece, pieces=2) for piece in "ab"] == ["parked", "parked"]
    assert await bench.taken(ref) == "delivered"


async def test_an_sms_of_a_message_that_is_forgotten_leaves_nothing(bench: Bench) -> None:
    assert await bench.update("0" * 24, "delivered", piece="a", pieces=2) == "gone"
    assert await bench.redis.keys("dcb:m:*") == []
