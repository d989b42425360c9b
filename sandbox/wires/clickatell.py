"""Clickatell's One API, stricter than Clickatell: an unknown field is refused, and so is a second message.

https://www.clickatell.com/developers/api-documentation/one-api-send-plain-text-message/
https://www.clickatell.com/developers/api-documentation/one-api-received-message-callback/
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping, Sequence

import orjson
from starlette.requests import Request

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

FIELDS = {"channel", "to", "from", "content", "clientMessageId"}
STATUSES = {"queued": (2, "QUEUED"), "sent": (4, "SENT_TO_SUPPLIER"), "delivered": (5, "DEVICE_ACK")}  # else 23
ERRORS = {30005: 29, 30007: 22, 30008: 23}  # statusCode of a report
# Of an answer: HTTP status and code. A rate limit is no 429.
CODES = {21610: (400, 26), 21211: (400, 25), 20429: (400, 43), 20500: (500, 18), 20003: (401, 1)}
LONGEST = 4  # SMS


class ClickatellWire(PlainWire):
    who = "Clickatell"
    login, proof = "API key", "secret in the path"
    send_path = "/v1/message"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        secret = account.secrets["callback_secret"]
        self._events = f"{world.config.bridge_url}/callbacks/{name}/events/{secret}"

    def new_id(self) -> str:
        return secrets.token_hex(16)

    def submitted(self, request: Request, body: bytes) -> Submitted:
        shown, key = request.headers.get("authorization", "").encode("latin-1"), self.account.secrets["api_key"]
        if not hmac.compare_digest(shown, key.encode()):
            raise RefusedError(401, 20003, "Invalid or missing Integration API Key")
        try:
            [message] = orjson.loads(body)["messages"]
            to, text, sender = message["to"], message["content"], message["from"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as wrong:
            raise RefusedError(400, 21, "Payload data is malformed") from wrong
        if request.headers.get("content-type", "") != "application/json" or set(message) - FIELDS:
            raise RefusedError(400, 23, "Invalid parameter")
        if not all(isinstance(one, str) for one in message.values()) or message["channel"] != "sms":
            raise RefusedError(400, 23, "Invalid parameter")
        if not E164.fullmatch(f"+{to}"):
            raise RefusedError(400, 21211, "Invalid recipient address")
        if not SENDER.fullmatch(sender) and not E164.fullmatch(f"+{sender}"):
            raise RefusedError(400, 45, "FROM number is not related to integration")
        if not text.strip() or measure(text)[1] > LONGEST:
            raise RefusedError(400, 100, "Maximum message parts exceeded")
        return Submitted(f"+{to}", sender, text, measure(text)[1], self._events, message.get("clientMessageId", ""))

    def error(self, code: int) -> str:
        return str(CODES[code][1] if code in CODES else ERRORS.get(code, 23))

    def taken(self, sms: Sms) -> Reply:
        return _reply(202, {"apiMessageId": sms.sid, "accepted": True, "to": sms.to[1:], "error": None})

    def refused(self, refused: RefusedError) -> Reply:
        http, number = CODES.get(refused.code, (refused.http, refused.code))
        error = {"code": number, "description": refused.message}
        if http in (401, 500):
            return Reply(http, orjson.dumps({"messages": [], "error": error}))
        return _reply(http, {"apiMessageId": None, "accepted": False, "to": "", "error": error})

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        number, word = STATUSES.get(status, (23, "DELIVERY_FAILURE"))
        update = {
            "channel": "sms", "messageId": sms.sid, "clientMessageId": sms.reference, "timestamp": _now(),
            "statusCode": int(self.error(error_code)) if error_code else number, "status": word,
        }  # fmt: skip
        return [self._call({"messageStatusUpdate": [update]})]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        text = {
            "channel": "sms", "messageId": sent.sid, "relatedMessageId": None, "relatedClientMessageId": None,
            "from": sent.sender[1:], "to": sent.to.removeprefix("+"), "timestamp": _now(), "content": sent.text,
            "charset": "UTF-8",
        }  # fmt: skip
        return [self._call({"moText": [text]})]

    def _call(self, event: Mapping[str, object]) -> Call:
        said = {"integrationId": "fa80908160", "integrationName": "My integration", "event": event}
        return Call(self._events, orjson.dumps(said), {"Content-Type": "application/json"}, tries=3)


def _reply(http: int, message: Mapping[str, object]) -> Reply:
    return Reply(http, orjson.dumps({"messages": [message], "error": None}))


def _now() -> int:
    return int(time.time() * 1000)
