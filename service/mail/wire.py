"""The bytes of one mail connection: lines and mails of bounded size, STARTTLS, and no waiting for ever."""

from __future__ import annotations

import asyncio
import ssl
from typing import Literal, Self

LONGEST_LINE = 2048  # bytes of a command
CHUNK = 64 << 10
_END = b"\r\n.\r\n"


class Closed(Exception):
    """The other side has gone, or has been silent for too long."""


class TooLong(Exception):
    """A command that no mail system sends."""


class Room:
    """The memory for mails that are being received, shared by all connections."""

    def __init__(self, most: int) -> None:
        self.left = most

    def hold(self) -> Held:
        """What one mail takes of it, until the end of its `with`: a mail that is being stored is still in memory."""
        return Held(self)


class Held:
    """The memory of one mail."""

    def __init__(self, room: Room) -> None:
        self._room, self._size = room, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def take(self, size: int) -> bool:
        if size > self._room.left:
            return False
        self._room.left -= size
        self._size += size
        return True

    def give_back(self) -> None:
        self._room.left += self._size
        self._size = 0


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader, self._writer, self._timeout = reader, writer, timeout
        self._ahead = bytearray()  # read and not looked at
        self.encrypted = False

    @property
    def has_more(self) -> bool:
        """Whether the other side has sent more than was asked for."""
        return bool(self._ahead)

    async def line(self) -> bytes:
        """The next line without its end. Raises Closed or TooLong."""
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > LONGEST_LINE:
                raise TooLong
            await self._fill()
        if end > LONGEST_LINE:
            raise TooLong
        line = bytes(self._ahead[:end]).rstrip(b"\r")
        del self._ahead[: end + 1]
        return line

    async def mail(self, most: int, held: Held, within: float) -> bytes | Literal["too large", "no room"]:
        """A mail up to the line with a dot, without the dots that were added; what is not kept is read to its end all
        the same. Raises Closed; also after `within` seconds in all.
        """
        mail, seen = bytearray(b"\r\n"), 0
        wrong: Literal["too large", "no room", ""] = ""
        try:
            async with asyncio.timeout(within):
                while True:
                    if not self._ahead:
                        await self._fill()
                    if not wrong and len(mail) + len(self._ahead) > most + len(_END) + 2:
                        wrong = "too large"
                    if not wrong and not held.take(len(self._ahead)):
                        wrong = "no room"
                    mail += self._ahead
                    self._ahead.clear()
                    end = mail.find(_END, seen)
                    if end >= 0:
                        self._ahead += mail[end + len(_END) :]
                        del mail[end + 2 :]
                        if wrong:
                            return wrong
                        if b"\r\n." in mail:
                            mail = mail.replace(b"\r\n.", b"\r\n")
                        del mail[:2]
                        return bytes(mail)
                    if wrong:
                        held.give_back()
                        del mail[:-4]
                    seen = max(len(mail) - 4, 0)
        except TimeoutError:
            raise Closed from None

    async def say(self, *lines: str) -> None:
        """Each one a reply of its own. Raises Closed."""
        self._writer.write("".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace"))
        try:
            async with asyncio.timeout(self._timeout):
                await self._writer.drain()
        except (OSError, TimeoutError):
            raise Closed from None

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """From here on encrypted. What was sent in the clear before, and not read yet, is dropped with its reader."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=CHUNK, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport = await loop.start_tls(
                self._writer.transport, protocol, context, server_side=True, ssl_handshake_timeout=self._timeout
            )
        except (OSError, ssl.SSLError, TimeoutError):
            raise Closed from None
        if transport is None:
            raise Closed
        protocol.connection_made(transport)
        self._ahead.clear()
        self._reader = reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self.encrypted = True

    def close(self) -> None:
        self._writer.close()

    async def _fill(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                chunk = await self._reader.read(CHUNK)
        except (OSError, TimeoutError):
            raise Closed from None
        if not chunk:
            raise Closed
        self._ahead += chunk
