"""How each kind of dead letter comes to be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from dcbridge.genesys import payloads
from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import pack
from tests.cli.session import CONSUMER, DAY, SENDER, TEXT, Session
from tests.ledger.ledger_bench import CHANNEL, new_message

CONSUMER_TASK = orjson.dumps({"from": CONSUMER, "text": TEXT, "media": [], "provider": "twilio"})


def callback(kind: Any = "inbound", body: bytes = TEXT.encode()) -> bytes:
    return pack("twilio", Callback(kind, "POST", f"http://x/callbacks/twilio/{kind}", b"", {}, body))


def webhook(message_id: str = "m-1", **changes: Any) -> bytes:
    channel: dict[str, Any] = {
        "id": CHANNEL,
        "type": "sms",
        "from": {"id": SENDER},
        "to": {"id": CONSUMER},
        "messageId": message_id,
    }
    return orjson.dumps({"channel": channel | changes, "type": "Text", "text": TEXT})


async def unreadable_webhook(session: Session, body: bytes = b"{" + TEXT.encode()) -> str:
    letter_id = f"w-{payloads.made_up_id('main', body)}"
    await session.ledger.dead_letters.add(letter_id, Kind.AGENT_MESSAGE, "", "520 the body is not JSON", body)
    return letter_id


async def told_failed(session: Session) -> str:
    problem = "the channel is not configured"
    message = new_message("m-9", channel_id="nobody", reason=530, detail=problem, raw=webhook("m-9", id="nobody"))
    await session.ledger.messages.accept([message])
    return f"m-{message.ref}"


async def refused_receipt(session: Session) -> str:
    ref = await session.sending("m-1", sender_id=SENDER, to_id=CONSUMER)
    await session.ledger.messages.fail(ref, "mine", 530, "21211")
    await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    await session.ledger.receipts.again(CHANNEL, {ref: 0.0})
    await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    raw = orjson.dumps({"messages": [{"channel": {"from": {"id": SENDER}, "to": {"id": CONSUMER}}}]})
    await session.ledger.receipts.refused(CHANNEL, ref, "http 404", raw)
    return f"r-{ref}"


async def dead_task(session: Session, task_id: str = "c-" + "0" * 24) -> str:
    job, payload = ("consumer", CONSUMER_TASK) if task_id[0] == "c" else ("callback", callback())
    await session.ledger.tasks.put(
        [NewTask(task_id, job, "some-lane", payload, "trace", CHANNEL if task_id[0] == "c" else "")]
    )
    assert (await session.ledger.tasks.claim(task_id, "mine", 60.0)).ours
    assert await session.ledger.tasks.dead(task_id, "mine", "http 400", payload, 7 * DAY) == "dead"
    await session.drop_jobs()
    return f"t-{task_id}"


async def dead_callback(session: Session) -> str:
    return await dead_task(session, "b-" + "0" * 24)


async def update_of_nobody(session: Session) -> str:
    await session.ledger.dead_letters.add(
        "u-" + "0" * 24, Kind.DELIVERY_UPDATE, "", "512 unknown message", callback("status")
    )
    return "u-" + "0" * 24


async def unreadable_batch(session: Session, body: bytes = b"{" + TEXT.encode()) -> str:
    letter_id = f"i-{payloads.made_up_id('main', body)}"
    await session.ledger.dead_letters.add(letter_id, Kind.INTERACTION_BATCH, "", "520 the body is not JSON", body)
    return letter_id


Made = Callable[[Session], Awaitable[str]]
KINDS: list[tuple[str, Made]] = [
    ("agent-message", unreadable_webhook),
    ("agent-message", told_failed),
    ("receipt", refused_receipt),
    ("consumer", dead_task),
    ("callback", dead_callback),
    ("delivery-update", update_of_nobody),
    ("interaction-batch", unreadable_batch),
]


async def all_kinds(session: Session) -> list[str]:
    return [await make(session) for _, make in KINDS]
