"""What a worker that was killed had claimed, and how long until each of it moves again."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import redis

from dcbridge.ledger.jobs import JOBS

_LOOKS = ("s", "tok", "w", "qa")  # of an entry: state, claim, how often it was queued, when
KINDS = {"m": "agent's message", "t": "callback or consumer's message", "r": "receipt"}


class Stranded:
    """Call `note` right after a kill and `look` often. What a living worker holds is noted too, and moves soon."""

    def __init__(self, connection: redis.Redis) -> None:
        self._redis: Any = connection
        self._waiting: dict[str, tuple[float, object]] = {}  # member -> moment of the kill, what it looked like then
        self.longest: dict[str, float] = {}  # kind -> seconds
        self.found: Counter[str] = Counter()  # kind -> how many were noted

    @property
    def waiting(self) -> list[str]:
        return sorted(self._waiting)

    def note(self) -> None:
        now = time.monotonic()
        for member, looks in {**self._under_way(), **self._receipts()}.items():
            if member not in self._waiting:
                self._waiting[member] = (now, looks)
                self.found[member[0]] += 1

    def look(self) -> None:
        members = list(self._waiting)
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            if member[0] == "r":
                _, channel, ref = member.split(":", 2)
                pipe.zscore(f"dcb:receipts:{channel}", ref)
            else:
                pipe.hmget(f"dcb:{member}", *_LOOKS)
        for member, looks in zip(members, pipe.execute(), strict=True):
            since, before = self._waiting[member]
            if looks != before:
                del self._waiting[member]
                self.longest[member[0]] = max(self.longest.get(member[0], 0.0), time.monotonic() - since)

    def _under_way(self) -> dict[str, object]:
        """Claimed, or the head of a lane whose job has left the queue and claimed nothing yet."""
        members = [f"m:{ref}" for ref in self._members("dcb:open:*")] + [
            f"t:{id}" for id in self._members("dcb:tasks:*")
        ]
        pipe = self._redis.pipeline(transaction=False)
        for member in members:
            pipe.hmget(f"dcb:{member}", *_LOOKS, "ln", "j")
        queued = {job for each in JOBS.values() for job in self._redis.lrange(f"rq:queue:{each.queue}", 0, -1)}
        found: dict[str, object] = {}
        for member, row in zip(members, pipe.execute(), strict=True):
            state, _token, wakes, woken, lane, job = (value.decode() if value else "" for value in row)
            if state in ("sending", "running"):
                found[member] = row[:4]
            elif state in ("accepted", "retry", "waiting") and woken:
                name = f"{job or 'send'}-{member[2:]}-{wakes}".encode()
                head = self._redis.lindex(f"dcb:lane:{lane}", 0) if lane else member.encode()
                if name not in queued and head == member.encode():
                    found[member] = row[:4]
        return found

    def _members(self, pattern: str) -> list[str]:
        return [one.decode() for key in self._redis.keys(pattern) for one in self._redis.zrange(key, 0, -1)]

    def _receipts(self) -> dict[str, object]:
        """Taken for posting: not due before their lease ends."""
        seconds, rest = self._redis.time()
        found: dict[str, object] = {}
        for key in self._redis.keys("dcb:receipts:*"):
            for ref, score in self._redis.zrangebyscore(
                key, f"({seconds * 1000 + rest // 1000}", "+inf", withscores=True
            ):
                found[f"r:{key.decode().split(':', 2)[2]}:{ref.decode()}"] = score
        return found
