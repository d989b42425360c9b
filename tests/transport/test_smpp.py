"""A session beside an SMSC that does what none should: nothing is lost, and nothing grows without bound."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from dcbridge.errors import AccountFault, OutcomeUnknown, SendError, Unreachable
from dcbridge.providers.base import SmppAccount, SmppAnswer, SmppRequest
from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import Bind, Command, Header
from dcbridge.transport import smpp
from dcbridge.transport.sender import Sender
from dcbridge.transport.smpp import Arrivals, Session

BODY = b"a message"
Units = Callable[["Smsc", Header, bytes], Awaitable[None]]


@dataclass
class Smsc:
    """One connection, seen from the SMSC. `heard`: the units that came, the bind left out."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[tuple[Header, bytes]] = field(default_factory=list)

    def say(self, command: int, sequence: int, body: bytes = b"", status: int = 0) -> None:
        self.writer.write(pdu.unit(command, sequence, body, status))

    def statuses(self, command: int) -> list[int]:
        return [header.status for header, _ in self.heard if header.command == command]


async def answers(smsc: Smsc, header: Header, body: bytes) -> None:
    if header.command == Command.SUBMIT_SM:
        smsc.say(Command.SUBMIT_SM_RESP, header.sequence, f"id-{header.sequence}\0".encode())
    elif not header.is_response:
        smsc.say(header.command | 0x80000000, header.sequence)


async def silent(smsc: Smsc, header: Header, body: bytes) -> None:
    pass


@dataclass
class Here:
    """What arrived on this side."""

    stored: list[bytes] = field(default_factory=list)
    confirmed: list[bytes] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    status: int = 0
    gate: asyncio.Event | None = None

    async def store(self, unit: bytes) -> int:
        if self.gate is not None:
            await self.gate.wait()
        self.stored.append(unit)
        return self.status

    async def confirm(self, units: Sequence[bytes]) -> None:
        self.confirmed += units


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while True:
            if found():
                return
            await asyncio.sleep(0.01)


@dataclass
class Both:
    session: Session
    smsc: Smsc
    here: Here

    async def until(self, found: Callable[[], object]) -> None:
        await until(found)


@asynccontextmanager
async def listening(
    does: Units, *, bind_status: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[Smsc]]]:
    made: list[Smsc] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        smsc = Smsc(reader, writer)
        made.append(smsc)
        try:
            while True:
                header = pdu.read_header(await reader.readexactly(pdu.HEADER))
                body = await reader.readexactly(header.length - pdu.HEADER)
                if header.command == Command.BIND_TRANSCEIVER:
                    smsc.say(Command.BIND_TRANSCEIVER_RESP, header.sequence, b"smsc\0", bind_status)
                    continue
                smsc.heard.append((header, body))
                await does(smsc, header, body)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], made
        for one in made:
            one.writer.close()


