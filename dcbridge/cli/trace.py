"""`dcbridge trace`: the life of one message, hop by hop. Never text, numbers, addresses or subjects."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dcbridge.cli.remote import Remote, local_only
from dcbridge.cli.terminal import out, print_block, print_json, progress, say_error
from dcbridge.ledger.history import Hop
from dcbridge.ledger.reports import search as reports
from dcbridge.operations import find
from dcbridge.operations.lives import Life, life_of, lives, lives_of
from dcbridge.operations.lives import as_json as life_as_json
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_duration, utc
from dcbridge.printable import printable


async def show(session: Session, given: str, channel: str | None, everywhere: bool, as_json: bool) -> int:
    """Print every life that goes by this id; 1 when there is none. `everywhere`: look at all that is remembered."""
    found = await lives(session, given, channel)
    listed = False
    if not found and (everywhere or find.is_address(given) or find.is_token(given)):
        look = _everywhere if everywhere else find.of_consumer
        found = await lives_of(session, await look(session, given, channel))
        listed = len(found) > 1
    letters = (
        []
        if found
        else await reports.dead_letters(session.ledger.redis, [f"{kind}-{given}" for kind in "wmrtui"] + [given])
    )
    if as_json:
        named = "" if find.is_address(given) else given
        print_json({"id": named, "found": [life_as_json(life) for life in found], "dead_letters": letters})
    else:
        _print_all(found, listed=listed)
    if not found:
        _say_what_was_not_found(session, given, channel, everywhere, letters)
    return 0 if found else 1


def show_remote(there: Remote, given: str, channel: str | None, everywhere: bool, as_json: bool) -> int:
    """The same as a console tells it."""
    if everywhere:
        local_only()
    found = there.post("messages/search", id=given, channel=channel)
    if as_json:
        print_json(found)
    else:
        lives = [life_of(one) for one in found["found"]]
        _print_all(lives, listed=len(lives) > 1 and find.is_address(given))
    if not found["found"]:
        where = f" on channel {channel}" if channel is not None else ""
        named = "this address" if find.is_address(given) else f"the id {given}"
        say_error(f"no message or task has {named}{where}")
        for letter in found["dead_letters"][:1]:
            say_error(f"a dead letter has it: dcbridge dead show {letter}")
    return 0 if found["found"] else 1


def _print_all(found: Sequence[Life], *, listed: bool) -> None:
    if listed:
        _print_list(found)
        return
    for number, life in enumerate(found):
        if number:
            out.print()
        _print(life)


async def _everywhere(session: Session, given: str, channel: str | None) -> list[str]:
    with progress() as bar:
        task = bar.add_task("searching every key", total=await session.ledger.redis.dbsize())
        return await find.everywhere(session, given, channel, lambda count: bar.advance(task, count))


def _say_what_was_not_found(
    session: Session, given: str, channel: str | None, everywhere: bool, letters: list[str]
) -> None:
    where = f" on channel {channel}" if channel is not None else ""
    if find.is_address(given):
        say_error(f"no {'remembered' if everywhere else 'waiting or indexed'} message has this address{where}")
    else:
        say_error(f"no message or task has the id {given}{where}")
    if letters:
        say_error(f"a dead letter has it: dcbridge dead show {letters[0]}")
        return
    say_error(
        f"messages are remembered for {session.settings.retention_days:g} days after their receipt was posted,"
        f" callbacks and consumer messages for {session.settings.callback_dedupe_days:g} days after they were processed"
    )
    if not everywhere:
        say_error("use --search to look through all of them for a provider's id, a trace id, a token or an address")


# ---------------------------------------------------------------- how it is put


_ROOMY = 110  # columns from which on a hop takes one line
_FACTS = 54  # characters that facts may take where there is less, before each takes a line

_WORDS = {
    "seconds": "took {} s",
    "then_in_seconds": "next step in {} s",
    "for_seconds": "for {} s",
    "provider_id": "provider id {}",
    "says": "{}",
}
_RESULTS = {
    "repeated": "known already, no change",
    "late": "after the end, no change",
    "left": "it goes through another provider now, no change",
    "doubled": "delivered by another provider as well",
    "other_provider": "of a provider that never had it, no change",
    "parked": "kept until the response to the request is known",
    "next": "the next part can be sent",
    "noted": "recorded",
}


def _print(life: Life) -> None:
    head = Table.grid(padding=(0, 2))
    head.add_column()
    head.add_column(overflow="fold")
    for name, value in life.facts.items():
        if value not in ("", []):
            words = ", ".join(value) if isinstance(value, list) else str(value)
            head.add_row(Text(name, "dim"), Text(printable(words), "bold" if name == "state" else ""))
    roomy = not out.is_terminal or out.width >= _ROOMY
    if not roomy:
        head.add_row(Text("day", "dim"), Text(f"{utc(life.hops[0].at)[:10]}, times in UTC"))
    print_block(head)
    if life.older_hops_forgotten:
        out.print("Older steps are not stored.", style="dim")
    print_block(_hops(life, roomy=roomy))
    if len(life.parts) > 1:
        for part in life.parts:
            out.print(printable(f"part {part['part']}: {part['status']} {part['provider_id']}"), markup=False)


def _hops(life: Life, *, roomy: bool) -> Table:
    """A line a hop; where there is no room for that, a short time, and the facts below."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    began = life.hops[0].at
    for hop in life.hops:
        parse_time = utc(hop.at)
        if not roomy:
            parse_time = parse_time[11:23] if parse_time[:10] == utc(began)[:10] else parse_time[5:16].replace("T", " ")
        style = "dim" if hop.what.startswith("due") else ""
        facts = [words for name, value in hop.facts.items() if (words := _fact(name, value, life))]
        cells = [parse_time, f"+{format_duration(hop.at - began)}", hop.what]
        if roomy:
            cells.append(", ".join(facts))
        elif facts:
            cells[-1] += "\n" + "\n".join(facts if len(", ".join(facts)) > _FACTS else [", ".join(facts)])
        table.add_row(*(Text("\n".join(map(printable, cell.split("\n"))), style) for cell in cells))
    return table


def in_one_line(hop: Hop, life: Life) -> str:
    """A step by itself: its time, how long after the first one, what, and its facts."""
    facts = [words for name, value in hop.facts.items() if (words := _fact(name, value, life))]
    said = f"  {', '.join(facts)}" if facts else ""
    return f"{utc(hop.at)}  +{format_duration(hop.at - life.hops[0].at)}  {hop.what}{said}"


def _fact(name: str, value: object, life: Life) -> str:
    match name:
        case "part" if len(life.parts) < 2:
            return ""
        case "result":
            return _RESULTS.get(str(value), f"now {value}")
        case "tries":
            return "" if value in (0, 1) else f"after {value} tries"
        case "code" if value == "lease ended":
            return "the worker stopped responding"
        case "says":
            return str(value).removesuffix(".")
        case _:
            return _WORDS.get(name, name + " {}").format(value)


def _print_list(lives: Sequence[Life]) -> None:
    """Of many, a line each; `dcbridge trace` tells one of them."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("accepted", "message", "channel", "state"):
        table.add_column(name, overflow="fold")
    for life in lives:
        which = life.facts.get("message") or life.facts.get("task")
        cells = (utc(life.hops[0].at)[:19] + "Z", which, life.facts["channel"], life.facts["state"])
        table.add_row(*(Text(printable(str(cell))) for cell in cells))
    print_block(table)
    out.print(f"{len(lives)} messages; dcbridge trace <message> shows the history of one of them.", markup=False)
