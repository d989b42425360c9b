"""Sessions of SMPP 3.4: one connection, both directions, many requests at a time.

What was written and not answered when a connection ends is an unknown outcome, without exception. The other side is
believed in nothing: the length of a unit, the time of an answer, what arrives at once and what it does not read are
bounded, and an answer that nobody waits for is counted.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf     2 (sessions), 7.2 (timers)
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dcbridge.errors import AccountFault, OutcomeUnknown, Unreachable
from dcbridge.providers.base import SmppAccount, SmppAnswer, SmppRequest
from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import BadPdu, Command, Header
from dcbridge.transport.tls import client_context, tls_word

MOST_ARRIVING = 200  # units that are being stored at one time; to more the SMSC is told "later"
MOST_UNREAD = 1 << 20  # bytes that the SMSC has not read; a session with more is ended
MOST_AT_ONCE = 1 << 16  # bytes that are written at one moment
MOST_UNCONFIRMED = 1000  # answers that the SMSC may not have read; after so many it is asked at once
CONFIRMED_WITHIN = 1.0  # seconds after an arrival until the SMSC is asked, and has read the answer to it
UNBIND_SECONDS = 2.0
_CLOSED = (OSError, asyncio.IncompleteReadError)
Turn = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What becomes of deliver_sm. `store` gives the status that answers it: it is on a disk, or the SMSC keeps it.

    `confirmed`: the SMSC has read the answers to these units. `odd`: something that no SMSC should say, in a word.
    """

    store: Callable[[bytes], Awaitable[int]]
    confirmed: Callable[[Sequence[bytes]], Awaitable[None]]
    odd: Callable[[str], None]