def account(port: int, **changes: object) -> SmppAccount:
    given: dict[str, object] = {"host": "127.0.0.1", "port": port, "tls": False, "verify_certificate": True,
                                "bind": Bind("name", "secret"), "binds": 1, "enquire_every": 60.0}  # fmt: skip
    return SmppAccount(**(given | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def bound(
    does: Units = answers, *, window: int = 10, patience: float = 5.0, **changes: object
) -> AsyncIterator[Both]:
    here = Here()
    async with listening(does) as (port, made):
        arrivals = Arrivals(here.store, here.confirm, here.odd.append)
        session = await Session.open(
            account(port, **changes), arrivals, window=window, connect_timeout=5.0, timeout=patience
        )
        try:
            yield Both(session, made[0], here)
        finally:
            await session.close()


def deliver(text: bytes = b"Hello") -> bytes:
    return pdu.write_message(pdu.Message(source="1", destination="2", text=text))


async def outcome(request: Awaitable[SmppAnswer]) -> SmppAnswer | tuple[type[SendError], str]:
    try:
        return await request
    except SendError as error:
        return type(error), error.code


# ---------------------------------------------------------------- out


async def test_a_message_is_answered_with_its_id() -> None:
    async with bound() as both:
        assert await both.session.submit(BODY) == SmppAnswer(0, f"id-{both.smsc.heard[0][0].sequence}")
        assert both.smsc.heard[0][1] == BODY
        assert both.session.in_flight == 0


async def test_a_sender_hands_it_to_the_session_of_its_account() -> None:
    async with bound() as both, Sender() as sender:
        one, other = account(1), account(2)
        sender.smpp.hold(one, both.session)
        assert isinstance(await sender.send(SmppRequest(one, BODY)), SmppAnswer)
        assert await outcome(sender.smpp.submit(SmppRequest(other, BODY))) == (Unreachable, "no session")
        sender.smpp.hold(one, None)
        assert await outcome(sender.smpp.submit(SmppRequest(one, BODY))) == (Unreachable, "no session")


@pytest.mark.parametrize("order", [1, -1])
async def test_answers_in_any_order_belong_to_their_messages(order: int) -> None:
    async with bound(silent) as both:
        requests = [asyncio.create_task(both.session.submit(b"%d" % n)) for n in range(10)]
        await both.until(lambda: len(both.smsc.heard) == 10)
        for header, body in both.smsc.heard[::order]:
            both.smsc.say(Command.SUBMIT_SM_RESP, header.sequence, b"id-" + body + b"\0")
        assert [(await one).message_id for one in requests] == [f"id-{n}" for n in range(10)]


async def test_no_more_than_the_window_are_in_flight() -> None:
    async with bound(silent, window=3) as both:
        requests = [asyncio.create_task(both.session.submit(BODY)) for _ in range(7)]
        for done in (0, 3, 6):
            await both.until(partial(lambda done: len(both.smsc.heard) == min(done + 3, 7), done))
            await asyncio.sleep(0.02)
            assert len(both.smsc.heard) == min(done + 3, 7)
            for header, _ in both.smsc.heard[done : done + 3]:
                both.smsc.say(Command.SUBMIT_SM_RESP, header.sequence, b"x\0")
        await asyncio.gather(*requests)


async def test_a_window_that_stays_full_leaves_a_message_unsent() -> None:
    async with bound(silent, window=1, patience=0.2) as both:
        said = await asyncio.gather(*(outcome(both.session.submit(BODY)) for _ in range(2)))
        assert sorted(str(one) for one in said)[0] == str((OutcomeUnknown, "timeout"))
        assert len(both.smsc.heard) <= 2


async def test_what_was_written_and_not_answered_is_unknown_and_what_waits_for_the_window_is_not() -> None:
    async with bound(silent, window=5) as both:
        requests = [asyncio.create_task(outcome(both.session.submit(BODY))) for _ in range(8)]
        await both.until(lambda: len(both.smsc.heard) == 5)
        both.smsc.writer.transport.abort()
        said = await asyncio.gather(*requests)
        assert said == [(OutcomeUnknown, "connection lost")] * 5 + [(Unreachable, "no session")] * 3
        assert await outcome(both.session.submit(BODY)) == (Unreachable, "no session")


async def test_a_late_answer_and_a_second_one_and_one_of_no_request_are_counted() -> None:
    async with bound(silent, patience=0.2) as both:
        assert await outcome(both.session.submit(BODY)) == (OutcomeUnknown, "timeout")
        number = both.smsc.heard[0][0].sequence
        for sequence in (number, number, 4711):
            both.smsc.say(Command.SUBMIT_SM_RESP, sequence, b"id\0")
        await both.until(lambda: len(both.here.odd) == 3)
        assert both.here.odd == ["unexpected_response"] * 3
        assert not both.session.closed.is_set()


@pytest.mark.parametrize(
    "command", [Command.ENQUIRE_LINK_RESP, Command.DELIVER_SM_RESP, Command.UNBIND_RESP, 0x80000103]
)
async def test_an_answer_to_something_else_is_not_that_of_a_message(command: int) -> None:
    async def confuses(smsc: Smsc, header: Header, body: bytes) -> None:
        smsc.say(command, header.sequence, b"wrong\0", 0x08)
        await answers(smsc, header, body)

    async with bound(confuses) as both:
        assert await both.session.submit(BODY) == SmppAnswer(0, "id-2")
        assert both.here.odd == ["unexpected_response"]


@pytest.mark.parametrize(
    ("command", "status", "body", "said"),
    [
        (Command.SUBMIT_SM_RESP, 0x58, b"", SmppAnswer(0x58, "")),
        (Command.SUBMIT_SM_RESP, 0, b"", SmppAnswer(0, "")),
        (Command.SUBMIT_SM_RESP, 0, b"x" * 100, SmppAnswer(0, "")),
        (Command.GENERIC_NACK, 3, b"", SmppAnswer(3, "")),
        (Command.GENERIC_NACK, 0, b"", SmppAnswer(0xFF, "")),
    ],
)
async def test_an_answer_says_what_it_says(command: Command, status: int, body: bytes, said: SmppAnswer) -> None:
    async def says(smsc: Smsc, header: Header, _body: bytes) -> None:
        smsc.say(command, header.sequence, body, status)

    async with bound(says) as both:
        assert await both.session.submit(BODY) == said


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(16),
        b"\xff" * 64,
        (pdu.LONGEST + 1).to_bytes(4) + bytes(12),
        b"\0\0\0\x0f" + bytes(12),
    ],
    ids=["http", "zeros", "ones", "too long", "too short"],
)
async def test_garbage_ends_the_session(garbage: bytes) -> None:
    async with bound(silent) as both:
        request = asyncio.create_task(outcome(both.session.submit(BODY)))
        await both.until(lambda: both.smsc.heard)
        both.smsc.writer.write(garbage)
        assert await request == (OutcomeUnknown, "connection lost")
        assert (both.session.why, both.here.odd) == ("not SMPP", ["not_smpp"])


