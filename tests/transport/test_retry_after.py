"""Retry-After, in both of its forms."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.retry_after import LONGEST, longest, seconds

NOON = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60.0),
        ("Sun Nov  6 08:50:37 1994", 60.0),
        ("Sun, 06 Nov 1994 08:49:36 GMT", 0.0),
        ("", None),
        ("007", 7.0),
        ("0.0", 0.0),
        ("0.25", 0.25),
        ("\t7", 7.0),
        ("3600", 3600.0),
        ("999999999", LONGEST),  # 31 years
        ("784111777", LONGEST),  # a moment since 1970, by mistake
        ("9999999999", LONGEST),
        ("9" * 400, LONGEST),  # more than a float holds
        ("1." + "9" * 300, 2.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Sun, 06 Nov 1994 10:50:37 +0200", 60.0),
        ("06 Nov 1994 08:50:37 GMT", 60.0),
        ("Mon, 06 Nov 1994 08:50:37 GMT", 60.0),  # it was a Sunday
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 1601 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("-1", None),
        ("-0", None),
        ("+5", None),
        ("soon", None),
        ("1e3", None),
        ("1E9", None),
        ("0x10", None),
        ("1_000", None),
        ("1,5", None),
        ("1.", None),
        (".5", None),
        ("1.5.2", None),
        ("120s", None),
        ("120; x", None),
        ("120, 60", None),
        ("1 2", None),
        ("nan", None),
        ("inf", None),
        ("Infinity", None),
        ("null", None),
        ("9" * 401, None),
        ("9" * 60_000, None),
        ("٣", None),
        ("７", None),
        ("²", None),
        ("7\N{ZERO WIDTH SPACE}", None),
        ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 99999 08:50:37 GMT", None),
        ("Sun, 06 Nov 1994 99:50:37 GMT", None),
        ("Sun, 06 Nov 1994 08:50:37 GMT" + " " * 99 + "x", None),
        ("1994-11-06T08:50:37Z", None),
    ],
)
def test_reading(value: str, expected: float | None) -> None:
    assert seconds(value, NOON) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([""], None),
        (["7"], 7.0),
        (["7", "60"], 60.0),
        (["60", "soon"], 60.0),
        (["soon", "-1"], None),
        (["60", "Sun, 06 Nov 1994 08:49:47 GMT"], 60.0),
        (["5", "Sun, 06 Nov 1994 08:49:47 GMT"], 10.0),
    ],
)
def test_several_headers(values: list[str], expected: float | None) -> None:
    assert longest(values, NOON) == expected


def test_a_date_without_a_zone_is_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/Bogota")
    time.tzset()
    try:
        assert seconds("Sun Nov  6 08:50:37 1994", NOON) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_is_counted_from_now() -> None:
    wait = seconds(formatdate(time.time() + 30, usegmt=True))
    assert wait is not None
    assert 28 <= wait <= 30


@given(st.text() | st.text("0123456789:,-+ GMTSunNov.", max_size=40))
def test_no_value_raises(value: str) -> None:
    wait = seconds(value, NOON)
    assert wait is None or 0 <= wait <= LONGEST
