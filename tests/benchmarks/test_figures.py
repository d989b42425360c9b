"""What the figures are made of: the load generator, the pretended worlds, steady parts, medians and ratios."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from benchmarks.load import Connections, at_rate, drive, percentile
from benchmarks.machine import loop_ms, name
from benchmarks.messages import http_post, signed, webhook
from benchmarks.stage import Between, Sample, Stage, steady
from benchmarks.table import Line, markdown, text
from benchmarks.whole import status_callback
from benchmarks.worlds import World
from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.genesys.payloads import read_webhook
from dcbridge.providers.base import Callback

# ---------------------------------------------------------------- the load generator


class Server:
    """Answers each request with a status of its turn; remembers how many were open and under way at once."""

    def __init__(self, statuses: list[int], pause: float = 0.0, cut: bool = False) -> None:
        self.statuses, self.pause, self.cut = statuses, pause, cut
        self.bodies: list[bytes] = []
        self.connections = self.under_way = self.most = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                status = self.statuses[(len(self.bodies) - 1) % len(self.statuses)]
                self.under_way += 1
                self.most = max(self.most, self.under_way)
                await asyncio.sleep(self.pause)
                self.under_way -= 1
                if self.cut:
                    return
                said = b"HTTP/1.1 %d Word\r\nContent-Length: 2\r\n\r\n" % status
                writer.write(said)
                await asyncio.sleep(0)
                writer.write(b"{}")
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    running = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()


async def test_a_closed_loop_asks_each_once_over_its_connections_and_counts_the_answers() -> None:
    server = Server([200, 200, 503])
    async with listening(server) as port:
        result = await drive(port, iter([http_post("/", b"%d" % n, {}) for n in range(90)]), 8)
    assert sorted(server.bodies) == sorted(b"%d" % n for n in range(90))
    assert result.statuses == {200: 60, 503: 30}
    assert len(result.latencies) == 90
    assert server.connections == 8
    assert 1 < server.most <= 8
    assert result.rate == pytest.approx(60 / result.seconds)


async def test_a_connection_that_is_lost_is_an_answer_of_none() -> None:
    server = Server([200], cut=True)
    async with listening(server) as port:
        result = await drive(port, iter([http_post("/", b"x", {})] * 5), 2)
    assert result.statuses == {0: 2}  # and no connection is left for the others


async def test_an_open_loop_goes_on_while_nobody_answers_and_counts_from_when_a_request_was_due() -> None:
    server = Server([200], pause=0.2)
    due: list[float] = []

    def request(when: float) -> bytes:
        due.append(when)
        return http_post("/", b"x", {})

    async with listening(server) as port:
        pool = Connections(port, 1)
        await pool.open()
        result = await at_rate(pool, request, 100, 4)
        await pool.close()
    assert result.statuses == {200: 4}
    assert [round((b - a) * 1000) for a, b in pairwise(due)] == [10, 10, 10]
    # One connection, each answer after 0.2 s: what waited for it says so.
    assert result.latencies == sorted(result.latencies)
    assert result.latencies[-1] > 3 * 0.2


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3.0], 0.99) == 3
    assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], 0.5) == 3
    assert percentile(map(float, range(1000)), 0.99) == 990


# ---------------------------------------------------------------- the worlds


def test_a_webhook_is_one_that_the_bridge_reads() -> None:
    [one] = read_webhook(webhook("label-7", 7), "main")
    [copy] = one.copies
    assert (one.message_id, one.problem, copy.to.id) == ("label-7", None, "16504000007")
    made = list(signed(b"secret", "label", 3, 4))
    assert [message_id for message_id, _ in made] == ["label-0", "label-1", "label-2", "label-3"]


async def test_the_worlds_tell_a_message_from_its_repetition() -> None:
    world, port = World(0.0), free_port()
    await world.serve(port)
    base = f"http://127.0.0.1:{port}"
    receipt = {"channel": {"messageId": "m-1"}, "type": "Receipt", "status": "Delivered"}
    failed = {"channel": {"messageId": "m-2"}, "type": "Receipt", "status": "Failed"}
    async with httpx.AsyncClient(trust_env=False, base_url=base) as client:
        for message_id in ("m-1", "m-2", "m-2"):
            answer = await client.post("/2010-04-01/x", data={"To": "+1", "Body": f"{message_id} Your parcel"})
            assert (answer.status_code, answer.json()["status"]) == (201, "queued")
        for messages in ([receipt], [receipt, failed]):
            answer = await client.post("/nexus/v3/channels/1/messages", json={"messages": messages})
            assert answer.json() == {"status": {"code": 0}}
        seen = (await client.get("/counts")).json()
    await world.close()
    del seen["seconds"], seen["cpu"]
    assert seen == {
        "requests": 3, "asked": 2, "taken": 3, "receipts": 3, "delivered": 1, "posts": 2, "most_in_flight": 1,
    }  # fmt: skip


async def test_the_worlds_hold_many_requests_at_once() -> None:
    world, port = World(0.3), free_port()
    await world.serve(port)
    requests = [http_post("/2010-04-01/x", b"To=1&Body=m-%d+Your" % n, {}) for n in range(20)]
    result = await drive(port, iter(requests), 20)
    await world.close()
    assert result.statuses == {201: 20}
    assert (world.most_in_flight, world.in_flight, len(world.asked)) == (20, 0, 20)


def test_a_status_callback_is_signed_as_twilio_signs(tmp_path: Path) -> None:
    stage = Stage(tmp_path, confirmed=True)
    public, provider = f"http://127.0.0.1:{stage.public}", stage.configuration.build_providers()["twilio"]
    form = {"StatusCallback": f"{public}/callbacks/twilio/status?m=abc&p=0#rc=5", "From": "+1555", "To": "+1650"}
    head, _, body = status_callback(public, form, "SM1").partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    path = line.split()[1]
    headers = {name.lower(): (value,) for name, _, value in (one.partition(": ") for one in lines)}
    query = path.partition("?")[2].encode()
    received = Callback(kind="status", method="POST", url=public + path, query=query, headers=headers, body=body)
    provider.verify(received)
    [update] = provider.parse_callback(received)
    assert (update.ref, update.part, update.provider_id) == ("abc", 0, "SM1")  # type: ignore[union-attr]
    assert update.status.value == "delivered"  # type: ignore[union-attr]


# ---------------------------------------------------------------- steady parts and the table


def look(seconds: float, delivered: float, cpu: float = 0.0) -> Sample:
    return Sample({"seconds": seconds, "delivered": delivered, "taken": delivered * 2}, {"worker": cpu}, {})


def test_the_steady_part_leaves_out_the_first_and_the_last_tenth() -> None:
    samples = [look(n, d) for n, d in enumerate([0, 0, 5, 10, 40, 90, 95, 100])]
    between = steady(samples, 100)
    assert (between.first.delivered, between.last.delivered, between.rate) == (10, 90, 40)


def test_a_run_too_short_for_that_is_taken_whole() -> None:
    for middle in ([], [look(1.5, 50)], [look(1.5, 50), look(1.6, 50)]):
        between = steady([look(0, 0), look(1, 0), *middle, look(2, 95), look(3, 100)], 100)
        assert (between.first.seconds, between.last.seconds, between.rate) == (1, 3, 50)


def test_processor_time_is_shared_among_the_messages() -> None:
    first, last = look(0, 100, cpu=1.0), look(2, 300, cpu=1.5)
    assert Between(first, last).cpu_ms("worker") == pytest.approx(2.5)
    assert Between(first, last, "taken").cpu_ms("worker") == pytest.approx(1.25)
    assert Between(first, last, "taken").rate == 200


def test_the_ratio_is_the_median_of_pairs() -> None:
    line = Line("carried, /s", (100.0, 300.0, 200.0), 0, "bare", (100.0, 600.0, 800.0), "≥ 0.65")
    assert line.ratios == [1.0, 0.5, 0.25]
    assert line.cells == ("carried, /s", "200 (100–300)", "bare: 600", "0.50 (0.25–1.00)", "≥ 0.65")
    assert markdown([line]).splitlines()[2] == "| carried, /s | 200 (100–300) | bare: 600 | 0.50 (0.25–1.00) | ≥ 0.65 |"
    assert "ratio 0.50" in text([line])
    assert Line("alone", (1234.5,), 1).cells == ("alone", "1,234.5", "", "", "")


def test_the_noise_is_the_work_of_a_moment() -> None:
    began = time.perf_counter()
    assert 0 < loop_ms() <= (time.perf_counter() - began) * 1000
    assert "Python 3." in name()
