"""The jobs are plain RQ jobs: other ways to run them carry the same messages, and a restart finds its data."""

from __future__ import annotations

from tests.stack import Stack, until


def test_the_stock_rq_worker_carries_messages_both_ways(own_stack: Stack) -> None:
    own_stack.terminate("worker")
    ids = [own_stack.agent_writes(to=own_stack.new_number()) for _ in range(2)]
    own_stack.sandbox("consumer/sms", {"from": "+16504661149", "text": "hello", "wait": True})

    def all_done() -> bool:
        stock = ["--burst", "-w", "rq.worker.SimpleWorker", "receipts", "inbound", "outbound"]
        burst = own_stack.run("rq", [*own_stack.rq_worker, *stock])
        assert burst.wait(60) == 0
        told = [receipt["status"] for one in ids for receipt in own_stack.message(one)["receipts"].values()]
        return told == ["Delivered", "Delivered"] and len(own_stack.recorded("seen")) == 1

    until(all_done, "the stock worker has done everything")
    assert own_stack.violations() == []
    assert own_stack.settled().difference == 0


def test_our_worker_runs_under_rqs_own_command(own_stack: Stack) -> None:
    own_stack.terminate("worker")
    own_stack.run("rq", [*own_stack.rq_worker, "-w", "workers.worker.RelayWorker", "receipts", "inbound", "outbound"])
    message = own_stack.agent_writes(to="15005550008")  # 500 twice: retries need the sweep as well
    assert own_stack.receipt(message)["status"] == "Delivered"
    assert own_stack.terminate("rq") == [0]


def test_a_second_start_finds_what_the_first_one_knew(own_stack: Stack) -> None:
    done = own_stack.agent_writes(to=own_stack.new_number())
    own_stack.receipt(done)
    own_stack.terminate("worker")
    waiting = own_stack.agent_writes(to=own_stack.new_number())
    own_stack.terminate("service")
    own_stack.redis.stop()
    own_stack.redis.start()
    own_stack.start("service", "worker")
    assert own_stack.receipt(waiting)["status"] == "Delivered"
    own_stack.agent_writes(to=own_stack.message(done)["recipients"][0], message_id=done)
    books = own_stack.settled()
    assert (books.channels[0].accepted, books.channels[0].redelivered, books.difference) == (2, 1, 0)
    assert len(own_stack.texts_to(own_stack.message(done)["recipients"][0])) == 1
