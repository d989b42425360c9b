"""What an operator has in hand, and which messages that may be: a number, a provider's id, a trace id, a token.

An address is not stored once a message has ended. What waits is found by the digest of its conversation's lane;
what has ended by the index of consumers (dcbridge/ledger/index.lua), where there is one; the rest by a look at
every entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from dcbridge.address_tokens import TOKEN_LENGTH, address_token
from dcbridge.config.models import Configuration
from dcbridge.ledger import lane_of
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports import index
from dcbridge.ledger.reports import search as reports
from dcbridge.operations.session import Progress, Session, unwatched
from dcbridge.providers.callback import consumer_lane, consumer_task_id
from dcbridge.providers.phone import plain, spellings
from dcbridge.settings.process import Settings
from dcbridge.tracing.ids import split

MOST = 1000  # members of one conversation, and finds of one search, that are told of
MOST_TOKENS = 16  # of one address: spellings, and keys
PARTS = 12  # of a long text, whose provider ids are compared
_LANE, _TO, _TRACE = MessageEntry.lane.wire, MessageEntry.to_id.wire, MessageEntry.trace_id.wire
_FIELDS = (_LANE, _TRACE, _TO, *(f"{MessageEntry.provider_id.wire}{part}" for part in range(PARTS)))


def is_address(given: str) -> bool:
    """Whether it looks like a number or a mailbox, and so must not be repeated on a screen."""
    word = re.sub(r"^(tel|whatsapp|messenger|rcs):", "", plain(given), flags=re.IGNORECASE).strip()
    if "@" in word:
        return bool(re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", word))
    written = re.fullmatch(r"\(?\+?[0-9(][0-9 ().\-/]*", word) and not re.fullmatch(r"[0-9]{10,}-[0-9]{1,4}", word)
    return bool(written) and 7 <= len(re.sub(r"[^0-9]", "", word)) <= 15


def is_token(given: str) -> bool:
    """Whether it looks like what stands for an address in the log."""
    return re.fullmatch(rf"[0-9a-f]{{{TOKEN_LENGTH}}}", given) is not None


def digest_of(settings: Settings, configuration: Configuration, address: str) -> str:
    """What `ledger.reports.index` finds the messages of this number or mailbox by, in any spelling, and those of the
    time before `token_key` was changed. "" where tokens are random in each process.
    """
    if settings.token_key_is_random:
        return ""
    regions = dict.fromkeys(one.default_region for one in configuration.channels.values())
    written = [address, *(one for region in regions or {None: None} for one in spellings(address, region))]
    tokens = [address_token(key, one) for key in settings.reply_keys for one in dict.fromkeys(written)]
    return ".".join(list(dict.fromkeys(tokens))[:MOST_TOKENS])


async def of_consumer(session: Session, given: str, channel: str | None) -> list[str]:
    """Members of both directions of one consumer, by an address or its token: what is indexed, and what waits."""
    digest = given if is_token(given) else digest_of(session.settings, session.configuration, given)
    members: list[str] = []
    if digest:
        query = index.Query(channel or "", number=digest, consumers=True)
        page = await index.find(session.ledger.redis, query, limit=index.LIMIT)
        members = [one if one.startswith("t:") else f"m:{one}" for one in page.refs]
    waiting = await waiting_for(session, given, channel) if is_address(given) else []
    found = list(dict.fromkeys((*members, *waiting)))
    return await reports.by_age(session.ledger.redis, found) if members else found


async def waiting_for(session: Session, address: str, channel: str | None) -> list[str]:
    """Members ("m:…", "t:…") that wait in the conversations of this address, in order."""
    lanes = await _lanes(session, address, channel)
    return [member for lane in lanes for member in await reports.in_lane(session.ledger.redis, lane, MOST)]


async def consumer_messages(session: Session, provider_id: str) -> list[str]:
    """Tasks of what a consumer wrote, by the provider's own id for it."""
    ids = [consumer_task_id(name, provider_id) for name in session.configuration.providers]
    return [f"t:{one}" for one in await reports.tasks(session.ledger.redis, ids)]


async def everywhere(session: Session, given: str, channel: str | None, looked: Progress = unwatched) -> list[str]:
    """Members of any state that have this id of a provider, trace id, token or address; the oldest first.

    It looks at every key of Redis, `session.ledger.redis.dbsize()` of them.
    """
    redis = session.ledger.redis
    fits = await _test(session, given, channel)
    found: list[str] = []
    async for count, entries in reports.everything(redis, _FIELDS):
        found += [member for member, facts in entries.items() if fits(facts)]
        looked(count)
        if len(found) >= MOST:
            break
    return await reports.by_age(redis, list(dict.fromkeys(found)))


async def _test(session: Session, given: str, channel: str | None) -> Callable[[Mapping[str, str]], bool]:
    """Whether an entry is one of those that are meant."""
    lanes = set(await _lanes(session, given, channel)) if is_address(given) else set()
    settings = session.settings
    key = b"" if settings.token_key_is_random else settings.token_key.get_secret_value().encode()
    wanted = {given} if len(given) == TOKEN_LENGTH else set()  # one token in 300 has no letter, and looks like a number
    if key and is_address(given):
        wanted.add(address_token(key, given))

    def fits(facts: Mapping[str, str]) -> bool:
        if given in facts.values() or split(facts.get(_TRACE, ""))[0] == given or facts.get(_LANE) in lanes:
            return True
        return bool(key and wanted and _TO in facts and address_token(key, facts[_TO]) in wanted)

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
    return sorted(await reports.channels(session.ledger.redis) | set(session.configuration.channels))
