"""Pictures in the sandbox: those that a consumer or an agent sends, and those that came through the bridge.

A company fetches a file of an agent's as it does in life: HEAD, then GET. The agent opens a link as a browser does.
Whatever the bridge serves is checked: its type, and that a browser runs nothing in it.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world import World

MOST = 5_000_000  # bytes of a file
KEPT = 200
SHOWN = ("image/jpeg", "image/png", "image/gif", "image/webp")
_LINK = re.compile(r"https?://\S+/m/[A-Za-z0-9_-]{20,400}")
_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}


@dataclass(frozen=True, slots=True)
class File:
    """What a page shows, or a company has for the bridge."""

    mimetype: str
    data: bytes


class WrongFileError(Exception):
    """A file of a control that cannot be taken; says why."""


def keep(world: World, file: File) -> str:
    """Its id."""
    file_id = uuid.uuid4().hex
    world.files[file_id] = file
    while len(world.files) > KEPT:
        world.files.popitem(last=False)
    return file_id


def shown(file_id: str) -> str:
    """Where the page finds it."""
    return f"/sandbox/file/{file_id}"


def given(asked: Mapping[str, Any]) -> File | None:
    """The file of a control's request: {"file": {"type", "data"}}, its data in base64. Raises WrongFileError."""
    told = asked.get("file")
    if told is None:
        return None
    try:
        kind, data = told["type"], base64.b64decode(told["data"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise WrongFileError("file: an object {type, data}, the data in base64") from None
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z]+/[a-z0-9.+-]{1,60}", kind) or not 0 < len(data) <= MOST:
        raise WrongFileError(f"file: a media type, and 1 to {MOST} bytes")
    return File(kind, data)


def routes(world: World) -> list[Route]:
    async def one(request: Request) -> Response:
        file = world.files.get(request.path_params["file_id"])
        if file is None:
            return Response(status_code=404)
        kind = file.mimetype if file.mimetype in SHOWN else "application/octet-stream"
        return Response(file.data, headers={**_HEADERS, "content-type": kind, "cache-control": "private, max-age=3600"})

    return [Route("/sandbox/file/{file_id}", one, methods=["GET"])]


async def of_text(world: World, who: str, text: str) -> list[str]:
    """The pictures behind the links in a text, opened as a browser opens them."""
    found = [await fetched(world, who, link, ("GET",)) for link in _LINK.findall(text)[:10]]
    return [shown(file_id) for file_id in found if file_id]


async def fetched(world: World, who: str, url: str, methods: tuple[str, ...] = ("HEAD", "GET")) -> str:
    """The id of a file that the bridge serves; "" where it serves none. What it does wrong is noted."""
    public = world.config.public_url
    where = world.config.bridge_url + url.removeprefix(public) if public and url.startswith(public) else url
    answers: list[httpx.Response] = []
    for method in methods:
        started = time.perf_counter()
        try:
            answer = await world.client.request(method, where)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError):
            world.exchange(who, False, method, "/m/…", started, 0, b"", b"")
            return ""
        said = b"(%d bytes)" % len(answer.content)
        world.exchange(who, False, method, "/m/…", started, answer.status_code, b"", said)
        if answer.status_code != 200:
            world.violation(who, "a link to a file leads to it", f"answered {answer.status_code} to {method}")
            return ""
        answers.append(answer)
    _check(world, who, answers)
    last = answers[-1]
    return keep(world, File(last.headers.get("content-type", ""), last.content))


def _check(world: World, who: str, answers: list[httpx.Response]) -> None:
    last = answers[-1]
    if any(one.headers.get("content-type") != last.headers.get("content-type") for one in answers):
        world.violation(who, "HEAD and GET of a file say the same type")
    for one in answers:
        if one.headers.get("content-length", str(len(last.content))) != str(len(last.content)):
            world.violation(who, "Content-Length of a file is its length")
    if last.headers.get("x-content-type-options") != "nosniff":
        world.violation(who, "a file is served with nosniff")
    if "sandbox" not in last.headers.get("content-security-policy", ""):
        world.violation(who, "a file is served with a policy that runs nothing in it")
