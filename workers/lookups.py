"""Asking a provider what became of a message: one whose outcome is unknown, or one that was never heard of again.

The sweep finds such a message due and queues the job `ask`; the job claims the question, asks, and writes the answer
down. A question whose job or worker is lost is found due again. What a list says is judged in
`dcbridge.providers.lookup`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError

from dcbridge.config.models import Channel
from dcbridge.errors import OutcomeUnknown, Refused, SendError
from dcbridge.ledger import MessageClaim
from dcbridge.ledger.fields import ClaimedMessage
from dcbridge.ledger.lookups import KNOWN
from dcbridge.messages import AgentMessage, MessageStatus, UpdateStatus
from dcbridge.providers.base import Answer, ListedMessage, MediaFile, Part, Provider, Request, StatusLookup, Turn
from dcbridge.providers.lookup import CannotTell, Found, NotThere, Verdict, judge, keepers, name_of
from dcbridge.tracing import switch
from workers import failures
from workers.context import WorkerContext
from workers.media_out import with_media
from workers.outbound import stored_message, turn_of

log = structlog.get_logger()

PATIENCE = 10.0  # seconds for all requests of one question
LEASE = 15.0  # seconds; it outlasts the patience, and a worker that died while asking holds nobody up for longer
TRIES = 5  # questions in a row that fail
PAGES = 10  # of a provider's list; a longer one is not read to its end
UNDECIDED = ("asking", "waiting", "sent")  # answers of `ask_or_decide` after which nothing has changed


async def ask_or_decide(ctx: WorkerContext, ref: str, state: str, channel: Channel | None, provider: str = "") -> str:
    """A message is due that is `unknown` or `sent`: ask its provider, or decide where that cannot be or took too long.

    A provider that is silent for now is waited for no longer than a message may hold up its conversation.
    """
    same_key = state == "unknown" and channel is not None and _its_key_holds(ctx, channel, provider) > 0
    if channel is not None and ctx.status_lookup(channel, provider) is not None and not same_key:
        limit = channel.lane_limit + (channel.confirm_within if state == "sent" else 0.0)
        queued = await ctx.ledger.lookups.ask(ref, limit)
        if queued != "over":
            return queued
    return await _decide(ctx, ref, state, channel, provider=provider)


def _its_key_holds(ctx: WorkerContext, channel: Channel, provider: str) -> float:
    """Seconds in which the provider of a message recognises a second request."""
    return ctx.providers[provider if provider in ctx.providers else channel.provider].can.idempotent_for


async def _decide(
    ctx: WorkerContext, ref: str, state: str, channel: Channel | None, token: str = "", *, provider: str = ""
) -> str:
    """By the channel's policy."""
    if state == "unknown":
        if channel is None:
            return await ctx.ledger.messages.settle(ref, "fail", token=token)
        same_key = _its_key_holds(ctx, channel, provider)
        return await ctx.ledger.messages.settle(
            ref, channel.outcome_unknown, channel.resends, token, channel.attempts, same_key
        )
    policy = channel.unconfirmed_as if channel else "none"
    receipt = {"none": "", "delivered": "Delivered", "failed": "Failed"}[policy]
    within = channel.confirm_within if channel else 0.0
    return await ctx.ledger.messages.confirm_over(ref, "500" if receipt == "Failed" else "", receipt, within, token)


@dataclass(frozen=True, slots=True)
class Question:
    """One question that this job has claimed."""

    ctx: WorkerContext
    ref: str
    token: str
    claimed: MessageClaim
    channel: Channel
    provider: Provider
    status_lookup: StatusLookup
    began: float  # by this process' steady clock
    spoken: asyncio.Event = field(default_factory=asyncio.Event)  # set once the provider was asked anything

    async def send(self, request: Request) -> Answer:
        self.spoken.set()
        return await self.ctx.accounts.send(self.provider, request)  # signed, where it has to be

    @property
    def entry(self) -> ClaimedMessage:
        return self.claimed.entry

    @property
    def state(self) -> str:
        return self.entry.state

    @property
    def keeper(self) -> str:
        """The provider under whose name the ids of this account are kept."""
        return keepers(self.ctx.providers)[self.provider.name]

    @property
    def is_probe(self) -> bool:
        """True where it tries whether a provider is back, because no message waits that could."""
        return self.entry.lookup_is_probe

    def age(self, moment: int | None) -> float:
        """Seconds since a moment that the entry holds, by Redis' clock and then ours."""
        now = self.entry.now
        return (now - (moment or now)) / 1000 + time.monotonic() - self.began


