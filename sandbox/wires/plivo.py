"""Plivo, stricter than Plivo: an unknown field is refused, and so is a second recipient.

https://www.plivo.com/docs/messaging/api/message/send-a-message
https://www.plivo.com/docs/messaging/concepts/signature-validation
"""

from __future__ import annotations

import base64
import hmac
import secrets
import uuid
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import is_gsm7, measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.media import MOST, ConsumerFiles, urls
from sandbox.world import World

FIELDS = {"src", "dst", "text", "type", "url", "method", "dlt_entity_id", "dlt_template_id"}
STATUSES = {"queued": "queued", "sent": "sent", "delivered": "delivered"}  # others: undelivered
ERRORS = {30005: 50, 30007: 30, 30008: 1000, 21610: 200, 21211: 50}  # of a report


class PlivoWire(PlainWire):
    who = "Plivo"
    login, proof = "auth id and token", "signed"
    carries_media = True
    reports_later: Collection[int] = (21610, 21211)

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        kept = account.secrets
        self.send_path = f"/v1/Account/{kept['auth_id']}/Message/"
        self._authorization = b"Basic " + base64.b64encode(f"{kept['auth_id']}:{kept['auth_token']}".encode())

        self._files = ConsumerFiles(world, self.who, f"/v1/Account/{kept['auth_id']}/Media", self._logged_in)

    def routes(self) -> Sequence[Route]:
        return (self._files.route,)

    def _logged_in(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self._authorization)

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not self._logged_in(request):
            raise RefusedError(401, 20003, "Failed to authenticate credentials")
        if request.headers.get("content-type", "") != "application/json":
            raise RefusedError(415, 415, "The body is application/json")
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 400, "The body is JSON") from wrong
        media = urls(said.pop("media_urls", []), MOST) if isinstance(said, dict) else ()
        if not isinstance(said, dict) or set(said) - FIELDS or not all(isinstance(one, str) for one in said.values()):
            raise RefusedError(400, 400, "An object of known fields")
        text, to, sender, url = (said.get(name, "") for name in ("text", "dst", "src", "url"))
        if not E164.fullmatch(to) or not SENDER.fullmatch(sender) or to == sender:
            raise RefusedError(400, 400, "src and dst are two numbers")
        if not (text.strip() or media) or len(text) > (1600 if is_gsm7(text) else 737):
            raise RefusedError(400, 400, "text is empty or too long")
        if said.get("method", "POST") != "POST" or said.get("type", "sms") != ("mms" if media else "sms"):
            raise RefusedError(400, 400, "type is sms, or mms with files; method is POST")
        return Submitted(to, sender, text, 1 if media else measure(text)[1], url, media=media)

    def error(self, code: int) -> str:
        return str(ERRORS.get(code, 1000))

    def taken(self, sms: Sms) -> Reply:
        said = {"message": "message(s) queued", "message_uuid": [sms.sid], "api_id": str(uuid.uuid4())}
        return Reply(202, orjson.dumps(said))

    def refused(self, refused: RefusedError) -> Reply:
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps({"error": refused.message, "api_id": str(uuid.uuid4())}), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        """One callback an SMS."""
        if not sms.callback_url:
            return ()
        fields = {
            "From": sms.sender.removeprefix("+"), "To": sms.to[1:], "Status": STATUSES.get(status, "undelivered"),
            "Units": "1", "TotalRate": "0.00550", "TotalAmount": "0.00550", "ParentMessageUUID": sms.sid,
        } | ({"ErrorCode": self.error(error_code)} if error_code else {})  # fmt: skip
        ids = [sms.sid, *(f"{sms.sid}-{number}" for number in range(2, sms.segments + 1))]
        told = [{"MessageUUID": one, "PartInfo": f"{n} of {len(ids)}"} for n, one in enumerate(ids, 1)]
        return [self._call(sms.callback_url, fields | each) for each in told]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        fields = {
            "From": sent.sender[1:], "To": sent.to.removeprefix("+"), "Text": sent.text, "Type": "sms",
            "MessageUUID": sent.sid,
        }  # fmt: skip
        if sent.files:
            fields |= {f"Media{number}": url for number, (url, _) in enumerate(self._files.of(sent))}
            fields |= {"Type": "mms", "MediaCount": str(len(sent.files))}
        return [self._call(f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound", fields)]

    def _call(self, url: str, fields: Mapping[str, str]) -> Call:
        parts, nonce = urlsplit(url), secrets.token_hex(10)
        query = "&".join(f"{name}={value}" for name, value in sorted(parse_qsl(parts.query)))
        text = f"{parts.scheme}://{parts.netloc}{parts.path}?{query}{'.' if query else ''}"
        text += "".join(f"{name}{fields[name]}" for name in sorted(fields))
        digest = hmac.digest(self.account.secrets["auth_token"].encode(), f"{text}.{nonce}".encode(), "sha256")
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Plivo-Signature-V3": base64.b64encode(digest).decode(),
            "X-Plivo-Signature-V3-Nonce": nonce,
        }
        return Call(url, urlencode(fields).encode(), headers)
