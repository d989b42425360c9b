"""SIGTERM is every rolling deploy: it loses nothing and repeats nothing."""

from __future__ import annotations

import threading

from tests.stack import Stack

MESSAGES, RESTARTS = 300, 12


def test_restarts_of_the_worker_lose_none_of_three_hundred_messages(own_stack: Stack) -> None:
    own_stack.control(sms={"delay": 0.05, "status_delay": 0.01})

    def agent() -> None:
        for n in range(MESSAGES):
            own_stack.agent_writes(to=own_stack.new_number(), text=f"message {n}")

    writer = threading.Thread(target=agent)
    writer.start()
    exits = []
    for _ in range(RESTARTS):
        exits += own_stack.terminate("worker")
        own_stack.start("worker")
    writer.join()
    books = own_stack.settled()
    [channel] = books.channels
    assert (channel.accepted, channel.delivered, books.difference) == (MESSAGES, MESSAGES, 0)
    assert own_stack.sandbox("counts")["sms"] == MESSAGES
    assert exits == [0] * RESTARTS
    assert books.counts.get("unknown", 0) == 0
    assert own_stack.violations() == []
