"""Genesys' Openmedia API, base path /nexus/v3/openmedia/{service} (contract/openmedia.txt): work items, without I/O.

An item is addressed by `ext_` and its externalId, which makes a repeated create harmless: 409 is "already there". Every
answer is printed as "{object}", so that only its HTTP status is relied on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from urllib.parse import quote

import httpx
import orjson

from dcbridge.errors import AccountFault, SendError
from dcbridge.genesys.envelope import Reading
from dcbridge.json_values import a_text

_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
ENDED = frozenset({"stopped", "completed", "complete", "finished", "ended", "closed", "done", "terminated", "deleted"})
_STATES = ("state", "status", "interactionState", "State")


class Item(StrEnum):
    """What becomes of an item, by the answer to GET."""

    OPEN = "open"
    ENDED = "ended"
    GONE = "gone"  # 404: not there yet, or not any more; twice in a row after it was there, it has ended


def external_id(letter_id: str, at_ms: int) -> str:
    """The same for the same dead letter; another one when it dies again after a replay."""
    name = f"dcb-{letter_id}-{at_ms}"
    return name if _ID.fullmatch(name) else f"dcb-{blake2b(name.encode(), digest_size=16).hexdigest()}"


def mail_id(task_id: str) -> str:
    """The same for the same mail, however often it is posted or replayed."""
    name = f"dcb-mail-{task_id}"
    return name if _ID.fullmatch(name) else f"dcb-{blake2b(name.encode(), digest_size=16).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Service:
    """One open media service. `url`: with /nexus/v3, without a slash at the end."""

    url: str
    name: str

    def create(self, external: str, received_at: float, user_data: Mapping[str, str]) -> httpx.Request:
        at = datetime.fromtimestamp(received_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return self._post("", {"externalId": external, "receivedAt": at, "userData": dict(user_data)})

    def look(self, external: str) -> httpx.Request:
        return httpx.Request("GET", self._url(external))

    def update(self, external: str, changed: Mapping[str, str]) -> httpx.Request:
        data = {"changedProperties": dict(changed), "addedProperties": {}, "deletedProperties": []}
        return self._post(external, data, "/update")

    def stop(self, external: str, reason: str, why: str) -> httpx.Request:
        return self._post(external, {"reasonSystemName": reason, "reasonDescription": why}, "/stop")

    def _post(self, external: str, data: Mapping[str, object], what: str = "") -> httpx.Request:
        headers = {"Content-Type": "application/json"}
        return httpx.Request("POST", self._url(external) + what, headers=headers, content=orjson.dumps({"data": data}))

    def _url(self, external: str) -> str:
        there = f"{self.url}/openmedia/{quote(self.name, safe='')}/interactions"
        return f"{there}/ext_{quote(external, safe='')}" if external else there


def created(reading: Reading) -> None:
    """Raises a SendError where there is no item now. 404: there is no such service, a fault of the configuration."""
    if reading.good or reading.http == 409:
        return
    raise AccountFault(reading.words) if reading.http == 404 else reading.error()


def stopped(reading: Reading) -> None:
    """One that is gone or stopped already is stopped (404, 409). Raises a SendError."""
    if not reading.good and reading.http not in (404, 409):
        raise reading.error()


def what_became(reading: Reading) -> Item | SendError:
    """Of a GET."""
    if reading.http == 404:
        return Item.GONE
    if not reading.good:
        return reading.error()
    for place in (reading.data, reading.whole):
        if any(a_text(place.get(name)).casefold() in ENDED for name in _STATES):
            return Item.ENDED
    return Item.OPEN
