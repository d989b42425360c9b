"""Email companies with an API: what their events say, and what proves them."""

from __future__ import annotations

import base64
import hmac
import time
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import ValidationError

from dcbridge.errors import BadSignature, UnreadableEvent
from dcbridge.messages import DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback, Unread
from tests.providers.test_email_companies import KINDS_HERE, PRIVATE, SECRET, message, provider

REF = message().ref
ANA = "ana@example.com"


def callback(said: object, secret: str = "", **headers: str) -> Callback:
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Callback("status", "POST", "https://bridge.example.com/callbacks/acme/status", b"", named, body, secret)


def sendgrid(event: str, reference: str = f"{REF}.0", /, **more: object) -> Callback:
    common = {"email": ANA, "timestamp": 1, "sg_event_id": "e", "sg_message_id": "s-1.recvd-1"}
    return callback([{**common, "event": event, "dcbridge": reference, **more}])


def postmark(record: str, reference: str = f"{REF}.0", /, **more: object) -> Callback:
    common = {"MessageID": "p-1", "Recipient": ANA, "Metadata": {"dcbridge": reference}}
    return callback({**common, "RecordType": record, **more})


def mailgun(event: str, reference: str | None = None, /, **more: object) -> Callback:
    code = hmac.digest(b"key-1", f"callback {REF}.0".encode(), "sha256").hex()[:32]
    known = f"{REF}.0 {code}" if reference is None else reference
    data = {"event": event, "id": "e", "recipient": ANA, "user-variables": {"dcbridge": known},
            "message": {"headers": {"message-id": "a@b"}}, **more}  # fmt: skip
    return callback({"signature": {}, "event-data": data})


def ses(event: str, reference: str = REF, /, **more: object) -> Callback:
    mail = {"messageId": "x-1", "destination": [ANA], "tags": {"dcbridge": [reference]}}
    said = orjson.dumps({"eventType": event, "mail": mail, **more}).decode()
    return callback({"Type": "Notification", "MessageId": "n-1", "Message": said})


def azure(status: str, said: str = "", /, **more: object) -> Callback:
    data = {"messageId": "o-1", "recipient": ANA, "status": status, "deliveryStatusDetails": {"statusMessage": said}}
    kind = "Microsoft.Communication.EmailDeliveryReportReceived"
    return callback([{"id": "e", "eventType": kind, "data": {**data, **more}}])


def gone(number: int, words: str, reason: str = "bounce") -> dict[str, object]:
    return {"severity": "permanent", "reason": reason, "delivery-status": {"code": number, "message": words}}


