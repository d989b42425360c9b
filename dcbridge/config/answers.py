"""Answers of a channel: what a consumer is answered at once whose message is one of a few words.

A text may hold placeholders, `{name:argument}`. Which there are stands in PLACEHOLDERS, and what one says at a moment
is worked out in workers/answers.py. A rule may have an action beside its text, or instead: a field named in ACTIONS.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, StringConstraints

from dcbridge.config.booking import Book
from dcbridge.config.statistics import no_wait, no_watch
from dcbridge.settings.types import Model

MOST_RULES = 20
LONGEST = 160  # characters of a message that can be one of the words; of a longer one only its beginning is looked at

Phrase = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=480)]


class Placeholder(NamedTuple):
    """`longest`: characters that it says at most. `problem`: (argument, all of bridge.yaml as read) -> why it can say
    nothing, or "".
    """

    longest: int
    problem: Callable[[str, Mapping[str, Any]], str]


LONGEST_WAIT = len("23 h 59 min")
PLACEHOLDERS: dict[str, Placeholder] = {
    "wait": Placeholder(LONGEST_WAIT, no_watch),  # a statistic in seconds
    "ewt": Placeholder(LONGEST_WAIT, no_wait),  # a virtual queue
}
ACTIONS = ("book",)  # fields of AnswerRule: what is done, by what REGISTRY of workers/answers.py has of that name


class AnswerRule(Model):
    """One answer. The first rule that fits counts."""

    when: tuple[Phrase, ...] = Field(
        min_length=1, max_length=20, description="What the consumer writes: words, compared without case and accents."
    )
    match: Literal["message", "first_word"] = Field(
        "message", description="Whether the words have to be the whole message, or its beginning."
    )
    say: Text | None = Field(
        None, description="The answer. It is not sent where one of its placeholders is not known at the moment."
    )
    otherwise: Text | None = Field(
        None,
        alias="else",
        description="The answer where a placeholder of `say` is not known; without it, no answer is sent then.",
    )
    book: Book | None = Field(
        None, description="Books a call of an agent to the consumer: [callbacks](genesys-callbacks.md)."
    )
    then: Literal["pass", "stop"] = Field(
        "pass",
        description="Whether the agent gets the message too; one that was not answered always goes to the agent.",
    )

    @property
    def action(self) -> str:
        """The field that says what is done; "" where there is none."""
        return next((name for name in ACTIONS if getattr(self, name) is not None), "")


def spoken(text: str) -> tuple[str, ...]:
    """Its words as they are compared."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text[: 2 * LONGEST]).casefold())
    letters = "".join(one if one.isalnum() else "" if unicodedata.combining(one) else " " for one in plain)
    return tuple(letters.split())


def fitting(rules: Sequence[AnswerRule], text: str) -> int | None:
    """The place of the first rule that fits a message."""
    words, whole = spoken(text), len(text) <= LONGEST
    for place, rule in enumerate(rules):
        for its in map(spoken, rule.when):
            fits = whole and words == its if rule.match == "message" else words[: len(its)] == its
            if fits and its:
                return place
    return None


class Piece(NamedTuple):
    """Of a text: words as they are, or a placeholder."""

    words: str
    name: str = ""
    argument: str = ""


_HOLE = re.compile(r"\{\{|\}\}|\{(?P<name>[a-z][a-z0-9_]{0,39})(?::(?P<argument>[A-Za-z0-9_.-]{1,100}))?\}|[{}]")


def pieces(text: str) -> Iterator[Piece]:
    """Raises ValueError for a brace that is neither a placeholder nor written twice."""
    at = 0
    for found in _HOLE.finditer(text):
        yield Piece(text[at : found.start()])
        at = found.end()
        if found["name"]:
            yield Piece("", found["name"], found["argument"] or "")
        elif len(found[0]) == 2:
            yield Piece(found[0][0])
        else:
            raise ValueError(f"has a {found[0]} that is no placeholder: write {{name:argument}}, or {found[0] * 2}")
    yield Piece(text[at:])
