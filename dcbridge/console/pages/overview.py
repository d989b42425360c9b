"""The first page: what needs attention, whether the books add up, and who is alive."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import Person, Role, page
from dcbridge.console.context import ConsoleContext
from dcbridge.console.filters import clock
from dcbridge.console.rendering import render
from dcbridge.console.views import plots
from dcbridge.console.views.findings import lines
from dcbridge.console.views.health import of_channel, of_provider
from dcbridge.ledger.reports import hours as ledger_hours
from dcbridge.ledger.reports import index
from dcbridge.ledger.reports.books import TERMINAL, together
from dcbridge.operations.status import Wanted, look

ROWS = 100  # channels and providers that are shown, the sickest first


@page("/", Role.VIEWER)
async def overview(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """The whole installation at one look."""
    status = await look(context.session(), Wanted(heads=0))
    now = status.overview.at
    books = together("", status.books.channels)
    counts = {name: getattr(books, name) for name in (*TERMINAL, "in_flight")}
    channels = [(of_channel(one, status.overview), one) for one in status.books.channels]
    accounts = [one for one in status.providers if not one.name.startswith("subscribers/")]
    providers = [(of_provider(one, status.overview.controls, now), one) for one in accounts]
    hours = await ledger_hours.read(context.ledger.redis, now) if await index.is_there(context.ledger.redis) else []
    labels = [clock(hour.since)[:5] for hour in hours]
    return render(
        request,
        "overview.html",
        title="Overview",
        seen=status,
        now=now,
        findings=lines(status.findings),
        books=books,
        counts=counts,
        difference=status.books.difference,
        bar=plots.bar(counts),
        channels=sorted(channels, key=lambda row: (row[0].rank, -row[1].in_flight, row[1].channel_id))[:ROWS],
        providers=sorted(providers, key=lambda row: (row[0].rank, row[1].name))[:ROWS],
        hours=hours,
        sample=ledger_hours.SAMPLE,
        traffic=plots.stacked(labels, {name: [hour.ended[name] for hour in hours] for name in counts}),
        latency=plots.lines(labels, [[hour.median for hour in hours], [hour.slow for hour in hours]]),
        more_channels=max(0, len(channels) - ROWS),
    )


ROUTES = [overview]
