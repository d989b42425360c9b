"""`dcbridge events`: look at interaction events, follow them, deliver them again to one subscriber."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.subscribers import configured
from dcbridge.cli.terminal import (
    ConfigOption,
    JsonOption,
    at_the_ledger,
    no_such,
    out,
    parse_time,
    print_block,
    print_json,
    progress,
    read_rate,
    say_error,
    say_warning,
)
from dcbridge.events.event import StoredEvent, lane, read
from dcbridge.events.sinks import Subscriber
from dcbridge.ledger.deliveries import Deliveries
from dcbridge.ledger.events import Ended, Events
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_duration, utc
from dcbridge.printable import printable
from dcbridge.settings.process import DAY
from dcbridge.tracing.ids import split

app = typer.Typer(help="Interaction events: list, tail, replay.", no_args_is_help=True, rich_markup_mode=None)

LOOK = 0.5  # seconds between two looks of `tail`
_AT_ONCE = 100  # events put back in one call

SinceOption = Annotated[
    str, typer.Option("--since", help="Only events received later: 90s, 30m, 2h, 7d, or an ISO time.")
]
UntilOption = Annotated[str, typer.Option("--until", help="Only events received earlier, in the same format.")]
EventOption = Annotated[str, typer.Option("--event", help="Only events of this name, such as STARTED.")]
InteractionOption = Annotated[str, typer.Option("--interaction", help="Only events of this interaction id.")]
EndpointOption = Annotated[str, typer.Option("--endpoint", help="Only events of this interactions webhook.")]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are meant. An empty text means any."""

    name: str = ""
    interaction: str = ""
    endpoint: str = ""

    def has(self, kept: StoredEvent) -> bool:
        event = kept.event
        return (
            self.name.casefold() in ("", event.name.casefold())
            and self.interaction in ("", event.interaction)
            and self.endpoint in ("", event.endpoint)
        )


