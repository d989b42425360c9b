"""A message that meets a 429, a worker that is killed and an update that comes too late, between real processes.

    python -m tests.flows.hard_life     # what `dcbridge trace` says of it, with the waits of production

docs/operations/trace.md shows what that printed; test_hard_life.py plays it with short waits and compares.
"""

from __future__ import annotations

import sys
from urllib.parse import urlencode

from sandbox.wires.twilio import sign
from tests.cli.terminal import on_a_terminal
from tests.stack import SMS, Stack, until

SLOW = 1.5  # seconds that the answer takes which the killed worker waits for
UNASKED = {"twilio": {"ask": False}}  # asked what it has, the provider would end the story


def lived(stack: Stack) -> str:
    """The message, after all of that; its messageId."""
    number = stack.new_number()
    stack.control(sms={"p_429": 1.0})
    message = stack.agent_writes(to=number)
    until(lambda: stack.entry(message).state == "retry", "the provider says: too many requests")
    stack.control(sms={"p_429": 0.0, "p_slow": 1.0, "statuses": []})
    [first] = until(lambda: stack.texts_to(number), "the provider took it, and is slow to say so", pause=0.01)
    assert stack.entry(message).state == "sending"
    stack.kill("worker")
    stack.control(sms={"p_slow": 0.0, "statuses": ["queued", "sent", "delivered"]})
    stack.start("worker")
    assert stack.receipt(message)["status"] == "Delivered"
    reports(stack, message, first["sid"], "delivered")
    until(lambda: last_line(stack, message).endswith("late"), "what became of the first copy is heard of as well")
    return message


def reports(stack: Stack, message: str, sid: str, status: str) -> None:
    """A status callback as the provider sends it, about the copy that it calls `sid`."""
    url = f"{stack.public}/callbacks/twilio/status?{urlencode({'m': stack.ref(message), 'p': 0})}"
    fields = {"MessageSid": sid, "MessageStatus": status, "SmsSid": sid, "SmsStatus": status}
    signature = sign(stack.kept("twilio_auth_token"), url, fields)
    assert stack.client.post(url, data=fields, headers={"X-Twilio-Signature": signature}).status_code == 200


def last_line(stack: Stack, message: str) -> str:
    """Of the history of its entry."""
    entry = stack.entry(message)
    return (entry.history((entry.history_length or 1) - 1) or "").strip()


def main() -> None:
    settings = {"DCBRIDGE_LEASE": "45", "DCBRIDGE_RECONCILE_EVERY": "0.25", "DCBRIDGE_RECEIPT_LINGER": "0.05"}
    retry = {"first": 1.0, "factor": 2.0, "most": 300.0, "jitter": 0.5}
    channels = {SMS: {"unknown_grace": 10.0, "retry": retry}}
    with Stack(settings=settings, sandbox={"slow_answer": SLOW}, channels=channels, providers=UNASKED) as stack:
        message = lived(stack)
        sys.stdout.write(f"$ dcbridge trace {message}\n{on_a_terminal(stack.environ, 'trace', message).text}")


if __name__ == "__main__":
    main()
