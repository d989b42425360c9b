"""Look at the installation, the companies' settings and the DNS, when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic, time

from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import Person, Role, action, form_of, page, record
from dcbridge.console.context import ConsoleContext
from dcbridge.console.rendering import render
from dcbridge.operations.doctor.checks import Wanted, examined
from dcbridge.operations.doctor.dkim import is_selector
from dcbridge.operations.doctor.finding import Finding, Severity

MOST_SELECTORS = 10
MOST_CHANNELS = 500  # in the list to choose from

_running: set[str] = set()  # who has the doctor look just now; it asks others, so it does so once at a time


@page("/doctor", Role.VIEWER)
async def form(request: Request, context: ConsoleContext, _person: Person) -> Response:
    return _page(request, context, {})


@action("/doctor", Role.OPERATOR, "doctor.look")
async def look(request: Request, context: ConsoleContext, person: Person) -> Response:
    """The findings themselves: the answer to the form, which nobody else sees."""
    given = form_of(request)
    said = {name: given.get(name, "").strip() for name in ("channel", "selectors", "deep")}
    selectors = tuple(said["selectors"].replace(",", " ").split())
    errors = {}
    if said["channel"] and context.configuration.channel(said["channel"]) is None:
        errors["channel"] = "There is no such channel."
    if len(selectors) > MOST_SELECTORS or not all(map(is_selector, selectors)):
        errors["selectors"] = f"Write at most {MOST_SELECTORS} selectors, such as selector1, with blanks between them."
    if errors:
        return _page(request, context, said, errors=errors, status=400)
    if _running:
        notice = "The doctor is running already. Try again in a minute."
        return _page(request, context, said, notice=notice, notice_kind="warn", status=409)
    record(request, what=said["channel"] or "everything")
    wanted = Wanted(said["channel"] or None, bool(said["deep"]), selectors)
    _running.add(person.name)
    began = monotonic()
    try:
        found = [one async for findings in examined(context.session(), wanted) for one in findings]
    finally:
        _running.clear()
    return _page(request, context, said, found=found, took=monotonic() - began)


def _page(
    request: Request,
    context: ConsoleContext,
    said: dict[str, str],
    *,
    found: Sequence[Finding] | None = None,
    took: float = 0.0,
    errors: dict[str, str] | None = None,
    status: int = 200,
    **more: str,
) -> Response:
    groups = [
        ("wrong", "Errors", "bad", Severity.ERROR),
        ("look", "Warnings", "warn", Severity.WARNING),
        ("notes", "Notes", "note", Severity.NOTE),
    ]
    listed = found or ()
    return render(
        request,
        "doctor.html",
        status,
        title="Doctor",
        channels=[
            ("", "All channels"),
            *((one, one) for one in sorted(context.configuration.channels)[:MOST_CHANNELS]),
        ],
        said={"channel": "", "selectors": "", "deep": ""} | said,
        errors=errors or {},
        looked=found is not None,
        now=time(),
        took=took,
        lists=[
            (name, words, kind, [one for one in listed if one.severity is severity])
            for name, words, kind, severity in groups
        ],
        well=[one for one in listed if one.severity is Severity.OK],
        **more,
    )


ROUTES = [form, look]
