"""`dcbridge dead`: look at the dead letters, put them back where they came from, or drop them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli import dead_remote
from dcbridge.cli.dead_table import ROOMY, letters_table
from dcbridge.cli.terminal import (
    ConfigOption,
    JsonOption,
    at_the_ledger,
    out,
    parse_time,
    print_block,
    print_json,
    progress,
    read_rate,
    say_error,
    say_warning,
)
from dcbridge.ledger.dead_letters import Selection
from dcbridge.ledger.fields import Kind
from dcbridge.operations.dead_letters import Chosen, drop_all, matching, replay_all
from dcbridge.operations.dead_letters import as_json as letter_as_json
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.printable import printable, printable_lines
from dcbridge.replay import GONE, Replay, Replayed

app = typer.Typer(
    help="Dead letters: what could not be read or delivered, stored with its raw bytes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_FEW = 20  # letters whose fate is told one by one


class What(StrEnum):
    """Kinds of dead letters, as an option names them."""

    AGENT_MESSAGE = Kind.AGENT_MESSAGE.option
    RECEIPT = Kind.RECEIPT.option
    CALLBACK = Kind.CALLBACK.option
    MAIL = Kind.MAIL.option
    CONSUMER = Kind.CONSUMER.option
    BOOK = Kind.BOOK.option
    DELIVERY_UPDATE = Kind.DELIVERY_UPDATE.option
    INTERACTION_BATCH = Kind.INTERACTION_BATCH.option
    INTERACTION_ENTITY = Kind.INTERACTION_ENTITY.option
    DELIVERY = Kind.DELIVERY.option


WhatOption = Annotated[What | None, typer.Option("--what", help="Only dead letters of this kind.")]
ChannelOption = Annotated[str, typer.Option("--channel", help="Only dead letters of this channel id.")]
SinceOption = Annotated[
    str, typer.Option("--since", help="Only dead letters newer than this: 90s, 30m, 2h, 7d, or an ISO time.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Only dead letters whose reason contains this text.")]
IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters; or select them with the options below.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All dead letters.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]


@app.command("list", short_help="List dead letters, the newest first.")
def list_letters(
    what: WhatOption = None,
    channel: ChannelOption = "",
    since: SinceOption = "",
    reason: ReasonOption = "",
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many, the newest first.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List dead letters, the newest first."""
    selection = _selection(what, channel, since, reason)
    raise at_the_ledger(
        config,
        lambda session: _list(session, selection, limit, as_json),
        remotely=lambda there: dead_remote.show_list(there, selection, limit, as_json),
    )


@app.command(short_help="Show one dead letter, and what a replay would do.")
def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a dead letter, from `dcbridge dead list`.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the raw bytes as well. They are private.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one dead letter, and what a replay would do. Exit code 1 if it does not exist."""
    raise at_the_ledger(
        config,
        lambda session: _show(session, letter_id, raw, as_json),
        remotely=lambda there: dead_remote.show(there, letter_id, raw, as_json),
    )


@app.command(short_help="Process dead letters again.")
def replay(
    ids: IdsArgument = None,
    what: WhatOption = None,
    channel: ChannelOption = "",
    since: SinceOption = "",
    reason: ReasonOption = "",
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    rate: Annotated[str, typer.Option(help="At most this many a second: 5 or 5/s.")] = "",
    config: ConfigOption = None,
) -> None:
    """Process dead letters again, the oldest first.

    A webhook is read again like a new one, a callback is processed again, a consumer message and a refused
    receipt are posted again. An agent message that ended as Failed cannot be replayed: a message ends once.
    A dead letter is removed in the same step that queues it again, so a run may be interrupted and repeated.
    Exit code 1 if a named one does not exist, or none could be replayed.
    """
    chosen = _chosen(ids, _selection(what, channel, since, reason), everything)
    pace = read_rate(rate)
    raise at_the_ledger(
        config,
        lambda session: _replay(session, chosen, dry_run, pace),
        remotely=lambda there: dead_remote.act(there, "replay", chosen, dry_run=dry_run, sure=True),
    )


@app.command(short_help="Delete dead letters.")
def drop(
    ids: IdsArgument = None,
    what: WhatOption = None,
    channel: ChannelOption = "",
    since: SinceOption = "",
    reason: ReasonOption = "",
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    sure: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before several are deleted.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete dead letters with their raw bytes. Exit code 1 if a named one does not exist.

    On a terminal it asks before it deletes more than one.
    """
    chosen = _chosen(ids, _selection(what, channel, since, reason), everything)
    raise at_the_ledger(
        config,
        lambda session: _drop(session, chosen, dry_run, sure),
        remotely=lambda there: dead_remote.act(there, "drop", chosen, dry_run=dry_run, sure=sure),
    )


# ---------------------------------------------------------------- which letters


def _chosen(ids: list[str] | None, selection: Selection, everything: bool) -> Chosen:
    ways = [bool(ids), selection != Selection(), everything]
    if not any(ways):
        raise typer.BadParameter("give ids, or an option that selects dead letters, or --all")
    if sum(ways) > 1:
        raise typer.BadParameter("ids, options that select, and --all exclude each other")
    return Chosen(tuple(ids or ()), selection)


