"""bridge.yaml, read from disk: every scalar a text, ${NAME} from the environment, file: from a mounted secret.

Every problem is found in one reading and told with its line; none of them shows a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dcbridge.config.accounts import Breaker, Pace, ProviderAccount, Retry
from dcbridge.config.checks import SECRET_LENGTH, check
from dcbridge.config.consent import Answers, Consent
from dcbridge.config.doubts import doubts
from dcbridge.config.genesys_cloud import Organization
from dcbridge.config.models import Channel, Configuration, DigitalChannels, Endpoint
from dcbridge.config.own_messages import OwnMessages
from dcbridge.config.routing import Slow, Switch
from dcbridge.config.senders import Country
from dcbridge.config.triggers import Trigger
from dcbridge.config.yaml_mistakes import MERGE_KEY, mistake, open_quote, swallows_a_line
from dcbridge.errors import SendError
from dcbridge.events.sinks import KINDS as SINKS
from dcbridge.events.sinks import EventPace, Schedule, Subscriber
from dcbridge.messages import Address, AgentMessage
from dcbridge.providers import KINDS, build
from dcbridge.providers.base import Provider
from dcbridge.settings.problems import ConfigurationError, Path, Problem, did_you_mean, dotted, explain, shape
from dcbridge.settings.process import PREFIX

Tree = str | None | list["Tree"] | dict[str, "Tree"]


def load(path: str | FilePath, environ: Mapping[str, str]) -> Configuration:
    """Read bridge.yaml. Raises ConfigurationError holding every problem."""
    path = FilePath(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        fix = f"name the file with --config or {PREFIX}CONFIG" if isinstance(error, FileNotFoundError) else ""
        raise ConfigurationError([Problem("", 0, f"cannot be read: {error.strerror}", fix, file=str(path))]) from None
    except UnicodeDecodeError:
        raise ConfigurationError([Problem("", 0, "is not UTF-8 text", "save it as UTF-8", file=str(path))]) from None
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
            what = f"should be a mapping: lines of `key: value`, such as public_url: https://…, and is {shape(tree)}"
            reading.tell((), what)
        raise ConfigurationError(reading.problems)
    configuration = None
    try:
        configuration = Configuration.model_validate(tree)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            reading.refused(details, tree)
    for path, what, suggestion, fatal in check(tree, reading.substituted):
        if (f"{path[-1]}s",) not in reading.broken:  # nor can be found what is in a section without names
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
    built: dict[str, Provider] = {}
    for name, account in configuration.providers.items():
        try:
            built[name] = build(name, account.kind, account.fields, configuration.public_url)
        except ValueError as error:
            reading.tell(("providers", name), str(error))
    answering = dict.fromkeys(
        name for channel in configuration.channels.values() if channel.type == "sms" for name in channel.providers
    )
    for word, text in configuration.consent.answers:
        for name in answering if text and configuration.consent.enforce != "never" else ():
            if name in built and (why := _why_no_answer(built[name], text)):
                reading.tell(("consent", "answers", word), why)
                break


def _why_no_answer(provider: Provider, text: str) -> str:
    """Why this provider could not send an answer to a consumer's STOP, which is one request; "" where it can, or where
    the provider answers itself.
    """
    if provider.can.opt_out == "theirs":
        return ""
    ours, theirs = Address("12025550123"), Address("16504661149")
    try:
        parts = provider.parts(AgentMessage("c", "m", ours, theirs, (theirs,), "Text", text))
    except SendError:
        return f"has no text that {provider.name} could send"
    return f"takes more than one request through {provider.name}: shorten it to one SMS" if len(parts) > 1 else ""


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
    comments: set[Path] = field(default_factory=set)  # where a comment stands in the place of a value
    text: str = ""
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
        if path in _fields_without_a_name(tree):
            self._name_is_missing(path)
            return
        if details["loc"][-1:] == ("[key]",) and len(path) == 2:
            self.tell(path, _KEYS.get(path[0], "is not a name"))
            return
        what, suggestion = explain(details, _known_keys(path[:-1], tree), _description(path, tree))
        if path in self.comments:
            suggestion = "what follows # is a comment; put a value that begins with # in quotes"
        if meant := re.fullmatch(r'did you mean "(.*)"\?', suggestion):
            place = dotted((*path[:-1], meant[1]))  # which is missing because it was written wrong
            self.problems = [one for one in self.problems if (one.path, one.what) != (place, "is missing")]
        self.tell(path, what, suggestion)

    def _name_is_missing(self, path: Path) -> None:
        """Of fields that stand where a name should be: one problem, at the first of them."""
        section = path[:1]
        if section not in self.broken:
            name = "the channel id" if path[0] == "channels" else "a name of your own"
            self.fail(path, f"stands directly below {path[0]}", f"put a line between the two: {name} and a colon")
            self.broken.add(section)

    def _problem(self, path: Path, what: str, suggestion: str) -> Problem:
        """At the line of the path, or of the nearest thing that it is part of."""
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        return Problem(dotted(path), line, what, suggestion, self.file)

    def tree(self, text: str) -> Tree:
        """The YAML as mappings, lists and texts; a plain nothing is None. Problems are added, not raised."""
        self.text = text
        try:
            node = _compose(text)
        except yaml.YAMLError as error:
            line, what, fix = mistake(error, text)
            self.problems.append(Problem("", line, f"is not YAML: {what}", fix, self.file))
            return None
        return self._value(node, ()) if node else None

    def _value(self, node: yaml.Node, path: Path, parents: tuple[yaml.Node, ...] = ()) -> Tree:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node in parents:
            self.fail(path, "holds itself")
            return None
        if node.tag not in _PLAIN_TAGS:
            self.fail(path, "begins with !, which YAML takes for a tag", "put the whole value in quotes")
            return None
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, path, (*parents, node)))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, i), (*parents, node)) for i, item in enumerate(node.value)]
        return self._scalar(cast(yaml.ScalarNode, node), path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> str | None:
        at = node.start_mark.index
        anchor = re.match(r"&([^\s,\[\]{}]*)", self.text[at : at + 200])
        if anchor and f"*{anchor[1]}" not in self.text:
            what = "begins with &, which YAML takes for an anchor and leaves out"
            self.fail(path, what, "put the whole value in quotes")
            return None
        if swallows_a_line(node, self.text):
            what, fix = open_quote(node.end_mark.line + 1)
            self.fail(path, what, fix)
            self.broken.add(path[:-1])  # the fields that it took along are not missing
            return None
        if not node.style and node.value in _NOTHING:
            if re.match(r"[ \t]+#\S", self.text[node.end_mark.index : node.end_mark.index + 40]):
                self.comments.add(path)
            return None
        if not node.style and _IN_TYPOGRAPHIC_MARKS.fullmatch(node.value):
            what = "stands in typographic quotation marks, which YAML takes for a part of the value"
            self.fail(path, what, "write plain ones, \" or ', around it")
            return None
        return self._substitute(str(node.value), path)

    def _items(self, node: yaml.MappingNode, path: Path, parents: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Tree]]:
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                what = "has a mapping or a list where the name of a field should be"
                self.fail(path, what, "put a value that begins with { or [ in quotes")
                continue
            place = (*path, key.value)
            if key.value == "<<" and not key.style:
                self.lines[place] = line
                self.fail(place, *MERGE_KEY)
                self.broken.add(path)  # the fields that it stands for are not missing
                continue
            if key.value in seen:
                self.problems.append(
                    Problem(
                        dotted(place),
                        line,
                        f"is written twice, in lines {seen[key.value]} and {line}",
                        "keep one of the two",
                        self.file,
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


def _compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text. libyaml reads it ten times faster.

    It allows tabs where PyYAML does not, and counts other characters otherwise; and PyYAML says better what is wrong.
    """
    if text.isascii() and "\t" not in text:
        with suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=_FAST)
    return yaml.compose(text, Loader=yaml.BaseLoader)


