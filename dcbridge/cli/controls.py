"""What an operator stops: pause, hold and drain, and what ends it; and the record of all that was done."""

from __future__ import annotations

import asyncio
import getpass
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.remote import Remote
from dcbridge.cli.terminal import (
    NO,
    UNITS,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    no_such,
    out,
    parse_time,
    print_block,
    print_json,
    say_error,
    typed,
)
from dcbridge.ledger.controls import Action, Target, What
from dcbridge.operations import controls
from dcbridge.operations.controls import LONGEST, WORDS, UnknownName, Who
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.printable import printable

_KINDS = (What.PROVIDER, What.CHANNEL, What.SUBSCRIBER, What.CONVERSATION)
_CALLED = {What.HOLD: "hold", What.ALL: "drain", What.WORKER: "drain"}  # others: a pause

WhyOption = Annotated[str, typer.Option("--why", help="The reason, for status, trace and audit.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it. Default: the user of this computer.")]
UntilOption = Annotated[
    str, typer.Option("--until", help="When it ends by itself: 30m, 2h, 1d, or an ISO time. At most 30 days.")
]
StillOption = Annotated[
    bool,
    typer.Option("--time-stands-still", help="The time to live of messages that wait for this is stopped meanwhile."),
]
ChannelOption = Annotated[
    str, typer.Option("--channel", help="With conversation: the name is the consumer's address on this channel.")
]
WhatArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="WHAT NAME",
        help="provider NAME, channel ID, subscriber NAME, or conversation REF: the reference of one of its messages;"
        ' with --channel the consumer\'s address. "-" reads the name from standard input.',
    ),
]


# ---------------------------------------------------------------- pause, hold, resume


def pause(
    words: WhatArgument,
    why: WhyOption = "",
    until: UntilOption = "",
    still: StillOption = False,
    channel: ChannelOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Stop sending to a provider or a subscriber, on a channel, or in a conversation, until it is resumed.

    Webhooks and callbacks are accepted as before. Messages wait in their order. A channel with several providers goes
    on through another one while its first one is paused; to stop the channel, pause the channel.
    """
    lasts = _lasts(until)

    async def work(session: Session) -> int:
        target = await _target(session, words, channel)
        return NO if target is None else await _begin(session, target, lasts, who_acts(by, why), still=still)

    named = {"channel": channel} if channel else {}
    raise at_the_ledger(
        config, work, remotely=lambda there: _begin_remote(there, _two(words) | named, lasts, why, still=still)
    )


def hold(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Id of a channel of bridge.yaml.")],
    why: WhyOption = "",
    until: UntilOption = "",
    still: StillOption = False,
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Hold the messages of a channel for review: each waits until it is released, rejected, or its time to live ends.

    `dcbridge resume hold CHANNEL` ends it, and releases all that wait.
    """
    lasts = _lasts(until)

    async def work(session: Session) -> int:
        target = await _target(session, ["hold", channel], "")
        return NO if target is None else await _begin(session, target, lasts, who_acts(by, why), still=still)

    named = {"what": "hold", "name": channel}
    raise at_the_ledger(config, work, remotely=lambda there: _begin_remote(there, named, lasts, why, still=still))


def _two(words: Sequence[str]) -> dict[str, str]:
    """What is named, as a console is asked for it."""
    if len(words) != 2 or words[0] not in (*_KINDS, What.HOLD):
        raise typer.BadParameter("give what and its name: provider NAME, channel ID, subscriber NAME, conversation REF")
    return {"what": words[0], "name": typed(words[1])}


def _begin_remote(there: Remote, named: Mapping[str, str], lasts: float, why: str, *, still: bool) -> int:
    until = utc(time.time() + lasts) if lasts else None
    begun = there.post("pauses", **named, until=until, time_stands_still=still, why=why)
    ends = datetime.fromisoformat(begun["until"]).timestamp() if begun["until"] else 0.0
    _say_begun(Target(What(begun["what"]), begun["name"]), ends)
    return 0


async def _begin(session: Session, target: Target, lasts: float, who: Who, *, still: bool) -> int:
    ends = await session.ledger.controls.begin(target, lasts=lasts, stands_still=still, by=who.by, why=who.why)
    if ends is None:
        say_error("1,000 pauses are in force; end some of them first, see dcbridge status")
        return NO
    _say_begun(target, ends)
    return 0


def _say_begun(target: Target, ends: float) -> None:
    word = "Messages of this channel are held for review"
    if target.what != What.HOLD:
        word = f"{controls.named(target)} is {controls.DONE.get(target.what, 'paused')}"
    end = f"until {utc(ends)[:19]}Z" if ends else "without an end"
    out.print(printable(f"{word}, {end}. dcbridge {controls.ends_it(target)} ends it."), markup=False)


def resume(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[WHAT] NAME",
            help="As with pause; or hold CHANNEL, worker NAME, or all. One word alone is a provider or"
            " subscribers/NAME.",
        ),
    ],
    why: WhyOption = "",
    channel: ChannelOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """End a pause, a hold or a drain, and send what waits for it.

    A pause that a provider or a subscriber asked for (Retry-After) ends as well.
    """
    raise at_the_ledger(
        config,
        lambda session: _resume(session, words, channel, who_acts(by, why)),
        remotely=lambda there: _resume_remote(there, words, channel, why),
    )


