"""A STOP outlives what stores and what reads it: Redis and the worker are killed, and it is obeyed all the same."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import yaml

from tests.stack import SMS, Stack, until


def test_a_stop_that_was_accepted_is_never_lost() -> None:
    with Stack(parts=()) as stack:
        path = stack.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["consent"] = {"enforce": "always", "scope": "brand"}
        path.write_text(yaml.safe_dump(told))
        stack.start("sandbox", "service")
        number = stack.new_number()
        said = {"from": f"+{number}", "text": "STOP", "wait": True}
        assert stack.sandbox("consumer/sms", said)["state"] == "taken"
        stack.redis.kill()  # accepted, and nobody has read it
        stack.redis.start()
        stack.start("worker")
        until(lambda: stack.lines("worker", "consent_word"), "it is read", pause=0.005)
        stack.kill("worker")  # in whatever it did next
        stack.redis.kill()
        stack.redis.start()
        stack.start("worker")
        message = stack.agent_writes(to=number)
        receipt = stack.receipt(message)
        [reason] = receipt["reasons"]
        assert (receipt["status"], reason["code"]) == ("Failed", 350)
        assert f"opted out {datetime.now(UTC):%Y-%m-%d}" in json.dumps(receipt)
        assert stack.texts_to(number) == []
        until(lambda: [one["text"] for one in stack.recorded("seen")] == ["STOP"], "the agent sees it")
        assert stack.command("consent", "show", number).stdout.startswith("brand: opted out ")
        assert stack.sandbox("consumer/sms", {**said, "text": "start"})["state"] == "taken"
        until(lambda: stack.command("consent", "show", number).returncode == 1, "it is over")
        assert stack.receipt(stack.agent_writes(to=number))["status"] == "Delivered"
        types = until(lambda: _heard(stack), "the subscriber hears of both")
        assert types == ["consent.started", "consent.stopped"]
        assert stack.settled().difference == 0
        assert stack.entry(message, SMS).reason == "350"
        assert number not in stack.said("worker")
        shown = set(re.findall(r"""\bconsumer["=: ]+([0-9a-f]+)""", stack.said("worker")))
        assert shown == {stack.command("token", number).stdout.strip()}


def _heard(stack: Stack) -> list[str]:
    """The types, once each, of what was accepted; none before all are there."""
    found = sorted({one["type"] for one in stack.sandbox("heard") if one["status"] == 204})
    return found if len(found) == 2 else []
