"""The service as it is started: both listeners, the operator's page, and the end by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.genesys.signature import sign
from service.main import serve
from tests.service.client import SECRET, configuration, settings, sms


@asynccontextmanager
async def running(redis_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """(public, operator) clients of a service that ends by SIGTERM."""
    ports = free_port(), free_port()
    chosen = settings(redis_url, public_port=ports[0], operator_port=ports[1], redis_timeout=3.0)
    task = asyncio.create_task(serve(chosen, configuration()))
    public, operator = (httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10.0) for port in ports)
    async with public, operator:
        await _until_it_listens(operator, task)
        await _until_it_listens(public, task)
        yield public, operator
    os.kill(os.getpid(), signal.SIGTERM)
    await task


async def _until_it_listens(client: httpx.AsyncClient, task: asyncio.Task[None]) -> None:
    while not task.done():
        try:
            await client.get("/")
        except httpx.ConnectError:
            await asyncio.sleep(0.02)
        else:
            return
    await task


async def test_the_operators_page(own_redis: EmbeddedRedis) -> None:
    async with running(own_redis.url) as (public, operator):
        raw = orjson.dumps(sms())
        signed = {"X-Hub-Signature": sign(SECRET.encode(), raw)}
        answer = await public.post("/webhooks/messages/main", content=raw, headers=signed)
        assert answer.status_code == 200
        assert (await operator.get("/healthz")).json() == {"status": "alive"}
        assert (await operator.get("/readyz")).json() == {"status": "ready"}
        metrics = await operator.get("/metrics")
        assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        for line in (
            'dcbridge_http_requests_total{name="main",outcome="accepted",route="messages_webhook"} 1.0',
            'dcbridge_secret_uses_total{name="main",secret="0"} 1.0',
            'dcbridge_books_total{channel="0123456789",state="accepted"} 1.0',
            'dcbridge_in_flight{channel="0123456789"} 1.0',
            'dcbridge_books_difference{channel="0123456789"} 0.0',
            'dcbridge_queued_jobs{queue="outbound"} 1.0',
        ):
            assert line in metrics.text.splitlines()
        for path in ("/webhooks/messages/main", "/callbacks/twilio/status"):
            assert (await operator.post(path)).status_code == 404


async def test_without_redis_it_lives_is_not_ready_and_still_has_its_own_figures(own_redis: EmbeddedRedis) -> None:
    async with running(own_redis.url) as (public, operator):
        assert (await operator.get("/readyz")).status_code == 200
        own_redis.kill()
        assert (await public.get("/nowhere")).status_code == 404
        assert (await operator.get("/healthz")).status_code == 200
        ready = await operator.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        metrics = await operator.get("/metrics")
        assert metrics.status_code == 200
        assert 'outcome="unknown route"' in metrics.text
        assert "dcbridge_books_total" not in metrics.text
        own_redis.start()
        assert (await operator.get("/readyz")).status_code == 200


async def test_a_request_under_way_is_answered_before_the_end(own_redis: EmbeddedRedis) -> None:
    raw = orjson.dumps(sms())
    began = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield raw[:10]
        began.set()
        await asyncio.sleep(0.3)
        yield raw[10:]

    async with running(own_redis.url) as (public, _):
        headers = {"X-Hub-Signature": sign(SECRET.encode(), raw)}
        under_way = asyncio.create_task(public.post("/webhooks/messages/main", content=slowly(), headers=headers))
        await began.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await under_way).status_code == 200