class Session:
    """A bound connection. `window`: requests in flight at most; `timeout`: seconds for an answer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        arrivals: Arrivals,
        *,
        window: int,
        timeout: float,
    ) -> None:
        self._reader, self._writer, self._arrivals = reader, writer, arrivals
        self._window, self._timeout, self._sequence = asyncio.Semaphore(window), timeout, 0
        self._waiting: dict[int, tuple[Command, asyncio.Future[tuple[Header, bytes]]]] = {}
        self._unanswered: dict[int, bytes] = {}  # deliver_sm by its number in the session
        self._arriving: set[asyncio.Task[None]] = set()
        self._answered: list[bytes] = []  # deliver_sm whose answer is written
        self._unwritten = bytearray()
        self._ask = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = asyncio.Event()
        self.why = ""  # it was closed

    @classmethod
    async def open(
        cls,
        account: SmppAccount,
        arrivals: Arrivals,
        *,
        window: int,
        connect_timeout: float,
        timeout: float,  # noqa: ASYNC109 (of each request in turn)
        tls: ssl.SSLContext | None = None,
    ) -> Session:
        """Connect and bind. Raises Unreachable, or AccountFault where the SMSC refuses to be bound."""
        try:
            async with asyncio.timeout(connect_timeout):
                context = (tls or client_context(verify=account.verify_certificate)) if account.tls else None
                reader, writer = await asyncio.open_connection(account.host, account.port, ssl=context)
        except (OSError, UnicodeError) as error:
            raise Unreachable(_word_for(error)) from None
        session = cls(reader, writer, arrivals, window=window, timeout=timeout)
        try:
            async with asyncio.timeout(timeout):
                await session._bind(pdu.write_bind(account.bind))
        except (TimeoutError, *_CLOSED):
            session._end("bind")
            raise Unreachable("no answer to the bind") from None
        except BadPdu:
            session._end("bind")
            raise Unreachable("not SMPP") from None
        except BaseException:
            session._end("bind")
            raise
        session._tasks += [
            asyncio.create_task(session._read()), asyncio.create_task(session._enquire(account.enquire_every))
        ]  # fmt: skip
        return session

    async def _bind(self, body: bytes) -> None:
        sequence = self._next()
        self._writer.write(pdu.unit(Command.BIND_TRANSCEIVER, sequence, body))
        header, _ = await self._unit()
        if header.sequence != sequence or header.command not in (Command.BIND_TRANSCEIVER_RESP, Command.GENERIC_NACK):
            raise BadPdu("not the answer to a bind")
        if header.status != pdu.OK:
            raise AccountFault(f"bind 0x{header.status:02X}")

    @property
    def in_flight(self) -> int:
        return len(self._waiting)

    # ------------------------------------------------------------ out

    async def submit(self, body: bytes, turn: Turn | None = None) -> SmppAnswer:
        """Hand over one message. Raises Unreachable where nothing was written, else OutcomeUnknown.

        `turn` is asked when there is room in the window and nothing is written; what it raises is raised.
        """
        if self._window.locked():
            try:
                async with asyncio.timeout(self._timeout):
                    await self._window.acquire()
            except TimeoutError:
                raise Unreachable("the window is full") from None
        else:
            await self._window.acquire()
        try:
            if turn is not None:
                await turn()
            if self.closed.is_set():
                raise Unreachable("no session")
            header, answer = await self._ask_for(Command.SUBMIT_SM, body)
        finally:
            self._window.release()
        message_id = ""
        if header.command == Command.SUBMIT_SM_RESP and header.status == pdu.OK:
            with suppress(BadPdu):
                message_id = pdu.read_message_id(answer)
        return SmppAnswer(header.status or (0 if header.command == Command.SUBMIT_SM_RESP else 0xFF), message_id)

    async def _ask_for(self, command: Command, body: bytes = b"") -> tuple[Header, bytes]:
        sequence, loop = self._next(), asyncio.get_running_loop()
        answer: asyncio.Future[tuple[Header, bytes]] = loop.create_future()
        self._waiting[sequence] = command, answer
        late = loop.call_later(self._timeout, _too_late, answer)
        try:
            self._write(pdu.unit(command, sequence, body))
            return await answer
        finally:
            late.cancel()
            self._waiting.pop(sequence, None)

    def _next(self) -> int:
        self._sequence = self._sequence % pdu.LAST_SEQUENCE + 1
        return self._sequence

    def _write(self, unit: bytes) -> None:
        if self.closed.is_set():
            return
        if not self._unwritten:  # what is said at one moment is written at once
            asyncio.get_running_loop().call_soon(self._flush)
        self._unwritten += unit
        if len(self._unwritten) > MOST_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if not self._unwritten or self.closed.is_set():
            return
        self._writer.write(bytes(self._unwritten))
        self._unwritten.clear()
        if self._writer.transport.get_write_buffer_size() > MOST_UNREAD:
            self._end("it reads nothing")

    # ------------------------------------------------------------ in

    async def _unit(self) -> tuple[Header, bytes]:
        head = await self._reader.readexactly(pdu.HEADER)
        header = pdu.read_header(head)
        rest = await self._reader.readexactly(header.length - pdu.HEADER)
        return header, head + rest

    async def _read(self) -> None:
        why = "connection lost"
        try:
            while not self.closed.is_set():
                header, unit = await self._unit()
                if header.is_response:
                    self._take_answer(header, unit[pdu.HEADER :])
                else:
                    self._take_request(header, unit)
        except BadPdu:
            self._arrivals.odd("not_smpp")
            self._write(pdu.unit(Command.GENERIC_NACK, 0, status=pdu.INVALID_LENGTH))
            why = "not SMPP"
        except _CLOSED:
            pass
        finally:
            self._end(why)

    def _take_answer(self, header: Header, body: bytes) -> None:
        command, waiting = self._waiting.get(header.sequence, (None, None))
        fits = command is not None and header.command in (command | Command.GENERIC_NACK, Command.GENERIC_NACK)
        if waiting is None or waiting.done() or not fits:
            # Late, for the second time, of a number that was never used, or of another request: whose own may come.
            self._arrivals.odd("unexpected_response")
        else:
            waiting.set_result((header, body))

    def _take_request(self, header: Header, unit: bytes) -> None:
        match header.command:
            case Command.DELIVER_SM if self._unanswered.get(header.sequence) == unit:
                self._arrivals.odd("repeated_request")  # it could not wait: the answer to the first is that to both
            case Command.DELIVER_SM if len(self._arriving) < MOST_ARRIVING:
                self._unanswered[header.sequence] = unit
                task = asyncio.create_task(self._arrive(header.sequence, unit))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)
            case Command.DELIVER_SM:
                self._arrivals.odd("too_many_at_once")
                self._write(pdu.unit(Command.DELIVER_SM_RESP, header.sequence, b"\0", pdu.TEMPORARY))
            case Command.ENQUIRE_LINK:
                self._write(pdu.unit(Command.ENQUIRE_LINK_RESP, header.sequence))
            case Command.UNBIND:
                self._write(pdu.unit(Command.UNBIND_RESP, header.sequence))
                self._end("unbound by the SMSC")
            case _:
                self._arrivals.odd("unknown_command")
                self._write(pdu.unit(Command.GENERIC_NACK, header.sequence, status=pdu.INVALID_COMMAND))

    async def _arrive(self, sequence: int, unit: bytes) -> None:
        try:
            status = await self._arrivals.store(unit)
        finally:
            if self._unanswered.get(sequence) is unit:
                del self._unanswered[sequence]
        self._write(pdu.unit(Command.DELIVER_SM_RESP, sequence, b"\0", status))
        if status == pdu.OK and not self.closed.is_set():
            self._answered.append(unit)
            if len(self._answered) >= MOST_UNCONFIRMED:
                self._ask.set()
            elif len(self._answered) == 1:  # until then, the same words in another session are taken for a repetition
                asyncio.get_running_loop().call_later(CONFIRMED_WITHIN, self._ask.set)

    # ------------------------------------------------------------ life and death

    async def _enquire(self, every: float) -> None:
        """Ask whether it is there. Units are answered in order: it has read the answers that were written before."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._ask.wait()
            self._ask.clear()
            answered, self._answered = self._answered, []
            try:
                await self._ask_for(Command.ENQUIRE_LINK)
            except OutcomeUnknown:
                self._end("enquire_link is not answered")
                return
            await self._arrivals.confirmed(answered)

    def _end(self, why: str) -> None:
        """The connection is no more. Whoever waits learns that nobody knows."""
        if self.closed.is_set():
            return
        self._flush()
        if self.closed.is_set():
            return
        self.why = why
        self.closed.set()
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OutcomeUnknown("connection lost"))
        self._writer.close()

    async def close(self) -> None:
        """Unbind, and leave."""
        for task in tuple(self._arriving):
            with suppress(TimeoutError):
                async with asyncio.timeout(UNBIND_SECONDS):
                    await asyncio.shield(task)
        if not self.closed.is_set():
            answered, self._answered = self._answered, []
            with suppress(OutcomeUnknown, TimeoutError):
                async with asyncio.timeout(UNBIND_SECONDS):
                    await self._ask_for(Command.UNBIND)
                    await self._arrivals.confirmed(answered)
        self._end("unbound")
        for task in (*self._tasks, *self._arriving):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._arriving, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(UNBIND_SECONDS):
                await self._writer.wait_closed()


class Sessions:
    """Those of one process, by account."""

    def __init__(self) -> None:
        self._held: dict[SmppAccount, Session] = {}

    def hold(self, account: SmppAccount, session: Session | None) -> None:
        """From now on it carries the account's requests; None: there is none."""
        if session is None:
            self._held.pop(account, None)
        else:
            self._held[account] = session

    def of(self, account: SmppAccount) -> Session | None:
        """One that is bound."""
        session = self._held.get(account)
        return session if session is not None and not session.closed.is_set() else None

    async def submit(self, request: SmppRequest, turn: Turn | None = None) -> SmppAnswer:
        """As `Session.submit`."""
        session = self.of(request.account)
        if session is None:
            raise Unreachable("no session")
        return await session.submit(request.body, turn)


def _too_late(answer: asyncio.Future[tuple[Header, bytes]]) -> None:
    if not answer.done():
        answer.set_exception(OutcomeUnknown("timeout"))


def _word_for(error: Exception) -> str:
    """A fixed word: the error's own text would name the host."""
    if isinstance(error, ssl.SSLError):
        return tls_word(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return "dns"
    return "connect timeout" if isinstance(error, TimeoutError) else "connect"
