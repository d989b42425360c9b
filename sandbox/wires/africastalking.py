"""Africa's Talking, stricter than Africa's Talking: an unknown field is refused, and so is a second recipient.

https://developers.africastalking.com/docs/sms/sending/bulk
https://developers.africastalking.com/docs/sms/notifications
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

FIELDS = {"username", "to", "message", "bulkSMSMode", "from", "enqueue"}
FORM = "application/x-www-form-urlencoded"
STATUSES = {"queued": "Buffered", "sent": "Submitted", "delivered": "Success"}  # others: Failed
CODES = {21610: (406, "UserInBlacklist"), 21211: (403, "InvalidPhoneNumber")}  # of a recipient, in HTTP 201
ERRORS = {30005: "UserDoesNotExist", 30007: "DoNotDisturbRejection", 30008: "DeliveryFailure"}  # of a report
MOST_SEGMENTS = 6


class AfricasTalkingWire(PlainWire):
    who = "Africa's Talking"
    login, proof = "API key", "secret in the path"
    send_path = "/version1/messaging"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        secret = account.secrets["callback_secret"]
        urls = (f"{world.config.bridge_url}/callbacks/{name}/{kind}/{secret}" for kind in ("status", "inbound"))
        self._status_url, self._inbound_url = urls

    def new_id(self) -> str:
        return f"ATXid_{secrets.token_hex(16)}"

    def submitted(self, request: Request, body: bytes) -> Submitted:
        kept = self.account.secrets
        if not hmac.compare_digest(request.headers.get("apikey", "").encode("latin-1"), kept["api_key"].encode()):
            raise RefusedError(401, 20003, "The supplied authentication is invalid")
        if request.headers.get("content-type", "") != FORM or request.headers.get("accept", "") != "application/json":
            raise RefusedError(415, 415, "The request is a form, its answer JSON")
        pairs = parse_qsl(body.decode("ascii", "replace"), keep_blank_values=True, errors="strict")
        said = dict(pairs)
        if set(said) - FIELDS or len(said) != len(pairs):
            raise RefusedError(400, 400, "A field is unknown, or there twice")
        if said.get("username") != kept["username"]:
            raise RefusedError(401, 20003, "The supplied authentication is invalid")
        to, sender, text = (said.get(name, "") for name in ("to", "from", "message"))
        if not text.strip() or measure(text)[1] > MOST_SEGMENTS or said.get("bulkSMSMode") != "1":
            raise RefusedError(400, 400, "message is empty or too long, or no bulk message")
        if not SENDER.fullmatch(sender):
            raise RefusedError(201, 402, "InvalidSenderId")
        if not E164.fullmatch(to):
            raise RefusedError(201, 21211, "InvalidPhoneNumber")
        return Submitted(to, sender, text, measure(text)[1], self._status_url)

    def error(self, code: int) -> str:
        known = CODES.get(code)
        return str(known[0]) if known else ERRORS.get(code, "DeliveryFailure")

    def taken(self, sms: Sms) -> Reply:
        one = {"statusCode": 101, "number": sms.to, "status": "Success", "cost": "KES 0.8000", "messageId": sms.sid,
               "messageParts": sms.segments}  # fmt: skip
        return _reply("Sent to 1/1 Total Cost: KES 0.8000", one)

    def refused(self, refused: RefusedError) -> Reply:
        if refused.code in CODES:
            number, word = CODES[refused.code]
            one = {"statusCode": number, "number": "", "status": word, "cost": "0", "messageId": "None"}
            return _reply("Sent to 0/1 Total Cost: 0", one)
        if refused.http == 201:
            return _reply(refused.message)
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, refused.message.encode(), headers, "text/plain")

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        fields = {
            "id": sms.sid, "status": STATUSES.get(status, "Failed"), "phoneNumber": sms.to, "networkCode": "63902",
            "retryCount": "0",
        }  # fmt: skip
        return [_call(self._status_url, fields | ({"failureReason": self.error(error_code)} if error_code else {}))]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        fields = {
            "linkId": secrets.token_hex(8), "text": sent.text, "to": sent.to, "id": sent.sid, "from": sent.sender,
            "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "networkCode": "63902",
        }  # fmt: skip
        return [_call(self._inbound_url, fields)]


def _reply(sentence: str, *recipients: Mapping[str, object]) -> Reply:
    return Reply(201, orjson.dumps({"SMSMessageData": {"Message": sentence, "Recipients": recipients}}))


def _call(url: str, fields: Mapping[str, str]) -> Call:
    return Call(url, urlencode(fields).encode(), {"Content-Type": FORM}, tries=2)
