"""The documented data flows, played through the real processes and compared step by step.

contract/third-party-messaging.txt, "Example: SMS data flow" (six steps) and "Example: Email data
flow" (four). What is compared: method and path, the signature over the very bytes, x-ccid, and the
whole JSON body against the document's. Three things cannot be the document's and are checked by
their form: ids that Digital Channels makes up, the path of our webhook (the document leaves it
open), and the words after the documented description of a failure's reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from dcbridge.cli.dev.recorder import Passed, Recorder
from dcbridge.genesys import signature

CONSUMER, CHANNEL, SMS_ID = "16504661149", "0123456789", "1613474523265-0"
EMAIL_ID = "f7acbac6-68db-4031-aec2-4bbd02627c4b"

CONSUMER_MESSAGE: dict[str, Any] = {
    "messages": [
        {
            "channel": {"from": {"id": CONSUMER}, "to": {"id": CHANNEL}},
            "type": "Text",
            "text": "Consumer message text",
        }
    ]
}
SMS_WEBHOOK: dict[str, Any] = {
    "channel": {
        "id": CHANNEL,
        "type": "sms",
        "from": {"id": CHANNEL},
        "to": {"id": CONSUMER},
        "messageId": SMS_ID,
    },
    "type": "Text",
    "text": "Agent message text",
}
SMS_RECEIPT: dict[str, Any] = {
    "messages": [
        {
            "channel": {"from": {"id": CHANNEL}, "to": {"id": CONSUMER}, "messageId": SMS_ID},
            "type": "Receipt",
            "status": "Delivered",
        }
    ]
}
EMAIL_WEBHOOK: dict[str, Any] = {
    "channel": {
        "id": "company.com",
        "type": "email",
        "from": {"id": "no-reply@company.com", "name": "Sender display name"},
        "to": [
            {"id": "recipient-1@mail.com", "name": "First Recipient"},
            {"id": "recipient-2@mail.com", "name": "Second Recipient"},
        ],
        "messageId": EMAIL_ID,
        "context": {"replyTo": {"id": "reply-to@company.com", "name": "Responder display name"}},
    },
    "type": "Email",
    "subject": "Subject",
    "content": [
        {"type": "text", "text": "Plain text email body"},
        {"type": "html", "text": "Html email body"},
    ],
}
EMAIL_RECEIPT: dict[str, Any] = {
    "messages": [
        {
            "channel": {
                "from": {"id": "no-reply@company.com"},
                "to": {"id": "recipient-1@mail.com"},
                "messageId": EMAIL_ID,
            },
            "type": "Receipt",
            "status": "Failed",
            "reasons": [{"code": 350, "message": re.compile(r"Message not allowed\..*")}],
        }
    ]
}
TAKEN: dict[str, Any] = {"status": {"code": 0}}
TAKEN_WITH_ID: dict[str, Any] = TAKEN | {"data": {"ids": [re.compile(r"\d{13}-\d+")]}}


@dataclass(frozen=True, slots=True)
class Scene:
    """What the demo needs to know of the processes it plays through."""

    sandbox: str  # its address
    app_secret: bytes
    contact_center_id: str
    to_bridge: Recorder
    to_digital_channels: Recorder


def play(scene: Scene) -> int:
    """Play both flows, print each step beside its verdict; 0 only when all ten match."""
    with httpx.Client(base_url=scene.sandbox, trust_env=False, timeout=15.0) as client:

        def ask(path: str, body: dict[str, Any]) -> None:
            client.post(path, json=body).raise_for_status()

        ask("/sandbox/control", {"digital_channels": {"ids": "strings"}, "mail": {"refuse": "recipient-1@mail.com"}})
        steps = _Steps(scene)
        print("SMS data flow\n")
        ask("/sandbox/consumer/sms", {"from": "+" + CONSUMER, "text": "Consumer message text", "wait": True})
        passed = scene.to_digital_channels.wait_for(b"Consumer message text")
        steps.request("1. Message API request", passed, f"/nexus/v3/channels/{CHANNEL}/messages", CONSUMER_MESSAGE)
        steps.answer("2. Message API response", passed, TAKEN_WITH_ID)
        ask("/sandbox/agent/raw", {"body": json.dumps(SMS_WEBHOOK)})
        passed = scene.to_bridge.wait_for(b"Agent message text")
        steps.request("3. Message Webhook request", passed, "/webhooks/messages/main", SMS_WEBHOOK, ccid=False)
        steps.answer("4. Message Webhook response", passed, {"messageId": SMS_ID})
        passed = scene.to_digital_channels.wait_for(SMS_ID.encode())
        steps.request("5. Receipt API request", passed, f"/nexus/v3/channels/{CHANNEL}/messages", SMS_RECEIPT)
        steps.answer("6. Receipt API response", passed, TAKEN)
        print("Email data flow\n")
        ask("/sandbox/agent/raw", {"body": json.dumps(EMAIL_WEBHOOK)})
        passed = scene.to_bridge.wait_for(b"Plain text email body")
        steps.request("1. Email Webhook request", passed, "/webhooks/messages/main", EMAIL_WEBHOOK, ccid=False)
        steps.answer("2. Email Webhook response", passed, {"messageId": EMAIL_ID})
        passed = scene.to_digital_channels.wait_for(b"recipient-1@mail.com")
        steps.request("3. Receipt API request", passed, "/nexus/v3/channels/company.com/messages", EMAIL_RECEIPT)
        steps.answer("4. Receipt API response", passed, TAKEN)
    return steps.verdict()


class _Steps:
    """Prints and counts."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._done = self._wrong = 0

    def request(
        self, title: str, passed: Passed | None, path: str, documented: dict[str, Any], *, ccid: bool = True
    ) -> None:
        def problems(p: Passed) -> list[str]:
            found = [] if p.method == "POST" else [f"the method is {p.method}, documented is POST"]
            if p.path != path:
                found.append(f"the path is {p.path}, documented is {path}")
            expected = signature.sign(self._scene.app_secret, p.body)
            if p.headers.get("x-hub-signature") != expected:
                found.append("X-Hub-Signature is not sha1= and the HMAC-SHA1 of the body")
            if ccid and p.headers.get("x-ccid") != self._scene.contact_center_id:
                found.append("x-ccid is not the contact centre's id")
            return found + compare(p.body, documented)

        def shown(p: Passed) -> str:
            names = ("x-ccid", "x-hub-signature", "x-b3-traceid")
            lines = [f"{p.method} {p.path} HTTP/1.1", *(f"{n}: {p.headers[n]}" for n in names if n in p.headers)]
            return "\n".join(lines) + "\n\n" + _pretty(p.body)

        self._step(title, passed, shown, problems)

    def answer(self, title: str, passed: Passed | None, documented: dict[str, Any]) -> None:
        def problems(p: Passed) -> list[str]:
            found = [] if p.status == 200 else [f"the status is {p.status}, documented is 200"]
            return found + compare(p.answer, documented)

        self._step(title, passed, lambda p: f"HTTP/1.1 {p.status}\n\n{_pretty(p.answer)}", problems)

    def _step(
        self,
        title: str,
        passed: Passed | None,
        shown: Callable[[Passed], str],
        problems: Callable[[Passed], list[str]],
    ) -> None:
        self._done += 1
        print(title)
        found = ["it did not come within 20 seconds"] if passed is None else problems(passed)
        if passed is not None:
            print("\n".join(f"    {line}" for line in shown(passed).splitlines()))
        for problem in found:
            print(f"  ✗ {problem}")
        if not found:
            print("  ✓ as documented")
        print(flush=True)
        self._wrong += bool(found)

    def verdict(self) -> int:
        if self._wrong:
            print(f"{self._wrong} of {self._done} steps differ from the document.")
            return 1
        print(f"All {self._done} steps are as documented.")
        return 0