async def ask(ctx: WorkerContext, ref: str) -> None:
    """Ask about one message. Does nothing when there is nothing to ask, or its provider is to be left alone."""
    token = ctx.ledger.leases.token()
    claimed = await ctx.ledger.lookups.claim(ref, token, LEASE)
    if not claimed.ours:
        log.debug("status_lookup_claim_skipped", message=ref, why=claimed.why)
        return
    channel = ctx.channel(claimed.entry.channel_id)
    provider = ctx.provider_of(channel, claimed.entry) if channel else None
    status_lookup = provider.status_lookup if provider else None
    if channel is None or provider is None or status_lookup is None:  # bridge.yaml has changed: the sweep decides
        await ctx.ledger.lookups.again(ref, token, 0.0)
        return
    question = Question(ctx, ref, token, claimed, channel, provider, status_lookup, time.monotonic())
    with (
        structlog.contextvars.bound_contextvars(
            message=ref, trace=claimed.entry.trace_id, channel=claimed.entry.channel_id, provider=provider.name
        ),
        switch.about("status lookup", ref, claimed.entry.trace_id, provider=provider.name),
    ):
        try:
            async with asyncio.timeout(PATIENCE):
                await (_about_outcome(question) if question.state == "unknown" else _about_delivery(question))
            if question.is_probe and question.spoken.is_set():
                await ctx.ledger.once.pacing.record_success(provider.name, ref)
        except SendError as error:
            await _failed(question, error)
        except TimeoutError:
            await _failed(question, OutcomeUnknown("timeout"))
        except RedisError:
            raise
        except Exception:
            ctx.metrics.faults.labels("bug", provider.name).inc()
            log.error("status_lookup_internal_error", exc_info=True)
            await _failed(question, Refused("internal error"))


# ---------------------------------------------------------------- about one whose outcome is unknown


async def _about_outcome(q: Question) -> None:
    message, media = await _message(q)
    parts = q.provider.parts(message)
    part = parts[q.entry.part]
    rows, complete = await _listed(q, turn_of(message, part, q.claimed, media))
    verdict: Verdict = CannotTell("too long ago")  # whose an id is has been forgotten
    if q.entry.unknown_since and q.age(q.entry.unknown_since) < KNOWN:
        whose = await q.ctx.ledger.once.lookups.whose(q.keeper, [row.reported.provider_id for row in rows])
        verdict = judge(rows, whose, name_of(q.ref, part.number), q.entry.unknown_requests, complete=complete)
    await _follow(q, part, verdict)


async def _message(q: Question) -> tuple[AgentMessage, tuple[MediaFile, ...]]:
    """As it was sent: with links in its text, or with its files."""
    message, _ = stored_message(q.ref, q.claimed, q.channel, q.provider.name)
    return await with_media(q.ctx, q.channel, q.provider, message, q.claimed)


async def _listed(q: Question, turn: Turn) -> tuple[list[ListedMessage], bool]:
    """The rows in question, and whether the list was read to its end."""
    request, rows = q.status_lookup.list_request(turn), list[ListedMessage]()
    for _ in range(PAGES):
        page = q.status_lookup.parse_list(await q.send(request), turn, q.age(q.entry.unknown_since))
        rows += page.rows
        if page.following is None:
            return rows, True
        if page.older and any(row.same for row in rows):
            break
        request = page.following
    return rows, False


async def _follow(q: Question, part: Part, verdict: Verdict) -> None:
    ledger, more = q.ctx.ledger, q.status_lookup.lag - q.age(q.entry.unknown_at)
    match verdict:
        case Found(reported, ids):
            await _note(q, part.number, "found", reported.status.value, reported.provider_id)
            state = await ledger.lookups.found(
                q.ref, q.token, part.number, part.count, q.keeper, reported, ids,
                delivered=q.channel.delivered_when == "taken" and part.number + 1 == part.count,
                confirm_within=q.ctx.look_after(q.channel, q.provider.name),
            )  # fmt: skip
            if state == "taken":  # two questions found the same one, and the other was first
                state = await ledger.lookups.again(q.ref, q.token, 0.0, q.entry.lookup_failures + 1)
        case _ if more > 0:  # the list may not have caught up
            await _note(q, part.number, "not yet")
            state = await ledger.lookups.again(q.ref, q.token, more)
        case NotThere():
            await _note(q, part.number, "absent")
            state = await ledger.lookups.not_there(q.ref, q.token, q.channel.lane_limit, q.channel.attempts)
        case CannotTell(why):
            await _note(q, part.number, "unclear", why)
            state = await _decide(q.ctx, q.ref, q.state, q.channel, q.token, provider=q.provider.name)
    log.info("status_lookup_resolved", state=state)