def _shown_path(written: str) -> str:
    """A path as the file has it, with a blank behind; nothing for what may be a secret that somebody wrote there."""
    whole = re.fullmatch(r"[\w.\-/ ${}]+", written) and ("/" in written or len(written) < SECRET_LENGTH)
    return f"{written} " if whole else ""


_FAST = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # where PyYAML was built with it
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
_IN_TYPOGRAPHIC_MARKS = re.compile(r"[\u2018-\u201f\u00ab\u2039].*[\u2018-\u201f\u00bb\u203a]", re.DOTALL)
_NOTHING = {"", "~", "null", "Null", "NULL"}  # what is nothing in every reading of YAML


_KEYS: dict[str | int, str] = {
    "channels": "a channel id has 1 to 200 characters, without white space and /",
    "endpoints": "a name has 1 to 64 small letters, digits and -",
    "genesys_cloud": "a name has 1 to 64 small letters, digits and -",
    "interactions": "a name has 1 to 64 small letters, digits and -",
    "providers": "a name has 1 to 64 small letters, digits and -",
    "triggers": "a name has 1 to 64 small letters, digits and -",
    "subscribers": "a name has 1 to 64 small letters, digits and -",
}

_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Configuration,
    ("digital_channels",): DigitalChannels,
    ("genesys_cloud", "*"): Organization,
    ("retry",): Retry,
    ("breaker",): Breaker,
    ("slow",): Slow,
    ("consent",): Consent,
    ("consent", "answers"): Answers,
    ("endpoints", "*"): Endpoint,
    ("interactions", "*"): Endpoint,
    ("channels", "*"): Channel,
    ("channels", "*", "retry"): Retry,
    ("channels", "*", "pace"): Pace,
    ("channels", "*", "own_messages"): OwnMessages,
    ("channels", "*", "switch"): Switch,
    ("channels", "*", "by_country", "*"): Country,
    ("triggers", "*"): Trigger,
    ("subscribers", "*"): Subscriber,
    ("subscribers", "*", "retry"): Schedule,
    ("subscribers", "*", "pace"): EventPace,
}


