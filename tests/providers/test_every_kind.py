"""Whatever a company answers, and whatever a stranger calls: each kind says what it makes of it, and nothing else.

What is drawn is what the company says, damaged in one place: plain nonsense is refused at the first look.
"""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dcbridge.errors import BadSignature, SendError, UnreadableEvent
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Content, DeliveryUpdate
from dcbridge.providers import KINDS, build
from dcbridge.providers.base import Callback, Provider, Submission, Turn, Unread
from tests.providers.test_http import ACME, KANNEL
from tests.providers.test_telnyx import PUBLIC

FORM = "application/x-www-form-urlencoded"
PATH_SECRET, TOPIC = "0123456789abcdef", "arn:aws:sns:eu-west-1:123456789012:sms"
FIELDS: Mapping[str, Mapping[str, Any]] = {
    "africastalking": {"username": "acme", "api_key": "k", "callback_secret": PATH_SECRET},
    "aws-sms": {"region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s", "configuration_set": "c",
                "topic_arns": [TOPIC]},
    "azure-email": {"base_url": "https://x.example", "access_key": "a2V5", "callback_secret": PATH_SECRET},
    "azure-sms": {"base_url": "https://x.example", "access_key": "a2V5", "callback_secret": PATH_SECRET},
    "bandwidth": {"account_id": "1", "application_id": "2", "client_id": "3", "client_secret": "4",
                  "callback_secret": PATH_SECRET},
    "clickatell": {"api_key": "k", "callback_secret": PATH_SECRET},
    "http": ACME,
    "http, by query": KANNEL,
    "infobip": {"base_url": "https://x.example", "api_key": "k", "callback_secret": PATH_SECRET},
    "mailgun": {"domain": "x.example", "api_key": "k", "signing_keys": "s"},
    "messagebird": {"api_key": "bk_eu1_k", "signature_secret": "whsec_a2V5"},
    "plivo": {"auth_id": "MA1", "auth_token": "t"},
    "postmark": {"server_token": "t", "callback_secret": PATH_SECRET},
    "sendgrid": {"api_key": "k", "callback_secret": PATH_SECRET},
    "ses": {"region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s", "configuration_set": "c",
            "topic_arns": [TOPIC]},
    "sinch": {"project_id": "1", "key_id": "2", "key_secret": "3", "callback_secret": PATH_SECRET,
              "base_url": "https://x.example"},
    "smpp": {"host": "smpp.example.com", "system_id": "x", "reasons": {"0x411": 350}},
    "smtp": {"host": "mail.example.com", "callback_secret": "s"},
    "telnyx": {"api_key": "k", "public_key": PUBLIC},
    "twilio": {"account_sid": "AC" + "0" * 32, "auth_token": "t"},
    "vonage": {"api_key": "k", "api_secret": "s", "signature_secret": "t"},
}  # fmt: skip
REF = "0123456789abcdef01234567.0"


def mailgun_code(key: str) -> str:
    return hmac.digest(b"k", f"callback {key}".encode(), "sha256").hex()[:32]


