"""AWS: our requests and signatures against AWS' own library, every answer, every notification of SNS."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any

import httpx
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    OutcomeUnknown,
    Refused,
    RouteRefused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.aws_sms import AwsSms, AwsSmsFields
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.opt_outs import ListedOptOut
from tests.providers.recorder import recording

TOPIC, OTHER = "arn:aws:sns:eu-west-1:123456789012:sms", "arn:aws:sns:eu-west-1:123456789012:inbound"
TEXT = "Grüße & 1+1=2 €😀"
PEM = f"/SimpleNotificationService-{'0a' * 16}.pem"


def aws(**fields: object) -> AwsSms:
    given = {
        "region": "eu-west-1", "access_key_id": "AKIA1", "secret_access_key": "s/e+cret", "configuration_set": "events",
        "topic_arns": [TOPIC, OTHER], **fields,
    }  # fmt: skip
    return AwsSms("acme", AwsSmsFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


def request(ours: AwsSms) -> httpx.Request:
    said = message()
    return ours.build_request(Turn(said, ours.parts(said)[0], 0.0))


@pytest.mark.parametrize(
    "fields", [{}, {"message_type": "TRANSACTIONAL", "validity_period": 600}, {"session_token": "t/o+ken=="}]
)
def test_the_request_is_the_one_that_awss_library_writes(fields: dict[str, Any]) -> None:
    from botocore.session import get_session  # type: ignore[import-untyped]  # takes seconds, and ships no types

    said = message()
    with recording(lambda _: {"MessageId": "m-1"}) as (url, arrived):
        client = get_session().create_client(
            "pinpoint-sms-voice-v2", "eu-west-1", endpoint_url=url, aws_access_key_id="AKIA1",
            aws_secret_access_key="s/e+cret", aws_session_token=fields.get("session_token"),
        )  # fmt: skip
        more = {"MessageType": "TRANSACTIONAL", "TimeToLive": 600} if "message_type" in fields else {}
        made = client.send_text_message(
            DestinationPhoneNumber="+16504661149", OriginationIdentity="+12025550123", MessageBody=TEXT,
            ConfigurationSetName="events", Context={"dcbridge": f"{said.ref}.0"}, **more,
        )  # fmt: skip
        client.close()
        ours = aws(base_url=url, **fields)
        with httpx.Client() as http:
            answer = http.send(ours.login.signed(request(ours), 1_790_000_000.0))
        assert ours.parse_response(answer).provider_id == made["MessageId"] == "m-1"
    their, one = arrived
    assert (their.method, their.path, orjson.loads(their.body)) == (one.method, one.path, orjson.loads(one.body))
    for name in ("content-type", "x-amz-target", "x-amz-security-token"):
        assert one.headers.get(name) == their.headers.get(name)


def test_the_list_of_opt_outs_is_asked_for_and_read_as_awss_library_does() -> None:
    from botocore.session import get_session

    row = {"OptedOutNumber": "+16504661149", "OptedOutTimestamp": 1769781600.123, "EndUserOptedOut": True}
    pages = [{"OptedOutNumbers": [row], "NextToken": "to/ken=="}, {"OptedOutNumbers": [row]}]
    said = iter([*pages, *pages])
    with recording(lambda _: next(said)) as (url, arrived):
        client = get_session().create_client(
            "pinpoint-sms-voice-v2", "eu-west-1", endpoint_url=url, aws_access_key_id="AKIA1",
            aws_secret_access_key="s/e+cret",
        )  # fmt: skip
        made = [
            client.describe_opted_out_numbers(OptOutListName="Default", MaxResults=100, **more)
            for more in ({}, {"NextToken": "to/ken=="})
        ]
        client.close()
        ours, following, rows = aws(base_url=url), "", list[ListedOptOut]()
        listing = ours.opt_out_list
        assert listing is not None
        with httpx.Client() as http:
            for _ in pages:
                page = listing.parse_page(
                    http.send(ours.login.signed(listing.page_request(following), 1_790_000_000.0))
                )
                following = page.following
                rows += page.rows
    assert following == ""
    for their, one in zip(arrived[:2], arrived[2:], strict=True):
        assert (their.method, their.path, orjson.loads(their.body)) == (one.method, one.path, orjson.loads(one.body))
        for name in ("content-type", "x-amz-target"):
            assert one.headers.get(name) == their.headers.get(name)
    theirs = [one for page in made for one in page["OptedOutNumbers"]]
    assert [(one.number, one.at) for one in rows] == [
        (one["OptedOutNumber"], one["OptedOutTimestamp"].timestamp()) for one in theirs
    ]


@pytest.mark.parametrize("token", [None, "t/o+ken=="])
@pytest.mark.parametrize("body", [b"", b"{}", TEXT.encode()])
def test_a_signature_is_the_one_that_awss_library_makes(token: str | None, body: bytes) -> None:
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.credentials import Credentials  # type: ignore[import-untyped]

    ours = aws(session_token=token, base_url="https://x.example:8443/a-path")
    made = ours._posts.with_body(body)
    theirs = AWSRequest("POST", str(made.url), data=body, headers={
        "Content-Type": made.headers["content-type"], "X-Amz-Target": made.headers["x-amz-target"],
    })  # fmt: skip
    SigV4Auth(Credentials("AKIA1", "s/e+cret", token), "sms-voice", "eu-west-1").add_auth(theirs)
    moment = datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    signed = ours.login.signed(made, moment.timestamp())
    assert signed.headers["authorization"] == theirs.headers["Authorization"]
    assert signed.headers["x-amz-date"] == theirs.headers["X-Amz-Date"]


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = aws().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


@pytest.mark.parametrize(
    "fields",
    [{"region": "eu"}, {"region": "eu-west-1.evil.example/"}, {"topic_arns": []}, {"topic_arns": ["arn:aws:sqs:x"]},
     {"access_key_id": "a/b"}, {"configuration_set": "a b"}, {"session_token": "a\nb"}],
)  # fmt: skip
def test_fields_that_fit_no_request_are_refused_at_the_start(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        aws(**fields)


def wrong(kind: object, reason: object = None, *fields: object) -> dict[str, object]:
    said = {"__type": kind, "Message": "x"} | ({} if reason is None else {"Reason": reason})
    return said | ({"Fields": [{"Name": one} for one in fields]} if fields else {})


LONG = "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION"


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (400, wrong("ThrottlingException"), Throttled, Reason.RATE_LIMIT, "ThrottlingException"),
        (500, wrong("InternalServerException"), OutcomeUnknown, Reason.GENERAL, "InternalServerException"),
        (503, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
        (400, wrong("AccessDeniedException", "ACCOUNT_DISABLED"), AccountFault, Reason.GENERAL, "ACCOUNT_DISABLED"),
        (403, wrong("InvalidSignatureException"), AccountFault, Reason.GENERAL, "InvalidSignatureException"),
        (403, wrong("com.amazon.coral.service#UnrecognizedClientException"), AccountFault, Reason.GENERAL,
         "UnrecognizedClientException"),
        (400, wrong("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"), AccountFault,
         Reason.GENERAL, "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"),
        (400, wrong("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT"), Refused, Reason.NOT_ALLOWED,
         "DESTINATION_PHONE_NUMBER_OPTED_OUT"),
        (400, wrong("ConflictException", LONG), Refused, Reason.NOT_ALLOWED, LONG[:40]),
        (400, wrong("ConflictException", "RESOURCE_NOT_ACTIVE"), Refused, Reason.GENERAL, "RESOURCE_NOT_ACTIVE"),
        (400, wrong("ValidationException", "COUNTRY_NOT_ENABLED"), RouteRefused, Reason.NOT_ALLOWED,
         "COUNTRY_NOT_ENABLED"),
        (400, wrong("ValidationException", "OTHER"), Refused, Reason.INVALID_STRUCTURE, "ValidationException"),
        (400, wrong("ValidationException", "FIELD_VALIDATION_FAILED", "DestinationPhoneNumber"), Refused,
         Reason.INVALID_DESTINATION, "DestinationPhoneNumber"),
        (400, wrong("ValidationException", "FIELD_VALIDATION_FAILED", "MessageBody", "DestinationPhoneNumber"), Refused,
         Reason.INVALID_STRUCTURE, "FIELD_VALIDATION_FAILED"),
        (400, wrong("ResourceNotFoundException"), Refused, Reason.GENERAL, "ResourceNotFoundException"),
        (400, wrong(["x"], {"a": 1}), Refused, Reason.GENERAL, "HTTP 400"),
        (400, b"[" * 100_000, Refused, Reason.GENERAL, "HTTP 400"),
        (403, b"", AccountFault, Reason.GENERAL, "HTTP 403"),
        (200, {}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, {"MessageId": "a b"}, Unreadable, Reason.GENERAL, "HTTP 200"),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        aws().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- notifications


@cache
def key(number: int = 0) -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@cache
def certificate(number: int = 0, days: int = 30) -> bytes:
    """One that ends in `days`, which may be over."""
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key(number).public_key(), 1)
    made = made.not_valid_before(now - timedelta(days=90)).not_valid_after(now + timedelta(days=days))
    return made.sign(key(number), SHA256()).public_bytes(Encoding.PEM)


def callback(
    said: object = "x", *, kind: str = "Notification", version: str = "2", signer: int = 0, age: float = 0,
    proof: bytes | None = None, changed: dict[str, object] | None = None, **more: str,
) -> Callback:  # fmt: skip
    moment = (datetime.now(UTC) - timedelta(seconds=age)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = said if isinstance(said, str) else orjson.dumps(said).decode()
    signed = {"Type": kind, "MessageId": "e-1", "TopicArn": TOPIC, "Message": text, "Timestamp": moment, **more}
    lines = "".join(f"{name}\n{signed[name]}\n" for name in sorted(signed)).encode()
    signature = key(signer).sign(lines, PKCS1v15(), SHA1() if version == "1" else SHA256())  # noqa: S303
    whole: dict[str, object] = {
        **signed, "SignatureVersion": version, "Signature": base64.b64encode(signature).decode(),
        "SigningCertURL": f"https://sns.eu-west-1.amazonaws.com{PEM}", "UnsubscribeURL": "https://x.example",
    }  # fmt: skip
    body = orjson.dumps(whole | (changed or {}))
    proof = certificate(signer) if proof is None else proof
    return Callback("events", "POST", "https://bridge.example.com/callbacks/acme/events", b"", {}, body, key=proof)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "given", [{}, {"Subject": "S"}, {"kind": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "https://x"}]
)
def test_a_message_that_the_certificate_has_signed_is_believed(version: str, given: dict[str, Any]) -> None:
    said = callback("Grüße\n€", version=version, **given)
    wanted = aws().key_wanted(said)
    assert (wanted.method, str(wanted.url)) == ("GET", f"https://sns.eu-west-1.amazonaws.com{PEM}")
    aws().verify(said)
    for name in ("Message", "MessageId", "Timestamp", *given):
        if name != "kind":
            spoiled = orjson.loads(said.body) | {name: "other"}
            with pytest.raises(BadSignature, match="the certificate does not match"):
                aws().verify(replace(said, body=orjson.dumps(spoiled)))


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (partial(callback, signer=1, proof=b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"), "match"),
        (partial(callback, proof=b""), "match"),
        (partial(callback, proof=b"<html>"), "match"),
        (lambda: callback(proof=certificate(1)), "match"),
        (lambda: callback(proof=certificate(0, -1)), "match"),
        (partial(callback, version="3"), "of another version"),
        (partial(callback, age=90000), "too old or too new"),
        (partial(callback, age=-90000), "too old or too new"),
        (partial(callback, changed={"Signature": "A" * 344}), "match"),
        (partial(callback, changed={"Signature": 7}), "match"),
    ],
)
def test_a_message_that_proves_nothing_is_refused(wrong: Callable[[], Callback], kind: str) -> None:
    aws().verify(callback())
    with pytest.raises(BadSignature, match=kind):
        aws().verify(wrong())


@pytest.mark.parametrize("moment", ["", "soon", "9" * 40, "2026-13-01T00:00:00Z", "0001-01-01T00:00:00+23:59"])
def test_a_signed_time_that_is_none_is_refused(moment: str) -> None:
    with pytest.raises(BadSignature, match=r"no timestamp|too old"):
        aws().verify(callback(Timestamp=moment))


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"TopicArn": "arn:aws:sns:eu-west-1:999999999999:sms"}, "of another topic"),
        ({"TopicArn": [TOPIC]}, "of another topic"),
        ({"Type": "Other"}, "of another type"),
        ({"Signature": ""}, "not a signature"),
        ({"Signature": "A" * 20_000}, "not a signature"),
        ({"SigningCertURL": ""}, "not a certificate"),
        ({"SigningCertURL": "https://[::1"}, "not a certificate"),
        ({"SigningCertURL": "https://sns.eu-west-1.amazonaws.com/other.pem"}, "not a certificate"),
        ({"SigningCertURL": f"https://sns.eu-west-1.amazonaws.com/x/..{PEM}"}, "not a certificate"),
    ],
)
def test_nothing_is_fetched_for_a_message_that_is_not_ours(changed: dict[str, object], kind: str) -> None:
    with pytest.raises(BadSignature, match=kind):
        aws().key_wanted(callback(changed=changed))


@pytest.mark.parametrize("url", ["https://evil.example", "https://evil.example@sns.eu-west-1.amazonaws.com:1", "//x"])
def test_a_certificate_is_fetched_from_the_configured_host_whatever_the_message_names(url: str) -> None:
    said = callback(changed={"SigningCertURL": f"{url}{PEM}"})
    assert aws().key_wanted(said).url == f"https://sns.eu-west-1.amazonaws.com{PEM}"
    assert aws(sns_url="http://127.0.0.1:1/sns").key_wanted(said).url == f"http://127.0.0.1:1/sns{PEM}"


def test_a_subscription_is_confirmed_at_the_configured_host() -> None:
    evil = "https://evil.example/?Action=ConfirmSubscription"
    said = callback(kind="SubscriptionConfirmation", Token="a1b2", SubscribeURL=evil)
    follows = aws().follow(said)
    assert follows is not None
    assert (follows.method, follows.url.host, follows.url.path) == ("GET", "sns.eu-west-1.amazonaws.com", "/")
    assert dict(follows.url.params) == {"Action": "ConfirmSubscription", "TopicArn": TOPIC, "Token": "a1b2"}
    assert aws().parse_callback(said) == ()
    assert aws().follow(callback()) is None
    for token in ("", "a b", "x" * 3000):
        assert aws().follow(callback(kind="SubscriptionConfirmation", Token=token, SubscribeURL=evil)) is None


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


def event(word: object, **changes: object) -> dict[str, object]:
    usual = {
        "eventType": word, "eventVersion": "1.0", "isFinal": True, "messageId": "m-1", "messageStatus": "x",
        "destinationPhoneNumber": "+16504661149", "context": {"dcbridge": f"{message().ref}.0"},
        "totalMessageParts": 1, "totalMessagePrice": 0.00581,
    }  # fmt: skip
    return usual | changes


@pytest.mark.parametrize(
    ("word", "becomes", "reason"),
    [
        *((word, S, None) for word in ("TEXT_PENDING", "TEXT_QUEUED", "TEXT_SENT", "TEXT_SUCCESSFUL", "TEXT_TOMORROW")),
        ("TEXT_DELIVERED", D, None),
        *(
            (f"TEXT_{word}", F, Reason.INVALID_DESTINATION)
            for word in ("INVALID", "UNREACHABLE", "CARRIER_UNREACHABLE")
        ),
        *(
            (f"TEXT_{word}", F, Reason.NOT_ALLOWED)
            for word in ("BLOCKED", "CARRIER_BLOCKED", "SPAM", "PROTECT_BLOCKED")
        ),
        ("TEXT_INVALID_MESSAGE", F, Reason.INVALID_STRUCTURE),
        ("TEXT_TTL_EXPIRED", F, Reason.EXPIRED),
        ("TEXT_UNKNOWN", F, Reason.GENERAL),
    ],
)
def test_what_an_event_says(word: str, becomes: UpdateStatus, reason: Reason | None) -> None:
    [update] = aws().parse_callback(callback(event(word)))
    assert update == DeliveryUpdate("acme", "m-1", becomes, message().ref, 0, reason, word if becomes is F else "")


def test_successful_is_what_the_operator_says() -> None:
    [update] = aws(successful_is="delivered").parse_callback(callback(event("TEXT_SUCCESSFUL")))
    assert isinstance(update, DeliveryUpdate)
    assert update.status is D


@pytest.mark.parametrize("context", [None, {}, "x", {"dcbridge": "of another system"}, {"dcbridge": 7}])
def test_a_context_of_another_system_names_none_of_our_messages(context: object) -> None:
    [update] = aws().parse_callback(callback(event("TEXT_SENT", context=context)))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part, update.provider_id) == ("", 0, "m-1")


RECEIVED = {
    "originationNumber": "+16504661149", "destinationNumber": "+12025550123", "messageKeyword": "KEYWORD_1",
    "messageBody": "yes ü €😀", "previousPublishedMessageId": "p-1", "inboundMessageId": "m-2",
}  # fmt: skip


def test_what_a_consumer_wrote() -> None:
    ends = Address("16504661149"), Address("+12025550123")
    said = callback(RECEIVED)
    assert aws().parse_callback(said) == [ConsumerMessage("acme", "m-2", *ends, "yes ü €😀")]
    assert aws().event_id(said) == "e-1"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (callback("no JSON"), "no id or no text"),
        (callback({**RECEIVED, "messageBody": None}), "no id or no text"),
        (callback({**RECEIVED, "originationNumber": ""}), "no From"),
        (callback(event("TEXT_SENT", messageId="a b")), "no event"),
        (callback(event(["x"])), "no event"),
        (callback(kind="UnsubscribeConfirmation", Token="t", SubscribeURL="u"), "the subscription was cancelled"),
    ],
)
def test_a_notification_that_cannot_be_read_is_kept(said: Callback, kind: str) -> None:
    with pytest.raises(UnreadableEvent, match=kind):
        aws().parse_callback(said)
