"""Sessions over TLS, beside a real server with certificates of its own: what is refused, and that nothing is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from dcbridge.errors import OutcomeUnknown, Unreachable
from dcbridge.providers.base import SmppAnswer
from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import Command
from dcbridge.transport.smpp import Arrivals, Session
from tests.certificates import self_signed
from tests.transport.test_smpp import BODY, Here, account, answers, deliver, listening, outcome, silent, until

Files = tuple[Path, Path]
HOSTS: dict[str, tuple[tuple[str, ...], int]] = {
    "own": ((), 1), "other": ((), 1), "elsewhere": (("smsc.example.com",), 1), "expired": ((), -1),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    folder = tmp_path_factory.mktemp("smpp-tls")
    return {name: self_signed(folder, name, *hosts, days=days) for name, (hosts, days) in HOSTS.items()}


def server_side(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def trusting(files: Files) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files[0]))


async def opened(
    port: int, tls: ssl.SSLContext | None, here: Here, *, host: str = "127.0.0.1", verify: bool = True
) -> Session:
    return await Session.open(
        account(port, host=host, tls=True, verify_certificate=verify),
        Arrivals(here.store, here.confirm, here.odd.append),
        window=10,
        connect_timeout=1.0,
        timeout=5.0,
        tls=tls,
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_both_ways_over_tls(made: dict[str, Files], host: str) -> None:
    here = Here()
    async with listening(answers, tls=server_side(made["own"])) as (port, smscs):
        session = await opened(port, trusting(made["own"]), here, host=host)
        assert (await session.submit(BODY)).message_id == "id-2"
        smscs[0].say(Command.DELIVER_SM, 7, deliver())
        await until(lambda: smscs[0].statuses(Command.DELIVER_SM_RESP))
        assert here.stored == [pdu.unit(Command.DELIVER_SM, 7, deliver())]
        await session.close()
        assert smscs[0].heard[-1][0].command == Command.UNBIND


@pytest.mark.parametrize(
    ("theirs", "trusted", "code"),
    [
        ("other", "own", "tls certificate not trusted"),
        ("own", "", "tls certificate not trusted"),
        ("elsewhere", "elsewhere", "tls certificate of another host"),
        ("expired", "expired", "tls certificate expired"),
    ],
)
async def test_a_certificate_that_is_not_theirs_is_refused_before_the_password_is_sent(
    made: dict[str, Files], theirs: str, trusted: str, code: str
) -> None:
    async with listening(silent, tls=server_side(made[theirs])) as (port, smscs):
        with pytest.raises(Unreachable) as refused:
            await opened(port, trusting(made[trusted]) if trusted else None, Here())
        assert refused.value.code == code
        assert smscs == []


@pytest.mark.parametrize("theirs", ["other", "elsewhere", "expired"])
async def test_a_certificate_is_not_looked_at_where_that_is_asked_for(made: dict[str, Files], theirs: str) -> None:
    async with listening(answers, tls=server_side(made[theirs])) as (port, _):
        session = await opened(port, None, Here(), verify=False)
        assert await session.submit(BODY) == SmppAnswer(0, "id-2")
        await session.close()


@asynccontextmanager
async def plain(says: bytes, *, close: bool) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A peer without TLS. It says something, reads what comes, and goes away or waits."""
    heard: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(4096))
        with suppress(OSError):
            writer.write(says)
            if not close:
                await reader.read()
            writer.close()
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heard
        await asyncio.wait_for(ended.wait(), 20)


@pytest.mark.parametrize(
    ("says", "close", "code"),
    [
        (pdu.unit(Command.GENERIC_NACK, 1, status=3), False, "tls"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "tls"),
        (b"", True, "connect"),
        (b"", False, "connect timeout"),
        (b"\x16\x03\x03\x40\x00" + b"\x02\x00", False, "connect timeout"),
    ],
    ids=["plain SMPP", "HTTP", "it goes away", "half open", "a handshake that stops"],
)
async def test_a_peer_without_tls_gets_no_password(says: bytes, close: bool, code: str) -> None:
    async with plain(says, close=close) as (port, heard):
        with pytest.raises(Unreachable) as refused:
            await opened(port, None, Here())
        assert refused.value.code == code
        assert len(heard) == 1
        assert b"secret" not in heard[0]


async def test_an_smsc_with_tls_is_no_plain_one(made: dict[str, Files]) -> None:
    here = Here()
    async with listening(silent, tls=server_side(made["own"])) as (port, smscs):
        with pytest.raises(Unreachable) as refused:
            await Session.open(
                account(port), Arrivals(here.store, here.confirm, here.odd.append),
                window=1, connect_timeout=1.0, timeout=1.0,
            )  # fmt: skip
        assert refused.value.code in ("not SMPP", "no answer to the bind")
        assert smscs == []


async def test_what_was_written_when_the_connection_broke_is_unknown(made: dict[str, Files]) -> None:
    async with listening(silent, tls=server_side(made["own"])) as (port, smscs):
        session = await opened(port, trusting(made["own"]), Here())
        request = asyncio.create_task(outcome(session.submit(BODY)))
        await until(lambda: smscs[0].heard)
        smscs[0].writer.transport.abort()
        assert await request == (OutcomeUnknown, "connection lost")
        assert await outcome(session.submit(BODY)) == (Unreachable, "no session")
        await session.close()
