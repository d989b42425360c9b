"""From a batch to events: their ids, what passes through, what nobody can be told of, and what the ledger keeps."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from dcbridge.config.loader import parse
from dcbridge.events import event as events
from dcbridge.events.event import StoredEvent
from dcbridge.events.sinks import Subscriber
from dcbridge.genesys import payloads
from dcbridge.ledger.reports.books import Books
from dcbridge.runtime.metrics import Metrics
from tests.events.minimal import BRIDGE

AT = datetime(2026, 11, 22, 4, 5, 6, 789000, UTC)


def body(*entities: Any, operation: str | None = "op-1") -> bytes:
    told = {"data": {"entities": list(entities)}}
    return json.dumps(told if operation is None else {"operationId": operation, **told}).encode()


def entity(event: str = "STARTED", **fields: Any) -> dict[str, Any]:
    return {"event": event, "entity": {"id": "i-1", "mediaType": "chat", "interactionSubtype": "InboundNew", **fields}}


def split(raw: bytes, endpoint: str = "main") -> list[StoredEvent]:
    found, nameless = events.split(endpoint, raw, AT, "trace")
    assert nameless == []
    return found


def ids(raw: bytes, endpoint: str = "main") -> list[str]:
    return [kept.event.id for kept in split(raw, endpoint)]


def test_an_event_is_what_came() -> None:
    [kept] = split(body(entity(selfUri="NexusURL/nexus/v3/chat/sessions/s/i-1", unheardOf={"a": [1]})))
    event = kept.event
    assert (event.name, event.endpoint, event.interaction, event.media, event.subtype) == (
        "STARTED", "main", "i-1", "chat", "InboundNew",
    )  # fmt: skip
    assert (event.received_at, event.own, kept.trace_id) == (AT, False, "trace")
    assert event.fields["unheardOf"] == {"a": [1]}
    assert event.fields["selfUri"] == "NexusURL/nexus/v3/chat/sessions/s/i-1"


@pytest.mark.parametrize(
    ("given", "name", "media", "subtype"),
    [
        (entity("TRANSFERRED", mediaType="video", interactionSubtype="Telepathy"), "TRANSFERRED", "video", "Telepathy"),
        (entity("STARTED", mediaType=None, interactionSubtype=7), "STARTED", "", "7"),
        ({"event": "STARTED"}, "STARTED", "", ""),
        ({"entity": {"id": "i-1"}}, "", "", ""),
        ({"event": "STARTED", "entity": "i-1"}, "STARTED", "", ""),
    ],
)
def test_words_that_we_do_not_know_pass_through(given: Any, name: str, media: str, subtype: str) -> None:
    [kept] = split(body(given))
    assert (kept.event.name, kept.event.media, kept.event.subtype) == (name, media, subtype)


def test_what_stands_beside_the_entity_is_not_lost() -> None:
    [kept] = split(body(entity() | {"reason": "timeout", "id": "not the interaction's"}))
    assert (kept.event.fields["reason"], kept.event.fields["id"]) == ("timeout", "i-1")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (body(entity()), orjson.dumps(orjson.loads(body(entity())), option=orjson.OPT_INDENT_2), True),
        (body(entity()), body(entity("FINISHED"), entity()), True),  # the place in the batch does not matter
        (body(entity()), body(entity(), operation="op-2"), False),
        (body(entity()), body(entity("FINISHED")), False),
        (body(entity()), body(entity(id="i-2")), False),
        (body(entity(), operation=None), body(entity(), operation=None), True),
        (body(entity(), operation=None), body(entity(extra=1), operation=None), False),
        (body({"event": "STARTED"}), body({"event": "STARTED"}), True),
    ],
)
def test_an_id_is_the_same_for_the_same_thing(first: bytes, second: bytes, same: bool) -> None:
    assert bool(set(ids(first)) & set(ids(second))) == same


def test_ids_differ_by_endpoint_and_have_the_form_that_the_ledger_reads() -> None:
    [mine], [other] = ids(body(entity())), ids(body(entity()), "other")
    assert mine != other
    assert mine.startswith("evt_")
    assert len(mine) == 28


def test_entities_without_an_interaction_are_told_apart_by_their_place() -> None:
    raw = body({"event": "STARTED"}, {"event": "STARTED"})
    assert len(set(ids(raw))) == 2
    assert ids(raw) == ids(raw)


@pytest.mark.parametrize("item", [{}, 5, "x", None, [], {"event": "", "entity": {"id": " "}}, {"entity": {"a": 1}}])
def test_what_has_neither_id_nor_event_is_no_event_and_its_neighbours_are(item: Any) -> None:
    found, nameless = events.split("main", body(entity(), item, entity("FINISHED")), AT)
    assert [kept.event.name for kept in found] == ["STARTED", "FINISHED"]
    [one] = nameless
    assert orjson.loads(one.raw) == {"endpoint": "main", "operationId": "op-1", "entity": item}


@pytest.mark.parametrize("raw", [b"{}", b"[]", b'{"data": null}', b'{"data": {"entities": 5}}'])
def test_a_batch_that_tells_of_nothing(raw: bytes) -> None:
    assert events.split("main", raw, AT) == ([], [])


# ---------------------------------------------------------------- what the ledger keeps


def kept_again(kept: StoredEvent, number: int = 1) -> StoredEvent:
    new = events.for_ledger(kept, {})
    return events.read(new.id, b"%d %d %s" % (new.received_at, number, new.content))


def test_what_is_kept_is_read_as_it_was() -> None:
    [kept] = split(body(entity(text="Grüße 😀", deep={"a": [None, True, 1.5, {"b": 1 << 70}]})))
    again = kept_again(kept, 3)
    assert again.trace_id == "trace"
    assert again.event.sequence == 3
    assert (again.event.id, again.event.received_at, again.event.media) == (kept.event.id, AT, "chat")
    assert again.event.fields["text"] == "Grüße 😀"


def test_what_no_sink_could_write_is_refused_before_it_is_kept() -> None:
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    [kept] = split(body(entity(deep=deep)))
    with pytest.raises(payloads.NotJson):
        events.for_ledger(kept, {})


@pytest.mark.parametrize(
    ("name", "part"), [("STARTED", "s"), ("started", "s"), ("FINISHED", "f"), ("PAUSED", ""), ("", "")]
)
def test_which_events_make_a_pair(name: str, part: str) -> None:
    [kept] = split(body(entity(name)))
    assert events.for_ledger(kept, {}).part == part


def subscribers(text: str) -> dict[str, Subscriber]:
    return parse(f"{BRIDGE}subscribers:\n{text}\n", {}).subscribers


SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
SINK = f"sink: {{kind: http, url: https://crm.example.com/hook, secrets: [{SECRET}]}}"


def test_a_delivery_for_each_subscriber_that_wants_it_and_is_on() -> None:
    them = subscribers(f"""
  crm: {{{SINK}}}
  lake: {{{SINK}, ordered: true}}
  off: {{{SINK}, on: false}}
  email: {{{SINK}, media: [email]}}
