"""What the API answers where it cannot do what was asked: problem+json (RFC 9457), which names the field."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
MOST = 50  # fields that are named


class Refusal(HTTPException):
    """A status, a sentence, and by field what is wrong with it. Says nothing of a value."""

    def __init__(self, status: int, detail: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail)
        self.fields = fields or {}


def invalid(error: ValidationError) -> Refusal:
    """Of what a model did not take."""
    found = {}
    for one in error.errors(include_url=False, include_input=False, include_context=False)[:MOST]:
        name = ".".join(str(part)[:50] for part in one["loc"]) or "body"
        found[name] = "is not a field of this operation" if one["type"] == "extra_forbidden" else one["msg"]
    return Refusal(422, "some fields are wrong", found)


def problem(status: int, detail: str, fields: Mapping[str, str] | None = None) -> Response:
    """As an answer."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    said: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if fields:
        said["errors"] = [{"field": name, "detail": what} for name, what in fields.items()]
    headers = {"WWW-Authenticate": 'Bearer realm="dcbridge"'} if status == 401 else {}
    return Response(orjson.dumps(said), status, headers, MEDIA_TYPE)
