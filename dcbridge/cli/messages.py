"""What an operator does to messages that were not sent yet: cancel, retry, release, reject."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from dcbridge.cli.controls import ByOption, WhyOption, who_acts
from dcbridge.cli.remote import Remote
from dcbridge.cli.terminal import (
    CANNOT_ASK,
    NO,
    ConfigOption,
    at_the_ledger,
    out,
    parse_time,
    progress,
    say_error,
    typed,
)
from dcbridge.ledger.fields import State
from dcbridge.operations import controls
from dcbridge.operations.controls import OPEN, WAITING, WORDS, Filter, UnknownName, Who
from dcbridge.operations.session import Progress, Session
from dcbridge.operations.wording import utc
from dcbridge.printable import printable

_STATES = {"waiting": WAITING, **{state.value: (state,) for state in OPEN}}
_WORDS = {
    "cancelled": "cancelled",
    "again": "were cancelled before",
    "under way": "are under way or unknown: they are not ended, and not sent again",
    "sent": "were sent already",
    "ended": "had ended already",
    "gone": "are not remembered any more",
    "aside": "cannot be read by this version: see dcbridge aside list",
}

ChannelOption = Annotated[str, typer.Option("--channel", help="Only this channel id.")]
ProviderOption = Annotated[str, typer.Option("--provider", help="Only messages that go through this provider.")]
AfterOption = Annotated[
    str, typer.Option("--accepted-after", help="Only messages accepted since then: 30m, 2h (ago), or an ISO time.")
]
BeforeOption = Annotated[
    str, typer.Option("--accepted-before", help="Only messages accepted before then. Default: now.")
]
StateOption = Annotated[
    str, typer.Option("--state", help="Only messages in this state: waiting, accepted, retry, unknown, sending.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All messages of all channels.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Change several messages without asking.")]
RefsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Messages by reference or messageId; or select them with the options."),
]


def cancel(
    ids: RefsArgument = None,
    channel: ChannelOption = "",
    provider: ProviderOption = "",
    after: AfterOption = "",
    before: BeforeOption = "",
    state: StateOption = "",
    everything: AllOption = False,
    dry_run: DryRunOption = False,
    sure: YesOption = False,
    why: WhyOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Cancel messages that were not sent yet: agents see Failed with reason 500.

    One whose request is under way, or whose outcome is unknown, is not ended; it is not sent again either. A run may be
    interrupted and repeated. Exit code 1 if a named message does not exist or nothing matches.
    """
    chosen = _filter(channel, provider, after, before, state)
    _one_way(ids, chosen, everything=everything)

    async def work(session: Session) -> int:
        return await _do(
            session, "cancel", ids, chosen, who_acts(by, why), dry_run=dry_run, sure=sure,
            act=lambda refs, of, who, done: controls.cancel(session.ledger, refs, of, who, done),
        )  # fmt: skip

    body = _body(ids, chosen, why, everything=everything) | {"state": state}
    raise at_the_ledger(
        config, work, remotely=lambda there: _do_remote(there, "cancel", body, dry_run=dry_run, sure=sure)
    )