# ---------------------------------------------------------------- about one that was sent


async def _about_delivery(q: Question) -> None:
    """Each part of which the last word is not known. Every answer is an update, as if a callback had brought it."""
    for number in range(max(1, q.entry.parts)):
        provider_id, known = q.entry.provider_id(number), q.entry.part_status(number)
        if not provider_id or known in ("delivered", "failed", "removed"):
            continue
        reported = q.status_lookup.parse_status(await q.send(q.status_lookup.status_request(provider_id)))
        if reported is None:
            await _note(q, number, "absent")
            continue
        await _note(q, number, "found", reported.status.value, reported.provider_id)
        if reported.status is not UpdateStatus.SENT and await _update(q, number, reported) not in ("noted", "repeated"):
            return  # it has ended
    await _next_question(q)


async def _update(q: Question, part: int, reported: MessageStatus) -> str:
    state = await q.ctx.ledger.once.messages.update(
        q.ref,
        part,
        reported.status.value,
        reported.provider_id,
        str(int(reported.reason)) if reported.reason else "",
        reported.detail,
        0.0,
        provider=q.provider.name,
        cost=reported.cost,
    )
    q.ctx.metrics.updates.labels(q.provider.name, state).inc()
    log.info(
        "delivery_update", part=part + 1, status=reported.status.value, code=reported.detail or None, outcome=state
    )
    return state


async def _next_question(q: Question) -> None:
    """At twice the time since it was sent, at last when confirm_within ends; after that it is unconfirmed."""
    age, within = q.age(q.entry.sent_at), q.channel.confirm_within
    if within - age < 1.0:
        await _decide(q.ctx, q.ref, "sent", q.channel, q.token, provider=q.provider.name)
    else:
        await q.ctx.ledger.lookups.again(q.ref, q.token, min(2 * age, within) - age)


# ---------------------------------------------------------------- both


async def _note(q: Question, part: int, word: str, detail: str = "", provider_id: str = "") -> None:
    about = "outcome" if q.state == "unknown" else "delivery"
    answer = detail if word == "found" and about == "delivery" else word.replace(" ", "_")
    q.ctx.metrics.questions.labels(q.provider.name, about, answer).inc()
    ms = round((time.monotonic() - q.began) * 1000)
    log.info(
        "status_lookup_answered", about=about, part=part + 1, answer=word, detail=detail, provider_id=provider_id, ms=ms
    )
    await q.ctx.ledger.lookups.answered(q.ref, q.token, part, word.replace(" ", "_"), q.provider.name, detail)


async def _failed(q: Question, error: SendError) -> None:
    """No answer: again after the channel's waits, a few times. It says nothing about sending, so the breaker does not
    hear of it unless it probed (a login may be good for sending and not for reading); a Retry-After holds for all.
    """
    ledger, tries = q.ctx.ledger, q.entry.lookup_failures + 1
    tell = log.error if error.page else log.warning
    tell("status_lookup_failed", outcome=error.outcome, code=error.code, failures=tries)
    if error.page:
        q.ctx.metrics.faults.labels(f"status_lookup_{error.outcome}", q.provider.name).inc()
    if q.is_probe and q.spoken.is_set():  # else a file of the message could not be read
        await failures.update_breaker(q.ctx, q.provider.name, q.ref, error)
    elif error.whole_account:
        await failures.pause(q.ctx, q.provider.name, error)
    await _note(q, q.entry.part if q.state == "unknown" else 0, "failed", error.code)
    if tries < TRIES:
        retry = q.ctx.configuration.retry_of(q.entry.channel_id)
        later = failures.kept_to(q.ctx, q.provider.name, error)
        await ledger.lookups.again(q.ref, q.token, failures.wait(retry, tries, later), tries)
    elif q.state == "unknown":
        await _decide(q.ctx, q.ref, q.state, q.channel, q.token, provider=q.provider.name)
    else:
        await _next_question(q)