def compare(body: bytes, documented: Any) -> list[str]:
    """Where the JSON in `body` differs from the document, by path. A pattern stands for a text of its form."""
    try:
        value = json.loads(body)
    except ValueError:
        return ["the body is not JSON"]
    return list(_differences(value, documented, "$"))


def _differences(value: Any, documented: Any, where: str) -> list[str]:
    if isinstance(documented, re.Pattern):
        good = isinstance(value, str) and documented.fullmatch(value)
        return [] if good else [f"{where} is {json.dumps(value)}, and should look like {documented.pattern}"]
    if isinstance(documented, dict) and isinstance(value, dict):
        found = [f"{where}.{key} is missing" for key in documented if key not in value]
        found += [f"{where}.{key} is not in the document" for key in value if key not in documented]
        for key in documented:
            if key in value:
                found += _differences(value[key], documented[key], f"{where}.{key}")
        return found
    if isinstance(documented, list) and isinstance(value, list) and len(documented) == len(value):
        pairs = enumerate(zip(value, documented, strict=True))
        return [problem for place, (v, d) in pairs for problem in _differences(v, d, f"{where}[{place}]")]
    if type(value) is type(documented) and value == documented:
        return []
    return [f"{where} is {json.dumps(value)}, documented is {json.dumps(documented)}"]


def _pretty(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode("utf-8", "replace")