def _fields_without_a_name(tree: Mapping[str, Tree]) -> set[Path]:
    """Fields of an entry that stand in a section of entries."""
    models: dict[str, list[str]] = {
        "endpoints": list(Endpoint.model_fields),
        "interactions": list(Endpoint.model_fields),
        "channels": list(Channel.model_fields),
        "triggers": list(Trigger.model_fields),
        "genesys_cloud": list(Organization.model_fields),
        "subscribers": list(Subscriber.model_fields),
        "providers": ["kind", *(name for one in KINDS.values() for name in one.fields_model.model_fields)],
    }
    return {
        (name, key)
        for name, fields in models.items()
        if isinstance(section := tree.get(name), dict)
        for key, value in section.items()
        if key in fields and not isinstance(value, dict)
    }


def _description(path: Path, tree: Mapping[str, Tree]) -> str:
    """What the field at a path is said to be; "" where there is none."""
    while path and isinstance(path[-1], int):
        path = path[:-1]  # one of a list
    model = _MODELS.get(tuple("*" if place == 1 else str(step) for place, step in enumerate(path[:-1])))
    if path[:1] == ("providers",) and path[2:3] == ("pace",):
        model = Pace
    elif path[:1] == ("providers",) and len(path) == 3 and (kind := _word(tree, *path[:2], "kind")) in KINDS:
        model = ProviderAccount if path[2] == "longest_pause" else KINDS[kind].fields_model
    elif path[:1] == ("subscribers",) and path[2:3] == ("sink",):
        named = SINKS.get(_word(tree, *path[:3], "kind"))
        model = named.fields if named else None
    field_info = model.model_fields.get(str(path[-1])) if model and path else None
    return (field_info.description if field_info else "") or ""


def _known_keys(parent: Path, tree: Mapping[str, Tree]) -> list[str]:
    """The keys that may stand beside the refused one."""
    if parent[:1] == ("providers",) and parent[2:] == ("pace",):
        return list(Pace.model_fields)
    if parent[:1] == ("providers",):
        kind = _word(tree, *parent, "kind")
        return ["kind", "pace", *KINDS[kind].fields_model.model_fields] if kind in KINDS else []
    if parent[:1] == ("subscribers",) and parent[2:] == ("sink",):
        kind = _word(tree, *parent, "kind")
        return list(SINKS[kind].fields.model_fields) if kind in SINKS else []
    pattern = tuple("*" if place == 1 else str(step) for place, step in enumerate(parent))
    model = _MODELS.get(pattern)
    return list(model.model_fields) if model else []


def _word(tree: Tree | Mapping[str, Tree], *path: str | int) -> str:
    """The text at a path; "" where there is none."""
    for step in path:
        tree = tree.get(str(step)) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, str) else ""
