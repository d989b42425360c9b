"""The ledger: what Redis remembers of every message, and the only code that moves it.

Agent messages, one entry a recipient:

    accepted ──claim──▶ sending ──taken──▶ sent ──▶ delivered | removed | failed | unconfirmed
        ▲                 │  │  │
        │ next part       │  │  └─no answer──▶ unknown ──settle──▶ retry | failed
        └─────────────────┘  └──retry──▶ retry ──claim──▶ sending

Every transition is one atomic script (the .lua files beside this one). A claim is fenced by its
token: whoever lost it, by a lease that ended or by an update that settled the message, gets
"stale" and changes nothing. Each verb may be repeated blindly, since a reply can be lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Self, cast

from redis.asyncio import Redis

from dcbridge.ledger.entries import Claimed, Decision, E, MessageClaim, OwedReceipt, Swept, TaskClaim, unreadable
from dcbridge.ledger.fields import ClaimedMessage, MessageEntry, TaskEntry
from dcbridge.ledger.lua import ledger_script
from dcbridge.ledger.patience import Patience
from dcbridge.ledger.script import Script, slices, whole
from dcbridge.messages import MessageStatus
from dcbridge.settings.process import DAY, Settings
from dcbridge.store.durability import Durable

__all__ = ["Claimed", "Decision", "MessageClaim", "OwedReceipt", "Swept", "TaskClaim"]  # of entries.py

SWEEP = 500  # members that one sweep looks at
LARGE = 65536  # bytes of a payload that a claim does not bring along, as in messages.lua
GIVEN_UP = 200  # messages that one call looks at to fail them
_SLICE = 250  # channels whose limits one script takes
_SCRIPT = 64  # messages or tasks that one script takes
KNOWN = 14400.0  # seconds for which it is known at least whose a provider's id is, as in messages.lua
COPIES_AT_ONCE, MOST_COPIES = 100, 10_000  # of one message, when one of them is looked for


class NewMessage(NamedTuple):
    """One copy of an agent message at the door. With `reason` it ends at once as Failed."""

    ref: str
    first_ref: str
    channel_id: str
    message_id: str
    sender_id: str
    to_id: str
    payload: bytes
    trace_id: str
    time_to_live: float  # seconds
    reason: int = 0
    detail: str = ""
    raw: bytes = b""  # kept as a dead letter
    copies: int = 1  # of the whole message; of several, the payload is stored once


@dataclass(frozen=True, slots=True)
class NewTask:
    """Something to be done once: read a raw callback, post a consumer message."""

    id: str
    job: str
    lane: str
    payload: bytes
    trace_id: str = ""
    channel_id: str = ""


def lane_of(*names: str) -> str:
    """The key of a lane: a digest, so that no address stands in a key name."""
    return hashlib.blake2b("\0".join(names).encode(), digest_size=9).hexdigest()


class Ledger:
    """`keep` and `keep_dead`: seconds that finished entries and dead letters live. `durable`: see Batch.

    `worker`: a name for the claims of this process; without one a claim ends with its lease alone.
    `silence`: seconds after which a worker that says nothing counts as dead.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        keep: float,
        keep_dead: float,
        durable: Durable | None = None,
        worker: str = "",
        silence: float = 10.0,
        patience: Patience | None = None,
    ) -> None:
        self.redis = redis
        self.keep_ms, self.keep_dead_ms = int(keep * 1000), int(keep_dead * 1000)
        self._worker, self._silence = worker, int(silence * 1000)
        self.script = Script(redis, ledger_script(), durable, patience)

    @classmethod
    def of(
        cls,
        settings: Settings,
        redis: Redis,
        durable: Durable | None = None,
        worker: str = "",
        patience: Patience | None = None,
    ) -> Self:
        """The ledger of a process, kept as long as its settings say."""
        return cls(
            redis,
            keep=settings.retention_days * DAY,
            keep_dead=settings.dead_letter_days * DAY,
            durable=durable,
            worker=worker,
            silence=settings.worker_silence,
            patience=patience,
        )

    @property
    def once(self) -> Self:
        """The same ledger, whose verbs are tried once: for whoever comes again by itself, as a sweep does."""
        same = copy(self)
        same.script = self.script.once()
        return same

    # ------------------------------------------------------------ whose claims these are

    def token(self) -> str:
        """What fences one claim, and says whose it is."""
        return f"{self._worker}.{secrets.token_hex(8)}"

    async def alive(self) -> None:
        """Say that this worker lives. Each sweep says it again; claims of a silent worker end early."""
        await self.script.call("alive", self._worker, self._silence)

    async def farewell(self) -> None:
        """This worker holds nothing any more that it will finish."""
        await self.script.call("farewell", self._worker)

    # ------------------------------------------------------------ agent messages

    async def accept(self, copies: Sequence[NewMessage]) -> list[bool]:
        """True for those that are new, once all are written. A slice is written or not: what is lost is sent again."""
        if 0 < len(copies) <= _SCRIPT:
            return [answer == b"new" for answer in await self.script.call("accept", *self.accept_words(copies))]
        slices_of = [self.accept_words(some) for some in whole(copies, _SCRIPT, lambda one: one.first_ref)]
        bulk = len(slices_of) > 1  # they stay in their order
        found = await asyncio.gather(*(self.script.call("accept", *one, bulk=bulk) for one in slices_of))
        return [answer == b"new" for answers in found for answer in answers]

    def accept_words(self, copies: Sequence[NewMessage]) -> list[str | bytes | int]:
        flat: list[str | bytes | int] = [self.keep_ms, self.keep_dead_ms]
        for c in copies:
            flat += [
                c.ref, c.first_ref, c.channel_id, c.message_id, c.sender_id, c.to_id,
                lane_of(c.channel_id, c.to_id), c.payload if c.ref == c.first_ref else b"",
                c.trace_id, int(c.time_to_live * 1000),
                str(int(c.reason)) if c.reason else "", c.detail, c.raw, c.copies,
            ]  # fmt: skip
        return flat

    async def claim(self, ref: str, token: str, lease: float) -> MessageClaim:
        """Take the message for `lease` seconds."""
        answer = await self.script.record("claim", ref, token, _ms(lease), self.keep_ms)
        return await self._readable(f"m:{ref}", answer, ClaimedMessage)

    async def payload(self, first_ref: str) -> bytes:
        """The payload of a message, by the ref of its first copy; b"" where it is gone."""
        return await cast(Awaitable[bytes | None], self.redis.get(f"dcb:p:{first_ref}")) or b""

    async def parts(self, ref: str, token: str, count: int) -> None:
        """Say how many parts there are, before the first of several goes out."""
        await self.script.record("parts", ref, token, count)

    async def taken(
        self, ref: str, token: str, part: int, count: int, provider_id: str, *, delivered: bool, confirm_within: float
    ) -> str:
        """The provider took one part: "next", "sent", "delivered", or "stale"."""
        answer = await self.script.record(
            "taken", ref, token, part, count, provider_id, int(delivered), _ms(confirm_within), self.keep_ms
        )
        return _word(answer)

    async def retry(
        self, ref: str, token: str, delay: float, *, lane_limit: float, reason: int, code: str, attempts: int = 0
    ) -> str:
        """Again in `delay` seconds: "retry", or "failed" where the time to live, the lane's limit or the number of
        attempts ends first; 0 is no limit of attempts.
        """
        told = (ref, token, _ms(delay), _ms(lane_limit), int(reason), code, self.keep_ms, attempts)
        return _word(await self.script.record("retry", *told))

    async def strand(self, ref: str, token: str) -> str:
        """This worker knows no such channel: "waits" until one does or its time to live ends, or "stale"."""
        return _word(await self.script.record("strand", ref, token, self.keep_ms))

    async def give_up(self, channel_id: str) -> int | None:
        """Fail what was not sent yet of a channel that is not configured; how many, None where it is configured."""
        ended, start = 0, 0
        while start >= 0:
            count, start = await self.script.call("give_up", channel_id, start, GIVEN_UP)
            if count < 0:
                return None
            ended += count
        return ended

    async def fail(self, ref: str, token: str, reason: int, detail: str) -> str:
        return _word(await self.script.record("fail", ref, token, int(reason), detail, self.keep_ms))

    async def unknown(self, ref: str, token: str, grace: float, code: str) -> str:
        """Nobody knows whether it was taken, unless an update said so meanwhile. Without a token: a lease ended."""
        return _word(await self.script.record("unknown", ref, token, _ms(grace), code, self.keep_ms))

    async def settle(self, ref: str, policy: str, most: int = 2, token: str = "", attempts: int = 0) -> str:
        """The grace is over: `policy` is "resend", at most `most` times and within `attempts`, or "fail".

        `token`: of a question about it.
        """
        return _word(await self.script.call("settle", ref, policy, self.keep_ms, most, token, attempts))

    async def confirm_over(
        self, ref: str, reason: str, receipt: str, confirm_within: float = 0.0, token: str = ""
    ) -> str:
        """No update came within the channel's limit; `receipt` is a status or "" for none. "sent": it is not over."""
        within = _ms(confirm_within)
        return _word(await self.script.call("confirm_over", ref, "", reason, receipt, self.keep_ms, within, token))

    async def update(
        self, ref: str, part: int, status: str, provider_id: str, reason: str, detail: str, confirm_within: float
    ) -> str:
        """A delivery update: the new state, "next", "noted", "parked", "repeated", "late" or "gone"."""
        answer = await self.script.record(
            "update", ref, part, status, provider_id, reason, detail, _ms(confirm_within), self.keep_ms
        )
        return _word(answer)

    # ------------------------------------------------------------ questions to a provider about a message

    async def ask(self, ref: str, limit: float) -> str:
        """Queue a question about a due message: "asking", "waiting", "stale"; "over" after `limit` seconds, counted
        from when its outcome became unknown, or from when it was sent.
        """
        return _word(await self.script.call("ask", ref, _ms(limit)))

    async def question(self, ref: str, token: str, lease: float) -> MessageClaim:
        """Take the question for `lease` seconds, unless its provider is to be left alone at present."""
        return await self._readable(
            f"m:{ref}", await self.script.record("question", ref, token, _ms(lease)), ClaimedMessage
        )

    async def answered(self, ref: str, token: str, part: int, word: str, provider: str, detail: str) -> str:
        """Write the answer into the message's history; `word` as in history.py."""
        return _word(await self.script.call("answered", ref, token, part, word, provider, detail))

    async def ask_again(self, ref: str, token: str, delay: float, failures: int = 0) -> str:
        """The next question in `delay` seconds; `failures` in a row so far."""
        return _word(await self.script.call("ask_again", ref, token, _ms(delay), failures))

    async def whose(self, provider: str, ids: Sequence[str]) -> dict[str, str]:
        """Whose each id is (`dcbridge.providers.lookup.name_of`), of those that are known to be somebody's."""
        if not ids:
            return {}
        keys = [f"dcb:id:{provider}:{one}" for one in ids]
        found = await self.script.outlast(lambda: cast(Awaitable[list[bytes | None]], self.redis.mget(keys)))
        return {one: whose.decode() for one, whose in zip(ids, found, strict=True) if whose is not None}

    async def copies(self, first_ref: str) -> dict[str, MessageEntry]:
        """Each copy of a message that is remembered: its channel, recipient, and first provider's id."""
        return await self.script.outlast(lambda: self._copies(first_ref))

    async def _copies(self, first_ref: str) -> dict[str, MessageEntry]:
        copies: dict[str, MessageEntry] = {}
        names = (MessageEntry.channel_id.wire, MessageEntry.to_id.wire, f"{MessageEntry.provider_id.wire}0")
        for start in range(0, MOST_COPIES, COPIES_AT_ONCE):
            refs = [f"{first_ref}-{n}" if n else first_ref for n in range(start, start + COPIES_AT_ONCE)]
            async with self.redis.pipeline(transaction=False) as pipe:
                for ref in refs:
                    pipe.hmget(f"dcb:m:{ref}", names)
                rows = await pipe.execute()
            here = {
                ref: MessageEntry({name.encode(): value for name, value in zip(names, row, strict=True) if value})
                for ref, row in zip(refs, rows, strict=True)
                if row[0] is not None
            }
            if not here:
                break
            copies |= here
        return copies

    async def found(
        self,
        ref: str,
        token: str,
        part: int,
        count: int,
        provider: str,
        reported: MessageStatus,
        ids: Sequence[str],
        *,
        delivered: bool,
        confirm_within: float,
    ) -> str:
        """The provider has it: the state, "taken" where one of `ids` (the reported one first) is
        another's, or "stale".
        """
        answer = await self.script.call(
            "found", ref, token, part, count, provider, reported.status.value,
            str(int(reported.reason)) if reported.reason else "", reported.detail, int(delivered),
            _ms(confirm_within), self.keep_ms, *ids,
        )  # fmt: skip
        return _word(answer)

    async def not_there(self, ref: str, token: str, lane_limit: float, attempts: int = 0) -> str:
        """The provider surely has not got it: "retry" at once, "failed" after `lane_limit` seconds or as many
        attempts, or "stale".
        """
        return _word(await self.script.call("not_there", ref, token, _ms(lane_limit), self.keep_ms, attempts))

    # ------------------------------------------------------------ pacing and the breaker of a provider's account

    async def limits(self, lines: Mapping[str, str]) -> None:
        """Channel id -> what pacing.lua calls dcb:limits. Others lose theirs, unless a living worker names them."""
        for some in slices(list(lines.items()), _SLICE):
            await self.script.call("limits", self._worker, *(word for pair in some for word in pair))
        before = await cast(Awaitable[list[bytes]], self.redis.hkeys("dcb:limits"))
        for names in slices([one for one in before if one.decode(errors="replace") not in lines], _SLICE):
            await self.script.call("limits_unnamed", self._worker, *names)

    async def pause(self, provider: str, seconds: float, asked: float = 0.0, code: str = "") -> bool:
        """The provider asked the whole account to wait, for `asked` seconds; False where it is waiting already."""
        return bool(await self.script.record("pause", provider, max(1, _ms(seconds)), _ms(asked or seconds), code))

    async def trouble(
        self,
        provider: str,
        ref: str,
        code: str,
        *,
        at_once: bool,
        threshold: int,
        first: float,
        most: float,
        share: float = 0.5,
    ) -> str:
        """A send failed for no fault of the message: "closed", "opened" or "open" is the breaker now.

        It opens at once, or when `threshold` conversations fail that are at least `share` of those carried lately.
        """
        told = (provider, ref, code, int(at_once), threshold, _ms(first), _ms(most), f"{share:g}")
        answer = await self.script.record("trouble", *told)
        return _word(answer)

    async def contact(self, provider: str, ref: str) -> None:
        """The provider answered, if only to refuse this message: its account works."""
        await self.script.record("contact", provider, ref)

    # ------------------------------------------------------------ receipts

    async def receipts_take(self, channel_id: str, limit: int, lease: float) -> list[OwedReceipt]:
        """Up to `limit` receipts that are due, ours for `lease` seconds."""
        found = []
        for row in await self.script.call("receipts_take", channel_id, limit, _ms(lease)):
            try:
                found.append(OwedReceipt.read(row))
            except ValueError:
                await self.script.call("aside", b"r:" + row[0], "this version cannot read it", channel_id)
        return found

    async def receipts_hold(self, channel_id: str, refs: Sequence[str], lease: float) -> None:
        """Ours for another `lease` seconds, those that are still owed."""
        await self.script.call("receipts_hold", channel_id, _ms(lease), *refs)

    async def receipts_done(self, channel_id: str, refs: Sequence[str]) -> None:
        await self.script.record("receipts_done", channel_id, self.keep_ms, *refs)

    async def receipts_again(self, channel_id: str, delays: Mapping[str, float]) -> None:
        """Each again after its own delay in seconds."""
        flat: list[str | int] = []
        for ref, delay in delays.items():
            flat += [ref, _ms(delay)]
        await self.script.record("receipts_again", channel_id, *flat)

    async def receipts_refused(self, channel_id: str, ref: str, code: str, raw: bytes) -> str:
        """Digital Channels will never take it: a dead letter."""
        return _word(
            await self.script.record("receipts_refused", channel_id, ref, code, raw, self.keep_ms, self.keep_dead_ms)
        )

    # ------------------------------------------------------------ tasks

    async def put_tasks(self, tasks: Sequence[NewTask]) -> list[bool]:
        """True for those that are new."""
        bulk, calls = len(tasks) > _SCRIPT, list[Awaitable[list[bytes]]]()
        for some in slices(tasks, _SCRIPT):
            flat = [word for t in some for word in (t.id, t.job, t.lane, t.payload, t.trace_id, t.channel_id)]
            calls.append(self.script.record("task_put", *flat, bulk=bulk))
        return [answer == b"new" for answers in await asyncio.gather(*calls) for answer in answers]

    async def claim_task(self, task_id: str, token: str, lease: float) -> TaskClaim:
        return await self._readable(
            f"t:{task_id}", await self.script.record("task_claim", task_id, token, _ms(lease)), TaskEntry
        )

    async def task_done(self, task_id: str, token: str, keep: float, why_nothing: str = "") -> str:
        """Whoever says so: a worker given up for dead as well. `keep`: seconds for which the same id is recognised.
        `why_nothing`: in a few words of ours, why there was nothing to do.
        """
        return _word(await self.script.record("task_done", task_id, token, _ms(keep), why_nothing))

    async def task_retry(self, task_id: str, token: str, delay: float, code: str) -> str:
        return _word(await self.script.record("task_retry", task_id, token, _ms(delay), code))

    async def task_dead(self, task_id: str, token: str, reason: str, raw: bytes, keep: float) -> str:
        return _word(await self.script.record("task_dead", task_id, token, reason, raw, _ms(keep), self.keep_dead_ms))

    # ------------------------------------------------------------ the rest

    async def put_batch(self, batch_id: str, endpoint: str, trace_id: str, body: bytes) -> bool:
        """Keep an interactions webhook as it came; False for one that is here already."""
        return bool(await self.script.call("batch_put", batch_id, endpoint, trace_id, body, self.keep_ms) == b"new")

    async def bury(self, letter_id: str, what: str, channel_id: str, reason: str, raw: bytes) -> bool:
        """A dead letter that belongs to no entry."""
        return bool(
            await self.script.record("bury", letter_id, what, channel_id, reason, raw, self.keep_dead_ms) == b"new"
        )

    async def remember_stray(self, channel_id: str, endpoint: str) -> None:
        """As `remember_strays`, for one."""
        await self.remember_strays([channel_id], endpoint)

    async def remember_strays(self, channel_ids: Iterable[str], endpoint: str) -> None:
        """Channels that are not configured were named at this endpoint: their receipts are signed as it does.

        Of many, those that were not named for the longest time and wait for nothing are forgotten.
        """
        await self.script.call("strays", endpoint, *channel_ids)

    async def endpoint_of_stray(self, channel_id: str) -> str:
        found = await cast(Awaitable[bytes | None], self.redis.hget("dcb:strays", channel_id))
        return found.decode() if found else ""

    async def sweep(self, limit: int = SWEEP) -> list[Decision]:
        """Queue what is due or lost; return what needs a decision. Idempotent, for any process."""
        return list((await self.swept(limit)).decisions)

    async def swept(self, limit: int = SWEEP) -> Swept:
        """As `sweep`, and what it saw of the store."""
        name = secrets.token_hex(6)
        seen, *rows = await self.script.call("sweep", limit, self.keep_dead_ms, self._worker, self._silence, name)
        found = [(row[0].decode(), row[1].decode(), row[2].decode(errors="replace")) for row in rows]
        return Swept(
            looked=int(seen[0]),
            decisions=[Decision(member[:1], member[2:], state, channel) for member, state, channel in found],
            ahead=int(seen[1]) / 1000,
            store=seen[2].decode(errors="replace"),
            latest=int(seen[3]) / 1000,
            heard=bool(seen[4]),
        )

    async def _readable(self, member: str, answer: Sequence[Any], kind: type[E]) -> Claimed[E]:
        """What was claimed; set aside where this version cannot read it."""
        if answer[0] != b"go":
            return Claimed(answer[0].decode(), kind({}))
        pairs = answer[1]
        entry = kind(dict(zip(pairs[::2], pairs[1::2], strict=True)))
        why = unreadable(entry)
        if not why:
            return Claimed("go", entry)
        await self.script.record("aside", member, why, "")
        return Claimed("aside", kind({}))

    async def entry(self, ref: str) -> MessageEntry:
        """What is remembered of one message, without its payload; false where nothing is."""
        return MessageEntry(await self._hash(f"dcb:m:{ref}"))

    async def task(self, task_id: str) -> TaskEntry:
        """What is remembered of one task; false where nothing is."""
        return TaskEntry(await self._hash(f"dcb:t:{task_id}"))

    async def _hash(self, key: str) -> dict[bytes, bytes]:
        return await self.script.outlast(lambda: cast(Awaitable[dict[bytes, bytes]], self.redis.hgetall(key)))


def _ms(seconds: float) -> int:
    return max(0, int(seconds * 1000))


def _word(answer: bytes) -> str:
    return answer.decode()
