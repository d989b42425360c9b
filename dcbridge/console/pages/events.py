"""Interaction events: the newest, where each was delivered, and one again to one subscriber."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import action, form_of, page, record
from dcbridge.console.answers import asked, back_to, link, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.events.event import StoredEvent, lane, read
from dcbridge.ledger.events import Ended
from dcbridge.operations import controls
from dcbridge.operations.wording import format_duration
from dcbridge.settings.process import DAY

SHOWN = 50
LOOKED = 2000  # events that one page looks at for those that match
STEP = 500
NOTICES = {
    "again": "It will be delivered to that subscriber again.",
    "waiting": "It still waits for delivery to that subscriber.",
    "gone": "The event is not kept any more.",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One page; `cursor` of what is behind it, "" at the end."""

    events: Sequence[StoredEvent]
    cursor: str
    looked: int


async def find(context: ConsoleContext, name: str, interaction: str, endpoint: str, cursor: str) -> Found:
    """The next events that match, of at most LOOKED: eight round trips."""
    events, looked = context.ledger.events, 0
    found: list[StoredEvent] = []
    step = STEP if any((name, interaction, endpoint)) else SHOWN
    while looked < LOOKED:
        some = await events.page(cursor, step)
        last = next(reversed(some.members), "")
        async for event_id, stored in events.stored(list(some.members)):
            kept = readable(event_id, stored)
            if kept is None or not _has(kept, name, interaction, endpoint):
                continue
            found.append(kept)
            if len(found) == SHOWN:
                return Found(found, some.cursor if event_id == last else some.members[event_id], looked)
        looked, cursor = looked + len(some.members), some.cursor
        if not cursor:
            break
    return Found(found, cursor, looked)


def readable(event_id: str, stored: bytes) -> StoredEvent | None:
    """None for one that this version cannot read."""
    try:
        return read(event_id, stored)
    except (ValueError, LookupError, TypeError):
        return None


def _has(kept: StoredEvent, name: str, interaction: str, endpoint: str) -> bool:
    event = kept.event
    return (
        name.casefold() in ("", event.name.casefold())
        and interaction in ("", event.interaction)
        and endpoint in ("", event.endpoint)
    )


def summary(ended: dict[str, Ended]) -> list[tuple[str, str]]:
    """Badges: how many subscribers have it, and how many never will."""
    kinds = {"delivered": "good", "dead": "bad", "dropped": "warn"}
    counts = Counter(one.how for one in ended.values())
    return [(kinds.get(how, "off"), f"{count} {how}") for how, count in sorted(counts.items())]


@page("/events", Role.VIEWER)
async def event_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    query = request.query_params
    given = {name: asked(query, name) for name in ("event", "interaction", "endpoint")}
    cursor = asked(query, "cursor")
    found = await find(context, given["event"], given["interaction"], given["endpoint"], cursor)
    ended = await context.ledger.events.all_ended([one.event.id for one in found.events]) if found.events else []
    return render(
        request,
        "events.html",
        title="Events",
        now=await controls.now(context.ledger),
        rows=[(one.event, summary(its)) for one, its in zip(found.events, ended, strict=True)],
        given=given,
        endpoints=[("", "any"), *context.configuration.interactions],
        filtered=any(given.values()),
        looked=found.looked,
        kept=format_duration(context.settings.event_days * DAY),
        newest=link("/events", **given) if cursor else "",
        older=link("/events", **given, cursor=found.cursor) if found.cursor else "",
        configured=bool(context.configuration.interactions),
    )


async def _event(request: Request, context: ConsoleContext) -> StoredEvent:
    """Raises HTTPException 404."""
    event_id = request.path_params["event"]
    stored = await context.ledger.events.one(event_id)
    kept = readable(event_id, stored) if stored is not None else None
    if kept is None:
        raise HTTPException(404)
    return kept


@page("/events/{event}", Role.VIEWER)
async def one_event(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Without the fields of the entity, which may say anything about a person."""
    kept = await _event(request, context)
    ended = await context.ledger.events.ended(kept.event.id)
    configured = context.configuration.subscribers
    names = sorted({*configured, *ended})
    waiting = await context.ledger.tasks.entries([f"{kept.event.id}-{name}" for name in names])
    return render(
        request,
        "event.html",
        title=f"Event {kept.event.name or 'without a name'}",
        notice=notice(request, NOTICES),
        now=await controls.now(context.ledger),
        kept=kept,
        event=kept.event,
        received=kept.event.received_at.timestamp(),
        rows=[(name, ended.get(name), entry) for name, entry in zip(names, waiting, strict=True)],
        takers=[name for name, one in configured.items() if one.on and one.wants(kept.event)],
    )


@action("/events/{event}/replay", Role.OPERATOR, "event.replay")
async def replay(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """To one subscriber, with the same id and at its own pace."""
    kept = await _event(request, context)
    name = form_of(request).get("subscriber", "")
    subscriber = context.configuration.subscribers.get(name)
    if subscriber is None or not subscriber.on or not subscriber.wants(kept.event):
        raise HTTPException(422, "Choose a subscriber that is on and wants this event.")
    event_id = kept.event.id
    [answer] = await context.ledger.deliveries.replay(name, {event_id: lane(name, subscriber, kept.event)})
    record(request, what=f"{event_id} to {name}", result=answer)
    return back_to("events", event_id, done="again" if answer == "new" else answer)


ROUTES = [event_list, one_event, replay]
