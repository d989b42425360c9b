"""A ledger on a real Redis with a clock that can be put forward: what is stored is moved back instead."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar, cast

import orjson
from redis.asyncio import Redis

from dcbridge.ledger import Decision, Ledger, NewMessage, lane_of
from dcbridge.ledger.blobs import BlobRoom
from dcbridge.ledger.index import Index
from dcbridge.ledger.own import NewOwn
from dcbridge.ledger.reports.books import read
from dcbridge.messages import message_ref, own_books

CHANNEL = "0123456789"
CONSUMER = "16504661149"
KEEP, KEEP_DEAD, PARTNER = 1000.0, 2000.0, 500.0
PAYLOAD = b'{"text":"Agent message text"}'

_PASS_TIME = """
local ms, told = tonumber(ARGV[1]), cjson.decode(ARGV[2])
local back = 0 - ms
for pattern, names in pairs(told.hashes) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    for _, name in ipairs(names) do
      if redis.call('HEXISTS', key, name) == 1 then redis.call('HINCRBY', key, name, back) end
    end
  end
end
for _, pattern in ipairs(told.sets) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, back, member) end
  end
end
for _, pattern in ipairs(told.values) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    redis.call('SET', key, string.format('%.3f', tonumber(redis.call('GET', key)) - ms), 'KEEPTTL')
  end
end
for _, pattern in ipairs(told.ends) do
  for _, key in ipairs(redis.call('KEYS', pattern)) do
    local left = redis.call('PTTL', key)
    if left > 0 then redis.call('PEXPIRE', key, left - ms) end
  end
end
"""


def new_message(message_id: str = "m-1", **changes: Any) -> NewMessage:
    """The first copy of a message; `changes` are fields of NewMessage."""
    channel = changes.get("channel_id", CHANNEL)
    ref = changes.pop("ref", message_ref(channel, message_id))
    fields: dict[str, Any] = {
        "ref": ref,
        "first_ref": ref,
        "channel_id": channel,
        "message_id": message_id,
        "sender_id": CHANNEL,
        "to_id": CONSUMER,
        "payload": PAYLOAD,
        "trace_id": "trace",
        "time_to_live": 3600.0,
    }
    return NewMessage(**(fields | changes))


def new_own(message_id: str = "own-1", **changes: Any) -> NewOwn:
    """A message of dcbridge's own; `changes` are fields of NewOwn."""
    fields: dict[str, Any] = {
        "ref": message_ref(CHANNEL, message_id),
        "books": own_books(CHANNEL),
        "message_id": message_id,
        "to_id": CONSUMER,
        "lane": lane_of(CHANNEL, CONSUMER),
        "payload": PAYLOAD,
        "trace_id": "trace",
        "time_to_live": 300.0,
        "cause": f"answer {message_id}",
        "content_mark": "",
        "scope": "",
        "token": "t" * 32,
        "a_day": 10,
        "an_hour": 10,
        "repeats": 10,
        "same": "same",
        "repeats_within": 600.0,
    }
    return NewOwn(**(fields | changes))


def copies_of(message_id: str, *recipients: str, **changes: Any) -> list[NewMessage]:
    """One copy a recipient, as the service makes them."""
    first = message_ref(changes.get("channel_id", CHANNEL), message_id)
    return [
        new_message(
            message_id,
            ref=first if index == 0 else f"{first}-{index}",
            first_ref=first,
            to_id=to,
            copies=len(recipients),
            **changes,
        )
        for index, to in enumerate(recipients)
    ]


