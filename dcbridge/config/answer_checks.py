"""Whether the answers of channels can be heard and said: their words, their placeholders, their length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from dcbridge.config.answers import ACTIONS, PLACEHOLDERS, pieces, spoken
from dcbridge.config.consent import Consent, plain_word
from dcbridge.config.own_messages import SEGMENTS
from dcbridge.providers.segmentation import segments
from dcbridge.settings.problems import Path, did_you_mean

Problem = tuple[Path, str, str, bool]  # where, what, what to do, whether it is an error


def check(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """All that does not fit. Fields of another kind than they should be were refused already."""
    channels = tree.get("channels")
    words = _consent_words(tree)
    for channel_id, channel in channels.items() if isinstance(channels, Mapping) else ():
        if not isinstance(channel, Mapping):
            continue
        path: Path = ("channels", channel_id)
        if channel.get("type") == "email":
            for name in ("answers", "own_messages"):
                if channel.get(name) is not None:
                    yield (*path, name), "is for channels of type sms", "leave it out", True
            continue
        rules = channel.get("answers")
        yield from _rules((*path, "answers"), rules if isinstance(rules, list) else [], words, tree)


def _consent_words(tree: Mapping[str, Any]) -> Mapping[str, str]:
    try:
        return Consent.model_validate(tree.get("consent") or {}).words()
    except ValidationError:
        return Consent().words()


def _rules(path: Path, rules: list[Any], consent: Mapping[str, str], tree: Mapping[str, Any]) -> Iterator[Problem]:
    first: dict[tuple[str, ...], int] = {}
    begins: dict[tuple[str, ...], int] = {}  # of rules that need no more than a beginning
    for place, rule in enumerate(rules):
        if not isinstance(rule, Mapping):
            continue
        at: Path = (*path, place)
        if rule.get("say") is None and not any(rule.get(name) is not None for name in ACTIONS):
            yield (*at, "say"), "is missing: the rule says and does nothing", "", True
        if rule.get("else") is not None and not _has_placeholder(rule.get("say")):
            yield (*at, "else"), "is never said: `say` has no placeholder", "leave it out", False
        phrases = rule.get("when")
        for n, phrase in enumerate(phrases if isinstance(phrases, list) else []):
            if not isinstance(phrase, str) or not phrase:
                continue
            where, its = (*at, "when", n), spoken(phrase)
            if not its:
                yield where, "has neither a letter nor a digit: no message fits it", "", True
            elif word := consent.get(plain_word(phrase)):
                yield where, f"stands for {word.upper()}, which always wins", "choose another word", True
            elif its in first:
                yield where, f"is a word of rule {first[its] + 1} as well, which comes first", "leave it out", True
            else:
                first[its] = place
                before = next((begins[its[:n]] for n in range(1, len(its) + 1) if its[:n] in begins), None)
                if before is not None:
                    what = f"begins with a word of rule {before + 1}, which has match: first_word and comes first"
                    yield where, what, "put this rule before it", True
                if rule.get("match") == "first_word":
                    begins[its] = place
        for name in ("say", "else"):
            if isinstance(text := rule.get(name), str) and text:
                yield from _text((*at, name), text, tree)


def _has_placeholder(text: object) -> bool:
    try:
        return isinstance(text, str) and any(piece.name for piece in pieces(text))
    except ValueError:
        return True


def _text(path: Path, text: str, tree: Mapping[str, Any]) -> Iterator[Problem]:
    longest = ""
    try:
        parts = list(pieces(text))
    except ValueError as error:
        yield path, str(error), "", True
        return
    for piece in parts:
        known = PLACEHOLDERS.get(piece.name)
        if not piece.name:
            longest += piece.words
        elif known is None:
            there = f"there is {', '.join(sorted(PLACEHOLDERS))}" if PLACEHOLDERS else "there is none at all"
            near = did_you_mean(piece.name, PLACEHOLDERS)
            yield path, f"has the placeholder {{{piece.name}:…}}, which is not known", near or there, True
        else:
            if problem := known.problem(piece.argument, tree):
                yield path, f"has a placeholder {{{piece.name}:…}} that says nothing: {problem}", "", True
            longest += "0" * known.longest
    if (count := segments(longest)) > SEGMENTS:
        yield path, f"may take {count} SMS, and {SEGMENTS} are the most", "shorten it", True
    elif not longest.strip():
        yield path, "has nothing to read", "", True
