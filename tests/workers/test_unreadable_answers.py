"""An answer whose body cannot be read, for each who gets one: its status decides, and nothing is sent twice for it."""

from __future__ import annotations

import gzip

import pytest

from dcbridge.errors import Undecodable
from tests.events.receivers import Receiver, an_event, http_fields, http_sink, receiving
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, SMS, FarSide, Reply, saying
from tests.workers.test_reconciler_and_inbound import consumer_task, owe
from workers import consumer_messages, lookups, outbound
from workers import receipts as receipts_out

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"
BOMB = gzip.compress(b"\0" * 8_000_000)
PACKINGS = [("br", b"\x0b\x02\x80{}"), ("zstd", b"\x28\xb5"), ("gzip", b"none"), ("gzip", BOMB), ("deflate", b"none")]


def packed(status: int, how: tuple[str, bytes]) -> Reply:
    return saying(status, how[1], Content_Encoding=how[0])


@pytest.mark.parametrize("how", PACKINGS)
async def test_a_message_that_was_taken_is_sent_once(side: FarSide, how: tuple[str, bytes]) -> None:
    side.provider.usual = packed(201, how)
    ref = await side.accept()
    for _ in range(3):
        await outbound.send(side.context, ref)
        await Bench(side.redis).pass_time(60)
    assert (await side.entry(ref)).state == "sent"
    assert len(side.provider.heard) == 1
    assert side.counted("dcbridge_errors_total", kind="unreadable", name="twilio") == 1


@pytest.mark.parametrize(
    ("status", "state"), [(400, "failed"), (404, "failed"), (429, "retry"), (401, "retry"), (500, "unknown")]
)
async def test_an_error_is_what_its_status_says(side: FarSide, status: int, state: str) -> None:
    side.provider.usual = packed(status, PACKINGS[0])
    ref = await side.accept()
    await outbound.send(side.context, ref)
    assert (await side.entry(ref)).state == state


@pytest.mark.parametrize("how", PACKINGS)
async def test_a_receipt_that_was_taken_is_posted_once(side: FarSide, how: tuple[str, bytes]) -> None:
    side.agents.usual = packed(200, how)
    refs = await owe(side, 2)
    for _ in range(3):
        await receipts_out.post(side.context, SMS)
        await Bench(side.redis).pass_time(60)
    assert len(side.agents.heard) == 1
    assert all([(await side.entry(ref)).receipt_posted_at for ref in refs])
    assert side.counted("dcbridge_errors_total", kind="unreadable", name="digital-channels") == 1


async def test_a_receipt_whose_refusal_cannot_be_read_is_refused(side: FarSide) -> None:
    side.agents.usual = packed(422, PACKINGS[0])
    await owe(side, 1)
    await receipts_out.post(side.context, SMS)
    assert side.counted("dcbridge_errors_total", kind="receipt_refused", name=SMS) == 1


@pytest.mark.parametrize("how", PACKINGS)
async def test_a_consumers_message_that_was_taken_is_posted_once(side: FarSide, how: tuple[str, bytes]) -> None:
    side.agents.usual = packed(200, how)
    await consumer_task(side)
    for _ in range(3):
        await consumer_messages.post_consumer_message(side.context, "c-1")
        await Bench(side.redis).pass_time(60)
    assert (await side.context.ledger.tasks.entry("c-1")).state == "done"
    assert len(side.agents.heard) == 1
    assert side.counted("dcbridge_consumer_messages_total", channel=SMS, outcome="posted") == 1


async def test_a_question_whose_answer_cannot_be_read_is_put_again(side: FarSide) -> None:
    bench, side.provider.usual = Bench(side.redis), packed(200, PACKINGS[0])
    ref = await bench.sending(channel_id="asked", to_id=CONSUMER, payload=b"")
    await bench.ledger.messages.submitted(ref, "mine", 0, 1, "SM1", delivered=False, confirm_within=1.0)
    await bench.pass_time(2)
    assert await lookups.ask_or_decide(side.context, ref, "sent", side.context.channel("asked")) == "asking"
    await lookups.ask(side.context, ref)
    assert len(side.provider.asked) == 1
    assert (await side.entry(ref)).state == "sent"
    assert side.counted("dcbridge_errors_total", kind="status_lookup_unreadable", name="asked") == 1


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        b"HTTP/1.1 204 No Content\r\nContent-Encoding: br\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\n\x0b\x02\x80{}",
        b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(BOMB), BOMB),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name\x00: x\r\n\r\n",
    ],
)
async def test_an_event_that_was_taken_is_delivered_once(answer: bytes) -> None:
    async with receiving(Receiver([answer])) as there, http_sink(http_fields(there.url, timeout=3)) as sink:
        assert await sink.deliver(an_event()) is False
        assert len(there.got) == 1


async def test_a_taken_file_without_a_readable_name_is_an_error(side: FarSide) -> None:
    client = side.context.platforms.of(SMS)
    side.agents.usual = packed(200, PACKINGS[0])
    with pytest.raises(Undecodable):
        await client.upload(SMS, "a.txt", "text/plain", b"x")
    assert len(side.agents.heard) == 1
