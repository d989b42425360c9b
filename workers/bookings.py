"""Calls by text: a consumer asks for one, is asked when, and answers; an agent's text that failed becomes one.

    CALL ME → the queue calls at once    → booked: "We call you in about 4 min."
            → it calls later             → a numbered question, kept for 15 minutes → "2" → booked
                                                                       → taken meanwhile → the next question
    CANCEL CALL → cancelled      AGAIN, after an unknown outcome → once more

Each text of the consumer is one task, named by the provider's id of it, in a lane of the consumer's bookings. A task
writes one request to book: what was written and not answered is unknown, and only the consumer's AGAIN repeats it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from math import ceil
from typing import Any, Literal
from zoneinfo import ZoneInfo

import orjson
import structlog

from dcbridge.config.answers import spoken
from dcbridge.config.booking import Book
from dcbridge.config.own_messages import SEGMENTS
from dcbridge.errors import OutcomeUnknown, Refused, SendError, Unreachable, Unreadable
from dcbridge.genesys import engagement
from dcbridge.genesys.engagement import Booked, State
from dcbridge.ledger import NewTask, OwedReceipt, TaskClaim
from dcbridge.ledger.bookings import book_lane
from dcbridge.ledger.controls import CANCELLED, REJECTED
from dcbridge.ledger.jobs import EVENTS
from dcbridge.messages import ReceiptStatus
from dcbridge.own_messages import may_be_contacted
from dcbridge.providers.phone import to_e164
from dcbridge.providers.segmentation import segments
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import consent, failures
from workers.context import WorkerContext
from workers.engagement import NAME, TRIES, Calls
from workers.heard import Heard
from workers.own_messages import say

log = structlog.get_logger()

Kind = Literal["start", "choose", "again", "cancel", "failed"]

OPEN = 900.0  # seconds for which a question may be answered
REMEMBERED = 2 * DAY  # seconds after its time for which a call that nobody ended is the consumer's
SOONEST = timedelta(minutes=1)  # from now on a slot is offered
BUSY = 2.0  # seconds until the other task of the same consumer is done
GIVEN_UP = 3600.0  # seconds for which a failed text waits for a Genesys that cannot be reached
_CHOICE = re.compile(r"\s*([1-9])\s*[.)]?\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wish:
    """The payload of a task. `at`: ms of the slot, 0 for as soon as possible; `offset`: minutes of its local time."""

    kind: Kind
    consumer: str
    key: str
    at: int = 0
    offset: int | None = None

    def written(self) -> bytes:
        return orjson.dumps(
            {"kind": self.kind, "from": self.consumer, "key": self.key, "at": self.at, "offset": self.offset}
        )

    @classmethod
    def of(cls, payload: bytes) -> Wish:
        told = orjson.loads(payload)
        return cls(told["kind"], told["from"], told["key"], told.get("at", 0), told.get("offset"))


@dataclass(slots=True)
class _Job:
    """One claim of one task."""

    ctx: WorkerContext
    id: str
    claim: str
    claimed: TaskClaim
    wish: Wish
    book: Book
    calls: Calls
    spoken: bool  # whether the consumer is told; one whose text has failed cannot be

    @property
    def channel(self) -> str:
        return self.claimed.entry.channel_id

    @property
    def keep(self) -> float:
        return self.ctx.settings.callback_dedupe_days * DAY


# ---------------------------------------------------------------- while a callback is read


def book_of(ctx: WorkerContext, channel_id: str, kind: Kind) -> Book | None:
    """What the configuration says now."""
    channel = ctx.channel(channel_id)
    if channel is None:
        return None
    if kind == "failed":
        return channel.on_failed.book if channel.on_failed else None
    return next((rule.book for rule in channel.answers if rule.book is not None), None)


async def asked_for(ctx: WorkerContext, heard: Heard, book: Book) -> bool:
    """The action of a rule."""
    await _put(ctx, heard, "start")
    return True


async def answers(ctx: WorkerContext, heard: Heard) -> str:
    """Whether a text is an answer to what we asked, and then `then` of the rule; "" where it is not."""
    channel = ctx.channel(heard.channel_id)
    rule = next((one for one in channel.answers if one.book is not None), None) if channel else None
    if rule is None or rule.book is None or len(heard.text) > 100:
        return ""
    words, choice = spoken(heard.text), _CHOICE.fullmatch(heard.text)
    cancels = words in map(spoken, rule.book.words.cancel)
    if not (choice or cancels or words in map(spoken, rule.book.words.again)):
        return ""
    if await ctx.ledger.tasks.entry(_task_id(heard)):
        return rule.then  # the callback is read again
    key = key_of(ctx, heard.channel_id, heard.consumer)
    if choice:
        question = orjson.loads(await ctx.ledger.bookings.question(key) or b"{}")
        slots = question.get("slots", ())
        if not 1 <= int(choice[1]) <= len(slots):
            return ""
        await _put(ctx, heard, "choose", slots[int(choice[1]) - 1], question.get("offset"))
        return rule.then
    booking = await ctx.ledger.bookings.of(key)
    if cancels and (booking.state == "booked" or await ctx.ledger.bookings.question(key)):
        await _put(ctx, heard, "cancel")
        return rule.then
    if not cancels and booking.state in ("unknown", "creating"):
        await _put(ctx, heard, "again", booking.time)
        return rule.then
    return ""


async def after_failures(ctx: WorkerContext, channel_id: str, owed: Sequence[OwedReceipt]) -> None:
    """Agents' texts that have failed, before their receipts are posted: a receipt is owed until then."""
    channel = ctx.channel(channel_id)
    if channel is None or channel.on_failed is None:
        return
    reasons = {str(int(one)) for one in channel.on_failed.reasons}
    tasks = []
    for one in owed:
        if one.detail in (CANCELLED, REJECTED):  # an operator did not want it to reach the consumer
            continue
        if (
            one.status == ReceiptStatus.FAILED
            and one.reason in reasons
            and one.to_id
            and may_be_contacted(channel, one.to_id)
        ):
            key = key_of(ctx, channel_id, one.to_id)
            wish = Wish("failed", one.to_id, key)
            tasks.append(
                NewTask(f"book-{one.ref}", "book", book_lane("failed", key), wish.written(), one.trace_id, channel_id)
            )
    if tasks:
        await ctx.ledger.tasks.put(tasks)


