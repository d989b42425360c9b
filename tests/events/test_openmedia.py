"""Work items: what is asked of Genesys' Openmedia API, and what its answers mean. The far side is the sandbox's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

from dcbridge.errors import AccountFault, OutcomeUnknown, SendError
from dcbridge.events.sinks import Event, Subscriber, open_sink
from dcbridge.events.sinks.openmedia import OpenmediaSink
from dcbridge.events.sinks.options import Content
from dcbridge.genesys.envelope import read
from dcbridge.genesys.openmedia import Item, external_id, what_became
from dcbridge.genesys.operations import Client
from dcbridge.interfaces import Interfaces
from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.tasks import NewTask
from dcbridge.ledger.work_items import DueItem
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG

AT = 1_764_150_000_000
EVERYTHING = {"text": "Where are you?", "address": "16504661149"}


class Letters:
    """Of a ledger in which every letter is there, but the one named gone."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, int, str]] = []

    async def content(self, letter: str, at: int) -> Content | None:
        return None if letter == "t-gone" else Content(**EVERYTHING)

    async def trace(self, letter: str) -> str:
        return f"trace-of-{letter}"

    async def item_opened(self, letter: str, at: int, subscriber: str) -> None:
        self.opened.append((letter, at, subscriber))


@dataclass(frozen=True, slots=True)
class Side:
    world: World
    url: str
    letters: Letters
    ledger: Ledger
    metrics: Metrics = field(default_factory=Metrics)
    traces: list[str] = field(default_factory=list)

    def client(self, key: str, sender: Sender) -> Client:
        return Interfaces(key, None, sender, self.ledger, self.metrics)

    def sink(self, **changes: Any) -> OpenmediaSink:
        fields = {"kind": "openmedia", "url": f"{self.url}/nexus/v3", "service": "bridge-tasks", "api_key": "the-key"}
        subscriber = Subscriber.model_validate({"sink": fields | {"timeout": 2} | changes})
        sink = open_sink("tasks", subscriber, "https://bridge.example.com", self.letters, self.client)
        assert isinstance(sink, OpenmediaSink)
        return sink


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-key")))
    traces: list[str] = []

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        traces.extend(value.decode() for name, value in scope.get("headers", ()) if name == b"x-b3-traceid")
        await app(scope, receive, send)

    async with listening(traced) as url:
        yield Side(app.state.world, url, Letters(), Ledger(redis, keep=60, keep_dead=60), traces=traces)


def tells(name: str = "written", letter: str = "t-1", kind: str = Kind.CONSUMER, **more: object) -> Event:
    fields = {"letter": letter, "kind": kind, "channel": "0123456789", "reason": "http 404", "at": str(AT), **more}
    return Event("own_" + "0" * 24, f"dead_letter.{name}", received_at=datetime.now(UTC), fields=fields, own=True)


async def carried(side: Side, *events: Event, **changes: Any) -> list[bool]:
    sink = side.sink(**changes)
    try:
        return [await sink.deliver(event) for event in events]
    finally:
        await sink.close()


async def test_one_letter_is_one_item_however_often_it_is_told(side: Side) -> None:
    assert await carried(side, tells(), tells()) == [False, True]
    [item] = side.world.items.values()
    assert item.external == f"dcb-t-1-{AT}"
    assert item.data == {
        "Subject": "A consumer's message that Digital Channels refused",
        "Letter": "t-1", "Kind": "consumer", "Reason": "http 404", "Channel": "0123456789",
    }  # fmt: skip
    assert side.letters.opened == [("t-1", AT, "tasks")] * 2
    assert list(side.world.violations) == []


async def test_its_requests_are_counted_traced_and_learnt_from(side: Side) -> None:
    await carried(side, tells(), tells("dropped"))
    assert sorted(await side.ledger.shapes.all()) == ["openmedia.create", "openmedia.stop", "openmedia.update"]
    taken = {"operation": "openmedia.create", "outcome": "taken"}
    assert side.metrics.registry.get_sample_value("dcbridge_genesys_requests_total", taken) == 1
    assert side.traces == ["trace-of-t-1"] * 3


