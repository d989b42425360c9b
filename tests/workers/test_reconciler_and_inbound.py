"""What the reconciler decides, and what becomes of callbacks, consumers' messages and receipts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import TaskEntry
from dcbridge.ledger.reports.books import read
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import pack
from dcbridge.settings.process import DAY
from tests.ledger.ledger_bench import Bench, new_message
from tests.workers.far_side import CONSUMER, NUMBER, SMS, FarSide, Reply, far_side, hang_up, saying
from workers import callbacks, consumer_messages, outbound
from workers import receipts as receipts_out
from workers.reconciler import sweep

# ---------------------------------------------------------------- the reconciler


@pytest.mark.parametrize(
    ("channel", "then", "reason", "receipts"),
    [(SMS, "retry", None, []), ("fails", "failed", "500", ["Failed"]), ("gone", "failed", "500", ["Failed"])],
)
async def test_a_lease_that_ended(
    side: FarSide, channel: str, then: str, reason: str | None, receipts: list[str]
) -> None:
    """The worker died with the request on the wire: unknown, a while of grace, then the channel's policy."""
    bench = Bench(side.redis)
    ref = await bench.sending(channel_id=channel, lease=60.0)
    assert await sweep(side.context) == 0
    await bench.pass_time(61)
    assert await sweep(side.context) == 1
    assert (await side.entry(ref)).state == "unknown"
    assert await sweep(side.context) == 0
    await bench.pass_time(31)
    assert await sweep(side.context) == 1
    entry = await side.entry(ref)
    assert (entry.state, entry.reason or None) == (then, reason)
    assert [status for _, status, _ in await bench.owed(channel)] == receipts
    assert await side.difference() == 0


@pytest.mark.parametrize(
    ("channel", "receipts"),
    [
        (SMS, []),
        ("fails", [("m-1", "Failed", "500")]),
        ("hurried", [("m-1", "Delivered", "")]),
        ("gone", []),
    ],
)
async def test_no_word_came_within_the_channels_limit(
    side: FarSide, channel: str, receipts: list[tuple[str, str, str]]
) -> None:
    bench = Bench(side.redis)
    ref = await bench.sent(channel_id=channel)
    await bench.pass_time(101)
    await sweep(side.context)
    assert (await side.entry(ref)).state == ("sent" if side.context.channel(channel) else "unconfirmed")
    await bench.pass_time(DAY)
    await sweep(side.context)
    assert (await side.entry(ref)).state == "unconfirmed"
    assert await bench.owed(channel) == receipts
    assert await bench.update(ref, "delivered") == "late"


async def test_a_message_of_unknown_outcome_is_sent_again_a_few_times_and_then_fails(side: FarSide) -> None:
    """A provider that takes everything and answers nothing must not hear of one message for ever."""
    side.provider.usual = hang_up
    bench = Bench(side.redis)
    ref = await side.accept()
    for _ in range(20):
        await outbound.send(side.context, ref)
        await bench.pass_time(8)
        await sweep(side.context)
    assert (await side.entry(ref)).state == "failed"
    assert len(side.provider.heard) == 1 + side.context.configuration.channels[SMS].resends


async def test_many_decisions_are_few_scripts(side: FarSide) -> None:
    """One by one, a hundred would take a second, and the worker that makes them is silent meanwhile."""
    bench = Bench(side.redis)
    refs = [await bench.sending(f"m-{n}", to_id=f"1650466{n:04}") for n in range(100)]
    await bench.pass_time(61)

    async def scripts() -> int:
        stats: Any = await side.redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    before = await scripts()
    assert await sweep(side.context) == 100
    assert await scripts() - before < 10
    assert {(await side.entry(ref)).state for ref in refs} == {"unknown"}


async def test_a_task_whose_worker_died_waits_again(side: FarSide) -> None:
    bench = Bench(side.redis)
    await side.context.ledger.tasks.put([NewTask("c-1", "consumer", "lane", b"{}", "", SMS)])
    await side.context.ledger.tasks.claim("c-1", "dead worker", 60.0)
    await bench.pass_time(61)
    assert await sweep(side.context) == 1
    assert (await side.context.ledger.tasks.claim("c-1", "another", 60.0)).ours


# ---------------------------------------------------------------- callbacks


def status_callback(ref: str, status: str = "delivered", **form: str) -> bytes:
    said = {"MessageSid": "SM1", "MessageStatus": status} | form
    body = "&".join(f"{name}={value}" for name, value in said.items()).encode()
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    query = f"m={ref}&p=0"
    url = f"http://127.0.0.1:8080/callbacks/twilio/status?{query}"
    return pack("twilio", Callback("status", "POST", url, query.encode(), headers, body))


