"""What is wrong with a configuration, told so that a person can mend it and no secret is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from dcbridge.settings.units import unit_of

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend: where, and in words. `line` counts from 1; 0 where there is no line."""

    path: str
    line: int
    what: str
    suggestion: str = ""
    file: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        subject = f"{self.path}: " if self.path else ""
        return f"{place}{subject}{self.what}" + (f"; {self.suggestion}" if self.suggestion else "")


class ConfigurationError(Exception):
    """Every problem at once, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def refuse(*complaints: tuple[Path, str]) -> None:
    """Raise, from inside a model validator, each (path below the model, what); nothing when there is none."""
    details = [
        InitErrorDetails(type=PydanticCustomError("sense", "{what}", {"what": what}), loc=path, input=None)
        for path, what in complaints
    ]
    if details:
        raise ValidationError.from_exception_data("configuration", details, hide_input=True)


def dotted(path: Path) -> str:
    """("endpoints", "main", "secrets", 0) is written endpoints.main.secrets[0]."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def kind_is_missing(fields: Iterable[str]) -> str:
    """Of a section without `kind`; a key of nearly that name is named."""
    near = _nearest("kind", fields)
    return f'is missing; "{near}" stands here and may be meant: write kind' if near else "is missing"


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6, prefix: str = "") -> str:
    """'did you mean "twilio"?', or "" when nothing is near."""
    near = _nearest(word, known, cutoff)
    return f'did you mean "{prefix}{near}"?' if near else ""


def _nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The name that is most like a word in any case; "" when none is."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else ""


def shape(value: object) -> str:
    """What kind of thing a value is, and never the value. YAML's scalars arrive as texts, whatever they look like."""
    match value:
        case None:
            return "empty"
        case "":
            return "an empty text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str() if value.lower() in _SWITCHES:
            return f'the word "{value}"'
        case str():
            return "a number" if _DIGITS.fullmatch(value) else "a text"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return "something else"


def other(value: object) -> str:
    """As `shape`, of a value that is not one of those that may be chosen, which are texts as well."""
    found = shape(value)
    return "something else" if found == "a text" else found


_SWITCHES = {"yes", "no", "on", "off", "true", "false", "null", "~"}
_DIGITS = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)


def counted(number: int, noun: str) -> str:
    """1 character, 2 characters."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_TRUTH = "should be true or false"
_MAPPING = "should be a mapping: lines of `key: value`, indented below it"
_LIST = "should be a list: [one, two], or lines that begin with a dash"
_TEXT = "should be a text"
_WANTED = {
    "bool_parsing": _TRUTH,
    "bool_type": _TRUTH,
    "dict_type": _MAPPING,
    "list_type": _LIST,
    "mapping_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "string_type": _TEXT,
    "tuple_type": _LIST,
}
_NUMBERS = {
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

# Messages of these types are made of the constraint alone.
_SAFE = ("multiple_of", "string_too_", "too_", "literal_error", "enum")


def explain(error: ErrorDetails, known_keys: Iterable[str] = (), description: str = "") -> tuple[str, str]:
    """What is wrong, and a suggestion ("" for none), for one of pydantic's errors; `description` is the field's."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        return "is not a known key", did_you_mean(str(error["loc"][-1]), known_keys)
    if kind in _WANTED:
        return f"{_WANTED[kind]}, and is {shape(value)}", _remedy(_WANTED[kind], value)
    if kind == "finite_number":
        return f"should be {unit_of(description).wanted('a finite number')}", ""
    if kind in _NUMBERS:
        unit = unit_of(description)
        return f"should be {unit.wanted(_NUMBERS[kind])}, and is {_no_number(value)}", unit.hint(value)
    if kind in _BOUNDS:
        than, key = _BOUNDS[kind]
        return f"should be {than} {unit_of(description).amount(context[key])}", ""
    if kind == "sense":
        return str(context["what"]), ""
    if kind == "value_error":
        return _without(str(context.get("error", "")) or error["msg"], value), ""
    if kind == "literal_error":
        wanted = str(context["expected"]).replace("'", "")
        words = wanted.replace(" or ", ", ").split(", ")
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"should be {wanted}, and is {other(value)}", near
    if kind in ("too_short", "string_too_short") and not value:
        return "should not be empty", ""
    if kind == "string_pattern_mismatch":
        what = f"has a character that cannot stand there: it has to match {context['pattern']}"
        return what if value else "should not be empty", ""
    if kind.startswith(_SAFE):
        return re.sub(
            r"^(Input|String|Value|List|Dictionary|Tuple) ", "", error["msg"].replace(" after validation", "")
        ), ""
    return f"is not of the right form, and is {shape(value)}", ""


def _remedy(wanted: str, value: object) -> str:
    """What most often is behind a value of another kind than was wanted."""
    if wanted == _TRUTH and isinstance(value, str):
        return did_you_mean(value, ("true", "false"))
    if wanted == _TEXT and isinstance(value, (list, Mapping)):
        return "a value that begins with [ or { has to stand in quotes"
    return "write a value behind the colon" if wanted == _TEXT and value is None else ""


def _no_number(value: object) -> str:
    """A number that is refused as one, such as 1.5 where a whole one is wanted, is not called a number again."""
    if isinstance(value, float) or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        return "not one"
    return shape(value)


def _without(text: str, value: object) -> str:
    """A validator's own words, with the refused value replaced by its shape should they quote it."""
    if isinstance(value, str) and len(value) >= 8 and value in text:
        return text.replace(value, shape(value))
    return text
