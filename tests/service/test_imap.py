"""Mailboxes looked into over real sockets, into a real Redis; the server is a small strict one of the tests.

Debian's Dovecot is in tests/faults/dovecot_imap.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.imap import ImapMailbox
from dcbridge.config.inbound import Inbound
from dcbridge.ledger import Ledger
from dcbridge.mail.reader import name_of
from dcbridge.providers.callback import mail_task_id
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from service.imap.mailbox import Login, Mailbox
from service.imap.reading import Fetched, fetched, folder
from service.imap.taking import Place, Tools
from service.imap.wire import Response
from service.mail.taker import Rates
from service.mail.wire import Room
from tests.mail.writing import plain
from tests.service.imap_server import PASSWORD, TOKEN, USER, Connection, Server, imap_server

LONG = 1700.0  # seconds: whatever happens, happens because the server has told
MAILS = [plain(f"{n}\r\n", f"Message-ID: <{n}@example.org>", f"From: ana{n}@example.org") for n in range(4)]


@dataclass
class Looked:
    """A mailbox that is looked into, and what has become of its mails."""

    server: Server
    ledger: Ledger
    metrics: Metrics
    place: Place
    tools: Tools

    async def stored(self, raw: bytes) -> bool:
        task = await self.ledger.tasks.entry(mail_task_id("company.com", name_of(raw)))
        return bool(task) and await self.ledger.blobs.get(mail_task_id("company.com", name_of(raw))) == raw

    async def until_stored(self, *mails: bytes) -> None:
        async def all_are() -> bool:
            return all([await self.stored(raw) for raw in mails])

        await until(all_are)

    def outcomes(self) -> dict[str, float]:
        return _counts(self.metrics.mails, "outcome")

    def errors(self) -> dict[str, float]:
        return _counts(self.metrics.mailbox_errors, "what")


def _counts(counter: Any, label: str) -> dict[str, float]:
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return {one.labels[label]: one.value for one in samples if one.name.endswith("_total")}


async def until(found: Callable[[], Awaitable[bool] | bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = found()
        if await value if not isinstance(value, bool) else value:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not in time")


@asynccontextmanager
async def looked_into(
    redis_url: str, server: Server, login: Login | None = None, *, limit: int = 1 << 16, owner: str = "one",
    per_sender: int = 1000, pauses: tuple[float, float] = (0.02, 0.1), **told: Any,
) -> AsyncIterator[Looked]:  # fmt: skip
    settings = Settings(redis_url=redis_url, mail_limit=limit, redis_timeout=1.0)
    redis, metrics = connect(settings), Metrics()
    ledger = Ledger.of(settings, redis)
    fields = {"host": "127.0.0.1", "port": server.port, "verify_certificate": False, "username": USER,
              "password": PASSWORD, "poll_every": LONG, "timeout": 2.0, **told}  # fmt: skip
    inbound = Inbound(addresses=("care@company.com",), per_sender=per_sender)
    place = Place("company.com", "main", inbound, ImapMailbox(**fields))
    tools = Tools(settings, ledger, metrics, Room(1 << 20), Rates(), owner)
    stop = asyncio.Event()
    running = asyncio.create_task(Mailbox(place, tools, login, pauses=pauses).run(stop))
    try:
        yield Looked(server, ledger, metrics, place, tools)
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)
        await redis.aclose()


@pytest.fixture
async def server(redis: Redis, tmp_path: Path) -> AsyncIterator[Server]:
    async with imap_server(tmp_path) as running:
        yield running


ALL = "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 IDLE MOVE UIDPLUS"


@pytest.mark.parametrize(
    ("after", "capabilities", "left"),
    [
        ("seen", ALL, {"\\Seen": 3}),
        ("flag", ALL, {"$dcbridge": 3}),
        ("flag", "IMAP4rev1 IDLE", {"$dcbridge": 3}),  # LOGIN
        ("flag", "IMAP4rev1 AUTH=PLAIN", {"$dcbridge": 3}),  # two steps, and no IDLE
        ("delete", ALL, {}),
        ("delete", "IMAP4rev1 IDLE", {"\\Deleted": 3}),
        ("move:Done & dusted", ALL, {}),
        ("move:Done & dusted", "IMAP4rev1 IDLE", {"\\Deleted": 3}),
    ],
)
async def test_a_mail_is_stored_and_then_marked(
    server: Server, redis_server: EmbeddedRedis, after: str, capabilities: str, left: dict[str, int]
) -> None:
    server.capabilities = capabilities
    server.put(*MAILS[:2])
    every = LONG if "IDLE" in capabilities else 1.0
    async with looked_into(redis_server.url, server, after=after, poll_every=every) as looked:
        await looked.until_stored(*MAILS[:2])
        server.put(MAILS[2])
        await looked.until_stored(MAILS[2])
        await until(lambda: sum(map(server.flagged, left)) == sum(left.values()) and (bool(left) or not server.letters))
        assert looked.outcomes() == {"accepted": 3.0}
    assert {flag: server.flagged(flag) for letter in server.letters for flag in letter.flags} == left
    assert (server.bad, server.connections) == ([], 1)
    assert [len(letters) for letters in server.folders.values()] == ([3] if "move" in after else [])
    assert server.folders.keys() <= {"Done &- dusted"}


async def test_a_connection_that_begins_in_the_clear(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    async with imap_server(tmp_path, Server(implicit=False)) as server:
        server.put(MAILS[0])
        async with looked_into(redis_server.url, server, security="starttls") as looked:
            await looked.until_stored(MAILS[0])
        assert (server.commands[0], server.bad) == ("STARTTLS", [])


@pytest.mark.parametrize("said", [b"", b"* OK injected\r\n"])
async def test_without_encryption_nobody_logs_in(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, said: bytes
) -> None:
    """STARTTLS is refused, or something is said in the clear behind its answer."""

    async def instead(words: str, tag: str, connection: Connection) -> bool:
        await connection.say(f"{tag} {'OK' if said else 'NO'} so".encode() + b"\r\n" * bool(said) + said.rstrip())
        return True

    async with imap_server(tmp_path, Server(implicit=False, instead=instead)) as server:
        async with looked_into(redis_server.url, server, security="starttls") as looked:
            await until(lambda: looked.errors() != {})
            assert looked.errors().keys() <= {"tls", "starttls refused"}
        assert {command.partition(" ")[0] for command in server.commands} == {"STARTTLS"}


async def test_of_mail_that_is_marked_or_old_nothing_is_asked(server: Server, redis_server: EmbeddedRedis) -> None:
    server.put(*MAILS[:3])
    server.letters[0].flags.add("\\Seen")
    server.letters[1].flags.add("\\Deleted")
    async with looked_into(redis_server.url, server, since="2026-11-05") as looked:
        await looked.until_stored(MAILS[2])
    assert server.said("UID SEARCH 1:3 UNSEEN UNDELETED SINCE 5-Nov-2026") > 0
    assert [command for command in server.commands if "BODY.PEEK[]" in command] == ["UID FETCH 3 (UID BODY.PEEK[])"]


def closes_at(word: str, times: int = 1) -> Callable[[str, str, Connection], Awaitable[bool]]:
    """The connection ends where the answer to a command should begin."""
    left = [times]

    async def instead(words: str, tag: str, connection: Connection) -> bool:
        if not words.startswith(word) or left[0] <= 0:
            return False
        left[0] -= 1
        connection.writer.transport.abort()
        raise ConnectionError

    return instead


async def test_what_was_stored_and_not_marked_is_marked_and_not_fetched_again(
    server: Server, redis_server: EmbeddedRedis
) -> None:
    server.instead = closes_at("UID STORE")
    server.put(*MAILS)
    async with looked_into(redis_server.url, server) as looked:
        await until(lambda: server.flagged("\\Seen") == len(MAILS))
        assert looked.outcomes() == {"accepted": 4.0}
    assert sum("BODY.PEEK[]" in command for command in server.commands) == len(MAILS)
    assert server.connections == 2


async def test_another_process_knows_a_mail_that_was_stored_and_not_marked(
    server: Server, redis_server: EmbeddedRedis
) -> None:
    server.put(*MAILS)
    server.instead = closes_at("UID STORE", times=1000)
    async with looked_into(redis_server.url, server) as looked:
        await looked.until_stored(MAILS[0])
    server.instead = None
    server.renumber()
    async with looked_into(redis_server.url, server, owner="two") as looked:
        await until(lambda: server.flagged("\\Seen") == len(MAILS))
        assert looked.outcomes() == {"repeated": 1.0, "accepted": 3.0}


async def test_another_uidvalidity_loses_and_doubles_nothing(server: Server, redis_server: EmbeddedRedis) -> None:
    server.put(*MAILS[:3])
    server.instead = closes_at(f"UID FETCH {server.letters[1].uid} ")
    async with looked_into(redis_server.url, server) as looked:
        await until(lambda: server.connections == 1 and server.flagged("\\Seen") == 1)
        server.renumber()  # while there is no connection: the next one is a second later
        server.put(MAILS[3])
        await until(lambda: server.flagged("\\Seen") == len(MAILS))
        assert looked.outcomes() == {"accepted": 4.0}
        await looked.until_stored(*MAILS)


async def test_a_mail_that_the_server_does_not_let_be_marked_is_taken_once(
    server: Server, redis_server: EmbeddedRedis
) -> None:
    async def refuses(words: str, tag: str, connection: Connection) -> bool:
        if words.startswith("UID STORE"):
            await connection.say(f"{tag} NO [NOPERM] not yours")
        return words.startswith("UID STORE")

    server.instead = refuses
    server.put(MAILS[0])
    for owner in ("one", "two"):
        async with looked_into(redis_server.url, server, owner=owner) as looked:
            await until(lambda looked=looked: looked.errors().get("not marked", 0.0) >= 1.0)  # type: ignore[misc]
            server.put(MAILS[1 if owner == "one" else 2])
            await looked.until_stored(MAILS[1 if owner == "one" else 2])
    fetched = [command for command in server.commands if "BODY.PEEK[]" in command]
    assert len(fetched) == len(set(fetched)) == 3, "each of them once, by whichever process"


async def test_a_large_mail_is_left_and_the_others_are_taken(server: Server, redis_server: EmbeddedRedis) -> None:
    large = plain("x" * 70_000, "Message-ID: <large@example.org>")
    server.put(large)
    server.put(large.replace(b"large", b"larger"), size=100)  # whatever the server says of it
    server.put(*MAILS[:2])
    async with looked_into(redis_server.url, server) as looked:
        await looked.until_stored(*MAILS[:2])
        await until(lambda: server.flagged("\\Seen") == 2)
        assert looked.outcomes() == {"accepted": 2.0, "too large": 2.0}
        assert not await looked.stored(large)
        server.put(MAILS[2])
        await looked.until_stored(MAILS[2])
    assert sum("BODY.PEEK[]" in command for command in server.commands) == 4, "none of the large ones again"


async def test_a_mail_at_which_the_connection_ends_again_and_again_is_left(
    server: Server, redis_server: EmbeddedRedis
) -> None:
    [poison, *_] = server.put(*MAILS)
    server.instead = closes_at(f"UID FETCH {poison} (UID BODY.PEEK[]", times=1000)
    async with looked_into(redis_server.url, server) as looked:
        await looked.until_stored(*MAILS[1:])
        assert looked.outcomes() == {"accepted": 3.0, "ends connections": 1.0}
    assert server.connections == 4


async def test_mails_of_one_sender_wait_and_those_of_others_do_not(server: Server, redis_server: EmbeddedRedis) -> None:
    many = [plain(f"{n}\r\n", f"Message-ID: <many{n}@example.org>") for n in range(4)]
    server.put(*many, MAILS[0])
    async with looked_into(redis_server.url, server, per_sender=2) as looked:
        await looked.until_stored(*many[:2], MAILS[0])
        assert looked.outcomes() == {"accepted": 3.0, "too many": 2.0}


LINE = b"x" * 65_000
HOSTILE: dict[str, Callable[[str], list[bytes]]] = {
    "a line without end": lambda tag: [LINE] * 6,
    "lines without end": lambda tag: [*[b"* OK " + LINE] * 80, tag.encode() + b" OK done"],
    "what is no number": lambda tag: [b"* SEARCH 1 two"],
    "a number of 40 digits": lambda tag: [b"* SEARCH " + b"9" * 40],
    "more than there is": lambda tag: [b"* SEARCH" + b" 7" * 9],
    "a literal of 9 GB": lambda tag: [b"* 1 FETCH (BODY[] {9999999999}"],
    "many literals": lambda tag: [b"* 1 FETCH (" + b"{1}\r\nx" * 5000],
    "lists in lists": lambda tag: [b"* 1 FETCH (UID 1 FLAGS " + b"(" * 60_000],
    "a quote without end": lambda tag: [b'* 1 FETCH (UID 1 X "' + LINE],
    "a question": lambda tag: [b"+ what?"],
    "another's tag": lambda tag: [b"zz OK"],
    "nothing": lambda tag: [],
    "half a literal": lambda tag: [b"* 1 FETCH (UID 1 BODY[] {99}\r\nx"],
    "a goodbye": lambda tag: [b"* BYE [UNAVAILABLE] later"],
    "another UIDVALIDITY": lambda tag: [b"* OK [UIDVALIDITY 99] so"],
    "BAD": lambda tag: [tag.encode() + b" BAD no"],
    "bytes": lambda tag: [bytes(range(256)) * 4],
}  # fmt: skip


@pytest.mark.parametrize("at", ["UID SEARCH", "UID FETCH"])
async def test_a_hostile_server_costs_a_connection_each_time(
    server: Server, redis_server: EmbeddedRedis, at: str
) -> None:
    """One connection for each, and three at most for one mail: then others are taken."""
    left = list(HOSTILE.values())

    async def instead(words: str, tag: str, connection: Connection) -> bool:
        if not words.startswith(at) or not left:
            return False
        for line in left.pop()(tag):
            await connection.say(line)
        return True

    server.instead = instead
    mails = [plain(f"{n}\r\n", f"Message-ID: <h{n}@example.org>") for n in range(10 if at == "UID FETCH" else 1)]
    server.put(*mails)
    async with looked_into(redis_server.url, server, timeout=0.3) as looked:
        await looked.until_stored(mails[-1])
        assert sum(looked.errors().values()) == len(HOSTILE)
    assert server.connections == len(HOSTILE) + 1


class Tokens:
    """Tokens one after the other, as the token house gives them."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)
        self.refused: list[str] = []

    async def token(self) -> str:
        return self.left[0]

    async def another_soon(self, refused: str) -> str:
        self.refused.append(refused)
        self.left = self.left[1:]
        return self.left[0] if self.left else ""


