"""Answers to what consumers write: the rules of their channel, and what others listen for.

A placeholder of `dcbridge.config.answers.PLACEHOLDERS` is worked out by the resolver of its name in REGISTRY, and an
action, a field of a rule that ACTIONS there names, is done by the one of its name. Listeners are asked before the
rules: a question that was asked may be answered by a text that is no keyword.

All of them run while a callback is read, which is read again after a crash: they have to be quick, and the same done
twice has to be one (a task or a cause that is named by `heard.id`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from redis.exceptions import RedisError

from dcbridge.config.answers import AnswerRule, fitting, pieces
from dcbridge.messages import ConsumerMessage, is_piece
from dcbridge.own_messages import may_be_contacted
from dcbridge.providers.callback import consumer_task_id
from dcbridge.providers.phone import consumer_id
from workers import bookings, waits
from workers.context import WorkerContext
from workers.heard import Heard
from workers.own_messages import say

log = structlog.get_logger()

T = TypeVar("T")

WITHIN = 2.0  # seconds that a placeholder, an action or a listener may take


# What a placeholder says at this moment; None where that is not known, or is not fresh.
Resolver = Callable[[WorkerContext, Heard, str], Awaitable[str | None]]
# Does what the field of a rule says; its value comes last. Whether the consumer is answered, now or later.
Action = Callable[[WorkerContext, Heard, Any], Awaitable[bool]]
# "": it is not for this listener. Else "stop", or "pass" where the agent gets the message all the same.
Listener = Callable[[WorkerContext, Heard], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Registry:
    """All that answers can do."""

    resolvers: Mapping[str, Resolver] = field(default_factory=dict)
    actions: Mapping[str, Action] = field(default_factory=dict)
    listeners: Sequence[Listener] = ()


REGISTRY = Registry(
    resolvers={"wait": waits.of_statistic, "ewt": waits.of_queue},
    actions={"book": bookings.asked_for},
    listeners=(bookings.answers,),
)


async def answer(
    ctx: WorkerContext, provider: str, event: ConsumerMessage, trace: str, registry: Registry = REGISTRY
) -> bool:
    """Say and do what follows from a message; whether the agent gets it."""
    addressed = ctx.addressed(provider, event.to.id)
    if addressed is None or addressed[0] not in ctx.configuration.own_channels:
        return True
    channel_id, channel = addressed
    if is_piece(event) or event.media_urls or event.consent:
        return True
    heard = Heard(
        consumer_task_id(provider, event.provider_id),
        channel_id,
        consumer_id(event.sender.id, channel.default_region),
        event.text,
        trace,
    )
    if not may_be_contacted(channel, heard.consumer):  # nothing is said to it, asked of Genesys for it, or called
        return True
    for listener in registry.listeners:
        if word := await _within(listener(ctx, heard), "") or "":
            return word != "stop"
    if ctx.consent_word(event.text):
        return True
    place = fitting(channel.answers, event.text)
    if place is None:
        return True
    rule = channel.answers[place]
    answered = await _follow(ctx, heard, rule, registry)
    ctx.metrics.answers.labels(channel_id, rule.when[0], "answered" if answered else "not_answered").inc()
    return rule.then == "pass" or not answered


async def _follow(ctx: WorkerContext, heard: Heard, rule: AnswerRule, registry: Registry) -> bool:
    """Whether the consumer is answered."""
    done = False
    if rule.action:
        action = registry.actions[rule.action]
        done = bool(await _within(action(ctx, heard, getattr(rule, rule.action)), False))
    text = await filled(ctx, heard, rule.say, registry) if rule.say else None
    if text is None and rule.otherwise:
        text = await filled(ctx, heard, rule.otherwise, registry)
    if text is None:
        return done
    said = await say(
        ctx, channel=heard.channel_id, consumer=heard.consumer, text=text, cause=f"answer {heard.id}", trace=heard.trace
    )
    return done or said.sent


async def filled(ctx: WorkerContext, heard: Heard, text: str, registry: Registry = REGISTRY) -> str | None:
    """The text with what its placeholders say; None where one of them is not known."""
    words = []
    for piece in pieces(text):
        if not piece.name:
            words.append(piece.words)
            continue
        resolver = registry.resolvers.get(piece.name)
        found = await _within(resolver(ctx, heard, piece.argument), None) if resolver else None
        if found is None:
            return None
        words.append(found)
    return "".join(words)


async def _within(work: Awaitable[T], instead: T) -> T:
    """A callback must not wait for what an answer would be nice to have."""
    try:
        async with asyncio.timeout(WITHIN):
            return await work
    except TimeoutError:
        log.warning("answer_too_slow")
    except (RedisError, OSError):  # the callback is read again
        raise
    except Exception:
        log.error("answer_internal_error", exc_info=True)
    return instead
