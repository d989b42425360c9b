"""Where a message stands, in a sentence: a row for each thing that a message waits for, and for each end."""

from __future__ import annotations

from typing import Any

import pytest

from dcbridge.console.views.standing import Seen, standing
from dcbridge.ledger.controls import Control, Target, What
from dcbridge.ledger.fields import Field, MessageEntry
from dcbridge.ledger.reports.conversations import WHY, Head

NOW = 1795734000.0  # 2026-11-26 23:00:00 UTC
MS = int(NOW * 1000)


def entry(**fields: object) -> MessageEntry:
    """By the names of the fields."""
    wires: dict[str, Field[Any]] = {one.name: one for one in MessageEntry.fields() if isinstance(one, Field)}
    known = {"state": "accepted", "channel_id": "sms", "accepted_at": MS - 60_000, "lane": "l"} | fields
    return MessageEntry({wires[name].wire.encode(): str(value).encode() for name, value in known.items()})


def head(why: str, **more: Any) -> Head:
    known: dict[str, Any] = {
        "id": "r", "what": "message", "state": "accepted", "channel_id": "sms", "age": 60.0, "behind": 0, "attempts": 0,
        "code": "", "why": why, "due_in": 0.0, "to": "",
    }  # fmt: skip
    return Head(**(known | more))


def control(what: What, name: str, **more: Any) -> Control:
    known: dict[str, Any] = {"since": NOW - 720, "until": None, "stands_still": False, "by": "anna", "why": ""}
    return Control(Target(what, name), **(known | more))


def said(wanted: MessageEntry, **seen: Any) -> str:
    return str(standing(Seen(wanted, NOW, "twilio", **seen)))


WAITS = [
    ("queued", {}, "Waits for a free worker."),
    ("under way", {}, "Waits for the answer to its request."),
    (
        "retry",
        {"code": "20429", "due_in": 5.0},
        "Waits for its next attempt, in about 5 s: the last one was not accepted (20429).",
    ),
    ("unknown", {}, "Waits for a delivery report, a status lookup or the channel's policy: its outcome is not known."),
    (
        "paced",
        {"due_in": 3.0},
        "Waits for its turn by the rate limit of its channel or of provider twilio, in about 3 s.",
    ),
    ("held", {}, "Waits for a free place in flight at provider twilio."),
    ("parked", {}, "Waits for provider twilio: its breaker is open, after attempts that failed."),
    ("paused", {}, "Waits for provider twilio: it has asked for a pause."),
    ("no provider", {}, "Waits for its channel's providers: none of them is available."),
    ("quiet", {"due_in": 7200.0}, "Waits for its consumer's quiet hours to end, in about 2 h."),
    ("statistic", {}, "Waits for a statistic of the contact centre to fall (hold_while)."),
    ("stopped", {}, "Waits for an operator to resume it."),
    ("unconfigured", {}, "Waits for its channel to be configured: no worker has it in bridge.yaml."),
    ("due", {}, "Waits for the next sweep, in a moment."),
    (
        "forgotten",
        {},
        "Waits for nothing: this is a bug, or a damaged Redis. Report it, and cancel the message.",
    ),
]


def test_each_reason_to_wait_has_a_sentence() -> None:
    assert {why for why, _, _ in WAITS} == set(WHY)


@pytest.mark.parametrize(("why", "more", "says"), WAITS, ids=[row[0] for row in WAITS])
def test_what_it_waits_for(why: str, more: dict[str, Any], says: str) -> None:
    assert said(entry(), waits=head(why, **more)) == says
    behind = said(entry(), waits=head("due"), before=2, first=head(why, **more))
    assert behind == (
        "Waits its turn. 2 messages of its conversation are before it. The first of them waits"
        + says.removeprefix("Waits")
    )