@pytest.mark.parametrize("capabilities", [ALL, "IMAP4rev1 AUTH=XOAUTH2 IDLE"])  # with the command, and after it
async def test_a_token_that_is_refused_is_renewed_once(
    server: Server, redis_server: EmbeddedRedis, capabilities: str
) -> None:
    server.capabilities = capabilities
    server.put(MAILS[0])
    tokens = Tokens("ya29.old", TOKEN)
    async with looked_into(redis_server.url, server, tokens) as looked:
        await looked.until_stored(MAILS[0])
    assert (tokens.refused, server.connections, server.bad) == (["ya29.old"], 1, [])


@pytest.mark.parametrize(
    ("capabilities", "login", "told"),
    [
        (ALL, Tokens("ya29.old"), {}),
        (ALL, Tokens("ya29.old", "ya29.older"), {}),
        ("IMAP4rev1 AUTH=PLAIN IDLE", Tokens(TOKEN), {}),  # XOAUTH2 is not offered
        (ALL, None, {"password": "wrong"}),
        ("IMAP4rev1 LOGINDISABLED IDLE", None, {}),
        ("IMAP4rev1 IDLE", None, {"password": "geheim-ü"}),  # which LOGIN cannot carry
    ],
)
async def test_a_login_that_is_refused_is_not_tried_again_soon(
    server: Server, redis_server: EmbeddedRedis, capabilities: str, login: Tokens | None, told: dict[str, Any]
) -> None:
    server.capabilities = capabilities
    async with looked_into(redis_server.url, server, login, **told) as looked:
        await until(lambda: looked.errors() == {"login refused": 1.0})
        name = looked.place.id

        async def is_noted() -> bool:
            return name in await looked.ledger.mailboxes.notes([name], time.time())

        await until(is_noted)
        note = (await looked.ledger.mailboxes.notes([name], time.time()))[name]
        assert (note.error, note.contact_age) == ("login refused", None)
        await asyncio.sleep(0.3)
    assert server.connections == 1, "companies lock accounts for less"


