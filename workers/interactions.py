"""From the stream of batches to events, each with a delivery for every subscriber that wants it. One at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import structlog
from redis.exceptions import RedisError

from dcbridge.events import event as events
from dcbridge.events.event import StoredEvent
from dcbridge.events.sinks import Event
from dcbridge.genesys import payloads
from dcbridge.ledger import lane_of
from dcbridge.ledger.events import Batch, NewEvent
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.jobs import EVENTS, INBOUND
from dcbridge.tracing import switch
from workers import secure_messages
from workers.context import WorkerContext
from workers.enrichment import WITHIN

log = structlog.get_logger()

LEASE = 10.0  # seconds that a splitter is believed to be alive after its last word
ENTRIES = 50  # read at once
DELIVERIES = 500  # written at once: how long one script may hold up the others


async def split(ctx: WorkerContext) -> None:
    """Until the stream is empty. What is put is put once, so a splitter that dies or is late does no harm."""
    token = ctx.ledger.leases.token()
    lease = LEASE + (WITHIN if ctx.enricher else 0.0)
    while entries := await ctx.ledger.events.take(token, lease, ENTRIES):
        pending = _Pending(ctx)
        for entry, found in await _read(ctx, entries):
            try:
                trace = found[0].trace_id if found else entry.trace_id
                with _batch(entry):
                    made = await _made_of(ctx, entry, found)
                    switch.created(EVENTS, [(one.id, trace) for one in made if one.lanes])
            except RedisError:
                raise
            except Exception as error:
                await _cannot(ctx, entry, error)
                continue
            await pending.add(made, entry.id)
        await pending.write()


def _batch(entry: Batch) -> AbstractContextManager[None]:
    """The span of a webhook's batch, below the one that the service made of it."""
    if entry.own or switch.current() is None:
        return nullcontext()
    return switch.processing(INBOUND, payloads.made_up_id(entry.endpoint, entry.body), entry.trace_id)


async def _read(ctx: WorkerContext, entries: Sequence[Batch]) -> list[tuple[Batch, list[StoredEvent]]]:
    """What is in each, with what Genesys knows of it; without those that cannot be read."""
    read = []
    for entry in entries:
        try:
            read.append((entry, await _events_of(ctx, entry)))
        except RedisError:
            raise
        except Exception as error:
            await _cannot(ctx, entry, error)
    if ctx.enricher is None:
        return read
    try:
        more = await ctx.enricher.enrich([one for _, found in read for one in found], ctx.sinks.subscribers)
    except RedisError:
        raise
    except Exception:  # no answer of Genesys may stop the events
        log.error("enrichment_internal_error", exc_info=True)
        return read
    return [(entry, [more.get(one.event.id, one) for one in found]) for entry, found in read]


_EXPECTED = {
    *("subscriber.recovered", "subscriber.enabled", "consent.stopped", "consent.started"),
    *("dead_letter.replayed", "dead_letter.dropped", "dead_letter.handled"),
    *("statistic.crossed", "statistics.available"),
}


class _Pending:
    """What is read and not yet written. An entry is done with in the call that puts the last of its events."""

    def __init__(self, ctx: WorkerContext) -> None:
        self._ctx = ctx
        self._events: list[NewEvent] = []
        self._entries: list[str] = []
        self._deliveries = 0

    async def add(self, made: Sequence[NewEvent], entry: str) -> None:
        for one in made:
            self._events.append(one)
            self._deliveries += 1 + len(one.lanes)
            if self._deliveries >= DELIVERIES:
                await self.write()
        self._entries.append(entry)

    async def write(self) -> None:
        if not self._events and not self._entries:
            return
        fresh = await self._ctx.ledger.events.put(self._events, self._entries)
        log.debug("events_stored", events=len(self._events), new=fresh, deliveries=self._deliveries)
        self._events, self._entries, self._deliveries = [], [], 0


async def _events_of(ctx: WorkerContext, entry: Batch) -> list[StoredEvent]:
    """Raises payloads.NotJson."""
    at = events.moment(entry.received_at)
    if name := entry.own:
        letter = entry.facts.get("letter") if switch.current() is not None else None
        trace = (await ctx.ledger.dead_letters.origin(letter))[1] if letter else ""
        return [StoredEvent(await _own(ctx, name, entry), trace)]
    endpoint, body = entry.endpoint, entry.body
    found, nameless = events.split(endpoint, body, at, entry.trace_id)
    await _end_conversations(ctx, found)
    await secure_messages.noticed(ctx, found)
    for one in nameless:
        ctx.metrics.faults.labels("entity_nameless", endpoint).inc()
        log.warning("entity_without_id", endpoint=endpoint, trace=entry.trace_id)
        await ctx.ledger.once.dead_letters.add(
            one.letter_id, Kind.INTERACTION_ENTITY, "", "neither an id nor an event", one.raw
        )
    return found


async def _end_conversations(ctx: WorkerContext, found: Sequence[StoredEvent]) -> None:
    """A conversation that is over is free to go through another provider. Digital Channels documents no field that says
    which one it is; `channel` is read as in the messages webhook, where an entity has one.
    """
    for stored in found:
        told = stored.event.fields.get("channel")
        if stored.event.name.upper() != "FINISHED" or not isinstance(told, dict):
            continue
        channel = ctx.channel(str(told.get("id", "")))
        if channel is None or len(channel.providers) < 2:
            continue
        sides = [one.get("id") for one in (told.get("from"), told.get("to")) if isinstance(one, dict)]
        for consumer in [one for one in sides if isinstance(one, str) and one != told["id"]]:
            if await ctx.ledger.routes.unstick(lane_of(told["id"], consumer)):
                log.info("conversation_over", channel=told["id"], consumer=ctx.tokens.of(consumer))


async def _made_of(ctx: WorkerContext, entry: Batch, found: Sequence[StoredEvent]) -> list[NewEvent]:
    made = []
    for kept in found:
        try:
            made.append(events.for_ledger(kept, ctx.sinks.subscribers))
        except Exception as error:
            endpoint = kept.event.endpoint
            why = str(error) if isinstance(error, payloads.NotJson) else type(error).__name__
            ctx.metrics.faults.labels("entity_unreadable", endpoint).inc()
            log.warning("entity_unreadable", endpoint=endpoint, trace=kept.trace_id, why=why)
            letter = f"e-{kept.event.id.partition('_')[2]}"
            await ctx.ledger.once.dead_letters.add(letter, Kind.INTERACTION_ENTITY, "", f"520 {why}", entry.body)
    return made


async def _own(ctx: WorkerContext, name: str, entry: Batch) -> Event:
    facts = entry.facts
    about = None
    if "of" in facts and (stored := await ctx.ledger.events.one(facts["of"])):
        about = events.read(facts["of"], stored).event
    event = events.own(name, facts, entry.id, events.moment(entry.received_at), about)
    tell = log.info if name in _EXPECTED else log.warning
    # `consumer` of a log line is another token than that of an event.
    tell(name, id=event.id, **{key: value for key, value in facts.items() if key not in ("event", "consumer")})
    return event


async def _cannot(ctx: WorkerContext, entry: Batch, error: Exception) -> None:
    """A batch that trips us up must not stop those behind it."""
    endpoint, body = entry.endpoint, entry.body
    ctx.metrics.faults.labels("batch_not_split", endpoint).inc()
    log.error("batch_not_split", endpoint=endpoint, trace=entry.trace_id, exc_info=error)
    reason = f"520 {error}" if isinstance(error, payloads.NotJson) else "internal error"
    await ctx.ledger.events.dead_letter(entry.id, f"i-{payloads.made_up_id(endpoint, body)}", reason, body)