async def test_a_unit_that_breaks_off_is_a_lost_connection() -> None:
    async with bound(silent) as both:
        request = asyncio.create_task(outcome(both.session.submit(BODY)))
        await both.until(lambda: both.smsc.heard)
        both.smsc.writer.write(pdu.unit(Command.SUBMIT_SM_RESP, 2, b"id\0")[:-2])
        both.smsc.writer.close()
        assert await request == (OutcomeUnknown, "connection lost")


# ---------------------------------------------------------------- in


async def test_what_arrives_is_answered_after_it_is_stored() -> None:
    async with bound() as both:
        both.here.gate = asyncio.Event()
        both.smsc.say(Command.DELIVER_SM, 7, deliver())
        await asyncio.sleep(0.05)
        assert both.smsc.heard == []
        both.here.gate.set()
        await both.until(lambda: both.smsc.heard)
        [(header, _)] = both.smsc.heard
        assert (header.command, header.sequence, header.status) == (Command.DELIVER_SM_RESP, 7, 0)
        assert both.here.stored == [pdu.unit(Command.DELIVER_SM, 7, deliver())]


async def test_a_deliver_sm_that_comes_again_before_its_answer_is_one() -> None:
    async with bound() as both:
        both.here.gate = asyncio.Event()
        for sequence, text in ((7, b"Hello"), (7, b"Hello"), (8, b"Hello"), (7, b"other"), (7, b"Hello")):
            both.smsc.say(Command.DELIVER_SM, sequence, deliver(text))
        await both.until(lambda: both.here.odd)
        both.here.gate.set()
        await both.until(lambda: len(both.smsc.statuses(Command.DELIVER_SM_RESP)) == 4)
        both.smsc.say(Command.DELIVER_SM, 7, deliver())  # answered before: the consumer wrote it again
        await both.until(lambda: len(both.here.stored) == 5)
        assert both.here.odd == ["repeated_request"]


async def test_a_storm_of_questions_is_answered_and_messages_go_meanwhile() -> None:
    async with bound() as both:
        both.smsc.writer.write(b"".join(pdu.unit(Command.ENQUIRE_LINK, n + 1) for n in range(10_000)))
        assert (await both.session.submit(BODY)).status == 0
        await both.until(lambda: len(both.smsc.statuses(Command.ENQUIRE_LINK_RESP)) == 10_000)
        assert (both.here.odd, both.session.closed.is_set()) == ([], False)


async def test_what_cannot_be_stored_stays_with_the_smsc() -> None:
    async with bound(enquire_every=1.0) as both:
        both.here.status = pdu.TEMPORARY
        both.smsc.say(Command.DELIVER_SM, 7, deliver())
        await both.until(lambda: both.smsc.statuses(Command.DELIVER_SM_RESP) == [pdu.TEMPORARY])
        await both.until(lambda: both.smsc.statuses(Command.ENQUIRE_LINK))
        assert both.here.confirmed == []


