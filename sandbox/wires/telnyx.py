"""Telnyx, stricter than Telnyx: an unknown field is refused.

https://developers.telnyx.com/api/messaging/send-message
https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
"""

from __future__ import annotations

import base64
import hmac
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
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

FIELDS = {"from", "to", "text", "messaging_profile_id", "webhook_url", "type", "encoding", "use_profile_webhooks"}
STATUSES = {"queued": "queued", "sent": "sent", "delivered": "delivered", "failed": "sending_failed"}
ERRORS = {30005: "40001", 30007: "40003", 30008: "40008"}  # of a report
# Of an answer: HTTP status and code.
CODES = {21610: (400, "40300"), 21211: (422, "40310"), 20429: (429, "10011"), 20500: (500, "10007")}
LONGEST = 10  # SMS
PROFILE = "4001707c-0000-4000-8000-000000000001"
JSON = "application/json"


class TelnyxWire(PlainWire):
    who = "Telnyx"
    login, proof = "API key", "signed"
    keeps_opt_outs = True
    carries_media = True
    send_path = "/v2/messages"

    def __init__(self, world: World, name: str, account: Account) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self.world, self.name, self.account = world, name, account
        self._authorization = f"Bearer {account.secrets['api_key']}".encode()
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(account.secrets["private_key"]))

        ours = f"{world.config.public_url or world.config.bridge_url}/callbacks/{name}/events"
        self.profile: dict[str, object] = {
            "record_type": "messaging_profile", "id": PROFILE, "name": "Sandbox", "enabled": True, "webhook_url": ours,
            "webhook_failover_url": "", "webhook_api_version": "2", "whitelisted_destinations": ["*"],
        }  # fmt: skip

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def routes(self) -> Sequence[Route]:
        return [
            Route("/telnyx-media/{file_id}", self.file, methods=["GET"]),
            Route("/v2/messaging_optouts", self.opt_outs, methods=["GET"]),
            Route("/v2/phone_numbers/messaging", self.numbers, methods=["GET"]),
            Route("/v2/messaging_profiles/{profile}", self.messaging_profile, methods=["GET", "PATCH"]),
        ]

    async def opt_outs(self, request: Request) -> Response:
        """https://developers.telnyx.com/api-reference/opt-out-management/list-opt-outs"""
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            return Response(b'{"errors": [{"code": "10009"}]}', 401)
        page, size = (request.query_params.get(f"page[{name}]", "") for name in ("number", "size"))
        right = set(request.query_params) <= {"page[number]", "page[size]"} and page.isdecimal() and size.isdecimal()
        if not right or not 1 <= int(size) <= 250 or int(page) < 1:
            return Response(b'{"errors": [{"code": "10015"}]}', 400)
        numbers = sorted(number for name, number in self.world.opted_out if name == self.name)
        first, now = (int(page) - 1) * int(size), datetime.now(UTC).isoformat()
        rows = [
            {"to": number, "from": None, "messaging_profile_id": None, "keyword": "STOP", "created_at": now}
            for number in numbers[first : first + int(size)]
        ]
        pages = -(-len(numbers) // int(size))
        meta = {"page_number": int(page), "page_size": int(size), "total_results": len(numbers), "total_pages": pages}
        return Response(orjson.dumps({"data": rows, "meta": meta}), media_type="application/json")

    async def numbers(self, request: Request) -> Response:
        """https://developers.telnyx.com/api-reference/phone-number-configurations"""
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            return Response(b'{"errors": [{"code": "10009"}]}', 401)
        if not set(request.query_params) <= {"filter[phone_number]", "page[number]", "page[size]"}:
            return Response(b'{"errors": [{"code": "10015"}]}', 400)
        number, wanted = self.account.number, request.query_params.get("filter[phone_number]", "")
        row = {"record_type": "messaging_settings", "id": "1", "phone_number": number, "messaging_profile_id": PROFILE,
               "messaging_product": "A2P", "type": "longcode"}  # fmt: skip
        rows = [row] if wanted in ("", number) and request.query_params.get("page[number]", "1") == "1" else []
        meta = {"page_number": 1, "page_size": 20, "total_pages": 1, "total_results": len(rows)}
        return Response(orjson.dumps({"data": rows, "meta": meta}), media_type=JSON)

    async def messaging_profile(self, request: Request) -> Response:
        """https://developers.telnyx.com/api-reference/profiles, with PATCH to change it."""
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            return Response(b'{"errors": [{"code": "10009"}]}', 401)
        if request.path_params["profile"] != PROFILE:
            return Response(b'{"errors": [{"code": "10005"}]}', 404)
        changes = orjson.loads(await request.body()) if request.method == "PATCH" else {}
        if not isinstance(changes, dict) or not set(changes) <= set(self.profile):
            return Response(b'{"errors": [{"code": "10015"}]}', 422)
        self.profile |= changes
        return Response(orjson.dumps({"data": self.profile}), media_type=JSON)

    async def file(self, request: Request) -> Response:
        """A consumer's file. Telnyx asks for no login: its links are secret."""
        file = self.world.files.get(request.path_params["file_id"])
        return Response(status_code=404) if file is None else Response(file.data, media_type=file.mimetype)

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise RefusedError(401, 10009, "Authentication failed")
        if request.headers.get("content-type", "") != "application/json":
            raise RefusedError(415, 10004, "The body is application/json")
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 10015, "The body is JSON") from wrong
        media = said.pop("media_urls", []) if isinstance(said, dict) else None
        if not isinstance(media, list) or not all(isinstance(url, str) for url in media) or len(media) > 10:
            raise RefusedError(400, 10015, "media_urls is a list of at most 10 URLs")
        if set(said) - FIELDS or not all(isinstance(one, str) for one in said.values()):
            raise RefusedError(400, 10015, "An object of known fields")
        if media and said.get("type") != "MMS":
            raise RefusedError(422, 10004, "media_urls go with the type MMS")
        if not said.get("text") and not media:
            raise RefusedError(422, 10004, "text is required")
        if not E164.fullmatch(said.get("to", "")):
            raise RefusedError(422, 40310, "Invalid 'to' address")
        if not SENDER.fullmatch(said.get("from", "")):
            raise RefusedError(422, 40305, "Invalid 'from' address")
        text = said.get("text", "")
        segments = measure(text)[1]
        if segments > LONGEST:
            raise RefusedError(422, 40302, "Message too large")
        profile = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return Submitted(said["to"], said["from"], text, segments, said.get("webhook_url", profile), media=tuple(media))

    def error(self, code: int) -> str:
        return ERRORS.get(code, "40008")

    def taken(self, sms: Sms) -> Reply:
        return Reply(200, orjson.dumps({"data": {**self._payload(sms, "queued", None), "valid_until": None}}))

    def refused(self, refused: RefusedError) -> Reply:
        http, code = CODES.get(refused.code, (refused.http, str(refused.code)))
        body = {"errors": [{"code": code, "title": refused.message, "detail": refused.message}]}
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(http, orjson.dumps(body), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        final = status in ("delivered", "undelivered", "failed")
        return [self._call(sms.callback_url, "message.finalized" if final else "message.sent", self._payload(
            sms, STATUSES.get(status, "delivery_failed"), error_code
        ))]  # fmt: skip

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        payload = {
            "id": sent.sid,
            "direction": "inbound",
            "from": {"phone_number": sent.sender, "carrier": "Sandbox", "line_type": "Wireless"},
            "to": [{"phone_number": sent.to, "status": "webhook_delivered"}],
            "text": sent.text,
            "media": [
                {"url": f"{self.world.own_url}/telnyx-media/{file_id}", "content_type": mimetype}
                for file_id, mimetype in sent.files
            ],
            "parts": measure(sent.text)[1],
            "record_type": "message",
            "type": "SMS",
        }
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return [self._call(url, "message.received", payload, f"event-{sent.sid}")]

    def _payload(self, sms: Sms, status: str, error_code: int | None) -> dict[str, object]:
        errors = [{"code": self.error(error_code), "title": "Failed"}] if error_code else []
        return {
            "id": sms.sid,
            "direction": "outbound",
            "from": {"phone_number": sms.sender, "carrier": "Telnyx", "line_type": "Wireless"},
            "to": [{"phone_number": sms.to, "status": status, "carrier": "Sandbox", "line_type": "Wireless"}],
            "text": sms.body,
            "parts": sms.segments,
            "errors": errors,
            "record_type": "message",
            "type": "SMS",
        }

    def _call(self, url: str, event: str, payload: Mapping[str, object], event_id: str = "") -> Call:
        data = {
            "event_type": event,
            "id": event_id or str(uuid.uuid4()),
            "occurred_at": datetime.now(UTC).isoformat(),
            "payload": payload,
            "record_type": "event",
        }
        body, moment = orjson.dumps({"data": data, "meta": {"attempt": 1, "delivered_to": url}}), str(int(time.time()))
        signature = base64.b64encode(self._key.sign(moment.encode() + b"|" + body)).decode()
        headers = {
            "Content-Type": "application/json",
            "telnyx-signature-ed25519": signature,
            "telnyx-timestamp": moment,
        }
        return Call(url, body, headers, tries=3)
