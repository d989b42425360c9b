"""Small versions of the two harnesses beside this file: sick subscribers, and kill -9 while events fan out."""

from __future__ import annotations

from tests.faults.events import SICK, EventStack
from tests.faults.events_kill import storm
from tests.faults.events_sick import run


def test_well_subscribers_get_everything_once_beside_sick_ones() -> None:
    figures = run(400, 4.0, SICK)
    assert figures.wrong() == [], str(figures)
    # One that hangs is asked as often as it may have requests in flight; one that fails, until the breaker opens and
    # then now and again. The others' events wait, and none of them has cost an attempt.
    assert figures.heard["hangs"] <= 20
    assert figures.heard["fails"] < 100


def test_every_event_reaches_every_well_subscriber_whoever_is_killed() -> None:
    with EventStack(SICK) as bridge:
        figures = storm(bridge, events=400, seconds=15)
    assert figures.kills_of_service >= 1
    assert figures.kills_of_worker >= 1
    assert figures.wrong() == [], str(figures)
