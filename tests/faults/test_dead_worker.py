"""A worker dies with a request on the wire: what is known of it decides whether it is sent again."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from dcbridge.ledger.jobs import QUEUES
from tests.stack import Stack, until

SLOW = "15005550006"  # the provider takes it at once and answers late; its statuses come after the answer


@pytest.fixture
def slow_stack() -> Iterator[Stack]:
    with Stack(sandbox={"slow_answer": 1.5}) as running:
        yield running


@pytest.fixture
def unasked_stack() -> Iterator[Stack]:
    """As a provider that cannot be asked whether it has a message; test_asking.py has the others."""
    with Stack(sandbox={"slow_answer": 1.5}, providers={"twilio": {"ask": False}}) as running:
        yield running


def dies_while_sending(stack: Stack) -> str:
    """The provider has the message, its answer will not be read, and the worker is gone."""
    message = stack.agent_writes(to=SLOW)
    until(lambda: stack.texts_to(SLOW), "the provider took it", pause=0.01)
    assert stack.entry(message).state == "sending"
    stack.kill("worker")
    return message


def test_a_message_that_the_provider_confirmed_is_not_sent_again(slow_stack: Stack) -> None:
    message = dies_while_sending(slow_stack)
    until(lambda: slow_stack.texts_to(SLOW)[0]["status"] == "delivered", "the consumer has it")
    slow_stack.start("worker")
    assert slow_stack.receipt(message)["status"] == "Delivered"
    assert slow_stack.settled().difference == 0
    assert len(slow_stack.texts_to(SLOW)) == 1


def test_a_message_that_nobody_confirmed_is_sent_again_and_counted(unasked_stack: Stack) -> None:
    unasked_stack.control(sms={"callbacks": False})
    message = dies_while_sending(unasked_stack)
    until(lambda: unasked_stack.texts_to(SLOW)[0]["status"] == "delivered", "the consumer has it, and nobody says so")
    unasked_stack.control(sms={"callbacks": True})
    unasked_stack.start("worker")
    assert unasked_stack.receipt(message)["status"] == "Delivered"
    assert len(unasked_stack.texts_to(SLOW)) == 2
    assert unasked_stack.books().counts["unknown_resend"] == 1
    assert unasked_stack.settled().difference == 0


def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(unasked_stack: Stack) -> None:
    unasked_stack.control(sms={"callbacks": False})
    message = unasked_stack.agent_writes(to=SLOW)
    until(lambda: unasked_stack.texts_to(SLOW), "the provider took it", pause=0.01)
    unasked_stack.processes["worker"].send_signal(signal.SIGSTOP)
    assert unasked_stack.entry(message).state == "sending"
    until(lambda: unasked_stack.texts_to(SLOW)[0]["status"] == "delivered", "the consumer has it, and nobody says so")
    unasked_stack.control(sms={"callbacks": True})
    unasked_stack.run("second", [*unasked_stack.rq_worker, "-w", "workers.worker.RelayWorker", *QUEUES])
    until(lambda: len(unasked_stack.texts_to(SLOW)) == 2, "the second worker is sending it", pause=0.01)
    unasked_stack.processes["worker"].send_signal(signal.SIGCONT)
    until(lambda: woken(unasked_stack, message), "the first worker has its say, and it is no longer its turn")
    assert unasked_stack.receipt(message)["status"] == "Delivered"
    assert unasked_stack.settled().difference == 0
    assert len(unasked_stack.texts_to(SLOW)) == 2
    assert unasked_stack.violations() == []


def woken(stack: Stack, message: str) -> bool:
    """The first worker wrote down what came of its request, and was told that it is no longer its turn."""
    said = stack.lines("worker", "message_sent") + stack.lines("worker", "send_failed")
    return any(line["message"] == stack.ref(message) and line["state"] == "stale" for line in said)
