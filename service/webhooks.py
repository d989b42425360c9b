"""The webhooks of Genesys: messages to consumers, of Digital Channels and of Open Messaging, and interaction events.

After a valid signature the answer is 200 whatever the body holds: what cannot be carried is kept as
a dead letter and, where the message can be named, ends with a Failed receipt. A 4XX is documented
nowhere for these webhooks and would lose the message (GENESYS page, "Webhook Genesys sends").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import structlog

from dcbridge.config.genesys_cloud import DIGITAL_CHANNELS, OPEN_MESSAGING
from dcbridge.config.models import Configuration
from dcbridge.genesys import cloud, payloads
from dcbridge.genesys.signature import RETIRED, Given, matching, which_kind_of_wrong
from dcbridge.intake import batch_id, read
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.intake import Intake, accept
from dcbridge.ledger.jobs import INBOUND
from dcbridge.tracing import switch
from service.answer import Refusal, json_answer
from service.encoding import unpacked
from service.endpoint import Outcome, ServiceContext, not_signed, signature_header, signed
from service.request import Request

FEW_SECRETS = 8  # of one endpoint and its channels: all are tried, which is less work than to read the body for it
READ_UNVERIFIED = 1 << 16  # bytes; a longer body is searched for ids
MOST_TRIED = 32  # secrets, over a body that long

log = structlog.get_logger()


async def messages(ctx: ServiceContext, request: Request) -> Outcome:
    """POST /webhooks/messages/{endpoint}: 200 {"messageId": …} when every message is durable."""
    endpoint = request.names["endpoint"]
    if ctx.configuration.platform_at.get(endpoint) != DIGITAL_CHANNELS:
        raise Refusal(404, "unknown endpoint", "no such endpoint")
    return await _taken(ctx, request, await signature_header(ctx, request, endpoint), endpoint)


async def open_messages(ctx: ServiceContext, request: Request) -> Outcome:
    """POST /webhooks/open-messaging/{endpoint}: 200 {"messageId": …} when the message of Genesys Cloud is durable.

    Events and receipts are answered 200 as well, and nothing follows from them.
    """
    endpoint = request.names["endpoint"]
    if ctx.configuration.platform_at.get(endpoint) != OPEN_MESSAGING:
        raise Refusal(404, "unknown endpoint", "no such endpoint")
    header = await signature_header(ctx, request, endpoint, cloud.given(request.signatures_256))
    return await _taken(ctx, request, header, endpoint)


async def _taken(ctx: ServiceContext, request: Request, header: Given, endpoint: str) -> Outcome:
    raw = await request.body(ctx.settings.body_limit)
    secrets = _signed_with(ctx, request, header, raw, endpoint)
    body = unpacked(request.encodings, raw, ctx.settings.body_limit)
    try:
        intake = read(ctx.configuration, endpoint, body, request.carried)
    except cloud.NoMessage as other:
        _may_name(ctx, endpoint, secrets, [other.channel_id])
        return Outcome(json_answer({}), other.word, {"bytes": len(body)})
    _may_name(ctx, endpoint, secrets, intake.channels)
    fresh = await accept(ctx.ledger, intake)
    return _accepted(ctx, intake, fresh, len(body))


def _accepted(ctx: ServiceContext, intake: Intake, fresh: list[bool], size: int) -> Outcome:
    """The answer names every message in its order, also those that cannot be carried."""
    if intake.problems:
        log.warning("message_invalid", endpoint=intake.endpoint, problems=intake.problems)
    ids = intake.message_ids
    answer: dict[str, object] = {"messageId": ids[0]}
    if not intake.readable:
        return Outcome(json_answer(answer), "unreadable", {"bytes": size})
    if len(ids) > 1:
        answer["messages"] = [{"messageId": message_id} for message_id in ids]
    word = "accepted with problems" if intake.problems else "accepted" if any(fresh) else "redelivered"
    refs = [copy.ref for copy in intake.copies]
    consumers = [ctx.tokens.of(copy.to_id) for copy in intake.copies]
    facts: dict[str, object] = {"refs": refs, "message_ids": ids, "consumers": consumers, "bytes": size}
    return Outcome(json_answer(answer), word, facts)


def _signed_with(ctx: ServiceContext, request: Request, header: Given, raw: bytes, endpoint: str) -> frozenset[bytes]:
    """Which secrets of the endpoint and its channels signed the body. Raises Refusal 401 where none did."""
    possible: Collection[bytes] = ctx.configuration.secrets_at[endpoint]
    if len(possible) > FEW_SECRETS:
        try:
            body = unpacked(request.encodings, raw, ctx.settings.body_limit)
        except Refusal:
            body = raw
        possible = _perhaps(ctx.configuration, body, endpoint)
    found = matching(header, raw, possible)
    if not found:
        elsewhere = [secret for name, its in ctx.configuration.secrets_at.items() if name != endpoint for secret in its]
        raise _no_secret(ctx, endpoint, header, raw, possible, ctx.configuration.retired_at[endpoint], elsewhere)
    return found


def _no_secret(
    ctx: ServiceContext,
    name: str,
    header: Given,
    raw: bytes,
    secrets: Iterable[bytes],
    retired: Collection[bytes],
    elsewhere: Iterable[bytes],
) -> Refusal:
    """A retired secret that is still used is noted."""
    wrong = which_kind_of_wrong(header, raw, secrets, retired, elsewhere)
    if wrong == RETIRED:
        ctx.presence.signed_with(name, matching(header, raw, retired))
    return not_signed(ctx, name, wrong)


def _perhaps(configuration: Configuration, body: bytes, endpoint: str) -> set[bytes]:
    """Secrets that may have signed an unverified body, which is looked at for one thing: which channels it names.

    One secret signs a body, so it is one that all of these channels have.
    """
    if len(body) <= READ_UNVERIFIED:
        named = payloads.channels_named(body)
        return set.intersection(*(set(configuration.secrets_for(endpoint, channel_id)) for channel_id in named))
    found = dict.fromkeys(configuration.secrets_for(endpoint))
    for channel_id in dict.fromkeys(payloads.ids_mentioned(body)):
        if channel_id in configuration.channels and len(found) < MOST_TRIED:
            found |= dict.fromkeys(configuration.secrets_for(endpoint, channel_id))
    return set(found)


def _may_name(ctx: ServiceContext, endpoint: str, secrets: frozenset[bytes], named: Iterable[str]) -> None:
    """A channel with secrets of its own takes no other's. Raises Refusal 401."""
    places, used = set(), set()
    for channel_id in named:
        own = ctx.configuration.secrets_for(endpoint, channel_id)
        place = next((place for place, secret in enumerate(own) if secret in secrets), None)
        if place is None:
            raise not_signed(ctx, endpoint, "no secret matches")
        places.add(place)
        used.add(own[place])
    signed(ctx, endpoint, places, used)