def _resume_remote(there: Remote, words: Sequence[str], channel: str, why: str) -> int:
    if len(words) == 1:
        words = ["subscriber", words[0].removeprefix("subscribers/")] if "/" in words[0] else ["provider", words[0]]
    ended = there.post("pauses/end", **_two(words), channel=channel, why=why)
    _say_ended(Target(What(ended["what"]), ended["name"]), ended["was_in_force"], ended["released"])
    return 0


async def _resume(session: Session, words: Sequence[str], channel: str, who: Who) -> int:
    target = await _target(session, words, channel)
    if target is None:
        return NO
    _say_ended(target, *await controls.resume(session.ledger, target, who))
    return 0


def _say_ended(target: Target, was: bool, woken: int) -> None:
    name = controls.named(target)
    if target.what not in (What.PROVIDER, What.SUBSCRIBER):
        out.print(
            printable(
                f"The {_CALLED.get(target.what, 'pause')} of {name} is over."
                if was
                else f"{name} was not {controls.DONE.get(target.what, 'paused')}."
            ),
            markup=False,
        )
        return
    shown = name.partition(" ")[2] if target.what == What.PROVIDER else f"subscribers/{target.name}"
    what = f"{woken:,} released" if woken else "nothing waited for it"
    out.print(f"The pause of {shown} is over; {what}." if was else f"{shown} was not paused; {what}.", markup=False)


async def _target(session: Session, words: Sequence[str], channel: str) -> Target | None:
    """What was named; None, and said so, where that is nothing."""
    configuration = session.configuration
    if len(words) == 1 and words[0] == What.ALL:
        return Target(What.ALL)
    kinds = [*_KINDS, What.HOLD]
    if len(words) == 1 and words[0] not in kinds:
        accounts = [*configuration.providers, *(f"subscribers/{one}" for one in configuration.subscribers)]
        if words[0] not in accounts:
            say_error(no_such("provider or subscriber", words[0], accounts))
            return None
        return Target.of(f"p/{words[0]}")
    if len(words) == 2 and words[0] == What.WORKER:
        return Target(What.WORKER, words[1])
    if len(words) != 2 or words[0] not in kinds:
        raise typer.BadParameter("give what and its name: provider NAME, channel ID, subscriber NAME, conversation REF")
    what, name = What(words[0]), typed(words[1])
    try:
        if what == What.CONVERSATION:
            return await controls.conversation(session.ledger, configuration, name, channel)
        return controls.target(configuration, what, name)
    except UnknownName as error:
        say_error(str(error))
        return None


# ---------------------------------------------------------------- drain, audit


