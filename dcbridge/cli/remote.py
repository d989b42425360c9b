"""A console that is asked in place of Redis: `dcbridge --url https://console.example.com --token dcbc_… status`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
import orjson
from pydantic import TypeAdapter, ValidationError

from dcbridge.printable import printable
from dcbridge.settings.types import PublicUrl

MOST = 64 << 20  # bytes of an answer
WITHIN = 300.0  # seconds for all of them
NO, CANNOT_ASK, AWAY = 1, 2, 3  # exit codes, as those of terminal.py
_LOCAL_ONLY = "this command reads Redis itself: run it where Redis can be reached, without --url and DCBRIDGE_URL"

# The options --url and --token of `dcbridge`.
OPTIONS: ContextVar[tuple[str, str]] = ContextVar("options", default=("", ""))


class RemoteError(Exception):
    """What to say, and the exit code."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True)
class Remote:
    """One console. `token`: of `dcbridge console token create`."""

    url: str
    token: str = field(repr=False)

    def get(self, path: str, **query: object) -> Any:
        """Raises RemoteError."""
        return self._ask("GET", path, params={name: _text(value) for name, value in query.items() if value is not None})

    def post(self, path: str, **body: object) -> Any:
        """Raises RemoteError."""
        return self._ask("POST", path, json={name: value for name, value in body.items() if value is not None})

    def _ask(self, method: str, path: str, **how: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "User-Agent": "dcbridge"}
        headers["Accept-Encoding"] = "identity"  # a few bytes cannot become many
        try:
            with (
                httpx.Client(base_url=self.url, headers=headers, timeout=60.0) as client,
                client.stream(method, f"/api/v1/{path}", **how) as answer,
            ):
                content = bytearray()
                until = time.monotonic() + WITHIN
                for piece in answer.iter_raw():
                    content += piece
                    if len(content) > MOST or time.monotonic() > until:
                        raise RemoteError("the console's answer is too long", AWAY)
                status = answer.status_code
        except (httpx.HTTPError, UnicodeError) as error:
            raise RemoteError(f"the console cannot be reached: {type(error).__name__}", AWAY) from None
        try:
            found = orjson.loads(content)
        except ValueError:
            found = None
        if status == 200 and isinstance(found, dict):
            return found
        raise _refusal(status, found)


def unreadable() -> RemoteError:
    """Of an answer that has other fields than a console's."""
    return RemoteError("the console's answer cannot be read: is it of another version?", AWAY)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, found: object) -> RemoteError:
    """By what problem+json says."""
    said = found if isinstance(found, Mapping) else {}
    detail = printable(str(said.get("detail") or ""))[:300]
    if not detail:
        return RemoteError(f"there is no console at this URL: http {status}", AWAY)
    match status:
        case 401:
            return RemoteError("the console does not know this token, or it is over: see --token", CANNOT_ASK)
        case 403:
            return RemoteError("the role of this token does not allow that", CANNOT_ASK)
        case 404 | 409:
            return RemoteError(detail, NO)
        case 503:
            return RemoteError(f"the console says: {detail}", AWAY)
    errors = said.get("errors")
    rows = [one for one in errors if isinstance(one, Mapping)] if isinstance(errors, list) else []
    named = ", ".join(f"{one.get('field')}: {one.get('detail')}" for one in rows[:10])
    return RemoteError(printable(f"{detail}{f': {named}' if named else ''}")[:600], CANNOT_ASK)


def remote_of(url: str, token: str) -> Remote:
    """What the options of `dcbridge` say. Raises RemoteError."""
    try:
        read: str = TypeAdapter(PublicUrl).validate_python(url)
    except ValidationError:
        raise RemoteError(
            "--url should be the console's https:// URL; http is for this computer itself (localhost) only", CANNOT_ASK
        ) from None
    if not token.isascii() or not token.isprintable() or not token:
        raise RemoteError("--token, or DCBRIDGE_TOKEN, should be a token of dcbridge console token create", CANNOT_ASK)
    return Remote(read, token)


def chosen() -> Remote | None:
    """The console that this command is to ask; None for Redis. Raises RemoteError."""
    url, token = OPTIONS.get()
    return remote_of(url, token) if url else None


def local_only() -> NoReturn:
    """Raises RemoteError."""
    raise RemoteError(_LOCAL_ONLY, CANNOT_ASK)


def segment(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")
