"""Azure's email, stricter than Azure: an unknown field is refused, and so is a second recipient or an old signature.

https://learn.microsoft.com/en-us/rest/api/communication/email/email/send
https://learn.microsoft.com/en-us/azure/event-grid/communication-services-email-events
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import Account
from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply
from sandbox.wires.mail_base import Posted, an_email, mailbox, only
from sandbox.wires.signatures import check_azure
from sandbox.world import World

FIELDS = {
    "senderAddress", "content", "recipients", "headers", "replyTo", "attachments", "userEngagementTrackingDisabled",
}  # fmt: skip
STATUSES = {
    "delivered": ("Delivered", ""),
    "bounce": ("Bounced", "550 5.1.1 user unknown"),
    "blocked": ("FilteredSpam", "554 5.7.1 spam"),
    "suppressed": ("Suppressed", ""),
}


class AzureEmailWire:
    who = "Azure email"
    login, proof = "signed", "secret in the path"
    send_path = "/emails:send"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._key = base64.b64decode(account.secrets["access_key"])
        self._events = f"{world.config.bridge_url}/callbacks/{name}/status/{account.secrets['callback_secret']}"

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def routes(self) -> Sequence[Route]:
        return (Route("/emails/operations/{id}", self._operation, methods=["GET"]),)

    async def _operation(self, request: Request) -> Response:
        try:
            check_azure(request, b"", self._key)
        except RefusedError:
            return Response(status_code=401)
        name = request.path_params["id"]
        if not any(mail.sid == name and mail.provider == self.name for mail in self.world.mails):
            return Response(orjson.dumps({"error": {"code": "NotFound"}}), 404, media_type="application/json")
        return Response(orjson.dumps({"id": name, "status": "Succeeded"}), media_type="application/json")

    def submitted(self, request: Request, body: bytes) -> Posted:
        check_azure(request, body, self._key)
        if request.url.query != "api-version=2025-09-01":
            raise RefusedError(400, 400, "a known version")
        said = only(orjson.loads(body), FIELDS, {"senderAddress", "content", "recipients"})
        content = only(said["content"], {"subject", "plainText", "html"}, {"subject"})
        [to] = only(said["recipients"], {"to"}, {"to"})["to"]
        only(to, {"address", "displayName"}, {"address"})
        text, html = content.get("plainText", ""), content.get("html", "")
        if not content["subject"] or not (text or html):
            raise RefusedError(400, 400, "a subject and a body")
        headers = dict(said.get("headers", {}))
        headers["Message-ID"] = f"<{uuid.uuid4()}@azurecomm.net>"
        for one in said.get("replyTo", []):
            headers["Reply-To"] = mailbox(one["address"])
        files = [
            (only(file, {"name", "contentType", "contentInBase64"}, {"name", "contentType", "contentInBase64"})["name"],
             file["contentType"], base64.b64decode(file["contentInBase64"], validate=True))
            for file in said.get("attachments", [])
        ]  # fmt: skip
        sender, recipient = mailbox(said["senderAddress"]), mailbox(to["address"])
        raw = an_email((sender, recipient), content["subject"], text, html, headers, files)
        return Posted(recipient, sender, raw, sid=str(uuid.UUID(request.headers["operation-id"])))

    def taken(self, mail: Mail) -> Reply:
        return Reply(202, orjson.dumps({"id": mail.sid, "status": "Running", "error": None}))

    def refused(self, refused: RefusedError) -> Reply:
        word = {401: "Denied", 413: "RequestEntityTooLarge", 429: "TooManyRequests"}.get(refused.http, "BadRequest")
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps({"error": {"code": word, "message": refused.message}}), headers)

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        """Azure reports the end of an email, and nothing before or after it."""
        if word not in STATUSES:
            return ()
        status, said = STATUSES[word]
        data = {
            "sender": mail.mail_from, "recipient": mail.recipients[0].address, "messageId": mail.sid, "status": status,
            "internetMessageId": "<x@azurecomm.net>", "deliveryStatusDetails": {"statusMessage": said},
            "deliveryAttemptTimeStamp": _now(),
        }  # fmt: skip
        event = {
            "id": str(uuid.uuid4()), "topic": "/subscriptions/sandbox", "subject": f"sender/x/message/{mail.sid}",
            "data": data, "eventType": "Microsoft.Communication.EmailDeliveryReportReceived", "dataVersion": "1.0",
            "metadataVersion": "1", "eventTime": _now(),
        }  # fmt: skip
        headers = {"Content-Type": "application/json; charset=utf-8", "aeg-event-type": "Notification"}
        return [Call(self._events, orjson.dumps([event]), headers, tries=3)]

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
