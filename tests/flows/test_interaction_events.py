"""An interaction starts and ends: Digital Channels tells the bridge, and the bridge tells its subscribers."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from tests.stack import Stack, until


def happens(stack: Stack, event: str, interaction: str = "", **more: object) -> str:
    """Digital Channels tells of it; the interaction's id."""
    asked = {"event": event, "wait": True} | ({"id": interaction} if interaction else {}) | more
    made = stack.sandbox("interaction", asked)
    assert made["state"] == "taken", made
    return str(made["ids"][0])


def heard(stack: Stack, interaction: str) -> list[dict[str, Any]]:
    """What the subscriber was told of it, in order."""
    return [one for one in stack.sandbox("heard") if one["interaction"] == interaction]


def taken(stack: Stack, interaction: str) -> list[str]:
    return [one["type"] for one in heard(stack, interaction) if one["status"] == 204]


def test_a_start_and_an_end_reach_the_subscriber_signed_and_numbered(stack: Stack) -> None:
    interaction = happens(stack, "STARTED", subtype="WhatsApp")
    happens(stack, "FINISHED", interaction, subtype="WhatsApp")
    until(lambda: len(taken(stack, interaction)) == 2, "both are told")
    told = sorted(heard(stack, interaction), key=lambda one: one["number"])
    assert [(one["type"], one["number"], one["attempts"]) for one in told] == [
        ("interaction.started", 1, 1),
        ("interaction.finished", 2, 1),
    ]
    assert stack.violations() == []


def test_an_operation_that_comes_again_is_told_once(stack: Stack) -> None:
    interaction = happens(stack, "STARTED", operationId="op-7")
    for _ in range(3):
        happens(stack, "STARTED", interaction, operationId="op-7")
    happens(stack, "FINISHED", interaction)
    until(lambda: "interaction.finished" in taken(stack, interaction), "the end is told")
    assert sorted(taken(stack, interaction)) == ["interaction.finished", "interaction.started"]


def test_an_end_without_a_start_is_told_as_it_came_and_noticed(stack: Stack) -> None:
    interaction = happens(stack, "FINISHED")
    until(lambda: len(taken(stack, interaction)) == 2, "the event and the gap are told")
    assert sorted(taken(stack, interaction)) == ["interaction.finished", "interaction.gap"]


@pytest.mark.parametrize("mode", ["failing", "dead", "throttling"])
def test_a_subscriber_that_comes_back_gets_what_it_missed_under_the_same_ids(stack: Stack, mode: str) -> None:
    stack.control(subscriber={"mode": mode})
    interaction = happens(stack, "STARTED")
    [first] = until(lambda: heard(stack, interaction), "an attempt is made")
    assert first["status"] != 204
    stack.control(subscriber={"mode": "well"})
    until(lambda: taken(stack, interaction), "it is told in the end")
    [last] = heard(stack, interaction)
    assert last["webhook_id"] == first["webhook_id"]
    assert last["attempts"] > 1


def test_the_webhook_is_answered_whatever_the_subscriber_does(stack: Stack) -> None:
    stack.control(subscriber={"mode": "slow", "delay": 30.0})
    for _ in range(30):  # more than may be under way to one subscriber
        happens(stack, "STARTED")
    number = stack.new_number()
    stack.receipt(stack.agent_writes(number))  # a message passes them by


def test_deliveries_that_hang_take_half_of_a_workers_places_at_most() -> None:
    with Stack(settings={"DCBRIDGE_CONCURRENCY": "4", "DCBRIDGE_LEASE": "66"}, parts=()) as stack:
        path = stack.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["subscribers"]["sandbox"]["sink"]["timeout"] = 60
        path.write_text(yaml.safe_dump(told))
        stack.start("sandbox", "service", "worker")
        stack.control(subscriber={"mode": "slow", "delay": 60.0})
        for _ in range(6):
            happens(stack, "STARTED")
        until(lambda: len(stack.sandbox("heard")) >= 2, "two deliveries hang")
        for _ in range(5):
            stack.receipt(stack.agent_writes(stack.new_number()))
        assert len(stack.sandbox("heard")) == 2
        stack.kill("worker")  # nobody waits for what hangs


def test_a_place_that_is_free_again_is_used_at_once() -> None:
    with Stack(settings={"DCBRIDGE_CONCURRENCY": "4"}, parts=("sandbox", "service")) as stack:
        told = [happens(stack, "STARTED") for _ in range(60)]  # two at a time
        stack.start("worker")
        until(lambda: all(taken(stack, one) for one in told), "all are told")
        with stack.ledger() as redis:
            waits: Any = redis.info("commandstats")
        assert waits.get("cmdstat_blpop", {"calls": 0})["calls"] < 20, "it waited for other queues after each pair"


def test_subscribers_change_without_a_restart_and_a_bad_file_changes_nothing(own_stack: Stack) -> None:
    stack = own_stack
    path = stack.folder / "bridge.yaml"
    text = path.read_text()
    first = happens(stack, "STARTED")
    until(lambda: taken(stack, first), "the first is told")

    path.write_text(text.replace("events:", "evnets:"))
    for name in ("service", "worker"):
        until(lambda name=name: stack.lines(name, "configuration_refused"), f"the {name} refuses it")  # type: ignore[misc]
        assert "did you mean" in stack.lines(name, "configuration_refused")[0]["problem"]
        assert 'dcbridge_configuration_reloads_total{outcome="refused"} 1.0' in stack.metrics(name)
    second = happens(stack, "STARTED")
    until(lambda: taken(stack, second), "the old subscribers stay")

    told = yaml.safe_load(text)
    told["subscribers"]["second"] = {**told["subscribers"]["sandbox"], "events": ["FINISHED"]}
    told["subscribers"]["sandbox"]["on"] = False
    path.write_text(yaml.safe_dump(told))
    for name in ("service", "worker"):
        until(lambda name=name: stack.lines(name, "configuration_read"), f"the {name} takes it")  # type: ignore[misc]
    third = happens(stack, "STARTED")
    happens(stack, "FINISHED", third)
    until(lambda: taken(stack, third), "the new subscriber is told")
    assert taken(stack, third) == ["interaction.finished"]
    assert 'dcbridge_subscriber_events_total{state="delivered",subscriber="second"} 1.0' in stack.metrics("service")


def test_interactions_leave_nothing_behind_but_what_is_kept(stack: Stack) -> None:
    interaction = happens(stack, "STARTED")
    happens(stack, "FINISHED", interaction)
    until(lambda: len(taken(stack, interaction)) == 2, "both are told")

    def nothing_waits() -> bool:
        books = stack.books()
        return books.interaction_batches == 0 and all(one.waiting == 0 for one in books.subscribers)

    until(nothing_waits, "the stream is empty")
    time.sleep(0.3)  # the worker tells RQ a moment later
    with stack.ledger() as connection:
        keys = [key.decode() for key in connection.scan_iter("dcb:*")]
    left = ("dcb:t:evt_", "dcb:t:own_", "dcb:lane:", "dcb:turn:", "dcb:backlog:", "dcb:flight:p-subscribers")
    assert [key for key in keys if key.startswith(left)] == []
