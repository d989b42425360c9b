"""Infobip, stricter than Infobip: an unknown field is refused, and so is a message id that was used before.

https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-sms-messages
https://www.infobip.com/docs/essentials/response-status-and-error-codes
"""

from __future__ import annotations

import hmac
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.media import ConsumerFiles, urls
from sandbox.world import World

FIELDS = {"sender", "destinations", "content", "webhooks", "options"}
# Group and id of a status, in the order of a message's life.
STATUSES = {"queued": (1, 26), "sent": (3, 2), "delivered": (3, 5), "undelivered": (2, 4), "failed": (2, 9)}
ERRORS = {30005: 1, 30007: 573, 30008: 255}  # of a report
CODES = {21610: 14, 21211: 8}  # of a status in an answer; others are HTTP's
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)
LONGEST = 25  # SMS
MMS = "/mms/2/messages"


class InfobipWire(PlainWire):
    who = "Infobip"
    login, proof = "API key", "secret in the path"
    carries_media = True
    send_path = "/sms/3/messages"
    more_send_paths: Sequence[str] = (MMS,)

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._authorization = f"App {account.secrets['api_key']}".encode()
        self._files = ConsumerFiles(world, self.who, "/mms/1/files", self._logged_in)

    def routes(self) -> Sequence[Route]:
        return (self._files.route,)

    def _logged_in(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode("latin-1")
        return hmac.compare_digest(given, self._authorization)

    def new_id(self) -> str:
        return str(uuid.uuid4())

    def submitted(self, request: Request, body: bytes) -> Submitted:
        if not self._logged_in(request):
            raise RefusedError(401, 20003, "Invalid login details")
        try:
            [message] = orjson.loads(body)["messages"]
            [destination] = message["destinations"]
            to, reference = destination["to"], destination["messageId"]
            text, media = _content(message["content"], as_mms=request.url.path == MMS)
            url, sender = message["webhooks"]["delivery"]["url"], message["sender"]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as wrong:
            raise RefusedError(400, 20001, "One message to one destination, with its report's address") from wrong
        if set(message) - FIELDS or set(destination) != {"to", "messageId"} or len(reference) > 200:
            raise RefusedError(400, 20001, "An unknown field")
        if request.headers.get("content-type", "") != "application/json" or not (text or media) or not sender:
            raise RefusedError(400, 20001, "The body is JSON, with text and sender")
        if not _NUMBER.fullmatch(to):
            raise RefusedError(200, 21211, "REJECTED_PREFIX_MISSING")
        segments = measure(text)[1]
        if segments > LONGEST:
            raise RefusedError(200, 25, "REJECTED_MESSAGE_TOO_LONG")
        if any(sms.reference == reference for sms in self.world.sms_by_number.get(f"+{to}", ())):
            raise RefusedError(200, 23, reference)
        return Submitted(f"+{to}", sender, text, segments, url, reference, media=media)

    def error(self, code: int) -> str:
        return str(ERRORS.get(code, 255))

    def taken(self, sms: Sms) -> Reply:
        return _reply(sms.reference, sms.to, 1, 26)

    def refused(self, refused: RefusedError) -> Reply:
        """A message that is rejected has HTTP 200; what is wrong with a request has HTTP's own status."""
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        if refused.code == 23:
            return _reply(refused.message, "", 5, 23)
        if refused.code in CODES or refused.http == 200:
            return _reply(str(uuid.uuid4()), "", 5, CODES.get(refused.code, refused.code))
        body = {"errorCode": f"E{refused.http}", "description": refused.message, "action": "", "violations": []}
        return Reply(refused.http, orjson.dumps(body), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        group, number = STATUSES.get(status, (2, 9))
        error = int(self.error(error_code)) if error_code else 0
        result = {
            "bulkId": "1",
            "messageId": sms.reference,
            "to": sms.to[1:],
            "sender": sms.sender,
            "sentAt": _now(),
            "doneAt": _now(),
            "messageCount": sms.segments,
            "status": {"groupId": group, "id": number},
            "error": {"groupId": 1 if error else 0, "id": error, "permanent": bool(error)},
        }
        return [_call(sms.callback_url, {"results": [result]})]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        result: dict[str, object] = {
            "messageId": sent.sid,
            "from": sent.sender[1:],
            "to": sent.to.removeprefix("+"),
            "text": sent.text,
            "cleanText": sent.text,
            "keyword": "",
            "receivedAt": _now(),
            "smsCount": measure(sent.text)[1],
        }
        if sent.files:  # MO_MMS_2
            pieces: list[dict[str, str]] = [{"contentType": "text/plain", "value": sent.text}] if sent.text else []
            pieces += [{"contentType": mimetype, "url": url} for url, mimetype in self._files.of(sent)]
            result = {name: result[name] for name in ("messageId", "from", "to", "receivedAt")} | {"message": pieces}
        secret = self.account.secrets["callback_secret"]
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound/{secret}"
        return [_call(url, {"results": [result], "messageCount": 1, "pendingMessageCount": 0})]


def _content(content: Mapping[str, Any], *, as_mms: bool) -> tuple[str, tuple[str, ...]]:
    """Text and files. Raises KeyError, TypeError or ValueError."""
    if not as_mms:
        return content["text"], ()
    pieces = content["messageSegments"]
    texts = [one["text"] for one in pieces if one["type"] == "TEXT" and set(one) == {"type", "text"}]
    links = [one for one in pieces if one["type"] == "LINK" and set(one) == {"type", "contentUrl", "contentType"}]
    if len(texts) + len(links) != len(pieces) or len(texts) > 1 or not links:
        raise ValueError("a text, and links with their types")
    return "".join(texts), urls([one["contentUrl"] for one in links])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def _reply(message_id: str, to: str, group: int, status: int) -> Reply:
    one = {"messageId": message_id, "destination": to.removeprefix("+"), "status": {"groupId": group, "id": status}}
    return Reply(200, orjson.dumps({"bulkId": "1", "messages": [one]}))


def _call(url: str, body: object) -> Call:
    return Call(url, orjson.dumps(body), {"Content-Type": "application/json"}, tries=2)
