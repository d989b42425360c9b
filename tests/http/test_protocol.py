"""What one connection may cost: sizes, counts and times of everything in a request, and what is answered beyond."""

from __future__ import annotations

import asyncio
import gc
import re
import resource
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from dcbridge.http.connections import BODIES, OPERATORS, RESERVED, Connections, Limits, public_connections
from dcbridge.http.protocol import AT_ONCE, HEAD, HEADER, HEADERS, TARGET, UNREAD, BoundedProtocol
from dcbridge.runtime.server import Listener
from tests.listening import serving

QUICK = Limits(head=0.6, body=0.6, idle=0.6, connections=300)
PATIENT = Limits(head=5.0, body=5.0, idle=0.6, connections=300)  # where the limits are not what a row is about
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LAST = POST + b"Connection: close\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST_CHUNKED = LAST + b"Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = LAST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
PLENTY = 3 << 20
Rows = dict[str, tuple[bytes | Sequence[bytes], list[int]]]


async def echo(request: Request) -> Response:
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=400)
    return JSONResponse({"body": len(body), "headers": [name.decode() for name, _ in request.scope["headers"]]})


async def large(_request: Request) -> Response:
    return Response(b"a" * (32 << 20))


async def slow(request: Request) -> Response:
    await request.body()
    await asyncio.sleep(1.5)
    return JSONResponse({"slow": True})


@asynccontextmanager
async def listener(limits: Limits = QUICK, ended: list[str] | None = None) -> AsyncIterator[Listener]:
    routes = [Route("/", echo, methods=["GET", "POST"]), Route("/slow", slow), Route("/large", large)]
    told = (lambda _: None) if ended is None else ended.append
    async with serving(
        Listener(Starlette(routes=routes), "127.0.0.1", 0, graceful=1.0, limits=limits, ended=told)
    ) as it:
        yield it


async def emptied(it: Listener) -> None:
    """Waits until no connection is left; TimeoutError when one stays."""
    async with asyncio.timeout(15):
        while len(it.connections):  # noqa: ASYNC110  (a number, not an event)
            await asyncio.sleep(0.02)


async def ask(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Everything that comes until the other side closes, which it has to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""

    async def read() -> None:
        nonlocal got
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                got += data

    reading = asyncio.create_task(read())
    with suppress(ConnectionError):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    await asyncio.wait_for(reading, 20)
    writer.close()
    return got


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"(?<![^\n}])HTTP/1\.1 (\d{3}) ", answer)]


async def table(
    rows: dict[str, bytes | Sequence[bytes]], pause: float = 0.0, limits: Limits = QUICK
) -> dict[str, list[int]]:
    """All rows at once, each on a connection of its own, which is closed at the end."""
    async with listener(limits) as it:
        asked = [ask(it.port, *([row] if isinstance(row, bytes) else row), pause=pause) for row in rows.values()]
        answers = await asyncio.gather(*asked)
        await emptied(it)
        return dict(zip(rows, map(statuses, answers), strict=True))


def same(rows: Rows) -> tuple[dict[str, bytes | Sequence[bytes]], dict[str, list[int]]]:
    """What is sent, and the statuses that are wanted."""
    return {name: row[0] for name, row in rows.items()}, {name: row[1] for name, row in rows.items()}


def _headers(count: int) -> bytes:
    return b"".join(b"X-%d: y\r\n" % n for n in range(count))