async def test_a_flood_is_told_to_come_later_and_answers_are_read_meanwhile() -> None:
    async with bound() as both:
        both.here.gate = asyncio.Event()
        for n in range(smpp.MOST_ARRIVING + 50):
            both.smsc.say(Command.DELIVER_SM, n + 1, deliver(b"%d" % n))
        await both.until(lambda: len(both.smsc.statuses(Command.DELIVER_SM_RESP)) == 50)
        assert (await both.session.submit(BODY)).status == 0
        both.here.gate.set()
        await both.until(lambda: len(both.smsc.statuses(Command.DELIVER_SM_RESP)) == smpp.MOST_ARRIVING + 50)
        assert both.smsc.statuses(Command.DELIVER_SM_RESP).count(pdu.TEMPORARY) == 50
        assert len(both.here.stored) == smpp.MOST_ARRIVING


async def test_a_peer_that_reads_nothing_is_left() -> None:
    async def never_reads(smsc: Smsc, header: Header, body: bytes) -> None:
        await asyncio.sleep(3600)

    async with bound(never_reads, window=1000, patience=30.0) as both:
        requests = [asyncio.create_task(outcome(both.session.submit(bytes(60_000)))) for _ in range(400)]
        said = await asyncio.gather(*requests)
        assert both.session.why == "it reads nothing"
        assert {type(one) for one in said} == {tuple}


@pytest.mark.parametrize("command", [0x0103, 0x0102, 0x77])
async def test_a_unit_that_nobody_knows_is_refused(command: int) -> None:
    async with bound() as both:
        both.smsc.say(command, 9, b"x")
        await both.until(lambda: both.smsc.heard)
        [(header, _)] = both.smsc.heard
        assert (header.command, header.sequence, header.status) == (Command.GENERIC_NACK, 9, pdu.INVALID_COMMAND)


# ---------------------------------------------------------------- life and death


async def test_it_is_asked_whether_it_is_there_and_what_it_has_read_is_known() -> None:
    async with bound(enquire_every=1.0) as both:
        both.smsc.say(Command.DELIVER_SM, 7, deliver())
        await both.until(lambda: both.here.confirmed)
        assert both.here.confirmed == both.here.stored


async def test_what_it_has_read_is_soon_known_however_seldom_it_is_asked_whether_it_is_there() -> None:
    """A consumer who writes the same again may do it through another session."""
    async with bound(enquire_every=3600.0) as both:
        both.smsc.say(Command.DELIVER_SM, 7, deliver())
        await both.until(lambda: both.here.confirmed)
        assert both.here.confirmed == both.here.stored


async def test_one_that_does_not_answer_is_left() -> None:
    async with bound(silent, enquire_every=1.0, patience=0.2) as both:
        await both.until(both.session.closed.is_set)
        assert both.session.why == "enquire_link is not answered"
        assert both.here.confirmed == []


async def test_its_questions_are_answered() -> None:
    async with bound() as both:
        both.smsc.say(Command.ENQUIRE_LINK, 5)
        await both.until(lambda: both.smsc.heard)
        assert both.smsc.heard[0][0].command == Command.ENQUIRE_LINK_RESP
        both.smsc.say(Command.UNBIND, 6)
        await both.until(both.session.closed.is_set)
        assert both.session.why == "unbound by the SMSC"


async def test_it_unbinds_at_the_end() -> None:
    async with bound() as both:
        both.smsc.say(Command.DELIVER_SM, 7, deliver())
        await both.until(lambda: both.smsc.heard)
        await both.session.close()
        assert both.smsc.heard[-1][0].command == Command.UNBIND
        assert both.here.confirmed == both.here.stored


@pytest.mark.parametrize("status", [0x0D, 0x0E, 0x0F, 0x05])
async def test_a_refused_bind_is_a_fault_of_the_account(status: int) -> None:
    async with listening(answers, bind_status=status) as (port, _):
        with pytest.raises(AccountFault, match=f"bind 0x{status:02X}"):
            await open_alone(port)


@pytest.mark.parametrize(
    ("says", "code"),
    [(b"", "no answer to the bind"), (b"SSH-2.0-x\r\n" + b"x" * 40, "not SMPP"), (None, "no answer to the bind")],
)
async def test_what_is_no_smsc_is_not_reached(says: bytes | None, code: str) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is not None:
            writer.write(says)
            await reader.read()
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 5)
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(Unreachable, match=code):
            await open_alone(server.sockets[0].getsockname()[1])
        await asyncio.wait_for(ended.wait(), 20)


async def open_alone(port: int) -> None:
    here = Here()
    arrivals = Arrivals(here.store, here.confirm, here.odd.append)
    await Session.open(account(port), arrivals, window=1, connect_timeout=2.0, timeout=0.3)