def _selection(what: What | None, channel: str, since: str, reason: str) -> Selection:
    return Selection(Kind[what.name] if what else "", channel, reason, parse_time(since) if since else None)


# ---------------------------------------------------------------- the work


async def _list(session: Session, selection: Selection, limit: int, as_json: bool) -> int:
    letters = session.ledger.dead_letters
    ids = await letters.ids(selection.since, newest_first=True)
    found = [letter async for letter in matching(letters, ids, selection)]
    if as_json:
        for letter in found[:limit]:
            print_json(letter_as_json(letter))
        return 0
    if not found:
        out.print("No dead letter matches." if ids or selection != Selection() else "There are no dead letters.")
        return 0
    print_block(letters_table(found[:limit], roomy=not out.is_terminal or out.width >= ROOMY))
    if len(found) > limit:
        out.print(f"These are the newest {limit} of {len(found)}; use --limit to see more.")
    return 0


async def _show(session: Session, letter_id: str, raw: bool, as_json: bool) -> int:
    letters = session.ledger.dead_letters
    letter = await anext(letters.read([letter_id]))
    if letter is None:
        say_error(f"there is no dead letter {letter_id}; they are kept for {session.settings.dead_letter_days:g} days")
        return 1
    if raw:
        content = await letters.raw(letter_id) or b""
        say_warning("the following output is private: text, numbers, addresses")
        typer.echo(printable_lines(content.decode(errors="replace")) if out.is_terminal else content, nl=False)
        return 0
    would = await Replay(session.ledger, session.configuration, dry_run=True).one(letter)
    left = await letters.seconds_left(letter_id)
    facts = letter_as_json(letter) | {
        "kept_until": utc(time.time() + left),
        "replay": would.says if would.done else f"not possible: {would.says}",
    }
    if as_json:
        print_json(facts)
        return 0
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value != "":
            table.add_row(Text(name.replace("_", " "), "dim"), Text(printable(str(value))))
    print_block(table)
    return 0


async def _replay(session: Session, chosen: Chosen, dry_run: bool, rate: float) -> int:
    told: list[tuple[str, Replayed]] = []
    counts: Counter[tuple[bool, str]] = Counter()
    ids = await chosen.ids_of(session.ledger.dead_letters)
    try:
        with progress() as bar:
            task = bar.add_task("would be replayed" if dry_run else "replaying", total=len(ids))
            replayed = replay_all(
                session, chosen, ids, dry_run=dry_run, rate=rate, looked=lambda count: bar.advance(task, count)
            )
            async for letter_id, result in replayed:
                counts[result.done, result.says] += 1
                if len(told) < _FEW + 1:
                    told.append((letter_id, result))
    except asyncio.CancelledError:
        say_error(f"interrupted; {_put_back(counts)} were replayed and removed. Repeat the command to continue")
        raise
    if not counts:
        out.print("No dead letter matches.")
        return 0
    word = "would be replayed" if dry_run else "replayed"
    if len(told) <= _FEW:
        for letter_id, result in told:
            tail = f"{result.says}{f' ({result.name})' if result.name and not dry_run else ''}"
            out.print(printable(f"{letter_id}: {word if result.done else 'stays'}: {tail}"), markup=False)
    else:
        for (done, says), count in counts.most_common():
            out.print(printable(f"{count} {word if done else 'stay'}: {says}"), markup=False)
    put_back = _put_back(counts)
    out.print(f"{put_back} {word}, {counts.total() - put_back} not.")
    return 0 if put_back and not counts[GONE.done, GONE.says] else 1


def _put_back(counts: Mapping[tuple[bool, str], int]) -> int:
    return sum(count for (done, _), count in counts.items() if done)


def _agreed(count: int) -> bool:
    """What a person at a terminal answers; a script is not asked."""
    return not sys.stdin.isatty() or typer.confirm(f"Delete {count} dead letters with their raw bytes?", err=True)


async def _drop(session: Session, chosen: Chosen, dry_run: bool, sure: bool) -> int:
    letters = session.ledger.dead_letters
    ids = await chosen.ids_of(letters)
    found = [letter.id async for letter in matching(letters, ids, chosen.selection)]
    missing = sorted(set(chosen.ids) - set(found))
    for letter_id in missing:
        say_error(f"there is no dead letter {letter_id}")
    if len(found) > 1 and not (sure or dry_run or _agreed(len(found))):
        out.print("Nothing was dropped.")
        return 1
    with progress() as bar:
        task = bar.add_task("would be dropped" if dry_run else "dropping", total=len(found))
        dropped = await drop_all(session, found, dry_run=dry_run, done=lambda count: bar.advance(task, count))
    if dropped:
        out.print(f"{dropped} {'would be dropped' if dry_run else 'dropped'}.")
    else:
        out.print("No dead letter matches.")
    return 1 if missing else 0
