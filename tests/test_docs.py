"""The pages are held to the code: what they name exists, and what exists and matters is named."""

from __future__ import annotations

import io
import re
import tokenize
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from dcbridge import errors
from dcbridge.cli.app import app
from dcbridge.config.loader import parse
from dcbridge.ledger.reports.books import Books, ChannelBooks, ProviderBooks
from dcbridge.ledger.reports.overview import Overview
from dcbridge.ledger.signals import Signal
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import OF_COMMANDS, PREFIX, Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("helm/**/*.md")])
DOCS = ROOT / "docs"


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def exported() -> set[str]:
    """Every metric family as Prometheus sees it."""
    nothing: dict[str, Any] = {field.name: 0 for field in fields(ChannelBooks)}
    of_provider: dict[str, Any] = {field.name: 0 for field in fields(ProviderBooks)}
    provider = ProviderBooks(**of_provider | {"name": "acme"})
    channel = ChannelBooks(**nothing | {"channel_id": "0123456789", "providers": (provider,)})
    books = Books((channel,), {"outbound": 0}, {"callback": 0}, {"unknown": 0}, 0, 0)
    signals = {"sales-wait": Signal(1.0, 0.0, True)}
    rendered = Metrics().render(books, {"0123456789"}, Overview(0.0, (), (), (), {}, suspended=False), signals=signals)
    text = rendered.decode()
    return {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")}


def test_every_metric_is_explained_and_every_explained_metric_exists() -> None:
    named = set(re.findall(r"\bdcbridge_[a-z_]+[a-z]", text_of("docs/operations/metrics.md")))
    assert named == exported()


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_metrics_that_a_page_names_exist(page: Path) -> None:
    assert set(re.findall(r"\bdcbridge_[a-z_]+[a-z]", page.read_text(encoding="utf-8"))) <= exported()


def code_of(text: str) -> list[str]:
    """What stands in backticks, fenced, or indented by four or more."""
    fences = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", text)
    indented = re.findall(r"^ {4,}(\S.*)$", text, re.MULTILINE)
    return [*fences, *spans, *indented]


def commands() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()

    def walk(command: object, path: tuple[str, ...]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            found.add((*path, name))
            walk(inner, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_commands_that_a_page_names_exist(page: Path) -> None:
    known = commands()
    groups = {path[0] for path in known if len(path) > 1}
    for code in code_of(page.read_text(encoding="utf-8")):
        for first, second in re.findall(r"(?:^|[\s/])dcbridge ([a-z][a-z-]*)(?: ([a-z]+))?", code, re.MULTILINE):
            assert (first,) in known, code
            if first in groups and second:
                assert (first, second) in known, code


def test_every_command_is_told_somewhere() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [path for path in commands() if f"dcbridge {' '.join(path)}" not in text] == []


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), f"{target}#{anchor}"


def direct_dependencies() -> list[str]:
    project = tomllib.loads(text_of("pyproject.toml"))
    lists = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    wanted = [one for found in (*lists, *project["dependency-groups"].values()) for one in found]
    return sorted({re.split(r"[\s<>=;\[]", one)[0] for one in wanted if isinstance(one, str)})


def test_every_direct_dependency_has_its_line_and_every_line_its_dependency() -> None:
    lines = re.findall(r"^\| `([A-Za-z0-9-]+)` \|", text_of("docs/dependencies.md"), re.MULTILINE)
    assert sorted(lines) == direct_dependencies()


def redis_keys() -> set[str]:
    """What keys begin with, as the scripts write them: "dcb:m:", "dcb:due", "rq:job:"."""
    scripts = [*ROOT.glob("dcbridge/ledger/*.lua"), *ROOT.glob("workers/*.lua")]
    assert scripts
    found = {key for script in scripts for key in re.findall(r"'((?:dcb|rq):[a-z-]+:?)", script.read_text())}
    modules = [path for room in ("dcbridge", "service", "workers") for path in ROOT.glob(f"{room}/**/*.py")]
    return found | {key for module in modules for key in re.findall(r"\"(dcb:[a-z-]+:?)", module.read_text())}


def test_every_redis_key_is_explained() -> None:
    table = text_of("docs/architecture.md").partition("## Redis keys")[2].partition("\n## ")[0]
    assert [key for key in sorted(redis_keys()) if f"`{key}" not in table] == []


def test_every_failure_is_explained() -> None:
    page = text_of("docs/architecture.md").partition("## Failures")[2]
    kinds = [*errors.SendError.__subclasses__(), errors.BadCallback, *errors.BadCallback.__subclasses__()]
    assert [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=by_path)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+[A-Z]", page.read_text(encoding="utf-8")))
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *OF_COMMANDS)}
    assert named - known - {"DCBRIDGE_PUBLIC_PORT"} == set()


