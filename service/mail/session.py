"""The dialogue with a mail system: LMTP (RFC 2033) or SMTP (RFC 5321), as much of it as taking mail needs.

SIZE (RFC 1870), 8BITMIME, SMTPUTF8, PIPELINING, ENHANCEDSTATUSCODES, STARTTLS. Nothing is relayed: a recipient that is
no mailbox of a channel is refused. A mail counts as taken when it and its task are stored, and not before.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from service.mail.wire import Room, TooLong, Wire

MOST_RECIPIENTS = 100
MOST_MAILS = 1000  # of one connection
MOST_MISTAKES = 20
MOST_COMMANDS = 200  # without a mail
MAIL_WITHIN = 600.0  # seconds from DATA to its end

NO_ROOM = "452 4.3.1 no room for this mail now"

_PATH = re.compile(
    r"(?P<verb>FROM|TO):[ \t]*(?:<(?P<inside>[^<>]*)>|(?P<bare>[^\s<>]+))(?P<rest>(?:[ \t]+\S+)*)", re.IGNORECASE
)
_ROUTE = re.compile(r"\A@[^:]*:")  # @relay,@relay: before a mailbox, which RFC 5321 says to ignore
_UNREADABLE = re.compile("[\ud800-\udfff]")  # bytes that are no UTF-8
_KNOWN = ("SIZE", "BODY", "SMTPUTF8", "AUTH")


class Taker(Protocol):
    """What is done with mail."""

    def refusal(self, mailbox: str, sender: str) -> str:
        """What to answer a recipient; "" where its mail is taken."""

    async def take(self, raw: bytes, sender: str, mailboxes: list[str]) -> list[str]:
        """Store a mail; an answer for each recipient."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What all connections of a listener have in common."""

    lmtp: bool
    name: str  # of this host
    most: int  # bytes of a mail
    timeout: float
    tls: ssl.SSLContext | None
    room: Room


@dataclass(slots=True)
class _Transaction:
    sender: str | None = None
    mailboxes: list[str] = field(default_factory=list)


