"""Messages that the sandbox did not send: posted by hand as the page says, or from before it was started afresh."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.stack import EMAIL, ROOT, SMS, Stack, sms_body, until

PAGE = (ROOT / "docs" / "digital-channels.md").read_text(encoding="utf-8")


def recipe() -> str:
    """The three documented lines that sign a body and post it."""
    found = re.search(r"^ +(BODY=.*\n) +(SIGNATURE=.*\n) +(curl .*\n)", PAGE, re.MULTILINE)
    assert found
    return "".join(found.groups())


def unseen(stack: Stack) -> dict[str, dict[str, Any]]:
    return {one["message_id"]: one for one in stack.recorded("agent") if one["state"] == "unseen"}


def rules(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.recorded("violations")
    return found


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="needs openssl and curl")
def test_the_documented_webhook_by_hand_is_answered_sent_and_its_receipt_taken(
    own_stack: Stack, tmp_path: Path
) -> None:
    number = own_stack.new_number()
    script = recipe().replace("http://127.0.0.1:8080", own_stack.public).replace("16504661149", number)
    secret = {"APP_SECRET": own_stack.kept("app_secret"), "PATH": own_stack.environ["PATH"]}
    done = subprocess.run(["sh", "-euc", script], env=secret, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert " 200 " in done.stdout.partition("\n")[0], done.stdout + done.stderr
    assert done.stdout.endswith('{"messageId":"try-1"}')
    shown = until(lambda: unseen(own_stack).get("try-1"), "the page shows its receipt")
    assert shown["receipts"][number]["status"] == "Delivered"
    assert rules(own_stack) == []
    assert own_stack.settled().dead_letters == 0


def test_what_was_in_flight_when_the_sandbox_was_started_afresh_ends_as_ever(own_stack: Stack) -> None:
    own_stack.control(digital_channels={"mode": "500"})
    sent = [own_stack.agent_writes(own_stack.new_number()) for _ in range(3)]
    to = ["one@mail.com", "two@mail.com"]
    mailed = own_stack.agent_mails(*to)

    def owed() -> bool:
        return sum(channel.receipts_waiting for channel in own_stack.books().channels) >= 3

    until(owed, "receipts are owed")
    own_stack.restart("sandbox")
    until(lambda: set(sent) <= set(unseen(own_stack)), "their receipts are taken")
    assert {one["channel_id"] for one in unseen(own_stack).values()} <= {SMS, EMAIL}
    assert set(unseen(own_stack)) <= {*sent, mailed}
    assert rules(own_stack) == []
    assert own_stack.books().dead_letters == 0


def test_a_message_by_hand_beside_one_of_the_page(own_stack: Stack) -> None:
    by_hand = sms_body("by-hand", own_stack.new_number())
    assert own_stack.webhook(by_hand).status_code == 200
    written = own_stack.agent_writes(own_stack.new_number())
    assert own_stack.receipt(written)["status"] == "Delivered"
    until(lambda: "by-hand" in unseen(own_stack), "its receipt is taken")
    assert own_stack.webhook(by_hand).status_code == 200
    assert own_stack.settled().channels[0].redelivered == 1
    assert list(unseen(own_stack)) == ["by-hand"]
    assert rules(own_stack) == []
