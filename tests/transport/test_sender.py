"""What became of a request that failed: real sockets that refuse, hang up, reset, stall and ramble.

The question is always the same one: can the other side have taken it?
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from dcbridge.errors import OutcomeUnknown, SendError, Unreachable
from dcbridge.transport import sender as sending
from dcbridge.transport.sender import Sender
from tests.certificates import self_signed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def heard(reader: asyncio.StreamReader) -> bytes:
    """One whole request; b"" where the caller hung up."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    length = next((int(x[16:]) for x in head.lower().split(b"\r\n") if x.startswith(b"content-length: ")), 0)
    return head + await reader.readexactly(length)


@asynccontextmanager
async def serving(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server of raw bytes; whatever is still open is reset at the end."""
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError, asyncio.CancelledError):
            await talk(reader, writer)

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(one(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


def patient(**changes: float) -> Sender:
    """A sender that waits as long as a busy machine takes; who is to wait in vain says for how long."""
    times = {"connect_timeout": 5.0, "write_timeout": 5.0, "read_timeout": 10.0, "pool_timeout": 5.0} | changes
    return Sender(**times)  # type: ignore[arg-type]  # connections is a whole number


IN_VAIN = {"connect_timeout": 0.5, "write_timeout": 0.5, "read_timeout": 0.5}  # for an answer that does not come


def post(url: str) -> httpx.Request:
    return httpx.Request("POST", url, content=b"To=%2B16504661149&Body=text")


async def fate(url: str, **changes: float) -> SendError | httpx.Response:
    async with patient(**changes) as sender:
        try:
            return await sender.http(post(url))
        except SendError as error:
            return error


# ---------------------------------------------------------------- it never arrived


async def test_nobody_listens() -> None:
    with socket.socket() as bound:  # bound and not listening: the port is nobody else's either
        bound.bind(("127.0.0.1", 0))
        found = await fate(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert (type(found), getattr(found, "code", "")) == (Unreachable, "connect")


async def test_a_name_that_does_not_exist() -> None:
    found = await fate("http://no-such-host.invalid/", connect_timeout=5.0)
    assert isinstance(found, Unreachable)
    assert found.code in ("dns", "connect timeout")  # the latter behind a resolver that drops the question


async def test_a_server_that_does_not_take_the_connection() -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(full.getsockname())
        found = await fate(f"http://127.0.0.1:{full.getsockname()[1]}/", connect_timeout=0.2)
    assert (type(found), getattr(found, "code", "")) == (Unreachable, "connect timeout")


async def test_no_free_connection_in_time() -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        arrived.set()
        await asyncio.sleep(60)

    async with serving(silent) as url, patient(connections=1, connect_timeout=0.5, pool_timeout=0.5) as sender:
        first = asyncio.ensure_future(sender.http(post(url)))
        await arrived.wait()
        with pytest.raises(Unreachable) as found:
            await sender.http(post(url))
        assert found.value.code == "connect timeout"
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_certificate_that_nobody_vouches_for_and_the_same_one_trusted(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked = []

    async def polite(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await heard(reader))
        writer.write(OK)
        await writer.drain()

    async with serving(polite, context) as url:
        found = await fate(url)
        assert (type(found), getattr(found, "code", "")) == (Unreachable, "tls certificate not trusted")
        assert not any(asked)
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with Sender(tls=trusting) as sender:
            assert (await sender.http(post(url))).content == b"hi"


async def test_tls_to_a_server_that_speaks_none() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n")
        await writer.drain()
        await reader.read()

    async with serving(plain) as url:
        assert isinstance(await fate(url.replace("http:", "https:")), Unreachable)


# ---------------------------------------------------------------- it may have arrived


async def reads_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    writer.close()


async def reads_and_resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    reset(writer)


async def closes_before_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    await asyncio.sleep(60)


async def breaks_off_in_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")
    await writer.drain()
    writer.close()


async def says_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await heard(reader)
    writer.write(b"220 smtp.example.com ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await heard(reader):
        writer.write(OK)
        await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """An RST, and no orderly end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    ("talk", "code"),
    [
        (reads_and_closes, "connection lost"),  # httpx-aiohttp calls this one a ConnectTimeout
        (reads_and_resets, "connection lost"),
        (closes_before_reading, "connection lost"),
        (never_answers, "timeout"),
        (breaks_off_in_the_head, "connection lost"),
        (says_nonsense, "connection lost"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_request_that_was_written_and_not_answered_is_an_unknown_outcome(talk: Talk, code: str) -> None:
    async with serving(talk) as url:
        found = await fate(url, **(IN_VAIN if talk is never_answers else {}))
        assert isinstance(found, OutcomeUnknown)
        assert found.code.startswith(code) or talk is closes_before_reading
        assert (found.taken, found.again) == (None, False)
    async with serving(answers) as url:
        answer = await fate(url)
        assert isinstance(answer, httpx.Response)
        assert (answer.status_code, answer.content) == (200, b"hi")


# ---------------------------------------------------------------- connections that are kept


async def test_a_connection_that_the_server_closed_while_idle_is_replaced() -> None:
    connections, closed = 0, asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await heard(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    async with serving(once) as url, patient() as sender:
        assert (await sender.http(post(url))).status_code == 200
        await closed.wait()
        await asyncio.sleep(0.05)  # let our side hear of it
        assert (await sender.http(post(url))).status_code == 200
    assert connections == 2


async def test_a_connection_that_closes_on_the_second_request_is_unknown_and_the_request_is_not_repeated() -> None:
    requests = []

    async def takes_the_second_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await heard(reader))
        writer.write(OK)
        await writer.drain()
        requests.append(await heard(reader))
        writer.close()

    async with serving(takes_the_second_and_closes) as url, patient() as sender:
        assert (await sender.http(post(url))).status_code == 200
        with pytest.raises(OutcomeUnknown):
            await sender.http(post(url))
    assert len(requests) == 2


async def test_one_connection_serves_many_requests() -> None:
    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answers(reader, writer)

    async with serving(count) as url, patient() as sender:
        for _ in range(5):
            await sender.http(post(url))
    assert connections == 1


async def test_the_time_for_an_answer_begins_with_its_own_request() -> None:
    async def then_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for seconds in (0.0, 1.0):
            await heard(reader)
            await asyncio.sleep(seconds)
            writer.write(OK)
            await writer.drain()
        await asyncio.sleep(60)

    async with serving(then_silent) as url, Sender(read_timeout=2.5, whole_timeout=30.0) as sender:
        assert (await sender.http(post(url))).status_code == 200
        await asyncio.sleep(1.6)  # its time would be over while the next one is waited for
        assert (await sender.http(post(url))).status_code == 200
        async with asyncio.timeout(20):
            with pytest.raises(OutcomeUnknown, match="timeout"):
                await sender.http(post(url))


# ---------------------------------------------------------------- answers


async def test_what_a_server_says_is_an_answer_whatever_its_status() -> None:
    async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await heard(reader):
            writer.write(
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nRetry-After: 7\r\n"
                b"Content-Length: 0\r\n\r\n"
            )
            await writer.drain()

    async with serving(moved) as url:
        answer = await fate(url)
    assert isinstance(answer, httpx.Response)
    assert (answer.status_code, answer.headers["retry-after"]) == (307, "7")  # and not followed
    assert str(answer.request.url).startswith(url)


async def test_cookies_are_not_kept_between_requests() -> None:
    requests = []

    async def cookies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await heard(reader):
            requests.append(request)
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

    async with serving(cookies) as url, patient() as sender:
        await sender.http(post(url))
        await sender.http(post(url))
    assert len(requests) == 2
    assert not any(b"ookie" in request for request in requests)


async def test_the_words_of_an_error_name_nobody() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/2010-04-01/secret-path?To=16504661149"
        found = await fate(url)
    assert isinstance(found, SendError)
    assert str(found) == "connect"
    assert found.__cause__ is None
    assert found.__suppress_context__


async def test_addresses_of_any_length_and_number_are_not_kept() -> None:
    async with serving(answers) as url:
        assert isinstance(await fate(f"{url}/{'x' * 8000}"), httpx.Response)
        for number in range(400):
            sending._address(f"{url}/{number}{'x' * (number * 20)}")
        held = sending._short_address.cache_info()
        assert held.maxsize is not None
        assert held.currsize <= held.maxsize <= 256
        too_long = await fate(f"{url}/{'x' * 60_000}")
    assert isinstance(too_long, Unreachable)
    assert "invalid url" in str(too_long)


@pytest.mark.parametrize(("length", "kept"), [(400, 1), (600, 0), (8000, 0)])
async def test_an_address_that_is_kept_is_short(length: int, kept: int) -> None:
    sending._short_address.cache_clear()
    sending._address("http://127.0.0.1/" + "x" * length)
    assert sending._short_address.cache_info().currsize == kept
