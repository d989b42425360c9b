"""What became of each message: what both outside worlds saw, beside the ledger's own account of it."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dcbridge.ledger.fields import MessageEntry, TaskEntry
from dcbridge.ledger.history import hops_of
from dcbridge.messages import message_ref
from tests.stack import SMS, Stack

RESENDS = 2  # a channel's `resends`, which no test of these changes
Place = tuple[int, int, str, list[int]]  # in a lane: when accepted, part, name, and each time that it was seen


@dataclass
class Verdict:
    """What breaks a promise is in `faults`, one sentence each; the counts tell how often."""

    accepted: int = 0  # agents' messages that were answered 200 in the end
    delivered: int = 0  # terminal receipts, by status
    failed: int = 0
    removed: int = 0
    unconfirmed: int = 0
    sends: int = 0  # that the provider took
    lost: int = 0  # accepted, and no receipt; or delivered, and never sent
    misordered: int = 0  # sent before, or sent again after, another one of its conversation
    doubled: int = 0  # more sends than messages: the outcome was unknown and the policy says resend
    doubled_without_reason: int = 0
    unknown: int = 0  # outcomes that nobody knew for a while
    receipts_repeated: int = 0  # the same words again: the answer was lost with a worker
    consumer_messages: int = 0  # that the bridge took
    consumer_lost: int = 0
    consumer_misordered: int = 0
    consumer_doubled: int = 0  # posted again after a worker died: Digital Channels has no way to say "the same"
    consumer_doubled_without_reason: int = 0
    books_difference: int = 0
    in_flight: int = 0
    dead_letters: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = [f for f in fields(self) if f.name != "faults"]
        return "\n".join(f"{f.name.replace('_', ' '):>32} {getattr(self, f.name):g}" for f in shown)


def judge(stack: Stack, *, by_hand: Collection[str] = ()) -> Verdict:
    """Look at everything. `by_hand`: messageIds that the test itself, and not Digital Channels, got taken."""
    state, books = stack.state(), stack.books()
    verdict = Verdict(
        sends=len(state["sms"]),
        books_difference=books.difference,
        in_flight=books.in_flight,
        unconfirmed=sum(channel.unconfirmed for channel in books.channels),
        unknown=books.counts.get("unknown", 0),
        dead_letters=books.dead_letters,
    )
    _agents(stack, verdict, state, by_hand)
    _consumers(stack, verdict, state)
    if verdict.books_difference or verdict.in_flight:
        verdict.faults.append(f"books: difference {verdict.books_difference}, in flight {verdict.in_flight}")
    counted = sum(channel.accepted for channel in books.channels)
    if counted != verdict.accepted:
        verdict.faults.append(f"books: {counted} accepted, and {verdict.accepted} were answered 200")
    if verdict.dead_letters:
        verdict.faults.append(f"{verdict.dead_letters} dead letters")
    verdict.faults += [f"{v['who']}: {v['rule']}: {v['detail']}" for v in state["violations"]]
    verdict.faults += [f"unseen: {one['message_id']}" for one in state["agent"] if one["state"] == "unseen"]
    return verdict


def entries(stack: Stack, keys: Iterable[str]) -> list[dict[bytes, bytes]]:
    """What the ledger holds under each of these keys."""
    with stack.ledger() as redis, redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        found: list[dict[bytes, bytes]] = pipe.execute()
    return found


# ---------------------------------------------------------------- agents' messages


def _agents(stack: Stack, verdict: Verdict, state: Mapping[str, Any], by_hand: Collection[str]) -> None:
    messages = [message for message in state["agent"] if message["channel_id"] == SMS]
    known = entries(stack, (f"dcb:m:{message_ref(SMS, message['message_id'])}" for message in messages))
    sends: defaultdict[str, defaultdict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for sms in state["sms"]:
        query = parse_qs(urlsplit(sms["callback_url"]).query)
        sends[query["m"][0]][int(query["p"][0])].append(sms["seq"])
    lanes: defaultdict[str, list[Place]] = defaultdict(list)
    for message, entry in zip(messages, map(MessageEntry, known), strict=True):
        name, parts = message["message_id"], sends[message_ref(SMS, message["message_id"])]
        if message["state"] != "accepted" and name not in by_hand:
            verdict.faults.append(f"{name}: the webhook was {message['state']}")
            continue
        verdict.accepted += 1
        _receipts(verdict, name, message["receipts"], entry, parts)
        _doubled(verdict, name, entry, parts)
        for part, mine in sorted(parts.items()):
            lanes[message["recipients"][0]].append((entry.accepted_at, part, f"{name} part {part + 1}", mine))
    for lane in lanes.values():
        verdict.misordered += _misordered(verdict, lane)


def _receipts(
    verdict: Verdict, name: str, receipts: Mapping[str, Any], entry: MessageEntry, parts: Mapping[int, list[int]]
) -> None:
    whole = len(parts) == (entry.parts or 1)
    statuses = Counter(receipt["status"] for receipt in receipts.values())
    verdict.receipts_repeated += sum(receipt["repeated"] for receipt in receipts.values())
    verdict.delivered += statuses["Delivered"]
    verdict.failed += statuses["Failed"]
    verdict.removed += statuses["Removed"]
    if not statuses or (statuses["Delivered"] and not whole):
        verdict.lost += 1
        verdict.faults.append(f"{name}: lost: {entry.state}, {len(receipts)} receipts, sent parts {list(parts)}")
    if statuses["Failed"] and entry.times_unknown <= RESENDS:
        verdict.faults.append(f"{name}: failed with {entry.reason} {entry.detail}")


def _doubled(verdict: Verdict, name: str, entry: MessageEntry, parts: Mapping[int, list[int]]) -> None:
    """Each send after a part's first must have a line in the message's history: unknown, and settled as resend."""
    again = sum(len(sends) - 1 for sends in parts.values())
    if again <= 0:
        return
    allowed = sum(hop.what == "outcome still unknown: resend" for hop in hops_of(entry))
    verdict.doubled += again
    if again > allowed:
        verdict.doubled_without_reason += again - allowed
        verdict.faults.append(f"{name}: sent {again} times too often, and its history allows {allowed}")


def _misordered(verdict: Verdict, lane: list[Place]) -> int:
    """Every send of a message stands before the first one of the next, and so with its parts."""
    lane.sort()
    found = 0
    for (at, part, name, sends), (next_at, next_part, next_name, next_sends) in itertools.pairwise(lane):
        if (next_at > at or next_part > part) and min(next_sends) < max(sends):
            found += 1
            verdict.faults.append(f"{next_name}: overtook {name}: sends {next_sends} and {sends}")
    return found


# ---------------------------------------------------------------- consumers' messages


def _consumers(stack: Stack, verdict: Verdict, state: Mapping[str, Any]) -> None:
    seen: defaultdict[str, list[int]] = defaultdict(list)
    for one in state["seen"]:
        seen[one["text"]].append(one["seq"])
    tasks = entries(stack, (f"dcb:t:{_task_id(sent['sid'])}" for sent in state["consumer"]))
    lanes: defaultdict[str, list[Place]] = defaultdict(list)
    for sent, task in zip(state["consumer"], map(TaskEntry, tasks), strict=True):
        name, mine = sent["text"], seen[sent["text"]]
        if sent["state"] != "taken":
            verdict.faults.append(f"{name}: the callback was {sent['state']}: {sent['answer']}")
            continue
        verdict.consumer_messages += 1
        if not mine:
            verdict.consumer_lost += 1
            verdict.faults.append(f"{name}: no agent saw it; its task is {task.state}")
            continue
        lanes[sent["sender"]].append((sent["seq"], 0, name, mine))
        again, allowed = len(mine) - 1, task.attempts - 1
        verdict.consumer_doubled += again
        if again > allowed:
            verdict.consumer_doubled_without_reason += again - allowed
            verdict.faults.append(f"{name}: seen {len(mine)} times, claimed {allowed + 1} times")
    for lane in lanes.values():
        verdict.consumer_misordered += _misordered(verdict, lane)


def _task_id(sid: str) -> str:
    """As workers/callbacks.py names it."""
    return "c-" + hashlib.blake2b(f"twilio\0{sid}".encode(), digest_size=12).hexdigest()
