"""The cookies of a session: those that can be sent again, and no more than a few."""

from __future__ import annotations

import pytest

from dcbridge.transport.session_sender import LONGEST_COOKIE, MOST_COOKIES, Cookies


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a=1; Path=/; HttpOnly", "a=1"),
        ('a="1 2"', 'a="1 2"'),
        ("a=1; Max-Age=0", ""),
        ('a="\x01"', ""),
        ('a="x\0y"', ""),
        ('a="x\ny"', ""),
        ('a="x\r\nHost: evil"', ""),
        ('a="\xe9"', ""),
        ('a="\u2028"', ""),
        (f"a={'x' * LONGEST_COOKIE}", ""),
        ("a b=1", ""),
        ("", ""),
    ],
)
def test_a_cookie_that_cannot_be_sent_is_not_kept(line: str, kept: str) -> None:
    cookies = Cookies()
    cookies.keep([line])
    assert cookies.header == kept


def test_of_too_many_the_oldest_are_forgotten() -> None:
    cookies = Cookies()
    cookies.keep([f"c{number}={number}" for number in range(3 * MOST_COOKIES)])
    assert cookies.header.count("=") == MOST_COOKIES
    assert cookies.header.endswith(f"c{3 * MOST_COOKIES - 1}={3 * MOST_COOKIES - 1}")
