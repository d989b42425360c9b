"""Bandwidth, stricter than Bandwidth: an unknown field is refused, and so is a second recipient.

https://dev.bandwidth.com/apis/messaging-apis/messaging/
https://dev.bandwidth.com/docs/messaging/webhooks/
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.media import ConsumerFiles, urls
from sandbox.wires.tokens import Tokens
from sandbox.world import World

FIELDS = {"applicationId", "to", "from", "text", "media", "tag", "priority", "expiration"}
STATUSES = {"queued": "message-sending", "sent": "message-sent", "delivered": "message-delivered"}  # else -failed
ERRORS = {30005: 4720, 30007: 4770, 30008: 4701, 21610: 4775}  # of a report
TYPES = {400: "request-validation", 401: "unauthorized", 415: "unsupported-media-type", 429: "too-many-requests"}
LONGEST = 2048  # characters


class BandwidthWire(PlainWire):
    who = "Bandwidth"
    login, proof = "token", "password"
    carries_media = True
    reports_later: Collection[int] = (21610,)

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        kept = account.secrets
        self.send_path = f"/api/v2/users/{kept['account_id']}/messages"
        self._application = kept["application_id"]
        self._tokens = Tokens("/api/v1/oauth2/token", kept["client_id"], kept["client_secret"])
        files = f"/api/v2/users/{kept['account_id']}/media"
        self._files = ConsumerFiles(world, self.who, files, self._tokens.good)
        self._password = base64.b64encode(f"bandwidth:{kept['callback_secret']}".encode()).decode()

    def new_id(self) -> str:
        return secrets.token_hex(14)

    def routes(self) -> Sequence[Route]:
        return (self._tokens.route, self._files.route)

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not self._tokens.good(request):
            raise RefusedError(401, 20003, "Access is denied")
        if request.headers.get("content-type", "") != "application/json":
            raise RefusedError(415, 415, "The body is application/json")
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 400, "The body is JSON") from wrong
        if not isinstance(said, dict) or set(said) - FIELDS or said.get("applicationId") != self._application:
            raise RefusedError(400, 400, "An object of known fields, for this application")
        to, sender, text, media = said.get("to"), said.get("from"), said.get("text", ""), urls(said.get("media", []))
        if not isinstance(text, str) or not (text.strip() or media) or len(text) > LONGEST:
            raise RefusedError(400, 400, "text has 1 to 2048 characters")
        if not isinstance(to, list) or len(to) != 1 or not isinstance(to[0], str) or not E164.fullmatch(to[0]):
            raise RefusedError(400, 21211, "to is one number")
        if not isinstance(sender, str) or not SENDER.fullmatch(sender):
            raise RefusedError(400, 400, "from is a number or a name")
        tag = said.get("tag", "")
        if not isinstance(tag, str) or len(tag) > 1024:
            raise RefusedError(400, 400, "tag has up to 1024 characters")
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return Submitted(to[0], sender, text, measure(text)[1], url, tag, media=media)

    def error(self, code: int) -> str:
        return str(ERRORS.get(code, 4701))

    def taken(self, sms: Sms) -> Reply:
        return Reply(202, orjson.dumps(self._message(sms)))

    def refused(self, refused: RefusedError) -> Reply:
        body: dict[str, object] = {"type": TYPES.get(refused.http, "server-error"), "description": refused.message}
        if refused.code == 21211:
            body["fieldErrors"] = [{"fieldName": "to[0]", "description": refused.message}]
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps(body), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        event: dict[str, object] = {
            "type": STATUSES.get(status, "message-failed"),
            "time": _now(),
            "description": status,
            "to": sms.to,
            "message": self._message(sms),
        }
        if error_code:
            event["errorCode"] = int(self.error(error_code))
        return [self._call(sms.callback_url, event)]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        message = {
            "id": sent.sid, "owner": sent.to, "applicationId": self._application, "time": _now(),
            "segmentCount": measure(sent.text)[1], "direction": "in", "to": [sent.to], "from": sent.sender,
            "text": sent.text,
        }  # fmt: skip
        if sent.files:
            message["media"] = [url for url, _ in self._files.of(sent)]
        event = {"type": "message-received", "time": _now(), "description": "Incoming message received", "to": sent.to,
                 "message": message}  # fmt: skip
        return [self._call(f"{self.world.config.bridge_url}/callbacks/{self.name}/events", event)]

    def _message(self, sms: Sms) -> dict[str, object]:
        return {
            "id": sms.sid, "owner": sms.sender, "applicationId": self._application, "time": _now(),
            "segmentCount": sms.segments, "direction": "out", "to": [sms.to], "from": sms.sender, "tag": sms.reference,
        }  # fmt: skip

    def _call(self, url: str, event: Mapping[str, object]) -> Call:
        headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Basic {self._password}"}
        return Call(url, orjson.dumps([event]), headers, tries=3)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
