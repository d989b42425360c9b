"""Services: which processes take webhooks and callbacks, and what each has seen of signatures (services.lua)."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any, cast

import orjson

from dcbridge.json_values import a_text, an_object, json_value
from dcbridge.ledger import moment
from dcbridge.ledger.script import Script, ms

EVERY = 10.0  # seconds between two words of a process
SILENT = 35.0  # seconds without one after which it is not counted on


@dataclass(frozen=True, slots=True)
class Signatures:
    """Of one endpoint, by one process. Times are seconds since 1970, 0 for never."""

    valid_at: float = 0.0  # when a signature was right last
    refused: int = 0  # signatures refused since then
    refused_since: float = 0.0  # the first of them
    refused_at: float = 0.0  # the last of them
    why: str = ""  # of the last


@dataclass(frozen=True, slots=True)
class Journal:
    """That of one process."""

    configured: bool = False
    waiting: int = 0  # callbacks that Redis does not hold yet
    bytes: int = 0
    limit: int = 0  # bytes
    set_aside: int = 0  # files with what was damaged
    full: bool = False  # the last write failed


@dataclass(frozen=True, slots=True)
class SecretUse:
    """A secret that signs webhooks, by the digest of `secret_mark`. Times in seconds since 1970."""

    first_known: float
    last_used: float  # 0 for never
    last_known: float  # when a process named it last


def secret_mark(secret: bytes) -> str:
    """Tells the few secrets of an endpoint apart, and says nothing else of them: 16 bits of a digest."""
    return hashlib.sha256(b"dcbridge secret\0" + secret).hexdigest()[:4]


@dataclass(frozen=True, slots=True)
class Service:
    """A process. `last_heard` in seconds ago. `journal`: None where its version does not say."""

    name: str  # host and process id
    version: str
    started: float  # seconds since 1970
    last_heard: float = 0.0
    signatures: Mapping[str, Signatures] = field(default_factory=dict)  # by endpoint
    journal: Journal | None = None

    @property
    def silent(self) -> bool:
        return self.last_heard > SILENT


class Services:
    """The services of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def here(self, service: Service, secrets: Mapping[tuple[str, str], float] | None = None) -> None:
        """It lives. `secrets`: by endpoint and mark, when this process saw each used last, 0 for never."""
        words: dict[str, Any] = {
            "version": service.version,
            "started": round(service.started),
            "signatures": {
                name: [*(round(at, 3) for at in (s.valid_at, s.refused_since, s.refused_at)), s.refused, s.why]
                for name, s in service.signatures.items()
            },
        }
        if service.journal is not None:
            words["journal"] = list(astuple(service.journal))
        uses: list[str | int] = []
        for (endpoint, mark), used in (secrets or {}).items():
            uses += [f"{endpoint} {mark}", ms(used)]
        await self._script.call("service_here", service.name, orjson.dumps(words), *uses)

    async def secrets(self) -> dict[tuple[str, str], SecretUse]:
        """By endpoint and mark, those that processes named within the last 90 days, or longer where they are few."""
        found = await cast(Awaitable[dict[bytes, bytes]], self._script.redis.hgetall("dcb:secrets"))
        return {
            (endpoint, mark): SecretUse(*(int(at) / 1000 for at in times))
            for name, line in found.items()
            for endpoint, _, mark in [name.decode(errors="replace").rpartition(" ")]
            for times in [line.split()]
            if len(times) == 3 and all(at.isdigit() and len(at) < 15 for at in times)
        }

    async def gone(self, name: str) -> None:
        """It stops by itself."""
        await self._script.redis.hdel("dcb:services", name)

    async def all(self) -> list[Service]:
        """Those that spoke within the last hour, by name."""
        found = await cast(Awaitable[dict[bytes, bytes]], self._script.redis.hgetall("dcb:services"))
        now = (await moment.read(self._script.redis)).at if found else 0.0
        return [_read(name.decode(errors="replace"), words, now) for name, words in sorted(found.items())]


def _read(name: str, stored: bytes, now: float) -> Service:
    at, _, words = stored.partition(b" ")
    told = an_object(json_value(words))
    heard = int(at) / 1000 if at.isdigit() and len(at) < 15 else 0.0
    seen = {endpoint: _signatures(row) for endpoint, row in an_object(told.get("signatures")).items()}
    started, journal = _number(told.get("started")), _journal(told.get("journal"))
    return Service(name, a_text(told.get("version")), started, max(0.0, now - heard), seen, journal)


def _journal(row: Any) -> Journal | None:
    if not isinstance(row, list) or len(row) != 6:
        return None
    waiting, size, limit, aside = (int(_number(one)) for one in row[1:5])
    return Journal(row[0] is True, waiting, size, limit, aside, row[5] is True)


def _signatures(row: Any) -> Signatures:
    if not isinstance(row, list) or len(row) != 5:
        return Signatures()
    valid_at, since, at, refused = map(_number, row[:4])
    return Signatures(valid_at, int(refused), since, at, a_text(row[4])[:100])


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def together(services: list[Service]) -> dict[str, Signatures]:
    """What all processes have seen of each endpoint since a signature of it was right last, in any of them."""
    found: dict[str, Signatures] = {}
    for endpoint in sorted({name for service in services for name in service.signatures}):
        rows = [service.signatures[endpoint] for service in services if endpoint in service.signatures]
        valid = max(row.valid_at for row in rows)
        after = [row for row in rows if row.refused and row.refused_at >= valid]
        last = max(after, key=lambda row: row.refused_at, default=Signatures())
        since = min((max(row.refused_since, valid) for row in after), default=0.0)
        found[endpoint] = Signatures(valid, sum(row.refused for row in after), since, last.refused_at, last.why)
    return found