async def interactions(ctx: ServiceContext, request: Request) -> Outcome:
    """POST /webhooks/interactions/{endpoint}: exactly 200 when the batch is durable, as it came."""
    endpoint = request.names["endpoint"]
    known = ctx.configuration.interactions.get(endpoint)
    if known is None:
        raise Refusal(404, "unknown endpoint", "no such endpoint")
    name = f"interactions/{endpoint}"
    header = await signature_header(ctx, request, name)
    raw = await request.body(ctx.settings.body_limit)
    secrets = [secret.get_secret_value().encode() for secret in known.secrets]
    found = matching(header, raw, secrets)
    if not found:
        retired = [secret.get_secret_value().encode() for secret in known.retired_secrets]
        elsewhere = [secret for its in ctx.configuration.secrets_at.values() for secret in its]
        raise _no_secret(ctx, name, header, raw, secrets, retired, elsewhere)
    signed(ctx, name, [next(place for place, secret in enumerate(secrets) if secret in found)], found)
    body = unpacked(request.encodings, raw, ctx.settings.body_limit)
    try:
        operation, events = payloads.read_interactions(body)
    except payloads.NotJson:
        letter = f"i-{payloads.made_up_id(endpoint, body)}"
        await ctx.ledger.dead_letters.add(letter, Kind.INTERACTION_BATCH, "", "520 the body is not JSON", body)
        answer = json_answer({"status": {"code": 0}, "data": {"ids": []}})
        return Outcome(answer, "unreadable", {"bytes": len(body)})
    fresh = await ctx.ledger.events.put_batch(
        batch_id(endpoint, body, operation, events), endpoint, request.carried, body
    )
    if fresh and switch.current() is not None:
        switch.created(INBOUND, [(payloads.made_up_id(endpoint, body), request.carried)])
    ids = [{"id": one.interaction} for one in events if one.interaction]
    return Outcome(
        json_answer({"status": {"code": 0}, "data": {"ids": ids}}),
        "accepted" if fresh else "redelivered",
        {"events": len(events), "bytes": len(body)},
    )