class Bench:
    """The ledger, and what a test looks at."""

    # Where moments are stored: fields of hashes, scores of sorted sets, whole values, and how long keys live.
    _ENTRY: ClassVar[list[str]] = ["at", "exp", "hs", "cs", "nb", "qa", "sent", "end", "dcb_at", "us", "ut", "qj", "qe"]
    MOMENTS: ClassVar[dict[str, list[str]]] = dict.fromkeys(("dcb:m:*", "dcb:t:*", "rq:job:*"), _ENTRY)
    SCORES: ClassVar[list[str]] = [
        "dcb:due",
        "dcb:open:*",
        "dcb:receipts:*",
        "dcb:tasks:*",
        "dcb:blobs",
        "dcb:blob-files",
        "dcb:pieces",
        "dcb:uploads",
        "dcb:uploads-refused",
    ]
    VALUES: ClassVar[list[str]] = ["dcb:receipts-woken:*"]
    ENDS: ClassVar[list[str]] = ["dcb:m:*", "dcb:t:*", "dcb:receipts-woken:*", "dcb:dead:*", "dcb:batch:*", "dcb:own:*"]

    def __init__(self, redis: Redis, room: BlobRoom | None = None, index: Index | None = None) -> None:
        self.redis = redis
        self.ledger = Ledger(
            redis,
            keep=KEEP,
            keep_dead=KEEP_DEAD,
            keep_events=KEEP,
            partner_within=PARTNER,
            room=room,
            index=index,
        )

    async def put(self, message_id: str = "m-1", **changes: Any) -> str:
        """Accept one message; its ref."""
        copy = new_message(message_id, **changes)
        assert await self.ledger.messages.accept([copy]) == [True]
        return copy.ref

    async def sending(self, message_id: str = "m-1", token: str = "mine", lease: float = 60.0, **changes: Any) -> str:
        """Accept one message and claim it; its ref."""
        ref = await self.put(message_id, **changes)
        assert (await self.ledger.messages.claim(ref, token, lease)).ours
        return ref

    async def sent(self, message_id: str = "m-1", **changes: Any) -> str:
        ref = await self.sending(message_id, **changes)
        assert await self.taken(ref) == "sent"
        return ref

    async def taken(
        self, ref: str, token: str = "mine", part: int = 0, count: int = 1, *, delivered: bool = False
    ) -> str:
        return await self.ledger.messages.submitted(
            ref, token, part, count, f"SM{part}", delivered=delivered, confirm_within=100.0
        )

    async def update(
        self,
        ref: str,
        status: str,
        part: int = 0,
        *,
        reason: str = "",
        detail: str = "",
        piece: str = "",
        pieces: int = 1,
    ) -> str:
        provider_id = piece or f"SM{part}"
        return await self.ledger.messages.update(ref, part, status, provider_id, reason, detail, 100.0, pieces)

    async def retry(self, ref: str, token: str = "mine", delay: float = 5.0, lane_limit: float = 900.0) -> str:
        return await self.ledger.messages.retry(ref, token, delay, lane_limit=lane_limit, reason=310, code="20429")

    async def state(self, ref: str) -> str:
        return (await self.ledger.messages.entry(ref)).state or "gone"

    async def keys(self, pattern: str) -> list[str]:
        return sorted([key.decode() async for key in self.redis.scan_iter(pattern)])

    async def lanes(self) -> dict[str, list[str]]:
        return {key: [m.decode() for m in await self._list(key)] for key in await self.keys("dcb:lane:*")}

    async def queued(self, queue: str = "outbound") -> list[str]:
        """The id that each waiting job carries, in order."""
        ids = await self._list(f"rq:queue:{queue}")
        return [orjson.loads(await self._hget(f"rq:job:{job.decode()}", "data"))[2][0] for job in ids]

    async def pop_job(self, queue: str = "outbound") -> str | None:
        """Take a job as a worker does; the id that it carries."""
        job = await cast(Awaitable[bytes | None], self.redis.lpop(f"rq:queue:{queue}"))
        if job is None:
            return None
        key = f"rq:job:{job.decode()}"
        argument = str(orjson.loads(await self._hget(key, "data"))[2][0])
        await self.redis.delete(key)
        return argument

    async def drop_jobs(self) -> None:
        """Every job is lost, as with a worker that was killed after the pop."""
        for key in await self.keys("rq:*"):
            await self.redis.delete(key)

    async def owed(self, channel: str = CHANNEL) -> list[tuple[str, str, str]]:
        """(messageId, status, reason) of each receipt that waits, taken for no time at all."""
        return [(o.message_id, o.status, o.reason) for o in await self.ledger.receipts.take(channel, 1000, 0.0)]

    async def sweep(self) -> list[Decision]:
        return await self.ledger.sweep.run()

    async def pass_time(self, seconds: float) -> None:
        """Put the clock forward: every moment that is stored moves back. One script, since there are many."""
        told = {"hashes": self.MOMENTS, "sets": self.SCORES, "values": self.VALUES, "ends": self.ENDS}
        await cast(Any, self.redis.eval(_PASS_TIME, 0, int(seconds * 1000), orjson.dumps(told)))

    async def difference(self) -> int:
        return (await read(self.redis)).difference

    async def whole_database(self) -> bytes:
        """Every key and value, for looking whether something is left."""
        found = []
        for key in await self.keys("*"):
            if await self.redis.type(key) == b"hash":  # a dump of one may be compressed
                fields = await cast(Awaitable[dict[bytes, bytes]], self.redis.hgetall(key))
                found += [key.encode(), *map(b"\0".join, fields.items())]
            else:
                found += [key.encode(), await self.redis.dump(key) or b""]
        return b"\n".join(found)

    async def _hget(self, key: str, name: str) -> bytes:
        value = await cast(Awaitable[bytes | None], self.redis.hget(key, name))
        assert value is not None
        return value

    async def _list(self, key: str) -> list[bytes]:
        return await cast(Awaitable[list[bytes]], self.redis.lrange(key, 0, -1))
