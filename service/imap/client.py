"""The commands of an IMAP client that takes mail out of one folder: RFC 3501 and 9051, IDLE (2177), MOVE (6851),
UIDPLUS (4315), SASL-IR (4959), XOAUTH2.

A server's "no" is Refused, with the step; whatever else goes wrong is Away, and ends the connection.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dcbridge.oauth2 import xoauth2
from dcbridge.transport.tls import client_context
from service.imap.reading import Fetched, Said, capabilities, counted, fetched, folder, number, quoted, searched, status
from service.imap.wire import CONNECT, Away, Budget, Response, Wire, connect

LINES = 4 << 20  # bytes of all responses to one command, literals aside
LITERALS = 256 << 10  # bytes of all literals, where no mail is asked for
MOST_FOUND = 10_000  # UIDs that are searched for at once
HEAD = 4096  # bytes of the fields that are looked at before a mail is fetched
COMMAND = 120.0  # seconds from a command to its answer, whatever is said meanwhile
LOGOUT = 2.0
OWN_FLAG = "$dcbridge"


class Refused(Exception):
    """The server said no. `step` is what to, `code` the word in brackets."""

    def __init__(self, step: str, said: Said) -> None:
        super().__init__(step)
        self.step, self.code, self.word = step, said.code, said.word


@dataclass(slots=True)
class Selected:
    """The folder as it is at this moment."""

    exists: int = 0
    uid_validity: int = 0
    read_only: bool = False
    permanent_flags: frozenset[str] | None = None  # in capitals; None where nothing is said of them

    def keeps(self, flag: str) -> bool:
        """Whether a flag lasts."""
        flags = self.permanent_flags
        return flags is None or flag.upper() in flags or (not flag.startswith("\\") and "\\*" in flags)


class Client:
    """One connection. Commands are given one after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._count = 0
        self.capabilities: frozenset[str] = frozenset()
        self.selected = Selected()
        self.news = False  # whether a mail has come since somebody has set this to False

    # ------------------------------------------------------------ to the folder

    @classmethod
    async def open(
        cls, host: str, port: int, *, implicit: bool, silence: float, tls: ssl.SSLContext | None = None
    ) -> Client:
        """Connected and encrypted, at once or by STARTTLS; not logged in. Raises Away."""
        context = tls or client_context()
        client = cls(await connect(host, port, silence, context if implicit else None))
        try:
            await client._greeted(encrypted=implicit)
            if not implicit:
                await client._start_tls(context, host)
        except BaseException:
            client.close()
            raise
        return client

    async def _greeted(self, *, encrypted: bool) -> None:
        async with _within(CONNECT):
            line = (await self._wire.response(Budget(LINES, LITERALS))).line
        if not line.startswith(b"* ") or status(line[2:]).word != "OK":  # PREAUTH: as whom, nobody has proven
            raise Away("not IMAP" if encrypted or not line.startswith(b"* PREAUTH") else "tls")
        self._learn(status(line[2:]))

    async def _start_tls(self, context: ssl.SSLContext, host: str) -> None:
        if not self.capabilities:
            await self._ask_capabilities()
        if "STARTTLS" not in self.capabilities:
            raise Away("STARTTLS is not offered")
        await self._command("starttls", "STARTTLS")
        await self._wire.start_tls(context, host)
        self.capabilities = frozenset()  # what was said before may be a stranger's

    async def login(self, username: str, password: str) -> None:
        """Raises Refused."""
        if not self.capabilities:
            await self._ask_capabilities()
        if "AUTH=PLAIN" in self.capabilities:
            await self._authenticate("PLAIN", f"\0{username}\0{password}".encode())
        elif "LOGINDISABLED" in self.capabilities:
            raise Refused("login", Said("NO", "LOGINDISABLED", b""))
        else:
            try:
                words = f"LOGIN {quoted(username)} {quoted(password)}"
            except ValueError:
                raise Refused("login", Said("NO", "CANNOT", b"")) from None
            await self._command("login", words)
        await self._logged_in()

    async def login_with_token(self, username: str, token: str) -> None:
        """By XOAUTH2. Raises Refused, also for a server that does not offer it."""
        if not self.capabilities:
            await self._ask_capabilities()
        if "AUTH=XOAUTH2" not in self.capabilities:
            raise Refused("login", Said("NO", "XOAUTH2 is not offered", b""))
        await self._authenticate("XOAUTH2", xoauth2(username, token))
        await self._logged_in()

    async def _authenticate(self, mechanism: str, response: bytes) -> None:
        """One response, with the command where the server takes it there. A second question is what it finds wrong:
        an empty line, and then its answer comes.
        """
        coded = base64.b64encode(response)
        at_once = "SASL-IR" in self.capabilities
        answers = [b""] if at_once else [coded, b""]
        words = f"AUTHENTICATE {mechanism}".encode() + (b" " + coded if at_once else b"")
        await self._command("login", words, answers=answers)

    async def _logged_in(self) -> None:
        if not self.capabilities:
            await self._ask_capabilities()

    async def _ask_capabilities(self) -> None:
        await self._command("capability", "CAPABILITY")

    async def select(self, name: str) -> Selected:
        """Raises Refused."""
        self.selected = Selected()
        await self._command("select", f"SELECT {folder(name)}")
        return self.selected

    # ------------------------------------------------------------ in the folder

    async def search(self, what: str, first: int, last: int) -> list[int]:
        """UIDs of the mails with these numbers to which it applies."""
        most = last - first + 1
        found: list[int] = []
        for response in await self._command("search", f"UID SEARCH {first}:{last} {what}"):
            found += searched(response.line, most) or ()
        return sorted(set(found))

    async def heads(self, uids: Sequence[int]) -> dict[int, Fetched]:
        """Size, time of arrival, and the fields that say of whom it is; of those that are still there."""
        named = ",".join(map(str, uids))
        fields = f"BODY.PEEK[HEADER.FIELDS (RETURN-PATH FROM)]<0.{HEAD}>"
        budget = Budget(LINES, 2 * HEAD * len(uids))
        command = f"UID FETCH {named} (UID RFC822.SIZE INTERNALDATE {fields})"
        return self._of(await self._command("fetch", command, budget=budget), uids)

    async def body(self, uid: int, most: int, within: float, told: Callable[[int], None]) -> bytes | None:
        """All of a mail; None where it is gone. `told` hears of its bytes before they are read. Raises TooLarge."""
        budget = Budget(LINES, most, told)
        command = f"UID FETCH {uid} (UID BODY.PEEK[])"
        found = self._of(await self._command("fetch", command, budget=budget, within=within), [uid])
        return found[uid].body if uid in found else None

    @staticmethod
    def _of(responses: Sequence[Response], uids: Sequence[int]) -> dict[int, Fetched]:
        wanted = set(uids)
        read = (fetched(response) for response in responses)
        return {one.uid: one for one in read if one is not None and one.uid in wanted}

    async def flag(self, uid: int, flag: str) -> None:
        """Raises Refused."""
        await self._command("flag", f"UID STORE {uid} +FLAGS.SILENT ({flag})")

    async def delete(self, uid: int) -> None:
        """For good where the server can delete one mail alone; else it is marked as deleted. Raises Refused."""
        await self.flag(uid, "\\Deleted")
        if "UIDPLUS" in self.capabilities or "IMAP4REV2" in self.capabilities:
            await self._command("expunge", f"UID EXPUNGE {uid}")

    async def move(self, uid: int, to: str) -> None:
        """To a folder that is made where there is none. Raises Refused."""
        verb = "MOVE" if "MOVE" in self.capabilities or "IMAP4REV2" in self.capabilities else "COPY"
        try:
            await self._command("move", f"UID {verb} {uid} {folder(to)}")
        except Refused as error:
            if error.code != "TRYCREATE":
                raise
            await self._command("create", f"CREATE {folder(to)}")
            await self._command("move", f"UID {verb} {uid} {folder(to)}")
        if verb == "COPY":
            await self.delete(uid)

    async def noop(self) -> None:
        await self._command("noop", "NOOP")

    async def idle(self, seconds: float, end: asyncio.Event) -> None:
        """Until there is `news`, for so many seconds at most, or until `end` is set. Raises Away."""
        tag = self._tag()
        await self._wire.write(tag + b" IDLE")
        until = time.monotonic() + seconds
        budget = Budget(LINES, LITERALS)
        ending = asyncio.ensure_future(end.wait())
        try:
            while not await self._noticed(budget, tag, {b"+"}):
                pass
            while not self.news and not end.is_set() and (left := until - time.monotonic()) > 0:
                something = asyncio.ensure_future(self._wire.something(left))
                try:
                    await asyncio.wait([something, ending], return_when=asyncio.FIRST_COMPLETED)
                    if not something.done():
                        break
                    if something.result():
                        await self._noticed(budget, tag, set())
                finally:
                    something.cancel()
                    await asyncio.gather(something, return_exceptions=True)
        finally:
            ending.cancel()
        await self._wire.write(b"DONE")
        async with _within(COMMAND):
            while not await self._noticed(budget, tag, {tag}):
                pass

    async def _noticed(self, budget: Budget, tag: bytes, awaited: set[bytes]) -> bool:
        """Read one response of IDLE; whether it is the one that is waited for. Raises Away or Refused."""
        response = await self._wire.response(budget)
        word, _, rest = response.line.partition(b" ")
        if word == tag:
            said = status(rest)
            if said.word != "OK":
                raise Refused("idle", said)
            if tag not in awaited:
                raise Away("not IMAP")
        elif word == b"*":
            self._untagged(response)
        return word in awaited

    async def logout(self) -> None:
        """Politely, for a moment."""
        try:
            async with asyncio.timeout(LOGOUT):
                await self._command("logout", "LOGOUT", leaving=True)
        except (Away, Refused, TimeoutError):
            return

    def close(self) -> None:
        self._wire.close()

    # ------------------------------------------------------------ one command

    def _tag(self) -> bytes:
        self._count += 1
        return b"d%d" % self._count

    async def _command(
        self,
        step: str,
        words: str | bytes,
        *,
        answers: Sequence[bytes] = (),
        budget: Budget | None = None,
        within: float = COMMAND,
        leaving: bool = False,
    ) -> list[Response]:
        """What came in answer. `answers`: to the server's questions, one after the other. Raises Refused or Away."""
        tag, budget = self._tag(), budget or Budget(LINES, LITERALS)
        came: list[Response] = []
        left = list(answers)
        await self._wire.write(tag + b" " + (words.encode() if isinstance(words, str) else words))
        async with _within(within):
            while True:
                response = await self._wire.response(budget)
                word, _, rest = response.line.partition(b" ")
                if word == b"*":
                    if self._untagged(response, leaving=leaving):
                        came.append(response)
                elif word == b"+":
                    if not left:
                        raise Away("not IMAP")
                    await self._wire.write(left.pop(0))
                elif word == tag:
                    said = status(rest)
                    self._learn(said)
                    if said.word != "OK":
                        raise Refused(step, said)
                    return came
                else:
                    raise Away("not IMAP")

    def _untagged(self, response: Response, *, leaving: bool = False) -> bool:
        """Learn what it says of the connection and the folder; whether it may be what a command asked for."""
        kind, count = counted(response.line)
        if kind == "EXISTS":
            self.news = self.news or count > self.selected.exists
            self.selected.exists = count
        elif kind == "EXPUNGE":
            self.selected.exists = max(0, self.selected.exists - 1)
        elif response.line[2:13].upper() == b"CAPABILITY ":
            self.capabilities = capabilities(response.line[13:])
        elif response.line[2:5].upper() == b"BYE" and not leaving:
            raise Away("the server closes")
        else:
            said = status(response.line[2:])
            if not said.word:
                return True
            self._learn(said)
        return False

    def _learn(self, said: Said) -> None:
        match said.code:
            case "CAPABILITY":
                self.capabilities = capabilities(said.about)
            case "UIDVALIDITY":
                before, now = self.selected.uid_validity, number(said.about)
                if before and now != before:
                    raise Away("UIDVALIDITY has changed")
                self.selected.uid_validity = now
            case "PERMANENTFLAGS":
                words = said.about.strip(b"()").split()[:200]
                self.selected.permanent_flags = frozenset(w.decode("ascii", "replace").upper() for w in words)
            case "READ-ONLY":
                self.selected.read_only = True
            case _:
                return


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    """As asyncio.timeout; its end is Away."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Away("timeout") from None
