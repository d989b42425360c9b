"""How `dcbridge status` is put on a screen of 80 columns or more, into a pipe, and again and again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import out, print_block
from dcbridge.ledger.reports.conversations import READ, WHY, Head
from dcbridge.ledger.reports.overview import Pace, Provider, Queue, Quiet, Worker
from dcbridge.operations.checks import paused_words
from dcbridge.operations.findings import Finding, Severity
from dcbridge.operations.status import Status
from dcbridge.operations.wording import format_age, utc
from dcbridge.printable import printable

_ROOMY = 110  # columns from which on consumers' tokens are shown too


def print_screen(status: Status) -> None:
    print_block(screen(status))


class Watching:
    """A screen that is written anew at each look; into a pipe, one screen after the other."""

    def __init__(self, *, enabled: bool) -> None:
        console = Console(highlight=False)  # `out` does not fold lines, for the sake of those who copy from it
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop") if enabled else None
        self._before: Status | None = None

    def __enter__(self) -> Self:
        if self._live is not None and out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._live is not None and out.is_terminal:
            self._live.stop()

    def show(self, status: Status) -> None:
        block = screen(status, self._before)
        self._before = status
        self._put(block)

    def lost(self, words: str) -> None:
        """Redis is away; the last look stays on the screen."""
        parts: list[RenderableType] = [Text(printable(words), "red")]
        if self._before is not None and out.is_terminal:
            parts += [Text("the last reading before that:"), screen(self._before)]
        self._put(Group(*parts))

    def _put(self, block: RenderableType) -> None:
        if self._live is not None and out.is_terminal:
            self._live.update(block, refresh=True)
        else:
            print_block(block)


def screen(status: Status, before: Status | None = None) -> Group:
    """The whole of it: what is wrong first, then what runs, then what waits."""
    parts: list[list[RenderableType]] = [
        _headlines(status, before),
        [_services(status)],
        [_workers(status.overview.workers)],
        [_queues(status.overview.queues)],
        [_providers(status.providers, status.overview.at)] if status.providers else [],
        _channels(status),
        [_mailboxes(status)] if status.mailboxes else [],
        _lanes(status),
        [_rest(status)],
    ]
    return Group(*(line for part in parts if part for line in (*part, Text())))


def _headlines(status: Status, before: Status | None) -> list[RenderableType]:
    words = [f"{utc(status.overview.at)[:19]}Z  {status.redis}"]
    if before is not None and (seconds := status.overview.at - before.overview.at) > 0:
        accepted = _accepted(status) - _accepted(before)
        ended = accepted - (status.books.in_flight - before.books.in_flight)
        words.append(f"since the last reading: accepted {accepted / seconds:.1f}/s, ended {ended / seconds:.1f}/s")
    lines: list[RenderableType] = [Text(printable(line), "bold") for line in words]
    well = not any(one.severity != Severity.NOTE for one in status.findings)
    return [
        *lines,
        *([Text("all is well", "bold green")] if well else []),
        *(line for one in status.findings for line in _finding(one)),
    ]


_SIGNS = {
    Severity.PROBLEM: ("! ", "bold red"),
    Severity.WARNING: ("warning: ", "yellow"),
    Severity.NOTE: ("note: ", ""),
}


def _finding(one: Finding) -> list[RenderableType]:
    """What it is, and below it what to do and where to read."""
    sign, style = _SIGNS[one.severity]
    return [Text(printable(sign + one.says), style), Text(printable(f"    {one.command}  ({one.page})"), "dim")]


def _accepted(status: Status) -> int:
    return sum(one.accepted for one in status.books.channels)


def _services(status: Status) -> Table:
    table = _table("services", "up for", "heartbeat", "version", right=(1, 2))
    for one in status.services:
        up_for = format_age(max(0.0, status.overview.at - one.started))
        cells = (one.name, up_for, f"{format_age(one.last_heard)} ago", one.version)
        _row(table, cells, "red" if one.silent else "")
    if not status.services:
        _row(table, ("none",), "red")
    return table


def _workers(workers: Sequence[Worker]) -> Table:
    table = _table("workers", "up for", "heartbeat", "in flight", "version", "queues", right=(1, 2, 3))
    for one in sorted(workers, key=lambda worker: (worker.silent, worker.host, worker.pid)):
        name = f"{one.host or one.name} {one.pid or ''}".strip()
        flying = f"{one.in_flight:,}/{one.concurrency:,}" if one.concurrency else f"{one.in_flight:,}"
        cells = (
            name,
            format_age(one.alive_for),
            f"{format_age(one.last_heard)} ago",
            flying,
            one.version or "rq",
            _list(one.queues),
        )
        _row(table, cells, "red" if one.silent else "")
    if not workers:
        _row(table, ("none",), "red")
    return table


def _queues(queues: Sequence[Queue]) -> Table:
    table = _table("queues", "waiting", "oldest", "started", right=(1, 2, 3))
    for one in queues:
        _row(table, (one.name, f"{one.depth:,}", format_age(one.oldest_age) if one.depth else "", f"{one.started:,}"))
    return table


def _providers(providers: Iterable[Provider], status_at: float) -> Table:
    table = _table("providers", "breaker", "parked", "pace and requests in flight", right=(2,))
    for one in providers:
        breaker = f"open: {one.why}" if one.open else "closed"
        if one.failing and not one.open:
            breaker += f", {one.failing} conversation{'s' * (one.failing != 1)} fail"
        if one.openings > 1:
            breaker += f", opened {one.openings} times in an hour"
        parked = f"{one.parked:,}" + (f" ({format_age(one.oldest_parked_age)})" if one.parked else "")
        words = [paused_words(one, status_at)] if one.paused_for else []
        words += _pace(one.pace)
        if one.order:
            verb = "drained" if one.order.how == "drain" else "preferred"
            words.insert(0, f"{verb} by {one.order.by} until {utc(one.order.until)[:19]}Z")
        if one.speed.slow_since is not None:
            words.insert(0, "slow delivery updates")
        _row(table, (one.name, breaker, parked, ", ".join(words) or "no limit"), "red" if one.open else "")
    return table


def _pace(pace: Pace) -> list[str]:
    words = []
    if pace.per_second:
        words.append(f"{pace.per_second:g}/s, burst {pace.burst}, booked {format_age(pace.booked_ahead)} ahead")
    if pace.cap:
        words.append(f"{pace.in_flight} of {pace.cap} in flight")
    if pace.held:
        words.append(f"{pace.held:,} waiting")
    return words


def _night(quiet: Quiet) -> list[str]:
    return [f"{quiet.messages:,} in quiet hours, the first for {format_age(quiet.opens_in)}"] if quiet.messages else []


def _mailboxes(status: Status) -> Table:
    table = _table("mailboxes", "name", "looked into", "waiting", "left", "state", right=(3, 4))
    for one in status.mailboxes:
        _row(table, one.cells, "red" if one.problem else "")
    return table


def _channels(status: Status) -> list[RenderableType]:
    busy = [one for one in status.channels if one.in_flight or one.receipts_waiting]
    shown = [one for one in busy if one.channel_id in status.states or one.receipts_waiting][:40]
    table = _table("channels", "in flight", "oldest", "states and pace", "receipts owed", right=(1, 2))
    for one in shown:
        sign = "~" if one.in_flight > READ else ""
        states = ", ".join(f"{state} {sign}{n:,}" for state, n in status.states.get(one.channel_id, {}).items() if n)
        pace = status.overview.paces.get(one.channel_id)
        night = status.overview.quiet.get(one.channel_id)
        words = ", ".join([states, *(_pace(pace) if pace else []), *(_night(night) if night else [])]).strip(", ")
        owed = f"{one.receipts_waiting:,}, for {format_age(one.oldest_receipt_age)}" if one.receipts_waiting else "none"
        _row(
            table,
            (one.channel_id, f"{one.in_flight:,}", format_age(one.oldest_age) if one.in_flight else "", words, owed),
        )
    left = len(busy) - len(shown)
    quiet = len(status.channels) - len(busy)
    more = [f"{left} more with messages in flight"] if left else []
    more += [f"{quiet} with nothing in flight"] if quiet else []
    parts: list[RenderableType] = [table] if shown else []
    return parts + ([Text(f"channels: {', '.join(more)}")] if more else [])


def _lanes(status: Status) -> list[RenderableType]:
    lanes = status.lanes
    count = f"{lanes.count:,}" if lanes.exact else f"about {lanes.count:,}"
    words = f"conversations: {count} with waiting messages"
    parts: list[RenderableType] = [Text(words + (f", up to {lanes.longest:,} in one" if lanes.longest > 1 else ""))]
    if lanes.heads:
        tokens = ("consumer",) if status.tokens and out.width >= _ROOMY else ()
        table = _table(
            "oldest heads", *tokens, "channel", "age", "behind", "waits for", right=(2 + len(tokens), 3 + len(tokens))
        )
        for head in lanes.heads:
            token = (status.tokens.get(head.id, ""),) if tokens else ()
            cells = (head.id, *token, head.channel_id, format_age(head.age), f"{head.behind:,}", _why(head))
            _row(table, cells, "red" if head.why == "forgotten" else "")
        parts.append(table)
    return parts


def _why(head: Head) -> str:
    words = WHY[head.why]
    if head.attempts and head.why == "under way":
        words += f" to attempt {head.attempts}"
    if head.why in ("retry", "paced", "unknown", "due") and head.due_in > 0:
        words += f", in {format_age(head.due_in)}"
    return words + (f" ({head.code})" if head.code else "")


def _rest(status: Status) -> Text:
    books, letters = status.books, status.books.dead_letters
    words = [
        f"dead letters: {letters:,}" + (f", the newest {format_age(status.letters.newest_age)} old" if letters else "")
    ]
    waiting = ", ".join(f"{name} {count:,}" for name, count in books.tasks.items())
    words.append(f"waiting tasks: {waiting}")
    if status.journal is not None:
        words.append(
            "journal: " + (f"{status.journal.bytes_waiting:,} bytes" if status.journal.bytes_waiting else "empty")
        )
    words.append(f"books: {'balance' if not books.difference else f'off by {books.difference}'}")
    return Text("; ".join(words))


# ---------------------------------------------------------------- tables without boxes: a pipe loses nothing


def _table(*names: str, right: Sequence[int] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place in right else "left", overflow="fold")
    return table


def _row(table: Table, cells: Iterable[str], style: str = "") -> None:
    table.add_row(*(Text(printable(cell), style) for cell in cells))


def _list(queues: Sequence[str]) -> str:
    return ", ".join(queues)
