"""Amazon SES and its topic, stricter than AWS: an unknown field is refused, and so is an old signature.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email import message_from_bytes

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import Account
from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply
from sandbox.wires.mail_base import Posted, mailbox, only
from sandbox.wires.signatures import check_sigv4
from sandbox.wires.sns import Topic
from sandbox.world import World

FIELDS = {"Destination", "Content", "EmailTags", "ConfigurationSetName"}
MOST_NOTIFIED = 150 << 10  # bytes of a mail that a notification can hold
MOST_OBJECTS = 20
_BUCKET = "/ses/bucket"
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_MESSAGE_ID = re.compile(rb"(?im)^message-id:.*\r\n")


class SesWire:
    who = "Amazon SES"
    login, proof = "signed", "signed"
    send_path = "/ses/v2/email/outbound-emails"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._topic = Topic(world, account.secrets["private_key"], account.secrets["topic_arn"], "/ses/sns")
        self._url = f"{world.config.bridge_url}/callbacks/{name}"
        self._bucket: OrderedDict[str, bytes] = OrderedDict()

    def new_id(self) -> str:
        return f"0100{secrets.token_hex(6)}-{secrets.token_hex(4)}-4444-8888-{secrets.token_hex(6)}-000000"

    def routes(self) -> Sequence[Route]:
        return (*self._topic.routes(), Route(_BUCKET + "/{key:path}", self._object, methods=["GET", "DELETE"]))

    async def _object(self, request: Request) -> Response:
        """Of the bucket in which a receipt rule puts mail."""
        kept, signed = self.account.secrets, {"host", "x-amz-content-sha256", "x-amz-date"}
        try:
            check_sigv4(request, b"", "s3", kept["access_key_id"], kept["secret_access_key"], signed)
        except RefusedError:
            return Response(b"<Error><Code>SignatureDoesNotMatch</Code></Error>", 403, media_type="application/xml")
        key = request.path_params["key"]
        if request.method == "DELETE":
            self.world.counts["bucket.deleted"] += 1
            self._bucket.pop(key, None)
            return Response(status_code=204)
        if key not in self._bucket:
            return Response(b"<Error><Code>NoSuchKey</Code></Error>", 404, media_type="application/xml")
        return Response(self._bucket[key], media_type="binary/octet-stream")

    def submitted(self, request: Request, body: bytes) -> Posted:
        kept = self.account.secrets
        signed = {"content-type", "host", "x-amz-date"}
        check_sigv4(request, body, "ses", kept["access_key_id"], kept["secret_access_key"], signed)
        said = only(orjson.loads(body), FIELDS, FIELDS)
        [to] = only(said["Destination"], {"ToAddresses"}, {"ToAddresses"})["ToAddresses"]
        raw = base64.b64decode(said["Content"]["Raw"]["Data"], validate=True)
        tags = {one["Name"]: [one["Value"]] for one in said["EmailTags"]}
        if not all(_TAG.fullmatch(one) for name, [value] in tags.items() for one in (name, value)):
            raise RefusedError(400, 400, "BadRequestException")
        sender = str(message_from_bytes(raw)["From"])
        sid = self.new_id()
        raw = _MESSAGE_ID.sub(f"Message-ID: <{sid}@eu-west-1.amazonses.com>\r\n".encode(), raw, count=1)
        return Posted(mailbox(to), sender, raw, orjson.dumps(tags).decode(), sid)

    def taken(self, mail: Mail) -> Reply:
        return Reply(200, orjson.dumps({"MessageId": mail.sid}))

    def refused(self, refused: RefusedError) -> Reply:
        word = {20429: "TooManyRequestsException", 20500: "InternalServiceErrorException"}.get(refused.code)
        word = word or (refused.message if refused.message.endswith("Exception") else "BadRequestException")
        headers = {"x-amzn-ErrorType": f"{word}:http://internal.amazon.com/coral/"}
        if refused.retry_after is not None:
            headers["Retry-After"] = str(refused.retry_after)
        return Reply(400 if refused.http == 413 else refused.http, orjson.dumps({"message": "no"}), headers)

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        address = mail.recipients[0].address
        about = _about(word, address)
        if about is None:
            return ()
        common = {
            "timestamp": _now(), "source": mail.mail_from, "messageId": mail.sid, "destination": [address],
            "tags": {"ses:configuration-set": ["dcbridge"], **orjson.loads(mail.reference)},
        }  # fmt: skip
        return [self._topic.publish(f"{self._url}/status", {**about, "mail": common})]

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        """Of a receipt rule whose action is the topic; of one whose action is the bucket, where a mail is too large."""
        said: dict[str, object] = {
            "notificationType": "Received", "mail": {"source": sender, "messageId": "x", "destination": [to]}
        }  # fmt: skip
        action: dict[str, object] = {"type": "SNS", "encoding": "BASE64", "topicArn": self.account.secrets["topic_arn"]}
        if len(raw) > MOST_NOTIFIED:
            key = f"inbound/{hashlib.sha256(raw).hexdigest()[:40]}"
            self._bucket[key] = raw
            while len(self._bucket) > MOST_OBJECTS:
                self._bucket.popitem(last=False)
            place = {"bucketName": "sandbox-mails", "objectKeyPrefix": "inbound", "objectKey": key}
            action = {"type": "S3", "topicArn": self.account.secrets["topic_arn"], **place}
        else:
            said["content"] = base64.b64encode(raw).decode()
        said["receipt"] = {"recipients": [to], "action": action}
        return self._topic.publish(f"{self._url}/inbound", said)


def _about(word: str, address: str) -> Mapping[str, object] | None:
    """What an event says beside the email; None for one that SES does not tell."""
    one = {"emailAddress": address}
    refused = {**one, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}
    policy = {**one, "action": "failed", "status": "5.7.1", "diagnosticCode": "smtp; 554 5.7.1 policy"}
    return {
        "processed": {"eventType": "Send", "send": {}},
        "deferred": {"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "TransientCommunicationFailure"}},
        "delivered": {"eventType": "Delivery", "delivery": {"recipients": [address], "smtpResponse": "250 OK"}},
        "bounce": _bounce("Permanent", "General", refused),
        "blocked": _bounce("Permanent", "General", policy),
        "suppressed": _bounce("Permanent", "OnAccountSuppressionList", one),
        "complaint": {"eventType": "Complaint", "complaint": {"complainedRecipients": [one]}},
        "unsubscribe": _bounce("Permanent", "UnsubscribedRecipient", one),
    }.get(word)


def _bounce(kind: str, subkind: str, recipient: Mapping[str, str]) -> Mapping[str, object]:
    said = {"bounceType": kind, "bounceSubType": subkind, "bouncedRecipients": [recipient]}
    return {"eventType": "Bounce", "bounce": said}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
