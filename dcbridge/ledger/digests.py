"""Digests of messages that the ledger forgets: for each day and channel, eight bytes a message.

    dcb:digests         hash: day → how many messages it had
    dcb:digest:<day>    hash: "<number of the piece> <channel>" → its messages, in order: seven bytes of a hash of the
                        id that Genesys knows, and a letter of what had become of it

A message is of the day on which it was accepted, or posted. Two of 40 million messages have the same seven bytes with a
probability of one in a hundred; that one id of Genesys' is taken for one of ours, of one in a billion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import cast

from dcbridge.ledger.fields import State
from dcbridge.ledger.script import Script

ENTRY = 8  # bytes
PIECE = 65_000 * ENTRY  # bytes of one field: no reply of Redis is large, and no memory of its allocator is left over
POSTED, OPEN = "posted", "not ended"
_LETTERS = {
    State.DELIVERED.value: b"d", State.FAILED.value: b"f", State.REMOVED.value: b"r", State.UNCONFIRMED.value: b"u",
    POSTED: b"p",
}  # fmt: skip
_STATES = {letter: state for state, letter in _LETTERS.items()}


def day_of(at: float) -> str:
    """Of a time in seconds since 1970."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def begins(day: str) -> float:
    """In seconds since 1970."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def days_between(first: str, last: str) -> Iterator[str]:
    """Both included."""
    at, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    while at <= end:
        yield f"{at:%Y-%m-%d}"
        at += timedelta(days=1)


def entry(message_id: str, state: str) -> bytes:
    """One message."""
    return _mark(message_id) + _LETTERS.get(state, b"o")


def _mark(message_id: str) -> bytes:
    return blake2b(message_id.encode(errors="replace"), digest_size=ENTRY - 1, person=b"dcb-digest").digest()


def _in_order(entries: bytes) -> bytes:
    """Each message once: copies to several recipients are one."""
    each = (entries[start : start + ENTRY] for start in range(0, len(entries), ENTRY))
    return b"".join(sorted({one[:-1]: one for one in each}.values()))


class Digest:
    """The messages of one channel on one day."""

    def __init__(self, entries: Iterable[bytes]) -> None:
        """`entries`: in order, in one piece or in many."""
        self.data = b"".join(entries)
        self._seen = bytearray(len(self) // 8 + 1)

    def __len__(self) -> int:
        return len(self.data) // ENTRY

    def find(self, message_id: str) -> str:
        """Its state, and it is seen from now on; "" where there is none."""
        mark, low, high = _mark(message_id), 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.data[middle * ENTRY : middle * ENTRY + ENTRY - 1] < mark:
                low = middle + 1
            else:
                high = middle
        if self.data[low * ENTRY : low * ENTRY + ENTRY - 1] != mark:
            return ""
        self._seen[low // 8] |= 1 << low % 8
        return _STATES.get(self.data[low * ENTRY + ENTRY - 1 : low * ENTRY + ENTRY], OPEN)

    def unseen(self) -> Iterator[tuple[str, str]]:
        """What of the others is known: seven bytes in hex, and the state."""
        for place in range(len(self)):
            if not self._seen[place // 8] >> place % 8 & 1:
                one = self.data[place * ENTRY : place * ENTRY + ENTRY]
                yield one[:-1].hex(), _STATES.get(one[-1:], OPEN)


class Digests:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._redis = script.redis

    async def counts(self) -> dict[str, int]:
        """Day → how many messages, of all days that are kept."""
        found = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall("dcb:digests"))
        return {day.decode(): int(count) for day, count in found.items()}

    async def write(self, day: str, by_channel: Mapping[str, bytes | bytearray], keep: float) -> int:
        """How many there are. `by_channel`: entries, in any order. `keep`: seconds from now."""
        key, count = f"dcb:digest:{day}", 0
        await self._redis.delete(key)
        for channel, entries in by_channel.items():
            whole = await asyncio.to_thread(_in_order, bytes(entries))  # a second or more for a million
            count += len(whole) // ENTRY
            for number, start in enumerate(range(0, len(whole), PIECE)):
                field = f"{number} {channel}"
                await self._redis.hset(key, field, whole[start : start + PIECE])
                await self._redis.pexpire(key, int(keep * 1000))  # with the first: this process may be killed
        await self._redis.hset("dcb:digests", day, str(count))
        return count

    async def forget_before(self, day: str) -> None:
        """Their content has a time of its own."""
        if old := [one for one in await self.counts() if one < day]:
            await self._redis.hdel("dcb:digests", *old)

    async def read(self, day: str) -> dict[str, Digest]:
        """By channel."""
        key = f"dcb:digest:{day}"
        names = [one.decode() for one in await cast(Awaitable[list[bytes]], self._redis.hkeys(key))]
        pieces: dict[str, list[tuple[int, bytes]]] = {}
        for name in names:
            number, _, channel = name.partition(" ")
            data = await cast(Awaitable[bytes | None], self._redis.hget(key, name))
            pieces.setdefault(channel, []).append((int(number), data or b""))
        return {channel: Digest(data for _, data in sorted(found)) for channel, found in pieces.items()}