def inbound_callback(to: str = NUMBER, text: str = "Hello", sid: str = "SM9", sender: str = f"+{CONSUMER}") -> bytes:
    who, whom = (one.replace("+", "%2B") for one in (sender, to))
    form = f"MessageSid={sid}&From={who}&To={whom}&Body={text}"
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    url = "http://127.0.0.1:8080/callbacks/twilio/inbound"
    return pack("twilio", Callback("inbound", "POST", url, b"", headers, form.encode()))


async def read_one(side: FarSide, payload: bytes, task: str = "b-1") -> TaskEntry:
    await side.context.ledger.tasks.put([NewTask(task, "callback", "", payload, "trace")])
    await callbacks.read_callback(side.context, task)
    return await side.context.ledger.tasks.entry(task)


async def letters(side: FarSide) -> list[tuple[str, str]]:
    found = []
    for letter in await side.redis.zrange("dcb:dead", 0, -1):
        fields: Any = side.redis.hmget(f"dcb:dead:{letter.decode()}", "what", "reason")  # type: ignore[union-attr]
        what, reason = await fields
        found.append((what.decode(), reason.decode()))
    return found


async def test_an_update_moves_its_message_and_the_receipt_is_owed(side: FarSide) -> None:
    ref = await side.accept()
    await outbound.send(side.context, ref)
    assert (await read_one(side, status_callback(ref))).state == "done"
    assert (await side.entry(ref)).state == "delivered"
    await receipts_out.post(side.context, SMS)
    [[receipt]] = side.agents.messages
    assert (receipt["status"], receipt["channel"]["messageId"]) == ("Delivered", "m-1")


async def test_an_update_for_a_message_that_nobody_knows_is_kept(side: FarSide) -> None:
    assert (await read_one(side, status_callback("f" * 24))).state == "done"
    assert await letters(side) == [("delivery update", "512 unknown message")]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (inbound_callback(to="+19999999999"), "no channel has this address"),
        (status_callback("x").replace(b"twilio", b"nobody", 1), "internal error"),
        (b"not what pack wrote", "internal error"),
    ],
)
async def test_a_callback_that_cannot_be_read_is_kept_with_its_bytes(side: FarSide, payload: bytes, why: str) -> None:
    assert (await read_one(side, payload)).state == "dead"
    assert await letters(side) == [("callback", why)]


async def test_a_consumers_message_becomes_a_task_once(side: FarSide) -> None:
    for task in ("b-1", "b-2"):  # the same message in two callbacks
        await read_one(side, inbound_callback(), task)
    books = await read(side.redis)
    assert (books.tasks, books.counts["consumer_accepted"]) == ({"callback": 0, "consumer": 1}, 1)


# ---------------------------------------------------------------- consumers' messages


async def consumer_task(side: FarSide, *media: str) -> None:
    payload = orjson.dumps({"from": CONSUMER, "text": "Hello", "media": media, "provider": "twilio"})
    await side.context.ledger.tasks.put([NewTask("c-1", "consumer", "lane", payload, "trace", SMS)])


async def test_a_consumers_message_reaches_the_agent(side: FarSide) -> None:
    await consumer_task(side)
    await consumer_messages.post_consumer_message(side.context, "c-1")
    [[message]] = side.agents.messages
    assert message["text"] == "Hello"
    assert message["channel"] == {"from": {"id": CONSUMER}, "to": {"id": SMS}}
    await consumer_messages.post_consumer_message(side.context, "c-1")
    assert len(side.agents.heard) == 1


@pytest.mark.parametrize(
    ("replies", "states"),
    [
        ([hang_up, hang_up], ["waiting", "dead"]),  # asked once more, at the risk of a duplicate
        ([hang_up, saying(200, {"status": {"code": 0}})], ["waiting", "done"]),
        ([saying(500), saying(500), saying(500)], ["waiting", "waiting", "waiting"]),
        ([saying(429, b"", Retry_After="30")], ["waiting"]),
        ([saying(401)], ["waiting"]),
        ([saying(404, {"status": {"code": 404}})], ["dead"]),
        ([saying(200, b"<html>")], ["dead"]),
        ([saying(200, {"status": {"code": 2}})], ["dead"]),
    ],
)
async def test_a_consumers_message_that_was_not_taken(side: FarSide, replies: list[Reply], states: list[str]) -> None:
    side.agents.replies = list(replies)
    bench, found = Bench(side.redis), []
    await consumer_task(side)
    for _ in replies:
        await consumer_messages.post_consumer_message(side.context, "c-1")
        found.append((await side.context.ledger.tasks.entry("c-1")).state)
        await bench.pass_time(31)
    assert found == states
    assert len(await letters(side)) == states.count("dead")


# ---------------------------------------------------------------- receipts


