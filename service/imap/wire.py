"""The bytes of one connection to an IMAP server: lines, literals and whole responses, all of them bounded.

A server may be anybody's. Nothing that it says decides how much memory or time is spent.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass

CHUNK = 64 << 10
CONNECT = 20.0  # seconds
LONGEST_LINE = 256 << 10  # bytes of one response without its literals; a SEARCH of 10,000 UIDs has 110 kB
MOST_PARTS = 200  # literals of one response
_LITERAL = re.compile(rb"~?\{([0-9]{1,10})\}\Z")


class Away(Exception):
    """The server is not there, does not speak IMAP, or has been silent for too long. Says why in a fixed word."""


class TooLarge(Away):
    """A literal larger than was asked for: the connection ends, because the rest of it is on its way."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response of the server: text, literal, text, literal … and text at last."""

    parts: tuple[bytes, ...]

    @property
    def line(self) -> bytes:
        """Its text up to the first literal."""
        return self.parts[0]


class Budget:
    """What the responses to one command may have in all."""

    def __init__(self, lines: int, literals: int, told: Callable[[int], None] | None = None) -> None:
        """Bytes of each; `told` hears of a literal's bytes before they are read, and may raise."""
        self._lines, self._literals, self._told = lines, literals, told

    def line(self, size: int) -> None:
        """Raises Away when there are too many."""
        self._lines -= size + 16  # an empty line costs something as well
        if self._lines < 0:
            raise Away("answer without end")

    def literal(self, size: int) -> None:
        """Raises TooLarge, before a byte of it is read."""
        self._literals -= size
        if self._literals < 0:
            raise TooLarge("literal too large")
        if self._told is not None:
            self._told(size)


class Wire:
    """One connection, from this side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        """`timeout`: seconds that the server may be silent while something is expected of it."""
        self._reader, self._writer, self._timeout = reader, writer, timeout
        self._below: asyncio.StreamWriter | None = None
        self._ahead = bytearray()  # read and not looked at

    @property
    def has_more(self) -> bool:
        """Whether the server has sent something that nobody has read yet."""
        return bool(self._ahead)

    async def response(self, budget: Budget) -> Response:
        """The next one. Raises Away."""
        parts: list[bytes] = []
        while True:
            line = await self._line()
            budget.line(len(line))
            found = _LITERAL.search(line)
            if found is None:
                parts.append(line)
                return Response(tuple(parts))
            if len(parts) >= 2 * MOST_PARTS:
                raise Away("answer without end")
            size = int(found[1])
            budget.literal(size)
            parts += [line[: found.start()], await self._exactly(size)]

    async def something(self, seconds: float) -> bool:
        """Whether the server says something within so many seconds; nothing is read past. May be cancelled."""
        if self._ahead:
            return True
        try:
            async with asyncio.timeout(seconds):
                await self._fill()
        except TimeoutError:
            return False
        return True

    async def write(self, line: bytes) -> None:
        """One line. Raises Away."""
        try:
            self._writer.write(line + b"\r\n")
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except (OSError, RuntimeError):  # one that is closed already
            raise Away("connection lost") from None
        except TimeoutError:
            raise Away("timeout") from None

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """From here on encrypted. Raises Away, also where something was sent in the clear after the go-ahead."""
        if self._ahead:
            raise Away("tls")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport = await loop.start_tls(
                self._writer.transport, protocol, context, server_hostname=host, ssl_handshake_timeout=self._timeout
            )
        except (OSError, ssl.SSLError, TimeoutError):
            raise Away("tls") from None
        if transport is None:
            raise Away("tls")
        protocol.connection_made(transport)
        self._below = self._writer  # which closes the connection when nothing refers to it any more
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def close(self) -> None:
        self._writer.close()
        if self._below is not None:
            self._below.close()

    async def _line(self) -> bytes:
        """Without its end."""
        seen = 0
        while (end := self._ahead.find(b"\n", seen)) < 0:
            seen = len(self._ahead)
            if seen > LONGEST_LINE:
                raise Away("line too long")
            await self._await_more()
        if end > LONGEST_LINE:
            raise Away("line too long")
        line = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return line.removesuffix(b"\r")

    async def _exactly(self, size: int) -> bytes:
        came = bytearray()
        while len(came) < size:
            if not self._ahead:
                await self._await_more()
            piece = self._ahead[: size - len(came)]
            came += piece
            del self._ahead[: len(piece)]
        return bytes(came)

    async def _await_more(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self._fill()
        except TimeoutError:
            raise Away("timeout") from None

    async def _fill(self) -> None:
        try:
            chunk = await self._reader.read(CHUNK)
        except OSError:
            raise Away("connection lost") from None
        if not chunk:
            raise Away("connection lost")
        self._ahead += chunk


async def connect(host: str, port: int, silence: float, tls: ssl.SSLContext | None) -> Wire:
    """A connection, encrypted from its first byte where `tls` is given. `silence`: seconds that it may say nothing.

    Raises Away.
    """
    try:
        async with asyncio.timeout(min(CONNECT, silence)):
            named = host if tls is not None else None
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=named, limit=CHUNK)
    except ssl.SSLError:
        raise Away("tls") from None
    except TimeoutError:
        raise Away("timeout") from None
    except (OSError, UnicodeError):
        raise Away("connect") from None
    return Wire(reader, writer, silence)
