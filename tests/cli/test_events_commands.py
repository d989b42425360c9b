"""`dcbridge events` and `dcbridge subscribers`: what an operator is shown, and what a switch does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import yaml
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.events import event as events
from dcbridge.ledger.deliveries import Failure
from dcbridge.ledger.fields import Kind
from tests.cli.session import Session
from tests.listening import listening

SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
PRIVATE = "canary-of-an-entity"


class EventSession(Session):
    """Two subscribers, of which one wants only what is finished."""

    def __init__(self, redis: Redis, url: str, folder: Path) -> None:
        super().__init__(redis, url, folder)
        self.events = self.ledger.events

    async def configure(self, there: str = "https://crm.example.com", **more: Any) -> None:
        """bridge.yaml with subscribers crm and ends; `more` are others."""
        path = self.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        sink = {"kind": "http", "url": f"{there}/hook", "secrets": [SECRET], "allow": ["127.0.0.1"]}
        told["subscribers"] = {"crm": {"sink": sink}, "ends": {"sink": sink, "events": ["FINISHED"]}, **more}
        path.write_text(yaml.safe_dump(told))
        names = [name for name, one in told["subscribers"].items() if one.get("on", True)]
        await self.ledger.pacing.announce({f"subscribers/{name}": f"subscribers/{name} 0 1 20 0 1 0" for name in names})
        await self.ledger.subscribers.announce(dict.fromkeys(names, 86400.0))

    async def tell(self, interaction: str, name: str, *subscribers: str, ago: float = 0.0) -> str:
        """An event, received so many seconds ago, with a delivery for each of these; its id."""
        body = orjson.dumps(
            {
                "operationId": f"{interaction}-{name}",
                "data": {"entities": [{"event": name, "entity": {"id": interaction, "secretly": PRIVATE}}]},
            }
        )
        [kept], _ = events.split("main", body, datetime.now(UTC) - timedelta(seconds=ago), "trace")
        new = events.for_ledger(kept, {})
        await self.events.put([type(new)(**{**as_dict(new), "lanes": dict.fromkeys(subscribers, "")})])
        return kept.event.id

    async def deliver(self, event: str, name: str) -> None:
        assert (await self.ledger.deliveries.claim(f"{event}-{name}", "w.1", 60.0)).ours
        assert await self.ledger.deliveries.delivered(f"{event}-{name}") == "delivered"


def as_dict(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


@pytest.fixture
def session(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> EventSession:
    return EventSession(redis, redis_server.url, tmp_path / "bridge")


# ---------------------------------------------------------------- events list


async def test_events_are_listed_with_what_became_of_them(session: EventSession) -> None:
    await session.configure()
    older = await session.tell("i-1", "STARTED", "crm", ago=100)
    newer = await session.tell("i-1", "FINISHED", "crm", "ends")
    await session.deliver(newer, "ends")
    said = await session.types("events", "list", "--json")
    assert [(one["id"], one["event"], one["sequence"]) for one in said.lines] == [
        (newer, "FINISHED", 2),
        (older, "STARTED", 1),
    ]
    states = {name: one["state"] for name, one in said.lines[0]["deliveries"].items()}
    assert states == {"crm": "waiting", "ends": "delivered"}
    shown = await session.types("events", "list")
    assert "crm waiting, ends delivered" in shown.out
    assert PRIVATE not in said.out + shown.out


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--since", "60s"], ["i-2", "i-1"]),
        (["--until", "60s"], ["i-1"]),
        (["--event", "finished"], ["i-1"]),
        (["--interaction", "i-2"], ["i-2"]),
        (["--endpoint", "other"], []),
        (["--limit", "1"], ["i-2"]),
    ],
)
async def test_events_are_chosen(session: EventSession, options: list[str], found: list[str]) -> None:
    await session.configure()
    await session.tell("i-1", "STARTED", ago=100)
    await session.tell("i-1", "FINISHED", ago=30)
    await session.tell("i-2", "STARTED")
    said = await session.types("events", "list", "--json", *options)
    assert [one["interaction"] for one in said.lines] == found
    assert said.code == 0


async def test_a_delivery_that_failed_says_why(session: EventSession) -> None:
    await session.configure()
    event = await session.tell("i-1", "STARTED", "crm")
    await session.ledger.deliveries.claim(f"{event}-crm", "w.1", 60.0)
    await session.ledger.deliveries.failed(f"{event}-crm", "w.1", Failure("503", 60.0, "sick", True, 5, 5.0, 60.0, 0.0))
    said = await session.types("events", "list", "--json")
    assert said.lines[0]["deliveries"]["crm"] == {"state": "waiting", "attempts": 1, "last_error": "503"}


async def test_nothing_to_list(session: EventSession) -> None:
    said = await session.types("events", "list")
    assert (said.code, said.out) == (0, "There are no events.\n")


# ---------------------------------------------------------------- events tail


async def test_tail_shows_each_event_once_as_it_comes(session: EventSession) -> None:
    await session.configure()
    await session.tell("i-0", "STARTED", ago=100)
    command = [sys.executable, "-m", "dcbridge", "events", "tail", "--json"]
    environ = {**os.environ, **session.environ, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        seen: list[str] = []
        async with asyncio.timeout(60):
            while not seen:  # it looks half a second back at its start
                event = await session.tell(f"i-{len(await session.events.ids())}", "STARTED")
                try:
                    seen.append(orjson.loads(await asyncio.wait_for(process.stdout.readline(), 0.5))["id"])
                except TimeoutError:
                    continue
            last = await session.tell("i-last", "FINISHED")
            while seen[-1] != last:
                seen.append(orjson.loads(await process.stdout.readline())["id"])
        assert event in seen
        assert len(seen) == len(set(seen))
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() in (0, 130)


# ---------------------------------------------------------------- events replay


async def hour(session: EventSession) -> list[str]:
    """Six events of the last hour, and one of the hour before, all delivered to crm; of the six, three are ends."""
    await session.configure()
    old = await session.tell("i-old", "STARTED", "crm", ago=5000)
    found = []
    for n in range(3):
        found.append(await session.tell(f"i-{n}", "STARTED", "crm", ago=1000 - n))
        found.append(await session.tell(f"i-{n}", "FINISHED", "crm", ago=500 - n))
    for event in [old, *found]:
        await session.deliver(event, "crm")
    await session.drop_jobs()
    return found


async def test_a_dry_run_says_what_would_be_done_and_changes_nothing(session: EventSession) -> None:
    await hour(session)
    before = await session.everything()
    said = await session.types("events", "replay", "--since", "1h", "--subscriber", "crm", "--dry-run")
    assert said.out == "6 would be delivered to crm again.\n"
    assert await session.everything() == before


async def test_an_hour_goes_to_one_subscriber_and_no_other_notices(session: EventSession) -> None:
    found = await hour(session)
    said = await session.types("events", "replay", "--since", "1h", "--subscriber", "crm")
    assert (said.code, said.out) == (0, "6 will be delivered to crm again.\n")
    assert sorted(await session.queued("events")) == sorted(f"{event}-crm" for event in found)
    books = {one.name: one for one in await session.ledger.subscribers.all()}
    assert (books["crm"].waiting, books["crm"].difference) == (6, 0)
    assert (books["ends"].accepted, books["ends"].waiting) == (0, 0)
    again = await session.types("events", "replay", "--since", "1h", "--subscriber", "crm")
    assert (again.code, again.out) == (
        0, "0 will be delivered to crm again.\n6 still wait for delivery.\n",
    )  # fmt: skip


async def test_a_replay_keeps_to_the_subscribers_filters_and_to_what_was_asked_for(session: EventSession) -> None:
    await hour(session)
    said = await session.types("events", "replay", "--since", "1h", "--subscriber", "ends")
    assert said.out == "3 will be delivered to ends again.\n3 do not match the options or the subscriber's filters.\n"
    said = await session.types("events", "replay", "--since", "1h", "--interaction", "i-1", "--subscriber", "crm")
    assert said.out.startswith("2 will be delivered to crm again.\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nobody", "--subscriber: there is no subscriber nobody; known: crm, ends, off\n"),
        ("cmr", '--subscriber: there is no subscriber cmr; known: crm, ends, off; did you mean "crm"?'),
        ("off", "--subscriber: off is off in bridge.yaml and receives nothing (subscribers.off.on)"),
    ],
)
async def test_a_replay_to_nobody(session: EventSession, name: str, reason: str) -> None:
    sink = {"kind": "http", "url": "https://off.example.com/hook", "secrets": [SECRET]}
    await session.configure(off={"on": False, "sink": sink})
    await session.tell("i-1", "STARTED")
    said = await session.types("events", "replay", "--since", "1h", "--subscriber", name)
    assert said.code == 1
    assert reason in said.err


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        (["--since", "yesterday"], 2, "--since should be 90s, 30m, 2h, 7d or an ISO time, and is 'yesterday'"),
        (["--since", "1h", "--until", "soon"], 2, "--until should be"),
        (["--since", "1h", "--until", "2h"], 2, "--until should be later than --since, and 2h is not later than 1h"),
        (["--since", "2h", "--until", "1h"], 0, ""),
        (["--since", "90d"], 0, "--since: events are kept for 7 d (DCBRIDGE_EVENT_DAYS); older ones may be gone"),
        (["--since", "7d"], 0, ""),
        (
            ["--since", "7d", "--endpoint", "mian"],
            0,
            "--endpoint: there is no interactions webhook mian; known: main",
        ),
        (["--since", "7d", "--endpoint", "main"], 0, ""),
    ],
)
async def test_what_is_wrong_with_a_replay_is_told_with_its_option(
    session: EventSession, more: list[str], code: int, says: str
) -> None:
    await hour(session)
    said = await session.types("events", "replay", "--subscriber", "crm", "--dry-run", *more)
    assert said.code == code
    assert says in said.err if says else said.err == ""


async def test_a_slow_rate_puts_one_after_the_other(session: EventSession) -> None:
    """Whoever asks for one in ten seconds has not got two when he changes his mind."""
    await hour(session)
    command = [sys.executable, "-m", "dcbridge", "events", "replay", "--since", "1h", "--subscriber", "crm"]
    process = await asyncio.create_subprocess_exec(*command, "--rate", "0.1", env={**os.environ, **session.environ})
    try:
        async with asyncio.timeout(60):
            while not (put := await session.queued("events")):  # noqa: ASYNC110 (another process puts it there)
                await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert len(put) == 1


async def test_a_replay_at_a_rate_takes_its_time_in_steps(session: EventSession) -> None:
    await hour(session)
    said = await session.types("events", "replay", "--since", "1h", "--subscriber", "crm", "--rate", "1000/s")
    assert said.out == "6 will be delivered to crm again.\n"
    wrong = await session.types("events", "replay", "--since", "1h", "--subscriber", "crm", "--rate", "fast")
    assert wrong.code == 2


# ---------------------------------------------------------------- dead deliveries


async def test_a_dead_delivery_is_put_back_and_goes_to_its_subscriber_alone(session: EventSession) -> None:
    await session.configure()
    event = await session.tell("i-1", "STARTED", "crm")
    await session.ledger.deliveries.claim(f"{event}-crm", "w.1", 60.0)
    await session.ledger.deliveries.failed(
        f"{event}-crm", "w.1", Failure("422", None, "event", True, 5, 5.0, 60.0, 0.0)
    )
    await session.drop_jobs()
    listed = await session.types("dead", "list", "--json", "--what", "delivery")
    assert [(one["channel"], one["reason"]) for one in listed.lines] == [("subscribers/crm", "422")]
    said = await session.types("dead", "replay", "--what", "delivery")
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 replayed, 0 not.")
    assert await session.queued("events") == [f"{event}-crm"]
    assert (await session.types("dead", "list")).out == "There are no dead letters.\n"


async def test_a_nameless_entity_stays_a_letter(session: EventSession) -> None:
    await session.ledger.dead_letters.add("e-1", Kind.INTERACTION_ENTITY, "", "neither an id nor an event", b"{}")
    said = await session.types("dead", "replay", "e-1")
    assert said.code == 1
    assert "it cannot be delivered" in said.out


# ---------------------------------------------------------------- subscribers


async def test_subscribers_are_listed_with_how_it_goes(session: EventSession) -> None:
    sink = {"kind": "http", "url": "https://off.example.com/hook", "secrets": [SECRET]}
    await session.configure(off={"on": False, "sink": sink})
    await session.ledger.subscribers.announce({"gone": 100.0})
    await session.deliver(await session.tell("i-1", "STARTED", "crm"), "crm")
    await session.tell("i-2", "STARTED", "crm")
    await session.ledger.subscribers.disable("ends", "operator")
    said = await session.types("subscribers", "list", "--json")
    rows = {one["name"]: one for one in said.lines}
    assert (rows["crm"]["state"], rows["crm"]["delivered"], rows["crm"]["waiting"]) == ("on", 1, 1)
    assert rows["crm"]["place"] == "https://crm.example.com"
    assert rows["ends"]["state"].endswith(": operator")
    assert (rows["off"]["state"], rows["gone"]["state"]) == ("off in bridge.yaml", "not in bridge.yaml")
    shown = await session.types("subscribers", "list")
    assert all(name in shown.out for name in rows)
    assert SECRET not in said.out + shown.out


async def test_disable_and_enable(session: EventSession) -> None:
    await session.configure()
    assert (await session.types("subscribers", "disable", "crm")).code == 0
    assert (await session.types("subscribers", "disable", "crm")).code == 1
    await session.tell("i-1", "STARTED", "crm")
    assert await session.queued("events") == []
    assert (await session.types("subscribers", "enable", "crm")).code == 0
    assert len(await session.queued("events")) == 1
    assert (await session.types("subscribers", "enable", "crm")).code == 1
    for switch in ("disable", "enable"):
        said = await session.types("subscribers", switch, "nobody")
        assert (said.code, said.err) == (1, "error: there is no subscriber nobody; known: crm, ends\n")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(204, 0, "crm accepted own_"), (500, 1, "outcome_unknown (500)"), (410, 1, "gone (410)")],
)
async def test_the_test_event_goes_the_way_of_every_event(
    session: EventSession, status: int, code: int, words: str
) -> None:
    heard: list[Any] = []

    async def hook(request: Request) -> Response:
        heard.append((dict(request.headers), orjson.loads(await request.body())))
        return Response(status_code=status)

    async with listening(Starlette(routes=[Route("/hook", hook, methods=["POST"])])) as url:
        await session.configure(url)
        said = await session.types("subscribers", "test", "crm")
    assert said.code == code
    assert words in said.out + said.err
    [(headers, body)] = heard
    assert body["type"] == "subscriber.test"
    assert headers["webhook-signature"].startswith("v1,")


async def test_the_test_event_reaches_no_address_that_was_not_allowed(session: EventSession) -> None:
    async with listening(Starlette()) as url:
        await session.configure()
        path = session.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["subscribers"]["crm"]["sink"] = {"kind": "http", "url": f"{url}/hook", "secrets": [SECRET]}
        path.write_text(yaml.safe_dump(told))
        said = await session.types("subscribers", "test", "crm")
    assert said.code == 2
    assert "is not a public address" in said.err


def own_address() -> str:
    """What the name of this computer stands for; "" where nobody knows."""
    try:
        return str(socket.getaddrinfo(socket.gethostname(), 80, socket.AF_INET)[0][4][0])
    except OSError:
        return ""


async def test_the_test_event_goes_past_the_guard_of_every_event(session: EventSession) -> None:
    """A name is a public one as far as bridge.yaml shows. This computer's stands for an address that is not."""
    name, address = socket.gethostname(), own_address()
    if name == "localhost" or not address or not ip_address(address).is_private:
        pytest.skip("this computer's name stands for no private address")
    heard: list[str] = []

    async def hook(request: Request) -> Response:
        heard.append(request.headers["webhook-id"])
        return Response(status_code=204)

    async with listening(Starlette(routes=[Route("/hook", hook, methods=["POST"])])) as url:
        await session.configure()
        path = session.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        sink = {"kind": "http", "url": f"http://{name}:{httpx.URL(url).port}/hook", "secrets": [SECRET]}
        for allow in ([], [name]):
            told["subscribers"]["crm"]["sink"] = sink | {"allow": allow}
            path.write_text(yaml.safe_dump(told))
            said = await session.types("subscribers", "test", "crm")
            if not allow:
                assert said.code == 1
                assert "(address not allowed); add it to sink.allow if it is intended" in said.err
                assert (heard, address in said.err) == ([], False)
            elif address == "127.0.0.1":  # where the receiver listens
                assert (said.code, len(heard)) == (0, 1)


async def test_the_test_of_nobody(session: EventSession) -> None:
    await session.configure()
    said = await session.types("subscribers", "test", "nobody")
    assert said.code == 1
    assert "known: crm, ends" in said.err