def drain(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[worker NAME]", help="Drain only this worker: its name, its host, or host:pid."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until nothing is under way, and show what is.")] = True,
    why: WhyOption = "",
    until: UntilOption = "",
    still: StillOption = False,
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Stop sending on all channels, and say when it is safe to stop the processes.

    Webhooks are accepted; receipts, callbacks and consumer messages are processed. `dcbridge resume all` ends the
    drain. Ctrl-C ends the waiting, not the drain. With `worker NAME`, only this worker takes no more jobs; `dcbridge
    resume worker NAME` ends that.
    """
    lasts = _lasts(until)

    async def work(session: Session) -> int:
        if words:
            return await _drain_worker(session, words, lasts, who_acts(by, why), wait=wait)
        if await _begin(session, Target(What.ALL), lasts, who_acts(by, why), still=still):
            return NO
        return await _look_until_safe(session) if wait else 0

    raise at_the_ledger(config, work)


async def _drain_worker(session: Session, words: Sequence[str], lasts: float, who: Who, *, wait: bool) -> int:
    """A worker that has gone meanwhile has nothing under way either."""
    if len(words) != 2 or words[0] != What.WORKER:
        raise typer.BadParameter("give worker and its name, or nothing for the whole installation")
    try:
        name = (await controls.worker(session.ledger, words[1])).name
        if await _begin(session, Target(What.WORKER, name), lasts, who, still=False):
            return NO
        before = -1
        while wait and (jobs := (await controls.worker(session.ledger, name)).in_flight):
            if jobs != before:
                out.print(f"under way: {jobs:,} jobs")
            before = jobs
            await asyncio.sleep(0.5)
    except UnknownName as error:
        say_error(str(error))
        return NO
    if wait:
        out.print("Nothing is under way in this worker: it is safe to stop.")
    return 0


async def _look_until_safe(session: Session) -> int:
    before = ""
    while True:
        found = await controls.under_way(session.ledger)
        words = (
            f"under way: {found.requests:,} jobs, {found.queued:,} queued, {found.receipts:,} receipts owed,"
            f" {found.tasks:,} callbacks and consumer messages"
        )
        if found.is_nothing:
            out.print("Nothing is under way: it is safe to stop.")
            return 0
        if words != before:
            out.print(words, markup=False)
        before = words
        await asyncio.sleep(0.5)


def audit(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show at most this many, the newest first.")] = 50,
    since: Annotated[
        str, typer.Option("--since", help="Only actions since then: 90s, 30m, 2h, 7d (ago), or an ISO time.")
    ] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who paused, resumed, held, cancelled, retried or released what, when and why.

    The last 10,000 actions are kept.
    """
    after = parse_time(since) if since else 0.0

    async def work(session: Session) -> int:
        return _print_actions(await session.ledger.controls.audit(limit, after), as_json=as_json)

    def remotely(there: Remote) -> int:
        found = there.get("audit", limit=limit, since=utc(after) if after else None)["actions"]
        rows = [{name: one[name] for name in _ROW} for one in found]
        return _print_actions(
            [Action(**row | {"at": datetime.fromisoformat(row["at"]).timestamp()}) for row in rows], as_json=as_json
        )

    raise at_the_ledger(config, work, remotely=remotely)


_ROW = ("at", "by", "action", "what", "why", "result")


def _print_actions(found: Sequence[Action], *, as_json: bool) -> int:
    if as_json:
        for one in found:
            print_json({**asdict(one), "at": utc(one.at)})
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("at", "by", "action", "what", "result", "why"):
        table.add_column(column, overflow="fold")
    for one in found:
        what = Target.of(one.what) or one.what
        cells = (utc(one.at)[:19] + "Z", one.by or "-", one.action, str(what), _result(one.result), one.why)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    print_block(table) if found else out.print("Nothing is recorded.")
    return 0


def _result(result: str) -> str:
    """The end of a pause stands there in milliseconds since 1970."""
    found = re.fullmatch(r"until ([0-9]{1,15})", result, re.ASCII)
    return f"until {utc(int(found[1]) / 1000)[:19]}Z" if found else result


# ---------------------------------------------------------------- what was typed


def _lasts(until: str) -> float:
    """Seconds from now; 0 for no end."""
    if not until:
        return 0.0
    if found := re.fullmatch(r"([0-9]{1,6})([smhd])", until, re.ASCII):
        seconds = float(int(found[1]) * UNITS[found[2]])
    else:
        try:
            at = datetime.fromisoformat(until)
        except ValueError:
            seconds = 0.0
        else:
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    if not 1.0 <= seconds <= LONGEST:
        raise typer.BadParameter(
            "should be 30m, 2h, 1d or an ISO time in the future; 30 days at most", param_hint="--until"
        )
    return seconds


def who_acts(by: str, why: str) -> Who:
    if not by:
        try:
            by = getpass.getuser()
        except (KeyError, OSError):
            by = "an operator"
    return Who(printable(by)[:WORDS], printable(why)[:WORDS])