def back(kind: str, subkind: str, **recipient: str) -> dict[str, object]:
    return {"bounce": {"bounceType": kind, "bounceSubType": subkind, "bouncedRecipients": [recipient]}}


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT
R = Reason
EVENTS: list[tuple[str, Callback, UpdateStatus, Reason | None, str, str | None]] = [
    ("sendgrid", sendgrid("processed"), S, None, "", None),
    ("sendgrid", sendgrid("deferred", response="450 4.7.1 greylisted"), S, None, "", None),
    ("sendgrid", sendgrid("delivered"), D, None, "", None),
    ("sendgrid", sendgrid("open"), S, None, "", None),
    ("sendgrid", sendgrid("a word of tomorrow"), S, None, "", None),
    ("sendgrid", sendgrid("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 no"), F, R.INVALID_DESTINATION,
     "5.1.1", "bounce"),
    ("sendgrid", sendgrid("bounce", type="bounce", reason="no such user"), F, R.INVALID_DESTINATION, "", "bounce"),
    ("sendgrid", sendgrid("bounce", type="bounce", status="5.7.1", reason="554 5.7.1 no"), F, R.NOT_ALLOWED,
     "5.7.1", None),
    ("sendgrid", sendgrid("bounce", type="blocked", reason="x"), F, R.NOT_ALLOWED, "", None),
    ("sendgrid", sendgrid("bounce", type="blocked", status="5.1.1", reason="550 5.1.1"), F, R.INVALID_DESTINATION,
     "5.1.1", None),
    ("sendgrid", sendgrid("dropped", reason="Bounced Address"), F, R.INVALID_DESTINATION, "bounced-address", "bounce"),
    ("sendgrid", sendgrid("dropped", reason="Unsubscribed Address"), F, R.NOT_ALLOWED, "unsubscribed-address",
     "unsubscribe"),
    ("sendgrid", sendgrid("dropped", reason="Spam Reporting Address"), F, R.NOT_ALLOWED, "spam-reporting-address",
     "complaint"),
    ("sendgrid", sendgrid("dropped", reason={"x": 1}), F, R.GENERAL, "dropped", None),
    ("sendgrid", sendgrid("spamreport"), D, None, "", "complaint"),
    ("sendgrid", sendgrid("group_unsubscribe"), D, None, "", "unsubscribe"),
    ("postmark", postmark("Delivery"), D, None, "", None),
    ("postmark", postmark("Bounce", Type="HardBounce"), F, R.INVALID_DESTINATION, "HardBounce", "bounce"),
    ("postmark", postmark("Bounce", Type="BadEmailAddress"), F, R.INVALID_DESTINATION, "BadEmailAddress", "bounce"),
    ("postmark", postmark("Bounce", Type="SoftBounce"), F, R.GENERAL, "SoftBounce", None),
    ("postmark", postmark("Bounce", Type="Blocked"), F, R.NOT_ALLOWED, "Blocked", None),
    ("postmark", postmark("Bounce", Type="Unsubscribe"), F, R.NOT_ALLOWED, "Unsubscribe", "unsubscribe"),
    ("postmark", postmark("Bounce", Type="SMTPApiError"), F, R.INVALID_STRUCTURE, "SMTPApiError", None),
    ("postmark", postmark("Bounce", Type="Transient"), S, None, "", None),
    ("postmark", postmark("Bounce", Type="AutoResponder"), S, None, "", None),
    ("postmark", postmark("Bounce", Type="SpamComplaint"), D, None, "", "complaint"),
    ("postmark", postmark("SpamComplaint"), D, None, "", "complaint"),
    ("postmark", postmark("SubscriptionChange", SuppressSending=True, SuppressionReason="ManualSuppression"), S, None,
     "", "unsubscribe"),
    ("postmark", postmark("SubscriptionChange", SuppressSending=False, SuppressionReason="HardBounce"), S, None,
     "", None),
    ("postmark", postmark("Open"), S, None, "", None),
    ("mailgun", mailgun("delivered"), D, None, "", None),
    ("mailgun", mailgun("accepted"), S, None, "", None),
    ("mailgun", mailgun("failed", severity="temporary", reason="generic"), S, None, "", None),
    ("mailgun", mailgun("failed", **gone(550, "5.1.1 no such user")), F, R.INVALID_DESTINATION, "5.1.1", "bounce"),
    ("mailgun", mailgun("failed", **gone(554, "5.7.1 policy")), F, R.NOT_ALLOWED, "5.7.1", None),
    ("mailgun", mailgun("failed", **gone(605, "", "suppress-bounce")), F, R.INVALID_DESTINATION, "suppress-bounce",
     "bounce"),
    ("mailgun", mailgun("failed", **gone(607, "", "x")), F, R.NOT_ALLOWED, "607", "complaint"),
    ("mailgun", mailgun("failed", **gone(602, "", "old")), F, R.EXPIRED, "old", None),
    ("mailgun", mailgun("failed", severity="permanent"), F, R.GENERAL, "failed", None),
    ("mailgun", mailgun("rejected"), F, R.NOT_ALLOWED, "rejected", None),
    ("mailgun", mailgun("complained"), D, None, "", "complaint"),
    ("mailgun", mailgun("unsubscribed"), D, None, "", "unsubscribe"),
    ("ses", ses("Send"), S, None, "", None),
    ("ses", ses("Delivery"), D, None, "", None),
    ("ses", ses("DeliveryDelay"), S, None, "", None),
    ("ses", ses("Bounce", **back("Permanent", "General", status="5.1.1", diagnosticCode="smtp; 550 5.1.1 no")), F,
     R.INVALID_DESTINATION, "5.1.1", "bounce"),
    ("ses", ses("Bounce", **back("Permanent", "General", status="5.7.1", diagnosticCode="smtp; 554 5.7.1 no")), F,
     R.NOT_ALLOWED, "5.7.1", None),
    ("ses", ses("Bounce", **back("Permanent", "NoEmail")), F, R.INVALID_DESTINATION, "Permanent.NoEmail", "bounce"),
    ("ses", ses("Bounce", **back("Permanent", "OnAccountSuppressionList")), F, R.NOT_ALLOWED,
     "Permanent.OnAccountSuppressionList", "bounce"),
    ("ses", ses("Bounce", **back("Transient", "MailboxFull")), F, R.GENERAL, "Transient.MailboxFull", None),
    ("ses", ses("Bounce", **back("Transient", "MessageTooLarge")), F, R.UNSUPPORTED, "Transient.MessageTooLarge", None),
    ("ses", ses("Bounce", bounce=7), F, R.GENERAL, "", None),
    ("ses", ses("Reject"), F, R.NOT_ALLOWED, "Reject", None),
    ("ses", ses("Rendering Failure"), F, R.INVALID_STRUCTURE, "Rendering-Failure", None),
    ("ses", ses("Complaint", complaint={}), D, None, "", "complaint"),
    ("ses", ses("Complaint", complaint={"complaintFeedbackType": "not-spam"}), D, None, "", None),
    ("azure-email", azure("Delivered"), D, None, "", None),
    ("azure-email", azure("delivered"), D, None, "", None),
    ("azure-email", azure("OutForDelivery"), S, None, "", None),
    ("azure-email", azure("Bounced", "550 5.1.1 no"), F, R.INVALID_DESTINATION, "5.1.1", "bounce"),
    ("azure-email", azure("Bounced"), F, R.INVALID_DESTINATION, "bounced", "bounce"),
    ("azure-email", azure("Bounced", "554 5.7.1 no"), F, R.NOT_ALLOWED, "5.7.1", None),
    ("azure-email", azure("Suppressed"), F, R.NOT_ALLOWED, "suppressed", "bounce"),
    ("azure-email", azure("FilteredSpam"), F, R.NOT_ALLOWED, "filteredspam", None),
    ("azure-email", azure("a word of tomorrow"), F, R.GENERAL, "", None),
]  # fmt: skip
IDS = {"sendgrid": "s-1", "postmark": "p-1", "mailgun": "a@b", "ses": "x-1", "azure-email": "o-1"}


