"""A provider's callback as the service stores it and a worker reads it, byte for byte; and the order of reading."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress

import orjson

from dcbridge.ledger import lane_of
from dcbridge.messages import ConsumerMessage, Piece
from dcbridge.providers.base import Callback, Provider


def pack(provider: str, callback: Callback) -> bytes:
    """JSON that holds the whole callback; bodies and queries in base64, since they are bytes."""
    return orjson.dumps(
        {
            "provider": provider,
            "kind": callback.kind,
            "method": callback.method,
            "url": callback.url,
            "query": base64.b64encode(callback.query).decode(),
            "headers": {name: list(values) for name, values in callback.headers.items()},
            "body": base64.b64encode(callback.body).decode(),
        }
    )


def unpack(payload: bytes) -> tuple[str, Callback]:
    """The provider's name and the callback, from what `pack` wrote."""
    value = orjson.loads(payload)
    return value["provider"], Callback(
        kind=value["kind"],
        method=value["method"],
        url=value["url"],
        query=base64.b64decode(value["query"]),
        headers={name: tuple(values) for name, values in value["headers"].items()},
        body=base64.b64decode(value["body"]),
    )


def callback_lane(provider: str, kind: str) -> str:
    """What consumers write is read in the order in which it came; delivery updates need no order."""
    return lane_of("callback", provider) if kind == "inbound" else ""


def lane_for(provider: Provider, callback: Callback) -> str:
    """The same, where one address is for both: by what the callback says. A delivery update may have to wait for the
    id that it names, and would hold up what consumers write.
    """
    kind: str = callback.kind
    if kind == "events":
        with suppress(Exception):  # a worker reads it again, and keeps what cannot be read
            if any(isinstance(one, ConsumerMessage) for one in provider.parse_callback(callback)):
                kind = "inbound"
    return callback_lane(provider.name, kind)


def consumer_task_id(provider: str, provider_id: str) -> str:
    """The task that hands one consumer's message to Digital Channels, named by the provider's own id for it."""
    digest = hashlib.blake2b(f"{provider}\0{provider_id}".encode(), digest_size=12).hexdigest()
    return f"c-{digest}"


def piece_set_id(provider: str, sender: str, to: str, piece: Piece) -> str:
    """What all pieces of one long message have in common."""
    named = "\0".join((provider, sender, to, piece.key, str(piece.count)))
    return hashlib.blake2b(named.encode(errors="replace"), digest_size=12).hexdigest()


def consumer_lane(channel_id: str, sender: str) -> str:
    """One conversation, on its way to the agent."""
    return lane_of("in", channel_id, sender)


def mail_task_id(channel_id: str, name: str) -> str:
    """The task that reads one mail to one channel; `name` by `dcbridge.mail.reader.name_of`."""
    digest = hashlib.blake2b(f"{channel_id}\0{name}".encode(), digest_size=12).hexdigest()
    return f"l-{digest}"


def mail_lane(channel_id: str, sender: str) -> str:
    """Mails of one sender are read in the order in which they came; those of no sender need none."""
    return lane_of("mail", channel_id, sender.lower()) if sender else ""