@pytest.mark.parametrize(
    ("show", "seen"),
    [
        ([], {}),
        (["text"], {"Text": EVERYTHING["text"]}),
        (["address"], {"From": EVERYTHING["address"]}),
        (["address", "text"], {"From": EVERYTHING["address"], "Text": EVERYTHING["text"]}),
    ],
)
async def test_the_agent_sees_of_the_consumer_what_is_configured(
    side: Side, show: list[str], seen: dict[str, str]
) -> None:
    await carried(side, tells(), show=show)
    [item] = side.world.items.values()
    assert {name: value for name, value in item.data.items() if name in ("From", "Text")} == seen


@pytest.mark.parametrize(
    "event",
    [tells(letter="t-gone"), tells(kind=Kind.RECEIPT), tells("replayed"), tells("dropped"), tells("handled")],
    ids=["it has left", "a kind that is not asked for", "replayed", "dropped", "handled"],
)
async def test_nothing_to_do_makes_no_item(side: Side, event: Event) -> None:
    assert await carried(side, event) == [False]
    assert not side.world.items


@pytest.mark.parametrize(("how", "reason"), [("replayed", "Resolved"), ("dropped", "Discarded")])
async def test_the_item_ends_with_the_letter(side: Side, how: str, reason: str) -> None:
    await carried(side, tells(), tells(how), tells(how))
    [item] = side.world.items.values()
    assert (item.state, item.reason) == ("stopped", reason)
    assert list(side.world.violations) == []


@pytest.mark.parametrize(
    ("changes", "mode", "error"),
    [
        ({"service": "unknown"}, "ok", AccountFault),
        ({"api_key": "another"}, "ok", AccountFault),
        ({}, "500", OutcomeUnknown),
        ({}, "lost_answer", OutcomeUnknown),
        ({"timeout": 0.3}, "silent", OutcomeUnknown),
    ],
    ids=["no such service", "wrong key", "503", "answer lost", "silent"],
)
async def test_what_an_answer_means(side: Side, changes: dict[str, Any], mode: str, error: type[SendError]) -> None:
    side.world.switches.genesys.mode = mode
    with pytest.raises(error):
        await carried(side, tells(), **changes)
    assert side.letters.opened == []


async def test_a_refused_property_is_left_out(side: Side) -> None:
    side.world.switches.genesys.mode = "refuse_fields"
    await carried(side, tells(), show=["text"])
    [item] = side.world.items.values()
    assert item.data.keys() == {"Subject", "Letter"}


async def test_an_item_is_open_until_an_agent_has_ended_it(side: Side) -> None:
    sink = side.sink()
    seen = []
    await sink.deliver(tells())
    [item] = side.world.items.values()
    for state in ("open", "open", "open", "open", "stopped", "gone"):
        item.state = state
        seen.append(await sink.look("t-1", AT))
    await sink.close()
    assert seen == [Item.OPEN] * 4 + [Item.ENDED, Item.GONE]  # whichever of four shapes the answer has


@pytest.mark.parametrize(
    ("status", "body", "became"),
    [
        (200, b"", Item.OPEN),
        (200, b"{}", Item.OPEN),
        (200, b'{"data":{"state":"Routing"}}', Item.OPEN),
        (200, b'{"data":{"status":"COMPLETED"}}', Item.ENDED),
        (200, b'{"interactionState":"stopped"}', Item.ENDED),
        (404, b"<html>", Item.GONE),
    ],
)
def test_what_became_of_an_item(status: int, body: bytes, became: Item) -> None:
    assert what_became(read(httpx.Response(status, content=body))) is became


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 408, 429, 500, 503])
def test_an_answer_that_says_nothing_ends_no_letter(status: int) -> None:
    assert isinstance(what_became(read(httpx.Response(status, content=b"<html>"))), SendError)


