"""Links to unsubscribe: the same each time, of one channel and consumer, and of nobody else's making."""

from __future__ import annotations

import pytest

from dcbridge.mail.unsubscribe import NoLink, UnsubscribeLinks, Unsubscription, fields_of

KEY, ANA, BEN = b"k" * 16, "a" * 32, "b" * 32
URL = "https://bridge.example.com"


def links(key: bytes = KEY, *channels: str) -> UnsubscribeLinks:
    return UnsubscribeLinks(key, URL, channels or ("company.com", "other.com"))


def test_a_link_says_who_and_where_and_is_the_same_each_time() -> None:
    made = links().url("company.com", ANA)
    assert made == links().url("company.com", ANA)
    assert made.startswith(f"{URL}/u/")
    assert len({links().url(channel, one) for channel in ("company.com", "other.com") for one in (ANA, BEN)}) == 4
    assert links().open(made.rpartition("/")[2]) == Unsubscription("company.com", ANA)
    assert ANA not in made


def test_what_is_no_link_of_ours_opens_nothing() -> None:
    token = links().url("company.com", ANA).rpartition("/")[2]
    for place in range(0, len(token), 7):
        other = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(NoLink):
            links().open(other)
    for bad in ("", token[:-1], token + "A", "é" * 67):
        with pytest.raises(NoLink):
            links().open(bad)
    for others in (links(b"j" * 16), links(KEY, "other.com")):
        with pytest.raises(NoLink):
            others.open(token)


def test_the_fields_of_an_email() -> None:
    assert list(fields_of("")) == []
    assert dict(fields_of("https://x")) == {
        "List-Unsubscribe": "<https://x>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }  # fmt: skip
