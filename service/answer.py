"""An answer as bytes, sent as it is; and one that was decided before there was anything to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from starlette.types import Send

RETRY_AFTER = {"retry-after": "5"}  # seconds
_JSON = (b"content-type", b"application/json")
_WITHOUT_BODY = (204, 304)


@dataclass(slots=True)
class Answer:
    """`content_type`: without one a body of JSON is meant, "" is none."""

    status: int
    body: bytes
    headers: Mapping[str, str] | None = None
    content_type: str | None = None

    async def send(self, send: Send) -> None:
        headers = [_JSON] if self.content_type is None else []
        if self.status not in _WITHOUT_BODY:
            headers.append((b"content-length", b"%d" % len(self.body)))
        if self.content_type:
            headers.append((b"content-type", _with_charset(self.content_type).encode("latin-1")))
        for name, value in (self.headers or {}).items():
            headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Refusal(Exception):
    """An answer other than 200, decided: the status, a word for the metric, and what to tell the sender."""

    def __init__(self, status: int, outcome: str, says: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(outcome)
        self.status, self.outcome, self.says, self.headers = status, outcome, says, headers or {}


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, orjson.dumps(value), headers)


def plain(status: int, says: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A small JSON answer."""
    return json_answer({"error": says}, status, headers)


def _with_charset(content_type: str) -> str:
    is_bare = content_type.startswith("text/") and "charset=" not in content_type.lower()
    return f"{content_type}; charset=utf-8" if is_bare else content_type