def key_of(ctx: WorkerContext, channel_id: str, consumer: str) -> str:
    return f"{channel_id}:{consent.token_of(ctx, consumer, channel_id)}"


def _task_id(heard: Heard) -> str:
    return f"book-{heard.id}"


async def _put(ctx: WorkerContext, heard: Heard, kind: Kind, at: int = 0, offset: int | None = None) -> None:
    key = key_of(ctx, heard.channel_id, heard.consumer)
    payload = Wish(kind, heard.consumer, key, at, offset).written()
    await ctx.ledger.tasks.put(
        [NewTask(_task_id(heard), "book", book_lane(kind, key), payload, heard.trace, heard.channel_id)]
    )


# ---------------------------------------------------------------- the job


async def book(ctx: WorkerContext, task_id: str) -> None:
    """Do what one text asks for."""
    claim = ctx.ledger.leases.token()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    wish, trace = Wish.of(claimed.entry.payload), claimed.entry.trace_id
    its = book_of(ctx, claimed.entry.channel_id, wish.kind)
    with (
        structlog.contextvars.bound_contextvars(
            message=task_id, trace=trace, channel=claimed.entry.channel_id, consumer=ctx.tokens.of(wish.consumer)
        ),
        switch.processing(EVENTS, task_id, trace, channel=claimed.entry.channel_id),
    ):
        if its is None:
            await ctx.ledger.tasks.done(task_id, claim, ctx.settings.callback_dedupe_days * DAY, "not configured")
            return
        calls = Calls(ctx, task_id, trace)
        job = _Job(ctx, task_id, claim, claimed, wish, its, calls, wish.kind != "failed")
        try:
            result = await _follow(job)
        except SendError as error:
            await _not_done(job, error)
            return
        if result:
            await _done(job, result)


async def _follow(job: _Job) -> str:
    """What became of it, "" where another worker has it. Raises a SendError."""
    wish, bookings = job.wish, job.ctx.ledger.bookings
    came = job.claimed.entry.booking  # by an earlier claim of this task
    if came:
        return await _create(job, _time(wish.at))
    if not await job.calls.may():
        raise Unreachable("breaker open")
    if job.spoken and not await bookings.wish(wish.key):
        return "too_many"
    if wish.kind == "cancel":
        return await _cancel(job)
    booking = await bookings.of(wish.key)
    if booking.state == "booked" and await _lives(job, booking.id):
        await _say(job, "already", job.book.texts.already)
        return "already"
    if wish.at:
        return await (_create(job, _time(wish.at)) if wish.at / 1000 > time.time() else _offer(job, "ask"))
    return await _start(job)


async def _start(job: _Job) -> str:
    book = job.book
    status = await job.calls.read(
        "queue_status", lambda api: api.queue_status(book.queue_name), engagement.read_queue_status
    )
    now = status.now and await job.calls.read("open_for", lambda api: api.open_for(book.service), engagement.read_open)
    if now:
        return await _create(job, None, status.wait)
    if status.later:
        return await _offer(job, "ask")
    await _say(job, "closed", book.texts.closed)
    return "closed"


