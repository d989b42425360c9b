"""The audit: who changed what, who looked at what was hidden, and who signed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dcbridge.console.access import page
from dcbridge.console.answers import Fields, asked, link
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.operations import audit as record
from dcbridge.operations import controls
from dcbridge.operations.audit import About, Wanted

SHOWN = 50
_FILES = {"csv": ("text/csv; charset=utf-8", record.as_csv), "jsonl": ("application/x-ndjson", record.as_json_lines)}


def _wanted(request: Request) -> tuple[Wanted, dict[str, str]]:
    """What the query asks for, and its errors by field."""
    query, errors = request.query_params, dict[str, str]()
    about = asked(query, "about")
    since, until = (_day(asked(query, name), errors, name) for name in ("since", "until"))
    if since and until and until < since:
        errors["until"] = "should not be before the first day"
    return Wanted(
        by=asked(query, "by"),
        action=asked(query, "action"),
        about=About(about) if about in set(About) else None,
        since=since.timestamp() if since else 0.0,
        until=(until + timedelta(days=1)).timestamp() if until else None,
    ), errors


def _day(text: str, errors: dict[str, str], name: str) -> datetime | None:
    if not text:
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        day = None
    if day is None or not 1970 <= day.year < 9999:
        errors[name] = "should be a day such as 2026-11-26"
        return None
    return day


def _query(request: Request) -> dict[str, str]:
    return {name: asked(request.query_params, name) for name in ("by", "action", "about", "since", "until")}


@page("/audit", Role.VIEWER)
async def audit(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """One command, and at most 23 where a filter is set."""
    wanted, errors = _wanted(request)
    given = _query(request)
    cursor = asked(request.query_params, "cursor")
    found = record.Page((), "") if errors else await record.page(context.ledger, wanted, cursor, SHOWN)
    return render(
        request,
        "audit.html",
        422 if errors else 200,
        title="Audit",
        now=await controls.now(context.ledger),
        lines=[(one, record.about(one), record.subject(one), record.result(one)) for one in found.lines],
        given=given,
        errors=Fields(errors),
        filtered=any(given.values()),
        older=link("/audit", **given, cursor=found.cursor) if found.cursor else "",
        newest=link("/audit", **given) if cursor else "",
        files=[(name, link(f"/audit/export/{name}", **given)) for name in _FILES],
    )


@page("/audit/export/{kind}", Role.VIEWER)
async def export(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """The same lines as a file, without pages."""
    kind = request.path_params["kind"]
    wanted, errors = _wanted(request)
    if kind not in _FILES or errors:
        return render(request, "error.html", 404, code=404, title="There is no such file", then="Go back to the audit.")
    media_type, write = _FILES[kind]
    name = f"dcbridge-audit-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(write(record.every(context.ledger, wanted)), headers=headers, media_type=media_type)


ROUTES = [audit, export]
