"""`dcbridge subscribers`: who gets interaction events, how it goes with each, and a switch for each."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import (
    ConfigOption,
    JsonOption,
    at_the_ledger,
    no_such,
    out,
    print_block,
    print_json,
    say_error,
)
from dcbridge.events.sinks import Subscriber
from dcbridge.operations.session import Session
from dcbridge.operations.subscribers import facts, try_one
from dcbridge.operations.wording import format_duration
from dcbridge.printable import printable

app = typer.Typer(
    help="Subscribers of events: list, test, enable, disable.", no_args_is_help=True, rich_markup_mode=None
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a subscriber in bridge.yaml.")]


@app.command("list")
def list_subscribers(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List subscribers, their states and totals."""
    raise at_the_ledger(config, lambda session: _list(session, as_json))


@app.command("test")
def send_one(name: NameArgument, config: ConfigOption = None) -> None:
    """Send one event, subscriber.test, to a subscriber. Exit code 1 if it is not accepted."""
    raise at_the_ledger(config, lambda session: _test(session, name))


@app.command()
def enable(name: NameArgument, config: ConfigOption = None) -> None:
    """Enable a disabled subscriber; waiting events are delivered first. Exit code 1 if it is not disabled."""
    raise at_the_ledger(config, lambda session: _enable(session, name))


@app.command()
def disable(name: NameArgument, config: ConfigOption = None) -> None:
    """Stop deliveries to a subscriber until it is enabled again.

    New events wait for up to its keep_backlog.
    """
    raise at_the_ledger(config, lambda session: _disable(session, name))


# ---------------------------------------------------------------- the work


async def _list(session: Session, as_json: bool) -> int:
    configured = session.configuration.subscribers
    known = {one.name: one for one in await session.ledger.subscribers.all()}
    rows = [facts(name, configured.get(name), known.get(name)) for name in sorted({*configured, *known})]
    if as_json:
        for row in rows:
            print_json(row)
        return 0
    if not rows:
        out.print("There are no subscribers in bridge.yaml.")
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("name", "kind", "place", "state", "waiting", "oldest", "delivered", "dead", "dropped"):
        table.add_column(column, justify="right" if column in _RIGHT else "left", overflow="fold")
    for row in rows:
        shown = row | {"oldest": format_duration(row["oldest_seconds"]) if row["waiting"] else ""}
        table.add_row(*(Text(printable(str(shown[str(column.header)]))) for column in table.columns))
    print_block(table)
    return 0


_RIGHT = ("waiting", "oldest", "delivered", "dead", "dropped")


async def _test(session: Session, name: str) -> int:
    subscriber = configured(session, name)
    if subscriber is None:
        return 1
    tried = await try_one(session, name, subscriber)
    if not tried.accepted:
        say_error(tried.says)
        return 1
    out.print(tried.says, markup=False)
    return 0


async def _enable(session: Session, name: str) -> int:
    if await session.ledger.subscribers.enable(name):
        out.print(f"{name} is enabled; waiting events are delivered.", markup=False)
        return 0
    known = {*session.configuration.subscribers, *(one.name for one in await session.ledger.subscribers.all())}
    say_error(f"{name} is not disabled" if name in known else no_such("subscriber", name, known))
    return 1


async def _disable(session: Session, name: str) -> int:
    if configured(session, name) is None:
        return 1
    if await session.ledger.subscribers.disable(name, "operator"):
        out.print(f"{name} is disabled; its events wait.", markup=False)
        return 0
    say_error(f"{name} is disabled already")
    return 1


def configured(session: Session, name: str, option: str = "") -> Subscriber | None:
    """What bridge.yaml says of a subscriber; where it says nothing, that is told: `option` is where the name stood."""
    found = session.configuration.subscribers.get(name)
    if found is None:
        say_error(option + no_such("subscriber", name, session.configuration.subscribers))
    return found