ENDS = {"from": "16504661149", "to": "12025550123"}
# What each company calls with, and what it answers: whole, to be damaged.
GOOD: Mapping[str, tuple[list[Any], list[Any]]] = {
    "africastalking": (
        [{"id": "ATXid_1", "status": "Failed", "failureReason": "UserDoesNotExist", "phoneNumber": "+16504661149"},
         {"id": "ATXid_1", **ENDS, "text": "x", "date": "2026-11-26 12:00:00"}],
        [{"SMSMessageData": {"Message": "Sent to 1/1", "Recipients": [
            {"statusCode": 101, "status": "Success", "messageId": "ATXid_1", "cost": "KES 0.8000"}]}},
         {"SMSMessageData": {"Message": "InvalidSenderId", "Recipients": []}}],
    ),
    "aws-sms": (
        [{"Type": "Notification", "TopicArn": TOPIC, "MessageId": "e", "Message": orjson.dumps(one).decode(),
          "SignatureVersion": "1", "Signature": "A" * 344, "Timestamp": "2026-11-26T12:00:00Z",
          "SigningCertURL": f"https://x/SimpleNotificationService-{'0' * 32}.pem"}
         for one in ({"eventType": "TEXT_INVALID", "messageId": "m-1", "context": {"dcbridge": REF}},
                     {"inboundMessageId": "m-1", "originationNumber": "+16504661149",
                      "destinationNumber": "+12025550123", "messageBody": "x"})],
        [{"MessageId": "m-1"}, {"__type": "ValidationException", "Reason": "FIELD_VALIDATION_FAILED", "Fields": [
            {"Name": "DestinationPhoneNumber"}]}],
    ),
    "azure-email": (
        [[{"id": "e", "eventType": "Microsoft.Communication.EmailDeliveryReportReceived", "data": {
            "messageId": "m-1", "status": "Bounced", "recipient": "ana@example.com",
            "deliveryStatusDetails": {"statusMessage": "550 5.1.1 no"}}}]],
        [{"id": "m-1", "status": "Running"}, {"error": {"code": "BadRequest"}}],
    ),
    "azure-sms": (
        [[{"id": "e", "eventType": "Microsoft.Communication.SMSDeliveryReportReceived", "data": {
            "messageId": "m-1", "deliveryStatus": "Failed", "deliveryStatusDetails": "4004", "Tag": REF}},
          {"id": "m-1", "type": "Microsoft.Communication.SMSReceived", "data": {**ENDS, "message": "x"}},
          {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "v-1"}}]],
        [{"value": [{"messageId": "m-1", "httpStatusCode": 202, "successful": True}]},
         {"value": [{"httpStatusCode": 400, "successful": False}]}, {"error": {"code": "BadRequest"}}],
    ),
    "bandwidth": (
        [[{"type": "message-failed", "errorCode": 4720, "message": {"id": "m-1", "tag": REF}},
          {"type": "message-received", "to": "+12025550123", "message": {
              "id": "m-1", "from": "+16504661149", "text": "x", "media": ["https://m"]}}]],
        [{"id": "m-1"}, {"type": "request-validation", "fieldErrors": [{"fieldName": "to"}]}],
    ),
    "clickatell": (
        [{"event": {"messageStatusUpdate": [{"messageId": "m-1", "statusCode": 29, "clientMessageId": REF}]}},
         {"event": {"moText": [{"messageId": "m-1", **ENDS, "content": "%00x", "charset": "UTF-16BE"}]}}],
        [{"messages": [{"apiMessageId": "m-1", "accepted": True, "error": None}], "error": None},
         {"messages": [{"apiMessageId": None, "accepted": False, "error": {"code": 25}}], "error": None},
         {"messages": [], "error": {"code": 1}}],
    ),
    "http": (
        [{"reports": [{"status": "failed", "error": "filtered", "id": "a-1", "reference": REF}]},
         {"messages": [{"id": "a-1", **ENDS, "text": "x"}]}],
        [{"id": "a-1"}, {"error": "filtered"}],
    ),
    "http, by query": (
        [{"m": REF, "s": "1"}, {"i": "1", "p": "16504661149", "P": "12025550123", "a": "x"}],
        ["0: Accepted"],
    ),
    "infobip": (
        [{"results": [{"messageId": REF, "status": {"groupId": 2, "id": 4}, "error": {"id": 1}}]},
         {"results": [{"messageId": "m-1", **ENDS, "text": "x"}]}],
        [{"messages": [{"messageId": REF, "status": {"groupId": 1, "id": 26}}]}, {"errorCode": "E400"},
         {"requestError": {"serviceException": {"messageId": "BAD_REQUEST"}}}],
    ),
    "mailgun": (
        [{"signature": {"timestamp": "1", "token": "t" * 50, "signature": "0" * 64}, "event-data": {
            "event": "failed", "severity": "permanent", "reason": "bounce", "recipient": "ana@example.com",
            "delivery-status": {"code": 550, "message": "5.1.1 no", "enhanced-code": "5.1.1"},
            "message": {"headers": {"message-id": "a@b"}}, "user-variables": {
                "dcbridge": f"{REF} {mailgun_code(REF)}"}}}],
        [{"id": "<a@b>", "message": "Queued"}, {"message": "try again after 7 seconds"}],
    ),
    "messagebird": (
        [{"type": "sms.failed", "data": {"sms_id": "sms_1", "metadata": {"dcbridge": REF}, "error": {"code": "unknown"},
                                         "cost": {"amount": "0.01", "currency_code": "EUR"}, "segments": {"count": 1}}},
         {"type": "sms.received", "data": {"sms_id": "sms_1", **ENDS, "text": "x"}}],
        [{"id": "sms_1", "status": "accepted"},
         {"id": "sms_1", "status": "rejected", "last_error": {"code": "recipient_opted_out"}},
         {"error": {"name": "ValidationError", "code": "E01001", "details": [{"param": "to"}]}}],
    ),
    "plivo": (
        [{"MessageUUID": "m-1", "Status": "undelivered", "ErrorCode": "50", "PartInfo": "1 of 2", "m": REF},
         {"MessageUUID": "m-1", "From": "16504661149", "To": "12025550123", "Text": "x", "Media0": "https://m"}],
        [{"message_uuid": ["m-1"]}, {"error": "x"}],
    ),
    "postmark": (
        [{"RecordType": "Bounce", "Type": "HardBounce", "MessageID": "m-1", "Email": "ana@example.com", "Metadata": {
            "dcbridge": REF}},
         {"RecordType": "SubscriptionChange", "SuppressSending": True, "SuppressionReason": "SpamComplaint",
          "Recipient": "ana@example.com", "Metadata": {"dcbridge": REF}}],
        [{"ErrorCode": 0, "MessageID": "m-1"}, {"ErrorCode": 406, "Message": "x"}],
    ),
    "sendgrid": (
        [[{"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 no", "dcbridge": REF,
           "sg_message_id": "m.1", "email": "ana@example.com"},
          {"event": "dropped", "reason": "Bounced Address", "dcbridge": REF, "sg_message_id": "m.1"}]],
        [{"errors": [{"field": "from", "message": "x"}]}],
    ),
    "ses": (
        [{"Type": "Notification", "TopicArn": TOPIC, "MessageId": "e", "Message": orjson.dumps(one).decode(),
          "SignatureVersion": "1", "Signature": "A" * 344, "Timestamp": "2026-11-26T12:00:00Z",
          "SigningCertURL": f"https://x/SimpleNotificationService-{'0' * 32}.pem"}
         for one in ({"eventType": "Bounce", "mail": {"messageId": "m-1", "destination": ["ana@example.com"], "tags": {
             "dcbridge": [REF[:-2]]}}, "bounce": {"bounceType": "Permanent", "bounceSubType": "General",
             "bouncedRecipients": [{"status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"}]}},)],
        [{"MessageId": "m-1"}, {"__type": "MessageRejected", "message": "x"}],
    ),
    "sinch": (
        [{"type": "recipient_delivery_report_sms", "batch_id": "m-1", "status": "Failed", "code": 417,
          "client_reference": REF},
         {"type": "mo_text", "id": "m-1", **ENDS, "body": "x"},
         {"type": "mo_media", "id": "m-1", **ENDS, "body": {"message": "x", "media": [{"url": "https://m"}]}}],
        [{"id": "m-1"}, {"code": "syntax_invalid_json", "text": "x"}],
    ),
    "smpp": ([], []),  # tests/providers/test_smpp.py damages units
    "smtp": ([{"x": "y"}], []),
    "telnyx": (
        [{"data": {"id": "e", "event_type": "message.finalized", "payload": {
            "id": "m-1", "to": [{"status": "sending_failed"}], "errors": [{"code": "40001"}]}}},
         {"data": {"id": "e", "event_type": "message.received", "payload": {
             "id": "m-1", "text": "x", "from": {"phone_number": "+16504661149"},
             "to": [{"phone_number": "+12025550123"}],
             "media": [{"url": "https://m.example/1"}]}}}],
        [{"data": {"id": "m-1"}}, {"errors": [{"code": "40001"}]}],
    ),
    "twilio": (
        [{"MessageSid": "SM" + "0" * 32, "MessageStatus": "failed", "ErrorCode": "30005"},
         {"MessageSid": "SM" + "0" * 32, "From": "+16504661149", "To": "+12025550123", "Body": "x", "MediaUrl0": "https://m"}],
        [{"sid": "SM1"}, {"code": 21211}],
    ),
    "vonage": (
        [{"messageId": "0A", "status": "failed", "err-code": "6", "client-ref": REF},
         {"messageId": "0A", "msisdn": "16504661149", "to": "12025550123", "text": "x", "concat-part": "1"},
         {"message_uuid": "a-1", **ENDS, "image": {"url": "https://m", "caption": "x"}},
         {"message_uuid": "a-1", "status": "rejected", "client_ref": REF, "error": {"type": "#1430"}}],
        [{"message_uuid": "a-1"}, {"type": "#1430"},
         {"messages": [{"status": "0", "message-id": "0A"}]}, {"messages": [{"status": "4"}]}],
    ),
}  # fmt: skip
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "1" * 400, "\x00", "é", "0", "-1", "message.read", "message.received"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn, good: Any) -> Any:
    """The same value with something in it replaced, or left out."""
    inner = list(good) if isinstance(good, dict) else range(len(good)) if isinstance(good, list) else ()
    if not inner or draw(st.integers(0, 2)) == 0:
        return draw(VALUES)
    at = draw(st.sampled_from(inner))
    if isinstance(good, dict) and draw(st.integers(0, 4)) == 0:
        return {name: value for name, value in good.items() if name != at}
    copy = dict(good) if isinstance(good, dict) else list(good)
    copy[at] = draw(damaged(good[at]))
    return copy