def whole_configurations() -> list[tuple[str, str]]:
    """Every YAML block with channels and a public URL, with the page it stands on."""
    found = []
    for page in PAGES:
        for indent, block in re.findall(
            r"^( *)```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            lines = [line.removeprefix(indent) for line in block.splitlines()]
            if {"public_url:", "channels:"} <= {line.partition(" ")[0] for line in lines}:
                found.append((by_path(page), "\n".join(lines)))
    return found


def test_the_readme_has_a_whole_configuration() -> None:
    assert "README.md" in [page for page, _ in whole_configurations()]


@pytest.mark.parametrize(("page", "text"), whole_configurations(), ids=[page for page, _ in whole_configurations()])
def test_whole_configurations_are_accepted_without_a_warning(page: str, text: str) -> None:
    text = re.sub(r"file:[^\s\"\]]+", "${A_MOUNTED_FILE}", text)
    environ = {name: f"{number:032x}" for number, name in enumerate(re.findall(r"(?<!\$)\$\{([A-Z_]+)\}", text))}
    environ |= {name: f"whsec_{secret}" for name, secret in environ.items() if "SIGNING" in name}
    assert parse(text, environ).warnings == ()


LONG = 2500  # words from which on a page needs a list of its sections


def linked_from(page: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets if target.endswith(".md")}


def test_every_page_is_reachable_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = {ROOT / "README.md"}
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting |= {found for found in linked_from(page) if found.exists()} - reached
    assert [by_path(page) for page in DOCS.glob("**/*.md") if page not in reached] == []


@pytest.mark.parametrize("page", [*DOCS.glob("**/*.md"), ROOT / "helm/dcbridge/README.md"], ids=by_path)
def test_a_long_page_begins_with_a_list_of_its_sections(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    sections = re.findall(r"^## ", text, re.MULTILINE)
    listed = re.findall(r"\]\(#[^)]+\)", text.partition("\n## ")[0])
    assert len(text.split()) <= LONG or len(listed) >= max(3, len(sections))


# Words of an older private language, each with the usual term that stands in its place.
PRIVATE_WORDS = {
    r"doors?": "service, webhook",
    r"desks?": "session",
    r"hands(?! (\w+ )?(over|on)\b)": "job slots, workers",
    r"tells|told": "shows, reports, informs",
    r"strangers?": "misrouted",
    r"strays?": "unconfigured",
    r"landed": "delivered",
    r"surely": "certainly",
    r"nobody('s)?": "an explicit subject, or the passive",
    r"whoever": "everybody who",
    r"mend(s|ed|ing)?": "fix",
    r"spoken to": "sent to",
    r"(outside|pretended) worlds?|worlds|pretended": "sandbox, simulated",
    r"kept to": "kept",
    r"consumers' messages": "consumer messages",
    r"house|rooms?": "packages",
    r"the way of": "the path of",
}
# Names of benchmark rows and of points of the crash matrix.
NAMES = {
    "docs/crash-matrix.md": {r"doors?", r"tells|told", r"nobody('s)?", r"spoken to"},
    "docs/performance.md": {r"doors?"},
}


def private_words(text: str, allowed: set[str] | frozenset[str] = frozenset()) -> list[str]:
    """Each private word with the word that is meant; code, targets of links and comments are left out."""
    prose = re.sub(r"^ *```.*?^ *```|`[^`\n]*`|\]\([^)]*\)|<!--.*?-->", " ", text, flags=re.MULTILINE | re.DOTALL)
    return [
        f"{found.group(0)}: write {meant}"
        for word, meant in PRIVATE_WORDS.items()
        if word not in allowed
        for found in re.finditer(rf"\b({word})\b", prose, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=by_path)
def test_pages_are_written_in_the_words_of_the_field(page: Path) -> None:
    assert private_words(page.read_text(encoding="utf-8"), NAMES.get(by_path(page), set())) == []


def test_help_texts_are_written_in_the_words_of_the_field() -> None:
    root = typer.main.get_command(app)
    found: dict[str, list[str]] = {}
    for path in [(), *sorted(commands())]:
        command: Any = root
        for name in path:
            command = command.commands[name]
        texts = [
            command.help or "",
            command.short_help or "",
            *(getattr(one, "help", "") or "" for one in command.params),
        ]
        found[" ".join(path)] = private_words("\n".join(texts))
    assert {name: words for name, words in found.items() if words} == {}


def test_settings_are_described_in_the_words_of_the_field() -> None:
    described = {name: private_words(field.description or "") for name, field in Settings.model_fields.items()}
    assert {name: words for name, words in described.items() if words} == {}


# Of these words, those that no comment, docstring, function or class of ours may have either: the rest are usual there.
NEVER = ("doors?", "desks?", "landed", "surely")
CODE = ("dcbridge", "service", "workers", "sandbox", "benchmarks", "helm", "tests")
ROW = {
    "benchmarks/__main__.py",
    "benchmarks/beside_bullmq.py",
    "benchmarks/door.py",
    "benchmarks/profile.py",
    "tests/benchmarks/test_rows.py",
}  # the benchmark of this name


def prose(source: str) -> str:
    """Comments, docstrings and the words of names, a line each."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""')):
            found.append(token.string)
        elif token.type == tokenize.NAME:
            found.append(re.sub("_|(?<=[a-z])(?=[A-Z])", " ", token.string))
    return "\n".join(found)


@pytest.mark.parametrize("part", CODE)
def test_code_is_written_in_the_words_of_the_field(part: str) -> None:
    allowed = set(PRIVATE_WORDS) - set(NEVER)
    found = {
        by_path(path): words
        for path in sorted((ROOT / part).rglob("*.py"))
        if by_path(path) not in {*ROW, "tests/test_docs.py"}
        and (words := private_words(prose(path.read_text(encoding="utf-8")), allowed))
    }
    assert found == {}


def test_a_private_word_in_code_is_found() -> None:
    assert private_words(prose("def at_the_door():\n    pass  # it surely has"), set()) != []
    assert private_words(prose("class OpenDoor: x = 'door'"), set()) == ["Door: write service, webhook"]


def test_a_private_word_is_found_and_code_is_left_out() -> None:
    assert private_words("Nobody is told at the door.") != []
    assert private_words("It hands over to `door`, in [rooms](house.md).\n```\ntold\n```\n") == [
        "rooms: write packages"
    ]
