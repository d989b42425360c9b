"""Bird's API v1, stricter than Bird: an unknown field is refused, and so is a request without a key.

https://bird.com/docs/api/sms
https://bird.com/docs/api/idempotency
https://www.standardwebhooks.com
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import is_gsm7, measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

FIELDS = {"to", "from", "text", "category", "metadata", "tags", "options"}
CATEGORIES = ("transactional", "marketing", "authentication", "service")
STATUSES = {"queued": "accepted", "sent": "sent", "delivered": "delivered", "undelivered": "undelivered"}  # else failed
ERRORS = {30005: "invalid_destination", 30007: "blocked_by_carrier", 30008: "unknown", 21610: "recipient_opted_out"}
# Of an answer: the type that belongs to a status, and Bird's number and name of an error.
TYPES = {401: "auth_error", 409: "conflict_error", 422: "validation_error", 429: "rate_limit_error"}
NAMES = {401: ("E01003", "Unauthorized"), 429: ("E01006", "RateLimited"), 21211: ("E02001", "SMSInvalidRecipient")}
REPEATED = -1  # a refusal that is none: the same request again
LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
LONGEST = 12  # SMS


class MessageBirdWire(PlainWire):
    who = "Bird"
    login, proof = "API key", "signed"
    keeps_opt_outs = True
    reports_later: Collection[int] = (21610,)
    send_path = "/v1/sms/messages"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._authorization = f"Bearer {account.secrets['api_key']}".encode()
        self._key = base64.b64decode(account.secrets["signature_secret"].removeprefix("whsec_"))

    def new_id(self) -> str:
        return "sms_01" + "".join(secrets.choice(LETTERS) for _ in range(24))

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise RefusedError(401, 401, "The API key is not valid")
        if request.headers.get("content-type", "") != "application/json":
            raise RefusedError(422, 422, "The body is application/json")
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(422, 422, "The body is JSON") from wrong
        if not isinstance(said, dict) or set(said) - FIELDS or said.get("category") not in CATEGORIES:
            raise RefusedError(422, 422, "An object of known fields, with a category")
        to, sender, text = said.get("to"), said.get("from"), said.get("text")
        if not isinstance(to, str) or not E164.fullmatch(to):
            raise RefusedError(422, 21211, "The recipient is no number")
        if not isinstance(sender, str) or not SENDER.fullmatch(sender):
            raise RefusedError(422, 422, "from is a number, a short code or a name")
        if not isinstance(text, str) or not text.strip() or measure(text)[1] > LONGEST:
            raise RefusedError(422, 422, "text has 1 to 12 segments")
        metadata = said.get("metadata", {})
        if not isinstance(metadata, dict) or len(orjson.dumps(metadata)) > 2048:
            raise RefusedError(422, 422, "metadata is an object of 2 KB at most")
        key, digest = request.headers.get("idempotency-key", ""), hashlib.sha256(body).hexdigest()
        if not 1 <= len(key) <= 255:
            raise RefusedError(422, 422, "Idempotency-Key has 1 to 255 characters")
        for sms in self.world.sms_by_number.get(to, ()):
            before = orjson.loads(sms.reference) if sms.provider == self.name else {}
            if before.get("key") == key:
                same = before["digest"] == digest
                raise RefusedError(202 if same else 409, REPEATED if same else 409, sms.sid)
        reference = orjson.dumps({"key": key, "digest": digest, "metadata": metadata}).decode()
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return Submitted(to, sender, text, measure(text)[1], url, reference)

    def error(self, code: int) -> str:
        return ERRORS.get(code, "unknown")

    def taken(self, sms: Sms) -> Reply:
        nothing = ("requested_language", "resolved_language", "template_id", "template_version_id",
                   "template_content_hash", "cost", "tags", "sent_at", "delivered_at")  # fmt: skip
        said = {
            **dict.fromkeys(nothing), "id": sms.sid, "direction": "outbound", "status": "accepted", "to": sms.to,
            "from": sms.sender, "text": sms.body, "category": "service", "segments": _segments(sms.body),
            "metadata": orjson.loads(sms.reference)["metadata"], "created_at": _now(),
        }  # fmt: skip
        return Reply(202, orjson.dumps(said))

    def refused(self, refused: RefusedError) -> Reply:
        if refused.code == REPEATED:
            return self.taken(self.world.sms[refused.message])
        number, name = NAMES.get(refused.code, NAMES.get(refused.http, ("E01001", "ValidationError")))
        if refused.http == 409:
            number, name = "E01005", "IdempotencyKeyReuse"
        error = {
            "type": TYPES.get(refused.http, "internal_error"), "code": number, "name": name, "message": refused.message,
            "doc_url": f"https://docs.bird.com/errors/{number}", "request_id": "req_1", "details": [],
        }  # fmt: skip
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps({"error": error}), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        word = "rejected" if error_code == 21610 else STATUSES.get(status, "failed")
        data: dict[str, object] = {**_ends(sms.sid, sms.to, sms.sender), "segments": _segments(sms.body)}
        data["metadata"] = orjson.loads(sms.reference)["metadata"]
        if word in ("delivered", "undelivered", "failed"):
            data["cost"] = {
                "amount": "0.00790", "currency_code": "EUR", "transaction_amount": "0.00790", "passthrough_amount": None
            }  # fmt: skip
        if word in ("undelivered", "failed", "rejected"):
            why = self.error(error_code or 30008)
            data["error"] = {"code": why, "description": why, "carrier_error_code": None, "occurred_at": _now()}
        return [self._call(f"sms.{word}", data, sms.callback_url)]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        data = {**_ends(sent.sid, sent.to, sent.sender), "text": sent.text, "segments": _segments(sent.text)}
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/events"
        return [self._call("sms.received", data, url, f"msg_{sent.sid}")]

    def _call(self, event: str, data: Mapping[str, object], url: str, event_id: str = "") -> Call:
        body = orjson.dumps({"type": event, "timestamp": _now(), "data": data})
        event_id, moment = event_id or f"msg_{secrets.token_hex(12)}", str(int(time.time()))
        digest = hmac.digest(self._key, f"{event_id}.{moment}.".encode() + body, "sha256")
        headers = {
            "Content-Type": "application/json",
            "webhook-id": event_id,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }
        return Call(url, body, headers, tries=3)


def _ends(sid: str, to: str, sender: str) -> dict[str, object]:
    """What every event has."""
    nothing = ("tags", "metadata", "requested_language", "resolved_language", "template_id", "template_version_id",
               "template_content_hash", "cost", "error")  # fmt: skip
    return {**dict.fromkeys(nothing), "sms_id": sid, "workspace_id": "ws_" + "0" * 26, "to": to, "from": sender}


def _segments(text: str) -> dict[str, object]:
    return {"count": measure(text)[1], "encoding": "GSM_7BIT" if is_gsm7(text) else "UCS2", "characters": len(text)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