""")
    [kept] = split(body(entity()))
    lanes = events.for_ledger(kept, them).lanes
    assert set(lanes) == {"crm", "lake"}
    assert lanes["crm"] == ""
    [finished], [other] = split(body(entity("FINISHED"))), split(body(entity(id="i-2")))
    assert events.for_ledger(finished, them).lanes["lake"] == lanes["lake"]
    assert events.for_ledger(other, them).lanes["lake"] != lanes["lake"]


def test_an_event_of_our_own_is_for_those_who_name_it_and_says_what_it_is_about() -> None:
    them = subscribers(f"""
  crm: {{{SINK}}}
  ops: {{{SINK}, events: [interaction.gap, subscriber.disabled]}}
""")
    [about] = split(body(entity("FINISHED")))
    gap = events.own("interaction.gap", {"kind": "finished_first", "of": about.event.id}, "1-1", AT, about.event)
    assert (gap.interaction, gap.media, gap.own) == ("i-1", "chat", True)
    assert gap.fields == {"event": "FINISHED", "kind": "finished_first", "eventId": about.event.id}
    assert set(events.for_ledger(StoredEvent(gap), them).lanes) == {"ops"}
    off = events.own("subscriber.disabled", {"subscriber": "crm", "why": "failing"}, "1-2", AT)
    assert set(events.for_ledger(StoredEvent(off), them).lanes) == {"ops"}
    assert kept_again(StoredEvent(gap), 0).event == gap
    assert len(gap.id) == 28
    assert events.own("interaction.gap", {}, "1-1", AT).id == gap.id  # told once, however often it is read


def test_events_of_our_own_are_explained_and_counted_from_0_on() -> None:
    """An alarm on a rise does not see a figure that begins at 1."""
    root = Path(__file__).parents[2]
    scripts = "".join(path.read_text() for path in sorted((root / "dcbridge" / "ledger").glob("*.lua")))
    names = set(re.findall(r"emit\('([a-z.]+)'", scripts))
    gaps = set(re.findall(r"gap\((?:f\[1\] and )?'(\w+)'(?: or '(\w+)')?", scripts))
    counts = {f"own_{name.replace('.', '_')}" for name in names} | {
        f"gap_{one}" for pair in gaps for one in pair if one
    }
    assert len(names) >= 6
    assert len(counts) >= len(names) + 4
    shown = Metrics().render(Books((), {}, {}, {}, 0, 0), set()).decode()
    assert {name for name in counts if f'dcbridge_ledger_events_total{{event="{name}"}} 0.0' not in shown} == set()
    page = (root / "docs" / "events.md").read_text()
    assert {name for name in names if f"`{name}`" not in page} == set()
