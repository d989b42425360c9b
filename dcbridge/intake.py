"""From a webhook's body to what the ledger is to hold: the same for a webhook that arrives and for one replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from dcbridge.config.models import Configuration
from dcbridge.genesys import cloud, payloads
from dcbridge.ledger import NewMessage
from dcbridge.ledger.intake import Intake, NewDeadLetter
from dcbridge.messages import Reason, is_own, message_ref

_READERS = {"digital_channels": payloads.read_webhook, "open_messaging": cloud.read_webhook}  # by platform
UNCONFIGURED_TTL = 3600.0  # seconds; such a message ends at once, so nothing waits for it
ELSEWHERE = "530 the channel belongs to another endpoint than "  # and the endpoint that it came to
_UNCONFIGURED = payloads.Problem(Reason.INVALID_DESTINATION, "the channel is not configured")


def read(configuration: Configuration, endpoint: str, body: bytes, trace: str) -> Intake:
    """What the ledger is to hold of a webhook that came to `endpoint`, whatever the body holds.

    With "" the endpoint is not known, and any channel may be named. Raises `cloud.NoMessage` for what Open Messaging
    tells beside messages.
    """
    try:
        incoming = _reader(configuration, endpoint)(body, endpoint, trace)
    except payloads.NotJson as error:
        message_id = payloads.made_up_id(endpoint, body)
        letter = NewDeadLetter(f"w-{message_id}", "", f"520 {error}", body)
        return Intake(endpoint, (message_id,), ("",), dead_letters=(letter,), problems=(letter.reason,), readable=False)
    copies: list[NewMessage] = []
    letters: list[NewDeadLetter] = []
    unconfigured: dict[str, None] = {}
    problems: set[str] = set()
    for one in incoming:
        channel = configuration.channel(one.channel_id)
        problem = _UNCONFIGURED if one.channel_id and channel is None else one.problem
        what = f"{int(problem.reason)} {problem.what}" if problem else ""
        if endpoint and channel is not None and configuration.endpoint_of(one.channel_id) != endpoint:
            what = ELSEWHERE + endpoint  # this endpoint's secret does not speak for it
            letters.append(_dead_letter(one, what))
        elif found := _copies(configuration, one, problem):
            copies += found
            if channel is None:
                unconfigured[one.channel_id] = None
        else:
            letters.append(_dead_letter(one, what))
        if what:
            problems.add(what)
    return Intake(
        endpoint,
        tuple([one.message_id for one in incoming]),
        tuple(dict.fromkeys([one.channel_id for one in incoming])),
        tuple(copies),
        tuple(letters),
        tuple(unconfigured),
        tuple(sorted(problems)),
    )


def _reader(configuration: Configuration, endpoint: str) -> Callable[[bytes, str, str], list[payloads.Incoming]]:
    return _READERS[configuration.platform_at.get(endpoint, "digital_channels")]


def _copies(configuration: Configuration, one: payloads.Incoming, problem: payloads.Problem | None) -> list[NewMessage]:
    """One for each recipient; nothing where no receipt could name the message."""
    channel_id = one.channel_id
    if not channel_id or is_own(channel_id):
        return []
    channel = configuration.channel(channel_id)
    time_to_live = channel.time_to_live if channel else UNCONFIGURED_TTL
    recipients = one.recipients[: payloads.MAX_RECIPIENTS]
    first = message_ref(channel_id, one.message_id)
    reason, detail = (int(problem.reason), problem.what) if problem else (0, "")
    raw = (one.raw or one.payload) if problem else b""
    return [
        NewMessage(
            message_ref(channel_id, one.message_id, index) if index else first,
            first,
            channel_id,
            one.message_id,
            one.sender.id,
            to.id,
            one.payload,
            one.trace_id,
            time_to_live,
            reason,
            detail,
            b"" if index else raw,
            len(recipients),
        )
        for index, to in enumerate(recipients)
    ]


def _dead_letter(one: payloads.Incoming, problem: str) -> NewDeadLetter:
    return NewDeadLetter(lone_letter_id(one), one.channel_id, problem, one.raw or one.payload)


def lone_letter_id(one: payloads.Incoming) -> str:
    """The dead letter of a message that no receipt could name."""
    written = payloads.dumps(one.item)  # not its payload, which an older version wrote otherwise
    return f"w-{hashlib.blake2b(one.message_id.encode() + written, digest_size=12).hexdigest()}"


def names_letter(letter_id: str, endpoint: str, raw: bytes, configuration: Configuration | None = None) -> bool:
    """True where the bytes of a dead letter, had they come to this endpoint, would have this id."""
    if letter_id == f"w-{payloads.made_up_id(endpoint, raw)}":
        return True
    read_webhook = _reader(configuration, endpoint) if configuration else payloads.read_webhook
    try:
        return letter_id == lone_letter_id(read_webhook(raw, endpoint, "")[0])
    except (payloads.NotJson, cloud.NoMessage):
        return False


def batch_id(endpoint: str, body: bytes, operation: str, told: Sequence[payloads.Entity]) -> str:
    """What tells a redelivered interactions webhook from a new one, given what `payloads.read_interactions` found.

    Redelivery repeats the operation, perhaps not its bytes; without an operation the bytes are all there is.
    """
    events = [(one.interaction, one.name) for one in told]
    same = repr((endpoint, operation, events)).encode() if operation else endpoint.encode() + b"\0" + body
    return hashlib.sha256(same).hexdigest()[:32]
