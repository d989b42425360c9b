"""A worker is killed between the arrival of a message and its answer: it is sent again, and the agent reads it once."""

from __future__ import annotations

import sys

import pytest

from tests.stack import Stack, until


@pytest.mark.parametrize("edge", ["before", "after"])
def test_stored_and_not_yet_acknowledged(edge: str) -> None:
    with Stack(companies=("smpp",), parts=("sandbox", "service")) as stack:
        worker = stack.run("worker", [sys.executable, "-m", "tests.smpp.killed_worker", edge])
        number = stack.new_number()
        texts = [f"line {n}" for n in range(8)]
        for text in texts:  # the SMSC keeps what is not answered, and sends it again
            stack.sandbox("consumer/sms", {"provider": "smpp", "from": f"+{number}", "text": text})
        until(lambda: worker.poll() is not None, "the worker is killed")
        stack.processes.pop("worker").wait()
        assert not stack.said("worker").count("worker_stopped")
        stack.start("worker")

        def seen() -> list[str]:
            return sorted(one["text"] for one in stack.state()["seen"] if one["sender"] == number)

        def answered() -> int:
            return sum(one["state"] == "taken" for one in stack.state()["consumer"])

        until(lambda: answered() == len(texts), "the SMSC has an answer to each")
        until(lambda: len(seen()) >= len(texts), "the agent has all of it")
        until(lambda: not any(stack.books().tasks.values()), "nothing waits")
        assert seen() == texts
        assert stack.books().difference == 0
        assert stack.violations() == []
