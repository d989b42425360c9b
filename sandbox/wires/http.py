"""A company that nobody has heard of: JSON both ways, lists in callbacks, HMAC-SHA256 over their bodies.

It stands for any company that is described with kind `http`; docs/providers/http.md has the description.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Sequence

import orjson
from starlette.requests import Request
from starlette.routing import Route

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.media import ConsumerFiles, urls
from sandbox.world import World

FIELDS = {"to", "from", "text", "reference", "key"}
STATUSES = {"queued": "queued", "sent": "sent", "delivered": "delivered"}  # others: failed
ERRORS = {30005: "no_such_number", 30007: "filtered", 21610: "opted_out", 21211: "no_such_number"}
LONGEST = 10  # SMS


class HttpWire(PlainWire):
    who = "HTTP API"
    login, proof = "key", "signed"
    carries_media = True
    send_path = "/company/messages"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self._files = ConsumerFiles(world, self.who, "/company/files")  # its links are secret

    def routes(self) -> Sequence[Route]:
        return (self._files.route,)

    def new_id(self) -> str:
        return uuid.uuid4().hex

    def submitted(self, request: Request, body: bytes) -> Submitted:
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise RefusedError(400, 20001, "The body is JSON") from wrong
        media = urls([said.pop("media")]) if isinstance(said, dict) and "media" in said else ()
        if not isinstance(said, dict) or set(said) != FIELDS or not all(isinstance(one, str) for one in said.values()):
            raise RefusedError(400, 20001, f"An object of {', '.join(sorted(FIELDS))}")
        if not hmac.compare_digest(said["key"].encode(), self.account.secrets["key"].encode()):
            raise RefusedError(401, 20003, "Unknown key")
        if not E164.fullmatch(said["to"]) or not SENDER.fullmatch(said["from"]) or not (said["text"] or media):
            raise RefusedError(400, 21211, "to and from are numbers, text is a text")
        segments = measure(said["text"])[1]
        if segments > LONGEST or request.headers.get("content-type") != "application/json":
            raise RefusedError(400, 20001, "A JSON body with a text of ten SMS at most")
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/status"
        return Submitted(said["to"], said["from"], said["text"], segments, url, said["reference"], media=media)

    def error(self, code: int) -> str:
        return ERRORS.get(code, "unknown")

    def taken(self, sms: Sms) -> Reply:
        return Reply(202, orjson.dumps({"id": sms.sid}))

    def refused(self, refused: RefusedError) -> Reply:
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        error = ERRORS.get(refused.code, "refused")
        return Reply(refused.http, orjson.dumps({"error": error, "message": refused.message}), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        report = {"id": sms.sid, "reference": sms.reference, "status": STATUSES.get(status, "failed")}
        if error_code:
            report["error"] = self.error(error_code)
        return [self._call(sms.callback_url, {"reports": [report]})]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        message: dict[str, object] = {"id": sent.sid, "from": sent.sender, "to": sent.to, "text": sent.text}
        if sent.files:
            message["media"] = [url for url, _ in self._files.of(sent)]
        url = f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound"
        return [self._call(url, {"messages": [message]})]

    def _call(self, url: str, said: object) -> Call:
        body = orjson.dumps(said)
        signature = hmac.digest(self.account.secrets["signature"].encode(), body, "sha256").hex()
        headers = {"Content-Type": "application/json", "X-Company-Signature": f"sha256={signature}"}
        return Call(url, body, headers, tries=2)
