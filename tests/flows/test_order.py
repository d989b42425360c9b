"""Messages of one conversation leave in order; conversations do not wait for each other."""

from __future__ import annotations

import threading

from tests.stack import Stack, until


def test_a_conversation_keeps_its_order_while_its_first_message_is_told_to_wait_twice(stack: Stack) -> None:
    busy, other = "15005550007", stack.new_number()  # busy: 429 with Retry-After twice, then delivered
    ids = [stack.agent_writes(to=busy, text=f"number {n:02d}") for n in range(2)]
    quick = stack.agent_writes(to=other, text="not delayed")
    assert stack.receipt(quick)["status"] == "Delivered"
    assert len(stack.texts_to(busy)) < 2, "the other conversation waited for the busy one"
    for message in ids:
        assert stack.receipt(message)["status"] == "Delivered"
    assert [sms["body"] for sms in stack.texts_to(busy)] == [f"number {n:02d}" for n in range(2)]


def test_thirty_messages_that_come_fast_leave_in_the_order_in_which_they_were_accepted(stack: Stack) -> None:
    to = stack.new_number()
    stack.control(sms={"p_429": 0.1, "p_duplicate": 0.3, "p_reversed": 0.3, "seed": 7})
    ids = [stack.agent_writes(to=to, text=f"number {n:02d}") for n in range(30)]
    stack.control(sms={"p_429": 0.0})
    for message in ids:
        assert stack.receipt(message)["status"] == "Delivered"
    assert [sms["body"] for sms in stack.texts_to(to)] == [f"number {n:02d}" for n in range(30)]


def test_two_workers_keep_the_order_too(stack: Stack) -> None:
    to = stack.new_number()
    stack.run("second", [*stack.rq_worker, "-w", "workers.worker.RelayWorker", "outbound"])
    until(lambda: "worker_started" in stack.said("second"), "the second worker has started")
    stack.control(sms={"delay": 0.02})
    writers = [threading.Thread(target=stack.agent_writes, args=(stack.new_number(), f"noise {n}")) for n in range(10)]
    for writer in writers:
        writer.start()
    ids = [stack.agent_writes(to=to, text=f"number {n:02d}") for n in range(30)]
    for writer in writers:
        writer.join()
    for message in ids:
        assert stack.receipt(message)["status"] == "Delivered"
    stack.terminate("second")
    assert [sms["body"] for sms in stack.texts_to(to)] == [f"number {n:02d}" for n in range(30)]
