"""Genesys' Engagement API, base path /engagement/v3 (contract/callback.txt): callbacks, without I/O.

What the document only names is read as the vendor's published client reads it (engagement-client-js 9.0.84). A create
has no key for repetitions, and there is no search by number: an answer that was lost stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from urllib.parse import quote

import httpx
import orjson

from dcbridge.genesys.envelope import Reading, first_text
from dcbridge.json_values import a_list, a_text, an_object

MOST_SLOTS = 200  # of one answer that are read
_FARTHEST = timedelta(days=400)  # a time beyond that is no slot
_LONGEST_ID = 200
_DAY = 24 * 60  # minutes; no clock on a wall is further from UTC


class State(StrEnum):
    """Of a callback, in the vendor's words."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    ROUTING = "ROUTING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    GONE = "GONE"  # 404
    OTHER = "OTHER"  # a word that is not in the document


_STATES = {one.value: one for one in State if one not in (State.GONE, State.OTHER)}


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """Whether a queue takes callbacks. `wait` in seconds, None where it cannot be said."""

    now: bool
    later: bool
    wait: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which a call may be booked. `offset`: minutes by which a clock there is ahead of UTC; None where that
    is not said, or makes no sense.
    """

    at: datetime
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Booked:
    """`id` is "" where the answer names none: there is a callback, and it cannot be asked about or cancelled."""

    id: str


@dataclass(frozen=True, slots=True)
class Full:
    """That time has no place left. `slots`: what is proposed instead, soonest first."""

    slots: tuple[datetime, ...]


@dataclass(frozen=True, slots=True)
class Callback:
    """What became of one. `position`, `wait`: while it is in the queue, else None."""

    state: State
    reason: str = ""
    position: int | None = None
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Engagement:
    """The API of one contact centre. `url`: with /engagement/v3, without a slash at the end."""

    url: str

    def queue_status(self, queue: str) -> httpx.Request:
        return httpx.Request("GET", f"{self.url}/callbacks/queue-status/{quote(queue, safe='')}")

    def availability(self, service: str, days: int, most: int, timezone: str = "") -> httpx.Request:
        asked = {"numberOfDays": str(days), "maxTimeSlots": str(most)} | ({"timezone": timezone} if timezone else {})
        return httpx.Request("GET", f"{self.url}/callbacks/availability/{quote(service, safe='')}", params=asked)

    def open_for(self, service: str) -> httpx.Request:
        return httpx.Request("GET", f"{self.url}/callbacks/open-for/{quote(service, safe='')}")

    def create(
        self, service: str, number: str, at: datetime | None, user_data: Mapping[str, str], language: str = ""
    ) -> httpx.Request:
        """`at`: None for as soon as possible. Keys of `user_data` are JavaScript identifiers: others are ignored there.
        A full time is refused instead of shifted, because the consumer was promised that one.
        """
        body: dict[str, object] = {"serviceName": service, "phoneNumber": number, "channel": "SMS"}
        if at is not None:
            body["desiredTime"] = iso(at)
            body["alwaysCheckCapacity"] = True
        body["cbOfferType"] = "SCHEDULED" if at is not None else "ASAP"
        if language:
            body["language"] = language
        return self._post("create", body | {"userData": dict(user_data)})

    def retrieve(self, callback: str) -> httpx.Request:
        return self._post("retrieve", {"id": callback})

    def cancel(self, callback: str) -> httpx.Request:
        return self._post("cancel", {"id": callback})

    def _post(self, what: str, body: Mapping[str, object]) -> httpx.Request:
        headers = {"Content-Type": "application/json"}
        return httpx.Request("POST", f"{self.url}/callbacks/{what}", headers=headers, content=orjson.dumps(body))


def iso(at: datetime) -> str:
    """yyyy-MM-ddTHH:mm:ss.SSSZ, the one form that the API documents."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(value: object) -> datetime | None:
    """A time as ISO 8601, or as milliseconds since 1970; without a zone it is UTC; None for none, or one far off."""
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            found = datetime.fromtimestamp(value / 1000, UTC)
        elif isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) > 8:
            found = datetime.fromtimestamp(int(value[:20]) / 1000, UTC)
        elif isinstance(value, str) and "T" in value:
            found = datetime.fromisoformat(value[:40])
        else:
            return None
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return found if abs(found - datetime.now(UTC)) < _FARTHEST else None


