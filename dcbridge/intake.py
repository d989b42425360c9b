"""From what the wire says to what the ledger is to hold: the same for a webhook at the door and for one replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dcbridge.config.models import Configuration
from dcbridge.genesys import payloads
from dcbridge.ledger import NewMessage
from dcbridge.messages import AgentMessage, Reason

UNCONFIGURED_TTL = 3600.0  # seconds; such a message ends at once, so nothing waits for it


def problem_of(configuration: Configuration, one: payloads.Incoming) -> payloads.Problem | None:
    """Why the message cannot be carried, or None."""
    if one.channel_id and configuration.channel(one.channel_id) is None:
        return payloads.Problem(Reason.INVALID_DESTINATION, "the channel is not configured")
    return one.problem


def why(configuration: Configuration, one: payloads.Incoming) -> str:
    """The problem in words, code first; "" without one."""
    problem = problem_of(configuration, one)
    return f"{int(problem.reason)} {problem.what}" if problem else ""


ELSEWHERE = "530 the channel belongs to another endpoint than "  # and the endpoint that it came to


def belongs_elsewhere(configuration: Configuration, one: payloads.Incoming, endpoint: str) -> bool:
    """True for a channel of another endpoint: this endpoint's secret does not speak for it."""
    known = configuration.channel(one.channel_id) is not None
    return known and configuration.endpoint_of(one.channel_id) != endpoint


def copies_of(configuration: Configuration, one: payloads.Incoming, trace: str) -> list[NewMessage]:
    """What the ledger is to hold; nothing where no receipt could name the message."""
    if not one.channel_id:
        return []
    problem = problem_of(configuration, one)
    channel = configuration.channel(one.channel_id)

    def copy(message: AgentMessage) -> NewMessage:
        first = one.copies[0].ref
        return NewMessage(
            ref=message.ref,
            first_ref=first,
            channel_id=one.channel_id,
            message_id=one.message_id,
            sender_id=message.sender.id,
            to_id=message.to.id,
            payload=one.payload,
            trace_id=trace,
            time_to_live=channel.time_to_live if channel else UNCONFIGURED_TTL,
            reason=int(problem.reason) if problem else 0,
            detail=problem.what if problem else "",
            raw=(one.raw or one.payload) if problem and message.index == 0 else b"",
            copies=len(one.copies),
        )

    return [copy(message) for message in one.copies]


def lone_letter_id(one: payloads.Incoming) -> str:
    """The dead letter of a message that no receipt could name."""
    return f"w-{hashlib.blake2b(one.message_id.encode() + one.payload, digest_size=12).hexdigest()}"


def batch_id(endpoint: str, body: bytes, operation: str, told: Sequence[payloads.Entity]) -> str:
    """What tells a redelivered interactions webhook from a new one, given what `payloads.read_interactions` found.

    Redelivery repeats the operation, perhaps not its bytes; without an operation the bytes are all there is.
    """
    events = [(one.interaction, one.name) for one in told]
    same = repr((endpoint, operation, events)).encode() if operation else endpoint.encode() + b"\0" + body
    return hashlib.sha256(same).hexdigest()[:32]
