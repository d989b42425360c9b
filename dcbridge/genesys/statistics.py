"""Genesys' Statistics API, base path /statistics/v3 (contract/statistics.txt), and its proxy in Engagement: no I/O.

A value "reflects the structure of the Stat Server message": a number is taken from it, or from its field `value`, and
anything else is none. A time is in ms since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

import httpx
import orjson

from dcbridge.genesys.envelope import Reading
from dcbridge.json_values import a_list, a_text, an_object

UPDATES, SERVICE = "/statistics/v3/updates", "/statistics/v3/service"
AVAILABLE, UNAVAILABLE = "AVAILABLE", "UNAVAILABLE"

MOST = 200  # values of one answer; a subscription has fewer
LARGEST, LATEST = 1e12, 1e14  # of values, and of times in ms
_NUMBER = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?", re.ASCII)
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Watched:
    """One statistic of one object, by its `name` at Genesys or by a `definition`."""

    object_type: str
    object_id: str
    name: str = ""
    definition: Mapping[str, object] = field(default_factory=dict)

    @property
    def written(self) -> dict[str, object]:
        what: dict[str, object] = {"name": self.name} if self.name else {"definition": dict(self.definition)}
        return {"objectId": self.object_id, "objectType": self.object_type, **what}


@dataclass(frozen=True, slots=True)
class Value:
    """`key`: the statisticId of a subscription, "" for none. `at`: seconds since 1970, None where it was not said."""

    key: str
    number: float | None
    at: float | None = None
    subscription: str = ""
    name: str = ""
    object_type: str = ""
    object_id: str = ""


@dataclass(frozen=True, slots=True)
class Statistics:
    """`url`: with /statistics/v3; `engagement`: with /engagement/v3."""

    url: str
    engagement: str

    def subscribe(self, operation: str, watched: Mapping[str, Watched]) -> httpx.Request:
        """`operation`: a UUID that becomes the subscription's id. `watched`: by statisticId."""
        listed = [{"statisticId": key, **one.written} for key, one in watched.items()]
        content = orjson.dumps({"operationId": operation, "data": {"statistics": listed}})
        return httpx.Request("POST", f"{self.url}/subscriptions?verbose=INFO", headers=_JSON, content=content)

    def values(self, subscription: str, keys: Sequence[str]) -> httpx.Request:
        query = urlencode({"statisticIds": ",".join(keys), "verbose": "INFO"}, safe=",")
        return httpx.Request("GET", f"{self._subscription(subscription)}/statistic-values?{query}")

    def unsubscribe(self, subscription: str) -> httpx.Request:
        return httpx.Request("DELETE", self._subscription(subscription))

    def peek(self, watched: Sequence[Watched]) -> httpx.Request:
        return self._peek(self.url, watched, {})

    def peek_by_key(self, watched: Sequence[Watched], at_most: float) -> httpx.Request:
        """Through Engagement, which asks for no token. It keeps values; `at_most`: seconds, 15 at least."""
        headers = {"Cache-Control": f"max-age={max(15, int(at_most))}"}
        return self._peek(f"{self.engagement}/statistics", watched, headers)

    def waits(self, queues: Sequence[str]) -> httpx.Request:
        """Estimated waits of virtual queues."""
        query = urlencode({"virtual-queues": ",".join(queues)}, safe=",")
        return httpx.Request("GET", f"{self.engagement}/estimated-wait-time?{query}")

    def _subscription(self, subscription: str) -> str:
        return f"{self.url}/subscriptions/{quote(subscription, safe='')}"

    def _peek(self, url: str, watched: Sequence[Watched], headers: Mapping[str, str]) -> httpx.Request:
        content = orjson.dumps({"data": {"statistics": [one.written for one in watched]}})
        there = f"{url}/operations/get-statistic-ex"
        return httpx.Request("POST", there, headers={**_JSON, **headers}, content=content)


def values_of(reading: Reading) -> list[Value]:
    """Of a subscription, its values, or a peek."""
    return [*_values(reading.data, a_text(reading.data.get("subscriptionId")))]


def updates(data: object) -> list[Value]:
    """Of an event: {"data": {"statistics": […]}}, or the inner object alone."""
    return [*_values(_inner(data, "statistics"), "")]


def service_state(data: object) -> str:
    """Of an event: AVAILABLE, UNAVAILABLE, "" for any other."""
    state = _inner(data, "serviceState").get("serviceState")
    return state if state in (AVAILABLE, UNAVAILABLE) else ""


def waits_of(reading: Reading) -> dict[str, float | None]:
    """Virtual queue -> seconds; None where the contact centre cannot estimate it."""
    found: dict[str, float | None] = {}
    for one in a_list(reading.whole.get("data"))[:MOST]:
        row = an_object(one)
        queue, seconds = row.get("virtualQueue"), _number(row.get("estimatedWaitTime"))
        if isinstance(queue, str):
            found[queue] = seconds if seconds is not None and seconds >= 0 else None
    return found


def _inner(data: object, name: str) -> Mapping[str, object]:
    outer = an_object(data)
    return outer if name in outer else an_object(outer.get("data"))


def _values(data: Mapping[str, object], subscription: str) -> Iterator[Value]:
    for one in a_list(data.get("statistics"))[:MOST]:
        row = an_object(one)
        yield Value(
            a_text(row.get("statisticId")),
            _number(row.get("value")),
            _moment(row.get("timestamp")),
            a_text(row.get("subscriptionId")) or subscription,
            a_text(row.get("name")),
            a_text(row.get("objectType")),
            a_text(row.get("objectId")),
        )


def _number(value: object, largest: float = LARGEST) -> float | None:
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= largest else None


def _moment(value: object) -> float | None:
    number = _number(value, LATEST)
    return number / 1000 if number is not None and number > 0 else None
