"""What a dead letter holds: one table of words, written by all and read by `dcbridge.replay`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from dcbridge.cli.dead import What
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.jobs import JOBS
from dcbridge.replay import HANDLERS

ROOT = Path(__file__).parent.parent.parent
IN_LUA = {"K." + kind.name.lower() for kind in Kind}


def kinds_in_python(text: str) -> Iterator[str]:
    """The kind of each dead letter that is written here, as it stands in the code."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called.endswith("dead_letters.add"):
            yield ast.unparse(node.args[1])
        if called.endswith("_script.call") and ast.unparse(node.args[0]) == "'split_dead_letter'":
            yield ast.unparse(node.args[3])


def kinds_in_lua(text: str) -> list[str]:
    """As `kinds_in_python`, of what the script writes."""
    calls = re.sub(r"function (?:verbs\.)?\w+\(.*", "", text)
    return re.findall(r"(?<![\w.])dead_letter\([^,]+, ([^,]+),", calls)


def test_the_words_are_those_that_are_stored() -> None:
    """A dead letter lives for weeks, and is read by the version of then."""
    assert {kind.value for kind in Kind} == {
        *("agent message", "receipt", "callback", "consumer", "delivery update"),
        *("interaction batch", "interaction entity", "delivery", "mail", "book"),
    }


def test_every_kind_can_be_replayed_or_says_why_not() -> None:
    assert HANDLERS.keys() == set(Kind)


def test_the_command_line_has_an_option_for_every_kind() -> None:
    assert {(what.name, what.value) for what in What} == {(kind.name, kind.option) for kind in Kind}


def test_every_writer_in_python_takes_a_kind_from_the_table() -> None:
    files = [path for part in ("dcbridge", "service", "workers") for path in (ROOT / part).rglob("*.py")]
    found = [kind for path in files for kind in kinds_in_python(path.read_text())]
    assert set(found) <= {f"Kind.{kind.name}" for kind in Kind}
    assert len(found) >= 6


def test_every_writer_in_lua_takes_a_kind_from_the_table() -> None:
    found = [kind for path in (ROOT / "dcbridge" / "ledger").glob("*.lua") for kind in kinds_in_lua(path.read_text())]
    assert set(found) <= IN_LUA | {"a.kind", "f[2]"}  # what Python passes, and the job of a task that has failed
    assert len(found) >= 5


def test_the_job_of_a_task_that_may_fail_is_a_kind() -> None:
    assert {name for name, job in JOBS.items() if job.about == "t"} - {"deliver", "confirm", "watch", "notice"} <= {
        kind.value for kind in Kind
    }


def test_a_text_of_its_own_is_found() -> None:
    assert list(kinds_in_python('ctx.ledger.dead_letters.add(one, "agent-message", "", "", b"")')) == [
        "'agent-message'"
    ]
    assert kinds_in_lua("  dead_letter('r-' .. ref, 'receipt', channel)") == ["'receipt'"]
