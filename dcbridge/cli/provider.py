"""`dcbridge provider` and `dcbridge drill`: through which of several providers messages go, and how each one fares."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import (
    UNITS,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    no_such,
    out,
    print_block,
    print_json,
    say_error,
)
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.overview import Provider
from dcbridge.ledger.routes import Drill, Group, How
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_age, utc
from dcbridge.printable import printable

app = typer.Typer(
    help="Several providers of one channel: list, drain, prefer, clear.", no_args_is_help=True, rich_markup_mode=None
)

LONGEST = 30 * 86400.0  # seconds that an order may last: whatever is for longer belongs into bridge.yaml
WHY = 200  # characters

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A provider of bridge.yaml.")]
ForOption = Annotated[str, typer.Option("--for", help="How long it holds: 30m, 2h, 1d. At most 30 days.")]
WhyOption = Annotated[str, typer.Option("--why", help="The reason, for others who look at it.")]
ByOption = Annotated[str, typer.Option("--by", help="Who wants it. Default: the user of this computer.")]


@app.command()
def drain(
    name: NameArgument, lasts: ForOption = "2h", why: WhyOption = "", by: ByOption = "", config: ConfigOption = None
) -> None:
    """Send nothing new through a provider while another is available.

    Conversations leave it as well. What it has, or may have, stays with it. A channel without another provider goes on.
    """
    raise at_the_ledger(config, lambda session: _steer(session, name, "drain", lasts, by, why))


@app.command()
def prefer(
    name: NameArgument, lasts: ForOption = "2h", why: WhyOption = "", by: ByOption = "", config: ConfigOption = None
) -> None:
    """Send new conversations through a provider first. Those that have begun stay where they are."""
    raise at_the_ledger(config, lambda session: _steer(session, name, "prefer", lasts, by, why))


@app.command()
def clear(name: NameArgument, config: ConfigOption = None) -> None:
    """End drain or prefer before its time."""
    raise at_the_ledger(config, lambda session: _clear(session, name))


@app.command("list")
def list_all(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show each provider: whether new messages go through it, and why not."""
    raise at_the_ledger(config, lambda session: _list(session, as_json))


async def drill(
    session: Session, name: str, share: str | None, lasts: str, *, end: bool, by: str, why: str, as_json: bool
) -> int:
    """Begin one, end one, or show what the last one found."""
    if not _is_known(session, name):
        return 1
    routes = session.ledger.routes
    found = (await routes.drills([name])).get(name)
    if found is None and not _has_another(session, name):
        return 1
    if end:
        ended = await routes.end_drill(name)
        if not as_json:
            out.print(f"The drill of {name} is over." if ended else f"No drill of {name} was under way.", markup=False)
        found = (await routes.drills([name])).get(name)
    elif share is not None:
        part, seconds = _share(share), _seconds(lasts)
        if not _has_another(session, name):
            return 1
        until = await routes.drill(name, part, seconds, _who(by), _short(why))
        out.print(f"{part:.4g} of new conversations go through {name}, until {utc(until)[:19]}Z.", markup=False)
        return 0
    if as_json:
        print_json({"provider": name, "drill": asdict(found) if found else None})
    elif found is None:
        out.print(f"There is no drill of {name} that is remembered.", markup=False)
    else:
        _print_drill(name, found)
    return 0


# ---------------------------------------------------------------- the work


def _is_known(session: Session, name: str) -> bool:
    known = session.configuration.providers
    if name in known:
        return True
    say_error(no_such("provider", name, known))
    return False


def _channels_of(session: Session, name: str) -> dict[str, bool]:
    """Channel id -> whether it has another provider."""
    return {
        channel_id: len(one.providers) > 1
        for channel_id, one in session.configuration.channels.items()
        if name in one.providers
    }


def _has_another(session: Session, name: str) -> bool:
    if any(_channels_of(session, name).values()):
        return True
    say_error(f"no channel has {name} beside another provider: list both in its providers")
    return False