async def _offer(job: _Job, text: Literal["ask", "taken"], proposed: Sequence[datetime] = ()) -> str:
    """Ask which of a few times; of one who cannot be asked, take the first."""
    book, offset = job.book, job.wish.offset
    times = _future(proposed)
    if not times or (offset is None and book.timezone is None):
        ask = lambda api: api.availability(book.service, book.horizon_days, 4 * book.slots, book.timezone or "")  # noqa: E731
        slots = await job.calls.read("availability", ask, engagement.read_availability)
        times = _future([slot.at for slot in slots])
        offset = next((slot.offset for slot in slots if slot.at in times[:1]), None)
    if not times:
        await _say(job, "closed", book.texts.closed)
        return "closed"
    if not job.spoken:
        return await _create(job, times[0])
    asked, words = {"slots": list[int](), "offset": offset}, ""
    for count in range(min(book.slots, len(times)), 0, -1):
        asked["slots"] = [round(one.timestamp() * 1000) for one in times[:count]]
        words = _question(book, text, asked)
        if segments(words) <= SEGMENTS:
            break
    kept = orjson.loads(await job.ctx.ledger.bookings.ask(job.id, job.wish.key, orjson.dumps(asked), OPEN))
    await _say(job, "ask", words if kept == asked else _question(book, text, kept))
    return "asked" if text == "ask" else "full"


def _question(book: Book, text: Literal["ask", "taken"], asked: Mapping[str, Any]) -> str:
    shown = [f"{n}) {_local(book, _time(at), asked['offset'])}" for n, at in enumerate(asked["slots"], 1)]
    return str(getattr(book.texts, text).format(slots=" ".join(shown)))


async def _create(job: _Job, at: datetime | None, wait: float | None = None) -> str:
    """Book. What this task has begun before is not begun again. `wait`: seconds, of this moment."""
    ctx, wish = job.ctx, job.wish
    at_ms = round(at.timestamp() * 1000) if at else 0
    keep = REMEMBERED + max(0.0, at_ms / 1000 - time.time() if at else 0.0)
    began = time.monotonic()
    for attempt in range(1, TRIES + 1):
        if not job.claimed.entry.booking:
            if not await job.calls.may_book():
                await _say(job, "closed", job.book.texts.closed)
                return "too_many"
            await job.calls.turn()
        came = await ctx.ledger.bookings.begin(job.id, job.claim, wish.key, at_ms, keep)
        match came:
            case "stale":
                return ""
            case "taken":
                await _say(job, "already", job.book.texts.already)
                return "already"
            case "many":
                await _say(job, "closed", job.book.texts.closed)
                return "too_many"
            case "busy":  # another task is writing the request of this consumer
                await ctx.ledger.tasks.retry(job.id, job.claim, BUSY, "busy")
                return ""
            case "booked":
                return await _tell_booked(job, at, None)
            case "creating" | "unknown":  # a worker was killed, or stood still, in the middle of its request
                return await _unknown(job, keep)
        try:
            number = to_e164(wish.consumer, ctx.configuration.channels[job.channel].default_region)
            request = job.calls.api.create(job.book.service, number, at, {"dcbRef": job.id}, job.book.language or "")
            answer = await job.calls.create(request)
        except OutcomeUnknown:
            return await _unknown(job, keep)
        except Unreadable:  # it was taken, in words that make no sense
            answer = Booked("")
        except SendError as error:
            await ctx.ledger.bookings.end(job.id, wish.key, "free", keep)
            if isinstance(error, Unreachable) and attempt < TRIES:
                continue
            raise
        if isinstance(answer, Booked):
            await ctx.ledger.bookings.end(job.id, wish.key, "booked", keep, answer.id, _watch(job, answer.id, at_ms))
            ctx.metrics.booking_seconds.observe(time.monotonic() - began)
            return await _tell_booked(job, at, wait)
        await ctx.ledger.bookings.end(job.id, wish.key, "free", keep)
        if job.spoken:
            return await _offer(job, "taken", answer.slots)
        if not (times := _future(answer.slots)):
            return "full"
        at, at_ms = times[0], round(times[0].timestamp() * 1000)
    return "full"


async def _tell_booked(job: _Job, at: datetime | None, wait: float | None) -> str:
    texts = job.book.texts
    if at is not None:
        await _say(job, "booked", texts.booked.format(time=_local(job.book, at, job.wish.offset)))
        return "booked_later"
    said = texts.soon if wait is None or wait > DAY else texts.now.format(minutes=max(1, ceil(wait / 60)))
    await _say(job, "booked", said)
    return "booked_now"