@pytest.mark.parametrize(
    ("letter", "name"),
    [("t-c-SM1", f"dcb-t-c-SM1-{AT}"), ("t-c-ä/?", ""), ("w-" + "x" * 80, ""), ("t-in_1", "")],
)
def test_an_external_id_has_letters_digits_and_hyphens(letter: str, name: str) -> None:
    found = external_id(letter, AT)
    assert found == name if name else (len(found) == 36 and found.startswith("dcb-"))
    assert external_id(letter, AT + 1) != found


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"events": ["STARTED"]}, "should be some of dead_letter.written"),
        ({"sink": {"url": "digital.example.com"}}, "should be a whole URL"),
        ({"sink": {"url": "https://a@digital.example.com/nexus/v3"}}, "no user, query or fragment"),
        ({"sink": {"service": "a/b"}}, "pattern"),
        ({"sink": {"api_key": "a\nb"}}, "api_key"),
        ({"sink": {"kinds": []}}, "kinds"),
        ({"sink": {"show": ["everything"]}}, "show"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], says: str) -> None:
    sink = {"kind": "openmedia", "url": "https://digital.example.com/nexus/v3", "service": "s", "api_key": "k"}
    whole = {"sink": sink} | changes | ({"sink": sink | changes["sink"]} if "sink" in changes else {})
    with pytest.raises(ValidationError, match=says):
        Subscriber.model_validate(whole)


async def test_a_letter_of_a_task_has_its_trace(redis: Redis) -> None:
    ledger = Ledger(redis, keep=60, keep_dead=60)
    await ledger.tasks.put([NewTask("c-1", "consumer", "", b"{}", "the-trace")])
    assert [await ledger.dead_letters.trace(one) for one in ("t-c-1", "t-c-2", "c-1")] == ["the-trace", "", ""]


async def test_a_second_miss_ends_a_letter_and_one_does_not(redis: Redis) -> None:
    ledger = Ledger(redis, keep=60, keep_dead=60)
    await ledger.dead_letters.add("t-1", Kind.CONSUMER, "0123456789", "http 404", b"{}")
    letter = await anext(ledger.dead_letters.read(["t-1"]))
    assert letter is not None
    at = round(letter.at * 1000)
    assert await ledger.work_items.opened("t-1", at + 1, "tasks") == "gone"  # of an earlier death
    assert await ledger.work_items.opened("t-1", at, "tasks") == "opened"
    assert await ledger.work_items.opened("t-1", at, "tasks") == "again"
    assert await ledger.work_items.due(10, 60.0) == []  # not yet
    await redis.zadd("dcb:work-items", {"t-1": 0})
    [item] = await ledger.work_items.due(10, 60.0)
    assert item == DueItem("t-1", at, "tasks")
    assert await ledger.work_items.due(10, 60.0) == []  # somebody has it
    said = [await ledger.work_items.seen(item, state) for state in ("gone", "open", "gone", "gone", "gone")]
    assert said == ["open", "open", "open", "handled", "gone"]
    assert (await ledger.dead_letters.ids(), await ledger.dead_letters.raw("t-1")) == ([], b"{}")
    assert await redis.exists("dcb:work-items") == 0


async def test_a_letter_that_leaves_takes_its_item_out_of_the_list(redis: Redis) -> None:
    ledger = Ledger(redis, keep=60, keep_dead=60)
    await ledger.dead_letters.add("t-1", Kind.CONSUMER, "0123456789", "http 404", b"{}")
    letter = await anext(ledger.dead_letters.read(["t-1"]))
    assert letter is not None
    await ledger.work_items.opened("t-1", round(letter.at * 1000), "tasks")
    await redis.zadd("dcb:work-items", {"t-1": 0, "t-expired": 0})
    await ledger.dead_letters.drop(["t-1"])
    assert await ledger.work_items.due(10, 60.0) == []
    assert await redis.exists("dcb:work-items") == 0
