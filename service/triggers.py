"""POST /triggers/{name}: a system outside, which signs as Standard Webhooks has it, causes a text to a consumer.

The body is `{"id": …, "to": …, "vars": {…}}`. `id` names the call: the same one again is answered as before, and
nothing is sent twice. 202 is answered when the message is durable.
"""

from __future__ import annotations

import hashlib
import re
import time
import unicodedata
from collections.abc import Mapping

import orjson
import structlog

from dcbridge.config.own_messages import SEGMENTS
from dcbridge.config.triggers import LONGEST_VALUE, Trigger
from dcbridge.errors import Refused
from dcbridge.events.sinks.signing import key_of, place_of_key
from dcbridge.json_values import json_object
from dcbridge.ledger.consent import ConsumerTokens
from dcbridge.own_messages import Said, queue
from dcbridge.providers.phone import consumer_id, recipient
from service.answer import Refusal, json_answer
from service.encoding import unpacked
from service.endpoint import Outcome, ServiceContext
from service.request import Request

log = structlog.get_logger()

LIMIT = 16_384  # bytes of a body
MOST_VARS = 20
_ID = re.compile(r"[\x21-\x7e]{1,100}")
_WEBHOOK_ID = re.compile(rb"[\x21-\x7e]{1,256}")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
_LONGEST_SIGNATURE = 2048
_FIELDS = ("id", "to", "vars")
_NOT_SENT = {
    "opted_out": "the consumer opted out",
    "day_cap": "the consumer has had as many messages as own_messages.a_day of the channel allows",
    "country": "the number may be an expensive one, or its country is none of own_messages.countries of the channel",
    "repeated": "the consumer has had this text as often as own_messages.repeats of the channel allows",
    "other_content": "id: was used for another call, with another to or other vars",
}


class Triggers:
    """The route."""

    def __init__(self, ctx: ServiceContext) -> None:
        self._keys = {name: [key_of(one) for one in t.secrets] for name, t in ctx.configuration.triggers.items()}
        self._tokens = ConsumerTokens(ctx.settings.token_key.get_secret_value().encode())

    async def call(self, ctx: ServiceContext, request: Request) -> Outcome:
        name = request.names["name"]
        trigger = ctx.configuration.triggers.get(name)
        if trigger is None:
            raise Refusal(404, "unknown trigger", "no such trigger")
        raw = await request.body(min(LIMIT, ctx.settings.body_limit))
        self._verify(ctx, request, name, trigger, raw)
        wait = await ctx.ledger.own.admit(name, trigger.per_minute)
        if wait:
            ctx.metrics.triggers.labels(name, "rate_limited").inc()
            seconds = {"retry-after": str(max(1, round(wait)))}
            raise Refusal(429, "rate limited", "more calls in a minute than per_minute of the trigger allows", seconds)
        called = json_object(unpacked(request.encodings, raw, LIMIT))
        try:
            call_id, to, text, mark = _read(ctx, trigger, called)
        except ValueError as error:
            ctx.metrics.triggers.labels(name, "invalid").inc()
            raise Refusal(400, "invalid", str(error)) from None
        said = await queue(
            ctx.ledger,
            ctx.configuration,
            self._tokens,
            channel=trigger.channel,
            consumer=to,
            text=text,
            cause=f"trigger {name} {call_id}",
            trace=request.carried,
            time_to_live=trigger.time_to_live,
            content_mark=mark,
            hourly=False,
        )
        return _answered(ctx, name, trigger, to, said)

    def _verify(self, ctx: ServiceContext, request: Request, name: str, trigger: Trigger, raw: bytes) -> None:
        """Raises Refusal 401."""
        wrong = ""
        message_id, timestamp = _header(request, b"webhook-id"), _header(request, b"webhook-timestamp")
        given = _header(request, b"webhook-signature")
        if not _WEBHOOK_ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp) or not given:
            wrong = "headers missing"
        elif len(given) > _LONGEST_SIGNATURE:
            wrong = "headers too long"
        else:
            place = place_of_key(self._keys[name], message_id.decode(), int(timestamp), given.decode("latin-1"), raw)
            if place is None:
                wrong = "no secret matches"
            elif abs(time.time() - int(timestamp)) > trigger.tolerance:
                wrong = "too old or too new"
        at = f"trigger/{name}"
        if wrong:
            ctx.metrics.signatures.labels("trigger", at, wrong).inc()
            ctx.presence.refused(at, wrong)
            log.warning("signature_refused", endpoint=at, why=wrong)
            raise Refusal(401, "signature refused", "webhook-id, webhook-timestamp or webhook-signature is wrong")
        ctx.metrics.signatures.labels("trigger", at, "valid").inc()
        ctx.metrics.secret_uses.labels(at, str(place)).inc()
        ctx.presence.signed(at, [self._keys[name][place]] if place is not None else ())


