"""The strict writer and the answers that come back: the contract's own shapes, compared as JSON."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcbridge.genesys import answers, payloads
from dcbridge.genesys.signature import sign
from dcbridge.messages import Reason, Receipt, ReceiptStatus
from sandbox.app import build_app
from sandbox.config import SandboxConfig
from sandbox.webhooks import expect

CONSUMER, CHANNEL = "16504661149", "0123456789"
DELIVERED = Receipt(CHANNEL, "1613474523265-0", CHANNEL, CONSUMER, ReceiptStatus.DELIVERED)


def test_the_documented_consumer_message() -> None:
    assert orjson.loads(payloads.write_consumer_message(CONSUMER, CHANNEL, "Consumer message text")) == {
        "messages": [
            {
                "channel": {"from": {"id": "16504661149"}, "to": {"id": "0123456789"}},
                "type": "Text",
                "text": "Consumer message text",
            }
        ]
    }


def test_the_documented_receipt_byte_for_byte_without_its_white_space() -> None:
    assert payloads.write_receipts([DELIVERED]) == (
        b'{"messages":[{"channel":{"from":{"id":"0123456789"},"to":{"id":"16504661149"},'
        b'"messageId":"1613474523265-0"},"type":"Receipt","status":"Delivered"}]}'
    )


def test_the_documented_failed_receipt_of_an_email() -> None:
    receipt = Receipt(
        "company.com", "f7acbac6-68db-4031-aec2-4bbd02627c4b", "no-reply@company.com", "recipient-1@mail.com",
        ReceiptStatus.FAILED, Reason.NOT_ALLOWED, "550 5.7.1",
    )  # fmt: skip
    assert orjson.loads(payloads.write_receipts([receipt])) == {
        "messages": [
            {
                "channel": {
                    "from": {"id": "no-reply@company.com"},
                    "to": {"id": "recipient-1@mail.com"},
                    "messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b",
                },
                "type": "Receipt",
                "status": "Failed",
                "reasons": [{"code": 350, "message": "Message not allowed. (550 5.7.1)"}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (305, "The message has expired."),
        (310, "Rate limit reached."),
        (350, "Message not allowed."),
        (500, "General error."),
        (510, "Unsupported message."),
        (512, "Unknown message."),
        (520, "Invalid message structure."),
        (530, "Invalid destination."),
    ],
)
def test_every_reason_has_the_documents_words(code: int, words: str) -> None:
    receipt = Receipt(CHANNEL, "1", CHANNEL, CONSUMER, ReceiptStatus.FAILED, Reason(code))
    [written] = orjson.loads(payloads.write_receipts([receipt]))["messages"]
    assert written["reasons"] == [{"code": code, "message": words}]


def test_the_table_of_reasons_is_the_documents() -> None:
    assert sorted(Reason) == [305, 310, 350, 500, 510, 512, 520, 530]
    assert sorted(ReceiptStatus) == ["Delivered", "Failed", "Removed"]


@pytest.mark.parametrize("status", [ReceiptStatus.DELIVERED, ReceiptStatus.REMOVED])
def test_only_failed_has_reasons(status: ReceiptStatus) -> None:
    receipt = Receipt(CHANNEL, "1", CHANNEL, CONSUMER, status, Reason.GENERAL, "x")
    assert b"reasons" not in payloads.write_receipts([receipt])


def test_a_failure_without_a_reason_is_a_general_error() -> None:
    assert b'"code":500' in payloads.write_receipts([Receipt(CHANNEL, "1", CHANNEL, CONSUMER, ReceiptStatus.FAILED)])


# ---------------------------------------------------------------- the strict reader on the other side

CONFIG = SandboxConfig(
    app_secret="app-secret",
    contact_center_id="0ff723ff-6c6f-44e0-9ce3-ce579337eadd",
    twilio_account_sid="AC0",
    twilio_auth_token="x",
    mail_callback_secret="x",
)
ID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


async def strict(body: bytes, message: dict[str, Any] | None = None) -> tuple[int, list[str]]:
    """The sandbox's answer to these bytes, called as an ASGI app, and the rules that were broken."""
    app = build_app(CONFIG)
    world = app.state.world
    if message is not None:
        expect(world, message)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: Any) -> None:
        if event["type"] == "http.response.start":
            statuses.append(event["status"])

    headers = {
        "x-hub-signature": sign(b"app-secret", body),
        "x-ccid": CONFIG.contact_center_id,
        "content-type": "application/json",
    }
    scope = {
        "type": "http",
        "method": "POST",
        "path": f"/nexus/v3/channels/{CHANNEL}/messages",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    unseen = [f"unseen: {one.message_id}" for one in world.agent.values() if one.state == "unseen"]
    return statuses[0], [violation.rule for violation in world.violations] + unseen


@settings(max_examples=50)
@given(consumer=ID, text=TEXT)
async def test_the_strict_side_takes_every_consumer_message(consumer: str, text: str) -> None:
    assert await strict(payloads.write_consumer_message(consumer, CHANNEL, text)) == (200, [])


@settings(max_examples=50)
@given(
    message_id=ID, sender=ID, to=ID, status=st.sampled_from(ReceiptStatus), reason=st.sampled_from([None, *Reason]),
    detail=st.text("0123456789.HTTP ", max_size=12), more=st.integers(0, 2),
)  # fmt: skip
async def test_the_strict_side_takes_every_receipt(
    message_id: str, sender: str, to: str, status: ReceiptStatus, reason: Reason | None, detail: str, more: int
) -> None:
    channel = {"id": CHANNEL, "from": {"id": sender}, "to": {"id": to}, "messageId": message_id}
    receipt = Receipt(CHANNEL, message_id, sender, to, status, reason, detail)
    body = payloads.write_receipts([receipt] * (1 + more))
    assert await strict(body, {"channel": channel, "type": "Text", "text": "x"}) == (200, [])
    code, rules = await strict(body.replace(b'"Receipt"', b'"receipt"'))
    assert (code, len(rules)) == (400, 1)


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"status":{"code":0},"data":{"ids":["1613473893265-0"]}}', (0, ["1613473893265-0"], "")),
        (b'{"status":{"code":0},"data":{"ids":[{"id":"1"},{"id":2},{},null,"3"]}}', (0, ["1", "2", "3"], "")),
        (b'{"status":{"code":0}}', (0, [], "")),
        (b'{"status":{"code":1,"message":"Accepted"}}', (1, [], "Accepted")),
        (b'{"status":{"code":2},"data":{"ids":["1"]},"errors":[{}]}', (2, ["1"], "")),
        (b'{"status":{"code":500,"message":"Resource not found"}}', (500, [], "Resource not found")),
        (b'{"status":{"code":"SUCCESS"}}', (None, [], "")),
        (b'{"status":404,"error":"Not Found","message":"No message available"}', (None, [], "Not Found")),
        (b'{"error":"invalid_token","error_description":"expired"}', (None, [], "expired")),
        (b'{"message":"no route"}', (None, [], "no route")),
        (b"{'message': 'no route'}", (None, [], "{'message': 'no route'}")),
        (b"<html>Bad gateway</html>", (None, [], "<html>Bad gateway</html>")),
        (b"", (None, [], "")),
        (b"[1]", (None, [], "")),
        (b'{"status":{"code":0},"data":{"ids":"1"}}', (0, [], "")),
        (b"\xff" * 600, (None, [], "\ufffd" * 500)),
    ],
)
def test_answers(body: bytes, expected: tuple[int | None, list[str], str]) -> None:
    assert answers.read_answer(body) == expected


@given(st.binary(max_size=100))
def test_no_answer_raises(body: bytes) -> None:
    code, ids, said = answers.read_answer(body)
    assert code is None or isinstance(code, int)
    assert len(said) <= 500
    assert ids is not None
