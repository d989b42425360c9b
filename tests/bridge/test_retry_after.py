"""Retry-After, in both of its forms."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.retry_after import seconds

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
        ("-1", None),
        ("soon", None),
        ("1e3", None),
        ("9" * 500, None),
        ("٣", None),
        ("Sun, 99 Nov 1994 08:50:37 GMT", None),
        ("Sun, 06 Nov 99999 08:50:37 GMT", None),
    ],
)
def test_reading(value: str, expected: float | None) -> None:
    assert seconds(value, NOON) == expected


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
    assert wait is None or wait >= 0
