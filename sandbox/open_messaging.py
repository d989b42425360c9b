"""Genesys Cloud: its login, the inbound calls of Open Messaging, and the store of agents' files.

Stricter than the real one: a field that Genesys' own client does not know is a broken rule, a token ends when it was
said to, and a file's URL leads to another place that wants no token. All of it is below /cloud.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import files
from sandbox.config import CloudAccount
from sandbox.connection import reset, wait_for_disconnect
from sandbox.digital_channels import GivenReceipt, GivenText, Messages
from sandbox.files import File
from sandbox.world import World

WHO = "Genesys Cloud"
STATUSES = ("Sent", "Delivered", "Failed", "Published", "Removed")
CODES = (
    "MessageExpired", "RateLimited", "MessageNotAllowed", "GeneralError", "UnsupportedMessage", "UnknownMessage",
    "InvalidMessageStructure", "InvalidDestination", "ServerError", "MediaTypeNotAllowed", "InvalidMediaContentLength",
    "RecipientOptedOut", "DataFiltered",
)  # fmt: skip
PERSON = ("nickname", "id", "idType", "firstName", "lastName", "image", "email")
ATTACHMENT = ("id", "mediaType", "url", "mime", "text", "sha256", "filename", "thumbnail")
MEDIA_TYPES = ("Image", "Video", "Audio", "File", "Link")
MOST = 100_000  # bytes of a request
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


class _WrongError(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


def signed(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return "sha256=" + base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


def outbound(account: CloudAccount, to: str, text: str | None, message_id: str | None) -> dict[str, Any]:
    """What an agent writes, as the webhook has it."""
    made = message_id or uuid.uuid4().hex
    at = datetime.now().astimezone().isoformat(timespec="milliseconds")
    body: dict[str, Any] = {
        "id": made,
        "channel": {
            "id": account.integration,
            "messageId": made,
            "platform": "Open",
            "type": "Private",
            "to": {"id": to, "idType": "Phone"},
            "from": {"nickname": "dcbridge", "id": account.integration, "idType": "Opaque"},
            "time": at,
        },
        "conversationId": str(uuid.uuid4()),
        "direction": "Outbound",
        "originatingEntity": "Human",
        "type": "Text",
        "content": [],
    }
    return body if text is None else body | {"text": text}


def with_file(world: World, body: dict[str, Any], file: File) -> str:
    """The message has it as its attachment; where the page finds it."""
    file_id = files.keep(world, file)
    attachment = {
        "id": str(uuid.uuid4()),
        "mediaType": file.mimetype.partition("/")[0].capitalize(),
        "url": f"{world.own_url}/cloud/api/v2/downloads/{file_id}",
        "mime": file.mimetype,
        "filename": "picture",
        "contentSizeBytes": len(file.data),
    }
    body["content"] = [{"contentType": "Attachment", "attachment": attachment}]
    return files.shown(file_id)


class OpenMessaging:
    """The endpoints. One of these for each sandbox that has an account at Genesys Cloud."""

    def __init__(self, world: World, account: CloudAccount, messages: Messages) -> None:
        self.world, self.account, self.messages = world, account, messages

    def routes(self) -> list[Route]:
        api = "/cloud/api/v2"
        inbound = f"{api}/conversations/messages/{{integration}}/inbound/open"
        return [
            Route("/cloud/login/oauth/token", self.token, methods=["POST"]),
            Route(f"{inbound}/message", self.message, methods=["POST"]),
            Route(f"{inbound}/receipt", self.receipt, methods=["POST"]),
            Route(f"{api}/conversations/messaging/integrations/open/{{integration}}", self.integration),
            Route(f"{api}/downloads/{{file_id}}", self.download),
            Route("/cloud/store/{file_id}", self.stored),
        ]

    # ------------------------------------------------------------ the login

    async def token(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        self.world.counts["cloud.grants"] += 1
        answer = self._token(request, body)
        self.world.exchange(
            WHO, True, "POST", request.url.path, started, answer.status_code, b"(a form)", b"(a token)", ""
        )
        return answer

    def _token(self, request: Request, body: bytes) -> Response:
        form = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
        if request.headers.get("content-type") != "application/x-www-form-urlencoded" or len(body) > MOST:
            self.world.violation(WHO, "a token is asked for with a form")
        pair = f"{self.account.client_id}:{self.account.client_secret}".encode()
        wanted = b"Basic " + base64.b64encode(pair)
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), wanted):
            return _json(400, {"error": "invalid_client", "description": "client not found", "error_description": ""})
        if form != [("grant_type", "client_credentials")]:
            self.world.violation(WHO, "the form of a token is grant_type=client_credentials")
            return _json(400, {"error": "unsupported_grant_type"})
        life = self.world.switches.cloud.token_life
        token, now = base64.urlsafe_b64encode(uuid.uuid4().bytes * 3).decode(), time.monotonic()
        kept = {one: end for one, end in self.world.cloud_tokens.items() if end > now}
        self.world.cloud_tokens = kept | {token: now + life}
        return _json(200, {"access_token": token, "token_type": "bearer", "expires_in": int(life)})

    # ------------------------------------------------------------ messages and receipts

    async def message(self, request: Request) -> Response:
        return await self._answer(request, self._message)

    async def receipt(self, request: Request) -> Response:
        return await self._answer(request, self._receipt)

    async def integration(self, request: Request) -> Response:
        """What `dcbridge genesys check` asks for."""
        where = f"{self.world.config.public_url or self.world.config.bridge_url}/webhooks/open-messaging"
        answer = {
            "id": self.account.integration,
            "name": "dcbridge",
            "outboundNotificationWebhookUrl": f"{where}/{self.account.endpoint}",
            "status": "Active",
        }
        return await self._answer(request, lambda body: answer)

    async def _answer(self, request: Request, act: Callable[[bytes], object]) -> Response:
        started, body = time.perf_counter(), await request.body()
        mode = self.world.switches.cloud.take()
        if mode == "silent":
            self._note(request, started, 0, body, b"")
            await wait_for_disconnect(request)
            return Response(status_code=500)
        try:
            answer = _json(200, self._applied(request, body, mode, act))
        except _WrongError as wrong:
            answer = self._error(wrong)
        if mode == "lost_answer":
            self._note(request, started, 0, body, b"")
            await reset(request)
            return Response(status_code=500)
        self._note(request, started, answer.status_code, body, bytes(answer.body))
        return answer

    def _applied(self, request: Request, body: bytes, mode: str, act: Callable[[bytes], object]) -> object:
        if mode == "500":
            raise _WrongError(500, "internal.server.error")
        if mode == "429":
            raise _WrongError(429, "too.many.requests.retry.after")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if mode == "401" or scheme != "Bearer" or self.world.cloud_tokens.get(token, 0.0) <= time.monotonic():
            self.world.cloud_tokens.pop(token, None)
            raise _WrongError(401, "bad.credentials")
        if request.path_params["integration"] != self.account.integration:
            raise _WrongError(404, "not.found")
        if mode == "refuse_text" and b'"text"' in body:
            raise _WrongError(400, "bad.request")
        return act(body)

    def _error(self, wrong: _WrongError) -> Response:
        said = {
            "message": "told to the bridge only", "code": wrong.code, "status": wrong.status, "messageParams": {},
            "contextId": str(uuid.uuid4()), "details": [], "errors": [],
        }  # fmt: skip
        answer = _json(wrong.status, said)
        if wrong.status == 429:
            answer.headers["Retry-After"] = str(self.world.switches.cloud.retry_after)
        return answer

    def _message(self, body: bytes) -> object:
        value = self._object(body, ("channel", "text", "content", "metadata"))
        channel = self._part(value, "channel", ("from", "time", "messageId", "metadata"))
        sender = self._part(channel, "from", PERSON)
        self._is_time(channel.get("time"))
        if sender.get("idType") not in ("Email", "Phone", "Opaque") or not _a_text(sender.get("id")):
            self._refuse("channel.from has an id, and an idType: Email, Phone or Opaque")
        if sender["idType"] == "Phone" and not _E164.fullmatch(sender["id"]):
            self._refuse("channel.from.id of a phone is in E.164, with its plus")
        text, content = value.get("text"), value.get("content", [])
        if not (text is None or _a_text(text)) or not isinstance(content, list) or len(content) > 1:
            self._refuse("text is a non-empty string, and content has at most one attachment")
        if text is None and not content:
            self._refuse("a message has a text or an attachment")
        given = GivenText(sender["id"], self.account.integration, text or "")
        attachment = self._attachment(content[0]) if content else None
        known = channel.get("messageId")
        if _a_text(known) and known in self.world.cloud_messages:
            self.world.counts["cloud.repeated"] += 1  # that the real one would know it is not documented: seen twice
        seen_id = self.messages.note_seen(self.account.integration, given)
        self.world.cloud_messages.add(str(known))
        if attachment is not None:
            self.world.spawn(self._read(attachment))
        return {"id": seen_id, "channel": channel, "type": "Text", "text": text, "conversationId": str(uuid.uuid4())}

    def _attachment(self, value: object) -> Mapping[str, Any]:
        part = value if isinstance(value, dict) else {}
        attachment = self._part(part, "attachment", ATTACHMENT)
        if part.get("contentType", "Attachment") != "Attachment" or part.keys() - {"contentType", "attachment"}:
            self._refuse("content is an attachment")
        if attachment.get("mediaType") not in MEDIA_TYPES or not _a_text(attachment.get("url")):
            self._refuse("an attachment has a mediaType and a url")
        return attachment

    async def _read(self, attachment: Mapping[str, Any]) -> None:
        """Genesys Cloud reads it, and shows it to the agent."""
        seen = self.world.seen[-1]
        file_id = await files.fetched(self.world, WHO, attachment["url"], ("GET",))
        if not file_id:
            return
        if self.world.files[file_id].mimetype != attachment.get("mime"):
            self.world.violation(WHO, "a file is of the type that its attachment says")
        seen.media.append(files.shown(file_id))
        self.world.tell("seen", seen)

    def _receipt(self, body: bytes) -> object:
        value = self._object(body, ("id", "channel", "status", "reasons", "isFinalReceipt"))
        channel = self._part(value, "channel", ("to", "time"))
        to = self._part(channel, "to", PERSON)
        self._is_time(channel.get("time"))
        if not _a_text(value.get("id")) or not _a_text(to.get("id")):
            self._refuse("a receipt has the id of its message, and channel.to.id")
        if value.get("status") not in STATUSES or not isinstance(value.get("isFinalReceipt"), bool):
            self._refuse("a receipt has a status, and isFinalReceipt")
        reasons = value.get("reasons", [])
        if (reasons and value["status"] != "Failed") or not isinstance(reasons, list):
            self._refuse("reasons go with Failed only")
        for reason in reasons:
            if not isinstance(reason, dict) or reason.get("code") not in CODES or reason.keys() - {"code", "message"}:
                self._refuse("a reason has a code and a message")
        known = self.world.agent.get((self.account.integration, value["id"]))
        if known is None:
            raise _WrongError(404, "not.found")
        self.messages.note_receipt(
            self.account.integration, GivenReceipt(value["id"], known.sender, to["id"], value["status"], reasons)
        )
        return {"id": value["id"], "type": "Receipt", "status": value["status"], "direction": "Outbound"}

    def _object(self, body: bytes, known: tuple[str, ...]) -> dict[str, Any]:
        try:
            value = orjson.loads(body) if len(body) <= MOST else None
        except orjson.JSONDecodeError:
            value = None
        return self._part({"the body": value}, "the body", known)

    def _part(self, value: Mapping[str, Any], name: str, known: tuple[str, ...]) -> dict[str, Any]:
        part = value.get(name)
        if not isinstance(part, dict):
            self._refuse(f"{name} is an object")
        assert isinstance(part, dict)
        for extra in part.keys() - set(known):
            self.world.violation(WHO, "only fields of Genesys' own client are sent", f"{name}: {extra}")
        return part

    def _is_time(self, value: object) -> None:
        try:
            assert datetime.fromisoformat(str(value)).tzinfo is not None
        except (ValueError, AssertionError):
            self._refuse("channel.time is an ISO 8601 time")

    def _refuse(self, rule: str) -> None:
        self.world.violation(WHO, rule)
        raise _WrongError(400, "bad.request")

    # ------------------------------------------------------------ agents' files

    async def download(self, request: Request) -> Response:
        """A redirect to where the file is, as GET /api/v2/downloads answers; with a token."""
        started = time.perf_counter()
        await asyncio.sleep(0)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        good = scheme == "Bearer" and self.world.cloud_tokens.get(token, 0.0) > time.monotonic()
        where = f"{self.world.own_url}/cloud/store/{request.path_params['file_id']}?signature=of-the-store"
        answer = Response(status_code=302, headers={"location": where}) if good else Response(status_code=401)
        self._note(request, started, answer.status_code, b"", b"")
        return answer

    async def stored(self, request: Request) -> Response:
        started = time.perf_counter()
        if "authorization" in request.headers:
            self.world.violation(WHO, "the token is not shown to the store of files")
        file = self.world.files.get(request.path_params["file_id"])
        found = file is not None and request.query_params.get("signature") == "of-the-store"
        answer = Response(file.data, media_type=file.mimetype) if found and file else Response(status_code=403)
        self._note(request, started, answer.status_code, b"", b"(the file)")
        return answer

    def _note(self, request: Request, started: float, status: int, body: bytes, answer: bytes) -> None:
        self.world.exchange(WHO, True, request.method, request.url.path, started, status, body, answer, "token")


def _a_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
