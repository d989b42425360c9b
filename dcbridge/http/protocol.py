"""uvicorn's HTTP/1.1 over httptools, with limits for what one connection may cost before anything is known of it.

httptools hands over what it has parsed and knows no limits. Here what is neither body nor a finished head is counted
as it comes in, in pieces that are small enough to stop in time; a request that comes whole in one piece, as nearly
all do, costs a few additions more. What is over a limit gets its status (408, 414, 431, 400) and is closed.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from dcbridge.http.connections import BODIES, Connections

HEAD = 64 << 10  # bytes of a head; and of chunk sizes, their extensions and trailers
TARGET = 16 << 10  # bytes of a request's target
HEADER = 16 << 10  # bytes of one header
HEADERS = 100
PIECE = 16 << 10  # bytes that are parsed at once
AT_ONCE = 32  # requests of a connection that may be unanswered; one more is the last that is looked at
UNREAD = 2 << 20  # bytes of a body that nobody reads: its request was answered, or waits behind another one
LINGER = 1.0  # seconds in which the other side can read why it is closed
LINGER_BYTES = 256 << 10  # bytes that are thrown away meanwhile


@dataclass(frozen=True, slots=True)
class _Refused:
    """Why a connection ends. `status` 0: without a word."""

    status: int
    why: str


class _Stop(Exception):
    """Raised to the parser from what it calls. Made anew each time: it keeps the frames that it passed."""

    def __init__(self, why: _Refused) -> None:
        super().__init__(why.why)
        self.why = why


_INVALID = _Refused(400, "invalid request")
_NO_HOST = _Refused(400, "HTTP/1.1 needs one Host header")
_NO_VERSION = _Refused(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
_NO_TUNNEL = _Refused(400, "CONNECT is not spoken here")
_TARGET = _Refused(414, "target too long")
_HEAD = _Refused(431, "head too large")
_FRAMING = _Refused(400, "chunk extensions or trailers too large")
_SLOW_HEAD = _Refused(408, "head too slow")
_SLOW_BODY = _Refused(408, "body too slow")
_UNREAD = _Refused(0, "body goes on after the answer")
_PIPELINED = _Refused(0, "too many requests unanswered")
_LAST = _Refused(0, "")  # what comes after the last request of a connection, and is no fault


def _why(error: httptools.HttpParserError) -> _Refused:
    """A function of its own: a frame that kept the cause would be kept by it."""
    cause = error.__context__
    return cause.why if isinstance(cause, _Stop) else _INVALID


def _may_be_cut(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Is the body of these headers longer than what is read after an answer, or of a length that nobody knows?"""
    for name, value in headers:
        if name == b"content-length":
            return int(value) > UNREAD
    return True


class _Flow(FlowControl):
    """Reading stays paused while it is held, whoever asks for more."""

    held = False

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()

    def hold(self) -> None:
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        self.held = False
        self.resume_reading()


class _Unclosed:
    """The transport of an answer that says `Connection: close`. uvicorn would close at its end, on bytes that still
    come in, and the other side could lose the answer: the protocol closes when it has read them.
    """

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._transport = weakref.ref(cycle), cycle.transport  # no circle: see connection_lost
        self.write, self.is_closing = cycle.transport.write, cycle.transport.is_closing

    def close(self) -> None:
        cycle = self._cycle()
        if cycle is None or not cycle.response_complete:  # the application failed
            self._transport.close()


