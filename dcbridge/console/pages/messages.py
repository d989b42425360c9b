"""The search for messages. A number or an address is posted, and leaves no trace in an address or a log."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dcbridge.console import searching
from dcbridge.console.access import Person, Role, action, form_of, page
from dcbridge.console.context import ConsoleContext
from dcbridge.console.rendering import render
from dcbridge.console.searching import Found, NoTokenKey
from dcbridge.console.views.query import STATES, Asked, read
from dcbridge.ledger.reports import index
from dcbridge.operations import controls, find

LONGEST = 320  # characters of what is searched for: no id, number or mailbox is longer


@page("/messages", Role.VIEWER)
async def messages(request: Request, context: ConsoleContext, person: Person) -> Response:
    """What matches, the newest first; without a filter the newest of all."""
    now = await controls.now(context.ledger)
    asked = read(request.query_params, now)
    found, errors = Found((), "", 0), dict(asked.errors)
    if find.is_address(asked.id):
        raise HTTPException(400, "A number or an address does not belong in a URL. Enter it in the search field.")
    if asked.id:
        context.count_search(person)
        named = await searching.by_id(context.session(), asked.id)
        found = Found(await searching.rows_of(context.session(), named.members), "", len(named.members))
    elif not errors:
        try:
            found = await searching.page(context.session(), asked)
        except ValueError:
            errors["cursor"] = "The list has changed. Begin at the newest again."
    return await _list(request, context, asked, found, now, errors)


async def _list(
    request: Request, context: ConsoleContext, asked: Asked, found: Found, now: float, errors: dict[str, str]
) -> Response:
    return render(
        request,
        "messages.html",
        422 if errors else 200,
        title="Messages",
        asked=asked,
        found=found,
        now=now,
        errors=errors,
        indexes=context.settings.search_index,
        indexed=await index.is_there(context.ledger.redis),
        states=("", *STATES),
        channels=_names(context.configuration.channels),
        providers=_names(context.configuration.providers),
        older=asked.address(cursor=found.cursor) if found.cursor else "",
        newest=asked.address() if asked.cursor else "",
    )


def _names(known: object) -> list[str]:
    assert isinstance(known, dict)
    return ["", *sorted(known)]


@action("/messages/find", Role.VIEWER, "find", recorded=False)
async def search(request: Request, context: ConsoleContext, person: Person) -> Response:
    """By whatever is in hand. What was typed is not shown again: it may be a number."""
    given = form_of(request).get("q", "").strip()[:LONGEST]
    session = context.session()
    if not given:
        return RedirectResponse("/messages", 303)
    context.count_search(person)
    if find.is_address(given):
        try:
            return RedirectResponse(f"/messages?who={searching.who_is(session, given)}", 303)
        except NoTokenKey:
            return _nothing(request, ["DCBRIDGE_TOKEN_KEY is not set, so numbers and addresses are not indexed."])
    found = await searching.by_id(session, given)
    match list(found.members), list(found.letters):
        case [one], _:
            return RedirectResponse(f"/messages/{one[2:]}" if one.startswith("m:") else f"/tasks/{one[2:]}", 303)
        case [_, *_], _:
            return RedirectResponse(Asked(id=given).address(), 303)
        case [], [letter, *_]:
            return RedirectResponse(f"/dead-letters/{letter}", 303)
        case _:
            return _nothing(request, _why_nothing(context, everything=found.all))


def _why_nothing(context: ConsoleContext, *, everything: bool) -> Sequence[str]:
    days = context.settings.retention_days
    said = [f"Messages are kept for {days:g} days after their receipt was posted."]
    if not everything:
        said.append(
            "A provider's id of an agent message and a trace id have no index:"
            " dcbridge trace --search looks through everything that is stored."
        )
    return [*said, "If the webhook was refused, its signature was wrong: see Signature trouble."]


def _nothing(request: Request, why: Sequence[str]) -> Response:
    return render(request, "not_found.html", 404, title="Nothing goes by that", why=why)


ROUTES = [messages, search]
