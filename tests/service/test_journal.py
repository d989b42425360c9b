"""Callbacks while Redis is away: answered as taken, kept on this disk, and in Redis once and in order afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.services import Journal as Seen
from dcbridge.providers.callback import callback_lane, unpack
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from sandbox.wires.twilio import sign
from service.journal.inbox import Inbox
from service.journal.journal import Journal, open_journal
from tests.stack import ROOT, Stack, sms_body, until
from tests.warm import Warm

LANE = "a lane"
REDIS_TIMEOUT = 2.5  # seconds; a Redis that is there answers within it on a busy machine too


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A Redis of this test's own, to be stopped and started."""
    server = EmbeddedRedis(tmp_path / "redis", free_port())
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def an_inbox(server: EmbeddedRedis, folder: Path | None, **changes: Any) -> AsyncIterator[tuple[Inbox, Metrics]]:
    settings = Settings(
        redis_url=SecretStr(server.url),
        redis_timeout=REDIS_TIMEOUT,
        journal=str(folder) if folder else "",
        **changes,
    )
    metrics = Metrics()
    journal = open_journal(settings, metrics)
    redis = connect(settings)
    inbox = Inbox(Ledger(redis, keep=60, keep_dead=60), settings, journal)
    draining = asyncio.create_task(inbox.drain())
    try:
        yield inbox, metrics
    finally:
        draining.cancel()
        with suppress(asyncio.CancelledError):
            await draining
        if journal:
            await journal.close()
        await redis.aclose()


def journal_of(inbox: Inbox) -> Journal:
    assert inbox._journal is not None
    return inbox._journal


def task(number: int) -> NewTask:
    return NewTask(f"b-{number:024d}", "callback", LANE, b"%d" % number)


def value(metrics: Metrics, name: str) -> float:
    return metrics.registry.get_sample_value(f"dcbridge_{name}") or 0.0


async def lane(server: EmbeddedRedis) -> list[int]:
    async with Redis.from_url(server.url) as client:
        members: Any = await client.lrange(f"dcb:lane:{LANE}", 0, -1)
    return [int(member.decode().removeprefix("t:b-")) for member in members]


async def empty(metrics: Metrics) -> None:
    async with asyncio.timeout(30):
        while value(metrics, "journal_waiting"):  # noqa: ASYNC110  (as an operator would see it)
            await asyncio.sleep(0.02)


async def test_with_redis_there_the_journal_is_not_touched(mortal: EmbeddedRedis, tmp_path: Path) -> None:
    async with an_inbox(mortal, tmp_path / "journal") as (inbox, metrics):
        assert await asyncio.gather(*(inbox.put(task(n)) for n in range(100))) == ["new"] * 100
        assert await inbox.put(task(7)) == "repeated"
        assert value(metrics, "journal_written_total") == 0
    assert await lane(mortal) == list(range(100))


async def test_what_redis_does_not_take_is_handed_over_once_and_in_order(mortal: EmbeddedRedis, tmp_path: Path) -> None:
    async with an_inbox(mortal, tmp_path / "journal") as (inbox, metrics):
        assert await inbox.put(task(0)) == "new"
        mortal.kill()
        for first in range(1, 200, 50):
            words = await asyncio.gather(*(inbox.put(task(n)) for n in range(first, first + 50)))
            assert words == ["journalled"] * 50
        assert (value(metrics, "journal_waiting"), value(metrics, "journal_written_total")) == (200, 200)
        starting = asyncio.create_task(asyncio.to_thread(mortal.start))
        later = 201
        while value(metrics, "journal_waiting") or not starting.done():  # others come while it is handed over
            await inbox.put(task(later))
            later += 1
        await starting
        assert await inbox.put(task(later)) == "new"
        assert await inbox.put(task(150)) == "repeated"
    assert later > 202
    assert await lane(mortal) == list(range(later + 1))
    assert not list((tmp_path / "journal").glob("*.journal"))


async def test_a_write_that_timed_out_and_happened_all_the_same_happens_once(
    mortal: EmbeddedRedis, tmp_path: Path
) -> None:
    async with an_inbox(mortal, tmp_path / "journal") as (inbox, metrics):
        assert await inbox.put(task(0)) == "new"
        assert mortal.process is not None
        os.kill(mortal.process.pid, signal.SIGSTOP)
        try:
            # The first is on the wire to a Redis that answers no more; the next ones do not wait for it.
            assert await inbox.put(task(1)) == "journalled"
            async with asyncio.timeout(REDIS_TIMEOUT * 0.8):
                assert await asyncio.gather(*(inbox.put(task(n)) for n in range(2, 80))) == ["journalled"] * 78
        finally:
            os.kill(mortal.process.pid, signal.SIGCONT)
        await empty(metrics)
    assert await lane(mortal) == list(range(80))