@pytest.mark.parametrize(
    ("changes", "told", "why"),
    [
        ({"read_only": True}, {}, "the folder is read-only"),
        ({"flags": "\\Seen"}, {"after": "flag"}, "the server does not keep $dcbridge"),
        ({"flags": "\\Seen"}, {"after": "delete"}, "the server does not keep \\Deleted"),
    ],
)
async def test_a_folder_in_which_nothing_can_be_marked_is_not_read(
    server: Server, redis_server: EmbeddedRedis, changes: dict[str, Any], told: dict[str, Any], why: str
) -> None:
    for name, value in changes.items():
        setattr(server, name, value)
    server.put(MAILS[0])
    async with looked_into(redis_server.url, server, **told) as looked:
        await until(lambda: looked.errors() == {why: 1.0})
    assert server.said("UID") == 0


async def test_one_process_looks_into_a_mailbox_and_the_next_one_goes_on(
    server: Server, redis_server: EmbeddedRedis
) -> None:
    async with looked_into(redis_server.url, server, owner="one") as first:
        server.put(MAILS[0])
        await first.until_stored(MAILS[0])
        async with looked_into(redis_server.url, server, owner="two") as second:
            server.put(MAILS[1])
            await first.until_stored(MAILS[1])
            assert (second.outcomes(), server.connections) == ({}, 1)
            await first.ledger.mailboxes.release(first.place.id, "two")  # which does not hold it
            assert not await first.ledger.mailboxes.hold(first.place.id, "two", 30.0)
            await first.ledger.mailboxes.release(first.place.id, "one")
            server.put(MAILS[2])
            await until(lambda: server.connections == 2)  # as where a lease has ended: for a moment both look
            await second.until_stored(MAILS[2])
            assert first.outcomes().get("accepted", 0) + second.outcomes().get("accepted", 0) == 3


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", '"INBOX"'),
        ("~peter/mail/台北/日本語", '"~peter/mail/&U,BTFw-/&ZeVnLIqe-"'),  # RFC 3501, 5.1.3
        ("Hi Mom -☺-!", '"Hi Mom -&Jjo--!"'),  # RFC 2152
        ('a & "b" \\', '"a &- \\"b\\" \\\\"'),
    ],
)
def test_a_folder_s_name_is_written_in_modified_utf_7(name: str, written: str) -> None:
    assert folder(name) == written


def test_a_mail_is_read_however_the_server_writes_it() -> None:
    parts = (
        b'* 12 fetch (FLAGS (\\Seen "x y" ($a)) UID 7 INTERNALDATE " 1-Nov-2026 10:00:00 +0100" rfc822.size 120 '
        b'BODYSTRUCTURE ("TEXT" NIL (NIL)) BODY[HEADER.FIELDS ("FROM" "RETURN-PATH")]<0> ', b"From: a\r\n\r\n",
        b" BODY[] ", b'all) of "it', b")",
    )  # fmt: skip
    found = fetched(Response(parts))
    assert found == Fetched(7, 120, 1793523600.0, b"From: a\r\n\r\n", b'all) of "it')
    assert fetched(Response((b'* 1 FETCH (UID 8 BODY[] "a \\"b\\"")',))) == Fetched(8, None, None, b"", b'a "b"')
    assert fetched(Response((b"* 1 FETCH (FLAGS (\\Seen))",))) is None, "another client has read a mail"
    assert fetched(Response((b"* 1 FETCH (UID 4294967296 BODY[] NIL)",))) is None
