"""A small SMSC: SMPP 3.4 with code of its own, stricter than an operator's.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

GENERIC_NACK, BIND_TRANSCEIVER, SUBMIT, DELIVER, UNBIND, ENQUIRE = 0x80000000, 9, 4, 5, 6, 0x15
RESPONSE = 0x80000000
NAMES = {BIND_TRANSCEIVER: "bind_transceiver", SUBMIT: "submit_sm", UNBIND: "unbind", ENQUIRE: "enquire_link"}
_HEAD = struct.Struct(">IIII")


class WrongUnit(Exception):
    """A unit that is against the rules; `status` answers it."""

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
        self.rule = rule


@dataclass(frozen=True, slots=True)
class Submit:
    """A submit_sm; `text` is what stands in short_message, header included."""

    source: tuple[int, int, str]
    destination: tuple[int, int, str]
    text: bytes
    esm_class: int
    validity: str
    registered: int
    coding: int
    parameters: Mapping[int, bytes]


def read_submit(body: bytes) -> Submit:
    """Every field in its place, and nothing behind the last one. Raises WrongUnit."""
    at = 0

    def word(size: int) -> str:
        nonlocal at
        end = body.find(b"\0", at)
        if not 0 <= end - at < size:
            raise WrongUnit(0x01, "a text ends with a zero, within its size")
        found, at = body[at:end].decode("ascii"), end + 1
        return found

    def take(size: int) -> bytes:
        nonlocal at
        found, at = body[at : at + size], at + size
        if len(found) != size:
            raise WrongUnit(0x02, "a unit is as long as it says")
        return found

    word(6)
    source = (take(1)[0], take(1)[0], word(21))
    destination = (take(1)[0], take(1)[0], word(21))
    esm_class, protocol, priority = take(3)
    schedule, validity = word(17), word(17)
    registered, replace, coding, default, size = take(5)
    text, parameters = take(size), dict[int, bytes]()
    while at < len(body):
        tag, size = struct.unpack(">HH", take(4))
        parameters[tag] = take(size)
    if protocol or priority or schedule or replace or default:
        raise WrongUnit(0x43, "a plain message asks for nothing special")
    return Submit(source, destination, text, esm_class, validity, registered, coding, parameters)


def deliver(sender: str, to: str, text: bytes, *, coding: int = 0, esm_class: int = 0) -> bytes:
    """The body of a deliver_sm."""
    ends = b"".join(bytes((1, 1)) + one.encode() + b"\0" for one in (sender, to))
    return b"\0" + ends + bytes((esm_class, 0, 0)) + b"\0\0" + bytes((0, 0, coding, 0, len(text))) + text


@dataclass(slots=True)
class _Session:
    writer: asyncio.StreamWriter
    number: int = 0  # of the bridge's last unit
    own: int = 0  # of ours
    waiting: dict[int, asyncio.Future[int]] = field(default_factory=dict)

    def say(self, command: int, sequence: int, body: bytes = b"", status: int = 0) -> None:
        self.writer.write(_HEAD.pack(16 + len(body), command, status, sequence) + body)

    def end(self) -> None:
        self.writer.transport.abort()
        for one in self.waiting.values():
            if not one.done():
                one.set_result(-1)


class Smsc:
    """One account. `submitted` takes the body of a submit_sm and gives (status, message id), or None: no answer, and
    the connection breaks. `noted`: a unit of the bridge, its answer's status; `violated`: a rule that it broke.
    """

    def __init__(
        self,
        login: tuple[str, str],
        submitted: Callable[[bytes], Awaitable[tuple[int, str] | None]],
        violated: Callable[[str], None],
    ) -> None:
        self._login, self._submitted, self._violated = login, submitted, violated
        self._server: asyncio.Server | None = None
        self._bound: list[_Session] = []
        self._one_more = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in self._tasks:
            task.cancel()

    def drop(self) -> None:
        """Break every connection."""
        for session in self._bound:
            session.end()
        self._bound.clear()

    async def deliver(self, body: bytes) -> int:
        """The status that a bound bridge answers with; -1 for none."""
        while not self._bound:
            self._one_more.clear()
            await self._one_more.wait()
        session = self._bound[-1]
        session.own += 1
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        session.waiting[session.own] = answer
        session.say(DELIVER, session.own, body)
        return await answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(writer)
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                size, command, status, sequence = _HEAD.unpack(await reader.readexactly(16))
                if not 16 <= size <= 4096:
                    self._violated("a unit has 16 to 4096 bytes")
                    break
                body = await reader.readexactly(size - 16)
                if not self._take(session, command, status, sequence, body):
                    break
        if session in self._bound:
            self._bound.remove(session)
        session.end()

    def _take(self, session: _Session, command: int, status: int, sequence: int, body: bytes) -> bool:
        if command & RESPONSE:
            answer = session.waiting.pop(sequence, None)
            if answer is None:
                self._violated("a response answers a request")
            elif not answer.done():
                answer.set_result(status)
            return True
        if sequence != session.number + 1:
            self._violated("sequence numbers rise by one")
        session.number = sequence
        if command == BIND_TRANSCEIVER:
            return self._bind(session, sequence, body)
        if session not in self._bound:
            session.say(command | RESPONSE, sequence, status=0x04)
            self._violated("a session begins with a bind")
            return False
        if command == SUBMIT:
            task = asyncio.create_task(self._submit(session, sequence, body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif command in (ENQUIRE, UNBIND) and not body:
            session.say(command | RESPONSE, sequence)
        else:
            self._violated("a unit that no client sends")
            session.say(GENERIC_NACK, sequence, status=0x03)
        return command != UNBIND

    def _bind(self, session: _Session, sequence: int, body: bytes) -> bool:
        words = body.split(b"\0", 3)
        login = tuple(word.decode("ascii", "replace") for word in words[:2])
        if len(words) < 4 or words[3][:1] != b"\x34":
            self._violated("interface_version is 3.4")
        if login != self._login:
            session.say(BIND_TRANSCEIVER | RESPONSE, sequence, status=0x0E)
            return False
        session.say(BIND_TRANSCEIVER | RESPONSE, sequence, b"sandbox\0")
        self._bound.append(session)
        self._one_more.set()
        return True

    async def _submit(self, session: _Session, sequence: int, body: bytes) -> None:
        answer = await self._submitted(body)
        if answer is None:
            session.end()
            return
        status, message_id = answer
        session.say(SUBMIT | RESPONSE, sequence, b"" if status else message_id.encode() + b"\0", status)