def written(value: Any, *, as_form: bool) -> bytes:
    if as_form and isinstance(value, dict):
        return str(httpx.QueryParams({name: str(one) for name, one in value.items()})).encode()
    return orjson.dumps(value)


HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "authorization", "telnyx-signature-ed25519", "telnyx-timestamp",
                     "x-twilio-signature", "x-acme-signature"]),
    st.lists(st.sampled_from(["application/json", "application/x-www-form-urlencoded", "Basic x", "0", "A" * 86 + "=="])
             | st.text(max_size=12), min_size=1, max_size=2).map(tuple),
)  # fmt: skip


def provider(name: str) -> Provider:
    kind = name.partition(",")[0]
    return build("acme", kind, KINDS[kind].fields_model.model_validate(FIELDS[name]), "https://bridge.example.com")


def test_every_kind_is_here() -> None:
    assert {name.partition(",")[0] for name in FIELDS} == set(KINDS)


@pytest.mark.parametrize(
    "name",
    [
        "africastalking",
        "azure-email",
        "clickatell",
        "azure-sms",
        "bandwidth",
        "infobip",
        "messagebird",
        "plivo",
        "sendgrid",
        "sinch",
        "telnyx",
        "twilio",
        "vonage",
    ],
)
@pytest.mark.parametrize(
    "url", ["https://a.example:99999", "https://a.example:x", "https://[::1", "https://a\x7f.example"]
)
def test_a_base_url_that_is_none_is_refused_at_the_start(name: str, url: str) -> None:
    with pytest.raises(ValidationError, match="is no URL"):
        KINDS[name].fields_model.model_validate({**FIELDS[name], "base_url": url})