def retry(
    ids: RefsArgument = None,
    channel: ChannelOption = "",
    provider: ProviderOption = "",
    after: AfterOption = "",
    before: BeforeOption = "",
    everything: AllOption = False,
    unknown: Annotated[
        bool,
        typer.Option("--unknown-too", help="Send again what may have been sent already: some may arrive twice."),
    ] = False,
    dry_run: DryRunOption = False,
    sure: YesOption = False,
    why: WhyOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Make the next attempt now, for messages that wait after a failed one.

    Limits, an open breaker, quiet hours and pauses hold as before; dcbridge trace shows what a message waits for.
    """
    chosen = _filter(channel, provider, after, before, "")
    _one_way(ids, chosen, everything=everything)
    body = _body(ids, chosen, why, everything=everything) | {"with_unknown": unknown}
    chosen = replace(chosen, states=(State.RETRY, State.UNKNOWN) if unknown else (State.RETRY,))

    async def work(session: Session) -> int:
        return await _do(
            session, "retry", ids, chosen, who_acts(by, why), dry_run=dry_run, sure=sure,
            act=lambda refs, of, who, done: controls.retry(session.ledger, refs, of, who, done, with_unknown=unknown),
        )  # fmt: skip

    raise at_the_ledger(
        config, work, remotely=lambda there: _do_remote(there, "retry", body, dry_run=dry_run, sure=sure)
    )


def release(
    ids: RefsArgument = None,
    channel: ChannelOption = "",
    before: BeforeOption = "",
    dry_run: DryRunOption = False,
    sure: YesOption = False,
    why: WhyOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Send messages that are held for review: those named, or with --channel all that wait now. The hold goes on."""
    _review("release", ids, channel, before, who_acts(by, why), dry_run=dry_run, sure=sure, config=config)


def reject(
    ids: RefsArgument = None,
    channel: ChannelOption = "",
    before: BeforeOption = "",
    dry_run: DryRunOption = False,
    sure: YesOption = False,
    why: WhyOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Fail messages that are held for review: those named, or with --channel all that wait now. The hold goes on.

    Agents see Failed with reason 500.
    """
    _review("reject", ids, channel, before, who_acts(by, why), dry_run=dry_run, sure=sure, config=config)


def _review(
    verb: str, ids: list[str] | None, channel: str, before: str, who: Who, *, dry_run: bool, sure: bool,
    config: ConfigOption,
) -> None:  # fmt: skip
    chosen = replace(_filter(channel, "", "", before, ""), states=WAITING)
    if bool(ids) == bool(channel):
        raise typer.BadParameter("give references of messages, or --channel with its id for all that are held there")

    async def work(session: Session) -> int:
        def act(refs: Sequence[str], of: str, who: Who, done: Progress) -> Awaitable[Counter[str]]:
            if verb == "release":
                return controls.release(session.ledger, refs, of, who, done)
            return controls.cancel(session.ledger, refs, of, who, done, rejected=True)

        return await _do(session, verb, ids, chosen, who, dry_run=dry_run, sure=sure, act=act)

    body = _body(ids, chosen, who.why, everything=False)
    raise at_the_ledger(config, work, remotely=lambda there: _do_remote(there, verb, body, dry_run=dry_run, sure=sure))


Act = Callable[[Sequence[str], str, Who, Progress], Awaitable[Counter[str]]]


async def _do(
    session: Session,
    verb: str,
    ids: Sequence[str] | None,
    chosen: Filter,
    who: Who,
    *,
    dry_run: bool,
    sure: bool,
    act: Act,
) -> int:
    """Find them, count them, ask, and do it."""
    if not ids and chosen.before is None:  # what comes from now on was not seen by the person who typed this
        chosen = replace(chosen, before=await controls.now(session.ledger))
    try:
        refs = await _refs(session, ids, chosen)
    except UnknownName as error:
        say_error(str(error))
        return NO
    if not refs:
        out.print("No message matches.")
        return NO
    if dry_run:
        _say_matching(verb, [(channel, state, count) for (channel, state), count in Counter(refs.values()).items()])
        return 0
    if (refusal := _refused(verb, len(refs), sure=sure)) is not None:
        return refusal
    with progress() as bar:
        task = bar.add_task(verb, total=len(refs))
        of = " ".join(ids)[:WORDS] if ids else str(chosen)
        counts = await act(list(refs), of, who, lambda count: bar.advance(task, count))
    _say_results(verb, counts)
    return 0


def _say_matching(verb: str, rows: Sequence[tuple[str, str, int]]) -> None:
    for channel, state, count in sorted(rows):
        out.print(printable(f"{count:,} {state} of channel {channel}"), markup=False)
    out.print(f"Would {verb} {_messages(sum(count for _, _, count in rows))}, and changed nothing.")


def _refused(verb: str, count: int, *, sure: bool) -> int | None:
    """The exit code where several are not to be changed; None where they may be."""
    if count <= 1 or sure:
        return None
    if not sys.stdin.isatty():
        say_error(f"{_messages(count)} match; repeat the command with --yes, or with --dry-run to see them")
        return CANNOT_ASK
    if typer.confirm(f"{verb.capitalize()} {_messages(count)}?", err=True):
        return None
    out.print("Nothing was changed.")
    return NO


def _say_results(verb: str, counts: Counter[str]) -> None:
    words = _WORDS | ({"cancelled": "rejected"} if verb == "reject" else {})
    for word, count in counts.most_common():
        out.print(printable(f"{count:,} {words.get(word, word)}"), markup=False)


# ---------------------------------------------------------------- by a console


def _body(ids: Sequence[str] | None, chosen: Filter, why: str, *, everything: bool) -> dict[str, object]:
    """What a console is asked for."""
    return {
        "ids": [typed(one) for one in ids or ()],
        "channel": chosen.channel,
        "provider": chosen.provider,
        "accepted_after": utc(chosen.after) if chosen.after else None,
        "accepted_before": utc(chosen.before) if chosen.before else None,
        "all": everything,
        "why": why,
    }


def _do_remote(there: Remote, verb: str, body: Mapping[str, object], *, dry_run: bool, sure: bool) -> int:
    """Count them, ask, and do it, as many requests as that takes."""
    seen = there.post(f"messages/{verb}", **body, dry_run=True)
    rows = [(one["channel"], one["state"], one["count"]) for one in seen["matching"]]
    if not rows:
        out.print("No message matches.")
        return NO
    more = "; these are the first of them" if seen["more"] else ""
    if dry_run:
        _say_matching(verb, rows)
        if more:
            out.print(f"More match{more}.")
        return 0
    if (refusal := _refused(verb, sum(count for _, _, count in rows), sure=sure)) is not None:
        return refusal
    done = there.post(f"messages/{verb}", **body)
    _say_results(verb, Counter(done["results"]))
    if done["more"]:
        out.print("More match: repeat the command.")
    return 0


async def _refs(session: Session, ids: Sequence[str] | None, chosen: Filter) -> Mapping[str, tuple[str, str]]:
    if ids:
        named = [
            await controls.refs_of(session.ledger, session.configuration, typed(one), chosen.channel) for one in ids
        ]
        refs = list(dict.fromkeys(ref for some in named for ref in some))
        entries = await session.ledger.messages.entries(refs)
        return {ref: (entry.channel_id, entry.state) for ref, entry in zip(refs, entries, strict=True)}
    with progress() as bar:
        task = bar.add_task("looking", total=None)
        return await controls.find(
            session.ledger, session.configuration, chosen, lambda count: bar.advance(task, count)
        )


def _filter(channel: str, provider: str, after: str, before: str, state: str) -> Filter:
    if state and state not in _STATES:
        raise typer.BadParameter(f"use one of {', '.join(_STATES)}", param_hint="--state")
    return Filter(
        channel,
        provider,
        _STATES[state] if state else OPEN,
        parse_time(after, "--accepted-after") if after else None,
        parse_time(before, "--accepted-before") if before else None,
    )


def _one_way(ids: Sequence[str] | None, chosen: Filter, *, everything: bool) -> None:
    by_id = replace(chosen, channel="") if ids else chosen  # it may say on which channel a messageId is
    ways = [bool(ids), by_id != Filter(), everything]
    if not any(ways):
        raise typer.BadParameter("give references of messages, or an option that selects some, or --all")
    if sum(ways) > 1:
        raise typer.BadParameter("references, options that select, and --all exclude each other")


def _messages(count: int) -> str:
    return f"{count:,} message{'s' * (count != 1)}"