def read_queue_status(reading: Reading) -> QueueStatus:
    """Raises a SendError. A wait of -1 is none that could be said: nobody was there yet, or there are no agents."""
    if not reading.good:
        raise reading.error()
    wait = _number(reading.data.get("ewt"))
    return QueueStatus(
        now=reading.data.get("offerImmediateCallback") is True,
        later=reading.data.get("offerScheduledCallback") is True,
        wait=wait if wait is not None and wait >= 0 else None,
    )


def read_open(reading: Reading) -> bool:
    """Whether the office is open; also where the answer does not say. Raises a SendError."""
    if not reading.good:
        raise reading.error()
    return _number(reading.data.get("openFor")) != 0


def read_availability(reading: Reading) -> tuple[Slot, ...]:
    """Slots with a place left, soonest first. Raises a SendError."""
    if not reading.good:
        raise reading.error()
    found: dict[datetime, Slot] = {}
    for one in a_list(reading.data.get("slots"))[:MOST_SLOTS]:
        slot = an_object(one)
        at, capacity = moment(slot.get("utcTime")), _number(slot.get("capacity"))
        if at is not None and (capacity is None or capacity > 0):
            found.setdefault(at, Slot(at, _offset(at, _local(slot.get("localTime")))))
    return tuple(found[at] for at in sorted(found))


def read_created(reading: Reading) -> Booked | Full:
    """Raises a SendError where there is no callback now, or where that is not known."""
    if reading.good:
        return Booked(_id(reading))
    if reading.http == 429 and (proposed := an_object(reading.data.get("slots"))):
        names = list(proposed)[:MOST_SLOTS]
        left = {name: _number(proposed[name]) for name in names}
        times = {moment(name) for name in names if (free := left[name]) is None or free > 0}
        return Full(tuple(sorted(at for at in times if at is not None)))
    if reading.http == 429 and reading.code == "429" and reading.retry_after is None:
        return Full(())  # in the API's own envelope: of this time. Any other is a limit of requests
    raise reading.error()


def read_cancelled(reading: Reading) -> None:
    """One that is gone already is cancelled (404). Raises a SendError; Refused: it cannot be cancelled any more."""
    if not reading.good and reading.http != 404:
        raise reading.error()


def read_callback(reading: Reading) -> Callback:
    """Raises a SendError."""
    if reading.http == 404:
        return Callback(State.GONE)
    if not reading.good:
        raise reading.error()
    word = first_text(reading, "callbackState")
    position, wait = _number(reading.data.get("positionInQueue")), _number(reading.data.get("estimatedWaitTime"))
    return Callback(
        state=_STATES.get(word, State.OTHER),
        reason=first_text(reading, "callbackReason")[:60],
        position=int(position) if position is not None and position >= 0 else None,
        wait=wait if wait is not None and wait >= 0 else None,
    )


def _id(reading: Reading) -> str:
    """A text, or a whole number as the published client documents it."""
    for place in (reading.data, reading.whole):
        if found := a_text(place.get("id")):
            return found if len(found) <= _LONGEST_ID and found.isprintable() else ""
    return ""


def _number(value: object) -> float | None:
    """A number, or one that is written as a text."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return found if found is not None and abs(found) < 1e9 else None  # neither infinite nor NaN


def _offset(at: datetime, local: datetime | None) -> int | None:
    minutes = round((local - at.replace(tzinfo=None)) / timedelta(minutes=1)) if local else _DAY
    return minutes if abs(minutes) < _DAY else None


def _local(value: object) -> datetime | None:
    """A time as a clock on the wall shows it."""
    try:
        return datetime.fromisoformat(value[:40]).replace(tzinfo=None) if isinstance(value, str) else None
    except ValueError:
        return None