async def test_a_second_process_hands_over_what_a_killed_one_left(mortal: EmbeddedRedis, tmp_path: Path) -> None:
    mortal.stop()
    async with an_inbox(mortal, tmp_path / "journal") as (inbox, _):
        await asyncio.gather(*(inbox.put(task(n)) for n in range(150)))
    mortal.start()
    async with Redis.from_url(mortal.url) as client:  # half of it arrived, and nobody had removed the segment
        await Ledger(client, keep=60, keep_dead=60).tasks.put([task(n) for n in range(75)])
    async with an_inbox(mortal, tmp_path / "journal") as (inbox, metrics):
        await empty(metrics)
        assert await inbox.put(task(150)) == "new"
    assert await lane(mortal) == list(range(151))


async def test_without_a_journal_the_sender_is_told(mortal: EmbeddedRedis) -> None:
    async with an_inbox(mortal, None) as (inbox, _):
        mortal.kill()
        with pytest.raises(RedisError):
            await inbox.put(task(1))


async def test_a_full_journal_refuses_and_takes_again_after_the_drain(mortal: EmbeddedRedis, tmp_path: Path) -> None:
    big = [NewTask(f"b-{n}", "callback", "", bytes(20_000)) for n in range(6)]
    async with an_inbox(mortal, tmp_path / "journal", journal_limit=1 << 16) as (inbox, metrics):
        mortal.kill()
        for one in big[:3]:
            assert await inbox.put(one) == "journalled"
        with pytest.raises(OSError, match="the journal is full"):
            await inbox.put(big[3])
        seen = await journal_of(inbox).seen()
        assert (seen.configured, seen.waiting, seen.full) == (True, 3, True)
        assert 0 < seen.bytes <= seen.limit
        mortal.start()
        await empty(metrics)
        assert await inbox.put(big[3]) == "new"
        mortal.kill()
        assert await inbox.put(big[4]) == "journalled"


