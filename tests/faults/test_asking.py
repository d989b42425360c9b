"""A worker dies with a request on the wire, and the provider says nothing by itself: it is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.stack import SMS, Stack, until

SLOW = "15005550006"  # the provider takes it at once and answers late
LATE = {"slow_answer": 1.5}
QUICK = {"DCBRIDGE_WORKER_SILENCE": "2"}  # seconds until a dead worker is known to be dead


@pytest.fixture
def mute_stack() -> Iterator[Stack]:
    """No status callback ever comes: whatever is known was asked for."""
    with Stack(sandbox=LATE, settings=QUICK) as running:
        running.control(sms={"callbacks": False})
        yield running


def asked(stack: Stack, answer: str) -> list[dict[str, object]]:
    return [line for line in stack.lines("worker", "status_lookup_answered") if line["answer"] == answer]


def dies_while_sending(stack: Stack, to: str = SLOW) -> str:
    """The provider has the message, its answer will not be read, and the worker is gone."""
    message = stack.agent_writes(to=to)
    until(lambda: stack.texts_to(to), "the provider took it", pause=0.01)
    assert stack.entry(message).state == "sending"
    stack.kill("worker")
    return message


def test_a_message_that_the_provider_has_is_found_and_sent_once_though_the_policy_is_resend() -> None:
    channels = {SMS: {"outcome_unknown": "resend", "ask_after": 1.0}}
    with Stack(sandbox=LATE, settings=QUICK, channels=channels) as stack:
        stack.control(sms={"callbacks": False})
        message = dies_while_sending(stack)
        behind = stack.agent_writes(to=SLOW, text="and the next of the conversation")
        stack.start("worker")
        assert stack.receipt(message)["status"] == "Delivered"
        assert stack.receipt(behind)["status"] == "Delivered"
        books = stack.settled()
        assert [sms["body"] for sms in stack.texts_to(SLOW)] == [
            "Agent message text",
            "and the next of the conversation",
        ]
        assert (books.counts["unknown"], books.counts["unknown_found"], books.difference) == (1, 1, 0)
        assert not {"unknown_resend", "unknown_fail", "unknown_not_there"} & books.counts.keys()
        assert stack.entry(message).provider_id(0) == stack.texts_to(SLOW)[0]["sid"]
        assert asked(stack, "found")
        assert stack.violations() == []


def test_a_message_that_the_provider_never_saw_is_sent_again_once_though_the_policy_is_fail() -> None:
    with Stack(settings=QUICK, channels={SMS: {"outcome_unknown": "fail"}}) as stack:
        to = stack.new_number()
        stack.control(sms={"delay": 2.0, "p_lost": 1.0})
        message = stack.agent_writes(to=to)
        until(lambda: stack.sandbox("counts").get("sms.requests"), "it has arrived", pause=0.01)
        stack.kill("worker")
        until(lambda: [e for e in stack.recorded("wire") if e["status"] == 0], "and is lost there")
        stack.control(sms={"delay": 0.0, "p_lost": 0.0})
        stack.start("worker")
        assert stack.receipt(message)["status"] == "Delivered"
        books = stack.settled()
        assert len(stack.texts_to(to)) == 1
        assert (books.counts["unknown"], books.counts["unknown_not_there"], books.difference) == (1, 1, 0)
        assert not {"unknown_resend", "unknown_fail", "unknown_found"} & books.counts.keys()
        assert asked(stack, "absent")
        assert stack.violations() == []


def test_a_list_that_lags_is_not_believed_before_it_has_caught_up() -> None:
    with Stack(sandbox=LATE, settings=QUICK, providers={"twilio": {"list_lag": 5.0}}) as stack:
        stack.control(sms={"callbacks": False, "list_lag": 3600.0})
        dies_while_sending(stack)
        stack.start("worker")
        until(lambda: asked(stack, "not yet"), "it is not in the list yet")
        stack.control(sms={"list_lag": 0.0})
        until(lambda: stack.books().counts.get("unknown_found"), "it is found when the list has it")
        assert len(stack.texts_to(SLOW)) == 1


def test_a_worker_that_dies_while_asking_leaves_the_question_to_the_next(mute_stack: Stack) -> None:
    message = dies_while_sending(mute_stack)
    mute_stack.control(sms={"questions": "silent"})
    mute_stack.start("worker")
    until(lambda: mute_stack.entry(message).lookup_token, "the question is on the wire", pause=0.01)
    mute_stack.kill("worker")
    mute_stack.control(sms={"questions": "ok"})
    mute_stack.start("worker")
    assert mute_stack.receipt(message)["status"] == "Delivered"
    assert len(mute_stack.texts_to(SLOW)) == 1
    assert mute_stack.settled().counts["unknown_found"] == 1


@pytest.mark.parametrize(
    ("questions", "policy", "status", "sends"), [("429", "resend", "Delivered", 2), ("500", "fail", "Failed", 1)]
)
def test_a_provider_that_answers_no_question_leaves_it_to_the_policy(
    questions: str, policy: str, status: str, sends: int
) -> None:
    channels = {SMS: {"outcome_unknown": policy}}
    with Stack(sandbox={**LATE, "retry_after": 0}, settings=QUICK, channels=channels) as stack:
        stack.control(sms={"callbacks": False, "questions": questions})
        message = dies_while_sending(stack)
        stack.start("worker")
        until(lambda: stack.books().counts.get(f"unknown_{policy}"), "the policy decides")
        assert len(stack.lines("worker", "status_lookup_failed")) >= 5
        stack.control(sms={"callbacks": True})
        assert stack.receipt(message)["status"] == status
        assert len(stack.texts_to(SLOW)) == sends
        assert stack.settled().difference == 0


def test_a_killed_workers_message_moves_again_soon_with_the_waits_of_production() -> None:
    """The default grace, lag and silence; how long it took is printed, and held to nothing but the patience."""
    usual = {"unknown_grace": 10.0, "ask_after": 1.0}
    with Stack(sandbox=LATE, channels={SMS: usual}, providers={"twilio": {"list_lag": 10.0}}) as stack:
        stack.control(sms={"callbacks": False})
        message = dies_while_sending(stack)
        began = time.monotonic()
        stack.start("worker")
        until(lambda: stack.entry(message).state not in ("sending", "unknown"), "it moves")
        print(f"moved again after {time.monotonic() - began:.1f} s")  # noqa: T201 (shown with -s)
        assert stack.receipt(message)["status"] == "Delivered"
        assert len(stack.texts_to(SLOW)) == 1