def _header(request: Request, name: bytes) -> bytes:
    """The one value of a header; b"" where there is none, or more than one."""
    found = [value for key, value in request.scope["headers"] if key == name]
    return found[0] if len(found) == 1 else b""


def _read(ctx: ServiceContext, trigger: Trigger, called: Mapping[str, object]) -> tuple[str, str, str, str]:
    """The id of the call, the consumer, the text, and what tells this content from another. Raises ValueError, whose
    words name a field and show no value.
    """
    for field in called:
        if field not in _FIELDS:
            raise ValueError(f"has a field that is not known: there are {', '.join(_FIELDS)}")
    call_id, to, values = called.get("id"), called.get("to"), called.get("vars", {})
    if not isinstance(call_id, str) or not _ID.fullmatch(call_id):
        raise ValueError("id: should be a text of 1 to 100 characters of ASCII, without spaces")
    consumer = _consumer(ctx, trigger.channel, to)
    if not isinstance(values, dict) or len(values) > MOST_VARS:
        raise ValueError(f"vars: should be an object of at most {MOST_VARS} texts")
    words = {name: _value(name, values.get(name)) for name in sorted(trigger.variables)}
    text = trigger.filled(words)
    mark = hashlib.blake2b(orjson.dumps([consumer, words]), digest_size=16).hexdigest()
    return call_id, consumer, text, mark


def _consumer(ctx: ServiceContext, channel_id: str, to: object) -> str:
    region = ctx.configuration.channels[channel_id].default_region
    try:
        number = recipient(to, region) if isinstance(to, str) and len(to) <= 40 else ""
    except Refused:
        number = ""
    if not number.startswith("+"):
        raise ValueError("to: should be a phone number with its country code, such as +16504661149")
    return consumer_id(number, region)


def _value(name: str, value: object) -> str:
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if written is None:
        raise ValueError(f"vars.{name}: is missing: the text of the trigger has it")
    if not isinstance(written, str) or len(written) > LONGEST_VALUE:
        raise ValueError(f"vars.{name}: should be a text of at most {LONGEST_VALUE} characters, or a whole number")
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in written):
        raise ValueError(f"vars.{name}: has a character that no text has, such as the end of a line")
    return written


def _answered(ctx: ServiceContext, name: str, trigger: Trigger, to: str, said: Said) -> Outcome:
    result = said.reason or said.outcome
    ctx.metrics.triggers.labels(name, result).inc()
    ctx.metrics.own_messages.labels(trigger.channel, result).inc()
    if said.reason == "too_long":
        raise Refusal(400, "invalid", f"vars: the text takes more than {SEGMENTS} SMS with these")
    if said.reason == "empty":
        raise Refusal(400, "invalid", "vars: the text has nothing to read with these")
    facts: dict[str, object] = {"message": said.message_id, "consumer": ctx.tokens.of(to)}
    if not said.sent:
        answer = {"error": _NOT_SENT.get(said.reason, "not sent"), "reason": said.reason}
        return Outcome(json_answer(answer, 409), said.reason, facts)
    return Outcome(json_answer({"message": said.message_id, "outcome": said.outcome}, 202), said.outcome, facts)
