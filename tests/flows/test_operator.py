"""What an operator sees of real processes: a worker that is killed, a provider that is away, a number to look for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack import SMS, Stack, until

TEXT, NUMBER = "canary words of an agent", "16504661149"


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    with Stack(settings={"DCBRIDGE_WORKER_SILENCE": "4"}, sandbox={"callback_tries": 40}) as stack:
        yield stack


def says(stack: Stack, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command; nothing private in either of its outputs."""
    done = stack.command(*arguments)
    for word in (TEXT, NUMBER, stack.kept("app_secret"), stack.kept("token_key")):
        assert word not in done.stdout + done.stderr
    return done.returncode, done.stdout


def status(stack: Stack) -> dict[str, Any]:
    code, told = says(stack, "status", "--json")
    found: dict[str, Any] = json.loads(told)
    assert code == (1 if found["problems"] else 0)
    return found


def well(stack: Stack) -> dict[str, Any] | None:
    found = status(stack)
    return None if found["problems"] else found


def test_a_bridge_that_runs_is_well_and_its_worker_says_what_it_is(running: Stack) -> None:
    message = running.agent_writes(to=NUMBER, text=TEXT)
    running.receipt(message)
    found = until(lambda: well(running), "all is well")
    [worker] = found["workers"]
    assert (worker["pid"], worker["silent"], worker["concurrency"]) == (running.processes["worker"].pid, False, 200)
    assert worker["version"]
    assert sorted(worker["queues"]) == ["events", "inbound", "outbound", "receipts"]
    assert found["journal"] == {"bytes_waiting": 0, "set_aside": 0}
    assert says(running, "trace", message)[0] == 0


def test_a_provider_that_is_away_and_what_waits_for_it(running: Stack) -> None:
    running.kill("sandbox")
    answers = [running.webhook(body(n)).status_code for n in range(8)]
    assert set(answers) == {200}
    found = until(lambda: opened(status(running)), "the breaker opens")
    assert any(problem.startswith("twilio: nothing has been sent for ") for problem in found["problems"])
    assert says(running, "trace", "--", "+1 650 466 1149")[0] == 0
    assert 'dcbridge_breaker_open{provider="twilio"} 1.0' in running.metrics("service")
    running.start("sandbox")
    until(lambda: not opened(status(running)), "it closes by itself")
    running.settled()


def opened(found: dict[str, Any]) -> dict[str, Any] | None:
    return found if any(one["open"] for one in found["providers"]) else None


def body(number: int) -> dict[str, Any]:
    address = {
        "id": SMS,
        "type": "sms",
        "from": {"id": SMS},
        "to": {"id": NUMBER if not number else f"1650466{number:04d}"},
    }
    return {"channel": address | {"messageId": f"1613-{number}"}, "type": "Text", "text": TEXT}


def test_a_worker_that_was_killed_is_missed_and_another_one_makes_it_well(running: Stack) -> None:
    running.kill("worker")
    found = until(lambda: silent(running), "it is missed")
    assert "no worker is running: messages are accepted and wait" in found["problems"]
    assert any(": last heartbeat " in problem for problem in found["problems"])
    until(lambda: 'dcbridge_workers{queue="outbound"} 0.0' in running.metrics("service"), "the service misses it too")
    running.start("worker")
    until(lambda: "no worker is running: messages are accepted and wait" not in status(running)["problems"], "it runs")
    until(lambda: 'dcbridge_workers{queue="outbound"} 1.0' in running.metrics("service"), "the service counts it")


def silent(stack: Stack) -> dict[str, Any] | None:
    found = status(stack)
    return found if found["workers"] and all(worker["silent"] for worker in found["workers"]) else None
