"""What pages work out: bars that add up, plots, the fields of a search, and how times are put."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dcbridge.console import filters
from dcbridge.console.views.plots import HEIGHT, bar, lines, stacked
from dcbridge.console.views.query import Asked, read

NOW = 1795734000.0  # 2026-11-26 23:00:00 UTC


@pytest.mark.parametrize(
    "counts",
    [{"delivered": 1}, {"delivered": 999_999, "failed": 1}, {"a": 3, "b": 0, "c": 7}, {"a": 10**12, "b": 1, "c": 1}],
)
def test_a_bar_is_filled_and_shows_whatever_is_not_0(counts: dict[str, int]) -> None:
    parts = bar(counts)
    assert [part.name for part in parts] == [name for name, count in counts.items() if count]
    assert sum(part.width for part in parts) == pytest.approx(1000, abs=0.1)
    assert all(part.width >= 3.9 for part in parts)
    assert all(a.x + a.width == pytest.approx(b.x, abs=0.02) for a, b in pairwise(parts))


def test_a_bar_of_nothing_is_none() -> None:
    assert bar({"delivered": 0}) == []


def test_bars_of_an_hour_are_stacked_from_the_floor() -> None:
    plot = stacked(["1", "2"], {"delivered": [3, 0], "failed": [1, 0]})
    assert [box.kind for box in plot.boxes] == ["delivered", "failed"]
    assert plot.boxes[0].y + plot.boxes[0].height == pytest.approx(plot.floor, abs=0.2)
    assert plot.boxes[1].y + plot.boxes[1].height == pytest.approx(plot.boxes[0].y, abs=0.2)
    assert [tick.words for tick in plot.up] == ["0", "2", "4"]


@pytest.mark.parametrize("most", [0, 1e-9, 0.5, 1, 7, 10**15])
def test_a_line_stays_within_its_plot(most: float) -> None:
    plot = lines(["1", "2", "3"], [[most, None, 0]])
    assert all(0 <= y <= HEIGHT for _, y in plot.lines[0])


@pytest.mark.parametrize(
    ("given", "errors"),
    [
        ({}, []),
        ({"state": "failed", "reason": "500", "after": "2h", "before": "2026-11-26T22:30"}, []),
        ({"state": "broken"}, ["state"]),
        ({"reason": "5000"}, ["reason"]),
        ({"after": "yesterday"}, ["after"]),
        ({"after": "9999999999999d"}, ["after"]),
        ({"before": "0001-01-01"}, ["before"]),
        ({"after": "1h", "before": "2h"}, ["before"]),
        ({"who": "16504661149"}, ["who"]),
        ({"who": "0123456789ab"}, []),
        ({"cursor": "<b>"}, ["cursor"]),
    ],
)
def test_a_field_that_is_wrong_is_named(given: dict[str, str], errors: list[str]) -> None:
    assert list(read(given, NOW).errors) == errors


def test_times_of_a_search() -> None:
    asked = read({"after": "2h", "before": "2026-11-26 22:30"}, NOW)
    assert (asked.since, asked.until) == (NOW - 7200, NOW - 1800)
    assert read({"after": "2026-11-26T23:00+01:00"}, NOW).since == NOW - 3600


def test_the_address_of_a_search_has_what_was_asked_and_no_old_cursor() -> None:
    asked = Asked(channel="a b", state="failed", cursor="a.1.2.3")
    assert asked.address() == "/messages?channel=a+b&state=failed"
    assert asked.address(cursor="a.1.2.2") == "/messages?channel=a+b&state=failed&cursor=a.1.2.2"
    assert asked.address(state="") == "/messages?channel=a+b"


@pytest.mark.parametrize(
    ("at", "says"), [(NOW - 300, "5 min ago"), (NOW + 3, "in 3 s"), (NOW, "now"), (NOW - 86400 * 3, "3 d ago")]
)
def test_ages(at: float, says: str) -> None:
    assert filters.ago(at, NOW) == says


@pytest.mark.parametrize("at", [-1.0, 1e18, float("inf"), float("nan")])
def test_what_is_no_time_is_shown_as_none(at: float) -> None:
    assert (filters.iso(at), filters.utc(at), filters.clock(at)) == ("", "–", "–")


def test_a_time_has_its_zone() -> None:
    assert filters.utc(NOW) == "2026-11-26 23:00:00 UTC"
    assert filters.iso(NOW) == "2026-11-26T23:00:00Z"
