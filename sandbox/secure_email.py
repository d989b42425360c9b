"""Genesys' Secure Email API: what consumers submit, POST and GET /nexus/v3/securemail.

The reference prints the fields as {object}. This tenant has some of its own (FIELDS), and is stricter than a real one
may be: a field that it does not know is refused and a broken rule, an operation that was submitted before is a broken
rule, and a file of a type that it does not take is refused. The list shows the data of an email, or it does not (switch
`lists`): nobody knows what a real one shows.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import uuid

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.authentication import has_key
from sandbox.config import GenesysAccount
from sandbox.connection import reset, wait_for_disconnect
from sandbox.records import SecureMail
from sandbox.world import World

WHO = "Secure Email"
FIELDS = {"fromAddress", "firstName", "lastName", "subject", "text", "userData", "attachments"}
NEEDED = ("fromAddress", "lastName", "text")
FILE = {"fileName", "contentType", "content"}
TYPES = {"application/pdf", "text/plain", "image/jpeg", "image/png", "image/gif"}
MOST_FILES, MOST = 10, 20_000_000
_BOX = re.compile(r"[A-Za-z0-9]{3,16}", re.ASCII)


class SecureEmail:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account

    def routes(self) -> list[Route]:
        path = "/nexus/v3/securemail"
        return [Route(path, self.send, methods=["POST"]), Route(path, self.listed, methods=["GET"])]

    async def send(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        mode = self.world.switches.genesys.take()
        answer = await self._before(request, mode) or self._send(request, body, mode)
        path, status = request.url.path, answer.status_code
        self.world.exchange(WHO, True, "POST", path, started, status, body[:4096], bytes(answer.body), "API key")
        if mode == "lost_answer":
            await reset(request)
        return answer

    async def listed(self, request: Request) -> Response:
        started, asked = time.perf_counter(), request.query_params
        answer = await self._before(request, self.world.switches.genesys.take())
        if answer is None:
            address, count = asked.get("address", ""), asked.get("count", "10")
            if not address or not count.isdecimal():
                self.world.violation(WHO, "a list has an address, and a count that is a number")
                answer = _said(400, "INVALID_PARAMETER")
            else:
                found = [one for one in self.world.secure.values() if one.address == address][-int(count) :]
                answer = _said(200, "SUCCESS", data=[self._shown(one) for one in reversed(found)])
        self.world.exchange(
            WHO, True, "GET", request.url.path, started, answer.status_code, b"", bytes(answer.body), "API key"
        )
        return answer

    def _shown(self, mail: SecureMail) -> dict[str, object]:
        shown: dict[str, object] = {"id": mail.id, "subject": mail.subject, "status": "unread"}
        return {**shown, "userData": mail.data} if self.world.switches.genesys.lists else shown

    async def _before(self, request: Request, mode: str) -> Response | None:
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", request.method)
            return Response(b'{"message":"Forbidden"}', 403, media_type="application/json")
        box = request.query_params.get("securebox", "abc")
        if not _BOX.fullmatch(box):
            self.world.violation(WHO, "a securebox has 3 to 16 letters and digits")
            return _said(400, "INVALID_PARAMETER")
        if mode == "silent":
            await wait_for_disconnect(request)
            return Response(status_code=500)
        return _said(500, "FAILURE") if mode == "500" else None

    def _send(self, request: Request, body: bytes, mode: str) -> Response:
        try:
            whole = orjson.loads(body) if len(body) <= MOST else None
        except ValueError:
            whole = None
        data = whole.get("data") if isinstance(whole, dict) else None
        operation = str(whole.get("operationId", "")) if isinstance(whole, dict) else ""
        if not isinstance(data, dict) or not isinstance(whole, dict) or whole.keys() - {"data", "operationId"}:
            self.world.violation(WHO, "a request is {data, operationId?}")
            return _said(400, "INVALID_PARAMETER")
        if unknown := data.keys() - FIELDS:
            self.world.violation(WHO, "no field but those of this tenant", ", ".join(sorted(unknown))[:200])
            return _said(400, "INVALID_PARAMETER")
        if mode == "refuse_fields" or not all(isinstance(data.get(one), str) and data[one] for one in NEEDED):
            return _said(200, "INVALID_PARAMETER")  # a good HTTP status says little
        files = data.get("attachments", [])
        if not isinstance(files, list) or len(files) > MOST_FILES or not all(_is_file(one) for one in files):
            return _said(400, "INVALID_PARAMETER")
        if any(one["contentType"] not in TYPES for one in files):
            return _said(400, "INVALID_FILE_TYPE")
        if any(one.operation == operation for one in self.world.secure.values() if operation):
            self.world.violation(WHO, "an email is submitted once", operation)
        box = request.query_params.get("securebox", "")
        told = data.get("userData")
        user_data = told if isinstance(told, dict) else {}
        mail = SecureMail(
            self.world.next_seq(), time.time(), str(uuid.uuid4()), operation, box, data["fromAddress"],
            " ".join(filter(None, (data.get("firstName"), data["lastName"]))), data.get("subject", ""), data["text"],
            {str(name): str(value) for name, value in user_data.items()},
            [(one["fileName"], one["contentType"], len(base64.b64decode(one["content"]))) for one in files],
        )  # fmt: skip
        self.world.keep_secure(mail)
        said = {
            "referenceId": "r",
            "operationId": operation,
            "secureMailId": mail.id,
            "selfUri": f"/securemail/{mail.id}",
        }
        return _said(200, "SUCCESS", **said)


def _is_file(one: object) -> bool:
    if not isinstance(one, dict) or one.keys() != FILE or not all(isinstance(value, str) for value in one.values()):
        return False
    try:
        base64.b64decode(one["content"], validate=True)
    except binascii.Error:
        return False
    return True


def _said(status: int, code: str, **more: object) -> Response:
    said = {"status": {"code": code, "message": "", "detail": ""}, **more}
    return Response(orjson.dumps(said), status, media_type="application/json")