@pytest.mark.parametrize(("kind", "said", "status", "reason", "code", "stop"), EVENTS)
def test_what_an_event_says(
    kind: str, said: Callback, status: UpdateStatus, reason: Reason | None, code: str, stop: Any
) -> None:
    [update] = provider(kind).parse_callback(said)
    ref = "" if kind == "azure-email" else REF
    assert update == DeliveryUpdate("acme", IDS[kind], status, ref, 0, reason, code, recipients=(ANA,), suppress=stop)


OTHERS: dict[str, Callback] = {
    "sendgrid": callback([{"event": "delivered", "email": ANA, "sg_message_id": "x.y"}]),
    "postmark": callback({"RecordType": "Delivery", "MessageID": "x", "Metadata": {}}),
    "mailgun": mailgun("delivered", f"{REF}.0 {'0' * 32}"),
    "ses": ses("Delivery", "another-tag"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_event_of_an_email_that_others_sent_is_passed_over(kind: str) -> None:
    """Of Mailgun, whose signature does not cover it, an event also has to carry our code."""
    assert list(provider(kind).parse_callback(OTHERS[kind])) == []


@pytest.mark.parametrize("kind", KINDS_HERE)
@pytest.mark.parametrize("body", [b"", b"{}", b"7", b"\xff", b"[7]"])
def test_what_is_no_event_is_kept(kind: str, body: bytes) -> None:
    wrapped = callback({"Type": "Notification", "Message": body.decode("latin-1")}) if kind == "ses" else callback(body)
    try:
        found = provider(kind).parse_callback(wrapped)
    except UnreadableEvent:
        return
    assert [type(one) for one in found] == [Unread]


def test_one_bad_event_of_sendgrids_list_is_kept_alone() -> None:
    good, [bad] = orjson.loads(sendgrid("delivered").body), orjson.loads(sendgrid("delivered", "not ours").body)
    update, unread = provider("sendgrid").parse_callback(callback([*good, bad]))
    assert (update.ref, unread) == (REF, Unread("no reference", orjson.dumps([bad])))


# ---------------------------------------------------------------- what proves an event


def signed(body: bytes, moment: int | None = None) -> Callback:
    written = str(int(time.time()) if moment is None else moment)
    signature = base64.b64encode(PRIVATE.sign(written.encode() + body, ECDSA(SHA256()))).decode()
    headers = {
        "x_twilio_email_event_webhook_signature": signature, "x_twilio_email_event_webhook_timestamp": written,
    }  # fmt: skip
    return callback(body, **headers)


def test_sendgrids_signature_is_what_its_library_believes() -> None:
    from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]

    theirs: Any = EventWebhook(provider("sendgrid")._fields.public_key[0])
    good = signed(b'[{"event":"delivered"}]')
    values = [good.header(f"x-twilio-email-event-webhook-{one}") for one in ("signature", "timestamp")]
    assert theirs.verify_signature(good.body.decode(), *values)
    ours = provider("sendgrid")
    assert ours.verify(good) == ""
    for bad in (
        callback(good.body + b" ", **{name.replace("-", "_"): value[0] for name, value in good.headers.items()}),
        signed(good.body, int(time.time()) - 90_000),
        callback(good.body),
        callback(good.body, SECRET),
    ):
        with pytest.raises(BadSignature):
            ours.verify(bad)


def test_sendgrid_unsigned_needs_the_secret_in_its_path() -> None:
    ours = provider("sendgrid", public_key=[], callback_secret=SECRET)
    ours.verify(callback(b"[]", SECRET))
    with pytest.raises(BadSignature):
        ours.verify(callback(b"[]", SECRET[:-1]))
    with pytest.raises(ValidationError, match="public_key or callback_secret"):
        provider("sendgrid", public_key=[])
    with pytest.raises(ValidationError, match="verification key"):
        provider("sendgrid", public_key="x")


def test_mailguns_signature_is_what_its_library_believes_and_its_token_names_the_event() -> None:
    from mailgun.security import SecurityGuard

    moment, token = str(int(time.time())), "t" * 50

    def proof(key: bytes = b"sign", **changes: str) -> Callback:
        right = hmac.digest(key, f"{moment}{token}".encode(), "sha256").hex()
        return callback({"signature": {"timestamp": moment, "token": token, "signature": right, **changes}})

    signature = orjson.loads(proof().body)["signature"]
    assert SecurityGuard.verify_webhook("sign", token, moment, signature["signature"])
    ours = provider("mailgun")
    assert ours.verify(proof()) == token
    assert ours.verify(proof(b"old")) == token
    for bad in (proof(b"other"), proof(token="u" * 50), proof(signature=""), proof(timestamp="1"), callback(b"{}")):
        with pytest.raises(BadSignature):
            ours.verify(bad)


@pytest.mark.parametrize("kind", ["postmark", "azure-email"])
def test_an_event_without_the_secret_is_refused(kind: str) -> None:
    basic = base64.b64encode(f"any:{SECRET}".encode()).decode()
    provider(kind).verify(callback(b"{}", SECRET))
    provider(kind).verify(callback(b"{}", authorization=f"Basic {basic}"))
    for bad in (callback(b"{}"), callback(b"{}", SECRET[:-1]), callback(b"{}", authorization="Basic x")):
        with pytest.raises(BadSignature):
            provider(kind).verify(bad)
