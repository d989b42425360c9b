"""CometD's own server against our client: events, and a server that is killed, stopped, idle, or forgets us."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.errors import SendError
from dcbridge.genesys.statistics import UPDATES
from dcbridge.interfaces import Interfaces, SharedToken
from dcbridge.json_values import an_object
from dcbridge.ledger import Ledger
from dcbridge.ledger.vault import Vault
from dcbridge.notifications import LONGEST, Backoff, LostSession, Notifications
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.session_sender import SessionSender
from tests import stampede
from tests.judges.rows import FAILED, PASSED, Row
from tests.judges.stage import Stage

HELD, MAX_INTERVAL = 2000, 1500  # ms: how long it holds a connect, and remembers who does not connect


@dataclass
class Server:
    """CometD's, on one port for all of its lives."""

    stage: Stage
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            "node", "server.mjs", str(self.port), str(HELD), str(MAX_INTERVAL),
            cwd=self.stage.node(), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            await self.process.stdout.readline()

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def say(self, what: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{self.url}/{what}")


async def judge(stage: Stage) -> list[Row]:
    server = Server(stage, free_port())
    rows: list[Row] = []
    works = (events, idle, connects_at_once, killed, forgotten, stopped, goodbye)
    await server.start()
    try:
        async with _client(stage, server) as session:
            await session.open(UPDATES)
            for work in works:
                what = (work.__doc__ or work.__name__).strip().rstrip(".")
                rows.append(await _row(what, work, server, session))
    finally:
        if server.process is not None and server.process.returncode is None:
            server.signal(signal.SIGCONT)
        await server.kill()
    return rows


Work = Callable[[Server, Notifications], Awaitable[None]]


async def _row(what: str, work: Work, server: Server, session: Notifications) -> Row:
    try:
        async with asyncio.timeout(60):
            await work(server, session)
    except Exception as error:
        return Row(what, FAILED, f"{type(error).__name__} {error}"[:300])
    return Row(what, PASSED)


@asynccontextmanager
async def _client(stage: Stage, server: Server) -> AsyncIterator[Notifications]:
    """Ours, with tokens of the sandbox, which CometD's server does not ask for."""
    redis_server = EmbeddedRedis(stage.folder / "redis", free_port())
    redis_server.start()
    try:
        async with (
            stage.sandbox() as (url, _),
            Redis.from_url(redis_server.url) as redis,
            SessionSender(longest=LONGEST, connect_timeout=2.0) as sender,
        ):
            ledger, metrics = Ledger(redis, keep=60, keep_dead=60), Metrics()
            token = SharedToken(stampede.credentials(url), ledger, Vault(stampede.KEY), sender, metrics)
            interfaces = Interfaces("the-api-key", token, sender, ledger, metrics)
            yield Notifications(interfaces, f"{server.url}/notifications", "statistics")
            await token.close()
    finally:
        redis_server.stop()


async def _numbers(session: Notifications, count: int) -> list[int]:
    """The next numbers; a session that is lost is opened again, as workers/signals.py does."""
    found: list[int] = []
    backoff = Backoff(most=1.0)
    while len(found) < count:
        try:
            polled = await session.poll()
            backoff.good()
            found += [int(str(an_object(one.data)["number"])) for one in polled]
        except LostSession:
            await _opened(session)
        except SendError:
            await backoff.wait()
    return found


async def _opened(session: Notifications) -> None:
    backoff = Backoff(most=1.0)
    while True:
        try:
            await session.open(UPDATES)
        except SendError:
            await backoff.wait()
        else:
            return


async def events(server: Server, session: Notifications) -> None:
    """Events come in their order, none twice and none left out."""
    found = await _numbers(session, 20)
    assert found == [*range(found[0], found[0] + len(found))], found


async def idle(server: Server, session: Notifications) -> None:
    """A connect that is held to its end without an event is followed by the next."""
    await server.say("quiet")
    await session.poll()
    for _ in range(2):
        began = time.monotonic()
        assert await session.poll() == ()
        assert time.monotonic() - began > HELD / 1000 * 0.8
    await server.say("loud")
    await _numbers(session, 2)


async def connects_at_once(server: Server, session: Notifications) -> None:
    """There is one connect at a time, however many ask."""
    found = [one for some in await asyncio.gather(*(session.poll() for _ in range(5))) for one in some]
    numbers = [int(str(an_object(one.data)["number"])) for one in found]
    assert numbers == sorted(set(numbers)), numbers


async def killed(server: Server, session: Notifications) -> None:
    """A server that is killed (SIGKILL) in a connect, and started again: another session, and events."""
    waiting = asyncio.create_task(_numbers(session, 200))
    await asyncio.sleep(0.5)
    await server.kill()
    await asyncio.sleep(1.0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await server.start()
    assert min(await _numbers(session, 5)) < 5  # its numbers begin anew


async def forgotten(server: Server, session: Notifications) -> None:
    """Who does not connect for too long is forgotten (402): another session, and events."""
    await asyncio.sleep(MAX_INTERVAL / 1000 + 1.0)
    lost = False
    try:
        for _ in range(3):
            await session.poll()
    except LostSession:
        lost = True
        await _opened(session)
    assert lost, "the server remembered us"
    await _numbers(session, 5)


async def stopped(server: Server, session: Notifications) -> None:
    """A server that stands still (SIGSTOP) is given up 10 seconds after the time that it advised, and tried again."""
    server.signal(signal.SIGSTOP)
    began, code = time.monotonic(), ""
    try:
        await session.poll()
    except SendError as error:
        code = error.code
    took = time.monotonic() - began
    server.signal(signal.SIGCONT)
    assert code == "timeout", code
    assert HELD / 1000 + 9 < took < HELD / 1000 + 25, took
    await _numbers(session, 5)


async def goodbye(server: Server, session: Notifications) -> None:
    """Disconnect: the session is known no more."""
    await session.close()
    try:
        await session.poll()
    except LostSession:
        return
    raise AssertionError("it was there still")
