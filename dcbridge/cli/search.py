"""What an operator has in hand, and which messages that may be: a number, a provider's id, a trace id, a token.

An address is not stored once a message has ended, and no index is kept for any of these: a conversation's
lane is found by its digest, which is enough for what waits; the rest takes a look at every entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.cli.terminal import Session, progress
from dcbridge.ledger import lane_of
from dcbridge.ledger.fields import MessageEntry
from dcbridge.providers.callback import consumer_lane, consumer_task_id
from dcbridge.providers.phone import plain, spellings
from dcbridge.runtime.logs import TOKEN_LENGTH, Tokens

MOST = 1000  # members of one conversation, and finds of one search, that are told of
PARTS = 12  # of a long text, whose provider ids are compared
_PAGE = 1000  # entries looked at in one round trip
_LANE, _TO = MessageEntry.lane.wire, MessageEntry.to_id.wire
_FIELDS = (_LANE, MessageEntry.trace_id.wire, _TO, *(f"{MessageEntry.provider_id.wire}{part}" for part in range(PARTS)))


def is_address(given: str) -> bool:
    """Whether it looks like a number or a mailbox, and so must not be repeated on a screen."""
    word = re.sub(r"^(tel|whatsapp|messenger|rcs):", "", plain(given), flags=re.IGNORECASE).strip()
    if "@" in word:
        return bool(re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", word))
    written = re.fullmatch(r"\(?\+?[0-9(][0-9 ().\-/]*", word) and not re.fullmatch(r"[0-9]{10,}-[0-9]{1,4}", word)
    return bool(written) and 7 <= len(re.sub(r"[^0-9]", "", word)) <= 15


async def waiting_for(session: Session, address: str, channel: str | None) -> list[str]:
    """Members ("m:…", "t:…") that wait in the conversations of this address, in order."""
    found: list[str] = []
    for lane in await _lanes(session, address, channel):
        members = await cast(Any, session.ledger.redis.lrange(f"dcb:lane:{lane}", 0, MOST - 1))
        found += [member.decode() for member in members]
    return found


async def consumer_messages(session: Session, provider_id: str) -> list[str]:
    """Tasks of what a consumer wrote, by the provider's own id for it."""
    ids = [consumer_task_id(name, provider_id) for name in session.configuration.providers]
    return [f"t:{one}" for one in await existing(session.ledger.redis, "dcb:t:", ids)]


async def existing(redis: Redis, prefix: str, ids: Sequence[str]) -> list[str]:
    """Those of the ids, in their order, for which there is a key: the prefix and the id."""
    async with redis.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.exists(f"{prefix}{one}")
        return [one for one, there in zip(ids, await pipe.execute(), strict=True) if there]


async def everywhere(session: Session, given: str, channel: str | None) -> list[str]:
    """Members of any state that have this id of a provider, trace id, token or address; the oldest first.

    Reads every entry that is remembered, a page at a time, so that others have their turn.
    """
    redis = session.ledger.redis
    fits = await _test(session, given, channel)
    found: dict[str, None] = {}
    with progress() as bar:
        task = bar.add_task("searching every key", total=await redis.dbsize())
        cursor = 0
        while len(found) < MOST:
            cursor, keys = await redis.scan(cursor, count=_PAGE)
            entries = [key.decode() for key in cast(list[bytes], keys) if key.startswith((b"dcb:m:", b"dcb:t:"))]
            async with redis.pipeline(transaction=False) as pipe:
                for key in entries:
                    pipe.hmget(key, _FIELDS)
                rows = await pipe.execute()
            for key, row in zip(entries, rows, strict=True):
                pairs = zip(_FIELDS, row, strict=True)
                if fits({name: value.decode(errors="replace") for name, value in pairs if value}):
                    found[key.removeprefix("dcb:")] = None
            bar.advance(task, len(keys))
            if not cursor:
                break
    return await _by_age(session, list(found))


async def _test(session: Session, given: str, channel: str | None) -> Callable[[Mapping[str, str]], bool]:
    """Whether an entry is one of those that are meant."""
    lanes = set(await _lanes(session, given, channel)) if is_address(given) else set()
    tokens = None
    if not session.settings.token_key_is_random:
        tokens = Tokens(session.settings.token_key.get_secret_value().encode())
    wanted = {given} if len(given) == TOKEN_LENGTH else set()  # one token in 300 has no letter, and looks like a number
    if tokens and is_address(given):
        wanted.add(tokens.of(given))

    def fits(facts: Mapping[str, str]) -> bool:
        if given in facts.values() or facts.get(_LANE) in lanes:
            return True
        return bool(tokens and wanted and _TO in facts and tokens.of(facts[_TO]) in wanted)

    return fits


async def _lanes(session: Session, address: str, channel: str | None) -> list[str]:
    """The conversations of an address, both directions, on one channel or on all, in every spelling that may be."""
    names = [channel] if channel is not None else await _channels(session)
    lanes: dict[str, None] = {}
    written: dict[str | None, list[str]] = {}
    for name in names:
        known = session.configuration.channel(name)
        region = known.default_region if known else None
        if region not in written:
            written[region] = spellings(address, region)
        for spelling in written[region]:
            lanes[lane_of(name, spelling)] = None
            lanes[consumer_lane(name, spelling)] = None
    return list(lanes)


async def _channels(session: Session) -> list[str]:
    seen = cast(set[bytes], await cast(Any, session.ledger.redis.smembers("dcb:channels")))
    return sorted({name.decode() for name in seen} | set(session.configuration.channels))


async def _by_age(session: Session, members: Sequence[str]) -> list[str]:
    async with session.ledger.redis.pipeline(transaction=False) as pipe:
        for member in members:
            pipe.hget(f"dcb:{member}", MessageEntry.accepted_at.wire)
        at = await pipe.execute()
    return [member for _, member in sorted(zip((int(one or 0) for one in at), members, strict=True))]
