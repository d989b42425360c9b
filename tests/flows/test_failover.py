"""Two SMS companies behind one channel: one is switched off, and the other one takes over; nothing is sent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from dcbridge.ledger.reports.books import ProviderBooks
from tests.stack import SMS, Stack, until

FIRST, SECOND = "twilio", "telnyx"
NO_ROUTE = "21612"


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    channel = {"providers": [FIRST, SECOND], "switch": {"after": 0.2}, "outcome_unknown": "fail"}
    with Stack(companies=(SECOND,), channels={SMS: channel}) as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    shared_stack.sandbox("reset", {})
    yield shared_stack
    assert shared_stack.violations() == []
    with shared_stack.ledger() as connection:
        for provider in (FIRST, SECOND):
            connection.delete(f"dcb:breaker:{provider}", f"dcb:steer:{provider}")


def test_the_page_is_told_which_companies_serve_a_channel(stack: Stack) -> None:
    told = {one["name"]: one["carriers"] for one in stack.sandbox("setting")["companies"]}
    assert told == {FIRST: [FIRST, SECOND], SECOND: [SECOND]}


def went(stack: Stack, number: str) -> list[str]:
    """The companies that took something for this consumer, in order."""
    return [sms["provider"] for sms in stack.texts_to(number)]


def books_of(stack: Stack) -> dict[str, ProviderBooks]:
    books = stack.settled()
    assert books.difference == 0
    return {one.name: one for channel in books.channels for one in channel.providers if channel.channel_id == SMS}


def test_one_that_is_switched_off_is_left_at_once_and_nothing_is_doubled(stack: Stack) -> None:
    before = stack.books().counts
    talking = stack.new_number()
    first = stack.agent_writes(talking)
    assert stack.receipt(first)["status"] == "Delivered"
    stack.control(sms={"off": [FIRST]})
    numbers = [talking, *(stack.new_number() for _ in range(8))]
    messages = [stack.agent_writes(number) for number in numbers]
    assert {stack.receipt(message)["status"] for message in messages} == {"Delivered"}
    assert went(stack, talking) == [FIRST, SECOND]
    assert Counter(sms["provider"] for number in numbers[1:] for sms in stack.texts_to(number)) == {SECOND: 8}
    books = books_of(stack)
    assert (books[FIRST].in_flight, books[SECOND].in_flight) == (0, 0)
    assert books[SECOND].delivered >= 9
    counts = stack.books().counts
    assert counts.get("doubled", 0) == before.get("doubled", 0)
    assert counts.get("doubled_possible", 0) == before.get("doubled_possible", 0)
    stack.control(sms={"off": []})
    again = stack.agent_writes(talking)  # it stays
    assert stack.receipt(again)["status"] == "Delivered"
    assert went(stack, talking) == [FIRST, SECOND, SECOND]


def test_new_conversations_go_back_when_it_is_on_again(stack: Stack) -> None:
    stack.control(sms={"off": [FIRST]})
    stack.receipt(stack.agent_writes(stack.new_number()))
    stack.control(sms={"off": []})

    def back() -> bool:
        number = stack.new_number()
        stack.receipt(stack.agent_writes(number))
        return went(stack, number) == [FIRST]

    until(back, "a new conversation goes through the first", pause=0.5)


def test_an_answer_goes_the_way_that_the_consumer_wrote(stack: Stack) -> None:
    number = stack.new_number()
    told = {"from": f"+{number}", "to": "+15557650123", "provider": SECOND, "text": "Hello", "wait": True}
    assert stack.sandbox("consumer/sms", told)["state"] == "taken"
    until(lambda: [one for one in stack.recorded("seen") if one["text"] == "Hello"], "the agent sees it")
    stack.receipt(stack.agent_writes(number))
    assert went(stack, number) == [SECOND]


def test_the_conversation_is_free_when_its_interaction_is_over(stack: Stack) -> None:
    number = stack.new_number()
    told = {"from": f"+{number}", "to": "+15557650123", "provider": SECOND, "text": "Bye", "wait": True}
    assert stack.sandbox("consumer/sms", told)["state"] == "taken"
    until(lambda: [one for one in stack.recorded("seen") if one["text"] == "Bye"], "the agent sees it")
    body = {
        "operationId": stack.new_id(),
        "data": {
            "entities": [
                {"event": "FINISHED", "entity": {"id": stack.new_id(), "channel": {"id": SMS, "from": {"id": number}}}}
            ]
        },
    }
    assert stack.sends_raw(body, webhook="interactions")["status"] == 200
    until(lambda: stack.lines("worker", "conversation_over"), "it is noticed")
    stack.receipt(stack.agent_writes(number))
    assert went(stack, number) == [FIRST]


def test_an_operator_drains_one_and_looks_at_it(stack: Stack) -> None:
    said = stack.command("provider", "drain", FIRST, "--for", "1h", "--why", "works", "--by", "ann")
    assert said.returncode == 0, said.stderr
    number = stack.new_number()
    message = stack.agent_writes(number)
    assert stack.receipt(message)["status"] == "Delivered"
    assert went(stack, number) == [SECOND]
    listed = stack.command("provider", "list")
    assert "drained by ann: works, until" in listed.stdout
    traced = stack.command("trace", message)
    assert f"{SECOND}: those before it were not available" in traced.stdout
    assert SECOND in stack.command("books").stdout


def test_an_outcome_that_is_unknown_stays_where_it_is(stack: Stack) -> None:
    """The connection is reset after the first took it. Its list says so; the second is never asked."""
    number = "15005550013"
    message = stack.agent_writes(number)
    assert stack.receipt(message)["status"] == "Delivered"
    assert set(went(stack, number)) == {FIRST}
    assert len(stack.texts_to(number)) == 1