# What is too much is answered, and its accepted twin is the most that is taken.
SIZES: Rows = {
    "as many headers as there may be": (LAST + _headers(HEADERS - 2) + b"\r\n", [200]),
    "one header more": (LAST + _headers(HEADERS - 1) + b"\r\n", [431]),
    "40,000 headers": (POST + _headers(40_000) + b"\r\n", [431]),
    "40,000 headers of one name": (POST + b"A: b\r\n" * 40_000 + b"\r\n", [431]),
    "a long header": (LAST + b"X: " + b"a" * (HEADER - 1) + b"\r\n\r\n", [200]),
    "a longer one": (LAST + b"X: " + b"a" * HEADER + b"\r\n\r\n", [431]),
    "a long name": (LAST + b"a" * HEADER + b": b\r\n\r\n", [431]),
    "a long target": (b"POST /?" + b"a" * (TARGET - 2) + LAST[6:] + b"\r\n", [200]),
    "a longer target": (b"POST /?" + b"a" * (TARGET - 1) + LAST[6:] + b"\r\n", [414]),
    "a large head": (LAST + (b"X: " + b"a" * 4000 + b"\r\n") * 16 + b"\r\n", [200]),
    "a larger head": ([POST, (b"X: " + b"a" * 4000 + b"\r\n") * 24 + b"\r\n"], [431]),
    "a larger head, dripped": ([POST, *[b"X: " + b"a" * 4000 + b"\r\n"] * 24], [431]),
    "nothing but line ends": (b"\r\n" * (HEAD // 2 + 9000), [431]),
    "one-byte chunks": (LAST_CHUNKED + b"1\r\na\r\n" * 10_000 + b"0\r\n\r\n", [200]),
    "too many one-byte chunks": (CHUNKED + b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n", [400]),
    "a chunk extension": (LAST_CHUNKED + b"1;a=b\r\na\r\n0\r\n\r\n", [200]),
    "an extension in each chunk": (CHUNKED + (b"1;" + b"a" * 2000 + b"\r\na\r\n") * 50 + b"0\r\n\r\n", [400]),
    "many leading zeros of a chunk's size": (CHUNKED + b"0" * 100_000, [400]),
    "a trailer": (LAST_CHUNKED + b"1\r\na\r\n0\r\nX-A: b\r\n\r\n", [200]),
    "many trailers": (CHUNKED + b"1\r\na\r\n0\r\n" + _headers(20_000) + b"\r\n", [400]),
    "requests in a row": (GET * (AT_ONCE - 1) + LAST + b"\r\n", [200] * AT_ONCE),
    "too many in a row": (GET * (AT_ONCE + 500), [200] * AT_ONCE),
    "too many in a row, with bodies": ((POST + b"Content-Length: 1\r\n\r\na") * (AT_ONCE + 500), [200] * AT_ONCE),
}  # fmt: skip


async def test_sizes() -> None:
    rows, wanted = same(SIZES)
    assert await table(rows, limits=PATIENT) == wanted


async def test_what_never_ends_is_cut_off() -> None:
    """Nobody reads on: the connection is reset, with the answer on its way or not."""
    more = b"a" * PLENTY
    rows: dict[str, bytes | Sequence[bytes]] = {
        "header lines": (POST, _headers(400_000)),
        "a header": (POST + b"X: ", more),
        "a header's name": (POST, more),
        "spaces before a header's value": (POST + b"X:", b" " * PLENTY),
        "a path": (b"POST /", more),
        "a query": (b"POST /?", more),
        "a method": more,
        "a version": (b"POST / HTTP/", b"1" * PLENTY),
        "line ends": b"\r\n" * PLENTY,
        "a trailer": (CHUNKED, b"0\r\nX: ", more),
        "a trailer's name": (CHUNKED, b"0\r\n", more),
        "a chunk extension": (CHUNKED, b"1;", more),
        "a chunk extension's value": (CHUNKED, b"1;a=", more),
        "a quoted chunk extension": (CHUNKED, b'1;a="', more),
        "a chunk's size": (CHUNKED, b"0" * PLENTY),
        "one-byte chunks": (CHUNKED, b"1\r\na\r\n" * (PLENTY // 6)),
        "requests": (GET, GET * (PLENTY // len(GET))),
        "a body after its answer": (b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n", more),
        "chunks after their answer": (
            CHUNKED.replace(b"/", b"/no", 1), (b"10000\r\n" + b"a" * 65536 + b"\r\n") * (2 * UNREAD // 65536),
        ),
        "a body behind another request": (
            b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + POST + b"Content-Length: 9999999999\r\n\r\n", more,
        ),
        "after a request that was the last": (LAST + b"\r\n", GET * (PLENTY // len(GET))),
    }  # fmt: skip
    answers = await table(rows, limits=PATIENT)
    allowed: tuple[list[int], ...] = ([], [400], [414], [431], [404], [200], [200, 408], [200] * AT_ONCE)
    assert [name for name, found in answers.items() if found not in allowed] == []


# The bodies of which nobody may read the end: (what is sent, whether each answer says that it is the last one).
NO = b"POST /no HTTP/1.1\r\nHost: x\r\n"  # answered before its body is there
LONG = b"Content-Length: %d\r\n\r\n" % (UNREAD + 1)
SHORT = b"Content-Length: %d\r\n\r\n" % UNREAD
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
ENDS: dict[str, tuple[Sequence[bytes], list[bool]]] = {
    "a long body after its answer": ([NO + LONG, b"a" * (UNREAD + 1), LAST + b"\r\n"], [True]),
    "the longest that is read": ([NO + SHORT, b"a" * UNREAD, LAST + b"\r\n"], [False, True]),
    "chunks after their answer": ([NO + CHUNKS, b"1\r\na\r\n0\r\n\r\n" + LAST + b"\r\n"], [True]),
    "chunks before their answer": ([NO + CHUNKS + b"1\r\na\r\n0\r\n\r\n" + LAST + b"\r\n"], [False, True]),
    "a long body that is read": ([POST + LONG, b"a" * (UNREAD + 1) + LAST + b"\r\n"], [False, True]),
    "a long body behind another request": ([SLOW + LAST + LONG, b"a" * (UNREAD + 1)], [False, True]),
    "a long body after its answer, behind another request": ([SLOW + NO + LONG, b"a" * (UNREAD + 1)], [False, True]),
    "a short body behind another request": ([SLOW + LAST + b"Content-Length: 1\r\n\r\n", b"a"], [False, True]),
    "too many in a row": ([GET * (AT_ONCE + 1)], [False] * (AT_ONCE - 1) + [True]),
}


async def test_the_last_answer_says_that_it_is_the_last() -> None:
    """A proxy that keeps the connection would send its next request into one that is about to be closed."""
    async with listener(PATIENT) as it:
        got = await asyncio.gather(*(ask(it.port, *pieces, pause=0.2) for pieces, _ in ENDS.values()))
        await emptied(it)
    heads = [[b"\r\nconnection: close" in head for head in answer.split(b"HTTP/1.1 ")[1:]] for answer in got]
    assert dict(zip(ENDS, heads, strict=True)) == {name: said for name, (_, said) in ENDS.items()}


FRAMES: Rows = {
    "a host": (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", [200]),
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", [400]),
    "a host without a name": (b"GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n", [200]),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", [400]),
    "the same host twice": (b"GET / HTTP/1.1\r\nhost: x\r\nHOST: x\r\n\r\n", [400]),
    "HTTP/1.0 without a host": (b"GET / HTTP/1.0\r\n\r\n", [200]),
    "HTTP/1.0 with two": (b"GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", [400]),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", [505]),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "HTTP/0.9": (b"GET /\r\n\r\n", [505]),
    "a length": (LAST + b"Content-Length: 2\r\n\r\nhi", [200]),
    "the same length twice": (LAST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", [400]),
    "two lengths": (LAST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi", [400]),
    "two lengths in a line": (LAST + b"Content-Length: 2, 2\r\n\r\nhi", [400]),
    "a length with a sign": (LAST + b"Content-Length: +2\r\n\r\nhi", [400]),
    "a length below zero": (LAST + b"Content-Length: -2\r\n\r\nhi", [400]),
    "a hexadecimal length": (LAST + b"Content-Length: 0x2\r\n\r\nhi", [400]),
    "a length of many digits": (LAST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\nhi", [400]),
    "a length, then chunks": (LAST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    "chunks, then a length": (LAST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [400]),
    "chunks": (LAST_CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", [200]),
    "chunks twice": (LAST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    "chunks that are not last": (LAST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", [400]),
    "another transfer encoding": (LAST + b"Transfer-Encoding: gzip\r\n\r\nhi", [400]),
    "a transfer encoding that is none": (LAST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400]),
    "a chunk of no size": (CHUNKED + b"zz\r\n", [400]),
    "a chunk that is longer than it says": (CHUNKED + b"1\r\nhi\r\n0\r\n\r\n", [400]),
    "a space before the colon": (LAST + b"Content-Length : 2\r\n\r\nhi", [400]),
    "a folded header": (LAST + b"X: a\r\n b\r\n\r\n", [400]),
    "a bare line feed": (b"GET / HTTP/1.1\nHost: x\n\n", [400]),
    "a bare carriage return": (LAST + b"X: a\rY: b\r\n\r\n", [400]),
    "a NUL in a header": (LAST + b"X: a\0b\r\n\r\n", [400]),
    "CONNECT": (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "good, then bad": (GET + b"BAD\r\n\r\n", [200, 400]),
    "slow, then bad": (b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + b"BAD\r\n\r\n", [200, 400]),
    "slow, then bad in its chunks": (b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + CHUNKED + b"zz\r\n", [200, 400]),
    "the last, then more": (LAST + b"\r\n" + GET * 9, [200]),
    "HTTP/1.0, then more": (b"GET / HTTP/1.0\r\n\r\n" + GET * 9, [200]),
}  # fmt: skip


async def test_framing_that_two_could_read_in_two_ways_is_refused() -> None:
    rows, wanted = same(FRAMES)
    assert await table(rows) == wanted


BODY = b"Content-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(
    "pieces",
    [
        [UPGRADE + BODY],
        [UPGRADE + BODY[:-1], BODY[-1:]],
        [UPGRADE, BODY],
        [UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nhi\r\n0\r\n\r\n"],
        [UPGRADE.replace(b"h2c", b"websocket") + BODY],
        [LAST + b"Connection: upgrade\r\nUpgrade: websocket\r\n" + BODY],
    ],
)
async def test_a_wish_for_another_protocol_takes_nothing_from_the_request(pieces: list[bytes]) -> None:
    async with listener() as it:
        answer = await ask(it.port, *pieces, pause=0.05)
    assert statuses(answer) == [200]
    assert b'"body":2' in answer
    assert b'"upgrade"' not in answer


async def test_a_trailer_is_not_taken_for_a_header() -> None:
    async with listener() as it:
        answer = await ask(it.port, LAST_CHUNKED + b"1\r\na\r\n0\r\nX-Hub-Signature: b\r\n\r\n")
    assert b'"headers":["host","connection","transfer-encoding"]' in answer


async def test_times() -> None:
    """Each is closed by itself, what had begun with a word."""
    rows: dict[str, bytes | Sequence[bytes]] = {
        "nothing": b"",
        "half a head": POST,
        "a dripping head": [POST, *[b"X: y\r\n"] * 30],
        "line ends": [b"\r\n"] * 30,
        "half a body": POST + b"Content-Length: 9\r\n\r\nhi",
        "no body": POST + b"Content-Length: 9\r\n\r\n",
        "a dripping body": [POST + b"Content-Length: 99\r\n\r\n", *[b"a"] * 30],
        "dripping chunks": [CHUNKED, *[b"1\r\na\r\n"] * 30],
        "a dripping trailer": [CHUNKED + b"0\r\n", *[b"X: y\r\n"] * 30],
        "a body that waits for a word": POST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        "after an answer": GET,
        "half a head after an answer": [GET, POST],
        "half a body after an answer": [GET, POST + b"Content-Length: 9\r\n\r\nhi"],
        "half a body after its answer": b"POST /no HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhi",
        "half a head behind a request": GET + POST,
        "half a body behind a request": GET + POST + b"Content-Length: 9\r\n\r\nhi",
        "a slow answer": b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    assert await table(rows, pause=0.08) == {
        "nothing": [],
        "half a head": [408],
        "a dripping head": [408],
        "line ends": [408],
        "half a body": [408],
        "no body": [408],
        "a dripping body": [408],
        "dripping chunks": [408],
        "a dripping trailer": [408],
        "a body that waits for a word": [100, 408],
        "after an answer": [200],
        "half a head after an answer": [200, 408],
        "half a body after an answer": [200, 408],
        "half a body after its answer": [404],
        "half a head behind a request": [200, 408],
        "half a body behind a request": [200, 408],
        "a slow answer": [200],  # however long ours takes
    }


async def test_who_does_not_read_is_closed_too() -> None:
    ended: list[str] = []
    async with listener(ended=ended) as it:
        silent = [socket.create_connection(("127.0.0.1", it.port)) for _ in range(2)]
        silent[0].sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        silent[1].sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for one in silent:
            assert await asyncio.to_thread(one.recv, 1) == b"H"
        assert len(it.connections) > 0
        await emptied(it)
        for one in silent:
            one.close()
    assert ended == ["answer not read"]


async def test_where_it_is_full_the_longest_silent_one_gives_way() -> None:
    ended: list[str] = []
    patient = Limits(head=30, body=30, idle=30, connections=20)
    async with listener(patient, ended) as it:
        honest = await asyncio.open_connection("127.0.0.1", it.port)

        async def asks() -> int:
            honest[1].write(GET)
            head = await asyncio.wait_for(honest[0].readuntil(b"\r\n\r\n"), 5)
            await honest[0].readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
            return int(head[9:12])

        assert await asks() == 200
        silent = []
        for number in range(100):
            silent.append(await asyncio.open_connection("127.0.0.1", it.port))
            if number % 3 == 1:
                silent[-1][1].write(POST)
            if number % 3 == 2:
                silent[-1][1].write(POST + b"Content-Length: 9\r\n\r\nhi")
            await asyncio.sleep(0.002)
            assert len(it.connections) <= 20
        assert await asks() == 200  # who has been answered stays before those who never were
        assert ended.count("gave way") == 81
        assert await asyncio.wait_for(silent[0][0].read(), 5) == b""
        fresh = await ask(it.port, LAST + b"\r\n")
        assert statuses(fresh) == [200]
        for _, writer in [honest, *silent]:
            writer.close()


async def test_bodies_that_do_not_end_hold_little_together() -> None:
    ended: list[str] = []
    patient = Limits(head=30, body=30, idle=30, connections=300)
    async with listener(patient, ended) as it:
        one_head = POST + b"Content-Length: 1000000\r\n\r\n"
        honest = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(3)]
        for _, writer in honest:
            writer.write(LAST + b"Content-Length: 1000\r\n\r\n" + b"a" * 500)
        silent = [await asyncio.open_connection("127.0.0.1", it.port) for _ in range(40)]
        for _, writer in silent:
            writer.write(one_head + b"a" * 900_000)
            with suppress(ConnectionError):
                await writer.drain()
        async with asyncio.timeout(10):
            while "body gave way" not in ended:  # noqa: ASYNC110  (told by a function)
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        assert it.connections.bodies <= BODIES
        assert len(it.connections) >= BODIES // 1_000_000  # no more of them than had to
        for reader, writer in honest:  # the largest gave way
            writer.write(b"a" * 500)
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).startswith(b"HTTP/1.1 200")
        for _, writer in [*honest, *silent]:
            writer.close()
        await emptied(it)
        assert it.connections.bodies == 0


async def test_a_request_that_is_whole_is_not_given_up_for_a_new_one() -> None:
    async with listener(Limits(connections=3)) as it:
        whole = [asyncio.create_task(ask(it.port, b"GET /slow HTTP/1.0\r\n\r\n")) for _ in range(3)]
        await asyncio.sleep(0.3)
        assert statuses(await ask(it.port, GET)) in ([503], [])
        assert [statuses(answer) for answer in await asyncio.gather(*whole)] == [[200]] * 3
        assert statuses(await ask(it.port, LAST + b"\r\n")) == [200]


def test_connections_leave_descriptors_for_the_rest() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for files, wanted, most in ((300, 0, 108), (300, 5000, 108), (1024, 0, 832), (1024, 100, 100), (4096, 0, 1000)):
            if files > before[1] > 0:
                continue
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
            found = public_connections(wanted)
            assert found == most
            assert found + RESERVED + OPERATORS <= files
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_nothing_circular_is_left_of_a_connection() -> None:
    pieces = [
        GET,
        POST,
        POST + b"Content-Length: 9\r\n\r\nhi",
        b"BAD\r\n\r\n",
        GET * 900,
        UPGRADE + BODY,
        CHUNKED + b"zz",
    ]
    async with listener(Limits(head=0.1, body=0.1, idle=0.1)) as it:
        for piece in pieces:
            await ask(it.port, piece)
        gc.collect()
        gc.disable()
        try:
            for piece in pieces * 5:
                await ask(it.port, piece)
            await asyncio.sleep(0.1)
            left = sum(isinstance(one, (BoundedProtocol, RequestResponseCycle)) for one in gc.get_objects())
        finally:
            gc.enable()
    assert left < 3  # the loop remembers what it did last


def test_a_connection_is_known_until_it_is_removed() -> None:
    class One:
        waits = True
        holds = 0

        def look(self, now: float) -> None: ...

        def give_up(self) -> None: ...

    all_of_them, one, other = Connections(Limits(connections=1)), One(), One()
    assert all_of_them.add(one)
    all_of_them.answered(one)
    assert all_of_them.add(other)
    all_of_them.answered(one)  # too late: it gave way
    assert len(all_of_them) == 1
    all_of_them.remove(other)
    assert len(all_of_them) == 0
