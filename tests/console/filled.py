"""An installation with something on every page of the operator, and a canary in every field that others fill."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import orjson

from dcbridge.console.context import ConsoleContext
from dcbridge.events.event import StoredEvent, for_ledger
from dcbridge.events.sinks import Event
from dcbridge.genesys import payloads
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.services import Service, Signatures
from dcbridge.ledger.signatures import Refusals
from tests.ledger.ledger_bench import new_message

SMS = "0123456789"
CANARY = "<img src=x onerror=alert(1)>"
ESCAPED = "&lt;img src=x onerror=alert(1)&gt;"
SECRET_TEXT = "the text of Mrs X"
EVENT = "evt_" + "1" * 24
OWN = f'\ntriggers:\n  t: {{channel: "{SMS}", text: hello, secrets: ["whsec_{"QUFB" * 10}"]}}\n'
UNREADABLE = b'{"channel": ' + SECRET_TEXT.encode()
WEBHOOK = {
    "channel": {"id": SMS, "type": "sms", "from": {"id": SMS}, "to": {"id": "16504661149"}, "messageId": "m-1"},
    "type": "Text",
    "text": SECRET_TEXT,
}


async def unreadable(context: ConsoleContext, body: bytes = UNREADABLE) -> str:
    """A webhook whose body is no JSON."""
    letter = f"w-{payloads.made_up_id('main', body)}"
    await context.ledger.dead_letters.add(letter, Kind.AGENT_MESSAGE, "", f"520 the body is not JSON {CANARY}", body)
    return letter


async def unreadable_batch(context: ConsoleContext, body: bytes = b"{no json") -> str:
    letter = f"i-{payloads.made_up_id('events', body)}"
    await context.ledger.dead_letters.add(letter, Kind.INTERACTION_BATCH, "", "520 the body is not JSON", body)
    return letter


async def fill(context: ConsoleContext) -> None:
    """All of it."""
    ledger, now = context.ledger, time.time()
    await unreadable(context)
    for place, kind in enumerate(Kind):
        await ledger.dead_letters.add(f"l-{place}", kind, CANARY.replace(" ", "-"), f"{CANARY} {place}", b"\xff\x00")
    await ledger.messages.accept([new_message("m-7", channel_id=SMS), new_message("m-8", channel_id="gone")])
    for target in (
        Target(What.CHANNEL, SMS), Target(What.HOLD, SMS), Target(What.PROVIDER, "twilio"),
        Target(What.SUBSCRIBER, "crm"), Target(What.ALL),
    ):  # fmt: skip
        await ledger.controls.begin(target, lasts=3600.0, stands_still=True, by=f"ann {CANARY}", why=CANARY)
    await ledger.services.here(Service(f"host-1 {CANARY}", CANARY, now - 60, signatures={"main": Signatures(now + 60)}))
    await ledger.signatures.report(
        "host-1",
        1,
        [
            Refusals("main", "matches a retired secret", 3, now - 90, now - 30),
            Refusals("callback/twilio", "no secret matches", 7, now - 90, now - 30),
            Refusals(CANARY.replace(" ", "-"), CANARY, 1, now - 90, now - 30),
            Refusals("(unknown)", "no such endpoint", 1, now - 90, now - 30),
        ],
    )
    await ledger.subscribers.announce({"crm": 1000.0, f"x{CANARY}": 1000.0})
    await ledger.subscribers.disable("crm", CANARY)
    await put_event(context)
    fields: dict[Any, Any] = {
        "hostname": CANARY, "pid": "12", "queues": "outbound", "dcbridge": CANARY, "concurrency": "4",
        "birth": "2026-11-26T00:00:00Z", "last_heartbeat": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }  # fmt: skip
    await ledger.redis.hset("rq:worker:w1", mapping=fields)
    await ledger.redis.sadd("rq:workers", "rq:worker:w1")
    await ledger.controls.note(f"=cmd {CANARY}", "sign-in", CANARY, "@SUM(A1)", "oidc")


async def put_event(context: ConsoleContext, event_id: str = EVENT, at: datetime | None = None) -> None:
    event = Event(
        event_id, "STARTED", endpoint="events", interaction=CANARY, media=CANARY, subtype="x",
        received_at=at or datetime.now(UTC), fields={"text": SECRET_TEXT},
    )  # fmt: skip
    await context.ledger.events.put([for_ledger(StoredEvent(event, CANARY), context.configuration.subscribers)])


def mended(**changes: Any) -> str:
    return orjson.dumps(WEBHOOK | changes).decode()
