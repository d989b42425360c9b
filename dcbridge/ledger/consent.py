"""Opt-outs: which consumers must not be written to, within which scope, since when and by what (consent.lua).

A consumer is a token: a number is stored nowhere. An opt-out never expires by itself.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast, get_args

from dcbridge.ledger.script import Script, slices, word

By = Literal["keyword", "provider", "operator", "unsubscribe", "bounce", "complaint"]
BYS: frozenset[str] = frozenset(get_args(By))

OTHER_KEY = (
    "is not the one that the opt-outs in Redis were stored with: they would stop no message. Set the earlier key again"
)
MOST_PROOF = 128  # characters of a provider's id
SLICE = 500
_STORED = re.compile(rb"([0-9]{1,16}) (keyword|provider|operator|unsubscribe|bounce|complaint) ([!-~]*)( [0-9]{1,16})?")
_KEY = re.compile(r"[0-9a-f]{32}")


_WHY = {"bounce": "mailbox unknown since", "complaint": "reported as spam", "unsubscribe": "unsubscribed"}


class OtherKey(Exception):
    """The opt-outs in Redis were stored with another key; they would stop nobody."""


@dataclass(frozen=True, slots=True)
class OptOut:
    """Since when a consumer must not be written to; `proof`: the provider's id of the message that said so."""

    scope: str
    token: str
    at: datetime
    by: str
    proof: str

    @property
    def detail(self) -> str:
        """Why a message is not sent, as a receipt says it."""
        return f"{_WHY.get(self.by, 'opted out')} {self.at:%Y-%m-%d}"


class ConsumerTokens:
    """What stands for a consumer: a digest that only the holder of the key can make."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, address: str) -> str:
        """`address` in one spelling for all (`phone.address_key`)."""
        return self._digest(f"consumer\0{address}")

    @property
    def fingerprint(self) -> str:
        """Tells one key from another, and nothing else of it."""
        return self._digest("fingerprint")

    def _digest(self, said: str) -> str:
        return hmac.digest(self._key, f"dcbridge consent\0{said}".encode("utf-8", "surrogatepass"), "sha256").hex()[:32]


NOW = 0  # as an order: this moment, by the ledger's clock


def order_of(accepted_at: int, place: int = 0) -> int:
    """The order of what consumers say: by the ms at which a callback was accepted, then by the place in it."""
    return accepted_at * 1000 + min(place, 999)


class Consent:
    """The opt-outs of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script, self._redis = script, cast(Any, script.redis)
        self._asked: dict[str, list[tuple[str, asyncio.Future[bytes | None]]]] = {}  # by scope
        self._asking: set[asyncio.Task[None]] = set()

    async def stop(self, scope: str, token: str, order: int, by: By, proof: str = "", channel: str = "") -> str:
        """ "stopped", "same" where it was said before, "late" where the consumer has said START since."""
        proof = re.sub(r"[^!-~]", "", proof)[:MOST_PROOF]
        return word(await self._script.record("consent_stopped", scope, token, order, by, proof, channel))

    async def start(
        self, scope: str, token: str, order: int, by: By, *, channel: str = "", remember: float = 86400.0
    ) -> str:
        """ "started", "same" where there was no opt-out, "late" where the consumer has said STOP since.

        `remember`: seconds for which an older STOP may still be read, and must not count.
        """
        keep_ms = max(1, round(remember * 1000))
        return word(await self._script.record("consent_started", scope, token, order, by, channel, keep_ms))

    async def find(self, scope: str, token: str) -> OptOut | None:
        """The opt-out of one consumer. Those who ask at one moment share a command: every message does."""
        found = await self._script.outlast(lambda: self._ask(scope, token))
        return _read(scope, token, found) if found is not None else None

    async def _ask(self, scope: str, token: str) -> bytes | None:
        done: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        waiting = self._asked.setdefault(scope, [])
        waiting.append((token, done))
        if len(waiting) == 1:
            task = asyncio.create_task(self._answer(scope))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await done

    async def _answer(self, scope: str) -> None:
        waiting = self._asked.pop(scope)
        try:
            found = await self._redis.hmget(f"dcb:stop:{scope}", [token for token, _ in waiting])
        except BaseException as error:
            for _, done in waiting:
                if not done.done():
                    done.set_exception(error if isinstance(error, Exception) else ConnectionError("it was stopped"))
            if not isinstance(error, Exception):
                raise
        else:
            for (_, done), one in zip(waiting, found, strict=True):
                if not done.done():
                    done.set_result(one)

    async def require_key(self, fingerprint: str) -> None:
        """Raises OtherKey. The first key that is asked about is the one."""
        if word(await self._script.record("consent_key", fingerprint)) != "same":
            raise OtherKey

    async def all(self) -> AsyncIterator[OptOut]:
        """Every opt-out, in no order."""
        async for key in self._redis.scan_iter("dcb:stop:*", count=SLICE):
            scope = key.decode(errors="replace").removeprefix("dcb:stop:")
            async for token, stored in self._redis.hscan_iter(key, count=SLICE):
                yield _read(scope, token.decode(errors="replace"), stored)

    async def put(self, opt_outs: Sequence[OptOut]) -> int:
        """Those of an export; how many were not known."""
        fresh = 0
        by_scope: dict[str, list[OptOut]] = {}
        for one in opt_outs:
            by_scope.setdefault(one.scope, []).append(one)
        for scope, some in by_scope.items():
            for few in slices(some, SLICE):
                flat = [text for one in few for text in (one.token, _written(one))]
                fresh += await self._script.record("consent_import", scope, *flat)
        return fresh

    async def found(self, opt_outs: Sequence[OptOut], *, dry: bool) -> tuple[int, int]:
        """Those of a provider's list: how many were not known, and of how many a later START was heard, which stay out.

        `dry`: nothing is written.
        """
        fresh = late = 0
        by_scope: dict[str, list[OptOut]] = {}
        for one in opt_outs:
            by_scope.setdefault(one.scope, []).append(one)
        for scope, some in by_scope.items():
            for few in slices(some, SLICE):
                flat = [text for one in few for text in (one.token, _written(one))]
                added, passed = await self._script.record("consent_found", scope, int(dry), *flat)
                fresh, late = fresh + added, late + passed
        return fresh, late

    async def tokens(self, scope: str) -> AsyncIterator[str]:
        """Of all who opted out within one scope."""
        async for token, _ in self._redis.hscan_iter(f"dcb:stop:{scope}", count=SLICE):
            yield token.decode(errors="replace")


def _written(one: OptOut) -> str:
    return f"{order_of(round(one.at.timestamp() * 1000))} {one.by} {one.proof}"


def _read(scope: str, token: str, stored: bytes) -> OptOut:
    """What cannot be read is an opt-out all the same: since it is not known when."""
    found = _STORED.fullmatch(stored)
    at = min(int(found[1]) // 1_000_000, 253_402_300_799) if found else 0
    return OptOut(
        scope,
        token,
        datetime.fromtimestamp(at, UTC),
        found[2].decode() if found else "",
        found[3].decode() if found else "",
    )


def is_token(text: str) -> bool:
    return bool(_KEY.fullmatch(text))
