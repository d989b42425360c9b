"""The house: who may lean on whom, and what no file of ours may hold."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dcbridge.ledger.jobs import JOBS, QUEUES

ROOT = Path(__file__).parent.parent
PARTS = ("dcbridge", "service", "workers", "sandbox")

# The arrows: what a part may import of the others. The command line is the top floor of dcbridge/: nothing imports it.
CORE = {"dcbridge"}
ALLOWED = {
    "dcbridge": set[str](),
    "service": CORE,
    "workers": CORE,
    "sandbox": {"dcbridge.genesys", "dcbridge.mail"},  # it shows strangers' HTML, and what was left out of a mail
    "dcbridge/console": CORE,
    "dcbridge/cli": {"dcbridge", "service", "workers", "sandbox"},
}
TOP = ("dcbridge.cli", "dcbridge.console")  # of the console, only the command line knows
MAIN = "dcbridge/__main__.py"  # `python -m dcbridge`

# The rooms of dcbridge/, from the ground up: a room may import those below it.
FLOORS = (
    ("messages", "retry_after", "printable", "http", "gsm7", "json_values", "tracing", "address_tokens"),
    ("settings", "smpp"),
    ("errors",),
    ("oauth2",),
    ("genesys", "mail", "media", "store"),
    ("ledger",),
    ("providers",),
    ("transport",),
    ("events",),
    ("config", "platform"),
    ("intake", "mail_intake", "own_messages", "digital_channels", "reconcile", "runtime"),
    ("replay", "interfaces"),
    ("notifications", "open_messaging"),
    ("platforms",),
    ("operations",),
    ("console",),
    ("cli",),
)


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    )


def imports(text: str) -> Iterator[str]:
    """Dotted names of all that is imported, anywhere in the file; "a.b.c" for `from a.b import c`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def forbidden(part: str, text: str) -> list[str]:
    allowed = ALLOWED[part] | {part.replace("/", ".")}
    ours = [name for name in imports(text) if name.partition(".")[0] in PARTS]
    wrong = [name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)]
    above = () if part == "dcbridge/cli" else TOP[:1] if part == "dcbridge/console" else TOP
    top = [name for name in ours for one in above if name == one or name.startswith(f"{one}.")]
    return [*wrong, *top]


def part_of(path: Path) -> str:
    place = path.relative_to(ROOT).parts
    return "/".join(place[:2]) if place[:2] in (("dcbridge", "cli"), ("dcbridge", "console")) else place[0]


@pytest.mark.parametrize("part", PARTS)
def test_the_arrows(part: str) -> None:
    looked_at = [path for path in files(part) if path != ROOT / MAIN]
    broken = {str(path.relative_to(ROOT)): forbidden(part_of(path), path.read_text()) for path in looked_at}
    assert {path: names for path, names in broken.items() if names} == {}


def rooms_of(name: str) -> int:
    return next(floor for floor, rooms in enumerate(FLOORS) if name in rooms)


def test_no_room_imports_one_above_it() -> None:
    """Rooms of one floor do not import each other either, so there is no circle."""
    back = []
    for path in files("dcbridge"):
        place = path.relative_to(ROOT / "dcbridge").with_suffix("").parts
        if place in (("__init__",), ("__main__",)):
            continue
        names = [name.split(".")[1] for name in imports(path.read_text()) if name.startswith("dcbridge.")]
        back += [
            f"{'/'.join(place)} -> {name}"
            for name in names
            if name != place[0] and rooms_of(name) >= rooms_of(place[0])
        ]
    assert back == []


def test_no_circle_of_files() -> None:
    """No file of ours imports, by way of others, itself."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files(*PARTS)}
    leads_to = {
        name: {
            n for n in (*imports(path.read_text()),) for n in (n, n.rpartition(".")[0]) if n in modules and n != name
        }
        for name, path in modules.items()
    }
    while ends := {name for name, others in leads_to.items() if not others}:
        leads_to = {name: others - ends for name, others in leads_to.items() if name not in ends}
    in_circles = set(leads_to)
    while tops := {name for name in in_circles if not any(name in leads_to[other] for other in in_circles)}:
        in_circles -= tops
    assert in_circles == set()


@pytest.mark.parametrize(
    ("part", "line", "wrong"),
    [
        ("service", "from workers import jobs", True),
        ("service", "from dcbridge.genesys import payloads", False),
        ("service", "from dcbridge.cli.app import main", True),
        ("workers", "import service.endpoint", True),
        ("dcbridge", "def f():\n    from dcbridge.cli.app import main", True),
        ("dcbridge", "from workers import jobs", True),
        ("dcbridge", "from dcbridge.genesys.payloads import read_json", False),
        ("service", "from dcbridge.console import app", True),
        ("dcbridge", "from dcbridge.console import app", True),
        ("dcbridge/console", "from dcbridge.console import app", False),
        ("dcbridge/console", "from dcbridge.cli.terminal import out", True),
        ("dcbridge/console", "from workers import jobs", True),
        ("dcbridge/cli", "from dcbridge.console import app", False),
        ("sandbox", "from dcbridge.ledger import Ledger", True),
        ("sandbox", "from dcbridge.genesys import signature", False),
        ("sandbox", "import dcbridge", True),
        ("dcbridge/cli", "from sandbox.app import build_app", False),
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


def test_keys_of_redis_stand_in_the_ledger() -> None:
    """Whatever else needs one asks the ledger. RQ's own keys belong to its worker as well."""
    found = [
        str(path.relative_to(ROOT))
        for path in files("dcbridge", "service", "workers")
        if path.relative_to(ROOT).parts[:2] != ("dcbridge", "ledger") and names_a_key(path.read_text())
    ]
    assert found == ["workers/worker.py"]


def names_a_key(text: str) -> bool:
    """Whether a string of the code, and not of a comment or a docstring, begins like a key of ours or of RQ's."""
    return bool(re.search(r"""["'](?:dcb|rq):""", text))


@pytest.mark.parametrize(("line", "does"), [('f"dcb:m:{ref}"', True), ("b'rq:job:'", True), ('"a dcb: b"', False)])
def test_a_key_is_recognised(line: str, does: bool) -> None:
    assert names_a_key(line) == does


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


@pytest.mark.parametrize("module", ["service.main", "dcbridge.cli.app", "dcbridge.cli.status", "dcbridge.cli.trace"])
def test_who_sends_nothing_does_not_load_what_sends(module: str) -> None:
    """aiohttp and the brokers' clients cost a quarter of a second of processor time at each start, and so does what
    redis-py loads of OpenTelemetry.
    """
    heavy = {"aiohttp", "nats", "aio_pika", "confluent_kafka", "opentelemetry.sdk"}
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout == "[]\n"
