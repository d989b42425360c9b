"""A large message to many: it is fetched, parsed and written once, and sent to each."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiosmtpd.smtp import SMTP
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.ledger import MessageClaim
from dcbridge.ledger.messages import LARGE
from dcbridge.messages import AgentMessage
from dcbridge.providers.base import MailRequest, Part, Turn
from dcbridge.providers.smtp import Smtp, SmtpFields
from tests.ledger.ledger_bench import Bench, copies_of
from tests.providers.test_mail_transport import REQUEST, Mailbox, listening, scripted
from tests.workers.far_side import settings
from workers import outbound
from workers.context import WorkerContext, open_context
from workers.payloads import KEPT, Payloads

CONFIGURATION = """
public_url: http://127.0.0.1:8080
digital_channels: {{base_url: http://127.0.0.1:1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [the-app-secret-of-now]}}}}
providers: {{mail: {{kind: smtp, host: 127.0.0.1, port: {port}, security: none}}}}
channels: {{company.com: {{type: email, provider: mail, number: care@company.com}}}}
"""
HUGE = "Grüße an alle. " * 50_000  # 850 kB


def payload(recipients: int, text: str = HUGE) -> bytes:
    channel = {
        "id": "company.com",
        "type": "email",
        "from": {"id": "care@company.com"},
        "to": [{"id": f"a{number}@example.com"} for number in range(recipients)],
    }
    body = {"channel": channel, "type": "Email", "subject": "Hi", "content": [{"type": "text", "text": text}]}
    return orjson.dumps(body)


async def accepted(redis: Redis, count: int, text: str = HUGE, message_id: str = "m-1") -> list[str]:
    """The refs of as many copies."""
    recipients = [f"{message_id}-a{number}@example.com" for number in range(count)]  # each its own conversation
    copies = copies_of(message_id, *recipients, channel_id="company.com", payload=payload(count, text))
    await Bench(redis).ledger.messages.accept(copies)
    return [copy.ref for copy in copies]


async def claimed(redis: Redis, ref: str) -> MessageClaim:
    return await Bench(redis).ledger.messages.claim(ref, ref, 60.0)


async def gets(redis: Redis) -> int:
    """How often anything was fetched from outside a script, or inside one."""
    told: Any = await redis.info("commandstats")
    return int(told.get("cmdstat_get", {}).get("calls", 0))


async def test_a_claim_brings_a_small_payload_along_and_of_a_large_one_its_length(redis: Redis) -> None:
    [small, _] = await accepted(redis, 2, "Hello")
    [large, _] = await accepted(redis, 2, HUGE, "m-2")
    [limit] = await accepted(redis, 1, "x" * (LARGE - len(payload(1, ""))), "m-3")
    assert (await claimed(redis, small)).entry.payload == payload(2, "Hello")
    assert len((await claimed(redis, limit)).entry.payload) == LARGE
    found = (await claimed(redis, large)).entry
    assert (found.payload, found.payload_size) == (b"", len(payload(2)))


async def test_copies_that_are_in_flight_share_one_parsed_message(redis: Redis) -> None:
    refs = await accepted(redis, 100)
    ledger = Bench(redis).ledger
    claims = [await claimed(redis, ref) for ref in refs]
    payloads, before = Payloads(ledger), await gets(redis)
    tracemalloc.start()
    shared = await asyncio.gather(*(payloads.shared(ref, one) for ref, one in zip(refs, claims, strict=True)))
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert await gets(redis) - before == 1
    assert len({id(one) for one in shared}) == 1
    assert grown < 25 * len(payload(100))  # and not a hundred times that of one
    assert shared[0] is not None
    assert shared[0].large
    assert [copy.to.id for copy in shared[0].copies] == [f"a{number}@example.com" for number in range(100)]
    assert len({id(copy.contents[0].text) for copy in shared[0].copies}) == 1


async def test_what_few_need_is_not_kept(redis: Redis) -> None:
    payloads = Payloads(Bench(redis).ledger)
    for number in range(3 * KEPT):
        [first, second] = await accepted(redis, 2, "Hello", f"m-{number}")
        assert await payloads.shared(first, await claimed(redis, first)) is None  # perhaps it is the only one
        found = await payloads.shared(second, await claimed(redis, second))
        assert found is not None
        assert not found.large
    assert len(payloads._shared) == KEPT
    for number in range(8):
        [only] = await accepted(redis, 1, HUGE, f"large-{number}")
        assert await payloads.shared(only, await claimed(redis, only)) is not None
    assert sum(one.size for one in payloads._shared.values()) <= 4 * 1024 * 1024


async def test_a_payload_that_is_gone_is_a_bug_and_not_remembered_as_read(redis: Redis) -> None:
    [first, second] = await accepted(redis, 2)
    payloads, claim = Payloads(Bench(redis).ledger), await claimed(redis, second)
    kept = await redis.getdel(f"dcb:p:{first}")
    with pytest.raises(ValueError):
        await payloads.shared(second, claim)
    assert kept is not None
    await redis.set(f"dcb:p:{first}", kept)
    found = await payloads.shared(second, claim)
    assert found is not None
    assert len(found.copies) == 2


def request(smtp: Smtp, message: AgentMessage) -> MailRequest:
    return smtp.build_request(Turn(message, Part(0, 1, ""), 0.0))


def test_an_email_is_written_once_for_copies_that_were_read_together() -> None:
    from dcbridge.genesys.payloads import read_copies

    smtp = Smtp("mail", SmtpFields.model_validate({"host": "mail.example.com"}), "https://bridge.example.com")
    one, two, *_ = read_copies(payload(3), "m-1")
    wide = replace(one, to=replace(one.to, id="añejo@example.com"))
    first = request(smtp, one)
    assert request(smtp, two).content is first.content
    assert request(smtp, two).rcpt_to == "a1@example.com"
    assert request(smtp, wide).content is not first.content
    assert request(smtp, one).content is first.content
    other = replace(one, subject="Another")
    assert b"Subject: Another" in request(smtp, other).content
    again = read_copies(payload(3), "m-1")[0]
    assert request(smtp, again).content is not first.content


@pytest.fixture
async def mail(redis: Redis, redis_server: EmbeddedRedis) -> Any:
    """A worker's context with a real mail server behind them."""
    await redis.flushall()
    box = Mailbox()
    async with listening(lambda: SMTP(box, hostname="mx.example.com", data_size_limit=10_000_000)) as port:
        configuration = parse(CONFIGURATION.format(port=port), {})
        async with open_context(settings(redis_server.url), configuration) as context:
            yield context, box


@pytest.mark.parametrize("text", ["Hello", HUGE])
async def test_every_copy_is_sent_whole_to_its_own_recipient(
    redis: Redis, mail: tuple[WorkerContext, Mailbox], text: str
) -> None:
    context, box = mail
    refs = await accepted(redis, 20, text)
    await asyncio.gather(*(outbound.send(context, ref) for ref in refs))
    assert sorted(one.rcpt_tos[0] for one in box.envelopes) == sorted(f"a{number}@example.com" for number in range(20))
    assert len({one.content for one in box.envelopes}) == 1  # and the same Message-ID and Date
    assert [(await context.ledger.messages.entry(ref)).state for ref in refs] == ["delivered"] * 20
    assert await redis.keys("dcb:p:*") == []


async def test_the_event_loop_goes_on_while_a_large_message_is_read_and_written(
    redis: Redis, mail: tuple[WorkerContext, Mailbox]
) -> None:
    """Told as a share: most looks at the loop come through while it is at work."""
    context, _ = mail
    refs = await accepted(redis, 20)
    beats, stop = 0, asyncio.Event()

    async def beat() -> None:
        nonlocal beats
        while not stop.is_set():
            beats += 1
            await asyncio.sleep(0.005)

    heart = asyncio.create_task(beat())
    await asyncio.gather(*(outbound.send(context, ref) for ref in refs))
    stop.set()
    await heart
    assert beats > 10


async def test_a_server_that_says_no_in_the_middle_of_a_large_content_is_heard() -> None:
    from dcbridge.transport.smtp import send_mail

    async def full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for answer in (b"250 mx\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(100_000)
        writer.write(b"552 5.3.4 too big\r\n")
        await asyncio.sleep(3600)

    async with scripted(full) as port:
        content = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" * 4_000_000
        answer = await send_mail(replace(REQUEST, port=port, content=content, timeout=20.0))
    assert (answer.step, answer.code) == ("data", 552)
