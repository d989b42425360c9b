"""Postmark's API, stricter than Postmark: an unknown field is refused, and so is a second recipient.

https://postmarkapp.com/developer/api/email-api
https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply
from sandbox.wires.mail_base import Posted, an_email, mailbox, only
from sandbox.world import World

FIELDS = {
    "From", "To", "Subject", "TextBody", "HtmlBody", "ReplyTo", "Headers", "Attachments", "Metadata", "MessageStream",
    "TrackOpens", "TrackLinks",
}  # fmt: skip
EVENTS: dict[str, dict[str, object]] = {
    "delivered": {"RecordType": "Delivery", "DeliveredAt": "", "Details": "smtp;250 OK"},
    "deferred": {"RecordType": "Bounce", "ID": 1, "Type": "Transient", "TypeCode": 2, "Details": "4.7.1"},
    "bounce": {"RecordType": "Bounce", "ID": 2, "Type": "HardBounce", "TypeCode": 1, "Details": "smtp;550 5.1.1 no"},
    "blocked": {"RecordType": "Bounce", "ID": 3, "Type": "Blocked", "TypeCode": 100006, "Details": "554 5.7.1"},
    "suppressed": {"RecordType": "Bounce", "ID": 4, "Type": "BadEmailAddress", "TypeCode": 100000, "Details": ""},
    "complaint": {"RecordType": "SpamComplaint", "ID": 5, "Type": "SpamComplaint", "TypeCode": 100001},
    "unsubscribe": {
        "RecordType": "SubscriptionChange", "SuppressSending": True, "SuppressionReason": "ManualSuppression",
    },
}  # fmt: skip


class PostmarkWire:
    who = "Postmark"
    login, proof = "server token", "secret in the path"
    send_path = "/email"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._url = f"{world.config.bridge_url}/callbacks/{name}"

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def routes(self) -> Sequence[Route]:
        return ()

    def submitted(self, request: Request, body: bytes) -> Posted:
        shown = request.headers.get("x-postmark-server-token", "")
        if not hmac.compare_digest(shown.encode(), self.account.secrets["server_token"].encode()):
            raise RefusedError(401, 20003, "10")
        if request.headers.get("accept") != "application/json":
            raise RefusedError(422, 402, "402")
        said = only(orjson.loads(body), FIELDS, {"From", "To", "Subject", "MessageStream"})
        headers = {only(one, {"Name", "Value"}, {"Name", "Value"})["Name"]: one["Value"] for one in said["Headers"]}
        if not said.get("TextBody") and not said.get("HtmlBody"):
            raise RefusedError(422, 300, "300")
        if any(len(name) > 20 or len(value) > 80 for name, value in said.get("Metadata", {}).items()):
            raise RefusedError(422, 300, "300")
        if headers.pop("X-PM-KeepID", "") != "true":
            headers["Message-ID"] = f"<{uuid.uuid4()}@mtasv.net>"
        files = [
            (only(file, {"Name", "Content", "ContentType"}, {"Name", "Content", "ContentType"})["Name"],
             file["ContentType"], base64.b64decode(file["Content"], validate=True))
            for file in said.get("Attachments", [])
        ]  # fmt: skip
        if "ReplyTo" in said:
            headers["Reply-To"] = mailbox(said["ReplyTo"])
        sender, to = mailbox(said["From"]), mailbox(said["To"])
        text, html = said.get("TextBody", ""), said.get("HtmlBody", "")
        raw = an_email((sender, to), said["Subject"], text, html, headers, files)
        return Posted(to, sender, raw, orjson.dumps(said.get("Metadata", {})).decode())

    def taken(self, mail: Mail) -> Reply:
        said = {"To": mail.recipients[0].address, "SubmittedAt": _now(), "MessageID": mail.sid, "ErrorCode": 0}
        return Reply(200, orjson.dumps({**said, "Message": "OK"}))

    def refused(self, refused: RefusedError) -> Reply:
        error = {20003: 10, 20429: 429, 20500: 0, 21211: 300, 413: 411}.get(refused.code, refused.code)
        http = {20003: 401, 20429: 429, 20500: 500}.get(refused.code, 422)
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(http, orjson.dumps({"ErrorCode": error, "Message": refused.message}), headers)

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        """Postmark tells nothing of what is on its way."""
        if word not in EVENTS:
            return ()
        event = {
            **EVENTS[word], "MessageID": mail.sid, "Metadata": orjson.loads(mail.reference), "ServerID": 23,
            "MessageStream": "outbound", "Recipient": mail.recipients[0].address, "Tag": "",
        }  # fmt: skip
        return [self._call("status", event)]

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        said = {
            "FromFull": {"Email": sender, "Name": ""}, "ToFull": [{"Email": to, "Name": ""}], "OriginalRecipient": to,
            "Headers": [{"Name": "Return-Path", "Value": f"<{sender}>"}], "RawEmail": raw.decode(), "TextBody": "",
            "MessageStream": "inbound", "MessageID": str(uuid.uuid4()),
        }  # fmt: skip
        return self._call("inbound", said)

    def _call(self, kind: str, said: object) -> Call:
        url = f"{self._url}/{kind}/{self.account.secrets['callback_secret']}"
        return Call(url, orjson.dumps(said), {"Content-Type": "application/json"}, tries=3)


def _now() -> str:
    return datetime.now(UTC).isoformat()
