"""The two webhooks of Digital Channels: messages to consumers, and interaction events.

After a valid signature the answer is 200 whatever the body holds: what cannot be carried is kept as
a dead letter and, where the message can be named, ends with a Failed receipt. A 4XX is documented
nowhere for these webhooks and would lose the message (GENESYS page, "Webhook Genesys sends").
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from starlette.requests import Request

from bridge import wire
from bridge.acceptance import ELSEWHERE, batch_id, belongs_elsewhere, copies_of, lone_letter_id, why
from bridge.ledger import NewMessage
from service.door import Door, Outcome, Refusal, check_signature, json_answer, read_body

log = structlog.get_logger()


async def messages(door: Door, request: Request, trace: str) -> Outcome:
    """POST /webhooks/messages/{endpoint}: 200 {"messageId": …} when every message is durable."""
    endpoint = request.path_params["endpoint"]
    if endpoint not in door.configuration.endpoints:
        raise Refusal(404, "unknown endpoint", "no such endpoint")
    body = await read_body(request, door.settings.body_limit)
    _verify(door, request, body, endpoint)
    try:
        incoming = wire.read_webhook(body, endpoint, trace)
    except wire.NotJson as error:
        return await _not_json(door, endpoint, body, str(error))
    copies: list[NewMessage] = []
    strangers: list[str] = []
    beside: list[Awaitable[object]] = []  # written together: the ledger puts what waits at one moment into one script
    for one in incoming:
        if belongs_elsewhere(door.configuration, one, endpoint):
            strangers.append(problem := ELSEWHERE + endpoint)
            letter = lone_letter_id(one)
            beside.append(door.ledger.bury(letter, "agent message", one.channel_id, problem, one.raw or one.payload))
            continue
        found = copies_of(door.configuration, one, trace)
        if found and door.configuration.channel(one.channel_id) is None:
            beside.append(door.ledger.remember_stray(one.channel_id, endpoint))
        if not found:
            problem = why(door.configuration, one)
            letter = lone_letter_id(one)
            beside.append(door.ledger.bury(letter, "agent message", one.channel_id, problem, one.raw or one.payload))
        copies += found
    if beside:
        await asyncio.gather(*beside)
    fresh = await door.ledger.accept(copies)
    ids = [one.message_id for one in incoming]
    answer: dict[str, object] = {"messageId": ids[0]}
    if len(ids) > 1:
        answer["messages"] = [{"messageId": message_id} for message_id in ids]
    problems = sorted({*strangers, *(p for one in incoming if (p := why(door.configuration, one)))})
    word = "accepted" if any(fresh) else "redelivered" if fresh else "unreadable"
    if problems:
        word = "accepted with problems"
        log.warning("message_cannot_be_carried", endpoint=endpoint, problems=problems)
    refs = [copy.ref for copy in copies]
    consumers = [door.tokens.of(copy.to_id) for copy in copies]
    facts: dict[str, object] = {"refs": refs, "message_ids": ids, "consumers": consumers, "bytes": len(body)}
    return Outcome(json_answer(answer), word, facts)


def _verify(door: Door, request: Request, body: bytes, endpoint: str) -> None:
    """Channels may have secrets of their own. The unverified body is looked at for one thing: which of them apply."""
    configuration = door.configuration
    named: list[str | None] = [None]
    if endpoint in configuration.channel_secrets_at:
        try:
            named = list({one.channel_id for one in wire.read_webhook(body, endpoint)}) or [None]
        except wire.NotJson:
            named = [None]
    for channel_id in named:
        check_signature(
            door, request, body, endpoint,
            configuration.secrets_for(endpoint, channel_id), configuration.retired_for(endpoint, channel_id),
        )  # fmt: skip


async def _not_json(door: Door, endpoint: str, body: bytes, what: str) -> Outcome:
    message_id = wire.made_up_id(endpoint, body)
    await door.ledger.bury(f"w-{message_id}", "agent message", "", f"520 {what}", body)
    log.warning("message_cannot_be_carried", endpoint=endpoint, problems=[what])
    return Outcome(json_answer({"messageId": message_id}), "unreadable", {"bytes": len(body)})


async def interactions(door: Door, request: Request, trace: str) -> Outcome:
    """POST /webhooks/interactions/{endpoint}: exactly 200 when the batch is durable, as it came."""
    endpoint = request.path_params["endpoint"]
    known = door.configuration.interactions.get(endpoint)
    if known is None:
        raise Refusal(404, "unknown endpoint", "no such endpoint")
    body = await read_body(request, door.settings.body_limit)
    check_signature(
        door, request, body, f"interactions/{endpoint}",
        [s.get_secret_value().encode() for s in known.secrets],
        [s.get_secret_value().encode() for s in known.retired_secrets],
    )  # fmt: skip
    try:
        operation, events = wire.read_interactions(body)
    except wire.NotJson:
        letter = f"i-{wire.made_up_id(endpoint, body)}"
        await door.ledger.bury(letter, "interaction batch", "", "520 the body is not JSON", body)
        answer = json_answer({"status": {"code": 0}, "data": {"ids": []}})
        return Outcome(answer, "unreadable", {"bytes": len(body)})
    fresh = await door.ledger.put_batch(batch_id(endpoint, body, operation, events), endpoint, trace, body)
    ids = [{"id": one.interaction} for one in events if one.interaction]
    return Outcome(
        json_answer({"status": {"code": 0}, "data": {"ids": ids}}),
        "accepted" if fresh else "redelivered",
        {"events": len(events), "bytes": len(body)},
    )
