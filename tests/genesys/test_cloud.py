"""Open Messaging without I/O: webhooks in every documented form and in odd ones, signatures, and what is written."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import orjson
import pytest

from dcbridge.genesys import cloud, payloads
from dcbridge.genesys.signature import Given, matching
from dcbridge.messages import Reason, Receipt, ReceiptStatus

INTEGRATION = "73cb7fb7-c2db-4996-88f3-0a83a4fea1da"
FILE = "https://api-downloads.usw2.pure.cloud/api/v2/downloads/pce1234456"
# As Genesys' page and its client have an agent's text.
TEXT: dict[str, Any] = {
    "id": "c327c2078ca056db130c55ce648d9fa2",
    "channel": {
        "id": INTEGRATION,
        "messageId": "c327c2078ca056db130c55ce648d9fa2",
        "platform": "Open",
        "type": "Private",
        "to": {"id": "+16504661149", "idType": "Phone"},
        "from": {"nickname": "Open Messaging Integration", "id": INTEGRATION, "idType": "Opaque"},
        "time": "2021-02-01T15:04:05.123Z",
    },
    "conversationId": "d06cb41e-f938-4dcf-b823-c8af1a39d7e5",
    "direction": "Outbound",
    "originatingEntity": "Human",
    "type": "Text",
    "text": "Hello World",
    "content": [],
}


def attachment(url: object = FILE) -> dict[str, Any]:
    return {"contentType": "Attachment", "attachment": {"mediaType": "Image", "url": url, "mime": "image/jpeg"}}


def options(*words: str) -> list[dict[str, Any]]:
    return [{"contentType": "QuickReply", "quickReply": {"text": one, "payload": one}} for one in words]


CARDS = [{"title": "Card", "description": "", "actions": [{"type": "Postback", "text": "Option", "payload": "x"}]}]


def read(**changes: Any) -> payloads.Incoming:
    told = {name: value for name, value in (TEXT | changes).items() if value is not ...}
    [one] = cloud.read_webhook(orjson.dumps(told), "cloud", "trace")
    return one


@pytest.mark.parametrize(
    ("changes", "text", "files"),
    [
        ({}, "Hello World", 0),
        ({"text": "Two\nlines"}, "Two\nlines", 0),
        ({"text": ..., "content": [attachment()]}, "", 1),
        ({"content": [attachment()]}, "Hello World", 1),
        ({"type": "Structured", "content": options("Yes", "No")}, "Hello World\n- Yes\n- No", 0),
        ({"type": "Structured", "text": ..., "content": [{"contentType": "Carousel", "carousel": {"cards": CARDS}}]},
         "Card\n- Option", 0),
        ({"content": [{"contentType": "Notification", "template": {"body": {"text": "Hello World"},
          "footer": {"text": "Bye"}}}]}, "Hello World\nBye", 0),
        ({"text": ..., "content": [{"contentType": "DatePicker", "datePicker": {"title": "When?", "availableTimes":
          [{"duration": 900, "dateTime": "2025-06-30T13:00:00.000Z"}]}}]}, "When?\n- 2025-06-30T13:00:00.000Z", 0),
        ({"type": "Something new", "content": [{"contentType": "Story"}, 7, None]}, "Hello World", 0),
    ],
)  # fmt: skip
def test_what_an_agent_sends(changes: dict[str, Any], text: str, files: int) -> None:
    one = read(**changes)
    assert (one.problem, one.message_id, one.channel_id) == (None, TEXT["id"], INTEGRATION)
    [copy] = one.copies
    assert (copy.text, len(copy.media), copy.to.id) == (text, files, "+16504661149")
    assert [cloud.file_url(media) for media in copy.media] == [FILE] * files
    assert payloads.read_copies(one.payload, one.message_id, "trace") == one.copies  # as a worker reads what is stored


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": ...}, Reason.UNSUPPORTED),
        ({"text": "", "content": [{"contentType": "Story"}]}, Reason.UNSUPPORTED),
        ({"text": 7}, Reason.INVALID_STRUCTURE),
        ({"text": ..., "content": [attachment("ftp://x/y")]}, Reason.UNSUPPORTED),
        ({"text": ..., "content": [attachment(None)]}, Reason.UNSUPPORTED),
        ({"content": [attachment(FILE + "x" * 300)]}, Reason.UNSUPPORTED),
        ({"channel": {**TEXT["channel"], "to": {}}}, Reason.INVALID_STRUCTURE),
        ({"channel": {**TEXT["channel"], "to": {"id": "1" * 401}}}, None),
        ({"channel": 7}, Reason.INVALID_STRUCTURE),
    ],
)
def test_what_cannot_be_carried(changes: dict[str, Any], reason: Reason | None) -> None:
    problem = read(**changes).problem
    assert (problem.reason if problem else None) == reason


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"', b"[{}]"])
def test_what_is_no_object_is_said_and_not_raised(body: bytes) -> None:
    [one] = cloud.read_webhook(body, "cloud", "")
    assert one.problem is not None
    assert one.problem.reason == Reason.INVALID_STRUCTURE


def test_a_message_without_an_id_gets_the_same_one_each_time() -> None:
    changes = {"id": ..., "channel": {**TEXT["channel"], "messageId": None}}
    assert read(**changes).message_id == read(**changes).message_id
    assert read(**changes).message_id.startswith("dcbridge-")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"type": "Event", "text": ..., "events": [{"eventType": "Typing", "typing": {"type": "On"}}]}, "an event"),
        ({"type": "Receipt", "status": "Delivered", "isFinalReceipt": False}, "a receipt"),
        ({"type": "receipt", "status": "Failed", "channel": {"id": INTEGRATION}}, "a receipt"),
        ({"direction": "Inbound"}, "an inbound message"),
    ],
)
def test_what_is_no_message_of_an_agent(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(cloud.NoMessage) as raised:
        read(**changes)
    assert (raised.value.word, raised.value.channel_id) == (word, INTEGRATION)


SECRET, BODY = b"the-secret-of-the-webhook", b'{"id":"1"}'
RIGHT = base64.b64encode(hmac.new(SECRET, BODY, hashlib.sha256).digest())


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([b"sha256=" + RIGHT], ""),
        ([b"SHA256=" + RIGHT], ""),
        ([], "missing"),
        ([b"sha256=" + RIGHT] * 2, "more than one header"),
        ([RIGHT[:-1]], "no algorithm prefix"),
        ([b"sha1=" + RIGHT], "unknown algorithm"),
        ([b"sha256=" + RIGHT[:-1]], "wrong length"),
        ([b"sha256=" + RIGHT + b"="], "wrong length"),
        ([b"sha256=" + hmac.new(SECRET, BODY, hashlib.sha256).hexdigest().encode()], "hex digits instead of base64"),
        ([b"sha256=" + b"A" * 42 + b"B="], "no secret matches"),
        ([b"sha256=" + b"x" * 300], "wrong length"),
    ],
)
def test_a_signature(headers: list[bytes], said: str) -> None:
    header = cloud.given(headers)
    if said:
        assert header == said
    else:
        assert isinstance(header, Given)
        assert matching(header, BODY, [SECRET, b"another"]) == {SECRET}
        assert matching(header, BODY + b" ", [SECRET, b"another"]) == frozenset()


@pytest.mark.parametrize("reason", Reason)
def test_a_receipt(reason: Reason) -> None:
    made = Receipt(INTEGRATION, "m-1", INTEGRATION, "+16504661149", ReceiptStatus.FAILED, reason, "30005")
    written = json.loads(cloud.write_receipt(made, 1612191845.123))
    assert written == {
        "id": "m-1",
        "channel": {"to": {"id": "+16504661149"}, "time": "2021-02-01T15:04:05.123Z"},
        "status": "Failed",
        "reasons": [{"code": cloud.REASONS[reason], "message": f"{reason.text} (30005)"}],
        "isFinalReceipt": True,
    }
    delivered = Receipt(INTEGRATION, "m-1", INTEGRATION, "+16504661149", ReceiptStatus.DELIVERED)
    assert "reasons" not in json.loads(cloud.write_receipt(delivered, 0))


@pytest.mark.parametrize(
    ("consumer", "sender"),
    [
        ("16504661149", {"id": "+16504661149", "idType": "Phone"}),
        ("+16504661149", {"id": "+16504661149", "idType": "Phone"}),
        ("12345", {"id": "12345", "idType": "Opaque"}),
        ("Shop", {"id": "Shop", "idType": "Opaque"}),
        ("ana@mail.com", {"id": "ana@mail.com", "idType": "Email"}),
    ],
)
def test_a_message(consumer: str, sender: dict[str, str]) -> None:
    written = json.loads(cloud.write_message(consumer, "Hi", "c-1", 1612191845.123))
    channel = {"from": sender, "time": "2021-02-01T15:04:05.123Z", "messageId": "c-1"}
    assert written == {"channel": channel, "text": "Hi"}
    file = cloud.attachment("https://b.example.com/m/x", "file.png", "image/png")
    only = json.loads(cloud.write_message(consumer, "", "", 0, [file]))
    assert "text" not in only
    assert only["content"][0]["attachment"]["mediaType"] == "Image"
    assert cloud.attachment("u", "n", "application/pdf")["attachment"] == {
        "mediaType": "File", "url": "u", "mime": "application/pdf", "filename": "n",
    }  # fmt: skip


def test_the_credentials_show_their_secret_in_the_header_alone() -> None:
    made = cloud.CloudCredentials("https://login.mypurecloud.ie/oauth/token", "id", "secret")
    request = made.first()
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"id:secret").decode()
    assert request.content == b"grant_type=client_credentials"
    assert "secret" not in repr(made)
