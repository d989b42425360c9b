"""SendGrid's API, stricter than SendGrid: an unknown field is refused, and so is a second recipient.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply
from sandbox.wires.mail_base import Posted, an_email, as_form, mailbox, only
from sandbox.world import World

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

FIELDS = {
    "personalizations", "from", "reply_to", "subject", "content", "headers", "attachments", "tracking_settings",
}  # fmt: skip
RESERVED = {"x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to",
            "from", "subject", "reply-to", "cc", "bcc"}  # fmt: skip
EVENTS = {
    "processed": {"event": "processed"},
    "deferred": {"event": "deferred", "response": "450 4.7.1 greylisted", "attempt": "1"},
    "delivered": {"event": "delivered", "response": "250 OK"},
    "bounce": {"event": "bounce", "type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 user unknown"},
    "blocked": {"event": "bounce", "type": "blocked", "status": "5.7.1", "reason": "554 5.7.1 blocked by policy"},
    "suppressed": {"event": "dropped", "reason": "Bounced Address"},
    "complaint": {"event": "spamreport"},
    "unsubscribe": {"event": "unsubscribe"},
}
SIGNATURE, TIMESTAMP = "X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"


class SendGridWire:
    who = "SendGrid"
    login, proof = "API key", "signed"
    send_path = "/v3/mail/send"

    def __init__(self, world: World, name: str, account: Account) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.world, self.name, self.account = world, name, account
        key = load_pem_private_key(account.secrets["private_key"].encode(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
        self._key: EllipticCurvePrivateKey = key
        self._url = f"{world.config.bridge_url}/callbacks/{name}"

    def new_id(self) -> str:
        return secrets.token_urlsafe(16).replace("-", "x").replace("_", "y")

    def routes(self) -> Sequence[Route]:
        return ()

    def submitted(self, request: Request, body: bytes) -> Posted:
        shown = request.headers.get("authorization", "")
        if not hmac.compare_digest(shown.encode(), f"Bearer {self.account.secrets['api_key']}".encode()):
            raise RefusedError(401, 20003, "authorization")
        said = only(orjson.loads(body), FIELDS, {"personalizations", "from", "subject", "content"})
        [one] = said["personalizations"]
        only(one, {"to", "custom_args"}, {"to"})
        [recipient] = said["personalizations"][0]["to"]
        only(recipient, {"email", "name"}, {"email"})
        only(said["from"], {"email", "name"}, {"email"})
        kinds = [content["type"] for content in said["content"]]
        if kinds not in (["text/plain"], ["text/html"], ["text/plain", "text/html"]) or not said["subject"]:
            raise RefusedError(400, 400, "content")
        if not all(content["value"] for content in said["content"]):
            raise RefusedError(400, 400, "content.0.value")
        args, headers = one.get("custom_args", {}), said.get("headers", {})
        if not all(isinstance(value, str) for value in (*args.values(), *headers.values())):
            raise RefusedError(400, 400, "headers")
        if RESERVED & {name.lower() for name in headers}:
            raise RefusedError(400, 400, "headers")
        files = [
            (only(file, {"content", "type", "filename", "disposition"}, {"content", "filename"})["filename"],
             file["type"], base64.b64decode(file["content"], validate=True))
            for file in said.get("attachments", [])
        ]  # fmt: skip
        sender, to = mailbox(said["from"]["email"]), mailbox(recipient["email"])
        bodies = {content["type"]: content["value"] for content in said["content"]}
        if "reply_to" in said:
            headers = {**headers, "Reply-To": mailbox(said["reply_to"]["email"])}
        text, html = bodies.get("text/plain", ""), bodies.get("text/html", "")
        raw = an_email((sender, to), said["subject"], text, html, headers, files)
        return Posted(to, sender, raw, orjson.dumps(args).decode())

    def taken(self, mail: Mail) -> Reply:
        return Reply(202, b"", {"X-Message-Id": mail.sid})

    def refused(self, refused: RefusedError) -> Reply:
        field = "personalizations.0.to.0.email" if refused.code == 21211 else refused.message
        said = {"errors": [{"message": refused.message, "field": field if refused.http == 400 else None, "help": None}]}
        reset = int(time.time()) + (refused.retry_after or 0)
        headers = {"X-RateLimit-Reset": str(reset)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps(said), headers)

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        """Beside it an event of another system's email, as they come in one list."""
        common = {"email": mail.recipients[0].address, "timestamp": int(time.time())}
        told = EVENTS[word]
        event = {
            **common, **told, **orjson.loads(mail.reference), "sg_event_id": secrets.token_urlsafe(16),
            "sg_message_id": f"{mail.sid}.recvd-5c8-2", "smtp-id": "<x@geopod-ismtpd-1>",
        }  # fmt: skip
        other = {**common, "event": "open", "sg_event_id": secrets.token_urlsafe(16), "sg_message_id": "other.recvd"}
        return [self._call(f"{self._url}/status", orjson.dumps([other, event]), "application/json")]

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        """Inbound Parse with a security policy and `send_raw`."""
        envelope = orjson.dumps({"to": [to], "from": sender}).decode()
        fields = {"envelope": envelope.encode(), "from": sender.encode(), "to": to.encode(), "email": raw}
        kind, body = as_form(fields)
        return self._call(f"{self._url}/inbound", body, kind)

    def _call(self, url: str, body: bytes, kind: str) -> Call:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        moment = str(int(time.time()))
        signature = base64.b64encode(self._key.sign(moment.encode() + body, ECDSA(SHA256()))).decode()
        return Call(url, body, {"Content-Type": kind, SIGNATURE: signature, TIMESTAMP: moment}, tries=3)
