"""Entries that something else wrote into, as far as they can be shown: a command for them must not trip over them."""

from __future__ import annotations

import re
from typing import TypeVar

from dcbridge.ledger.fields import MessageEntry, TaskEntry
from dcbridge.ledger.history import hops_of, hops_of_task

LAST = 253_402_300_799_999  # the last millisecond that can be written as a date
MOST_PARTS = 1000
_NUMBER = re.compile(rb"-?[0-9]{1,15}")

Shown = TypeVar("Shown", MessageEntry, TaskEntry)


def sound(entry: Shown) -> tuple[Shown, list[str]]:
    """The entry without what cannot be shown, and the names of that: numbers that are none, or that nothing of ours
    writes, and a history that does not read as one.
    """
    damaged = [one.name for one in type(entry).fields() if one.is_number and not _sound(entry, one.wire, one.name)]
    wires = {one.wire.encode() for one in type(entry).fields() if one.name in damaged}
    entry = type(entry)({name: value for name, value in entry.hash.items() if name not in wires})
    if not _has_sound_history(entry):
        lines = re.compile(rb"%s[0-9]+" % type(entry).history.wire.encode())
        entry = type(entry)({name: value for name, value in entry.hash.items() if not lines.fullmatch(name)})
        damaged.append("history")
    return entry, damaged


def _sound(entry: MessageEntry | TaskEntry, wire: str, name: str) -> bool:
    value = entry.hash.get(wire.encode())
    if not value:
        return True
    return bool(_NUMBER.fullmatch(value)) and abs(int(value)) <= (MOST_PARTS if name == "parts" else LAST)


def _has_sound_history(entry: MessageEntry | TaskEntry) -> bool:
    try:
        hops = hops_of(entry) if isinstance(entry, MessageEntry) else hops_of_task(entry)
    except (ValueError, OverflowError):
        return False
    return all(0 <= hop.at <= LAST / 1000 for hop in hops)