@app.command("list")
def list_events(
    since: SinceOption = "",
    until: UntilOption = "",
    event: EventOption = "",
    interaction: InteractionOption = "",
    endpoint: EndpointOption = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many, the newest first.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List events, the newest first, and the states of their deliveries."""
    selection = Selection(event, interaction, endpoint)
    begin, end = _span(since, until)
    raise at_the_ledger(config, lambda session: _list(session, selection, begin, end, limit, as_json))


@app.command()
def tail(
    event: EventOption = "",
    interaction: InteractionOption = "",
    endpoint: EndpointOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show each event as it is received, until Ctrl-C."""
    selection = Selection(event, interaction, endpoint)
    try:
        raise at_the_ledger(config, lambda session: _tail(session, selection, as_json))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def replay(
    subscriber: Annotated[str, typer.Option("--subscriber", help="Name of the subscriber that receives them again.")],
    since: Annotated[str, typer.Option("--since", help="Events received later: 90s, 30m, 2h, 7d, or an ISO time.")],
    until: UntilOption = "",
    event: EventOption = "",
    interaction: InteractionOption = "",
    endpoint: EndpointOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    rate: Annotated[str, typer.Option(help="At most this many a second: 50 or 50/s.")] = "",
    config: ConfigOption = None,
) -> None:
    """Deliver events again to one subscriber, with the same ids.

    Its filters apply. The oldest is delivered first, after new events, at the subscriber's own pace. Other
    subscribers are not affected. Events that still wait for delivery are skipped, so a run may be interrupted
    and repeated. Exit code 1 if the subscriber does not exist, or is off.
    """
    selection = Selection(event, interaction, endpoint)
    begin, end = _span(since, until)
    pace = read_rate(rate)
    raise at_the_ledger(config, lambda session: _replay(session, subscriber, selection, begin, end, dry_run, pace))


def _span(since: str, until: str) -> tuple[float | None, float | None]:
    """Raises typer.BadParameter."""
    begin, end = parse_time(since, "--since") if since else None, parse_time(until, "--until") if until else None
    if begin is not None and end is not None and end <= begin:
        raise typer.BadParameter(f"--until should be later than --since, and {until} is not later than {since}")
    return begin, end


# ---------------------------------------------------------------- the work


async def _matching(events: Events, ids: list[str], selection: Selection) -> AsyncIterator[StoredEvent]:
    async for event_id, stored in events.stored(ids):
        kept = read(event_id, stored)
        if selection.has(kept):
            yield kept


async def _list(
    session: Session, selection: Selection, since: float | None, until: float | None, limit: int, as_json: bool
) -> int:
    events = session.ledger.events
    ids = await events.ids(since, until)
    found: list[StoredEvent] = []
    async for kept in _matching(events, ids[::-1], selection):
        found.append(kept)
        if len(found) > limit:
            break
    if not found:
        if not as_json:
            out.print("No event matches." if ids else "There are no events.")
        return 0
    rows = [(kept, await _deliveries(session, kept)) for kept in found[:limit]]
    if as_json:
        for kept, deliveries in rows:
            print_json(_as_json(kept) | {"deliveries": deliveries})
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("received", "event", "endpoint", "interaction", "media", "subtype", "no.", "id", "deliveries"):
        table.add_column(name, justify="right" if name == "no." else "left", overflow="fold")
    for kept, deliveries in rows:
        told = ", ".join(f"{name} {one['state']}" for name, one in deliveries.items()) or "no subscriber"
        table.add_row(*(Text(printable(cell)) for cell in (*_cells(kept), told)))
    print_block(table)
    if len(found) > limit:
        out.print(f"These are the newest {limit}; use --limit to see more.")
    return 0


async def _deliveries(session: Session, kept: StoredEvent) -> dict[str, dict[str, Any]]:
    """Subscriber -> state and attempts of its delivery, ended or not."""
    ended = await session.ledger.events.ended(kept.event.id)
    found: dict[str, dict[str, Any]] = {name: _ended(one) for name, one in ended.items()}
    for name in sorted({one.name for one in await session.ledger.subscribers.all()} - ended.keys()):
        if entry := await session.ledger.deliveries.waiting(f"{kept.event.id}-{name}"):
            found[name] = {"state": "waiting", "attempts": entry.attempts}
            if entry.last_code:
                found[name]["last_error"] = entry.last_code
    return dict(sorted(found.items()))


def _ended(one: Ended) -> dict[str, Any]:
    return {"state": one.how, "at": utc(one.at), "attempts": one.attempts}


async def _tail(session: Session, selection: Selection, as_json: bool) -> int:
    events = session.ledger.events
    since, seen = time.time(), set[str]()
    while True:
        ids = [one for one in await events.ids(since - 2 * LOOK) if one not in seen]
        async for kept in _matching(events, ids, selection):
            if as_json:
                print_json(_as_json(kept))
            else:
                out.print(printable("  ".join(_cells(kept))), markup=False)
        seen.update(ids)
        if len(seen) > 100_000:
            seen, since = set(ids), time.time()
        await asyncio.sleep(LOOK)


async def _replay(
    session: Session,
    name: str,
    selection: Selection,
    since: float | None,
    until: float | None,
    dry_run: bool,
    rate: float,
) -> int:
    subscriber = configured(session, name, "--subscriber: ")
    if subscriber is None:
        return 1
    if not subscriber.on:
        say_error(f"--subscriber: {name} is off in bridge.yaml and receives nothing (subscribers.{name}.on)")
        return 1
    if selection.endpoint and selection.endpoint not in session.configuration.interactions:
        say_warning(
            f"--endpoint: {no_such('interactions webhook', selection.endpoint, session.configuration.interactions)}"
        )
    events = session.ledger.events
    await _warn(session, name, since)
    ids = await events.ids(since, until)
    counts: Counter[str] = Counter()
    rate = 0.0 if dry_run else rate
    step = min(_AT_ONCE, max(1, int(rate))) if rate else _AT_ONCE
    began, put = time.monotonic(), 0
    with progress() as bar:
        task = bar.add_task("would be delivered" if dry_run else "to be delivered", total=len(ids))
        for start in range(0, len(ids), _AT_ONCE):
            chunk = ids[start : start + _AT_ONCE]
            lanes = list((await _wanted(events, chunk, selection, name, subscriber)).items())
            counts["other"] += len(chunk) - len(lanes)
            bar.advance(task, len(chunk) - len(lanes))
            for first in range(0, len(lanes), step):
                if rate:
                    await asyncio.sleep(max(0.0, began + put / rate - time.monotonic()))
                part = dict(lanes[first : first + step])
                counts.update(await _put(session.ledger.deliveries, name, part, dry_run))
                put += len(part)
                bar.advance(task, len(part))
    word = "would be delivered" if dry_run else "will be delivered"
    out.print(f"{counts['new']} {word} to {name} again.", markup=False)
    if counts["waiting"]:
        out.print(f"{counts['waiting']} still wait for delivery.")
    if counts["other"] or counts["gone"]:
        out.print(f"{counts['other'] + counts['gone']} do not match the options or the subscriber's filters.")
    return 0


async def _warn(session: Session, name: str, since: float | None) -> None:
    """Say what may surprise whoever replays."""
    if any(one.name == name and one.disabled_for for one in await session.ledger.subscribers.all()):
        say_warning(f"{name} is disabled: replayed events wait until `dcbridge subscribers enable {name}`")
    kept = session.settings.event_days * DAY
    if since is not None and since < time.time() - kept - 60:
        say_warning(
            f"--since: events are kept for {format_duration(kept)} (DCBRIDGE_EVENT_DAYS); older ones may be gone"
        )


async def _wanted(
    events: Events, ids: list[str], selection: Selection, name: str, subscriber: Subscriber
) -> dict[str, str]:
    """Event -> lane, of those that are meant and wanted."""
    return {
        kept.event.id: lane(name, subscriber, kept.event)
        async for kept in _matching(events, ids, selection)
        if subscriber.wants(kept.event)
    }


async def _put(deliveries: Deliveries, name: str, lanes: dict[str, str], dry_run: bool) -> list[str]:
    if not lanes:
        return []
    if dry_run:
        return ["waiting" if await deliveries.waiting(f"{event}-{name}") else "new" for event in lanes]
    return await deliveries.replay(name, lanes)


def _cells(kept: StoredEvent) -> tuple[str, ...]:
    e = kept.event
    at = utc(e.received_at.timestamp())
    return at, e.name or "-", e.endpoint, e.interaction, e.media, e.subtype, str(e.sequence or ""), e.id


def _as_json(kept: StoredEvent) -> dict[str, Any]:
    """All but the fields of the entity, which are not ours to print."""
    e = kept.event
    return {
        "id": e.id,
        "event": e.name,
        "endpoint": e.endpoint,
        "interaction": e.interaction,
        "media": e.media,
        "subtype": e.subtype,
        "sequence": e.sequence,
        "received_at": utc(e.received_at.timestamp()),
        "own": e.own,
        "trace": split(kept.trace_id)[0],
    }
