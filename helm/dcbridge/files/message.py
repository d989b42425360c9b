"""What `helm test` runs: a signed message through the bridge, a signed interaction event, and what became of them.

Exit code 0: the message was sent, the event was taken. In a trial the sandbox plays Digital Channels, waits for the
receipt, and is the subscriber too. Else both are signed here; the message goes through to the phone or mailbox that
values name, and the event to whoever subscribed, under an id that begins with helm-test-.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from typing import Any

import httpx

from dcbridge.genesys import signature

PATIENCE = 60.0  # seconds


def in_a_trial(client: httpx.Client, sandbox: str) -> str:
    """The sandbox signs and sends; Digital Channels has to get the receipt. What came of it."""
    told = {"to": "16504661149", "text": "helm test", "wait": True}
    sent = client.post(f"{sandbox}/sandbox/agent/sms", json=told).raise_for_status().json()
    if sent["state"] != "accepted":
        raise SystemExit(f"not accepted: {sent}")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for message in client.get(f"{sandbox}/sandbox/state").json()["agent"]:
            receipts = [receipt["status"] for receipt in message["receipts"].values()]
            if message["message_id"] == sent["messageId"] and receipts:
                return f"receipt {', '.join(receipts)}"
        time.sleep(0.5)
    raise SystemExit("no receipt came")


def event_in_a_trial(client: httpx.Client, sandbox: str) -> str:
    """The sandbox signs and announces an interaction; its subscriber has to be told both events. What came of it."""
    interaction = f"helm-test-{uuid.uuid4()}"
    events = [{"event": name, "id": interaction} for name in ("STARTED", "FINISHED")]
    asked = {"events": events, "wait": True}
    sent = client.post(f"{sandbox}/sandbox/interaction", json=asked).raise_for_status().json()
    if sent["state"] != "taken":
        raise SystemExit(f"the event was not answered 200: {sent}")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        heard = client.get(f"{sandbox}/sandbox/state").json()["heard"]
        took = [one for one in heard if one["interaction"] == interaction and one["status"] // 100 == 2]
        if len(took) == len(events):
            return "event heard"
        time.sleep(0.5)
    raise SystemExit("the subscriber was told of no event")


def for_real(client: httpx.Client, bridge: str, told: dict[str, str], secret: bytes) -> str:
    """Signed here, taken, and it has to be sent. What came of it."""
    message_id = f"helm-test-{uuid.uuid4()}"
    address = {"id": told["channel"]}
    kind = "email" if "@" in told["to"] else "sms"
    channel = {**address, "type": kind, "from": address, "to": {"id": told["to"]}, "messageId": message_id}
    subject = {"subject": told["text"]} if kind == "email" else {}
    body = {"channel": channel, "type": "Text", "text": told["text"], **subject}
    taken(client, f"{bridge}/webhooks/messages/{told['endpoint']}", body, secret)
    deadline = time.monotonic() + PATIENCE
    state = ""
    while time.monotonic() < deadline:
        state = _state(message_id)
        if state in ("sent", "delivered"):
            return f"message {message_id} is {state}"
        if state in ("failed", "removed"):
            break
        time.sleep(1.0)
    raise SystemExit(f"message {message_id} is {state or 'unknown'}; ask: dcbridge trace {message_id}")


def event_for_real(client: httpx.Client, bridge: str, endpoint: str, secret: bytes) -> str:
    """Signed here, and taken: an interaction that begins and ends."""
    interaction = f"helm-test-{uuid.uuid4()}"
    entity = {"id": interaction, "mediaType": "chat", "interactionSubtype": "InboundNew"}
    events = [{"event": name, "entity": entity} for name in ("STARTED", "FINISHED")]
    body = {"operationId": str(uuid.uuid4()), "data": {"entities": events}}
    taken(client, f"{bridge}/webhooks/interactions/{endpoint}", body, secret)
    return f"event of {interaction} is taken"


def taken(client: httpx.Client, url: str, told: dict[str, Any], secret: bytes) -> None:
    """Wrong by one byte it has to be refused, and right it has to be answered 200."""
    body = json.dumps(told).encode()

    def post(raw: bytes) -> httpx.Response:
        signed = {signature.HEADER: signature.sign(secret, body), "Content-Type": "application/json"}
        return client.post(url, content=raw, headers=signed)

    if (answer := post(body + b" ")).status_code != 401:
        raise SystemExit(
            f"{url}: a body that was changed after it was signed was answered {answer.status_code}, not 401"
        )
    if (answer := post(body)).status_code != 200:
        raise SystemExit(f"{url}: signed, and answered {answer.status_code}: {answer.text}")


def _state(message_id: str) -> str:
    found = subprocess.run(
        [sys.executable, "-m", "dcbridge", "trace", message_id, "--json"], capture_output=True, text=True
    )
    if found.returncode:
        return ""
    lives: Any = json.loads(found.stdout)["found"]
    return str(lives[0]["state"])


def main() -> None:
    with httpx.Client(timeout=20.0, trust_env=False) as client:
        if sandbox := os.environ.get("SANDBOX_URL"):
            print(in_a_trial(client, sandbox))
            print(event_in_a_trial(client, sandbox))
            return
        bridge, told = os.environ["BRIDGE_URL"], json.loads(os.environ["TEST_MESSAGE"])
        print(for_real(client, bridge, told, os.environ["TEST_SECRET"].encode()))
        if endpoint := os.environ.get("TEST_INTERACTIONS"):
            print(event_for_real(client, bridge, endpoint, os.environ["TEST_INTERACTIONS_SECRET"].encode()))


if __name__ == "__main__":
    main()
