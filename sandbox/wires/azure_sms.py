"""Azure's SMS, stricter than Azure: an unknown field is refused, and so is a second recipient or an old signature.

https://learn.microsoft.com/en-us/rest/api/communication/sms/sms/send
https://learn.microsoft.com/en-us/azure/event-grid/communication-services-telephony-sms-events
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import orjson
from starlette.requests import Request

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.signatures import OLDEST, check_azure
from sandbox.world import World

FIELDS, RECIPIENT = (
    {"from", "smsRecipients", "message", "smsSendOptions"},
    {"to", "repeatabilityRequestId", "repeatabilityFirstSent"},
)
ERRORS = {30005: 4004, 30007: 4005, 30008: 9999, 21610: 4007}  # of a report
REPEATED = 202  # of a request that was accepted before
LONGEST = 2048  # characters


class AzureSmsWire(PlainWire):
    who = "Azure"
    login, proof = "signed", "secret in the path"
    keeps_opt_outs = True
    reports_later: Collection[int] = (21610,)
    send_path = "/sms"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._key = base64.b64decode(account.secrets["access_key"])
        config = world.config
        self._events = f"{config.bridge_url}/callbacks/{name}/events/{account.secrets['callback_secret']}"

    def new_id(self) -> str:
        return f"Outgoing_{datetime.now(UTC):%Y%m%d%H%M}{uuid.uuid4()}"

    def submitted(self, request: Request, body: bytes) -> Submitted:
        check_azure(request, body, self._key)
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 400, "The body is JSON") from wrong
        if request.url.query != "api-version=2021-03-07" or not isinstance(said, dict) or set(said) - FIELDS:
            raise RefusedError(400, 400, "An object of known fields, for a known version")
        recipients, options = said.get("smsRecipients"), said.get("smsSendOptions", {})
        one = recipients[0] if isinstance(recipients, list) and len(recipients) == 1 else None
        if not isinstance(one, dict) or set(one) - RECIPIENT or not isinstance(options, dict):
            raise RefusedError(400, 400, "One recipient of known fields")
        text, sender, to = said.get("message"), said.get("from"), one.get("to")
        if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
            raise RefusedError(400, 400, "message has 1 to 2048 characters")
        if not isinstance(to, str) or not E164.fullmatch(to):
            raise RefusedError(202, 21211, "Invalid To phone number format.")
        if not isinstance(sender, str) or not SENDER.fullmatch(sender):
            raise RefusedError(400, 400, "from is a number or a name")
        key, tag = str(uuid.UUID(one["repeatabilityRequestId"])), options.get("tag", "")
        if abs(time.time() - parsedate_to_datetime(one["repeatabilityFirstSent"]).timestamp()) > OLDEST:
            raise RefusedError(202, 412, "repeatabilityFirstSent is too long ago")
        for sms in self.world.sms_by_number.get(to, ()):
            if sms.provider == self.name and sms.reference.partition(" ")[0] == key:
                raise RefusedError(202, REPEATED, sms.sid)
        url = self._events if options.get("enableDeliveryReport") is True else ""
        return Submitted(to, sender, text, measure(text)[1], url, f"{key} {tag}")

    def error(self, code: int) -> str:
        return str(ERRORS.get(code, 9999))

    def taken(self, sms: Sms) -> Reply:
        return _item(sms.sid, 202, None, "accepted")

    def refused(self, refused: RefusedError) -> Reply:
        if refused.code == REPEATED:
            return _item(refused.message, 202, None, "accepted")
        if refused.http == 202 or refused.code == 21211:
            status = 400 if refused.code == 21211 else refused.code
            return _item(None, status, refused.message, "rejected" if status == 412 else None)
        word = {401: "Denied", 429: "TooManyRequests"}.get(refused.http, "BadRequest")
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps({"error": {"code": word, "message": refused.message}}), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        """Azure reports the end of a message, and nothing before it."""
        if not sms.callback_url or status in ("queued", "sent"):
            return ()
        delivered = status == "delivered"
        details = "No error." if delivered else f"{self.error(error_code or 30008)}: not delivered"
        attempt = {"timestamp": _now(), "segmentsSucceeded": sms.segments if delivered else 0, "segmentsFailed": 0}
        data = {
            "messageId": sms.sid, "from": sms.sender.removeprefix("+"), "to": sms.to,
            "deliveryStatus": "Delivered" if delivered else "Failed", "deliveryStatusDetails": details,
            "receivedTimestamp": _now(), "deliveryAttempts": [attempt], "Tag": sms.reference.partition(" ")[2],
        }  # fmt: skip
        return [self._call("SMSDeliveryReportReceived", sms.to, data, f"{sms.sid}-{len(sms.statuses)}")]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        data = {"from": sent.sender, "to": sent.to, "message": sent.text, "receivedTimestamp": _now()}
        return [self._call("SMSReceived", sent.to, data, sent.sid)]

    def _call(self, kind: str, number: str, data: Mapping[str, object], event_id: str) -> Call:
        event = {
            "id": event_id, "topic": "/subscriptions/sandbox", "subject": f"/phonenumber/{number.removeprefix('+')}",
            "data": data, "eventType": f"Microsoft.Communication.{kind}", "dataVersion": "1.0", "metadataVersion": "1",
            "eventTime": _now(),
        }  # fmt: skip
        headers = {"Content-Type": "application/json; charset=utf-8", "aeg-event-type": "Notification"}
        return Call(self._events, orjson.dumps([event]), headers, tries=3)


def _item(message_id: str | None, status: int, error: str | None, repeatability: str | None) -> Reply:
    item = {
        "to": "+0", "messageId": message_id, "httpStatusCode": status, "successful": message_id is not None,
        "errorMessage": error, "repeatabilityResult": repeatability,
    }  # fmt: skip
    return Reply(202, orjson.dumps({"value": [item]}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
