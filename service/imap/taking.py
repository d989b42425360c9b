"""Mails of one folder, taken one by one: looked at, fetched, stored, and only then marked, moved or deleted.

The folder holds the state. Which mails are left to take is what a search finds, so that neither a new UIDVALIDITY nor a
killed process loses one. A mail that is found again is known by its content, as one that comes by LMTP.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from dcbridge.config.imap import ImapMailbox
from dcbridge.config.inbound import Inbound
from dcbridge.ledger import Ledger
from dcbridge.ledger.blobs import NoRoom
from dcbridge.mail.head import read_head
from dcbridge.mail_intake import MailEnvelope, store
from dcbridge.runtime.logs import info_line
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import DAY, Settings
from service.imap.client import MOST_FOUND, OWN_FLAG, Client, Refused
from service.imap.reading import Fetched
from service.imap.wire import Away, TooLarge
from service.mail.taker import STORED_WITHIN, Rates
from service.mail.wire import Held, Room

log = structlog.get_logger()

BATCH = 50  # mails whose sizes are asked for at once
MAIL_WITHIN = 600.0  # seconds for one mail
STRIKES = 3  # connections that end at one mail, after which it is left
MOST_KNOWN = 10_000  # mails that are remembered
FOR_GOOD = float("inf")
LEFT_FOR = 600.0  # seconds
MINUTE = 60.0
SOON = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox of a channel. `name` as in bridge.yaml."""

    channel_id: str
    name: str
    inbound: Inbound
    told: ImapMailbox

    @property
    def id(self) -> str:
        return f"{self.channel_id}/{self.name}"


@dataclass(frozen=True, slots=True)
class Tools:
    """What all mailboxes of a process have in common."""

    settings: Settings
    ledger: Ledger
    metrics: Metrics
    room: Room
    rates: Rates
    owner: str  # a name of this process


