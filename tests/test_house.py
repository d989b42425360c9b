"""The house: who may lean on whom, and what no file of ours may hold."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.jobs import JOBS, QUEUES

ROOT = Path(__file__).parent.parent
PARTS = ("bridge", "service", "workers", "sandbox", "dcbridge")

# The arrows: what a part may import of the others.
ALLOWED = {
    "bridge": set[str](),
    "service": {"bridge"},
    "workers": {"bridge"},
    "sandbox": {"bridge.wire", "bridge.signature"},
    "dcbridge": {"bridge", "service", "workers", "sandbox"},
}


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    )


def imports(text: str) -> Iterator[str]:
    """Dotted names of all that is imported, anywhere in the file; "bridge.wire" for `from bridge import wire`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def forbidden(part: str, text: str) -> list[str]:
    allowed = ALLOWED[part] | {part}
    ours = [name for name in imports(text) if name.partition(".")[0] in PARTS]
    return [name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)]


@pytest.mark.parametrize("part", PARTS)
def test_the_arrows(part: str) -> None:
    broken = {str(path.relative_to(ROOT)): forbidden(part, path.read_text()) for path in files(part)}
    assert {path: names for path, names in broken.items() if names} == {}


@pytest.mark.parametrize(
    ("part", "line", "wrong"),
    [
        ("service", "from workers import jobs", True),
        ("service", "from bridge import wire", False),
        ("workers", "import service.door", True),
        ("bridge", "def f():\n    from dcbridge.cli import main", True),
        ("bridge", "from bridge.wire import read_json", False),
        ("sandbox", "from bridge.ledger import Ledger", True),
        ("sandbox", "from bridge import signature", False),
        ("sandbox", "from bridge.signature import sign", False),
        ("sandbox", "import bridge", True),
        ("dcbridge", "from sandbox.app import build_app", False),
    ],
)
def test_the_arrows_can_be_broken(part: str, line: str, wrong: bool) -> None:
    assert bool(forbidden(part, line)) == wrong


def test_no_part_imports_the_tests() -> None:
    for path in files(*PARTS):
        assert not [name for name in imports(path.read_text()) if name.partition(".")[0] in ("tests", "benchmarks")]


@pytest.mark.parametrize("name", JOBS)
def test_every_job_is_a_coroutine_function_of_one_id(name: str) -> None:
    job = JOBS[name]
    module, _, function = job.path.rpartition(".")
    found = getattr(importlib.import_module(module), function)
    assert inspect.iscoroutinefunction(found)
    assert [p.annotation for p in inspect.signature(found).parameters.values()] == ["str"]
    assert job.queue in QUEUES
    assert job.timeout > 0


def test_every_job_of_the_workers_is_in_the_table() -> None:
    from workers import jobs

    functions = {f"workers.jobs.{name}" for name, _ in inspect.getmembers(jobs, inspect.iscoroutinefunction)}
    assert functions == {job.path for job in JOBS.values()}


@pytest.mark.parametrize("folder", [*PARTS, "tests", "benchmarks", "helm"])
def test_no_file_is_longer_than_a_person_reads(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in files(folder, suffixes=(".py", ".lua", ".js", ".css", ".html"))
        if (lines := len(path.read_text().splitlines())) >= 500
    }
    assert long == {}


# Each written so that this file does not hold it either.
UNWANTED = {
    "a promise to do it later": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b",
    "a way to run what Redis holds": r"\bpickl[e]\b",
    "a patch": r"\bmonkeypatc[h]\.setattr\b|\bmock\.patc[h]\b|\bunittest\.moc[k]\b",
}


@pytest.mark.parametrize("what", UNWANTED)
def test_what_no_file_holds(what: str) -> None:
    pattern = re.compile(UNWANTED[what])
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files(*PARTS, "tests", "benchmarks", suffixes=(".py", ".lua"))
        for line in path.read_text().splitlines()
        if pattern.search(line)
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in files(*PARTS)}
    assert [path for path, text in texts.items() if not ast.get_docstring(ast.parse(text))] == []