async def test_damage_is_said_loudly_and_a_torn_tail_is_only_mentioned(
    mortal: EmbeddedRedis, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "journal"
    mortal.kill()
    async with an_inbox(mortal, folder) as (inbox, _):
        await asyncio.gather(*(inbox.put(task(n)) for n in range(4)))
    [path] = folder.glob("*.journal")
    data = path.read_bytes()
    size = len(data) // 4
    path.write_bytes(data[: size + 20] + b"\xff" + data[size + 21 : -1])
    mortal.start()
    async with an_inbox(mortal, folder) as (inbox, metrics):
        await empty(metrics)
        faults = metrics.registry.get_sample_value(
            "dcbridge_errors_total", {"kind": "journal_damaged", "name": "journal"}
        )
        assert await journal_of(inbox).seen() == Seen(True, limit=Settings().journal_limit, set_aside=1)
    said = capfd.readouterr()
    assert "journal_damaged" in said.out + said.err
    assert "journal_tail_cut" in said.out + said.err
    assert faults == 1
    assert await lane(mortal) == [0, 2]
    assert len(list(folder.glob("*.bad"))) == 1


# ---------------------------------------------------------------- the service as a process


class Twilio:
    """What an SMS provider sends: consumers' messages, numbered, each once."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.sent = stack, 0

    def writes(self, number: int | None = None, kind: str = "inbound") -> httpx.Response:
        if number is None:
            number, self.sent = self.sent, self.sent + 1
        fields = {
            "MessageSid": f"SM{number:032d}", "From": "+16502530000", "To": "+15557650123", "Body": f"text {number}",
            "NumMedia": "0", **({"MessageStatus": "delivered"} if kind == "status" else {}),
        }  # fmt: skip
        url = f"{self.stack.public}/callbacks/twilio/{kind}"
        signed = sign(self.stack.kept("twilio_auth_token"), url, fields)
        return self.stack.client.post(url, data=fields, headers={"X-Twilio-Signature": signed})

    def stored(self) -> list[int]:
        """The numbers of what Redis holds, in the order in which it will be read."""
        with self.stack.ledger() as client:
            members: Any = client.lrange(f"dcb:lane:{callback_lane('twilio', 'inbound')}", 0, -1)
            payloads: list[Any] = [client.hget(f"dcb:{member.decode()}", "p") for member in members]
        bodies = [parse_qs(unpack(payload)[1].body.decode()) for payload in payloads]
        return [int(body["MessageSid"][0].removeprefix("SM")) for body in bodies]


def test_two_hundred_callbacks_survive_a_redis_that_is_away_and_a_service_that_is_killed() -> None:
    with Stack(parts=("service",)) as stack:
        twilio = Twilio(stack)
        usual = twilio.writes()
        assert usual.status_code == 200
        stack.redis.kill()
        for count in (100, 100):
            for _ in range(count):
                answer = twilio.writes()
                assert (answer.status_code, answer.content) == (200, usual.content)
            assert twilio.writes(17).status_code == 200  # a repetition
            assert twilio.writes(17, "status").status_code == 200
            # Digital Channels sends again, so its messages are not taken here.
            assert stack.webhook(sms_body(stack.new_id(), stack.new_number())).status_code == 503
            assert "dcbridge_journal_written_total 102.0" in stack.metrics("service")
            stack.kill("service")
            stack.start("service")  # ready though Redis is away: there is something in its journal
        assert "dcbridge_journal_waiting 204.0" in stack.metrics("service")
        stack.redis.start()
        until(lambda: "dcbridge_journal_waiting 0.0" in stack.metrics("service"), "the journal is drained")
        assert twilio.writes().status_code == 200
        assert twilio.stored() == list(range(202))
        assert stack.books().tasks["callback"] == 203
        [drained] = stack.lines("service", "journal_drained")
        assert drained["records"] == 204
        assert "text 17" not in stack.said("service")
        assert {line["outcome"] for line in stack.lines("service", "provider_callback")} == {"accepted", "journalled"}


def test_a_full_journal_is_503_and_a_second_service_does_not_start_on_the_folder() -> None:
    settings = {"DCBRIDGE_JOURNAL_LIMIT": "65536"}
    with Stack(parts=("service",), settings=settings) as stack:
        twilio = Twilio(stack)
        second = stack.command("serve")
        assert second.returncode == 2
        assert f"is in use by another process ({stack.processes['service'].pid})" in second.stderr
        stack.redis.kill()
        taken = 0
        while (answer := twilio.writes()).status_code == 200:
            taken += 1
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert taken > 20
        readyz = f"http://127.0.0.1:{stack.ports.operator}/readyz"
        assert stack.client.get(readyz).status_code == 503
        stack.redis.start()
        until(lambda: stack.client.get(readyz).status_code == 200, "the service is ready")
        until(lambda: "dcbridge_journal_waiting 0.0" in stack.metrics("service"), "the journal is drained")
        assert twilio.stored() == list(range(taken))


@pytest.mark.parametrize("command", ["serve", "check"])
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(command: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Stack(parts=()) as stack:
        for journal, code in (
            (tmp_path / "file" / "journal", {"serve": 2, "check": 1}[command]),
            (tmp_path / "new", 0),
        ):
            log = tmp_path / f"{code}.log"
            words = [sys.executable, "-m", "dcbridge", command]
            process = Warm(words, stack.environ | {"DCBRIDGE_JOURNAL": str(journal)}, log, log, ROOT)
            if command == "serve" and code == 0:
                stack.processes["service"] = process
                until(lambda: stack.is_ready("service"), "the service is ready")
                process.terminate()
            ended = process.wait(60)
            stack.processes.clear()
            said = process.said()
            assert ended == code, said
            assert (f"error: DCBRIDGE_JOURNAL: {journal} cannot be written: Not a directory" in said) == bool(code)


def test_the_journal_is_what_readiness_is_about() -> None:
    """A service that never reached Redis and holds nothing is not ready: its address may be wrong."""
    with Stack(parts=(), settings={"DCBRIDGE_DRAIN_SECONDS": "1"}) as stack:
        stack.redis.stop()
        stack.start("service", wait=False)
        readyz = f"http://127.0.0.1:{stack.ports.operator}/readyz"

        def answered() -> int:
            with suppress(httpx.HTTPError):
                return stack.client.get(readyz).status_code
            return 0

        assert until(answered, "the service listens") == 503
        assert Twilio(stack).writes().status_code == 200
        assert answered() == 200


def test_a_service_that_is_asked_to_stop_waits_for_redis_to_take_its_journal() -> None:
    """A pod's folder goes with the pod."""
    with Stack(parts=("service",)) as stack:
        stack.redis.kill()
        assert Twilio(stack).writes().status_code == 200
        stack.processes["service"].terminate()
        until(lambda: stack.lines("service", "journal_waits_to_be_empty"), "the service waits")
        assert stack.is_ready("service")
        stack.redis.start()
        assert stack.processes.pop("service").wait(30) == 0
        assert stack.books().tasks["callback"] == 1
        assert stack.lines("service", "journal_left_behind") == []


def test_it_waits_no_longer_than_it_was_told() -> None:
    with Stack(parts=("service",), settings={"DCBRIDGE_DRAIN_SECONDS": "0.2"}) as stack:
        stack.redis.kill()
        assert Twilio(stack).writes().status_code == 200
        assert stack.terminate("service") == [0]
        assert [line["waiting"] for line in stack.lines("service", "journal_left_behind")] == [1]
        stack.redis.start()
        stack.start("service")
        until(lambda: stack.books().tasks["callback"] == 1, "the next service hands it over")
