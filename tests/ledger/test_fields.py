"""Fields and states: one place where they stand, for Lua, for Python and for the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcbridge.ledger.fields import (
    KINDS,
    READ,
    ClaimedMessage,
    Each,
    Entry,
    Field,
    MessageEntry,
    State,
    TaskEntry,
    TaskState,
    words,
)
from dcbridge.ledger.fields_page import page
from dcbridge.ledger.lua import HERE, read_lua

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = sorted(HERE.rglob("*.lua"))
FIELD = re.compile(r"'H(?:SET|SETNX|GET|MGET|DEL|EXISTS|INCRBY|STRLEN)', 'dcb:[mt]:' \.\. \w+, '")


def twice(found: list[str]) -> list[str]:
    return sorted({one for one in found if found.count(one) > 1})


@pytest.mark.parametrize("kind", READ, ids=lambda kind: kind.__name__)
def test_a_kind_has_each_name_and_each_field_once(kind: type[Entry]) -> None:
    assert twice([one.name for one in kind.fields()]) == []
    assert twice([one.wire for one in kind.fields()]) == []


def test_a_name_is_the_same_field_in_every_kind() -> None:
    """Lua knows names alone, and not of which kind they are."""
    found: dict[str, set[str]] = {}
    for kind in READ:
        for one in kind.fields():
            found.setdefault(one.name, set()).add(one.wire)
    assert {name: wires for name, wires in found.items() if len(wires) > 1} == {}


def test_every_field_and_state_has_its_sentence() -> None:
    said = [one.says for kind in KINDS for one in kind.fields()] + [one.says for one in (*State, *TaskState)]
    assert [one for one in said if len(one) < 8 or one.endswith(".") or "|" in one] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_names_a_field_of_an_entry_by_its_letters(path: Path) -> None:
    assert FIELD.findall(path.read_text()) == []


def test_the_search_for_letters_finds_them() -> None:
    assert FIELD.search("redis.call('HGET', 'dcb:m:' .. ref, 's')")
    assert not FIELD.search("redis.call('HGET', 'dcb:m:' .. ref, F.state)")


def test_names_are_replaced_by_what_is_stored(tmp_path: Path) -> None:
    script = tmp_path / "some.lua"
    script.write_text("if f == S.sent then HSET(key, F.sent_at, now, F.part_status .. part, U.failed, T.done) end")
    assert read_lua(script) == "if f == 'sent' then HSET(key, 'sent', now, 'u' .. part, 'failed', 'done') end"


@pytest.mark.parametrize("name", ["F.sent", "S.sending_at", "T.sent", "U.unknown", "F.s"])
def test_a_name_that_nobody_knows_stops_the_process_at_its_start(tmp_path: Path, name: str) -> None:
    script = tmp_path / "some.lua"
    script.write_text(f"return {name}")
    with pytest.raises(ValueError, match=re.escape(name)):
        read_lua(script)


def used() -> Iterator[str]:
    for path in SCRIPTS:
        yield from re.findall(r"\b[FSTU]\.[a-z]\w*", path.read_text())


def test_a_script_has_a_use_for_every_field() -> None:
    """A field that no script names is one that nobody writes."""
    assert sorted({name for name in words() if name.startswith("F.")} - set(used())) == []


def test_an_entry_is_read_by_names() -> None:
    entry = MessageEntry({b"s": b"sent", b"a": b"2", b"sent": b"1700000000000", b"x1": b"SM1", b"to": b"\xff"})
    assert (entry.state, entry.attempts, entry.sent_at) == (State.SENT, 2, 1700000000000)
    assert (entry.provider_id(1), entry.provider_id(0)) == ("SM1", None)
    assert (entry.trace_id, entry.part, entry.ended_at, entry.lookup_is_probe) == ("", 0, None, False)
    assert entry.to_id == "\N{REPLACEMENT CHARACTER}"
    assert bool(entry)
    assert not MessageEntry({})


def test_a_task_keeps_its_content_as_it_came() -> None:
    task = TaskEntry({b"p": b"\xff\x00", b"rp": b"1"})
    assert (task.payload, task.replayed, TaskEntry({}).payload) == (b"\xff\x00", True, b"")


def test_what_a_claim_brings_along_is_no_field_of_an_entry() -> None:
    carried = {one.name for one in ClaimedMessage.fields()} - {one.name for one in MessageEntry.fields()}
    assert carried == {"payload", "payload_size", "now"}


def test_the_page_tells_of_every_field_as_it_is() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert page(text) == text, "run make docs"
    rows = [one for kind in KINDS for one in kind.fields()]
    assert all(isinstance(one, Field | Each) and f"`{one.name}` | {one.says} |" in text for one in rows)


def test_a_page_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="fields_page"):
        page("# Architecture\n")
