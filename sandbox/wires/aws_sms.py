"""AWS' SMS and its SNS, stricter than AWS: an unknown field is refused, and so is an old signature.

https://docs.aws.amazon.com/pinpoint/latest/apireference_smsvoicev2/API_SendTextMessage.html
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import is_gsm7, measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.signatures import check_sigv4
from sandbox.wires.sns import Topic
from sandbox.world import World

FIELDS = {
    "DestinationPhoneNumber", "OriginationIdentity", "MessageBody", "ConfigurationSetName", "Context", "MessageType",
    "TimeToLive", "DestinationCountryParameters",
}  # fmt: skip
STATUSES = {"queued": "TEXT_QUEUED", "sent": "TEXT_SENT", "delivered": "TEXT_DELIVERED"}
ERRORS = {30005: "TEXT_INVALID", 30007: "TEXT_CARRIER_BLOCKED", 30008: "TEXT_UNKNOWN"}  # of an event
LONGEST = 1600  # characters


class AwsSmsWire(PlainWire):
    who = "AWS"
    login, proof = "signed", "signed"
    keeps_opt_outs = True
    send_path = "/aws/"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._topic = Topic(world, account.secrets["private_key"], account.secrets["topic_arn"], "/sns")

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def routes(self) -> Sequence[Route]:
        return self._topic.routes()

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
        kept = self.account.secrets
        signed = {"host", "x-amz-date", "x-amz-target"}
        check_sigv4(request, body, "sms-voice", kept["access_key_id"], kept["secret_access_key"], signed)

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
        return [self._topic.publish(sms.callback_url, message)]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        message = {
            "originationNumber": sent.sender, "destinationNumber": sent.to, "messageKeyword": "KEYWORD_1",
            "messageBody": sent.text, "previousPublishedMessageId": str(uuid.uuid4()), "inboundMessageId": sent.sid,
        }  # fmt: skip
        return [self._topic.publish(f"{self.world.config.bridge_url}/callbacks/{self.name}/events", message)]
