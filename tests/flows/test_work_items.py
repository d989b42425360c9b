"""Dead letters become work items of Genesys: once each, as long as the letter is there, and ended by either side. And
both sides' books are compared, before any test has forgotten what the sandbox had.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from dcbridge.ledger.reports.books import Books
from tests.stack import Stack, until

ELSEWHERE = "+15550009999"


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    made = Stack(items=True)
    path = made.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    told["genesys"] = {"base_url": f"http://127.0.0.1:{made.ports.page}", "keep_message_ids": True}
    path.write_text(yaml.safe_dump(told))
    with made as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    shared_stack.sandbox("reset", {})
    yield shared_stack
    assert shared_stack.violations() == []
    shared_stack.command("dead", "drop", "--all", "--yes")


def writes(stack: Stack, text: str, to: str = "+15557650123") -> str:
    """A consumer writes; the number."""
    number = stack.new_number()
    told = stack.sandbox("consumer/sms", {"from": f"+{number}", "to": to, "text": text, "wait": True})
    assert told["state"] == "taken"
    return number


def items(stack: Stack, state: str = "") -> list[dict[str, Any]]:
    return [one for one in stack.sandbox("items") if state in ("", one["state"])]


def one_item(stack: Stack, state: str = "open") -> dict[str, Any]:
    [item] = until(lambda: items(stack, state), f"a work item is {state}")
    return item


def balanced(stack: Stack) -> Books:
    books = stack.settled()
    assert books.difference == 0
    return books


def refused(stack: Stack, text: str) -> str:
    """What a consumer writes, and Digital Channels will not have; the number."""
    stack.control(digital_channels={"mode": "refuse_text"})
    number = writes(stack, text)
    until(lambda: items(stack), "it is a work item")
    stack.control(digital_channels={"mode": "ok"})
    return number


def test_both_books_are_compared_and_name_what_is_missing_on_each_side(stack: Stack) -> None:
    """The sandbox's Digital Channels exports what it really has, but for one message, and one that it made up."""
    began = f"{datetime.now(UTC) - timedelta(seconds=120):%Y-%m-%dT%H:%M:%SZ}"
    numbers = [stack.new_number() for _ in range(3)]
    sent = [stack.agent_writes(number) for number in numbers]
    for number in numbers:
        stack.sandbox("consumer/sms", {"from": f"+{number}", "to": "+15557650123", "text": "Hello", "wait": True})
    until(lambda: len(stack.recorded("seen")) == 3, "the agent sees them")
    balanced(stack)
    file = stack.folder / "export.jsonl"

    def compares() -> Any:
        file.write_bytes(stack.client.get(f"http://127.0.0.1:{stack.ports.page}/sandbox/export").content)
        said = stack.command("reconcile", str(file), "--json", "--since", began, "--until", "2099-01-01")
        return said.returncode, json.loads(said.stdout)

    code, told = compares()
    assert (code, told["both"]["count"], told["differs"]) == (0, 6, False)
    stack.control(genesys={"omitted": 1, "invented": 1})
    code, told = compares()
    assert (code, told["both"]["count"], told["ambiguous"]["count"]) == (1, 5, 0)
    assert [one["id"] for one in told["only_ours"]["messages"]] == [sent[0]]
    assert [one["id"] for one in told["only_theirs"]["messages"]] == ["invented-0"]


def test_a_text_to_an_unknown_number_becomes_a_task_of_an_agent(stack: Stack) -> None:
    number = writes(stack, "Is anybody there?", to=ELSEWHERE)
    item = one_item(stack)
    assert item["data"]["Subject"] == "A message to a number or address that no channel has"
    assert (item["data"]["From"], item["data"]["Text"]) == (number, "Is anybody there?")
    [letter] = stack.command("dead", "list").stdout.splitlines()[1:]
    assert item["data"]["Letter"] in letter
    said = stack.command("dead", "show", item["data"]["Letter"]).stdout
    assert "open since" in said


def test_an_agent_who_finishes_the_task_ends_the_letter(stack: Stack) -> None:
    number = refused(stack, "Call me back")
    item = one_item(stack)
    letter = item["data"]["Letter"]
    assert (item["data"]["From"], item["data"]["Text"]) == (number, "Call me back")
    stack.sandbox("item/done", {"external": item["external"]})
    with stack.ledger() as connection:

        def ended() -> bool:
            connection.zadd("dcb:work-items", {letter: 0}, xx=True)  # the time of the next look has come
            return connection.zscore("dcb:dead", letter) is None

        until(ended, "it has ended", pause=0.3)
    assert "There are no dead letters." in stack.command("dead", "list").stdout
    assert "ended by an agent at" in stack.command("dead", "show", letter).stdout
    assert balanced(stack).counts["dead_handled"] >= 1


def test_a_letter_that_is_replayed_resolves_its_task(stack: Stack) -> None:
    refused(stack, "Once more")
    letter = one_item(stack)["data"]["Letter"]
    assert stack.command("dead", "replay", letter).returncode == 0
    until(lambda: [one for one in stack.recorded("seen") if one["text"] == "Once more"], "the agent sees it")
    item = one_item(stack, "stopped")
    assert (item["reason"], item["data"]["State"]) == ("Resolved", "processed after all")
    balanced(stack)


def test_a_letter_that_is_dropped_discards_its_task(stack: Stack) -> None:
    refused(stack, "Never mind")
    letter = one_item(stack)["data"]["Letter"]
    assert stack.command("dead", "drop", letter).returncode == 0
    assert one_item(stack, "stopped")["reason"] == "Discarded"


def test_a_lost_answer_makes_no_second_task(stack: Stack) -> None:
    stack.control(genesys={"mode": "lost_answer", "count": 1})
    refused(stack, "Only once")
    until(lambda: stack.sandbox("counts").get("items.asked", 0) >= 2, "it is asked for again")
    one_item(stack)
    assert balanced(stack).difference == 0


def test_a_property_that_the_service_does_not_take_costs_no_task(stack: Stack) -> None:
    stack.control(genesys={"mode": "refuse_fields"})
    refused(stack, "With little")
    assert one_item(stack)["data"].keys() == {"Subject", "Letter"}


def test_a_dead_letter_of_another_kind_makes_none(stack: Stack) -> None:
    before = stack.books().counts.get("own_dead_letter_written", 0)
    body = {"operationId": stack.new_id(), "data": {"entities": [{"entity": {}}]}}
    assert stack.sends_raw(body, webhook="interactions")["status"] == 200
    until(lambda: stack.books().counts.get("own_dead_letter_written", 0) > before, "there is a letter")
    writes(stack, "To have something to wait for", to=ELSEWHERE)
    assert one_item(stack)["data"]["Kind"] == "callback"


def test_the_subscriber_is_tested_by_an_item_that_is_stopped_at_once(stack: Stack) -> None:
    said = stack.command("subscribers", "test", "work-items")
    assert said.returncode == 0, said.stdout + said.stderr
    item = one_item(stack, "stopped")
    assert (item["data"]["Subject"], item["reason"]) == ("A test of dcbridge", "Discarded")
