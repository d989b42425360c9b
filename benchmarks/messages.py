"""The message of every benchmark: one short SMS, told apart by its number."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from dcbridge import intake
from dcbridge.config.models import Configuration
from dcbridge.genesys import signature
from dcbridge.ledger import Ledger

CHANNEL = "0123456789"
ENDPOINT = "main"
AT_ONCE = 256  # messages to a write, when the ledger is filled without the service


def webhook(message_id: str, consumer: int) -> bytes:
    """The body that Digital Channels sends. The text begins with the id: that is how the provider knows it."""
    return orjson.dumps(
        {
            "channel": {
                "id": CHANNEL,
                "type": "sms",
                "from": {"id": CHANNEL},
                "to": {"id": f"1650{4000000 + consumer % 6_000_000}"},
                "messageId": message_id,
            },
            "type": "Text",
            "text": f"{message_id} Your parcel is at the depot. You can fetch it until six.",
        }
    )


def signed(secret: bytes, label: str, conversations: int, count: int | None = None) -> Iterator[tuple[str, bytes]]:
    """(messageId, request as bytes), without end or `count` of them."""
    n = 0
    while count is None or n < count:
        message_id = f"{label}-{n}"
        body = webhook(message_id, n % conversations)
        head = {signature.HEADER: signature.sign(secret, body), "Content-Type": "application/json"}
        yield message_id, http_post(f"/webhooks/messages/{ENDPOINT}", body, head)
        n += 1


def http_post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one request on a connection that stays open."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def fill(ledger: Ledger, configuration: Configuration, label: str, first: int, count: int) -> None:
    """Put messages into the ledger as the service does, each a conversation of its own."""
    for start in range(first, first + count, AT_ONCE):
        copies = [
            copy
            for n in range(start, min(first + count, start + AT_ONCE))
            for copy in intake.read(
                configuration, ENDPOINT, webhook(f"{label}-{n}", n), "5767ea58-1511-4a98-bc56"
            ).copies
        ]
        await ledger.messages.accept(copies)
