"""Every conversation that the sandbox remembers, also those that are too old for a page that opens now."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sandbox.records import Record
from sandbox.world import World

MOST = 2000  # conversations in the list, the newest first
MOST_RECORDS = 200  # of each kind of one conversation, the newest


def all_of(world: World) -> object:
    """Who took part: `with` is a number without its +, or a mailbox; `email` tells which."""
    latest: dict[tuple[bool, str], int] = {}
    for email, who, seq in _parties(world):
        key = (email, plain(who))
        latest[key] = max(seq, latest.get(key, 0))
    newest = sorted(latest, key=lambda key: latest[key], reverse=True)
    return [{"with": who, "email": email} for email, who in islice(newest, MOST)]


def one(world: World, who: str) -> object:
    """Its newest records of each kind, by the names that the page's stream has for them."""
    wanted = plain(who)
    kinds: dict[str, Iterator[tuple[tuple[str, ...], Record]]] = {
        "agent": ((one.recipients, one) for one in reversed(world.agent.values())),
        "seen": (((one.sender,), one) for one in reversed(world.seen)),
        "sms": (((one.to,), one) for one in reversed(world.sms.values())),
        "consumer": (((one.sender,), one) for one in reversed(world.consumer)),
    }
    found = {}
    for kind, records in kinds.items():
        theirs = (record for parties, record in records if any(plain(party) == wanted for party in parties))
        found[kind] = [record.view() for record in islice(theirs, MOST_RECORDS)]
    return found


def _parties(world: World) -> Iterator[tuple[bool, str, int]]:
    for sent in world.agent.values():
        for to in sent.recipients:
            yield sent.type == "Email", to, sent.seq
    for seen in world.seen:
        yield world.channels.get(seen.channel_id) == "email", seen.sender, seen.seq
    for written in world.consumer:
        yield False, written.sender, written.seq


def plain(who: str) -> str:
    """As the page writes it: digits of a number, a mailbox in small letters."""
    return who.strip().lower() if "@" in who else "".join(one for one in who if one.isdigit())
