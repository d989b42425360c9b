"""What `helm test` runs: a signed message through the bridge, and what became of it. Exit code 0: it was sent.

In a trial the sandbox plays Digital Channels and waits for the receipt; else the message is signed here, and goes
through to the phone or mailbox that values name.
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

from bridge import signature

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


def for_real(client: httpx.Client, bridge: str, told: dict[str, str], secret: bytes) -> str:
    """Signed here; wrong by one byte it has to be refused, and right it has to be sent. What came of it."""
    message_id = f"helm-test-{uuid.uuid4()}"
    address = {"id": told["channel"]}
    kind = "email" if "@" in told["to"] else "sms"
    channel = {**address, "type": kind, "from": address, "to": {"id": told["to"]}, "messageId": message_id}
    subject = {"subject": told["text"]} if kind == "email" else {}
    body = json.dumps({"channel": channel, "type": "Text", "text": told["text"], **subject}).encode()
    url = f"{bridge}/webhooks/messages/{told['endpoint']}"

    def post(raw: bytes) -> httpx.Response:
        signed = {signature.HEADER: signature.sign(secret, body), "Content-Type": "application/json"}
        return client.post(url, content=raw, headers=signed)

    if (answer := post(body + b" ")).status_code != 401:
        raise SystemExit(f"a body that was changed after it was signed was answered {answer.status_code}, not 401")
    if (answer := post(body)).status_code != 200:
        raise SystemExit(f"a signed message was answered {answer.status_code}: {answer.text}")
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
            return
        told = json.loads(os.environ["TEST_MESSAGE"])
        print(for_real(client, os.environ["BRIDGE_URL"], told, os.environ["TEST_SECRET"].encode()))


if __name__ == "__main__":
    main()
