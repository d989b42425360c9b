"""bridge.yaml, read from disk: every scalar a text, ${NAME} from the environment, file: from a mounted secret.

Every problem is found in one reading and told with its line; none of them shows a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bridge.configuration import Breaker, Channel, Configuration, DigitalChannels, Endpoint, Pace, Retry
from bridge.configuration_checks import SECRET_LENGTH, check
from bridge.configuration_doubts import doubts
from bridge.problems import ConfigurationError, Path, Problem, did_you_mean, dotted, explain, shape
from bridge.providers import KINDS, build
from bridge.subscribers import KINDS as SINKS
from bridge.subscribers import EventPace, Schedule, Subscriber

Tree = str | None | list["Tree"] | dict[str, "Tree"]


def load(path: str | FilePath, environ: Mapping[str, str]) -> Configuration:
    """Read bridge.yaml. Raises ConfigurationError holding every problem."""
    path = FilePath(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([Problem("", 0, f"cannot be read: {error.strerror}", file=str(path))]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([Problem("", 0, "is not UTF-8 text", file=str(path))]) from None
    return parse(text, environ, folder=path.parent, file=path.name)


def parse(
    text: str,
    environ: Mapping[str, str],
    *,
    folder: FilePath | None = None,
    file: str = "bridge.yaml",
) -> Configuration:
    """Read the text of bridge.yaml; `folder` is where a relative file: begins. Raises ConfigurationError."""
    reading = _Reading(environ, folder or FilePath(), file)
    tree = reading.tree(text)
    if not isinstance(tree, dict):
        if not reading.problems:
            reading.tell((), f"should be a mapping, and is {shape(tree)}")
        raise ConfigurationError(reading.problems)
    configuration = None
    try:
        configuration = Configuration.model_validate(tree)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            reading.refused(details, tree)
    for path, what, suggestion, fatal in check(tree, reading.substituted):
        reading.tell(path, what, suggestion, None if fatal else reading.warnings)
    if configuration:
        _build(configuration, reading)
        for path, what, suggestion in doubts(configuration, tree, reading.substituted):
            reading.tell(path, what, suggestion, reading.warnings)
    if configuration is None or reading.problems:
        raise ConfigurationError(sorted(reading.problems, key=lambda problem: problem.line))
    return configuration.with_warnings(tuple(reading.warnings))


def _build(configuration: Configuration, reading: _Reading) -> None:
    """What only the adapter knows, such as an address that the company will not call."""
    for name, account in configuration.providers.items():
        try:
            build(name, account.kind, account.fields, configuration.public_url)
        except ValueError as error:
            reading.tell(("providers", name), str(error))


@dataclass(slots=True)
class _Reading:
    """One reading of one file: the line of each path, and what was found wrong so far."""

    environ: Mapping[str, str]
    folder: FilePath
    file: str
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    lines: dict[Path, int] = field(default_factory=dict)
    substituted: set[Path] = field(default_factory=set)  # values that do not stand in the file itself
    broken: set[Path] = field(default_factory=set)  # told already: what follows from them is not news

    def tell(self, path: Path, what: str, suggestion: str = "", to: list[Problem] | None = None) -> None:
        """Add a problem (or a warning, to another list), unless something broken explains it."""
        if not any(bad[: len(path)] == path or path[: len(bad)] == bad for bad in self.broken):
            (self.problems if to is None else to).append(self._problem(path, what, suggestion))

    def fail(self, path: Path, what: str, suggestion: str = "") -> None:
        """Add a problem, and stay silent about everything that follows from it."""
        self.broken.add(path)
        self.problems.append(self._problem(path, what, suggestion))

    def refused(self, details: ErrorDetails, tree: Mapping[str, Tree]) -> None:
        """Add what pydantic refused."""
        if details["type"] == "default_factory_not_called":
            return  # follows from another field that was refused
        path = tuple(step for step in details["loc"] if step != "[key]")
        if details["type"] == "too_short" and any(one.path.startswith(f"{dotted(path)}[") for one in self.problems):
            return  # the list is too short because one of its items was refused
        if details["loc"][-1:] == ("[key]",):
            self.tell(path, _KEYS.get(path[0], "is not a name"))
        else:
            what, suggestion = explain(details, _known_keys(path[:-1], tree))
            if details["type"] in ("float_parsing", "int_parsing", "float_type", "int_type", "int_from_float"):
                unit = _unit(path, tree)
                what = what.replace("number,", f"number of {unit}, such as 30,") if unit else what
            self.tell(path, what, suggestion)

    def _problem(self, path: Path, what: str, suggestion: str) -> Problem:
        """At the line of the path, or of the nearest thing that it is part of."""
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        return Problem(dotted(path), line, what, suggestion, self.file)

    def tree(self, text: str) -> Tree:
        """The YAML as mappings, lists and texts; a plain nothing is None. Problems are added, not raised."""
        try:
            node = yaml.compose(text, Loader=yaml.BaseLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            if error.context == "while scanning a quoted scalar" and error.context_mark:
                opened = error.context_mark.line + 1
                what = "is not YAML: the quotation mark that opens in this line is never closed"
                self.problems.append(Problem("", opened, what, "close it, or leave it out", self.file))
                return None
            # The words of PyYAML may quote the file, and what stands there may be a secret.
            what = re.sub(r"(['\"])[^'\"\s]{2,}\1", "…", error.problem or "cannot be read")
            self.problems.append(Problem("", line, f"is not YAML: {what}", _yaml_hint(error, text), self.file))
            return None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, cast(int, error.position)) + 1
            self.problems.append(Problem("", line, "is not YAML: holds a control character", "", self.file))
            return None
        return self._value(node, ()) if node else None

    def _value(self, node: yaml.Node, path: Path, parents: tuple[yaml.Node, ...] = ()) -> Tree:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS or node in parents:
            what = "holds itself" if node in parents else "has a YAML tag (a word that begins with !)"
            self.fail(path, what, "" if node in parents else _QUOTE)
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path, (*parents, node)))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, i), (*parents, node)) for i, item in enumerate(node.value)]
        if node.value == "" and cast(yaml.ScalarNode, node).style is None:
            return None
        return self._substitute(str(node.value), path)

    def _items(self, node: yaml.MappingNode, path: Path, parents: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Tree]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.tell(path, f"has a key, in line {line}, that is not a text")
                continue
            place = (*path, key.value)
            if key.value in seen:
                self.problems.append(
                    Problem(
                        dotted(place), line, f"is written twice, in lines {seen[key.value]} and {line}", "", self.file
                    )
                )
                continue
            seen[key.value] = line
            self.lines[place] = line
            yield key.value, self._value(value, place, parents)

    def _substitute(self, text: str, path: Path) -> str:
        if text.startswith("file:"):
            self.substituted.add(path)
            written = text.removeprefix("file:").strip()
            return self._from_file(self._from_environment(written, path), path, written)
        return self._from_environment(text, path)

    def _from_environment(self, text: str, path: Path) -> str:
        def value(found: re.Match[str]) -> str:
            name = found["name"]
            if name is None:
                return "${"
            self.substituted.add(path)
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not found["end"]:
                self.fail(path, "has ${ without the name of a variable and }", "write $${ for the two characters")
            elif name not in self.environ:
                near = did_you_mean(name, self.environ, cutoff=0.8)
                self.fail(path, f"the environment variable {name} is not set", near)
            return self.environ.get(name, "")

        self._look_for_braces(text, path)
        whole = re.sub(r"\$\$\{|\$\{(?P<name>[^}]*)(?P<end>\}?)", value, text)
        if text and not whole and path not in self.broken:
            self.fail(path, "is empty: the environment variable is set, and has nothing in it")
        return whole

    def _look_for_braces(self, text: str, path: Path) -> None:
        """A variable that was meant, and not written as one. Named only where there is one of that name."""
        for name in re.findall(r"(?<!\$)\$([A-Za-z_][A-Za-z0-9_]*)", text):
            if name in self.environ and text == f"${name}":
                self.fail(path, f"is ${name} without braces, which stands for itself", f"write ${{{name}}}")
            elif name in self.environ:
                self.tell(
                    path,
                    f"has ${name} in it, without braces: it stands for itself",
                    f"write ${{{name}}}",
                    self.warnings,
                )
            elif text == f"${name}":
                what = "begins with $ and has no braces: it stands for itself, and for no variable"
                self.tell(path, what, "write ${NAME} where a variable is meant", self.warnings)

    def _from_file(self, name: str, path: Path, written: str = "") -> str:
        if path in self.broken:
            return ""
        try:
            text = (self.folder / name.strip()).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.fail(path, f"the file {_shown_path(written)}cannot be read: {reason}")
            return ""
        if not text:
            self.fail(path, f"the file {_shown_path(written)}is empty")
        return text


def _shown_path(written: str) -> str:
    """A path as the file has it, with a blank behind; nothing for what may be a secret that somebody wrote there."""
    whole = re.fullmatch(r"[\w.\-/ ${}]+", written) and ("/" in written or len(written) < SECRET_LENGTH)
    return f"{written} " if whole else ""


_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_QUOTE = "a value that begins with one of * & ! % @ ` { [ # has to stand in quotes"
_TAB = "a tab stands there: indent with spaces"
_INDENT = "look at the indentation here and above, for a missing colon, and for one in a value, which then needs quotes"


def _yaml_hint(error: yaml.MarkedYAMLError, text: str) -> str:
    """What most often is behind an error of PyYAML, whose own words speak of tokens and blocks."""
    mark, problem = error.problem_mark, error.problem or ""
    line = next(iter(text.splitlines()[mark.line : mark.line + 1]), "") if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return _TAB
    if "block end" in problem or "mapping values" in problem or "expected ':'" in problem:
        return _INDENT
    return _QUOTE


_KEYS: dict[str | int, str] = {
    "channels": "a channel id has 1 to 200 characters, without white space and /",
    "endpoints": "a name has 1 to 64 small letters, digits and -",
    "interactions": "a name has 1 to 64 small letters, digits and -",
    "providers": "a name has 1 to 64 small letters, digits and -",
    "subscribers": "a name has 1 to 64 small letters, digits and -",
}

_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Configuration,
    ("digital_channels",): DigitalChannels,
    ("retry",): Retry,
    ("breaker",): Breaker,
    ("endpoints", "*"): Endpoint,
    ("interactions", "*"): Endpoint,
    ("channels", "*"): Channel,
    ("channels", "*", "retry"): Retry,
    ("channels", "*", "pace"): Pace,
    ("subscribers", "*"): Subscriber,
    ("subscribers", "*", "retry"): Schedule,
    ("subscribers", "*", "pace"): EventPace,
}


def _unit(path: Path, tree: Mapping[str, Tree]) -> str:
    """What a field's number counts, as its description begins; "" where that is no unit."""
    model = _MODELS.get(tuple("*" if place == 1 else str(step) for place, step in enumerate(path[:-1])))
    if path[:1] == ("providers",) and (kind := _word(tree, *path[:2], "kind")) in KINDS:
        model = Pace if path[2:3] == ("pace",) else KINDS[kind].fields_model
    field_info = model.model_fields.get(str(path[-1])) if model else None
    word = ((field_info.description if field_info else "") or "").partition(" ")[0].lower()
    return word if word in ("seconds", "messages", "times", "failures", "requests", "events", "days", "bytes") else ""


def _known_keys(parent: Path, tree: Mapping[str, Tree]) -> list[str]:
    """The keys that may stand beside the refused one."""
    if parent[:1] == ("providers",) and parent[2:] == ("pace",):
        return list(Pace.model_fields)
    if parent[:1] == ("providers",):
        kind = _word(tree, *parent, "kind")
        return ["kind", "pace", *KINDS[kind].fields_model.model_fields] if kind in KINDS else []
    if parent[:1] == ("subscribers",) and parent[2:] == ("sink",):
        kind = _word(tree, *parent, "kind")
        return list(SINKS[kind].model_fields) if kind in SINKS else []
    pattern = tuple("*" if place == 1 else str(step) for place, step in enumerate(parent))
    model = _MODELS.get(pattern)
    return list(model.model_fields) if model else []


def _word(tree: Tree | Mapping[str, Tree], *path: str | int) -> str:
    """The text at a path; "" where there is none."""
    for step in path:
        tree = tree.get(str(step)) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, str) else ""
