"""How much room a text takes as SMS, and where it may be cut.

3GPP TS 23.038: a text that fits the GSM 7-bit default alphabet (6.2.1) costs 1 septet a character,
and 2 for the ten of the extension table (6.2.1.1): form feed ^ { } \\ [ ~ ] | €. One character outside
both turns the whole text into UCS-2 (6.2.3), where a character costs 1 UTF-16 code unit and one beyond
U+FFFF, such as most emoji, costs 2. Concatenation (TS 23.040, 9.2.3.24.1) takes room in every part.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from dcbridge import gsm7

_DEFAULT_ALPHABET = gsm7.DEFAULT.replace(chr(gsm7.ESCAPE), "")
_EXTENSION = "".join(gsm7.EXTENSION)
_NOT_GSM7 = re.compile(f"[^{re.escape(_DEFAULT_ALPHABET + _EXTENSION)}]")
_SEPTETS = dict.fromkeys(_DEFAULT_ALPHABET, 1) | dict.fromkeys(_EXTENSION, 2)

_GSM7_SINGLE, _GSM7_PART = 160, 153  # septets
_UCS2_SINGLE, _UCS2_PART = 70, 67  # UTF-16 code units

_ZWJ = "\u200d"
_MARKS = ("Mn", "Mc", "Me")  # accents, vowel signs, variation selectors, the keycap
# Extend a character without being marks: ZWNJ, ZWJ, Thai and Lao AM, half-width voiced marks.
_OTHER_EXTENDERS = frozenset("\u200c\u200d\u0e33\u0eb3\uff9e\uff9f")
_NO_BREAK_SPACES = frozenset("\u00a0\u2007\u202f")


def is_gsm7(text: str) -> bool:
    """Does the whole text fit the GSM 7-bit default alphabet and its extension?"""
    return not _NOT_GSM7.search(text)


def units(text: str) -> int:
    """The room that a text takes: septets where all of it is GSM-7, else UTF-16 code units."""
    return sum(_costs(text))


def room(sms: int, *, gsm7: bool) -> int:
    """The units that so many SMS carry, put together where they are several."""
    single, part = (_GSM7_SINGLE, _GSM7_PART) if gsm7 else (_UCS2_SINGLE, _UCS2_PART)
    return single if sms == 1 else part * sms


def segments(text: str) -> int:
    """How many SMS a handset puts together for this text; neither an escape nor an emoji is cut in two."""
    single, part = (_GSM7_SINGLE, _GSM7_PART) if is_gsm7(text) else (_UCS2_SINGLE, _UCS2_PART)
    if 2 * len(text) <= single:  # no character costs more than 2
        return 1 if text else 0
    costs = _costs(text)
    if sum(costs) <= single:
        return 1
    count, room = 1, part
    for cost in costs:
        if cost > room:
            count, room = count + 1, part
        room -= cost
    return count


def split(text: str, limit: int = 1600) -> list[str]:
    """Cut a text into pieces of at most `limit` units, each counted in its own encoding.

    Joined, the pieces are the text. A cut falls after white space where there is any, and never
    inside what a reader sees as one character, unless that alone is over the limit. A piece is
    blank only where a run of white space is about as long as the limit.
    """
    if limit < 2:
        raise ValueError("limit: at least 2, the cost of an emoji")
    if 2 * len(text) <= limit or units(text) <= limit:  # no character costs more than 2
        return [text] if text else []
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = _piece_end(text, start, limit)
        pieces.append(text[start:end])
        start = end
    return _unblank(pieces, limit)


def _costs(text: str) -> list[int]:
    if is_gsm7(text):
        return [_SEPTETS[char] for char in text]
    return [1 if char <= "\uffff" else 2 for char in text]


def _piece_end(text: str, start: int, limit: int) -> int:
    """Where the piece that begins at `start` ends; reads at most one cluster past the limit."""
    room = _Room(limit)
    word_end = 0
    blank = True
    begin = start
    for end in _cluster_ends(text, start):
        cluster = text[begin:end]
        for place, char in enumerate(cluster, begin):
            if not room.takes(char):
                return word_end or (begin if begin > start else place)
        if cluster.isspace():
            if not blank and cluster not in _NO_BREAK_SPACES:
                word_end = end
        else:
            blank = False
        begin = end
    return len(text)


class _Room:
    """Counts a growing piece in both encodings, and knows which of the two it is in."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._gsm7 = True
        self._septets = 0
        self._code_units = 0

    def takes(self, char: str) -> bool:
        """Add one character; False once the piece is over the limit."""
        septets = _SEPTETS.get(char, 0)
        if not septets:
            self._gsm7 = False
        self._septets += septets
        self._code_units += 1 if char <= "\uffff" else 2
        return (self._septets if self._gsm7 else self._code_units) <= self._limit


def _cluster_ends(text: str, start: int) -> Iterator[int]:
    """The end of each grapheme cluster: UAX #29, less its rules for Indic conjuncts and Prepend."""
    flag_half = False  # the last character opened a flag: a pair of regional indicators
    for place in range(start + 1, len(text)):
        before, char = text[place - 1], text[place]
        flag_half = _is_regional(before) and not flag_half
        if char < "\u0300" and before != _ZWJ:
            if not (char == "\n" and before == "\r"):
                yield place
        elif not (_extends(char) or before == _ZWJ or (flag_half and _is_regional(char))):
            yield place
    if start < len(text):
        yield len(text)


def _is_regional(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _extends(char: str) -> bool:
    return (
        unicodedata.category(char) in _MARKS
        or char in _OTHER_EXTENDERS
        or "\u1160" <= char <= "\u11ff"  # Hangul vowels and finals that follow a lead
        or "\U0001f3fb" <= char <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= char <= "\U000e007f"  # tags, as in the flag of Scotland
    )


def _unblank(pieces: list[str], limit: int) -> list[str]:
    """Give a blank piece the last visible character of the piece before it, where both stay in bounds."""
    for index in range(1, len(pieces)):
        before, piece = pieces[index - 1], pieces[index]
        if not piece.isspace():
            continue
        visible = len(before.rstrip())
        cut = 0
        for end in _cluster_ends(before, 0):
            if end >= visible:
                break
            cut = end
        head, tail = before[:cut], before[cut:] + piece
        if head.strip() and units(head) <= limit and units(tail) <= limit:
            pieces[index - 1 : index + 1] = [head, tail]
    return pieces
