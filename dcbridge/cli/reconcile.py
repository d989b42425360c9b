"""`dcbridge reconcile`: both sides' books compared, by a file that Genesys exported."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import (
    CANNOT_ASK,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    out,
    parse_time,
    print_block,
    print_json,
    progress,
    say_error,
    say_warning,
)
from dcbridge.genesys import exports
from dcbridge.genesys.exports import BadExport
from dcbridge.ledger.digests import Digest, begins
from dcbridge.ledger.reports import search
from dcbridge.ledger.reports.kept import our_messages
from dcbridge.operations.session import Session
from dcbridge.printable import printable
from dcbridge.reconcile import MOST, Comparison, Result, Set, TooMany
from dcbridge.settings.process import DAY

MOST_DIGESTED = 40_000_000  # messages by their digests: about 400 MB
PROBLEMS = 20  # that are printed of one run
_COLUMNS = ("kind", "channel", "id", "ref", "state", "place", "interaction", "why")


def reconcile(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE…", help="Interactions as Genesys exports them: JSON Lines, or a zip of them."),
    ],
    since: Annotated[
        str | None,
        typer.Option(help="Start of the exported period: 7d (ago) or an ISO time. Default: its earliest message."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="End of that period: 1h (ago) or an ISO time. Default: its latest message.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Show at most this many messages of each set.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare agent and consumer messages with a file that Genesys exported (User Data Management).

    Prints four sets: both, only ours, only theirs, ambiguous. Exit code 0 if both sides have the same messages, 1 if
    they differ, 2 if a file cannot be read; the line and the field are named. Nothing private is shown.
    """
    begin, end = (parse_time(one, option) if one else None for one, option in ((since, "--since"), (until, "--until")))
    raise at_the_ledger(config, lambda session: _compare(session, files, begin, end, limit, as_json))


# ---------------------------------------------------------------- the work


async def _compare(
    session: Session, files: Sequence[Path], since: float | None, until: float | None, limit: int, as_json: bool
) -> int:
    """0 where both sides have the same, 1 where they differ, 2 where a file cannot be read."""
    if since is not None and until is not None and since >= until:
        say_error("--since should be before --until")
        return CANNOT_ASK
    channels = await search.channels(session.ledger.redis) | set(session.configuration.channels)
    days = min(session.settings.retention_days, session.settings.callback_dedupe_days)
    remembered = time.time() - days * DAY
    try:
        digests = await _digests(session, since, min(remembered, until or remembered))
        comparison = Comparison(channels, since, until, limit, remembered, digests)
        await _ours(session, comparison)
    except TooMany:
        say_error(f"there are more than {MOST} messages in the ledger, which is too many to compare at once")
        return CANNOT_ASK
    if problems := _theirs(files, comparison):
        for problem in problems[:PROBLEMS]:
            say_error(problem)
        if len(problems) > PROBLEMS:
            say_error(f"and {len(problems) - PROBLEMS} more")
        return CANNOT_ASK
    genesys = session.configuration.genesys
    result = comparison.result()
    if result.only_theirs.count and not (genesys and genesys.keep_message_ids):
        say_warning("genesys.keep_message_ids is off: each consumer message is among only theirs")
    print_json(_as_json(result)) if as_json else _print(result)
    return 1 if result.differs else 0


async def _digests(session: Session, since: float | None, until: float) -> dict[str, dict[str, Digest]]:
    """Of the days in which the ledger may have forgotten something. Raises TooMany."""
    kept = session.ledger.digests
    counts = {
        day: count
        for day, count in (await kept.counts()).items()
        if begins(day) < until and (since is None or since < begins(day) + DAY)
    }
    if sum(counts.values()) > MOST_DIGESTED:
        raise TooMany
    return {day: await kept.read(day) for day in sorted(counts)}


async def _ours(session: Session, comparison: Comparison) -> None:
    redis = session.ledger.redis
    with progress() as bar:
        task = bar.add_task("reading our messages", total=await redis.dbsize())
        async for looked, messages in our_messages(redis):
            for message in messages:
                comparison.ours(message)
            bar.advance(task, looked)


def _theirs(files: Sequence[Path], comparison: Comparison) -> list[str]:
    """What is wrong with the files. The rest of a file that cannot be read on is left out."""
    problems: list[str] = []
    for path in files:
        try:
            for kept in exports.messages(path):
                if isinstance(kept, BadExport):
                    problems.append(str(kept))
                    if len(problems) > PROBLEMS * 50:
                        return problems
                else:
                    comparison.theirs(kept)
        except BadExport as problem:
            problems.append(str(problem))
        except OSError as error:
            why = "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
            problems.append(f"{path.name}: cannot be read: {why}")
    return problems


def _sets(result: Result) -> dict[str, Set]:
    return {
        "both": result.both,
        "only ours": result.only_ours,
        "only theirs": result.only_theirs,
        "ambiguous": result.ambiguous,
    }


def _as_json(result: Result) -> dict[str, object]:
    sets = {
        name.replace(" ", "_"): {"count": one.count, "messages": [line.words for line in one.first]}
        for name, one in _sets(result).items()
    }
    return {
        "differs": result.differs,
        **sets,
        "of_other_channels": result.elsewhere,
        "outside_the_period": result.outside,
    }


def _print(result: Result) -> None:
    for name, found in _sets(result).items():
        out.print(f"{name}: {found.count}", style="red" if found.count and name != "both" else None)
        if name == "both" or not found.first:
            continue
        shown = [column for column in _COLUMNS if any(getattr(line, column) for line in found.first)]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in shown:
            table.add_column(column, overflow="fold")
        for line in found.first:
            table.add_row(*(Text(printable(str(getattr(line, column)))) for column in shown))
        print_block(table)
        if found.count > len(found.first):
            out.print(f"These are the first {len(found.first)}; use --limit to see more.")
    for words, count in (("of other channels", result.elsewhere), ("outside the period", result.outside)):
        if count:
            out.print(f"{words}: {count}")
    out.print("The two sides differ." if result.differs else "Both sides have the same messages.")