async def owe(side: FarSide, count: int) -> list[str]:
    bench, refs = Bench(side.redis), []
    for number in range(count):
        ref = await bench.sending(f"m-{number}", to_id=str(number))
        await bench.ledger.messages.fail(ref, "mine", 530, "21211")
        refs.append(ref)
    return refs


async def test_receipts_of_a_channel_travel_together(side: FarSide) -> None:
    refs = await owe(side, 3)
    await receipts_out.post(side.context, SMS)
    [batch] = side.agents.messages
    assert [message["channel"]["messageId"] for message in batch] == ["m-0", "m-1", "m-2"]
    assert [message["reasons"][0]["code"] for message in batch] == [530] * 3
    assert all([(await side.entry(ref)).receipt_posted_at for ref in refs])
    await receipts_out.post(side.context, SMS)
    assert len(side.agents.heard) == 1


async def test_one_job_posts_batch_after_batch_while_they_are_full(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with far_side(redis, redis_server.url, receipt_batch=2) as side:
        await owe(side, 5)
        await receipts_out.post(side.context, SMS)
        assert [len(batch) for batch in side.agents.messages] == [2, 2, 1]
        assert (await read(side.redis)).channels[0].receipts_waiting == 0


@pytest.mark.parametrize("reply", [saying(500), saying(400)], ids=["500", "400"])
async def test_a_batch_that_is_not_taken_ends_the_job(redis: Redis, redis_server: EmbeddedRedis, reply: Reply) -> None:
    """What is behind it has a job of its own, and a Digital Channels in trouble is not asked in a row."""
    async with far_side(redis, redis_server.url, receipt_batch=1) as side:
        await owe(side, 3)
        side.agents.replies = [reply]
        await receipts_out.post(side.context, SMS)
        assert len(side.agents.messages) == 1
        assert await redis.exists("dcb:receipts-woken:" + SMS)


async def test_a_batch_that_is_refused_is_tried_one_by_one_and_only_the_bad_one_is_buried(side: FarSide) -> None:
    refs = await owe(side, 3)
    refused, good = saying(400, {"status": {"code": 400}}), saying(200, {"status": {"code": 0}})
    side.agents.replies = [refused, good, refused, good]
    await receipts_out.post(side.context, SMS)
    assert [len(batch) for batch in side.agents.messages] == [3, 1, 1, 1]
    posted = [bool((await side.entry(ref)).receipt_posted_at) for ref in refs]
    assert posted == [True, False, True]
    assert await letters(side) == [("receipt", "http 400 status 400")]
    assert side.counted("dcbridge_errors_total", kind="receipt_refused", name=SMS) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [(saying(500), "http 500"), (saying(429), "http 429"), (saying(401), "http 401"), (hang_up, "connection lost")],
    ids=["500", "429", "401", "lost"],
)
async def test_receipts_that_may_not_have_arrived_are_posted_again(side: FarSide, reply: Reply, code: str) -> None:
    await owe(side, 2)
    side.agents.replies = [reply]
    await receipts_out.post(side.context, SMS)
    assert await letters(side) == []
    [refusal] = await side.context.ledger.refusals.all()
    assert (refusal.channel_id, refusal.what, refusal.requests, refusal.code) == (SMS, "receipts", 1, code)
    await Bench(side.redis).pass_time(31)
    await receipts_out.post(side.context, SMS)
    first, again = [sorted(batch, key=orjson.dumps) for batch in side.agents.messages]
    assert first == again
    assert (await read(side.redis)).channels[0].receipts_waiting == 0


async def test_the_receipt_of_a_channel_that_is_not_configured_is_signed_as_its_endpoint(side: FarSide) -> None:
    copy = new_message("m-1", channel_id="nobody", reason=530, detail="the channel is not configured", raw=b"{}")
    await side.context.ledger.messages.accept([copy])
    await side.context.ledger.unconfigured.remember(["nobody"], "main")
    await receipts_out.post(side.context, "nobody")
    [[receipt]] = side.agents.messages
    assert receipt["status"] == "Failed"
    # Whoever holds a secret may name any channel: it is no label.
    assert side.counted("dcbridge_receipts_total", channel="(unknown)", status="Failed", outcome="posted") == 1
    assert side.counted("dcbridge_receipts_total", channel="nobody", status="Failed", outcome="posted") == 0


async def test_a_refused_receipt_of_a_channel_that_is_not_configured_is_no_label_either(side: FarSide) -> None:
    copy = new_message("m-1", channel_id="nobody", reason=530, detail="the channel is not configured", raw=b"{}")
    await side.context.ledger.messages.accept([copy])
    await side.context.ledger.unconfigured.remember(["nobody"], "main")
    side.agents.replies = [saying(400), saying(400)]
    await receipts_out.post(side.context, "nobody")
    assert side.counted("dcbridge_errors_total", kind="receipt_refused", name="(unknown)") == 1
    assert b"nobody" not in side.context.metrics.render(None)
