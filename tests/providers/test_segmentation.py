"""Units, segments and cuts of an SMS text."""

from __future__ import annotations

import itertools
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcbridge.providers.segmentation import is_gsm7, segments, split, units

FAMILY = "👨‍👩‍👧‍👦"
THUMB = "👍🏽"
SCOTLAND = "🏴󠁧󠁢󠁳󠁣󠁴󠁿"
HEART = "❤️"
KEYCAP = "1️⃣"
E_ACUTE = "e\u0301"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("hello", 5),
        ("@£$¥èéùìòÇ\nØø\rÅå", 16),
        ("ΔΦΓΛΩΠΨΣΘΞ", 10),
        ("ç", 1),  # the small one is not in the alphabet: one UTF-16 code unit
        ("€", 2),
        ("\f^{}\\[~]|€", 20),
        ("a€", 3),
        ("a€я", 3),  # one Cyrillic letter, and the euro costs 1
        ("`", 1),
        ("😀", 2),
        ("a😀", 3),
        ("\t", 1),
        ("\x1b", 1),
    ],
)
def test_units(text: str, expected: int) -> None:
    assert units(text) == expected


def test_the_default_alphabet_has_127_characters_and_its_extension_10() -> None:
    every = [chr(code) for code in range(0x10000) if not 0xD800 <= code <= 0xDFFF and is_gsm7(chr(code))]
    assert len(every) == 137
    assert sum(units(char) for char in every) == 127 + 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" * 77, 3),  # 306 septets; the escape pair does not straddle two parts
        ("a" * 152 + "a" * 154, 2),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),  # 33 whole ones in a part of 67
        ("😀" * 66, 2),
    ],
)
def test_segments(text: str, expected: int) -> None:
    assert segments(text) == expected


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("", 10, []),
        ("hello", 5, ["hello"]),
        ("hello!", 5, ["hello", "!"]),
        ("one two three", 8, ["one two ", "three"]),
        ("one two", 3, ["one", " tw", "o"]),
        ("ab cd", 4, ["ab ", "cd"]),
        ("€€€", 4, ["€€", "€"]),
        ("яяяя", 2, ["яя", "яя"]),
        ("😀😀", 3, ["😀", "😀"]),
        ("a" + E_ACUTE + "b", 2, ["a", E_ACUTE, "b"]),
        ("aa" + FAMILY, 12, ["aa", FAMILY]),
        ("aa" + THUMB, 4, ["aa", THUMB]),
        ("🇩🇪🇫🇷", 6, ["🇩🇪", "🇫🇷"]),
        ("a\u00a0bc", 3, ["a\u00a0b", "c"]),  # a no-break space is no place for a cut
        ("a bc", 3, ["a ", "bc"]),
        ("aa\r\nbb", 3, ["aa", "\r\nb", "b"]),
        ("aaa   ", 3, ["aaa", "   "]),  # the blanks alone are as long as the limit
        ("aaaa  ", 4, ["aaa", "a  "]),
        ("  aaaa", 4, ["  aa", "aa"]),
    ],
)
def test_cuts(text: str, limit: int, expected: list[str]) -> None:
    assert split(text, limit) == expected


def test_a_limit_below_the_cost_of_an_emoji_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        split("hello", 1)
    assert split("hello", 2)


def test_a_character_that_is_longer_than_the_limit_is_cut_between_code_points() -> None:
    assert split(FAMILY, 4) == ["👨\u200d", "👩\u200d", "👧\u200d", "👦"]


def test_a_megabyte_does_not_take_seconds() -> None:
    for text in ("word " * 200_000, "a" * 1_000_000, " " * 500_000 + "a" * 500_000, "e\u0301" * 500_000):
        began = time.process_time()
        assert "".join(split(text)) == text
        assert time.process_time() - began < 5


clusters = st.sampled_from(
    ["a", "b", " ", " ", "  ", "\n", "€", "я", "😀", FAMILY, THUMB, SCOTLAND, HEART, KEYCAP, "🇩🇪"]
)
texts = st.lists(clusters | st.characters(exclude_categories=["Cs"]) | st.just(E_ACUTE), max_size=80).map("".join)


@given(texts, st.integers(2, 40))
@example("a " * 30, 2)
def test_pieces_are_whole_in_bounds_and_not_empty(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert "".join(pieces) == text
    assert all(pieces)
    assert all(units(piece) <= limit for piece in pieces)
    assert len(pieces) <= 1 or units(text) > limit


@given(st.lists(clusters | st.just(E_ACUTE), max_size=80).map("".join), st.integers(20, 60))
def test_no_cut_falls_inside_a_visible_character(text: str, limit: int) -> None:
    pieces = split(text, limit)
    for before, after in itertools.pairwise(pieces):
        assert not before.endswith("\u200d")
        assert not after.startswith("\u200d")
        assert not unicodedata.category(after[0]).startswith("M")
        assert not "\U0001f3fb" <= after[0] <= "\U0001f3ff"
        assert not "\U000e0020" <= after[0] <= "\U000e007f"
        assert sum("\U0001f1e6" <= char <= "\U0001f1ff" for char in before) % 2 == 0


@given(st.lists(st.text("abcäя€", min_size=1, max_size=10), min_size=1, max_size=40))
def test_words_that_fit_are_never_cut(words: list[str]) -> None:
    pieces = split(" ".join(words), 25)
    assert [word for piece in pieces for word in piece.split()] == words
    assert all(piece.strip() for piece in pieces)