class BoundedProtocol(HttpToolsProtocol):
    """One connection. See the module and `dcbridge.http.connections`."""

    # uvicorn's class has nearly as many attributes as a class may have before CPython finds them more slowly.
    __slots__ = (
        "_all", "_body_size", "_deadline", "_had_answer", "_head_begun", "_hosts", "_in_body", "_last_word", "_leaves",
        "_limits", "_loose", "_running", "_unanswered", "_unread", "_write_deadline",
    )  # fmt: skip
    flow: _Flow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = connections
        self._limits = connections.limits
        self._deadline = 0.0
        self._write_deadline = 0.0
        self._loose = 0  # bytes since the last finished head or message that were no body
        self._unread = 0
        self._body_size = 0  # bytes that have come of a body that needed more than one piece
        self._hosts = 0
        self._head_begun = False
        self._in_body = False  # a head is finished, its message is not
        self._unanswered = 0  # requests whose head is finished, and whose answer is not
        self._had_answer = False
        self._running: RequestResponseCycle | None = None  # the request that is being answered
        self._leaves = False  # nothing more is parsed
        self._last_word: _Refused | None = None  # to be said after the answers that are under way

    # ------------------------------------------------------------ connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport)
        self._deadline = self.loop.time() + self._limits.head
        if not self._all.add(self):
            self._leaves = True
            transport.write(self._answer(_Refused(503, "too many connections")))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.remove(self)
        self._let_go_of_body()
        super().connection_lost(exc)
        # What is left refers to itself in a circle, and the collector looks seldom.
        self.pipeline.clear()
        self.cycle = self._running = self.scope = self.headers = None  # type: ignore[assignment]

    @property
    def waits(self) -> bool:
        return self._unanswered <= self._in_body

    @property
    def holds(self) -> int:
        return self._body_size

    def give_up(self) -> None:
        self._leaves = True
        self._let_go_of_body()
        self.transport.abort()

    def look(self, now: float) -> None:
        if self.transport.is_closing():
            if not self._leaves:
                self._leaves, self._deadline = True, now + LINGER
            elif now > self._deadline:
                self.transport.abort()
        elif self.flow.write_paused:
            if now > self._write_deadline:
                self._all.ended("answer not read")
                self.give_up()
        elif now > self._deadline and self.waits:
            self._time_is_over(now)

    def _time_is_over(self, now: float) -> None:
        if self._leaves:
            self.transport.abort()
        elif self._in_body:
            self._refuse(_SLOW_BODY)
        elif self._head_begun or self._loose > 0:
            self._refuse(_SLOW_HEAD)
        else:
            self._all.ended("idle")
            self._leaves, self._deadline = True, now + LINGER
            self.transport.close()

    def pause_writing(self) -> None:
        self._write_deadline = self.loop.time() + self._limits.body
        super().pause_writing()

    # ------------------------------------------------------------ bytes

    def data_received(self, data: bytes) -> None:
        if len(data) <= PIECE:
            self._parse(data)
        else:
            for at in range(0, len(data), PIECE):
                self._parse(data[at : at + PIECE])

    def _throw_away(self, size: int) -> None:
        self._loose += size
        if self._loose > LINGER_BYTES and not self._unanswered and not self.transport.is_closing():
            self.give_up()

    def _parse(self, data: bytes) -> None:
        if self._leaves:
            self._throw_away(len(data))
            return
        first = not self._loose
        self._loose += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(_why(error))
        else:
            if self._loose > HEAD:
                self._refuse(_FRAMING if self._in_body else _HEAD)
            elif self._head_begun and len(self.headers) > HEADERS:
                self._refuse(_HEAD)
            elif self._in_body:
                self._hold_body(len(data))
            elif first and not self._unanswered and self._had_answer:
                self._deadline = self.loop.time() + self._limits.head

    def _hold_body(self, size: int) -> None:
        if not self.cycle.response_complete:
            if not self._body_size and _may_be_cut(self.cycle.scope["headers"]):
                self._announce_close(self.cycle)
            self._body_size += size
            self._all.bodies += size
            if self._all.bodies > BODIES:
                self._all.make_memory()

    def _let_go_of_body(self) -> None:
        self._all.bodies -= self._body_size
        self._body_size = 0

    def _ignore_upgrade(self, rest: bytes) -> None:
        """A head with an upgrade ends the parser's work: it is read again without that wish, and its body with it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(_NO_TUNNEL)
            return
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token for token in value.split(b",") if token.strip().lower() != b"upgrade"]
                lines.append(b"connection: " + b",".join(tokens))
            elif name != b"upgrade":
                lines.append(b"%s: %s" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._loose = 0
        self._parse(b"\r\n".join([*lines, b"", b""]))
        if rest:
            self._parse(rest)

    # ------------------------------------------------------------ what the parser tells

    def on_message_begin(self) -> None:
        if self.cycle is not None and not self.cycle.keep_alive:
            raise _Stop(_LAST)
        super().on_message_begin()
        self._head_begun, self._hosts = True, 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > TARGET:
            raise _Stop(_TARGET)

    # The next ones do what uvicorn's do, and are called for every header and every piece of a body: no frame more.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # a trailer: counted with the chunks, and never taken for a header
            return
        name = name.lower()
        if name == b"host":
            self._hosts += 1
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._loose -= len(body)
        cycle = self.cycle
        if cycle.response_complete:
            self._unread += len(body)
            if self._unread > UNREAD:
                raise _Stop(_UNREAD)
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
            if len(cycle.body) > UNREAD:
                raise _Stop(_UNREAD)
        cycle.message_event.set()

    def on_headers_complete(self) -> None:
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() == "1.1"):
            raise _Stop(_NO_HOST)
        if len(self.headers) > HEADERS or (self._loose > HEADER and self._has_large_header()):
            raise _Stop(_HEAD)
        if self.parser.should_upgrade():
            return
        if self._unanswered >= AT_ONCE:
            raise _Stop(_PIPELINED)
        super().on_headers_complete()
        self._head_begun, self._in_body = False, True
        self._loose = self._unread = 0
        self._unanswered += 1
        if not self.pipeline:
            self._running = self.cycle
        self._deadline = self.loop.time() + self._limits.body
        if self.scope["http_version"] not in ("1.1", "1.0"):
            raise _Stop(_NO_VERSION)

    def _has_large_header(self) -> bool:
        return any(len(name) + len(value) > HEADER for name, value in self.headers)

    def on_message_complete(self) -> None:
        if not self._in_body:  # an upgrade, which is read again
            return
        self._in_body = False
        self._loose = 0
        if self._body_size:
            self._let_go_of_body()
        cycle = self.cycle
        if not cycle.response_complete:
            if not cycle.response_started:  # it came whole: nothing to announce
                cycle.default_headers, cycle.transport = self.server_state.default_headers, self.transport
            cycle.more_body = False
            cycle.message_event.set()
        elif not cycle.keep_alive:  # announced, and all of it was read
            raise _Stop(_LAST)
        elif not self._unanswered:
            self._deadline = self.loop.time() + self._limits.idle

    def _announce_close(self, cycle: RequestResponseCycle | None) -> None:
        """Let the answer to it say that it is the last of the connection, if it has not begun."""
        if cycle is not None and cycle.keep_alive and not cycle.response_started:
            cycle.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
            cycle.transport = _Unclosed(cycle)  # type: ignore[assignment]

    # ------------------------------------------------------------ answers

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._unanswered -= 1
        self._had_answer = True
        if self.transport.is_closing():
            return
        self._all.answered(self)
        limits = self._limits
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._running = cycle
            self._start_asgi_task(cycle, app)
            self._deadline = self.loop.time() + limits.body
        elif self._last_word is not None:
            self._say(self._last_word)
            return
        else:
            wait = limits.body if self._in_body else limits.head if self._head_begun else limits.idle
            self._deadline = self.loop.time() + wait
        self.flow.resume_reading()

    def _refuse(self, why: _Refused) -> None:
        """Nothing more is parsed. What was asked whole is answered before the last word."""
        if why.why:
            self._all.ended(why.why)
        self._leaves = True
        if self._in_body:
            why = self._forget_request(why)
        if self._unanswered:
            self._last_word = why
            if not why.status:
                self._announce_close(self.pipeline[0][0] if self.pipeline else self._running)
            self.flow.hold()
        else:
            self._say(why)

    def _forget_request(self, why: _Refused) -> _Refused:
        """The request that is not whole. Was it answered early, then a second answer would be taken for another's."""
        cycle, self._in_body = self.cycle, False
        self._let_go_of_body()
        if cycle.response_complete:
            return _LAST
        self._unanswered -= 1
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            return why
        cycle.disconnected = True
        cycle.message_event.set()
        return _LAST if cycle.response_started else why

    def _say(self, why: _Refused) -> None:
        """The last word, and a moment to read it in: closing on unread bytes would take it back."""
        if self.transport.is_closing():
            return
        self._last_word = None
        if why.status:
            self.transport.write(self._answer(why))
        self._loose, self._deadline = 0, self.loop.time() + LINGER
        self.flow.release()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _answer(self, why: _Refused) -> bytes:
        body = b'{"error":"%s"}' % why.why.encode()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        return b"".join([STATUS_LINE[why.status], *(b"%s: %s\r\n" % pair for pair in headers), b"\r\n", body])
