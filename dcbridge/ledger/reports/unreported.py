"""Messages that a provider took after its last delivery update, and of which it has said nothing since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger.fields import MessageEntry, State
from dcbridge.ledger.heard import last_heard

READ = 200  # entries of one channel that are read, the newest first
_BEFORE = 3600.0  # seconds that a message may have waited before it was sent


async def silent_since(
    redis: Redis, provider_of: Mapping[str, str], now: float, late: float
) -> dict[str, tuple[float, int]]:
    """Provider -> when it was heard of last, and how many messages it took since then, at least `late` seconds ago.

    `provider_of`: channel id -> its first provider, of the channels to look into. Of many messages, the newest count.
    """
    heard = await last_heard(redis)
    silent = {name: at for name, at in heard.items() if now - at >= late}
    channels = [name for name in provider_of if silent]
    async with redis.pipeline(transaction=False) as pipe:
        for channel in channels:
            first = int((min(silent.values()) - _BEFORE) * 1000)
            pipe.zrevrangebyscore(f"dcb:open:{channel}", int((now - late) * 1000), first, start=0, num=READ)
        chosen: list[list[bytes]] = await cast(Awaitable[Any], pipe.execute())
    wires = [one.wire for one in (MessageEntry.state, MessageEntry.sent_at, MessageEntry.provider)]
    async with redis.pipeline(transaction=False) as pipe:
        of = [channel for channel, refs in zip(channels, chosen, strict=True) for _ in refs]
        for refs in chosen:
            for ref in refs:
                pipe.hmget(f"dcb:m:{ref.decode()}", wires)
        rows: list[Any] = await pipe.execute(raise_on_error=False)
    counts: Counter[str] = Counter()
    for channel, row in zip(of, rows, strict=True):
        if isinstance(row, Exception):
            continue
        state, sent, provider = ((value or b"").decode(errors="replace") for value in row)
        name = provider or provider_of[channel]
        at = int(sent) / 1000 if sent.isascii() and sent.isdigit() and len(sent) < 15 else 0.0
        counts[name] += name in silent and state == State.SENT and silent[name] < at <= now - late
    return {name: (silent[name], count) for name, count in counts.items() if count}