class Session:
    """One connection, from the greeting to its end."""

    def __init__(self, wire: Wire, rules: Rules, taker: Taker, stopping: Callable[[], bool]) -> None:
        """`stopping`: whether no more mail is to be taken on this connection."""
        self._wire, self._rules, self._taker, self._stopping = wire, rules, taker, stopping
        self._greeted = False
        self._transaction = _Transaction()
        self._mistakes = self._commands = self._mails = 0

    async def run(self) -> None:
        """Raises Closed."""
        await self._wire.say(f"220 {self._rules.name} {'LMTP' if self._rules.lmtp else 'ESMTP'} dcbridge")
        while True:
            try:
                line = await self._wire.line()
            except TooLong:
                await self._wire.say("500 5.5.2 line too long")
                return
            if self._stopping():
                await self._wire.say("421 4.3.2 this process stops")
                return
            verb, _, argument = line.decode("utf-8", "surrogateescape").partition(" ")
            self._commands += 1
            if self._mistakes >= MOST_MISTAKES or self._commands > MOST_COMMANDS or self._mails >= MOST_MAILS:
                await self._wire.say("421 4.7.0 too many commands")
                return
            if verb.upper() == "QUIT":
                await self._wire.say("221 2.0.0 bye")
                return
            handle = self._handlers.get(verb.upper())
            if handle is None:
                await self._mistake("500 5.5.1 command not recognised")
            elif not await handle(self, argument.strip()):
                return

    async def _mistake(self, reply: str) -> bool:
        self._mistakes += 1
        await self._wire.say(reply)
        return True

    async def _hello(self, argument: str, *, extended: bool, lmtp: bool) -> bool:
        if lmtp != self._rules.lmtp:
            return await self._mistake(f"500 5.5.1 this is {'LMTP' if self._rules.lmtp else 'SMTP'}")
        if not argument:
            return await self._mistake("501 5.5.4 a host name is missing")
        self._greeted, self._transaction = True, _Transaction()
        offered = [self._rules.name]
        if extended:
            offered += ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", f"SIZE {self._rules.most}"]
            if self._rules.tls is not None and not self._wire.encrypted:
                offered.append("STARTTLS")
        await self._wire.say(*(f"250-{line}" for line in offered[:-1]), f"250 {offered[-1]}")
        return True

    async def _lhlo(self, argument: str) -> bool:
        return await self._hello(argument, extended=True, lmtp=True)

    async def _ehlo(self, argument: str) -> bool:
        return await self._hello(argument, extended=True, lmtp=False)

    async def _helo(self, argument: str) -> bool:
        return await self._hello(argument, extended=False, lmtp=False)

    async def _starttls(self, argument: str) -> bool:
        if self._rules.tls is None or self._wire.encrypted:
            return await self._mistake("502 5.5.1 not offered")
        if argument or self._wire.has_more:  # whatever follows would be taken for encrypted
            await self._wire.say("501 5.5.4 nothing may follow STARTTLS")
            return False
        await self._wire.say("220 2.0.0 go ahead")
        await self._wire.start_tls(self._rules.tls)
        self._greeted, self._transaction = False, _Transaction()
        return True

    async def _mail(self, argument: str) -> bool:
        if not self._greeted:
            return await self._mistake("503 5.5.1 say hello first")
        if self._transaction.sender is not None:
            return await self._mistake("503 5.5.1 nested MAIL")
        found = _PATH.fullmatch(argument)
        if not found or found["verb"].upper() != "FROM":
            return await self._mistake("501 5.5.4 should be MAIL FROM:<address>")
        if _UNREADABLE.search(argument):
            return await self._mistake("553 5.6.7 an address beyond ASCII should be in UTF-8")
        parameters = [one.partition("=") for one in found["rest"].split()]
        if unknown := [name for name, _, _ in parameters if name.upper() not in _KNOWN]:
            return await self._mistake(f"555 5.5.4 {len(unknown)} unknown parameters")
        size = next((value for name, _, value in parameters if name.upper() == "SIZE"), "0")
        if not size.isascii() or not size.isdecimal() or len(size) > 20:
            return await self._mistake("501 5.5.4 SIZE should be a number")
        if int(size) > self._rules.most:
            return await self._mistake(f"552 5.3.4 a mail may have {self._rules.most} bytes")
        self._transaction = _Transaction(_mailbox(found))
        await self._wire.say("250 2.1.0 ok")
        return True

    async def _rcpt(self, argument: str) -> bool:
        if self._transaction.sender is None:
            return await self._mistake("503 5.5.1 MAIL comes first")
        found = _PATH.fullmatch(argument)
        if not found or found["verb"].upper() != "TO" or found["rest"].strip():
            return await self._mistake("501 5.5.4 should be RCPT TO:<address>")
        if len(self._transaction.mailboxes) >= MOST_RECIPIENTS:
            return await self._mistake("452 4.5.3 too many recipients")
        mailbox = _mailbox(found)
        if refusal := self._taker.refusal(mailbox, self._transaction.sender):
            return await self._mistake(refusal)
        self._transaction.mailboxes.append(mailbox)
        await self._wire.say("250 2.1.5 ok")
        return True

    async def _data(self, argument: str) -> bool:
        sender, mailboxes = self._transaction.sender, self._transaction.mailboxes
        if sender is None or not mailboxes:
            return await self._mistake("503 5.5.1 no recipient was accepted")
        if argument:
            return await self._mistake("501 5.5.4 DATA has no argument")
        await self._wire.say("354 end with a line of one dot")
        self._transaction = _Transaction()
        with self._rules.room.hold() as held:
            raw = await self._wire.mail(self._rules.most, held, MAIL_WITHIN)
            if isinstance(raw, str):
                reply = f"552 5.3.4 a mail may have {self._rules.most} bytes" if raw == "too large" else NO_ROOM
                answers = [reply] * len(mailboxes)
            else:
                answers = await self._taker.take(raw, sender, mailboxes)
            del raw
        self._mails += 1
        self._commands = self._mistakes = 0
        if not self._rules.lmtp:  # one answer for all: the mail comes again where one of them has to have it again
            answers = [max(answers)]
        await self._wire.say(*answers)
        return True

    async def _rset(self, _: str) -> bool:
        self._transaction = _Transaction()
        await self._wire.say("250 2.0.0 ok")
        return True

    async def _noop(self, _: str) -> bool:
        await self._wire.say("250 2.0.0 ok")
        return True

    async def _vrfy(self, _: str) -> bool:
        await self._wire.say("252 2.1.5 send a mail to find out")
        return True

    _handlers: ClassVar[dict[str, Callable[[Session, str], Awaitable[bool]]]] = {
        "LHLO": _lhlo, "EHLO": _ehlo, "HELO": _helo, "STARTTLS": _starttls, "MAIL": _mail, "RCPT": _rcpt,
        "DATA": _data, "RSET": _rset, "NOOP": _noop, "VRFY": _vrfy,
    }  # fmt: skip


def _mailbox(found: re.Match[str]) -> str:
    written = found["inside"] if found["inside"] is not None else found["bare"]
    return _ROUTE.sub("", written, count=1).strip()
