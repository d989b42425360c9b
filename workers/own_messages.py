"""Messages of dcbridge's own, as workers send them: what becomes of each is counted and logged."""

from __future__ import annotations

import structlog

from dcbridge.own_messages import Said, queue
from workers.context import WorkerContext

log = structlog.get_logger()


async def say(
    ctx: WorkerContext,
    *,
    channel: str,
    consumer: str,
    text: str,
    cause: str,
    trace: str = "",
    time_to_live: float | None = None,
) -> Said:
    """Queue one text of dcbridge's own, once for each `cause`, in the lane of the conversation.

    `consumer`: as Digital Channels writes the number, without a plus. `cause`: what it comes from, by an id that is the
    same whenever this is done again, such as "booking <task id>". Refused, with a reason, where the channel sends none
    (neither `answers` nor `own_messages`), the consumer opted out, or has had as many as `own_messages` allows.
    """
    said = await queue(
        ctx.ledger,
        ctx.configuration,
        ctx.consumer_tokens,
        channel=channel,
        consumer=consumer,
        text=text,
        cause=cause,
        trace=trace,
        time_to_live=time_to_live,
    )
    note(ctx, channel, consumer, said)
    return said


def note(ctx: WorkerContext, channel: str, consumer: str, said: Said) -> None:
    """The figure and the one line."""
    ctx.metrics.own_messages.labels(channel, said.reason or said.outcome).inc()
    tell = log.info if said.sent else log.warning
    tell(
        "own_message",
        message=said.message_id,
        channel=channel,
        consumer=ctx.tokens.of(consumer),
        outcome=said.outcome,
        reason=said.reason or None,
    )
