"""Who has signed in at the console, and its tokens. Of both, Redis holds a digest and never the secret itself."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson
from redis.asyncio import Redis

from dcbridge.ledger.script import Script

MOST_TOKENS = 1000
MOST_SESSIONS = 10_000
TOKEN = "dcbc"  # noqa: S105  (how each token begins, so that scanners of repositories find it)
UNDER_WAY = 600.0  # seconds that a sign-in elsewhere may take


def digest(secret: str) -> str:
    """Of a random text of 256 bits, which needs no salt."""
    return hashlib.sha256(secret.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Token:
    """One that was made at the command line. Times in seconds since 1970."""

    id: str
    name: str
    role: str
    made: float
    until: float | None
    by: str
    digest: str

    @classmethod
    def of(cls, name: str, stored: bytes) -> Token | None:
        """None for one that cannot be read, or of a newer version."""
        try:
            found = orjson.loads(stored)
            return cls(id=name, **found)
        except (ValueError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in, until at most `until`. `token`: the id of the token that was shown."""

    key: str
    name: str
    role: str
    how: str
    began: float
    until: float
    token: str = ""


class ConsoleStore:
    """Of one ledger."""

    def __init__(self, script: Script) -> None:
        self._redis: Redis = script.redis

    async def _now(self) -> float:
        """By Redis' clock, as its own times to live."""
        seconds, micros = await self._redis.time()
        return seconds + micros / 1e6

    # ---------------------------------------------------------------- tokens

    async def make_token(self, name: str, role: str, lasts: float, by: str) -> tuple[Token, str] | None:
        """The token, and its text, which is told only here; None where there are too many. `lasts` 0: no end."""
        if await self._redis.hlen("dcb:console-tokens") >= MOST_TOKENS:
            return None
        now, identity, secret = await self._now(), secrets.token_hex(6), secrets.token_urlsafe(32)
        text = f"{TOKEN}_{identity}_{secret}"
        made = Token(identity, name, role, now, now + lasts if lasts else None, by, digest(text))
        value = {one: getattr(made, one) for one in ("name", "role", "made", "until", "by", "digest")}
        await self._redis.hset("dcb:console-tokens", identity, orjson.dumps(value))
        return made, text

    async def tokens(self) -> list[Token]:
        """The oldest first."""
        stored = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall("dcb:console-tokens"))
        found = (Token.of(name.decode(errors="replace"), value) for name, value in stored.items())
        return sorted(filter(None, found), key=lambda one: one.made)

    async def token(self, identity: str) -> Token | None:
        """One that is there and not over."""
        stored = await cast(Awaitable[bytes | None], self._redis.hget("dcb:console-tokens", identity))
        found = Token.of(identity, stored) if stored else None
        if found is None or (found.until is not None and found.until <= await self._now()):
            return None
        return found

    async def revoke_token(self, identity: str) -> bool:
        """False where there is none. Sessions that it began end with it."""
        return bool(await self._redis.hdel("dcb:console-tokens", identity))

    # ---------------------------------------------------------------- sessions

    async def begin(self, name: str, role: str, how: str, *, lasts: float, idle: float, token: str = "") -> str:
        """A new session; the secret of its cookie, which is told only here."""
        secret, now = secrets.token_urlsafe(32), await self._now()
        key, until = digest(secret), now + lasts
        fields = {"name": name, "role": role, "how": how, "began": str(now), "until": str(until), "token": token}
        async with self._redis.pipeline() as pipe:
            pipe.hset(f"dcb:console-session:{key}", mapping=fields)  # type: ignore[arg-type]  # as redis-py has it
            pipe.pexpire(f"dcb:console-session:{key}", int(min(idle, lasts) * 1000))
            pipe.zremrangebyscore("dcb:console-sessions", 0, now)
            pipe.zadd("dcb:console-sessions", {key: until})
            pipe.zrange("dcb:console-sessions", 0, -MOST_SESSIONS - 1)
            *_, most = await pipe.execute()
        for old in most:
            await self.end(old.decode())
        return secret

    async def session(self, secret: str, idle: float) -> Session | None:
        """Of a cookie; its idle time begins anew."""
        key = digest(secret)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(f"dcb:console-session:{key}")
            pipe.pttl(f"dcb:console-session:{key}")
            pipe.time()
            stored, left, (seconds, micros) = await pipe.execute()
        found = _session(key, stored)
        now = seconds + micros / 1e6
        if found is None or found.until <= now or (found.token and await self.token(found.token) is None):
            return None
        may = min(idle, found.until - now)
        if left < may * 900:  # a tenth of it is over: not written at each request
            await self._redis.pexpire(f"dcb:console-session:{key}", max(1, int(may * 1000)))
        return found

    async def end(self, key: str) -> bool:
        """False where it had ended."""
        async with self._redis.pipeline() as pipe:
            pipe.delete(f"dcb:console-session:{key}")
            pipe.zrem("dcb:console-sessions", key)
            ended, _ = await pipe.execute()
        return bool(ended)

    async def sessions(self) -> list[Session]:
        """Those that have not ended, the oldest first."""
        keys = await cast(Awaitable[list[bytes]], self._redis.zrange("dcb:console-sessions", 0, -1))
        async with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hgetall(f"dcb:console-session:{key.decode()}")
            stored = await pipe.execute()
        found = [_session(key.decode(), fields) for key, fields in zip(keys, stored, strict=True)]
        return sorted(filter(None, found), key=lambda one: one.began)

    # ---------------------------------------------------------------- sign-in elsewhere, under way

    async def remember(self, state: str, values: Mapping[str, str]) -> None:
        """What has to be known when somebody comes back with this state."""
        key = f"dcb:console-sign-in:{digest(state)}"
        await self._redis.set(key, orjson.dumps(dict(values)), px=int(UNDER_WAY * 1000))

    async def remembered(self, state: str) -> dict[str, str] | None:
        """Once: a second one who comes with the same state finds nothing."""
        key = f"dcb:console-sign-in:{digest(state)}"
        stored = await self._redis.get(key)
        if stored is None or not await self._redis.delete(key):
            return None
        found: dict[str, str] = orjson.loads(stored)
        return found


def _session(key: str, stored: Mapping[bytes, bytes]) -> Session | None:
    text: dict[str, Any] = {name.decode(): value.decode(errors="replace") for name, value in stored.items()}
    try:
        return Session(
            key,
            text["name"],
            text["role"],
            text["how"],
            float(text["began"]),
            float(text["until"]),
            text.get("token", ""),
        )
    except (KeyError, ValueError):
        return None