STOPS = [
    (
        control(What.PROVIDER, "twilio"),
        "provider twilio is paused by anna",
        "The next attempt is made when the pause ends.",
    ),
    (
        control(What.CHANNEL, "sms", until=NOW + 60, why="wrong texts"),
        "channel sms is paused by anna",
        "The next attempt is at 2026-11-26 23:01:00 UTC.",
    ),
    (control(What.HOLD, "sms"), "channel sms is held for review by anna", "It is sent when it is released."),
    (
        control(What.CONVERSATION, "0a1b"),
        "its conversation is paused by anna",
        "The next attempt is made when the pause ends.",
    ),
    (control(What.ALL, ""), "this installation is drained by anna", "The next attempt is made when the pause ends."),
]


@pytest.mark.parametrize(("one", "who", "then"), STOPS, ids=[str(one.target) for one, _, _ in STOPS])
def test_what_stops_it(one: Control, who: str, then: str) -> None:
    found = said(entry(expires_at=MS + 3_600_000), waits=head("stopped"), stopping=[one])
    assert found.startswith(f"Waits: {who} since 2026-11-26 22:48:00 UTC (12 min), ")
    assert found.endswith(f"{then} If it is not sent by 2026-11-27 00:00:00 UTC, it fails with reason 305.")
    assert (", until 2026-11-26 23:01:00 UTC: wrong texts." in found) == (one.until is not None)


def test_its_time_to_live_may_stand_still() -> None:
    one = control(What.PROVIDER, "twilio", stands_still=True)
    found = said(entry(expires_at=MS + 1), stopping=[one])
    assert found.endswith("Its time to live stands still meanwhile.")
    assert "305" not in found


ENDS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {"state": "sending", "total_attempts": 2, "attempt_began_at": MS},
        {},
        "Is being sent: attempt 2 to provider twilio is under way since 2026-11-26 23:00:00 UTC.",
    ),
    (
        {"state": "unknown", "total_attempts": 1},
        {"due": NOW + 10},
        "It is not known whether provider twilio has it: attempt 1 got no clear answer. The provider is asked, or the"
        " channel's policy decides, at 2026-11-26 23:00:10 UTC.",
    ),
    (
        {"state": "sent", "sent_at": MS},
        {},
        "Provider twilio has it since 2026-11-26 23:00:00 UTC. No delivery report has come yet.",
    ),
    (
        {"state": "delivered", "ended_at": MS, "receipt_status": "Delivered", "receipt_posted_at": MS},
        {},
        "Was delivered by provider twilio at 2026-11-26 23:00:00 UTC, 60 s after it was accepted. The agent sees"
        " Delivered since 2026-11-26 23:00:00 UTC.",
    ),
    (
        {"state": "failed", "ended_at": MS, "reason": "530", "detail": "30005", "receipt_status": "Failed"},
        {"receipt_due": NOW + 5},
        "Failed at 2026-11-26 23:00:00 UTC: reason 530, invalid destination (30005). The receipt Failed is owed, next"
        " attempt at 2026-11-26 23:00:05 UTC.",
    ),
    (
        {"state": "removed", "ended_at": MS, "receipt_status": "Removed", "receipt_refused": "404"},
        {},
        "Was removed by provider twilio at 2026-11-26 23:00:00 UTC: it did not reach the consumer. Digital Channels"
        " refused the receipt Removed (404): it is a dead letter.",
    ),
    (
        {"state": "unconfirmed", "ended_at": MS, "channel_id": "own/sms"},
        {},
        "Was sent through provider twilio. No delivery report came; it ended as unconfirmed at 2026-11-26 23:00:00 UTC."
        " It is dcbridge's own and owes no receipt.",
    ),
    ({"state": "new-state"}, {}, "Its state is new-state."),
]


@pytest.mark.parametrize(("fields", "seen", "says"), ENDS, ids=[str(row[0]["state"]) for row in ENDS])
def test_where_it_is_when_it_does_not_wait(fields: dict[str, Any], seen: dict[str, Any], says: str) -> None:
    assert said(entry(**fields), **seen) == says
