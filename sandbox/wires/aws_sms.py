"""AWS' SMS and its SNS, stricter than AWS: an unknown field is refused, and so is an old signature.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import is_gsm7, measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

FIELDS = {
    "DestinationPhoneNumber", "OriginationIdentity", "MessageBody", "ConfigurationSetName", "Context", "MessageType",
    "TimeToLive",
}  # fmt: skip
STATUSES = {"queued": "TEXT_QUEUED", "sent": "TEXT_SENT", "delivered": "TEXT_DELIVERED"}
ERRORS = {30005: "TEXT_INVALID", 30007: "TEXT_CARRIER_BLOCKED", 30008: "TEXT_UNKNOWN"}  # of an event
LONGEST, OLDEST = 1600, 300  # characters; seconds
_SHOWN = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/(\d{8}/[a-z0-9-]+/sms-voice/aws4_request),"
    r" SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


class AwsSmsWire(PlainWire):
    who = "AWS"
    login, proof = "signed", "signed"
    keeps_opt_outs = True
    send_path = "/aws/"

    def __init__(self, world: World, name: str, account: Account) -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.world, self.name, self.account = world, name, account
        key = load_pem_private_key(account.secrets["private_key"].encode(), None)
        assert isinstance(key, RSAPrivateKey)
        self._key, self._topic = key, account.secrets["topic_arn"]
        self._certificate = f"/SimpleNotificationService-{hashlib.md5(self._pem()).hexdigest()}.pem"  # noqa: S324

    def _pem(self) -> bytes:
        """A certificate of its own, the same each time."""
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import Encoding

        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        made = x509.CertificateBuilder(name, name, self._key.public_key(), 1)
        dated = made.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
            datetime(2090, 1, 1, tzinfo=UTC)
        )
        return dated.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def routes(self) -> Sequence[Route]:
        return (Route("/sns" + self._certificate, self._give, methods=["GET"]), Route("/sns/", self._confirmed))

    async def _give(self, request: Request) -> Response:
        return Response(self._pem(), media_type="application/x-pem-file")

    async def _confirmed(self, request: Request) -> Response:
        right = request.query_params.get("Action") == "ConfirmSubscription" and request.query_params.get("Token")
        self.world.counts["sns.confirmed"] += 1 if right else 0
        return Response(b"<ConfirmSubscriptionResponse/>", 200 if right else 400, media_type="text/xml")

    def listed(self, request: Request, body: bytes) -> Reply | None:
        """https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_DescribeOptedOutNumbers.html"""
        if request.headers.get("x-amz-target") != "PinpointSMSVoiceV2.DescribeOptedOutNumbers":
            return None
        try:
            self._check(request, body)
            said = orjson.loads(body)
            known = isinstance(said, dict) and not set(said) - {"OptOutListName", "MaxResults", "NextToken"}
            first, most = (int(said.get("NextToken", "0")), said.get("MaxResults", 100)) if known else (0, 0)
        except RefusedError as refused:
            return self.refused(refused)
        except ValueError:
            known, first, most = False, 0, 0
        if not known or not isinstance(most, int) or not 1 <= most <= 100:
            return self.refused(RefusedError(400, 400, "ValidationException"))
        if said.get("OptOutListName") != "Default":
            return self.refused(RefusedError(400, 400, "ResourceNotFoundException"))
        numbers = sorted(number for name, number in self.world.opted_out if name == self.name)
        rows = [
            {"OptedOutNumber": number, "OptedOutTimestamp": round(time.time(), 3), "EndUserOptedOut": True}
            for number in numbers[first : first + most]
        ]
        more = {"NextToken": str(first + most)} if first + most < len(numbers) else {}
        answer = {"OptOutListName": "Default", "OptedOutNumbers": rows, **more}
        return Reply(200, orjson.dumps(answer), content_type="application/x-amz-json-1.0")

    def submitted(self, request: Request, body: bytes) -> Submitted:
        self._check(request, body)
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 400, "SerializationException") from wrong
        if request.headers.get("x-amz-target") != "PinpointSMSVoiceV2.SendTextMessage":
            raise RefusedError(400, 400, "UnknownOperationException")
        if not isinstance(said, dict) or set(said) - FIELDS or not said.get("ConfigurationSetName"):
            raise RefusedError(400, 400, "ValidationException")
        to, sender, text = (
            str(said.get(one, "")) for one in ("DestinationPhoneNumber", "OriginationIdentity", "MessageBody")
        )
        if not E164.fullmatch(to):
            raise RefusedError(400, 21211, "not a number")
        if not SENDER.fullmatch(sender) or not text.strip() or len(text) > LONGEST:
            raise RefusedError(400, 400, "ValidationException")
        context = said.get("Context", {})
        if not isinstance(context, dict) or len(context) > 5 or any(len(str(one)) > 800 for one in context.values()):
            raise RefusedError(400, 400, "ValidationException")
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return Submitted(to, sender, text, measure(text)[1], url, orjson.dumps(context).decode())

    def _check(self, request: Request, body: bytes) -> None:
        """The signature, as it was made."""
        shown = _SHOWN.fullmatch(request.headers.get("authorization", ""))
        if shown is None:
            raise RefusedError(403, 20003, "MissingAuthenticationTokenException")
        key_id, scope, names, given = shown.groups()
        lines = "".join(f"{name}:{request.headers.get(name, '')}\n" for name in names.split(";"))
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"{request.method}\n{request.url.path}\n{request.url.query}\n{lines}\n{names}\n{digest}"
        moment = request.headers.get("x-amz-date", "")
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.account.secrets['secret_access_key']}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), "sha256")
        right = hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given)
        old = abs(time.time() - datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) > OLDEST
        whole = {"host", "x-amz-date", "x-amz-target"} <= set(names.split(";"))
        if not right or old or not whole or key_id != self.account.secrets["access_key_id"]:
            raise RefusedError(403, 20003, "InvalidSignatureException")

    def error(self, code: int) -> str:
        return ERRORS.get(code, "TEXT_UNKNOWN")

    def taken(self, sms: Sms) -> Reply:
        return Reply(200, orjson.dumps({"MessageId": sms.sid}), content_type="application/x-amz-json-1.0")

    def refused(self, refused: RefusedError) -> Reply:
        http = refused.http
        said: dict[str, object] = {"__type": refused.message, "Message": refused.message}
        if refused.code == 21610:
            said = {"__type": "ConflictException", "Reason": "DESTINATION_PHONE_NUMBER_OPTED_OUT", "Message": "x"}
        elif refused.code == 21211:
            named = [{"Name": "DestinationPhoneNumber", "Message": "x"}]
            said = {"__type": "ValidationException", "Reason": "FIELD_VALIDATION_FAILED", "Fields": named}
        elif refused.code in (20429, 20500):
            http = 400 if refused.code == 20429 else 500
            said = {"__type": "ThrottlingException" if http == 400 else "InternalServerException", "Message": "x"}
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(http, orjson.dumps(said), headers, "application/x-amz-json-1.0")

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        event = STATUSES.get(status) or self.error(error_code or 30008)
        message = {
            "eventType": event, "eventVersion": "1.0", "eventTimestamp": int(time.time() * 1000),
            "isFinal": status not in ("queued", "sent"), "originationPhoneNumber": sms.sender,
            "destinationPhoneNumber": sms.to, "isoCountryCode": "US", "messageId": sms.sid,
            "messageRequestTimestamp": int(sms.at * 1000), "messageEncoding": "GSM" if is_gsm7(sms.body) else "Unicode",
            "messageType": "TRANSACTIONAL", "messageStatus": event.removeprefix("TEXT_"),
            "messageStatusDescription": "sandbox", "context": orjson.loads(sms.reference),
            "totalMessageParts": sms.segments, "totalMessagePrice": 0.00581 * sms.segments, "totalCarrierFee": 0.0,
        }  # fmt: skip
        return [self._call(sms.callback_url, message)]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        message = {
            "originationNumber": sent.sender, "destinationNumber": sent.to, "messageKeyword": "KEYWORD_1",
            "messageBody": sent.text, "previousPublishedMessageId": str(uuid.uuid4()), "inboundMessageId": sent.sid,
        }  # fmt: skip
        return [self._call(f"{self.world.config.bridge_url}/callbacks/{self.name}/events", message)]

    def _call(self, url: str, message: Mapping[str, object]) -> Call:
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        said = {
            "Type": "Notification", "MessageId": str(uuid.uuid4()), "TopicArn": self._topic,
            "Message": orjson.dumps(message).decode(),
            "Timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }  # fmt: skip
        text = "".join(f"{name}\n{said[name]}\n" for name in sorted(said))
        signature = base64.b64encode(self._key.sign(text.encode(), PKCS1v15(), SHA256())).decode()
        certificate = f"https://sns.eu-west-1.amazonaws.com{self._certificate}"
        whole = {**said, "SignatureVersion": "2", "Signature": signature, "SigningCertURL": certificate}
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification"}
        return Call(url, orjson.dumps(whole), headers, tries=3)
