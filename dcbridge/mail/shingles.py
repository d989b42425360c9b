"""Which line of a mail is ours: hashes of what was sent, so that a quote of it is found in any language and any client.

Of each text a few overlapping runs of words are kept, as numbers that say nothing of the text. A client that quotes
changes line ends, marks and the width of lines; words and their order stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator

WORDS = 5  # of one shingle
MOST = 8  # kept of one text
_LONGEST = 20_000  # characters of a text that are looked at
_WORD = re.compile(r"\w+")


def of_text(text: str) -> list[int]:
    """Those of a text that we send: its beginning, and others spread over it."""
    words = _WORD.findall(text[:_LONGEST].casefold())
    runs = [tuple(words[at : at + WORDS]) for at in range(max(len(words) - WORDS + 1, 0))]
    if not runs:
        return []
    places = sorted({*range(min(4, len(runs))), *(len(runs) * part // MOST for part in range(MOST))})[:MOST]
    return [_number(runs[place]) for place in places]


def first_line(lines: list[str], ours: Collection[int]) -> int | None:
    """The first line in which a run of our words begins; None where none of them is ours."""
    known = frozenset(ours)
    words = list(_words(lines))
    for at in range(len(words) - WORDS + 1):
        if _number(tuple(word for word, _ in words[at : at + WORDS])) in known:
            return words[at][1]
    return None


def _words(lines: list[str]) -> Iterator[tuple[str, int]]:
    left = _LONGEST
    for number, line in enumerate(lines):
        if left <= 0:
            return
        for word in _WORD.findall(line[:left].casefold()):
            yield word, number
        left -= len(line) + 1


def _number(words: tuple[str, ...]) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(words).encode("utf-8", "replace"), digest_size=6).digest(), "big")
