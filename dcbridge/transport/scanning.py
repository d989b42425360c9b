"""Scanners: clamd over TCP (INSTREAM), or an HTTP service of the operator's. Each file is sent in pieces."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import httpx
import orjson

from dcbridge.errors import SendError
from dcbridge.transport.sender import Sender

PIECE = 1 << 16  # bytes
_LONGEST_ANSWER = 4096


class ScannerAway(Exception):
    """It gave no verdict; `why` is a fixed word."""


class Scanner(Protocol):
    async def infected(self, data: bytes) -> bool:
        """The verdict. Raises ScannerAway."""


class Clamd:
    """https://docs.clamav.net/manual/Usage/Scanning.html, `zINSTREAM`."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout

    async def infected(self, data: bytes) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._asked(data)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ScannerAway("no answer") from None

    async def _asked(self, data: bytes) -> bool:
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=_LONGEST_ANSWER)
        try:
            writer.write(b"zINSTREAM\0")
            async for piece in pieces(data):
                writer.write(struct.pack(">I", len(piece)) + piece)
                await writer.drain()
            writer.write(bytes(4))
            answer = await reader.readuntil(b"\0")
        finally:
            writer.close()
        if answer == b"stream: OK\0":
            return False
        if answer.startswith(b"stream: ") and answer.endswith(b" FOUND\0"):
            return True
        raise ScannerAway("no verdict")


class HttpScanner:
    """Whatever answers {"infected": true} or false."""

    def __init__(self, url: str, token: str, sender: Sender) -> None:
        """`sender`: its time is what a scan may take."""
        self._url, self._sender = url, sender
        self._headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}

    async def infected(self, data: bytes) -> bool:
        headers = {**self._headers, "Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
        try:
            answer = await self._sender.http(httpx.Request("POST", self._url, headers=headers), pieces(data))
            said = orjson.loads(answer.content) if answer.status_code == 200 else None
        except (SendError, orjson.JSONDecodeError):
            raise ScannerAway("no answer") from None
        verdict = said.get("infected") if isinstance(said, dict) else None
        if not isinstance(verdict, bool):
            raise ScannerAway("no verdict")
        return verdict


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    """The same bytes, a few at a time."""
    for part in parts:
        for begin in range(0, len(part), PIECE):
            yield part[begin : begin + PIECE]
