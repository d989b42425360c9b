"""Answers that cannot be read: the status decides what they mean, and none costs more than is said here.

Each is written to a real socket, byte for byte.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import time
import tracemalloc
import zlib
from collections.abc import Iterator

import httpx
import pytest

from dcbridge.errors import OutcomeUnknown, SendError, Undecodable, Unreadable
from dcbridge.http.client_connection import INTERIM
from dcbridge.http.unpacking import MEMBERS
from dcbridge.transport.sender import ANSWER_LIMIT, Sender
from tests.transport.test_sender import IN_VAIN, fate, heard, patient, post, reset, serving

SID = b'{"sid":"SM1"}'


def gzipped(body: bytes) -> bytes:
    """The same bytes at any time: they are the names of rows."""
    return gzip.compress(body, mtime=0)


BARE = zlib.compressobj(wbits=-15)
DEFLATED = BARE.compress(SID) + BARE.flush()
BOMB = gzipped(b"\0" * (64 * 1024 * 1024))
BETWEEN = b"HTTP/1.1 100 Continue\r\n\r\n"
HEAD = b"HTTP/1.1 201 Created\r\n"


def head(status: int, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Odd", *lines, "", ""]).encode("latin-1")


def whole(status: int, body: bytes, *lines: str) -> bytes:
    return head(status, *lines, f"Content-Length: {len(body)}") + body


async def said(answer: bytes, *, then: str = "close", **changes: float) -> SendError | httpx.Response:
    """What becomes of a request that is answered with these bytes, and then with a close, a reset or silence."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(answer)
        await writer.drain()
        if then == "silence":
            await asyncio.sleep(60)
        await asyncio.sleep(0.05)
        reset(writer) if then == "reset" else writer.close()

    async with serving(talk) as url:
        return await fate(url, **((IN_VAIN if then == "silence" else {}) | changes))


# ---------------------------------------------------------------- a body that cannot be read

