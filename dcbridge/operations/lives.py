"""The life of a message or a task, hop by hop: where it stands, why it waits. Never text, numbers, addresses or
subjects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dcbridge.address_tokens import address_token
from dcbridge.genesys.payloads import MAX_RECIPIENTS
from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import MessageEntry, State
from dcbridge.ledger.history import Hop, costs_of, hops_of, hops_of_task, older_lines_are_gone, parts_of
from dcbridge.ledger.quiet import read_line
from dcbridge.ledger.reports import search as reports
from dcbridge.ledger.uploads import Uploaded
from dcbridge.messages import message_ref
from dcbridge.operations import controls, find
from dcbridge.operations.controls import told
from dcbridge.operations.damage import LAST, sound
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.settings.process import Settings
from dcbridge.tracing.ids import split

_REF = re.compile(r"[0-9a-f]{24}(-[0-9]{1,3})?")
_JOBS = {"consumer": "a consumer message", "mail": "a mail"}
_TASK = re.compile(r"[bcl]-[0-9a-f]{24}")
_MESSAGE_ID = re.compile(r"<?([0-9a-f]{24}(?:-[0-9]{1,3})?)@[^@>\s]+>?")
_FIRST_LOOK = 8  # copies looked for on each channel; where one is found, all are looked for


@dataclass(frozen=True, slots=True)
class Life:
    """One message or task: what it is, where it stands, and its hops."""

    facts: Mapping[str, Any]  # in the order to be shown; empty ones are not
    hops: Sequence[Hop]
    parts: Sequence[Mapping[str, Any]] = ()
    older_hops_forgotten: bool = False


async def lives(session: Session, given: str, channel: str | None) -> list[Life]:
    """By what names a message at once."""
    if channel is None and _TASK.fullmatch(given):
        found = await _task(session.ledger, given)
        return [found] if found else []
    if channel is None and _REF.fullmatch(given) and (known := await _message(session, given)):
        return [known]
    refs = await _refs(session, given, channel)
    if not refs and (named := _MESSAGE_ID.fullmatch(given)):  # the Message-ID of an email is the reference
        refs = [named[1]]
    members = [f"m:{ref}" for ref in refs] or await find.consumer_messages(session, given)
    return await lives_of(session, members)


async def lives_of(session: Session, members: Sequence[str]) -> list[Life]:
    """Of "m:<ref>" and "t:<id>", those that are still known."""
    found = [
        await (_message(session, member[2:]) if member.startswith("m:") else _task(session.ledger, member[2:]))
        for member in members
    ]
    return [life for life in found if life is not None]


async def _refs(session: Session, message_id: str, channel: str | None) -> list[str]:
    """Every copy of a Digital Channels messageId, on one channel or on all that are configured or were."""
    redis = session.ledger.redis
    channels = [channel] if channel is not None else list(session.configuration.channels)
    if channel is None:
        channels += sorted(await reports.channels(redis) - set(channels))
    found: list[str] = []
    for name in channels:
        first = await reports.messages(redis, [message_ref(name, message_id, n) for n in range(_FIRST_LOOK)])
        rest = [message_ref(name, message_id, n) for n in range(_FIRST_LOOK, MAX_RECIPIENTS)] if first else []
        found += first + await reports.messages(redis, rest)
    return found


async def _message(session: Session, ref: str) -> Life | None:
    redis = session.ledger.redis
    found = await session.ledger.messages.entry(ref)
    if not found:
        return None
    entry, damaged = sound(found)
    channel = session.configuration.channel(entry.channel_id)
    provider = entry.provider or (channel.provider if channel else "")
    place = await reports.place_of(redis, ref, entry, provider)
    now = await controls.now(session.ledger)
    facts = {
        "message": ref,
        "state": entry.state,
        "what": "a message of dcbridge's own" if entry.is_own else "",
        "caused by": entry.cause,
        "channel": entry.channel_id,
        "message id": entry.message_id,
        "trace id": split(entry.trace_id)[0],
        "consumer": _consumer(session.settings, entry),
        "attempts": entry.total_attempts,
        "provider": _provider(entry),
        "sent from": _sent_from(entry),
        "doubled": f"{entry.doubled_by} delivered it as well" if entry.doubled_by else "",
        "waits behind": f"{place.in_lane} in its conversation" if place.in_lane else "",
        "paused": [told(one, now) for one in await controls.stopping(session.ledger, entry, provider)],
        "held back": _held_back(entry, provider if place.is_parked else "", place.breaker_why),
        "last code": entry.last_code,
        "outcome was unknown": {0: "", 1: "once"}.get(entry.times_unknown, f"{entry.times_unknown} times"),
        "damaged": damaged,
        "cost": [cost + (f" for {sms} SMS" if sms else "") for cost, sms in costs_of(entry)],
        "dead letters": await reports.dead_letters(redis, [f"m-{ref}", f"r-{ref}"]),
    }
    hops = hops_of(entry, due=place.due, receipt_due=place.receipt_due)
    return Life(facts, hops, parts_of(entry), older_lines_are_gone(entry))


async def _task(ledger: Ledger, task_id: str) -> Life | None:
    found = await ledger.tasks.entry(task_id)
    if not found:
        return None
    entry, damaged = sound(found)
    facts = {
        "task": task_id,
        "state": entry.state,
        "what": _JOBS.get(entry.job, "a provider's callback"),
        "channel": entry.channel_id,
        "trace id": split(entry.trace_id)[0],
        "attempts": entry.attempts,
        "last code": entry.last_code,
        "files": [_file(one) for _, one in sorted((await ledger.uploads.of(task_id)).items())],
        "damaged": damaged,
        "dead letters": await reports.dead_letters(ledger.redis, [f"t-{task_id}"]),
    }
    return Life(facts, hops_of_task(entry), (), older_lines_are_gone(entry))


_WHY = {
    "first": "the first of the channel",
    "next": "those before it were not available",
    "last": "it is drained, and no other was available",
    "preferred": "preferred by an operator",
    "sticky": "the conversation is with it",
    "probe": "it was tried whether it is back",
    "breaker": "the breaker of the other one was open",
    "throttled": "the other one was throttled",
    "drained": "the other one was drained",
    "unreachable": "the other one could not be reached",
    "account": "the other one refused the account",
    "route": "the other one could not send it",
    "gone": "the other one is none of the channel's any more",
    "unknown": "the outcome at the other one stayed unknown",
    "reported": "it reported that it has the message",
    "drill": "by a drill",
    "beside": "beside a drill",
}


_WHY_FROM = {
    "w": "the consumer wrote to it",
    "c": "the rule of the country",
    "k": "the conversation is with it",
    "p": "chosen from the pool",
}


def _sent_from(entry: MessageEntry) -> str:
    """The number that it came from, and why, where the channel had a choice."""
    letter, _, number = entry.sent_from.partition(" ")
    return f"{number}: {_WHY_FROM.get(letter, letter)}" if number else ""


def _provider(entry: MessageEntry) -> str:
    """The one that it goes through, why, and those that it left."""
    if not entry.provider:
        return ""
    why = _WHY.get(entry.provider_why.partition(" ")[0], entry.provider_why)
    left = ", ".join(entry.left_providers.split())
    return entry.provider + (f": {why}" if why else "") + (f"; before, it went through {left}" if left else "")


def _file(one: Uploaded) -> str:
    return f"withheld: {one.withheld}" if one.withheld else f"{one.mimetype} of {one.size:,} bytes, {one.media_id}"


def _held_back(entry: MessageEntry, parked_at: str, why: bytes | None) -> str:
    """Why a message whose turn it is does not go (dcbridge/ledger/lines.lua)."""
    if entry.state not in (State.ACCEPTED, State.RETRY):
        return ""
    if parked_at:
        code = f": {why.decode(errors='replace')}" if why else ""
        return f"the breaker of {parked_at} is open{code}"
    kind, _, name = entry.line.partition("-")
    if kind == "r":
        return f"none of the providers of channel {name} is available"
    if kind == "k":
        return "an operator has to resume it"
    if kind == "w":
        return "a statistic of the contact centre is too high (hold_while)"
    if night := read_line(entry.line):
        return f"quiet hours of its consumer, until {utc(night[1])}"
    if kind == "u":
        return f"no worker is configured for channel {name}"
    if kind in ("c", "p"):
        return f"it waits for {'the pace of channel' if kind == 'c' else 'the pace or a pause of provider'} {name}"
    if entry.held_by:
        return "the allowed number of requests is in flight"
    return f"by the rate limit, until {utc(entry.slot / 1000)}" if entry.slot else ""


def _consumer(settings: Settings, entry: MessageEntry) -> str:
    """The token by which the logs name the consumer, while the ledger still needs the address."""
    if not entry.to_id or settings.token_key_is_random:
        return ""
    return address_token(settings.token_key.get_secret_value().encode(), entry.to_id)


def _seconds(score: float | None) -> float | None:
    return score / 1000 if score is not None and 0 <= score <= LAST else None


def life_of(said: Mapping[str, Any]) -> Life:
    """What `as_json` wrote, as it was."""
    facts = {
        name.replace("_", " "): value
        for name, value in said.items()
        if name not in ("parts", "older_hops_forgotten", "hops")
    }
    hops = []
    for hop in said["hops"]:
        rest = {name: value for name, value in hop.items() if name not in ("at", "seconds_since_accepted", "what")}
        hops.append(Hop(datetime.fromisoformat(hop["at"]).timestamp(), hop["what"], rest))
    return Life(facts, hops, said["parts"], said["older_hops_forgotten"])


def as_json(life: Life) -> dict[str, Any]:
    """For machines."""
    facts = {name.replace(" ", "_"): value for name, value in life.facts.items() if value not in ("", [])}
    began = life.hops[0].at
    hops = [
        {"at": utc(hop.at), "seconds_since_accepted": round(hop.at - began, 3), "what": hop.what, **hop.facts}
        for hop in life.hops
    ]
    return facts | {"parts": list(life.parts), "older_hops_forgotten": life.older_hops_forgotten, "hops": hops}
