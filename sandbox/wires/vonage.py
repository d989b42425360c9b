"""Vonage's SMS API, stricter than Vonage: unknown and repeated fields are refused, and so is a type that does not fit.

https://developer.vonage.com/en/api/sms
https://developer.vonage.com/en/getting-started/concepts/signing-messages
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import is_gsm7, measure, pieces
from sandbox.wires import vonage_messages as messages
from sandbox.wires.base import Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.media import ConsumerFiles
from sandbox.world import World

FIELDS = frozenset(
    (
        "from",
        "to",
        "text",
        "type",
        "client-ref",
        "status-report-req",
        "ttl",
        "callback",
        "message-class",
        "entity-id",
        "content-id",
    )
)
STATUSES = {"queued": "accepted", "sent": "buffered", "delivered": "delivered"}  # others: failed
ERRORS = {30005: "11", 30007: "6", 30008: "1"}  # of a delivery receipt
CODES = {21610: "7", 21211: "6", 20429: "1", 20500: "5", 20003: "4"}  # of an answer
JSON = "application/json"
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)


def sign(secret: str, fields: Mapping[str, str]) -> str:
    """HMAC-SHA256 over all parameters, sorted."""
    joined = str.maketrans("&=", "__")
    signed = "".join(f"&{name}={fields[name].translate(joined)}" for name in sorted(fields))
    return hmac.digest(secret.encode(), signed.encode(), "sha256").hex()


class VonageWire(PlainWire):
    who = "Vonage"
    login, proof = "key and secret", "signed"
    carries_media = True
    send_path = "/sms/json"
    more_send_paths: Sequence[str] = (messages.PATH,)

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._key, self._signs = account.secrets["api_key"], account.secrets["signature_secret"]
        login = f"{self._key}:{account.secrets['api_secret']}".encode()
        self._authorization = b"Basic " + base64.b64encode(login)
        kept = account.secrets
        self._application = messages.Application(kept["application_id"], kept["private_key"], self._signs)
        self._files = ConsumerFiles(world, self.who, "/v3/media", self._application.allows)
        self._asked = self.send_path  # of the request that is being answered: from reading it to that, nothing waits
        self._mms: set[str] = set()  # references of what came by the Messages API
        ours = f"{world.config.public_url or world.config.bridge_url}/callbacks/{name}"
        self.defaults = {"moCallBackUrl": f"{ours}/inbound", "drCallBackUrl": f"{ours}/status"}
        self.own_number: dict[str, Any] = {
            "country": "US", "msisdn": account.number.removeprefix("+"), "type": "mobile-lvn", "features": ["SMS"],
        }  # fmt: skip

    def routes(self) -> Sequence[Route]:
        return (
            self._files.route,
            Route("/account/numbers", self.numbers, methods=["GET"]),
            Route("/account/settings", self.account_settings, methods=["POST"]),
            Route("/v2/applications/{application}", self.application, methods=["GET"]),
        )

    def _wrong_login(self, request: Request) -> Response | None:
        given = request.headers.get("authorization", "").encode("latin-1")
        right = hmac.compare_digest(given, self._authorization)
        return None if right else Response(b'{"error-code": "401", "error-code-label": "unauthorized"}', 401)

    async def numbers(self, request: Request) -> Response:
        """https://developer.vonage.com/en/api/numbers"""
        if (wrong := self._wrong_login(request)) is not None:
            return wrong
        query = request.query_params
        known = {"pattern", "search_pattern", "size", "index", "country", "application_id", "has_application"}
        if not set(query) <= known or ("pattern" in query) != ("search_pattern" in query):
            return Response(b'{"error-code": "420"}', 420)
        rows = [self.own_number] if self.own_number["msisdn"].startswith(query.get("pattern", "")) else []
        return Response(orjson.dumps({"count": len(rows), "numbers": rows} if rows else {}), media_type=JSON)

    async def account_settings(self, request: Request) -> Response:
        """https://developer.vonage.com/en/api/account: what is not given stays."""
        if (wrong := self._wrong_login(request)) is not None:
            return wrong
        pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True)
        given = {name.replace("Callback", "CallBack"): value for name, value in pairs}  # its SDK writes it so
        if not set(given) <= {"moCallBackUrl", "drCallBackUrl"}:
            return Response(b'{"error-code": "420"}', 420)
        self.defaults |= given
        said = {"mo-callback-url": self.defaults["moCallBackUrl"], "dr-callback-url": self.defaults["drCallBackUrl"]}
        return Response(orjson.dumps({**said, "max-outbound-request": 30}), media_type=JSON)

    async def application(self, request: Request) -> Response:
        """https://developer.vonage.com/en/api/application.v2"""
        if (wrong := self._wrong_login(request)) is not None:
            return wrong
        if request.path_params["application"] != self.account.secrets["application_id"]:
            return Response(b'{"title": "Not Found"}', 404)
        hooks = {
            "inbound_url": {"address": self.defaults["moCallBackUrl"], "http_method": "POST"},
            "status_url": {"address": self.defaults["drCallBackUrl"], "http_method": "POST"},
        }
        whole = {
            "id": self.account.secrets["application_id"],
            "name": "Sandbox",
            "capabilities": {"messages": {"webhooks": hooks}},
        }
        return Response(orjson.dumps(whole), media_type=JSON)

    def new_id(self) -> str:
        return secrets.token_hex(8).upper()

    def submitted(self, request: Request, body: bytes) -> Submitted:
        self._asked = request.url.path
        if self._asked == messages.PATH:
            if not self._application.allows(request) or request.headers.get("content-type", "") != "application/json":
                raise RefusedError(401, 20003, "You did not provide correct credentials")
            found = messages.submitted(body, f"{self.world.config.bridge_url}/callbacks/{self.name}/status")
            self._mms.add(found.reference)
            return found
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._authorization):
            raise RefusedError(200, 20003, "Bad Credentials")
        if request.headers.get("content-type", "") != "application/x-www-form-urlencoded":
            raise RefusedError(200, 2, "The body is a form")
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        fields = dict(pairs)
        if len(fields) != len(pairs) or set(fields) - FIELDS:
            raise RefusedError(200, 3, "An unknown or repeated parameter")
        text, to, sender = fields.get("text", ""), fields.get("to", ""), fields.get("from", "")
        if not text or not sender or len(fields.get("client-ref", "")) > 100:
            raise RefusedError(200, 2, "Missing or wrong from, text or client-ref")
        if not _NUMBER.fullmatch(to):
            raise RefusedError(200, 21211, "Invalid to")
        if fields.get("type", "text") != ("text" if is_gsm7(text) else "unicode"):
            raise RefusedError(200, 3, "type does not fit the text")
        ttl = fields.get("ttl", "20000")
        if not ttl.isdigit() or not 20_000 <= int(ttl) <= 604_800_000:
            raise RefusedError(200, 3, "ttl is 20000 to 604800000")
        reports = f"{self.world.config.bridge_url}/callbacks/{self.name}/status"
        wanted = reports if fields.get("status-report-req") == "1" else ""
        return Submitted(f"+{to}", sender, text, measure(text)[1], wanted, fields.get("client-ref", ""))

    def error(self, code: int) -> str:
        return ERRORS.get(code, "1")

    def taken(self, sms: Sms) -> Reply:
        """One element an SMS, as Vonage has it."""
        if sms.reference in self._mms:
            return Reply(202, orjson.dumps({"message_uuid": sms.sid}))
        one = {"to": sms.to[1:], "message-id": sms.sid, "status": "0", "remaining-balance": "3.14", "network": "310410"}
        others = [one | {"message-id": f"{sms.sid}{number}"} for number in range(1, sms.segments)]
        return Reply(200, orjson.dumps({"message-count": str(sms.segments), "messages": [one, *others]}))

    def refused(self, refused: RefusedError) -> Reply:
        """HTTP 200, whatever is wrong; of the Messages API, a problem as RFC 9457 has it."""
        if self._asked == messages.PATH:
            return Reply(*messages.problem(refused))
        status = CODES.get(refused.code, str(refused.code))
        one = {"status": status, "error-text": refused.message}
        return Reply(200, orjson.dumps({"message-count": "1", "messages": [one]}))

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        if not sms.callback_url:
            return ()
        if sms.reference in self._mms:
            return [self._application.webhook(sms.callback_url, self._status(sms, status, error_code))]
        fields = {
            "msisdn": sms.to[1:],
            "to": sms.sender,
            "status": STATUSES.get(status, "failed"),
            "err-code": self.error(error_code) if error_code else "0",
            "price": "0.03330000",
            "network-code": "310410",
            "scts": time.strftime("%y%m%d%H%M", time.gmtime()),
            "client-ref": sms.reference,
        }
        ids = [sms.sid, *(f"{sms.sid}{number}" for number in range(1, sms.segments))]
        bodies = [orjson.dumps(self._signed({**fields, "messageId": one})) for one in ids]  # each SMS has its receipt
        return [Call(sms.callback_url, body, {"Content-Type": "application/json"}) for body in bodies]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        """Each SMS by itself, in any order; an MMS by the application's webhook."""
        if sent.files:
            return [self._application.webhook(*self._received(sent))]
        texts = pieces(sent.text)
        calls = []
        for number, text in enumerate(texts, 1):
            fields = {
                "msisdn": sent.sender[1:],
                "to": sent.to.removeprefix("+"),
                "messageId": sent.sid if number == 1 else f"{sent.sid}{number}",
                "text": text,
                "type": "text" if is_gsm7(sent.text) else "unicode",
                "keyword": sent.text.split(maxsplit=1)[0].upper(),
            }
            if len(texts) > 1:
                fields |= {"concat": "true", "concat-ref": str(sent.seq % 256), "concat-total": str(len(texts))}
                fields |= {"concat-part": str(number)}
            url = f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound"
            calls.append(Call(f"{url}?{urlencode(self._signed(fields))}", method="GET"))
        return calls[::-1]

    def _status(self, sms: Sms, status: str, error_code: int | None) -> Mapping[str, object]:
        said: dict[str, object] = {
            "message_uuid": sms.sid, "to": sms.to[1:], "from": sms.sender.removeprefix("+"), "channel": "mms",
            "timestamp": messages.now(), "status": messages.STATUSES.get(status, "undeliverable"),
            "client_ref": sms.reference, "usage": {"currency": "EUR", "price": "0.0333"},
        }  # fmt: skip
        if error_code:
            about = f"https://developer.vonage.com/api-errors/messages#{messages.ERRORS.get(error_code, '1330')}"
            said["error"] = {"type": about, "title": 1330, "detail": "Undeliverable", "instance": sms.sid}
        return said

    def _received(self, sent: SentByConsumer) -> tuple[str, Mapping[str, object]]:
        said: dict[str, object] = {
            "channel": "mms", "message_uuid": sent.sid, "to": sent.to.removeprefix("+"), "from": sent.sender[1:],
            "timestamp": messages.now(),
        }  # fmt: skip
        for number, (url, mimetype) in enumerate(self._files.of(sent)):
            kind = mimetype.partition("/")[0]
            kind = kind if kind in messages.KINDS else "file"
            said |= {kind: {"url": url, "name": f"{number}", **({"caption": sent.text} if sent.text else {})}}
            said.setdefault("message_type", kind)
        return f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound", said

    def _signed(self, fields: Mapping[str, str]) -> dict[str, str]:
        whole = {**fields, "api-key": self._key, "nonce": secrets.token_hex(8), "timestamp": str(int(time.time()))}
        return {**whole, "sig": sign(self._signs, whole)}
