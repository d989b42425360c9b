"""What an HTTP answer may cost before anybody has read it, and which answers are nobody's.

aiohttp reads any number of interim answers (1xx) without giving up, keeps whatever arrives on an idle connection as
the answer to the next request, and loses the status where the rest of the head makes no sense. A connection of ours
counts the bytes of an answer, closes where nobody has asked, and remembers the status.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

HEAD_LIMIT = 128 * 1024  # bytes of a head, interim answers before it included
LINE_LIMIT = 64 * 1024  # bytes of one line of it: policies and cookies of 8 kB and more are seen
HEADERS = 256
INTERIM = 20  # answers of 1xx; a server that works on something says 102 now and then
OVERHEAD = 2  # bytes on the wire for each byte that a body may have: what chunks take besides

_STATUS = re.compile(rb"HTTP/[0-9.]{1,5} ([1-9][0-9]{2})[ \r\n]")
_LONGEST_BEGINNING = 32  # bytes of a head that are remembered, for its status


class BrokenHead(aiohttp.ClientError):
    """The head makes no sense after its status."""

    def __init__(self, status: int) -> None:
        super().__init__("broken head")
        self.status = status


class Endless(aiohttp.ClientError):
    """An answer that goes on and on."""


class Connection(ResponseHandler):
    """One connection, and the answer that is under way on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        """`most`: bytes that one answer may have on the wire, its head left out."""
        super().__init__(loop)
        self._most = most
        self._answered = True  # nobody has asked yet
        self._interim = self._came = 0
        self._beginning = b""
        self._read_due = 0.0  # by the loop's clock; 0 while nothing is waited for

    def set_response_params(self, **params: Any) -> None:
        """A request is about to be written."""
        self._answered, self._interim, self._came, self._beginning = False, 0, 0, b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self._answered and data and (self._payload is None or self._payload.is_eof()):
            self.force_close()  # nobody has asked for this
            if self.transport is not None:
                self.transport.close()
            return
        self._came += len(data)
        if not self._answered and len(self._beginning) < _LONGEST_BEGINNING:
            self._beginning += data[: _LONGEST_BEGINNING - len(self._beginning)]
        super().data_received(data)
        if self._came > (HEAD_LIMIT + self._most if self._answered else HEAD_LIMIT):
            self._give_up()

    def feed_data(self, data: Any, size: int = 0) -> None:
        """A head has been read: of an interim answer, of the answer, or of one that nobody has asked for."""
        if self._answered:
            self.force_close()
            return
        if 100 <= data[0].code < 200 and data[0].code != 101:
            self._interim += 1
            if self._interim > INTERIM:
                self._give_up()
                return
        else:
            self._answered = True
        super().feed_data(data, size)

    def set_exception(self, exc: Any, *cause: Any) -> None:
        """The answer has ended otherwise than it should."""
        if isinstance(exc, HttpProcessingError) and (known := _STATUS.match(self._beginning)) and int(known[1]) >= 200:
            exc = BrokenHead(int(known[1]))
        super().set_exception(exc, *cause)

    # aiohttp starts a timer for each request and each piece of an answer, and stops it again. This one stays, and looks
    # whether what it waits for has become due later meanwhile.

    def _reschedule_timeout(self) -> None:
        self._read_due = self._loop.time() + self._read_timeout if self._read_timeout else 0.0
        if self._read_due and self._read_timeout_handle is None:
            self._read_timeout_handle = self._loop.call_at(self._read_due, self._look)

    def _drop_timeout(self) -> None:
        self._read_due = 0.0

    def _look(self) -> None:
        self._read_timeout_handle = None
        if self._read_due > self._loop.time():
            self._read_timeout_handle = self._loop.call_at(self._read_due, self._look)
        elif self._read_due:
            self._on_read_timeout()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._read_timeout_handle is not None:
            self._read_timeout_handle.cancel()
            self._read_timeout_handle = None
        super().connection_lost(exc)

    def _give_up(self) -> None:
        payload, error = self._payload, Endless("answer without end")
        self.set_exception(error)
        if payload is not None and not payload.is_eof():
            payload.set_exception(error)
        if self.transport is not None:
            self.transport.close()


class Connector(aiohttp.TCPConnector):
    """A pool of such connections."""

    def __init__(self, *, answer_limit: int, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp has no other way in; what makes a connection's protocol is asked for by nothing else.
        self._factory: Any = partial(Connection, loop=self._loop, most=OVERHEAD * answer_limit)
