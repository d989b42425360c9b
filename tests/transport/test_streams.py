"""Files, either way: piece by piece, never whole in memory, never cut without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from dcbridge.errors import OutcomeUnknown, SendError, Undecodable, Unreachable
from tests.transport.test_sender import heard, patient, serving

LARGE = 300_000


def head(length: int | None, *more: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *([f"Content-Length: {length}"] if length is not None else []), *more]
    return "\r\n".join([*lines, "", ""]).encode()


async def fetched(answer: bytes, most: int = LARGE, *, hang: bool = False) -> tuple[int, bytes] | SendError:
    """Status and body of a GET, whose body may have `most` bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.write(answer)
        await writer.drain()
        if hang:
            await asyncio.sleep(5)
        writer.close()

    async with serving(talk) as url, patient() as sender:
        try:
            async with sender.stream(httpx.Request("GET", url), most) as answered:
                return answered.status, await answered.whole()
        except SendError as error:
            return error


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (head(LARGE) + bytes(LARGE), ""),
        (head(LARGE + 1) + bytes(LARGE + 1), "http 200, body not readable: too long"),
        (head(None, "Connection: close") + bytes(LARGE), ""),
        (head(None, "Connection: close") + bytes(LARGE + 1), "http 200, body not readable: too long"),
        (head(LARGE) + bytes(LARGE - 1), "http 200, body broke off"),
        (head(2, "Content-Encoding: identity") + b"hi", ""),
        (head(2, "Content-Encoding: gzip") + b"hi", "http 200, body not readable: encoding"),
        (head(0) + b"", ""),
        (head(3, status="404 Not Found") + b"no!", ""),
    ],
)
async def test_a_file_comes_whole_or_not_at_all(answer: bytes, says: str) -> None:
    found = await fetched(answer)
    if says:
        assert isinstance(found, Undecodable)
        assert found.code == says
    else:
        _, _, body = answer.partition(b"\r\n\r\n")
        assert found == (int(answer.split()[1]), body)


async def test_a_server_that_says_nothing_more() -> None:
    found = await fetched(head(10) + b"half", hang=True)
    assert isinstance(found, Undecodable)
    found = await fetched(b"", hang=True)
    assert isinstance(found, OutcomeUnknown)
    async with patient() as sender:
        with pytest.raises(Unreachable):
            async with sender.stream(httpx.Request("GET", "http://no-such-host.invalid/"), 10):
                pass


async def test_a_body_is_sent_in_pieces_with_the_length_that_was_said() -> None:
    got: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await heard(reader))
        writer.write(head(2) + b"ok")

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield bytes(10_000)

    async with serving(talk) as url, patient() as sender:
        request = httpx.Request("POST", url, headers={"Content-Length": str(LARGE), "Content-Type": "a/b"})
        answer = await sender.http(request, pieces())
    assert answer.content == b"ok"
    sent, _, body = got[0].partition(b"\r\n\r\n")
    assert body == bytes(LARGE)
    assert sent.lower().count(b"content-length: 300000") == 1
    assert b"transfer-encoding" not in sent.lower()