UNREADABLE = {
    "br": ("Content-Encoding: br", b"\x0b\x02\x80{}\x03"),
    "zstd": ("Content-Encoding: zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
    "an encoding of nobody's": ("Content-Encoding: rot13", SID),
    "gzip that is none": ("Content-Encoding: gzip", SID),
    "gzip that is broken off": ("Content-Encoding: gzip", gzipped(SID * 50)[:-9]),
    "gzip of which only the head came": ("Content-Encoding: gzip", gzipped(SID)[:4]),
    "gzip with a wrong sum": ("Content-Encoding: gzip", gzipped(SID)[:-8] + b"\0" * 8),
    "gzip whose second member is damaged": ("Content-Encoding: gzip", gzipped(SID) + b"\x1f\x8b\x08\xff"),
    "more members than are looked at": ("Content-Encoding: gzip", gzipped(b"") * (MEMBERS + 1)),
    "a bomb": ("Content-Encoding: gzip", BOMB),
    "a bomb in a bomb": ("Content-Encoding: gzip, gzip", gzipped(BOMB)),
    "deflate that is none": ("Content-Encoding: deflate", SID),
    "a known one around an unknown": ("Content-Encoding: br, gzip", gzipped(b"\x0b\x02\x80{}\x03")),
    "four around each other": ("Content-Encoding: gzip, gzip, gzip, gzip", gzipped(SID)),
    "in two headers": ("Content-Encoding: br\r\nContent-Encoding: gzip", gzipped(b"\x0b\x02\x80{}\x03")),
    "longer than anybody reads": ("X: y", b"x" * (ANSWER_LIMIT + 1)),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("status", [200, 201, 202])
async def test_a_success_whose_body_cannot_be_unpacked_was_taken(name: str, status: int) -> None:
    line, body = UNREADABLE[name]
    found = await said(whole(status, body, line), read_timeout=5.0)
    assert isinstance(found, Undecodable)
    assert isinstance(found, Unreadable)
    assert (found.taken, found.again, found.outcome) == (True, False, "unreadable")
    assert found.code.startswith(f"http {status}, body not readable: ")


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("status", [302, 400, 429, 503])
async def test_the_status_of_an_error_decides_and_its_headers_are_read(name: str, status: int) -> None:
    line, body = UNREADABLE[name]
    found = await said(whole(status, body, line, "Retry-After: 7"), read_timeout=5.0)
    assert isinstance(found, httpx.Response)
    assert (found.status_code, found.content, found.headers["retry-after"]) == (status, b"", "7")


CUT = {
    "shorter than its length": (head(201, "Content-Length: 100") + b"{", "close"),
    "reset in the body": (head(201, "Content-Length: 100") + b"{", "reset"),
    "no body at all": (head(201, "Content-Length: 100"), "close"),
    "closed in a chunk": (head(201, "Transfer-Encoding: chunked") + b"ff\r\n{", "close"),
    "closed before the last chunk": (head(201, "Transfer-Encoding: chunked") + b"1\r\n{\r\n", "close"),
    "a chunk whose size is no number": (head(201, "Transfer-Encoding: chunked") + b"no\r\n{\r\n", "close"),
    "silence in the body": (head(201, "Content-Length: 100") + b"{", "silence"),
    "silence before the body": (head(201, "Content-Length: 100"), "silence"),
    "a header that is none": (b"HTTP/1.1 201 Created\r\nContent Type\x00: x\r\n\r\n", "close"),
    "two lengths": (head(201, "Content-Length: 2", "Content-Length: 3") + b"hi", "close"),
    "a line longer than is read": (head(201, "X: " + "x" * 70_000, "Content-Length: 0"), "close"),
    "more headers than are read": (head(201, *(f"X-{n}: x" for n in range(300))), "close"),
}


@pytest.mark.parametrize("name", CUT)
async def test_a_success_that_breaks_off_after_its_status_was_taken(name: str) -> None:
    answer, then = CUT[name]
    found = await said(answer, then=then)
    assert isinstance(found, Undecodable)
    assert found.code in ("http 201, body broke off", "http 201, head not readable")
    refused = await said(answer.replace(b" 201 ", b" 422 "), then=then)
    assert isinstance(refused, httpx.Response)
    assert (refused.status_code, refused.content) == (422, b"")


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (whole(201, gzipped(SID), "Content-Encoding: gzip"), SID),
        (whole(201, gzipped(SID), "Content-Encoding: X-GZIP"), SID),
        (whole(201, gzipped(SID[:5]) + gzipped(SID[5:]), "Content-Encoding: gzip"), SID),
        (whole(201, gzipped(SID) + b"\0" * 9, "Content-Encoding: gzip"), SID),
        (whole(201, gzipped(gzipped(SID)), "Content-Encoding: gzip, gzip"), SID),
        (whole(201, zlib.compress(SID), "Content-Encoding: deflate"), SID),
        (whole(201, DEFLATED, "Content-Encoding: deflate"), SID),
        (whole(201, SID, "Content-Encoding: identity"), SID),
        (whole(201, SID, "Content-Encoding:"), SID),
        (whole(201, b"", "Content-Encoding: br"), b""),
        (whole(200, gzipped(b"x" * ANSWER_LIMIT), "Content-Encoding: gzip"), b"x" * ANSWER_LIMIT),
        (whole(200, b"x" * ANSWER_LIMIT), b"x" * ANSWER_LIMIT),
        (head(200) + b"until the end", b"until the end"),
        (head(200, "Transfer-Encoding: chunked") + b"2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n", b"hi"),
        (BETWEEN * INTERIM + whole(201, SID), SID),
        (head(103, "Link: </x>") + whole(201, SID), SID),
        (whole(201, SID, "X: " + "x" * 20_000), SID),
        (whole(201, SID, *(f"X-{n}: x" for n in range(200))), SID),
        (head(204) + b"a body that should not be there", b""),
        (head(304, "Content-Length: 5"), b""),
        (b"HTTP/1.0 201 Created\r\n\r\n" + SID, SID),
        (b"HTTP/1.1 201\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    ],
)
async def test_what_can_be_read_is(answer: bytes, content: bytes) -> None:
    found = await said(answer, read_timeout=5.0)
    assert isinstance(found, httpx.Response)
    assert found.content == content
    assert "content-encoding" not in found.headers


# ---------------------------------------------------------------- nothing that could be called a status


@pytest.mark.parametrize(
    "answer",
    [
        b"hi\r\n",  # HTTP/0.9
        b"<html>200 OK</html>\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/9.9.9.9 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert of TLS
        b"\r\n" * 10,
        b"",
        b"HTTP/1.1 200",
        BETWEEN,
        b"HTTP/1.1 100 Continue\r\nContent Type\x00: x\r\n\r\n",
    ],
)
async def test_without_a_status_nobody_knows(answer: bytes) -> None:
    found = await said(answer)
    assert isinstance(found, OutcomeUnknown)


# ---------------------------------------------------------------- answers without end


def forever(*lines: bytes) -> Iterator[bytes]:
    """The first once, and then the others again and again."""
    yield lines[0]
    again = b"".join(lines[1:])
    while True:
        yield again * max(1, 16384 // len(again))


ENDLESS = {
    "100 Continue": (BETWEEN, BETWEEN),
    "102 Processing": (head(102), head(102, "X: y")),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "a reason": (b"HTTP/1.1 200 ", b"very "),
    "blank lines": (b"\r\n", b"\r\n"),
    "a chunk extension": (head(200, "Transfer-Encoding: chunked") + b"1;", b"a=b;"),
    "trailers": (head(200, "Transfer-Encoding: chunked") + b"0\r\n", b"X: y\r\n"),
    "chunks of one byte": (head(200, "Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
    "a body": (head(200), b"x"),
    "a packed body": (head(200, "Content-Encoding: gzip"), b"x"),
    "the body of an error": (head(500), b"x"),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_answer_without_end_is_left_early_and_keeps_nothing(name: str) -> None:
    async def rambles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        for piece in forever(*ENDLESS[name]):
            writer.write(piece)
            await writer.drain()

    async with serving(rambles) as url:
        tracemalloc.start()
        began, patience = time.monotonic(), 30.0
        found = await fate(url, read_timeout=patience, answer_limit=65_536)
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.monotonic() - began < patience / 2  # it is not the timeout that ends it
    assert grown < 4_000_000
    if name == "the body of an error":
        assert isinstance(found, httpx.Response)
        assert (found.status_code, found.content) == (500, b"")
    else:
        assert isinstance(found, OutcomeUnknown | Undecodable)
        knows = ENDLESS[name][0].startswith(b"HTTP/1.1 200 OK") or b" 200 Odd" in ENDLESS[name][0]
        assert isinstance(found, Undecodable) or not knows or name in ("headers", "one header")


@pytest.mark.parametrize("first", [BETWEEN + HEAD, HEAD, head(201, "Content-Length: 99999")])
async def test_an_answer_that_trickles_ends_with_the_patience(first: bytes) -> None:
    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(first)
        for byte in b"X: " + b"x" * 100_000:  # a byte now and then: no single wait is too long
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(drips) as url:
        found = await fate(url, **IN_VAIN)
    taken = first.endswith(b"99999\r\n\r\n")
    assert isinstance(found, Undecodable if taken else OutcomeUnknown)
    assert found.code == ("http 201, body broke off" if taken else "timeout")


# ---------------------------------------------------------------- an answer to nobody


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("uncalled", [whole(200, b"for nobody"), BETWEEN + whole(200, b"for nobody"), b"\r\n"])
async def test_an_answer_that_nobody_asked_for_answers_no_later_request(uncalled: bytes, at_once: bool) -> None:
    """As a server does that answers twice, or says 408 to a connection that is idle."""
    requests = 0

    async def talks_too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while request := await heard(reader):
            requests += 1
            mine = re.search(rb"/([0-9]+) ", request)
            assert mine
            writer.write(whole(200, mine[1]) + (uncalled if at_once else b""))
            await writer.drain()
            if not at_once:
                await asyncio.sleep(0.05)
                writer.write(uncalled)
                await writer.drain()

    async with serving(talks_too_much) as url, patient() as sender:
        for number in range(3):
            answer = await sender.http(post(f"{url}/{number}"))
            assert answer.content == str(number).encode()
            await asyncio.sleep(0.1)
    assert requests == 3


async def test_a_connection_with_odd_answers_is_not_used_again() -> None:
    connections = 0

    async def packs_badly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await heard(reader):
            writer.write(whole(200, b"x" * 2 * ANSWER_LIMIT))
            await writer.drain()

    async with serving(packs_badly) as url, Sender(answer_limit=1000) as sender:
        for number in range(1, 4):
            with pytest.raises(Undecodable):
                await sender.http(post(url))
            assert connections == number