async def _steer(session: Session, name: str, how: How, lasts: str, by: str, why: str) -> int:
    if not _is_known(session, name):
        return 1
    was = await session.ledger.routes.order(name)
    if not _has_another(session, name):
        return 1
    until = await session.ledger.routes.steer(name, how, _seconds(lasts), _who(by), _short(why))
    what = "gets nothing new" if how == "drain" else "gets new conversations first"
    out.print(f"{name} {what}, until {utc(until)[:19]}Z.", markup=False)
    if was:
        verb = "drained" if was.how == "drain" else "preferred"
        out.print(f"Before, it was {verb} by {was.by}, until {utc(was.until)[:19]}Z.", markup=False)
    alone = [channel for channel, has_another in _channels_of(session, name).items() if not has_another]
    if how == "drain" and alone:
        out.print(f"These channels have no other provider, and go on: {', '.join(map(printable, alone))}", markup=False)
    return 0


async def _clear(session: Session, name: str) -> int:
    if not _is_known(session, name):
        return 1
    was = await session.ledger.routes.clear(name)
    out.print(f"{name} is chosen as bridge.yaml says." if was else f"{name} was neither drained nor preferred.")
    return 0


async def _list(session: Session, as_json: bool) -> int:
    now = await overview.read(session.ledger.redis, session.configuration.providers)
    names = list(session.configuration.providers)
    drills = await session.ledger.routes.drills(names)
    rows = [one for one in now.providers if one.name in names]
    if as_json:
        print_json(
            [
                asdict(one)
                | {
                    "health": health(one, now.at)[0],
                    "channels": _channels_of(session, one.name),
                    "drill": asdict(drills[one.name]) if one.name in drills else None,
                }
                for one in rows
            ]
        )
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("provider", "new messages", "why", "late updates", "channels"):
        table.add_column(column, overflow="fold")
    for one in rows:
        word, why = health(one, now.at)
        speed = one.speed
        late = f"{speed.slow} of {speed.messages}" if speed.messages else ""
        channels = ", ".join(_channels_of(session, one.name))
        table.add_row(*(Text(printable(cell)) for cell in (one.name, word, why, late, channels)))
    print_block(table)
    for name, found in drills.items():
        if found.until > now.at:
            _print_drill(name, found)
    return 0


def health(one: Provider, at: float) -> tuple[str, str]:
    """Whether new messages go through it, in a word, and why not."""
    order = one.order
    by = ""
    if order:
        why = f": {order.why}" if order.why else ""
        by = f" by {order.by}{why}, until {utc(order.until)[:19]}Z"
    if order and order.how == "drain":
        return "no", f"drained{by}"
    if one.stopped:
        return "no", "paused by an operator"
    if one.open:
        return "no", f"its breaker is open ({one.why}), for {format_age(one.open_for)}"
    if one.paused_for:
        return "no", f"it asked for a pause, {format_age(one.paused_for)} more"
    if order:
        return "first", f"preferred{by}"
    if one.speed.slow_since is not None:
        return "last", f"its delivery updates are slow, for {format_age(max(0.0, at - one.speed.slow_since))}"
    return "yes", ""


def _print_drill(name: str, found: Drill) -> None:
    why = f": {found.why}" if found.why else ""
    until = f"until {utc(found.until)[:19]}Z"
    words = f"drill of {name}, {found.share:.4g} of new conversations, {until}, by {found.by}{why}"
    out.print(printable(words), markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("", "taken", "delivered", "failed", "unconfirmed", "seconds to delivered"):
        table.add_column(column, justify="left" if not column else "right")
    for what, group in ((f"through {name}", found.drilled), ("the others", found.beside)):
        table.add_row(what, *_figures(group))
    print_block(table)


def _figures(group: Group) -> Sequence[str]:
    def of_all(count: int) -> str:
        return f"{count:,} ({count / group.taken:.1%})" if group.taken else f"{count:,}"

    seconds = "" if group.seconds is None else f"{group.seconds:.1f}"
    return (f"{group.taken:,}", of_all(group.delivered), of_all(group.failed), of_all(group.unconfirmed), seconds)


# ---------------------------------------------------------------- what was typed


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", text.strip(), re.ASCII)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 1.0 <= seconds <= LONGEST:
        raise typer.BadParameter("a number and s, m, h or d, such as 2h; 30 days at most", param_hint="--for")
    return seconds


def _share(text: str) -> float:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,4})?)(%?)", text.strip(), re.ASCII)
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0.0 < share <= 1.0:
        raise typer.BadParameter("a share such as 1% or 0.01, of more than 0 and at most 100%", param_hint="--share")
    return share


def _who(by: str) -> str:
    if by:
        return _short(by)
    try:
        return _short(getpass.getuser())
    except (KeyError, OSError):
        return "an operator"


def _short(text: str) -> str:
    return printable(text)[:WHY]
