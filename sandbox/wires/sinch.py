"""Sinch's batches, stricter than Sinch: an unknown field is refused, and so is a second recipient.

https://developers.sinch.com/docs/sms/api-reference/sms/tag/Batches/
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks/
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
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

FIELDS = {"to", "from", "body", "type", "delivery_report", "callback_url", "client_reference", "expire_at"}
STATUSES = {
    "queued": ("Queued", 400), "sent": ("Dispatched", 401), "delivered": ("Delivered", 0)
}  # fmt: skip # others: Failed
ERRORS = {30005: 417, 30007: 413, 30008: 403, 21610: 412, 21211: 417}  # of a report
LONGEST = 2000  # characters


class SinchWire(PlainWire):
    who = "Sinch"
    login, proof = "token", "signed"
    carries_media = True
    reports_later: Collection[int] = (21610, 21211)

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        kept = account.secrets
        self.send_path = f"/xms/v1/{kept['project_id']}/batches"
        self._tokens = Tokens("/oauth2/token", kept["key_id"], kept["key_secret"])

        self._files = ConsumerFiles(world, self.who, "/sinch-media")  # its links are secret

    def new_id(self) -> str:
        return "01" + secrets.token_hex(12).upper()

    def routes(self) -> Sequence[Route]:
        return (self._tokens.route, self._files.route)

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not self._tokens.good(request):
            raise RefusedError(401, 20003, "unauthorized")
        if request.headers.get("content-type", "") != "application/json":
            raise RefusedError(415, 415, "unsupported_media_type")
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 400, "syntax_invalid_json") from wrong
        if not isinstance(said, dict) or set(said) - FIELDS or said.get("type") not in ("mt_text", "mt_media"):
            raise RefusedError(400, 400, "syntax_invalid_parameter_format")
        to, sender, text, media = said.get("to"), said.get("from"), said.get("body"), tuple[str, ...]()
        if said["type"] == "mt_media":
            if not isinstance(text, dict) or set(text) - {"url", "message", "subject"} or "url" not in text:
                raise RefusedError(400, 400, "syntax_invalid_parameter_format")
            text, media = text.get("message", ""), urls([text["url"]])
        if not isinstance(to, list) or len(to) != 1 or not isinstance(to[0], str) or not E164.fullmatch(to[0]):
            raise RefusedError(400, 400, "syntax_invalid_parameter_format")
        if not isinstance(sender, str) or not SENDER.fullmatch(sender):
            raise RefusedError(400, 400, "syntax_invalid_parameter_format")
        if not isinstance(text, str) or not (text.strip() or media) or len(text) > LONGEST:
            raise RefusedError(400, 400, "syntax_constraint_violation")
        url, reference = said.get("callback_url", ""), said.get("client_reference", "")
        if not isinstance(url, str) or not isinstance(reference, str) or len(reference) > 2048:
            raise RefusedError(400, 400, "syntax_invalid_parameter_format")
        if said.get("delivery_report") != "per_recipient":
            url = ""
        return Submitted(to[0], sender, text, measure(text)[1], url, reference, media=media)

    def error(self, code: int) -> str:
        return str(ERRORS.get(code, 403))

    def taken(self, sms: Sms) -> Reply:
        said = {
            "id": sms.sid, "to": [sms.to[1:]], "from": sms.sender, "canceled": False, "body": sms.body,
            "type": "mt_text", "client_reference": sms.reference, "created_at": _now(), "modified_at": _now(),
        }  # fmt: skip
        return Reply(201, orjson.dumps(said))

    def refused(self, refused: RefusedError) -> Reply:
        word = {429: "too_many_requests", 500: "internal_error"}.get(refused.http, refused.message)
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps({"code": word, "text": refused.message}), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        if not sms.callback_url:
            return ()
        word, code = STATUSES.get(status, ("Failed", 403))
        return [self._call(sms.callback_url, {
            "type": "recipient_delivery_report_sms", "batch_id": sms.sid, "recipient": sms.to[1:],
            "code": int(self.error(error_code)) if error_code else code, "status": word, "at": _now(),
            "client_reference": sms.reference,
        })]  # fmt: skip

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        said: dict[str, object] = {
            "type": "mo_text", "id": sent.sid, "from": sent.sender[1:], "to": sent.to.removeprefix("+"),
            "body": sent.text, "received_at": _now(), "operator_id": "310410",
        }  # fmt: skip
        if sent.files:
            media = [
                {"url": url, "content_type": mimetype, "status": "Uploaded", "code": 0}
                for url, mimetype in self._files.of(sent)
            ]
            said |= {"type": "mo_media", "body": {"subject": "", "message": sent.text, "media": media}}
        return [self._call(f"{self.world.config.bridge_url}/callbacks/{self.name}/events", said)]

    def _call(self, url: str, said: Mapping[str, object]) -> Call:
        body, nonce, moment = orjson.dumps(said), secrets.token_hex(12), str(int(time.time()))
        signed = body + f".{nonce}.{moment}".encode()
        digest = hmac.digest(self.account.secrets["signature_secret"].encode(), signed, "sha256")
        headers = {
            "Content-Type": "application/json",
            "X-Sinch-Webhook-Signature": base64.b64encode(digest).decode(),
            "X-Sinch-Webhook-Signature-Nonce": nonce,
            "X-Sinch-Webhook-Signature-Timestamp": moment,
            "X-Sinch-Webhook-Signature-Algorithm": "HmacSHA256",
        }
        return Call(url, body, headers, tries=3)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