@pytest.mark.parametrize("name", ["africastalking", "clickatell", "infobip", "messagebird", "telnyx"])
@pytest.mark.parametrize("key", ["k\n", " k", "k\r\nX-A: b", "\xa0k", "k\0"])
def test_a_key_that_fits_no_header_is_refused_at_the_start(name: str, key: str) -> None:
    """With one no request can be written; and what fails while it is written may have arrived."""
    with pytest.raises(ValidationError, match="printable ASCII on one line"):
        KINDS[name].fields_model.model_validate({**FIELDS[name], "api_key": key})


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"smpp"}))
def test_a_callback_of_any_form_is_refused_or_read_or_kept(name: str) -> None:
    ours = provider(name)

    @given(kind=st.sampled_from(sorted(ours.can.callbacks)), method=st.sampled_from(["POST", "POST", "POST", "GET"]),
           form=st.booleans(), value=st.sampled_from(GOOD[name][0]).flatmap(damaged), headers=HEADERS,
           raw=st.none() | st.none() | st.none() | st.binary(max_size=60),
           secret=st.sampled_from(["", PATH_SECRET, "é"]))  # fmt: skip
    def each(kind: Any, method: str, form: bool, value: Any, headers: Any, raw: bytes | None, secret: str) -> None:
        query = written(value, as_form=True) if method == "GET" and isinstance(value, dict) else b""
        body = written(value, as_form=form) if raw is None else raw
        if raw is None:
            headers = headers | {"content-type": (FORM if form else "application/json",)}
        url = f"https://bridge.example.com/callbacks/acme/{kind}?{query.decode()}"
        said = Callback(kind, method, url, query, headers, body if method == "POST" else b"", secret)
        with contextlib.suppress(BadSignature):
            ours.key_wanted(said)
        with contextlib.suppress(BadSignature):
            ours.verify(said)
        ours.follow(said)
        assert isinstance(ours.event_id(said), str)
        assert ours.callback_response(said).status == 200
        try:
            found = ours.parse_callback(said)
        except UnreadableEvent:
            return
        assert all(isinstance(one, ConsumerMessage | DeliveryUpdate | Unread) for one in found)
        assert all(one.sender.id and one.to.id for one in found if isinstance(one, ConsumerMessage))

    each()


