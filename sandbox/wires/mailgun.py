"""Mailgun's API, stricter than Mailgun: an unknown field is refused, and so is a second recipient.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/webhooks
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
import uuid
from collections.abc import Sequence
from email import message_from_bytes

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply
from sandbox.wires.mail_base import Posted, as_form, mailbox
from sandbox.world import World

FIELDS = {"to", "message", "v:dcbridge", "o:tracking"}
GIVEN_UP = {"severity": "permanent"}
EVENTS: dict[str, dict[str, object]] = {
    "delivered": {"event": "delivered", "delivery-status": {"code": 250, "message": "OK", "attempt-no": 1}},
    "deferred": {
        "event": "failed", "severity": "temporary", "reason": "generic",
        "delivery-status": {"code": 451, "message": "4.7.1 greylisted"},
    },
    "bounce": {
        "event": "failed", **GIVEN_UP, "reason": "bounce",
        "delivery-status": {"code": 550, "message": "5.1.1 no such mailbox", "enhanced-code": "5.1.1"},
    },
    "blocked": {
        "event": "failed", **GIVEN_UP, "reason": "generic",
        "delivery-status": {"code": 554, "message": "5.7.1 policy", "enhanced-code": "5.7.1"},
    },
    "suppressed": {
        "event": "failed", **GIVEN_UP, "reason": "suppress-bounce",
        "delivery-status": {"code": 605, "message": "Not delivering to previously bounced address"},
    },
    "complaint": {"event": "complained"},
    "unsubscribe": {"event": "unsubscribed"},
}  # fmt: skip


class MailgunWire:
    who = "Mailgun"
    login, proof = "API key", "signed"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self.send_path = f"/v3/{account.secrets['domain']}/messages.mime"
        self._url = f"{world.config.bridge_url}/callbacks/{name}"

    def new_id(self) -> str:
        return f"{secrets.token_hex(12)}@{self.account.secrets['domain']}"

    def routes(self) -> Sequence[Route]:
        return ()

    def submitted(self, request: Request, body: bytes) -> Posted:
        shown = request.headers.get("authorization", "")
        right = base64.b64encode(f"api:{self.account.secrets['api_key']}".encode()).decode()
        if not hmac.compare_digest(shown.encode(), f"Basic {right}".encode()):
            raise RefusedError(401, 20003, "Forbidden")
        form = message_from_bytes(b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + body)
        fields = {str(part.get_param("name", "", "content-disposition")): part for part in form.walk()}
        fields = {name: part for name, part in fields.items() if name}
        if set(fields) - FIELDS or not {"to", "message"} <= set(fields) or not fields["message"].get_filename():
            raise RefusedError(400, 400, "known fields, and a message as a file")
        raw = body.partition(b'filename="message.eml"\r\nContent-Type: message/rfc822\r\n\r\n')[2]
        raw = raw.rpartition(b"\r\n--")[0]
        to = mailbox(str(fields["to"].get_payload()))
        read = message_from_bytes(raw)
        sid = str(read["Message-ID"] or "")
        if not re.fullmatch(r"<[^<>\s]+@[^<>\s]+>", sid):
            raise RefusedError(400, 400, "a Message-ID")
        reference = str(fields["v:dcbridge"].get_payload()) if "v:dcbridge" in fields else ""
        return Posted(to, str(read["From"]), raw, reference, sid.strip("<>"))

    def taken(self, mail: Mail) -> Reply:
        return Reply(200, orjson.dumps({"id": f"<{mail.sid}>", "message": "Queued. Thank you."}))

    def refused(self, refused: RefusedError) -> Reply:
        words = "to parameter is not a valid address" if refused.code == 21211 else refused.message
        if refused.retry_after is not None:
            words = f"rate limit: try again after {refused.retry_after} seconds"
        if refused.code == 20003:
            return Reply(401, b"Forbidden", content_type="text/plain")
        return Reply(refused.http, orjson.dumps({"message": words}))

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        """Nothing of what is accepted."""
        if word not in EVENTS:
            return ()
        variables = {"dcbridge": mail.reference} if mail.reference else {}
        event = {
            **EVENTS[word], "id": secrets.token_urlsafe(16), "timestamp": time.time(), "user-variables": variables,
            "recipient": mail.recipients[0].address, "message": {"headers": {"message-id": mail.sid}},
        }  # fmt: skip
        said = {"signature": self._proof(), "event-data": event}
        return [Call(f"{self._url}/status", orjson.dumps(said), {"Content-Type": "application/json"}, tries=3)]

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        """Of a route whose URL ends in "mime"."""
        said = {"recipient": to.encode(), "sender": sender.encode(), "body-mime": raw}
        proof = {name: value.encode() for name, value in self._proof().items()}
        kind, body = as_form({**said, **proof})
        return Call(f"{self._url}/inbound/mime", body, {"Content-Type": kind}, tries=3)

    def _proof(self) -> dict[str, str]:
        moment, token = str(int(time.time())), uuid.uuid4().hex + secrets.token_hex(9)
        key = self.account.secrets["signing_keys"].encode()
        signature = hmac.digest(key, f"{moment}{token}".encode(), "sha256").hex()
        return {"timestamp": moment, "token": token, "signature": signature}
