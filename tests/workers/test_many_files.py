"""Many files at once, and files that come slowly: they hold up nothing else, and no claim ends under them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import orjson
import pytest
import redis as sync
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.errors import Deferred
from dcbridge.ledger import NewMessage, NewTask
from dcbridge.messages import Address, AgentMessage
from tests.ledger.ledger_bench import Bench
from tests.mail.writing import plain
from tests.workers.media_side import MEDIA_ID, PIXEL, media_side
from tests.workers.test_media_out import accepted
from workers import consumer_messages, inbound_mail, outbound
from workers.files import FOR_AGENTS, MAILS, TOGETHER
from workers.media_out import LARGE, with_media

LEASE = 9.0  # the least that the timeouts of these settings allow


async def test_consumers_whose_files_hang_hold_up_neither_the_worker_nor_an_agents_file(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    """A worker has 40 places for jobs, and 40 consumers send files from a host that does not answer."""
    places, release = 40, asyncio.Event()
    async with media_side(redis, redis_server.url, concurrency=places) as media:
        media.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL)
        usual = media.side.provider.usual

        async def hangs(request: Request) -> Response:
            if request.method == "GET":
                await release.wait()
            return await usual(request)

        media.side.provider.usual = hangs
        media.pictures["ME1"] = lambda _: Response(PIXEL)
        ids = [await media.task(media.place("ME1"), task_id=f"c-{n}") for n in range(places)]
        jobs = [asyncio.create_task(consumer_messages.post_consumer_message(media.side.context, n)) for n in ids]
        most = TOGETHER - FOR_AGENTS + places // 4
        async with asyncio.timeout(60):
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            ref = await accepted(media, text="Our offer")
            await outbound.send(media.side.context, ref)
            assert (await media.side.entry(ref)).state == "sent"
            while sum(job.done() for job in jobs) < places - most:  # noqa: ASYNC110 (all of them are waited for)
                await asyncio.sleep(0.01)
            assert media.messages == []
            release.set()
            await asyncio.gather(*jobs)
        tasks = [await media.side.context.ledger.tasks.entry(n) for n in ids]
        assert sorted(task.state for task in tasks) == ["done"] * most + ["waiting"] * (places - most)
        assert {task.last_code for task in tasks if task.state == "waiting"} == {"media busy"}
        assert len(media.store.files) == most + 1


@pytest.mark.parametrize(("claimed_by_another", "uploads"), [(True, 1), (False, 2)])
async def test_a_consumers_files_are_read_by_whoever_has_the_claim(
    redis: Redis, redis_server: EmbeddedRedis, claimed_by_another: bool, uploads: int
) -> None:
    async with media_side(redis, redis_server.url, worker_silence=0.4, reconcile_every=0.1) as media:

        def slow(_: Request) -> Response:
            if claimed_by_another and not media.store.files:
                with sync.Redis(port=redis_server.port) as meanwhile:
                    meanwhile.hset("dcb:t:c-1", "tok", "another")
            return Response(PIXEL)

        usual = media.side.provider.usual

        async def late(request: Request) -> Response:
            await asyncio.sleep(0.3)
            return await usual(request)

        media.side.provider.usual = late
        media.pictures["ME1"] = media.pictures["ME2"] = slow
        await media.posted(media.place("ME1"), media.place("ME2"))
        assert (len(media.store.files), len(media.messages)) == (uploads, int(not claimed_by_another))


async def test_an_agents_file_that_does_not_come_is_given_up_before_the_claim_ends(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    """Else the outcome of a message that was never sent would be unknown."""
    async with media_side(redis, redis_server.url, lease=LEASE) as media:
        ref, answer = await accepted(media, text="Our offer"), asyncio.Event()

        async def hangs(_request: Request) -> Response:
            await answer.wait()
            return Response(status_code=503)

        media.side.agents.usual = hangs
        try:
            await asyncio.wait_for(outbound.send(media.side.context, ref), LEASE)
        finally:
            answer.set()
        entry = await media.side.entry(ref)
        assert (entry.state, entry.last_code) == ("retry", "media timeout")


@pytest.mark.parametrize("more", [LARGE, 0], ids=["large", "small"])
async def test_no_more_large_files_are_in_memory_than_are_sent_at_once(
    redis: Redis, redis_server: EmbeddedRedis, more: int
) -> None:
    async with media_side(redis, redis_server.url, lease=LEASE) as media, AsyncExitStack() as others:
        media.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL + bytes(more))
        context, to = media.side.context, Address("ana@example.com")
        said = AgentMessage("company.com", "m-1", Address("care@company.com"), to, (to,), "Email", media=(MEDIA_ID,))
        await context.ledger.messages.accept(
            [NewMessage("1" * 24, "1" * 24, "company.com", "m-1", "care@company.com", to.id, b"{}", "trace", 3600.0)]
        )
        claimed = await context.ledger.messages.claim("1" * 24, context.ledger.leases.token(), LEASE)

        async def read(held: AsyncExitStack) -> int:
            channel, provider = context.configuration.channels["company.com"], context.providers["post"]
            _, files = await with_media(context, channel, provider, said, claimed, held)
            return sum(len(file.data) for file in files) - len(PIXEL)

        one = await others.enter_async_context(AsyncExitStack())
        for held in (one, *(others for _ in range(FOR_AGENTS - 1))):
            assert await read(held) == more
        if more:
            with pytest.raises(Deferred, match="media busy"):
                await read(others)
            await one.aclose()
        assert await read(others) == more


async def test_no_more_mails_are_read_at_once_than_there_is_memory_for(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    swap = ("{type: email, provider: post}", "{type: email, provider: post, inbound: {addresses: [care@company.com]}}")
    async with media_side(redis, redis_server.url, swap=swap, lease=LEASE) as media:
        context = media.side.context
        await context.ledger.blobs.put(plain("Hello\r\n"), keep=60.0, task="c-1", blob_id="c-1")
        payload = orjson.dumps({"blob": "c-1", "from": "ana@example.org"})
        await context.ledger.tasks.put([NewTask("c-1", "mail", "lane", payload, "trace", "company.com")])
        async with AsyncExitStack() as others:
            for _ in range(MAILS):
                await others.enter_async_context(context.files.room("mails"))
            await inbound_mail.read_mail(context, "c-1")
            task = await context.ledger.tasks.entry("c-1")
            assert (task.state, task.last_code) == ("waiting", "media busy")
        await Bench(redis).pass_time(60)
        await inbound_mail.read_mail(context, "c-1")
        assert (await context.ledger.tasks.entry("c-1")).state == "done"