@pytest.mark.parametrize("name", sorted(set(FIELDS) - {"smpp", "smtp"}))
def test_an_answer_of_any_form_is_accepted_or_an_error(name: str) -> None:
    ours = provider(name)

    @given(status=st.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 408, 409, 422, 429, 500, 503]),
           value=st.sampled_from(GOOD[name][1]).flatmap(damaged),
           wait=st.sampled_from([(), ("7",), ("soon",), ("9" * 400,)]))  # fmt: skip
    def each(status: int, value: Any, wait: tuple[str, ...]) -> None:
        answer = httpx.Response(status, content=orjson.dumps(value), headers=[("Retry-After", one) for one in wait])
        try:
            taken = ours.parse_response(answer)
        except SendError:
            return
        assert isinstance(taken, Submission)
        assert 200 <= status < 300

    each()


@pytest.mark.parametrize("name", FIELDS)
def test_any_text_is_a_request_that_a_second_attempt_repeats(name: str) -> None:
    ours = provider(name)
    wanted = "Email" if "email" in ours.can.channel_types else "Text"

    @given(text=st.text(max_size=400), to=st.sampled_from(["16504661149", "ana@example.com", "12345", "", "x" * 300]))
    def each(text: str, to: str) -> None:
        sender = Address("care@company.com" if wanted == "Email" else "12025550123")
        said = AgentMessage(
            "c", "m", sender, Address(to), (Address(to),), wanted, text, contents=(Content("text", text),)
        )
        try:
            parts = ours.parts(said)
            made = [ours.build_request(Turn(said, part, 1.7e9)) for part in parts]
        except SendError:
            return
        assert [part.text for part in ours.parts(said)] == [part.text for part in parts]
        for part, request in zip(parts, made, strict=True):
            again = provider(name).build_request(Turn(said, part, 1.7e9))
            if isinstance(request, httpx.Request):
                assert isinstance(again, httpx.Request)
                assert (again.method, again.url, again.headers.raw, again.content) == (
                    request.method, request.url, request.headers.raw, request.content
                )  # fmt: skip
            else:
                assert again == request

    each()
