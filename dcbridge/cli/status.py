"""`dcbridge status`: what runs, what waits and why, on one screen that answers "is anything wrong?"."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError
from rich.table import Table
from rich.text import Text

from dcbridge.cli.remote import Remote
from dcbridge.cli.status_screen import Watching, print_screen
from dcbridge.cli.terminal import out, print_block, print_json, say_error
from dcbridge.ledger.reports import search
from dcbridge.operations import status as report
from dcbridge.operations.session import Session, explain_redis_error
from dcbridge.operations.status import Wanted, look
from dcbridge.operations.wording import format_age
from dcbridge.printable import printable


async def show(session: Session, wanted: Wanted, as_json: bool) -> int:
    """Print one look; 1 when something is wrong, or for a name that nobody knows."""
    if not await _known(session, wanted):
        return 1
    status = await look(session, wanted)
    if as_json:
        print_json(report.as_json(status))
    else:
        print_screen(status)
    return 1 if status.problems else 0


def show_remote(there: Remote, wanted: Wanted, as_json: bool) -> int:
    """The same as a console tells it, in short: what is wrong, and what waits where."""
    found = there.get("status", channel=wanted.channel, provider=wanted.provider, heads=wanted.heads)
    if as_json:
        print_json(found)
        return 1 if found["problems"] else 0
    for one in found["findings"]:
        out.print(printable(f"{one['severity']}: {one['says']}"), markup=False)
        out.print(printable(f"  {one['command']}"), style="dim", markup=False)
    if not found["findings"]:
        out.print("No problem was found.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("channel", "in flight", "oldest", "receipts owed"):
        table.add_column(name, overflow="fold")
    for one in found["channels"]:
        cells = (one["channel_id"], one["in_flight"], format_age(one["oldest_age"]), one["receipts_waiting"])
        table.add_row(*(Text(printable(str(cell))) for cell in cells))
    if found["channels"]:
        print_block(table)
    services, workers = len(found["services"]), len(found["workers"])
    run = f"Services: {services}, workers: {workers}; {found['at']}"
    out.print(printable(run), markup=False)
    return 1 if found["problems"] else 0


async def watch(session: Session, wanted: Wanted, as_json: bool, every: float) -> int:
    """Look again and again until Ctrl-C; a Redis that is away is told of and waited for."""
    if not await _known(session, wanted):
        return 1
    with Watching(enabled=not as_json) as watching:
        while True:
            try:
                status = await look(session, wanted)
            except (RedisError, OSError) as error:
                words = explain_redis_error(session.settings, error)
                if as_json:
                    say_error(words)
                else:
                    watching.lost(words)
            else:
                if as_json:
                    print_json(report.as_json(status))
                else:
                    watching.show(status)
            await asyncio.sleep(every)


async def _known(session: Session, wanted: Wanted) -> bool:
    """False, and said so, for a channel or a provider that is neither configured nor ever was heard of."""
    configuration = session.configuration
    if wanted.provider is not None and wanted.provider not in configuration.providers:
        known = ", ".join(sorted(configuration.providers)) or "none"
        say_error(f"there is no provider {wanted.provider} in bridge.yaml; known: {known}")
        return False
    if wanted.channel is None or wanted.channel in configuration.channels:
        return True
    if wanted.channel in await search.channels(session.ledger.redis):
        return True
    say_error(f"there is no channel {wanted.channel}")
    return False


# ---------------------------------------------------------------- one look
