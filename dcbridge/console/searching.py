"""Searches for messages: by the index of the ledger, by ids, and by the number of a consumer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcbridge.console.reading import entries_of
from dcbridge.console.views.query import Asked
from dcbridge.ledger.fields import MessageEntry, TaskEntry
from dcbridge.ledger.reports import index, search
from dcbridge.ledger.reports.index import Query
from dcbridge.operations import find
from dcbridge.operations.lives import lives
from dcbridge.operations.session import Session
from dcbridge.providers.phone import spellings
from dcbridge.runtime.logs import Tokens

PAGE = 50  # messages of a page
LOOKS = 10  # pages of the index that are read for one of ours, where a reason leaves few of each
SMALL = 50_000  # keys of Redis up to which all are looked through for an id that no index has
MOST_TOKENS = 16


class NoTokenKey(ValueError):
    """Numbers are not indexed: DCBRIDGE_TOKEN_KEY is not set."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list: a message, or what a consumer wrote. Times in seconds since 1970, 0 for none."""

    id: str
    is_task: bool
    state: str
    channel: str
    provider: str
    reason: str
    detail: str
    attempts: int
    accepted_at: float
    ended_at: float

    @property
    def href(self) -> str:
        return f"/tasks/{self.id}" if self.is_task else f"/messages/{self.id}"


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `cursor`: of the next one, "" at the end; `looked`: entries that were looked at."""

    rows: Sequence[Row]
    cursor: str
    looked: int


async def page(session: Session, asked: Asked, *, consumers: bool = False) -> Found:
    """The newest first. Raises ValueError for a cursor of another search."""
    redis = session.ledger.redis
    state = "failed" if asked.reason and not asked.state else asked.state
    query = Query(asked.channel, asked.provider, state, asked.who, asked.since, asked.until, consumers)
    rows: list[Row] = []
    cursor, looked = asked.cursor, 0
    for _ in range(LOOKS):
        found = await index.find(redis, query, cursor, PAGE)
        looked += found.looked
        some = await rows_of(session, [one if one.startswith("t:") else f"m:{one}" for one in found.refs])
        rows += [row for row in some if asked.reason in ("", row.reason)]
        cursor = found.cursor
        if not cursor or len(rows) >= PAGE or not asked.reason:
            break
    return Found(rows, cursor, looked)


async def rows_of(session: Session, members: Sequence[str]) -> list[Row]:
    """In their order, without those that are forgotten."""
    entries = await entries_of(session.ledger, members)
    return [_row(member, entries[member]) for member in members if entries[member]]


def _row(member: str, entry: MessageEntry | TaskEntry) -> Row:
    is_message = isinstance(entry, MessageEntry)
    return Row(
        id=member[2:],
        is_task=not is_message,
        state=entry.state,
        channel=entry.channel_id,
        provider=entry.provider if isinstance(entry, MessageEntry) else "",
        reason=entry.reason if isinstance(entry, MessageEntry) else "",
        detail=entry.detail if isinstance(entry, MessageEntry) else "",
        attempts=entry.total_attempts if isinstance(entry, MessageEntry) else entry.attempts,
        accepted_at=entry.accepted_at / 1000,
        ended_at=(entry.ended_at or 0) / 1000,
    )


def who_is(session: Session, address: str) -> str:
    """The digests of a consumer's number or address, in every spelling that the channels may have it in."""
    if session.settings.token_key_is_random:
        raise NoTokenKey
    tokens = Tokens(session.settings.token_key.get_secret_value().encode())
    regions = {channel.default_region for channel in session.configuration.channels.values()} or {None}
    written = [address] + [one for region in sorted(regions, key=str) for one in spellings(address, region)]
    return ".".join(list(dict.fromkeys(tokens.of(one) for one in written))[:MOST_TOKENS])


@dataclass(frozen=True, slots=True)
class ById:
    """What goes by an id: messages and tasks, or dead letters. `all`: nothing was left unlooked at."""

    members: Sequence[str]
    letters: Sequence[str] = ()
    all: bool = True


async def by_id(session: Session, given: str) -> ById:
    """A messageId, our reference, a provider's id, a trace id, or what names a dead letter."""
    redis = session.ledger.redis
    if found := [_member(life.facts) for life in await lives(session, given, None)]:
        return ById(found)
    if letters := await search.dead_letters(redis, [f"{kind}-{given}" for kind in "wmrtui"] + [given]):
        return ById((), letters)
    if await redis.dbsize() > SMALL:
        return ById((), (), all=False)
    return ById(await find.everywhere(session, given, None))


def _member(facts: object) -> str:
    assert isinstance(facts, dict)
    return f"m:{facts['message']}" if "message" in facts else f"t:{facts['task']}"
