"""Messages of dcbridge's own: an answer, or what a trigger causes. No agent wrote them, and no receipt is owed.

In all else they are as an agent's: entry, lane, adapter, delivery updates. Their books are those of the channel id with
`own/` before it, so that they never mix with the agents'.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import orjson

from dcbridge.config.models import Channel, Configuration
from dcbridge.config.own_messages import REPEATS_WITHIN, SEGMENTS, OwnMessages
from dcbridge.errors import Refused
from dcbridge.ledger import Ledger, lane_of
from dcbridge.ledger.consent import ConsumerTokens
from dcbridge.ledger.own import NewOwn
from dcbridge.messages import message_ref, own_books
from dcbridge.providers.phone import country_of, is_expensive, to_e164
from dcbridge.providers.segmentation import segments

Reason = Literal[
    "", "not_configured", "empty", "too_long", "country", "opted_out", "day_cap", "hour_cap", "repeated",
    "other_content",
]  # fmt: skip
_REASONS: dict[str, Reason] = {
    "stopped": "opted_out", "day_cap": "day_cap", "hour_cap": "hour_cap", "repeated": "repeated",
    "other": "other_content",
}  # fmt: skip


ALL = "all"  # in place of a country
TOGETHER = frozenset({"US", "CA"})  # a number of one of them serves both


@dataclass(frozen=True, slots=True)
class Said:
    """What became of it. `again`: this cause was heard before, and its message is the one that there is."""

    outcome: Literal["queued", "again", "refused"]
    message_id: str  # "own-…", by which `dcbridge trace` knows it
    ref: str = ""  # of its entry
    reason: Reason = ""  # it was refused

    @property
    def sent(self) -> bool:
        """Whether there is such a message, now or from an earlier call."""
        return self.outcome != "refused"


def own_id(cause: str) -> str:
    """The id of the message that this causes."""
    return f"own-{hashlib.blake2b(cause.encode(errors='replace'), digest_size=12, person=b'dcbridge-own').hexdigest()}"


def may_be_contacted(channel: Channel, consumer: str) -> bool:
    """Whether dcbridge writes to this consumer, or has them called, without a person who decided it: a sender, or a
    caller, can be forged, and whoever owns an expensive number earns with each text that it gets.
    """
    address = consumer.rpartition(":")[2]  # "whatsapp:"
    chosen = channel.own_messages.countries if channel.own_messages else ()
    try:
        number = to_e164(address, channel.default_region)
    except Refused:
        return address != consumer and (not chosen or ALL in chosen)
    countries = chosen or (() if address != consumer else _countries_of(_numbers(channel), channel.default_region))
    return not is_expensive(number) and (not countries or ALL in countries or country_of(number) in countries)


def _numbers(channel: Channel) -> tuple[str, ...]:
    own = (channel.number, *channel.numbers.values(), *(one.number for one in channel.senders))
    return tuple(dict.fromkeys(one for one in own if one))


@lru_cache(maxsize=1024)
def _countries_of(numbers: tuple[str, ...], region: str | None) -> frozenset[str]:
    """Of what a channel is called; empty where none of that is a number of a country."""
    found = {region} if region else set[str]()
    for number in numbers:
        try:
            country = country_of(to_e164(number, region))
        except Refused:  # a name, or a short code
            continue
        if country:
            found.add(country)
    return frozenset(found | TOGETHER if found & TOGETHER else found)


async def queue(
    ledger: Ledger,
    configuration: Configuration,
    tokens: ConsumerTokens,
    *,
    channel: str,
    consumer: str,
    text: str,
    cause: str,
    trace: str = "",
    time_to_live: float | None = None,
    content_mark: str = "",
    hourly: bool = True,
) -> Said:
    """Write it down, once for each `cause`. `consumer`: as Digital Channels writes the number, without a plus.

    `hourly`: `an_hour` of the channel counts.

    `content_mark`: where the same cause may come with other contents, a digest of these; then it is refused.
    """
    message_id = own_id(cause)
    ref = message_ref(channel, message_id)
    configured = configuration.channel(channel)
    if configured is None or configured.type != "sms" or channel not in configuration.own_channels:
        return Said("refused", message_id, ref, "not_configured")
    if not text.strip():
        return Said("refused", message_id, ref, "empty")
    if segments(text) > SEGMENTS:
        return Said("refused", message_id, ref, "too_long")
    consumer = configured.consumer(consumer)  # one spelling, as that of the conversation's lane
    if not may_be_contacted(configured, consumer):
        return Said("refused", message_id, ref, "country")
    own = configured.own_messages or OwnMessages()
    payload = {
        "type": "Text",
        "text": text,
        "channel": {"id": channel, "from": {"id": configured.number or channel}, "to": {"id": consumer}},
    }
    same = hashlib.blake2b(text.encode(errors="replace"), digest_size=9).hexdigest()
    outcome = await ledger.own.put(
        NewOwn(
            ref=ref,
            books=own_books(channel),
            message_id=message_id,
            to_id=consumer,
            lane=lane_of(channel, consumer),
            payload=orjson.dumps(payload),
            trace_id=trace,
            time_to_live=own.time_to_live if time_to_live is None else time_to_live,
            cause=cause,
            content_mark=content_mark,
            scope=configuration.consent_scopes.get(channel, ""),
            token=tokens.of(configuration.consumer_key(channel, consumer)),
            a_day=own.a_day,
            an_hour=own.an_hour if hourly else 0,
            repeats=own.repeats,
            same=same,
            repeats_within=REPEATS_WITHIN,
        )
    )
    if outcome in ("new", "again"):
        return Said("queued" if outcome == "new" else "again", message_id, ref)
    return Said("refused", message_id, ref, _REASONS[outcome])
