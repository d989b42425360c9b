"""Pictures on their whole way: a consumer's to the agent, an agent's to the consumer, through the running processes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.stack import SMS, Stack, until

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
PICTURE = {"type": "image/png", "data": PIXEL}
LARGE_PDF = {"type": "application/pdf", "data": base64.b64encode(b"%PDF-1.4" + bytes(700_000)).decode()}
PROGRAM = {"type": "image/png", "data": base64.b64encode(b"MZ\x90" + bytes(100)).decode()}


def of(stack: Stack, kind: str, **wanted: object) -> list[dict[str, Any]]:
    return [one for one in stack.recorded(kind) if all(one.get(name) == value for name, value in wanted.items())]


@pytest.mark.parametrize(
    ("file", "says", "shown"),
    [(PICTURE, "Look\nhttp", 1), (PROGRAM, "Look\n[A file was withheld: its type is not allowed.]", 0)],
    ids=["picture", "program"],
)
def test_a_consumers_file_reaches_the_agent_or_the_text_says_why_not(
    stack: Stack, file: dict[str, str], says: str, shown: int
) -> None:
    sender = stack.new_number()
    stack.sandbox("consumer/sms", {"from": f"+{sender}", "text": "Look", "file": file, "wait": True})
    until(lambda: any(len(one["media"]) == shown for one in of(stack, "seen", sender=sender)), "the agent sees it")
    [message] = of(stack, "seen", sender=sender)
    assert message["text"].startswith(says)
    assert (message["channel_id"], stack.violations()) == (SMS, [])


@pytest.mark.parametrize(("file", "as_mms"), [(PICTURE, 1), (LARGE_PDF, 0)], ids=["picture", "larger than an MMS"])
def test_an_agents_file_is_an_mms_or_a_link(stack: Stack, file: dict[str, str], as_mms: int) -> None:
    to = stack.new_number()
    stack.sandbox("agent/sms", {"to": to, "text": "Our offer", "file": file, "wait": True})
    until(lambda: any(len(one["media"]) == as_mms for one in of(stack, "sms", to=f"+{to}")), "it is on the phone")
    [sms] = of(stack, "sms", to=f"+{to}")
    assert ("/m/" in sms["body"]) == (not as_mms)
    until(lambda: to in of(stack, "agent", recipients=[to])[0]["receipts"], "a receipt")
    assert stack.violations() == []