class Wait(Exception):
    """Nothing more can be taken now, whatever the mail."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds, self.why = seconds, why


class _Known:
    """UIDs with a value each. Of too many the oldest are forgotten."""

    def __init__(self) -> None:
        self._values: OrderedDict[int, float] = OrderedDict()

    def __contains__(self, uid: int) -> bool:
        return uid in self._values

    def __len__(self) -> int:
        return len(self._values)

    def get(self, uid: int) -> float:
        return self._values.get(uid, 0.0)

    def put(self, uid: int, value: float = 0.0) -> None:
        self._values[uid] = value
        self._values.move_to_end(uid)
        if len(self._values) > MOST_KNOWN:
            self._values.popitem(last=False)

    def drop(self, uid: int) -> None:
        self._values.pop(uid, None)

    def clear(self) -> None:
        self._values.clear()

    def keep(self, uids: Collection[int]) -> None:
        """None but these."""
        for uid in [one for one in self._values if one not in uids]:
            del self._values[uid]


class Taking:
    """The mails of one folder, whatever connection they are read through."""

    def __init__(self, place: Place, tools: Tools) -> None:
        self._place, self._tools = place, tools
        self._criteria = _criteria(place.told)
        self._validity = 0
        self._later = _Known()  # -> when to look at it again, steady seconds
        self._stored = _Known()  # by us or before, and found again
        self._strikes = _Known()
        self._doing: tuple[int, ...] = ()  # mails that a command is about
        self._careful = 0  # mails that are looked at one by one, because a connection ended at several
        self.waiting = 0  # mails that were found, and are neither stored nor left
        self.oldest: float | None = None  # when the oldest of these arrived, seconds since 1970

    @property
    def left(self) -> int:
        """Mails that are not taken now."""
        return len(self._later)

    async def begin(self, validity: int) -> None:
        """The folder is selected. With another UIDVALIDITY, UIDs are those of other mails."""
        if validity == self._validity and validity:
            return
        if self._validity:
            log.warning("mailbox_renumbered", channel=self._place.channel_id, imap=self._place.name)
        self._validity = validity
        for known in (self._later, self._stored, self._strikes):
            known.clear()
        for uid in await self._tools.ledger.mailboxes.all_stored(self._place.id, validity) if validity else ():
            self._stored.put(uid)

    async def look(self, client: Client, end: asyncio.Event, reached: Callable[[], None]) -> bool:
        """Take what is there, until `end` is set. Whether there is more. Raises Wait, Away and Refused.

        `reached` is called whenever the server has answered.
        """
        client.news = False
        uids, more = await self._search(client)
        self.waiting, self.oldest = len(uids), None
        while uids and not end.is_set():
            size = 1 if self._careful else BATCH
            batch, uids = uids[:size], uids[size:]
            with self._about(*batch):
                heads = await client.heads(batch)
            self._careful = max(0, self._careful - len(batch))
            arrived = [head.arrived_at for head in heads.values() if head.arrived_at is not None]
            self.oldest = min(arrived, default=None)
            reached()
            for uid in batch:
                if end.is_set():
                    break
                if uid in heads:
                    await self._one(client, heads[uid])
                self.waiting -= 1
        return more

    async def _search(self, client: Client) -> tuple[list[int], bool]:
        """UIDs of mails to take, the oldest first, and whether there may be more."""
        there: list[int] = []
        found: list[int] = []
        for first in range(1, client.selected.exists + 1, MOST_FOUND):
            last = min(first + MOST_FOUND - 1, client.selected.exists)
            if last < first:  # deleted meanwhile
                break
            some, now = await client.search(self._criteria, first, last), time.monotonic()
            there += some
            found += [uid for uid in some if self._later.get(uid) <= now]
            if len(found) >= MOST_FOUND:
                return sorted(found)[:MOST_FOUND], True
        for known in (self._later, self._strikes):
            known.keep(frozenset(there))
        return sorted(found), False

    @contextmanager
    def _about(self, *uids: int) -> Iterator[None]:
        """A connection that ends in here may end because of these mails."""
        try:
            yield
        except TooLarge:
            if len(uids) > 1:
                self._careful = len(uids)
            else:
                self._leave(uids[0], "too large", FOR_GOOD)
            raise
        except (Away, Refused):
            if len(uids) > 1:
                self._careful = len(uids)
                raise
            self._strikes.put(uids[0], self._strikes.get(uids[0]) + 1)
            if self._strikes.get(uids[0]) >= STRIKES:
                self._strikes.drop(uids[0])
                self._leave(uids[0], "ends connections", LEFT_FOR)
            raise

    def _leave(self, uid: int, why: str, seconds: float, size: int | None = None) -> None:
        """It stays as it is, and others are taken."""
        place = self._place
        self._later.put(uid, time.monotonic() + seconds)
        self._tools.metrics.mails.labels(place.channel_id, why).inc()
        log.warning(
            "mail_left", channel=place.channel_id, imap=place.name, why=why, uid=uid, uidvalidity=self._validity,
            bytes=size,
        )  # fmt: skip

    async def _one(self, client: Client, head: Fetched) -> None:
        uid, size, inbound, channel_id = head.uid, head.size or 0, self._place.inbound, self._place.channel_id
        self._later.drop(uid)
        if uid in self._stored:
            return await self._mark_again(client, uid)
        most = self._tools.settings.mail_limit
        if size > most:
            return self._leave(uid, "too large", FOR_GOOD, size)
        sender, writer = _senders(head.head)
        if self._tools.rates.over(channel_id, inbound.per_minute):
            self._tools.metrics.mails.labels(channel_id, "too many").inc()
            raise Wait(MINUTE, "too many mails a minute")
        if self._tools.rates.over(f"{channel_id}\0{writer}", inbound.per_sender):
            return self._leave(uid, "too many", MINUTE, size)
        with self._tools.room.hold() as held:
            if not held.take(size):
                return self._leave(uid, "no room", SOON, size)
            with self._about(uid):
                raw = await client.body(uid, most, MAIL_WITHIN, _more_than(size, held))
            if raw is None:
                return self._leave(uid, "no content", LEFT_FOR, size)
            if not await self._keep(uid, raw, MailEnvelope(channel_id, sender, writer)):
                return None
        self._strikes.drop(uid)
        self._stored.put(uid)
        return await self._mark(client, uid)

    async def _keep(self, uid: int, raw: bytes, envelope: MailEnvelope) -> bool:
        """Whether it is stored. Raises Wait where nothing can be."""
        began, trace, task = time.monotonic(), uuid.uuid4().hex, None
        keep = self._tools.settings.dead_letter_days * DAY
        try:
            async with asyncio.timeout(STORED_WITHIN):
                stored = await store(self._tools.ledger, raw, envelope, keep=keep, trace=trace)
            word, task = stored.outcome, stored.task_id
        except NoRoom:
            self._leave(uid, "no room", SOON, len(raw))
            return False
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("mail_not_stored", channel=envelope.channel_id, error=type(error).__name__)
            self._tools.metrics.mails.labels(envelope.channel_id, "unavailable").inc()
            raise Wait(SOON, "cannot be stored") from None
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            log.error("mail_internal_error", channel=envelope.channel_id, exc_info=True)
            self._leave(uid, "bug", LEFT_FOR, len(raw))
            return False
        self._tools.metrics.mails.labels(envelope.channel_id, word).inc()
        ms = round((time.monotonic() - began) * 1000, 1)
        info_line(
            "mail", trace=trace, channel=envelope.channel_id, message=task, outcome=word, bytes=len(raw), ms=ms,
            imap=self._place.name,
        )  # fmt: skip
        return True

    async def _mark(self, client: Client, uid: int) -> None:
        told = self._place.told
        try:
            if told.move_to:
                await client.move(uid, told.move_to)
            elif told.after == "delete":
                await client.delete(uid)
            else:
                await client.flag(uid, "\\Seen" if told.after == "seen" else OWN_FLAG)
        except Refused as error:
            await self._not_marked(uid, f"{error.step} {error.code or error.word}")

    async def _mark_again(self, client: Client, uid: int) -> None:
        """A mail that is stored, and found all the same: the connection ended before it was marked, somebody has taken
        the mark away, or the server does not keep it.
        """
        await self._mark(client, uid)
        if uid not in self._later:
            await self._not_marked(uid, "found again")

    async def _not_marked(self, uid: int, why: str) -> None:
        """It is not taken twice, by this process or another."""
        place = self._place
        self._later.put(uid, time.monotonic() + MINUTE)
        self._tools.metrics.mailbox_errors.labels(place.channel_id, place.name, "not marked").inc()
        log.warning("mail_not_marked", channel=place.channel_id, imap=place.name, why=why, uid=uid)
        if self._validity:
            await self._tools.ledger.mailboxes.stored(place.id, self._validity, uid)


def _more_than(size: int, held: Held) -> Callable[[int], None]:
    """What is told of a literal: memory for what the server had not said of it."""

    def told(announced: int) -> None:
        if announced > size and not held.take(announced - size):
            raise Away("no room")

    return told


def _criteria(told: ImapMailbox) -> str:
    """What a mail has to be, so that it is taken."""
    words = {"seen": "UNSEEN UNDELETED", "flag": f"UNKEYWORD {OWN_FLAG} UNDELETED"}.get(told.after, "UNDELETED")
    if told.since is None:
        return words
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    return f"{words} SINCE {told.since.day}-{months[told.since.month - 1]}-{told.since.year:04d}"


def _senders(head: bytes) -> tuple[str | None, str]:
    """The envelope's sender as the last mail system wrote it down, "" for none, None where it wrote nothing; and who
    the mail says that wrote it.
    """
    fields = read_head(head + b"\r\n\r\n")
    writer = next((one.id.lower() for one in fields.addresses("from")), "")
    if "return-path" not in fields:
        return None, writer
    path = fields.get("return-path").strip()
    if path == "<>":
        return "", writer
    return next((one.id for one in fields.addresses("return-path")), None), writer
