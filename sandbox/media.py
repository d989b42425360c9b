"""Digital Channels' media store: POST, GET and DELETE under /nexus/v3/channels/{channelId}/media.

The signature covers the raw body: the whole multipart body of an upload, no bytes for GET and DELETE.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from email.message import Message

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.digital_channels import WHO, BrokenRuleError, check_caller, error
from sandbox.world import World

KEPT = 1_000
MOST = 10 << 20  # bytes of a file; Genesys publishes no limit
_Act = Callable[[Request, str, bytes], Response]
ALLOWED = ("image/", "audio/", "video/", "text/plain", "text/vcard", "application/pdf", "application/octet-stream")


class Media:
    def __init__(self, world: World) -> None:
        self.world = world

    async def upload(self, request: Request) -> Response:
        return await self._answer(request, self._store)

    async def one(self, request: Request) -> Response:
        return await self._answer(request, self._delete if request.method == "DELETE" else self._fetch)

    async def _answer(self, request: Request, act: _Act) -> Response:
        started = time.perf_counter()
        body = await request.body()
        channel = request.path_params["channel_id"]
        try:
            check_caller(self.world, request, channel, body)
            response = act(request, channel, body)
        except BrokenRuleError as broken:
            self.world.violation(WHO, broken.rule, f"answered {broken.status}")
            response = Response(error(broken.status, broken.rule), broken.status, media_type="application/json")
        check = "" if response.status_code == 401 else "signature"
        shown = b"(%d bytes)" % len(body) if body else b""
        answered = bytes(response.body) if response.media_type == "application/json" else b"(the file)"
        self.world.exchange(
            WHO, True, request.method, request.url.path, started, response.status_code, shown, answered, check
        )
        return response

    def _store(self, request: Request, channel: str, body: bytes) -> Response:
        filename, mimetype, content = file_part(request.headers.get("content-type", ""), body)
        if not mimetype.startswith(ALLOWED):
            raise BrokenRuleError(415, f"{mimetype} is not an allowed media type")
        if not content or len(content) > MOST:
            raise BrokenRuleError(413 if content else 400, f"a file has 1 to {MOST} bytes")
        media_id = str(uuid.uuid4())
        self.world.media[(channel, media_id)] = (filename, mimetype, content)
        if len(self.world.media) > KEPT:
            self.world.media.popitem(last=False)
        return _described(media_id, filename, mimetype, len(content))

    def _fetch(self, request: Request, channel: str, body: bytes) -> Response:
        _, mimetype, content = self._found(request, channel)
        return Response(content, headers={"content-type": mimetype})

    def _delete(self, request: Request, channel: str, body: bytes) -> Response:
        filename, mimetype, content = self._found(request, channel)
        media_id = request.path_params["media_id"]
        del self.world.media[(channel, media_id)]
        return _described(media_id, filename, mimetype, len(content))

    def _found(self, request: Request, channel: str) -> tuple[str, str, bytes]:
        found = self.world.media.get((channel, request.path_params["media_id"]))
        if found is None:
            raise BrokenRuleError(404, "Media not found")
        return found


def _described(media_id: str, filename: str, mimetype: str, length: int) -> Response:
    data = {
        "mediaId": media_id,
        "url": f"genesys://nexus/{media_id}",
        "filename": filename,
        "mimetype": mimetype,
        "length": length,
    }
    return Response(orjson.dumps({"status": {"code": 0}, "data": data}), media_type="application/json")


def file_part(content_type: str, body: bytes) -> tuple[str, str, bytes]:
    """File name, media type and bytes of the multipart part named `file`. Raises BrokenRuleError 400."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str):
        raise BrokenRuleError(400, "an upload is multipart/form-data with a boundary")
    delimiter = b"\r\n--" + boundary.encode("latin-1")
    sections = (b"\r\n" + body).split(delimiter)
    if len(sections) < 3 or not sections[-1].startswith(b"--"):
        raise BrokenRuleError(400, "the multipart body ends with its closing boundary")
    for section in sections[1:-1]:
        head, blank, content = section.partition(b"\r\n\r\n")
        if not blank:
            raise BrokenRuleError(400, "a part has headers, a blank line and content")
        headers = Message()
        for line in re.split(rb"\r\n", head.strip()):
            name, _, value = line.decode("utf-8", "replace").partition(":")
            headers[name.strip()] = value.strip()
        if headers.get_param("name", header="content-disposition") == "file":
            return headers.get_filename("file"), headers.get_content_type(), content
    raise BrokenRuleError(400, "an upload has a part named file")
