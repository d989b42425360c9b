"""Genesys' Engagement API: our requests against the sandbox, and what each of its answers means."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreachable
from dcbridge.genesys import engagement
from dcbridge.genesys.engagement import Booked, Callback, Engagement, Full, QueueStatus, State
from dcbridge.genesys.envelope import Reading, read
from dcbridge.interfaces import Interfaces, Operation
from dcbridge.ledger import Ledger
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.engagement import complete
from sandbox.world import World
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG

NUMBER, NOW = "+16504661149", datetime.now(UTC)
SOON = (NOW + timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)


@dataclass
class Side:
    """Genesys, and one process of ours."""

    world: World
    api: Engagement
    interfaces: Interfaces

    async def ask(self, request: httpx.Request) -> Reading:
        return await self.interfaces.send(Operation("engagement", "test"), request)

    async def books(self, at: datetime | None = None, **changes: Any) -> Booked | Full:
        asked = {"service": "Sales", "number": NUMBER, "at": at, "user_data": {"dcbRef": "book-1"}} | changes
        return engagement.read_created(await self.ask(self.api.create(**asked)))


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-api-key")))
    async with listening(app) as url, Sender(read_timeout=0.5) as sender:
        interfaces = Interfaces("the-api-key", None, sender, Ledger(redis, keep=60, keep_dead=60), Metrics())
        yield Side(app.state.world, Engagement(f"{url}/engagement/v3"), interfaces)


async def test_a_call_from_the_question_to_its_end(side: Side) -> None:
    world, api, ask = side.world, side.api, side.ask
    assert engagement.read_queue_status(await ask(api.queue_status("Sales"))) == QueueStatus(True, True, 240.0)
    assert engagement.read_open(await ask(api.open_for("Sales")))
    slots = engagement.read_availability(await ask(api.availability("Sales", 2, 3, "Europe/Berlin")))
    assert len(slots) == 3
    assert all(slot.at > NOW for slot in slots)
    assert slots[0].offset in (60, 120)
    first, second = await side.books(slots[1].at), await side.books()
    assert isinstance(first, Booked)
    assert isinstance(second, Booked)
    assert first.id in world.calls
    assert second.id.isdecimal()
    call = world.calls[first.id]
    assert (call.number, call.time, call.data) == (NUMBER, slots[1].at.timestamp(), {"dcbRef": "book-1"})
    assert engagement.read_callback(await ask(api.retrieve(first.id))) == Callback(State.SCHEDULED)
    assert engagement.read_callback(await ask(api.retrieve(second.id))) == Callback(State.QUEUED, "", 3, 90.0)
    engagement.read_cancelled(await ask(api.cancel(first.id)))
    engagement.read_cancelled(await ask(api.cancel(first.id)))  # gone already
    complete(world, second.id, "ANSWERED")
    assert engagement.read_callback(await ask(api.retrieve(first.id))) == Callback(State.GONE)
    assert engagement.read_callback(await ask(api.retrieve(second.id))) == Callback(State.COMPLETED, "ANSWERED")
    with pytest.raises(Refused):
        engagement.read_cancelled(await ask(api.cancel(second.id)))
    assert list(world.violations) == []


@pytest.mark.parametrize("keys", ["iso", "ms"])
async def test_a_full_slot_proposes_others(side: Side, keys: str) -> None:
    side.world.switches.engagement.slot_keys = keys
    side.world.full.add(SOON.timestamp())
    full = await side.books(SOON)
    assert isinstance(full, Full)
    assert len(full.slots) == 3
    assert SOON not in full.slots
    assert list(full.slots) == sorted(full.slots)
    assert isinstance(await side.books(full.slots[0]), Booked)
    assert len(side.world.calls) == 1


@pytest.mark.parametrize(
    ("mode", "error", "made"),
    [
        ("403", AccountFault, 0), ("400", Refused, 0), ("500", OutcomeUnknown, 0), ("silent", OutcomeUnknown, 0),
        ("lost_answer", OutcomeUnknown, 1), ("slow", OutcomeUnknown, 1), ("not_json", SendError, 1),
    ],
)  # fmt: skip
async def test_what_a_failure_means(side: Side, mode: str, error: type[SendError], made: int) -> None:
    side.world.switches.engagement.mode, side.world.switches.engagement.delay = mode, 0.7
    with pytest.raises(error):
        await side.books()
    assert len(side.world.calls) <= made  # `slow` books when nobody waits any more


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"service": "Other"}, Refused), ({"number": "0650"}, Refused), ({"at": NOW - timedelta(hours=1)}, Refused),
    ],
    ids=["service", "number", "past"],
)  # fmt: skip
async def test_the_sandbox_refuses_what_genesys_does(
    side: Side, changes: dict[str, Any], error: type[SendError]
) -> None:
    with pytest.raises(error):
        await side.books(**changes)
    assert not side.world.calls


async def test_the_sandbox_drops_keys_that_are_no_identifiers_and_knows_its_key(side: Side) -> None:
    await side.books(user_data={"dcbRef": "1", "not-one": "2"})
    [call] = side.world.calls.values()
    assert call.data == {"dcbRef": "1"}
    request = side.api.queue_status("Sales")
    request.headers["x-api-key"] = "another"
    async with Sender() as sender:
        assert (await sender.http(request)).status_code == 403
    assert [one.rule for one in side.world.violations] == ["x-api-key is ours"]


async def test_nothing_is_there(side: Side) -> None:
    async with Sender(connect_timeout=0.5) as sender:
        with pytest.raises(Unreachable):
            await sender.http(Engagement("http://127.0.0.1:1/engagement/v3").create("Sales", NUMBER, None, {}))


def test_a_time_is_written_in_the_one_documented_form() -> None:
    berlin = SOON.astimezone()
    body = orjson.loads(Engagement("https://x").create("Sales", NUMBER, berlin, {}, "en-US").content)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00\.000Z", body["desiredTime"])
    assert body["cbOfferType"] == "SCHEDULED"
    assert body["alwaysCheckCapacity"] is True
    assert body["language"] == "en-US"
    now = orjson.loads(Engagement("https://x").create("Sales", NUMBER, None, {}).content)
    assert not {"desiredTime", "alwaysCheckCapacity", "language"} & now.keys()
    assert now["cbOfferType"] == "ASAP"


@pytest.mark.parametrize("name", ["a/b", "a?b", "ä", "a b"])
def test_a_name_stays_one_segment(name: str) -> None:
    path = Engagement("https://x/engagement/v3").queue_status(name).url.raw_path
    assert path.startswith(b"/engagement/v3/callbacks/queue-status/")
    assert path.count(b"/") == 5
    assert b"?" not in path


def at_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    ("value", "is_time"),
    [
        (SOON.isoformat(), True), (engagement.iso(SOON), True), (at_ms(SOON), True), (str(at_ms(SOON)), True),
        (SOON.replace(tzinfo=None).isoformat(), True), ("", False), ("soon", False), (None, False), (True, False),
        (10**30, False), ("9" * 400, False), ("-1", False), ("9999-12-31T23:59:59-23:59", False),
        ("1970-01-01T00:00Z", False),
        ({"at": 1}, False), (float("nan"), False), ("2026-13-01T00:00:00Z", False),
    ],
)  # fmt: skip
def test_a_time_of_an_answer(value: object, is_time: bool) -> None:
    assert (engagement.moment(value) == SOON) if is_time else (engagement.moment(value) is None)


def reading(status: int, body: object, **headers: str) -> Reading:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return read(httpx.Response(status, content=content, headers=headers))


STATUS = {"code": 429, "message": "no capacity", "corrId": "1"}


@pytest.mark.parametrize(
    ("status", "body", "means"),
    [
        (200, {"status": {"code": 0}, "data": {"id": "a"}}, Booked("a")),
        (200, {"status": {"code": 200}, "data": {"id": 7}}, Booked("7")),
        (200, {"data": {"id": "a"}}, Booked("a")),
        (200, {"id": "a"}, Booked("a")),
        (200, {"status": {"code": 200}}, Booked("")),
        (200, b"", Booked("")),
        (200, {"data": {"id": "x" * 300}}, Booked("")),
        (429, {"status": STATUS, "data": {"slots": {engagement.iso(SOON): "3"}}}, Full((SOON,))),
        (429, {"status": STATUS, "data": {"slots": {str(at_ms(SOON)): 1}}}, Full((SOON,))),
        (429, {"data": {"slots": {engagement.iso(SOON): 0}}}, Full(())),
        (429, {"data": {"slots": {"nonsense": 3}}}, Full(())),
        (429, {"status": STATUS}, Full(())),
        (429, {"message": "Too many requests"}, Throttled),
        (429, b"<html>", Throttled),
        (200, {"status": {"code": 500}}, Refused),
        (400, {"status": {"code": 400}}, Refused),
        (404, b"", Refused),
        (401, {"message": "Unauthorized"}, AccountFault),
        (403, {"message": "Forbidden"}, AccountFault),
        (302, b"", AccountFault),
        (503, b"", OutcomeUnknown),
    ],
)
def test_what_an_answer_to_create_means(status: int, body: object, means: Any) -> None:
    if isinstance(means, type):
        with pytest.raises(means):
            engagement.read_created(reading(status, body))
    else:
        assert engagement.read_created(reading(status, body)) == means


def test_a_limit_of_requests_is_no_full_slot() -> None:
    with pytest.raises(Throttled):
        engagement.read_created(reading(429, {"status": STATUS}, **{"Retry-After": "5"}))


@pytest.mark.parametrize(
    ("data", "means"),
    [
        ({"ewt": 240, "offerImmediateCallback": True}, QueueStatus(True, False, 240.0)),
        ({"ewt": -1, "offerImmediateCallback": True}, QueueStatus(True, False, None)),
        ({"ewt": "12", "offerScheduledCallback": True}, QueueStatus(False, True, 12.0)),
        ({"ewt": "NaN", "offerImmediateCallback": "true"}, QueueStatus(False, False, None)),
        ({"ewt": 1e300}, QueueStatus(False, False, None)),
        ({}, QueueStatus(False, False, None)),
    ],
)
def test_what_a_queue_says(data: dict[str, object], means: QueueStatus) -> None:
    assert engagement.read_queue_status(reading(200, {"status": {"code": 200}, "data": data})) == means


def test_slots_are_sorted_bounded_and_free() -> None:
    def slot(minutes: int, **more: object) -> dict[str, object]:
        at = SOON + timedelta(minutes=minutes)
        return {"utcTime": engagement.iso(at), "localTime": "2026-11-26T14:00:00.000", "capacity": 1} | more

    slots = [slot(30), slot(0), slot(0), slot(60, capacity=0), slot(90, capacity="2"), {"utcTime": 5}, "x", None]
    found = engagement.read_availability(reading(200, {"data": {"slots": slots}}))
    assert [one.at - SOON for one in found] == [timedelta(0), timedelta(minutes=30), timedelta(minutes=90)]
    many = [slot(number) for number in range(engagement.MOST_SLOTS + 50)]
    assert len(engagement.read_availability(reading(200, {"data": {"slots": many}}))) == engagement.MOST_SLOTS


@pytest.mark.parametrize(
    ("local", "offset"),
    [
        (timedelta(0), 0), (timedelta(hours=-8), -480), (timedelta(hours=14), 840), (timedelta(days=1), None),
        (timedelta(days=-300), None), ("9999-12-31T23:59:59", None), ("0001-01-01T00:00:00", None), (None, None),
        (17, None), ("x" * 10_000, None),
    ],
)  # fmt: skip
def test_a_clock_that_is_far_from_utc_is_not_believed(local: object, offset: int | None) -> None:
    """A sum of it and a later slot would be no time at all."""
    said = (SOON + local).replace(tzinfo=None).isoformat() if isinstance(local, timedelta) else local
    slot = {"utcTime": engagement.iso(SOON), "localTime": said}
    [found] = engagement.read_availability(reading(200, {"data": {"slots": [slot]}}))
    assert found.offset == offset


@pytest.mark.parametrize(
    ("data", "means"),
    [
        (
            {"callbackState": "QUEUED", "positionInQueue": 2, "estimatedWaitTime": 60},
            Callback(State.QUEUED, "", 2, 60.0),
        ),
        ({"callbackState": "PAUSED"}, Callback(State.OTHER)),
        ({"callbackState": "GONE", "positionInQueue": -1}, Callback(State.OTHER)),
        ({"callbackState": ["QUEUED"]}, Callback(State.OTHER)),
        ({}, Callback(State.OTHER)),
    ],
)
def test_what_became_of_a_call(data: dict[str, object], means: Callback) -> None:
    assert engagement.read_callback(reading(200, {"status": {"code": 0}, "data": data})) == means
