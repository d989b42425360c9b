"""What handlers have in common: where an action leads back to, and what it says there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

ASKED = 200  # characters of one part of a query that are read


class Fields(dict[str, Any]):
    """What a template reads by name; "" where there is nothing."""

    def __missing__(self, name: str) -> str:
        return ""


def back_to(*parts: str, done: str = "") -> Response:
    """To a page of ours; `done` is the key of what it says."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return RedirectResponse(path + (f"?done={quote(done, safe='')}" if done else ""), 303)


def notice(request: Request, words: Mapping[str, str]) -> str:
    """What has just been done, by its key; "" for any other."""
    return words.get(request.query_params.get("done", ""), "")


def asked(query: QueryParams, name: str) -> str:
    """One part of a query, in one line and bounded."""
    return query.get(name, "").strip()[:ASKED]


def link(path: str, **parts: str) -> str:
    """A page with these parts of its query, without empty ones."""
    query = "&".join(f"{name}={quote(part, safe='')}" for name, part in parts.items() if part)
    return f"{path}?{query}" if query else path
