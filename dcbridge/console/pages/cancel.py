"""Cancel all messages that match: a count first, then a reason, then a page that shows how far it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dcbridge.console import running
from dcbridge.console.access import Person, Role, action, form_of, page
from dcbridge.console.context import ConsoleContext
from dcbridge.console.rendering import render
from dcbridge.console.views.query import Asked, read
from dcbridge.ledger.fields import State
from dcbridge.operations import controls
from dcbridge.operations.controls import OPEN, WAITING, Filter, UnknownName, Who
from dcbridge.operations.wording import utc

# What may be chosen -> states; the first is the usual one.
CHOICES: Mapping[str, tuple[State, ...]] = {
    "waiting": WAITING,
    "not sent": OPEN,
    **{state.value: (state,) for state in OPEN},
}
WORDS = {
    "cancelled": "cancelled: agents see Failed, reason 500",
    "again": "were cancelled before",
    "under way": "are under way or of unknown outcome: they are not ended, and not sent again",
    "sent": "were sent already",
    "ended": "had ended already",
    "gone": "are not remembered any more",
    "aside": "cannot be read by this version: dcbridge aside list shows them",
}


@page("/messages/cancel", Role.OPERATOR)
async def choose(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """The filter; with one, how many messages match it now. Nothing is changed."""
    return await _page(request, context, dict(request.query_params))


async def _page(
    request: Request, context: ConsoleContext, given: dict[str, str], errors: dict[str, str] | None = None
) -> Response:
    now = await controls.now(context.ledger)
    state = given.get("states", "waiting")
    asked = read({name: given.get(name, "") for name in ("channel", "provider", "after", "before")}, now)
    wrong = dict(asked.errors) | (errors or {})
    if state not in CHOICES:
        state, wrong["states"] = "waiting", f"Use one of {', '.join(CHOICES)}."
    counts: Counter[tuple[str, str]] | None = None
    wanted = not asked.is_empty or given.get("all") == "1"
    chosen = _filter(asked, state, now)
    if wanted and not asked.errors:
        try:
            found = await controls.find(context.ledger, context.configuration, chosen)
            counts = Counter(found.values())
        except UnknownName as error:
            wrong["channel"] = str(error)
    return render(
        request,
        "cancel.html",
        422 if wrong else 200,
        title="Cancel many messages",
        asked=asked,
        state=state,
        choices=list(CHOICES),
        all=given.get("all") == "1",
        channels=["", *sorted(context.configuration.channels)],
        providers=["", *sorted(context.configuration.providers)],
        rows=sorted((channel, word, count) for (channel, word), count in (counts or {}).items()),
        count=sum(counts.values()) if counts is not None else None,
        chosen=str(chosen),
        before=_iso(chosen.before or now),
        errors=wrong,
        now=now,
    )


def _iso(seconds: float) -> str:
    """As the field takes it, to a millisecond: what is accepted later than the count is left alone."""
    return utc(seconds)[:-1] + "+00:00"


def _filter(asked: Asked, state: str, now: float) -> Filter:
    return Filter(asked.channel, asked.provider, CHOICES[state], asked.since, asked.until or now)


@action("/messages/cancel", Role.OPERATOR, "cancel", recorded=False)
async def cancel(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Begin it. What was accepted after the count was shown is left alone."""
    form = dict(form_of(request))
    asked = read({name: form.get(name, "") for name in ("channel", "provider", "after", "before")}, 0.0)
    state, why = form.get("states", ""), form.get("why", "").strip()[: controls.WORDS]
    if asked.errors or state not in CHOICES or not asked.before:
        raise HTTPException(400)
    if not why:
        return await _page(request, context, form, {"why": "Give a reason: the audit records it."})
    ledger, configuration, chosen = context.ledger, context.configuration, _filter(asked, state, 0.0)
    run = await ledger.runs.begin(
        "cancel", str(chosen), person.name, why, asked.address("/messages/cancel", states=state, before="")
    )

    async def refs() -> Sequence[str]:
        return list(await controls.find(ledger, configuration, chosen))

    def act(found: Sequence[str]) -> Callable[[Callable[[int], object]], Awaitable[Counter[str]]]:
        return lambda went: controls.cancel(ledger, found, str(chosen), Who(person.name, why), went)

    await running.start(ledger, run, refs, act)
    return RedirectResponse(f"/runs/{run.id}", 303)


@page("/runs/{id}", Role.VIEWER)
async def progress(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """How far it is, for whoever has its address."""
    name = request.path_params["id"]
    run = await context.ledger.runs.read(name) if name.isalnum() and len(name) == 16 else None
    if run is None:
        raise HTTPException(404)
    now = await controls.now(context.ledger)
    return render(
        request,
        "run.html",
        title=f"{run.action.capitalize()}: {run.of}",
        run=run,
        now=now,
        words=WORDS,
        interrupted=run.is_interrupted(now),
    )


ROUTES = [choose, cancel, progress]
