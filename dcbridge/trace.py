"""`dcbridge trace`: the life of one message, hop by hop. Never text, numbers, addresses or subjects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from rich.table import Table
from rich.text import Text

from bridge.ledger import Ledger
from bridge.ledger.history import Hop, hops_of, hops_of_task, older_lines_are_gone, parts_of
from bridge.logs import Tokens
from bridge.messages import message_ref
from bridge.settings import Settings
from bridge.wire import MAX_RECIPIENTS
from dcbridge.terminal import Desk, out, print_json, print_table, printable, say_error, span, utc

_REF = re.compile(r"[0-9a-f]{24}(-[0-9]{1,3})?")
_TASK = re.compile(r"[bc]-[0-9a-f]{24}")
_FIRST_LOOK = 8  # copies looked for on each channel; where one is found, all are looked for


@dataclass(frozen=True, slots=True)
class Life:
    """One message or task: what it is, where it stands, and its hops."""

    facts: Mapping[str, Any]  # in the order to be shown; empty ones are not
    hops: Sequence[Hop]
    parts: Sequence[Mapping[str, Any]] = ()
    older_hops_forgotten: bool = False


async def show(desk: Desk, given: str, channel: str | None, as_json: bool) -> int:
    """Print every life that goes by this id; 1 when there is none."""
    lives = await _lives(desk, given, channel)
    letters = [] if lives else await _letters(desk.ledger.redis, [f"{kind}-{given}" for kind in "wmrtui"] + [given])
    if as_json:
        print_json({"id": given, "found": [_as_json(life) for life in lives], "dead_letters": letters})
    else:
        for number, life in enumerate(lives):
            if number:
                out.print()
            _print(life)
    if lives:
        return 0
    say_error(f"nobody knows {given}" + (f" on channel {channel}" if channel is not None else ""))
    if letters:
        say_error(f"there is a dead letter: dcbridge dead show {letters[0]}")
    else:
        say_error(
            f"a message is remembered for {desk.settings.retention_days:g} days after its receipt was posted,"
            f" a callback or a consumer's message for {desk.settings.callback_dedupe_days:g} days after it was done"
        )
    return 1


async def _lives(desk: Desk, given: str, channel: str | None) -> list[Life]:
    if channel is None and _TASK.fullmatch(given):
        found = await _task(desk.ledger, given)
        return [found] if found else []
    if channel is None and _REF.fullmatch(given) and (known := await _message(desk, given)):
        return [known]
    refs = await _refs(desk, given, channel)
    return [life for ref in refs if (life := await _message(desk, ref))]


async def _refs(desk: Desk, message_id: str, channel: str | None) -> list[str]:
    """Every copy of a Digital Channels messageId, on one channel or on all that are configured or were."""
    redis = desk.ledger.redis
    channels = [channel] if channel is not None else list(desk.configuration.channels)
    if channel is None:
        strays = cast(set[bytes], await redis.smembers("dcb:channels"))
        channels += sorted({name.decode() for name in strays} - set(channels))
    found: list[str] = []
    for name in channels:
        first = await _existing(redis, [message_ref(name, message_id, n) for n in range(_FIRST_LOOK)])
        rest = [message_ref(name, message_id, n) for n in range(_FIRST_LOOK, MAX_RECIPIENTS)] if first else []
        found += first + await _existing(redis, rest)
    return found


async def _existing(redis: Redis, refs: Sequence[str]) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for ref in refs:
            pipe.exists(f"dcb:m:{ref}")
        answers = await pipe.execute()
    return [ref for ref, answer in zip(refs, answers, strict=True) if answer]


async def _letters(redis: Redis, ids: Sequence[str]) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.exists(f"dcb:dead:{one}")
        answers = await pipe.execute()
    return [one for one, answer in zip(ids, answers, strict=True) if answer]


async def _message(desk: Desk, ref: str) -> Life | None:
    redis = desk.ledger.redis
    entry = await desk.ledger.entry(ref)
    if not entry:
        return None
    channel = desk.configuration.channel(entry["ch"])
    provider = channel.provider if channel else ""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zscore("dcb:due", f"m:{ref}")
        pipe.zscore(f"dcb:receipts:{entry['ch']}", ref)
        pipe.lpos(f"dcb:lane:{entry['ln']}", f"m:{ref}")
        pipe.zscore(f"dcb:parked:{provider}", ref)
        pipe.hget(f"dcb:breaker:{provider}", "why")
        due, receipt_due, place, parked, why = await pipe.execute()
    facts = {
        "message": ref,
        "state": entry["s"],
        "channel": entry["ch"],
        "message id": entry["mid"],
        "trace id": entry.get("tr", ""),
        "consumer": _consumer(desk.settings, entry),
        "attempts": int(entry.get("ta", "0")),
        "waits behind": f"{place} of its conversation" if place else "",
        "held back": _held_back(entry, provider if parked is not None else "", why),
        "last code": entry.get("e", ""),
        "outcome was unknown": f"{entry['unk']} times" if "unk" in entry else "",
        "dead letters": await _letters(redis, [f"m-{ref}", f"r-{ref}"]),
    }
    hops = hops_of(entry, due=_seconds(due), receipt_due=_seconds(receipt_due))
    return Life(facts, hops, parts_of(entry), older_lines_are_gone(entry))


async def _task(ledger: Ledger, task_id: str) -> Life | None:
    entry = await ledger.task(task_id)
    if not entry:
        return None
    facts = {
        "task": task_id,
        "state": entry["s"],
        "what": "a consumer's message" if entry["j"] == "consumer" else "a provider's callback",
        "channel": entry.get("ch", ""),
        "trace id": entry.get("tr", ""),
        "attempts": int(entry.get("a", "0")),
        "last code": entry.get("e", ""),
        "dead letters": await _letters(ledger.redis, [f"t-{task_id}"]),
    }
    return Life(facts, hops_of_task(entry), (), older_lines_are_gone(entry))


def _held_back(entry: Mapping[str, str], parked_at: str, why: bytes | None) -> str:
    """Why a message whose turn it is does not go (bridge/ledger/pacing.lua)."""
    if entry["s"] not in ("accepted", "retry"):
        return ""
    if parked_at:
        code = f": {why.decode(errors='replace')}" if why else ""
        return f"nothing is sent to {parked_at} at present{code}"
    if "hd" in entry:
        return "as many requests as are allowed are under way"
    return f"by the rate, until {utc(int(entry['sl']) / 1000)}" if "sl" in entry else ""


def _consumer(settings: Settings, entry: Mapping[str, str]) -> str:
    """The token by which the logs name the consumer, while the ledger still needs the address."""
    if "to" not in entry or settings.token_key_is_random:
        return ""
    return Tokens(settings.token_key.get_secret_value().encode()).of(entry["to"])


def _seconds(score: float | None) -> float | None:
    return None if score is None else score / 1000


# ---------------------------------------------------------------- how it is put


_WORDS = {
    "seconds": "took {} s",
    "then_in_seconds": "next look in {} s",
    "provider_id": "provider id {}",
    "result": "and so: {}",
    "says": "{}",
}


def _print(life: Life) -> None:
    head = Table.grid(padding=(0, 2))
    for name, value in life.facts.items():
        if value not in ("", []):
            words = ", ".join(value) if isinstance(value, list) else str(value)
            head.add_row(Text(name, "dim"), Text(printable(words), "bold" if name == "state" else ""))
    print_table(head)
    if life.older_hops_forgotten:
        out.print("Steps older than these are not kept.", style="dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column()
    table.add_column(justify="right")
    began = life.hops[0].at
    for hop in life.hops:
        facts = ", ".join(_WORDS.get(name, name + " {}").format(value) for name, value in hop.facts.items())
        style = "dim" if hop.what.startswith("due") else ""
        cells = (utc(hop.at), f"+{span(hop.at - began)}", hop.what, facts)
        table.add_row(*(Text(printable(cell), style) for cell in cells))
    print_table(table)
    if len(life.parts) > 1:
        for part in life.parts:
            out.print(printable(f"part {part['part']}: {part['status']} {part['provider_id']}"), markup=False)


def _as_json(life: Life) -> dict[str, Any]:
    facts = {name.replace(" ", "_"): value for name, value in life.facts.items() if value not in ("", [])}
    began = life.hops[0].at
    hops = [
        {"at": utc(hop.at), "seconds_since_accepted": round(hop.at - began, 3), "what": hop.what, **hop.facts}
        for hop in life.hops
    ]
    return facts | {"parts": list(life.parts), "older_hops_forgotten": life.older_hops_forgotten, "hops": hops}