async def _unknown(job: _Job, keep: float) -> str:
    await job.ctx.ledger.bookings.end(job.id, job.wish.key, "unknown", keep)
    log.warning("booking_unknown", attempt=job.claimed.entry.attempts)
    await _say(job, "unknown", job.book.texts.unknown)
    return "unknown"


async def _cancel(job: _Job) -> str:
    """A call, or what was asked about one. It may be repeated: a second one finds none."""
    bookings, key = job.ctx.ledger.bookings, job.wish.key
    booking = await bookings.of(key)
    await bookings.unask(key)
    if booking.state == "booked":
        try:
            if not booking.id:
                raise Refused("its id is not known")
            await job.calls.read("cancel", lambda api: api.cancel(booking.id), engagement.read_cancelled)
        except Refused:
            await _say(job, "too_late", job.book.texts.too_late)
            return "not_cancelled"
        await bookings.over(key, booking.id)
    await _say(job, "cancelled", job.book.texts.cancelled)
    return "cancelled"


async def _lives(job: _Job, callback: str) -> bool:
    """Whether the call that a consumer has is still to be made."""
    if not callback:
        return True
    try:
        found = await job.calls.read("retrieve", lambda api: api.retrieve(callback), engagement.read_callback)
    except SendError:
        return True
    if found.state not in (State.COMPLETED, State.GONE):
        return True
    await job.ctx.ledger.bookings.over(job.wish.key, callback)
    return False


async def _not_done(job: _Job, error: SendError) -> None:
    """The consumer does not wait for our attempts; what Genesys refuses becomes a dead letter, for an agent."""
    ctx = job.ctx
    if error.page:
        ctx.metrics.faults.labels(error.outcome, NAME).inc()
    log.warning("booking_failed", outcome=error.outcome, code=error.code, attempt=job.claimed.entry.attempts)
    await _say(job, "failed", job.book.texts.failed)
    age = time.time() - (job.claimed.entry.accepted_at or 0) / 1000
    if (error.again or error.taken is None) and not job.spoken and age < GIVEN_UP:
        delay = failures.wait(ctx.configuration.retry, job.claimed.entry.attempts, 5.0)
        await ctx.ledger.tasks.retry(job.id, job.claim, delay, error.code)
        return
    ctx.metrics.bookings.labels(job.channel, error.outcome).inc()
    if isinstance(error, Refused) or not job.spoken:
        await ctx.ledger.tasks.dead(job.id, job.claim, error.code, job.claimed.entry.payload, job.keep)
        return
    await ctx.ledger.tasks.done(job.id, job.claim, job.keep, error.code)


async def _done(job: _Job, result: str) -> None:
    await job.ctx.ledger.tasks.done(job.id, job.claim, job.keep)
    job.ctx.metrics.bookings.labels(job.channel, result).inc()
    log.info("booking", outcome=result, kind=job.wish.kind, attempt=job.claimed.entry.attempts)


async def _say(job: _Job, step: str, text: str) -> None:
    """Once for each step of a task, whoever does it again."""
    if job.spoken:
        await say(
            job.ctx, channel=job.channel, consumer=job.wish.consumer, text=text, cause=f"{job.id} {step}",
            trace=job.claimed.entry.trace_id,
        )  # fmt: skip


def _watch(job: _Job, callback: str, at_ms: int) -> NewTask | None:
    """The task that asks what becomes of it. It holds the number only where the consumer is told."""
    if not callback:
        return None
    told: Mapping[str, Any] = {"id": callback, "key": job.wish.key, "at": at_ms, "kind": job.wish.kind}
    if job.book.notices and job.spoken:
        told = {**told, "from": job.wish.consumer}
    name = f"watch-{blake2b(callback.encode(), digest_size=12).hexdigest()}"
    return NewTask(name, "watch", "", orjson.dumps(told), job.claimed.entry.trace_id, job.channel)


# ---------------------------------------------------------------- times


def _time(at_ms: int) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None


def _future(times: Sequence[datetime]) -> list[datetime]:
    return [one for one in times if one > datetime.now(UTC) + SOONEST]


def _local(book: Book, at: datetime | None, offset: int | None) -> str:
    """The time of a slot as a clock on the wall shows it, with its date where that is not today's."""
    assert at is not None
    zone = ZoneInfo(book.timezone) if book.timezone else None

    def there(moment: datetime) -> datetime:
        return moment.astimezone(zone) if zone else moment + timedelta(minutes=offset or 0)

    local = there(at)
    day = "" if local.date() == there(datetime.now(UTC)).date() else f"{local:%Y-%m-%d} "
    return f"{day}{local:%H:%M}" + ("" if zone or offset is not None else " UTC")
