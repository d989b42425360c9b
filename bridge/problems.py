"""What is wrong with a configuration, told so that a person can mend it and no secret is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

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


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6, prefix: str = "") -> str:
    """'did you mean "twilio"?', or "" when nothing is near."""
    names = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return f'did you mean "{prefix}{names[near[0]]}"?' if near else ""


def shape(value: object) -> str:
    """What a value looks like, and never the value."""
    if value is None:
        return "empty"
    if isinstance(value, str):
        return "an empty text" if not value else f"a text of {counted(len(value), 'character')}"
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)}"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    return f"a value of type {type(value).__name__}"


def counted(number: int, noun: str) -> str:
    """1 character, 2 characters."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_WANTED = {
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "dict_type": "should be a mapping",
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "int_from_float": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "list_type": "should be a list",
    "mapping_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "model_type": "should be a mapping",
    "string_type": "should be a text",
    "tuple_type": "should be a list",
}

# Messages of these types are made of the constraint alone.
_SAFE = ("greater_than", "less_than", "multiple_of", "finite_number", "string_too_", "too_", "literal_error", "enum")


def explain(error: ErrorDetails, known_keys: Iterable[str] = ()) -> tuple[str, str]:
    """What is wrong, and a suggestion ("" for none), for one of pydantic's errors."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "missing":
        return "is missing", ""
    if kind == "extra_forbidden":
        return "is not a known key", did_you_mean(str(error["loc"][-1]), known_keys)
    if kind in _WANTED:
        return f"{_WANTED[kind]}, and is {shape(value)}", ""
    if kind == "sense":
        return str(context["what"]), ""
    if kind == "value_error":
        return _without(str(context.get("error", "")) or error["msg"], value), ""
    if kind == "literal_error":
        wanted = str(context["expected"]).replace("'", "")
        words = wanted.replace(" or ", ", ").split(", ")
        near = did_you_mean(value, words) if isinstance(value, str) else ""
        return f"should be {wanted}, and is {shape(value)}", near
    if kind in ("too_short", "string_too_short") and not value:
        return "should not be empty", ""
    if kind == "string_pattern_mismatch":
        return f"should match {context['pattern']}, and is {shape(value)}", ""
    if kind.startswith(_SAFE):
        return error["msg"].replace("Input should", "should").replace("String should", "should"), ""
    return f"is not of the right form ({kind}); it is {shape(value)}", ""


def _without(text: str, value: object) -> str:
    """A validator's own words, with the refused value replaced by its shape should they quote it."""
    if isinstance(value, str) and len(value) >= 8 and value in text:
        return text.replace(value, shape(value))
    return text
