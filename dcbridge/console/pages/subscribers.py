"""Subscribers of events: how it goes with each, what waits and why, and a test event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console import stops
from dcbridge.console.access import action, form_of, page, record
from dcbridge.console.answers import Fields, back_to, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.events.sinks import Subscriber
from dcbridge.ledger import controls as ledger_controls
from dcbridge.ledger.controls import Control, Target, What
from dcbridge.ledger.reports.books import SubscriberBooks
from dcbridge.operations import controls
from dcbridge.operations.loaded import lines
from dcbridge.operations.subscribers import Tried, state, try_one

OLDEST = 10  # deliveries that wait longest
WITHIN = 30.0  # seconds for a test event
NOTICES = {
    "paused": "The subscriber is paused. Its events wait.",
    "resumed": "The pause is over. What waited is delivered.",
    "nothing": "Nothing was in force.",
    "enabled": "It is enabled. Waiting events are delivered first.",
    "disabled": "It is disabled. Its events wait until it is enabled, keep_backlog at most.",
}


def states(
    configured: Subscriber | None, books: SubscriberBooks | None, stopped: Mapping[str, Control]
) -> list[tuple[str, str]]:
    """The worst first."""
    found = []
    words = state(configured, books)
    if words != "on":
        found.append(("off" if words.endswith("bridge.yaml") else "bad", words))
    if books and books.breaker_open:
        found.append(("bad", "breaker open"))
    if books and books.difference:
        found.append(("bad", "the books do not balance"))
    if What.SUBSCRIBER.value in stopped:
        found.append(("warn", "paused"))
    return found or [("good", "ok")]


@page("/subscribers", Role.VIEWER)
async def subscriber_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    configured = context.configuration.subscribers
    books = {one.name: one for one in await context.ledger.subscribers.all()}
    stopped = await ledger_controls.read(context.ledger.redis)
    found: list[Mapping[str, Any]] = []
    for name in sorted({*configured, *books}):
        one = configured.get(name)
        mine = stops.in_force(stopped, Target(What.SUBSCRIBER, name))
        found.append({
            "name": name,
            "one": one,
            "books": books.get(name),
            "states": states(one, books.get(name), mine),
            "place": one.sink.place if one else "",
        })  # fmt: skip
    found.sort(key=lambda row: (row["states"][0][0] == "good", row["name"]))
    return render(request, "subscribers.html", title="Subscribers", rows=found)


def _known(request: Request, context: ConsoleContext) -> tuple[str, Subscriber]:
    """Raises HTTPException 404."""
    name = request.path_params["subscriber"]
    found = context.configuration.subscribers.get(name)
    if found is None:
        raise HTTPException(404)
    return name, found


async def _show(
    request: Request,
    context: ConsoleContext,
    status: int = 200,
    *,
    errors: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    tried: Tried | None = None,
) -> Response:
    name, one = _known(request, context)
    ledger = context.ledger
    books = next((found for found in await ledger.subscribers.all() if found.name == name), None)
    stopped = stops.in_force(await ledger_controls.read(ledger.redis), Target(What.SUBSCRIBER, name))
    oldest = await ledger.deliveries.oldest(name, OLDEST)
    return render(
        request,
        "subscriber.html",
        status,
        title=f"Subscriber {name}",
        notice=notice(request, NOTICES),
        name=name,
        one=one,
        books=books,
        now=await controls.now(ledger),
        states=states(one, books, stopped),
        stopped=Fields(stopped),
        oldest=[(key.removesuffix(f"-{name}"), entry) for key, entry in oldest.items()],
        lines=lines(one),
        lasts=stops.LASTS,
        errors=Fields(errors or {}),
        given=Fields(given or {}),
        tried=tried,
    )


@page("/subscribers/{subscriber}", Role.VIEWER)
async def one_subscriber(request: Request, context: ConsoleContext, _person: Person) -> Response:
    return await _show(request, context)


@action("/subscribers/{subscriber}/pause", Role.OPERATOR, "pause", recorded=False)
async def pause(request: Request, context: ConsoleContext, person: Person) -> Response:
    name, _ = _known(request, context)
    form = form_of(request)
    asked_for, errors = stops.read(form, await controls.now(context.ledger))
    if errors:
        return await _show(request, context, 422, errors=errors, given=form)
    await stops.begin(context, person, Target(What.SUBSCRIBER, name), asked_for)
    return back_to("subscribers", name, done="paused")


@action("/subscribers/{subscriber}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    name, _ = _known(request, context)
    was = await stops.end(context, person, Target(What.SUBSCRIBER, name), stops.reason(form_of(request)))
    return back_to("subscribers", name, done="resumed" if was else "nothing")


@action("/subscribers/{subscriber}/enable", Role.OPERATOR, "subscriber.enable")
async def enable(request: Request, context: ConsoleContext, _person: Person) -> Response:
    name, _ = _known(request, context)
    was = await context.ledger.subscribers.enable(name)
    record(request, what=f"subscriber {name}", result="enabled" if was else "was not disabled")
    return back_to("subscribers", name, done="enabled" if was else "nothing")


@action("/subscribers/{subscriber}/disable", Role.OPERATOR, "subscriber.disable")
async def disable(request: Request, context: ConsoleContext, person: Person) -> Response:
    name, _ = _known(request, context)
    was = await context.ledger.subscribers.disable(name, stops.who(person).by)
    record(request, what=f"subscriber {name}", result="disabled" if was else "was disabled already")
    return back_to("subscribers", name, done="disabled")


@action("/subscribers/{subscriber}/test", Role.OPERATOR, "test.event")
async def try_event(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Delivered from here, once and at once; it is not stored."""
    name, one = _known(request, context)
    try:
        async with asyncio.timeout(WITHIN):
            tried = await try_one(context.session(), name, one)
    except TimeoutError:
        tried = Tried(False, f"{name} did not answer within {WITHIN:g} seconds")
    record(request, what=f"subscriber {name}", result="accepted" if tried.accepted else tried.says)
    return await _show(request, context, tried=tried)


ROUTES = [subscriber_list, one_subscriber, pause, resume, enable, disable, try_event]
