"""A small IMAP server for the tests, stricter than a real one: an unknown word, a mail number that is not there or a
command out of its state ends in BAD, which is counted. What it does wrong is told to it by the tests.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.certificates import self_signed

USER, PASSWORD, TOKEN = "care", 'pass "word\\', "ya29.token-1"
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass
class Letter:
    """One mail of the folder."""

    uid: int
    raw: bytes
    flags: set[str] = field(default_factory=set)
    size: int | None = None  # what the server says; None: what is true


@dataclass
class Server:
    """One folder, whatever connection asks for it."""

    capabilities: str = "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 IDLE MOVE UIDPLUS"
    validity: int = 7
    letters: list[Letter] = field(default_factory=list)
    folders: dict[str, list[Letter]] = field(default_factory=dict)
    flags: str = "\\Seen \\Deleted \\*"
    read_only: bool = False
    implicit: bool = True  # TLS from the first byte; else STARTTLS, without which nothing else is allowed
    context: ssl.SSLContext | None = None
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    commands: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    # What is sent in place of the answer to a command of this word; False: go on as usual.
    instead: Callable[[str, str, Connection], Awaitable[bool]] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    next_uid: int = 1

    def put(self, *mails: bytes, size: int | None = None) -> list[int]:
        for raw in mails:
            self.letters.append(Letter(self.next_uid, raw, size=size))
            self.next_uid += 1
        self.changed.set()
        return [letter.uid for letter in self.letters[-len(mails) :]]

    def renumber(self) -> None:
        """Another UIDVALIDITY: the same UIDs, each for another mail."""
        self.validity += 1
        uids = [letter.uid for letter in self.letters]
        for letter, uid in zip(self.letters, reversed(uids), strict=True):
            letter.uid = uid
        self.letters.reverse()

    def flagged(self, flag: str) -> int:
        return sum(flag in letter.flags for letter in self.letters)

    def said(self, word: str) -> int:
        """How often a command began so."""
        return sum(command.startswith(word) for command in self.commands)


class Connection:
    """One client."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self._reader, self.writer = server, reader, writer
        self.tag = ""
        self._encrypted = server.implicit
        self._seen: list[Letter] | None = None  # what this client knows of the folder

    async def say(self, text: str | bytes) -> None:
        self.writer.write((text.encode() if isinstance(text, str) else text) + b"\r\n")
        await self.writer.drain()

    async def _starttls(self, words: str) -> bool:
        if words or self.server.implicit or self._encrypted:
            return False
        assert self.server.context is not None
        await self._ok("go ahead")
        await self.writer.start_tls(self.server.context)
        self._encrypted = True
        return True

    async def run(self) -> None:
        offered = self.server.capabilities if self._encrypted else "IMAP4rev1 STARTTLS LOGINDISABLED"
        await self.say(f"* OK [CAPABILITY {offered}] ready")
        while line := await self._line():
            self.tag, _, words = line.partition(" ")
            self.server.commands.append(words)
            verb = words.partition(" ")[0].upper()
            if self.server.instead is not None and await self.server.instead(words, self.tag, self):
                continue
            if verb == "LOGOUT":
                await self.say("* BYE")
                await self.say(f"{self.tag} OK bye")
                return
            allowed = self._encrypted or verb == "STARTTLS"
            handle = getattr(self, f"_{verb.lower()}", None) if allowed else None
            if handle is None or not await handle(words[len(verb) + 1 :]):
                self.server.bad.append(words)
                await self.say(f"{self.tag} BAD what?")

    async def _line(self) -> str:
        return (await self._reader.readline()).decode().rstrip("\r\n")

    async def _ok(self, said: str = "done") -> bool:
        await self.say(f"{self.tag} OK {said}")
        return True

    async def _no(self, said: str) -> bool:
        await self.say(f"{self.tag} NO {said}")
        return True

    async def _capability(self, _: str) -> bool:
        await self.say(f"* CAPABILITY {self.server.capabilities}")
        return await self._ok()

    async def _login(self, words: str) -> bool:
        told = [re.sub(r"\\(.)", r"\1", one or two) for one, two in _WORD.findall(words)]
        return await (self._ok() if told == [USER, PASSWORD] else self._no("[AUTHENTICATIONFAILED] no"))

    async def _authenticate(self, words: str) -> bool:
        mechanism, _, first = words.partition(" ")
        if not first:
            await self.say("+ ")
            first = await self._line()
        response = base64.b64decode(first, validate=True).decode()
        if mechanism == "PLAIN":
            good = response == f"\0{USER}\0{PASSWORD}"
            return await (self._ok() if good else self._no("[AUTHENTICATIONFAILED] no"))
        found = re.fullmatch(r"user=(.*)\1auth=Bearer (.*)\1\1".replace(r"\1", "\1"), response)
        if found is None or mechanism != "XOAUTH2":
            return False
        if found[1] == USER and found[2] in self.server.tokens:
            return await self._ok()
        error = base64.b64encode(b'{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}').decode()
        await self.say(f"+ {error}")
        return await self._line() == "" and await self._no("[AUTHENTICATIONFAILED] Invalid credentials (Failure)")

    async def _select(self, _: str) -> bool:
        self._seen = list(self.server.letters)
        await self.say(f"* FLAGS ({self.server.flags})")
        await self.say(f"* {len(self._seen)} EXISTS")
        await self.say(f"* OK [PERMANENTFLAGS ({self.server.flags})] so")
        await self.say(f"* OK [UIDVALIDITY {self.server.validity}] so")
        return await self._ok(f"[{'READ-ONLY' if self.server.read_only else 'READ-WRITE'}] selected")

    async def _examine(self, _: str) -> bool:
        await self.say(f"* {len(self.server.letters)} EXISTS")
        return await self._ok("[READ-ONLY] looked into")

    async def _noop(self, _: str) -> bool:
        await self._tell()
        return await self._ok()

    async def _tell(self, *, expunge: bool = True) -> None:
        """What has changed in the folder since this client was told."""
        assert self._seen is not None
        for number in range(len(self._seen), 0, -1):
            if expunge and self._seen[number - 1] not in self.server.letters:
                del self._seen[number - 1]
                await self.say(f"* {number} EXPUNGE")
        new = [one for one in self.server.letters if one not in self._seen]
        if new:
            self._seen += new
            await self.say(f"* {len(self._seen)} EXISTS")

    async def _idle(self, _: str) -> bool:
        await self.say("+ idling")
        ended = asyncio.ensure_future(self._line())
        try:
            while not ended.done():
                self.server.changed.clear()
                await self._tell()
                changed = asyncio.ensure_future(self.server.changed.wait())
                await asyncio.wait([ended, changed], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
        finally:
            ended.cancel()
        return ended.result() == "DONE" and await self._ok()

    async def _create(self, words: str) -> bool:
        self.server.folders[words.strip('"')] = []
        return await self._ok()

    async def _uid(self, words: str) -> bool:
        verb, _, rest = words.partition(" ")
        if self._seen is None:
            return False
        handle = getattr(self, f"_uid_{verb.lower()}", None)
        return handle is not None and await handle(rest)

    async def _uid_search(self, words: str) -> bool:
        assert self._seen is not None
        numbers, _, what = words.partition(" ")
        first, _, last = numbers.partition(":")
        if not 1 <= int(first) <= int(last) <= len(self._seen):
            return False
        tests: dict[str, Callable[[Letter], bool]] = {
            "UNSEEN": lambda one: "\\Seen" not in one.flags, "UNDELETED": lambda one: "\\Deleted" not in one.flags,
            "UNKEYWORD $dcbridge": lambda one: "$dcbridge" not in one.flags,
        }  # fmt: skip
        what = re.sub(r" SINCE \d{1,2}-[A-Z][a-z]{2}-\d{4}$", "", what)
        wanted = [tests[word] for word in re.findall(r"UNKEYWORD \S+|\S+", what)]
        found = [one.uid for one in self._seen[int(first) - 1 : int(last)] if all(test(one) for test in wanted)]
        await self.say(" ".join(["* SEARCH", *map(str, found)]))
        await self._tell(expunge=False)
        return await self._ok()

    def _named(self, uids: str) -> list[Letter]:
        return [one for one in self.server.letters if str(one.uid) in uids.split(",")]

    async def _uid_fetch(self, words: str) -> bool:
        assert self._seen is not None
        uids, _, what = words.partition(" ")
        if what not in ("(UID BODY.PEEK[])", HEADS):
            return False
        for one in self._named(uids):
            number = self._seen.index(one) + 1
            if what == HEADS:
                head = _fields(one.raw)
                size = len(one.raw) if one.size is None else one.size
                await self.say(
                    f'* {number} FETCH (UID {one.uid} RFC822.SIZE {size} INTERNALDATE "26-Nov-2026 10:00:00 +0000"'
                    f" BODY[HEADER.FIELDS (RETURN-PATH FROM)]<0> {{{len(head)}}}\r\n{head.decode()})"
                )
            else:
                await self.say(b"* %d FETCH (UID %d BODY[] {%d}\r\n%b)" % (number, one.uid, len(one.raw), one.raw))
        return await self._ok()

    async def _uid_store(self, words: str) -> bool:
        found = re.fullmatch(r"([\d,]+) \+FLAGS\.SILENT \((\S+)\)", words)
        if found is None:
            return False
        for one in self._named(found[1]):
            one.flags.add(found[2])
        return await self._ok()

    async def _uid_expunge(self, words: str) -> bool:
        self._drop([one for one in self._named(words) if "\\Deleted" in one.flags])
        await self._tell()
        return await self._ok()

    async def _uid_move(self, words: str, *, keep: bool = False) -> bool:
        uids, _, folder = words.partition(" ")
        if folder.strip('"') not in self.server.folders:
            return await self._no("[TRYCREATE] no such folder")
        moved = self._named(uids)
        self.server.folders[folder.strip('"')] += moved
        if not keep:
            self._drop(moved)
            await self._tell()
        return await self._ok()

    async def _uid_copy(self, words: str) -> bool:
        return await self._uid_move(words, keep=True)

    def _drop(self, letters: list[Letter]) -> None:
        for one in letters:
            self.server.letters.remove(one)


HEADS = "(UID RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (RETURN-PATH FROM)]<0.4096>)"


def _fields(raw: bytes) -> bytes:
    lines = raw.partition(b"\r\n\r\n")[0].split(b"\r\n")
    found = [line for line in lines if line.lower().startswith((b"from:", b"return-path:"))]
    return b"".join(line + b"\r\n" for line in [*found, b""])[:4096]


@asynccontextmanager
async def imap_server(folder: Path, server: Server | None = None) -> AsyncIterator[Server]:
    """It listens on loopback with TLS, until the end of the `with`."""
    server = server or Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder, "imap"))
    server.context = context
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            await Connection(server, reader, writer).run()
        except (ConnectionError, ssl.SSLError):
            pass  # the client has gone
        finally:
            tasks.discard(task)
            writer.close()

    listening = await asyncio.start_server(
        connected, "127.0.0.1", server.port or 0, ssl=context if server.implicit else None
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
