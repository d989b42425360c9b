"""From the bytes of a mail to what the ledger is to hold: the same for every way that mail comes in.

LMTP, IMAP and the webhooks of companies end here. The bytes are kept as a blob first, and then the task that names
them; a mail counts as taken when both are stored, and not before.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Literal

import orjson

from dcbridge.ledger import Ledger, NewTask
from dcbridge.mail.reader import name_of
from dcbridge.providers.callback import mail_lane, mail_task_id


@dataclass(frozen=True, slots=True)
class MailEnvelope:
    """What is known of a mail besides its bytes.

    `sender`: MAIL FROM, "" for a mail without a sender, None where nobody said. `lane`: whose mails are read in order,
    where that is not `sender`. `to`: the mailbox that it was delivered to, "" where nobody said.
    """

    channel_id: str
    sender: str | None
    lane: str = ""
    to: str = ""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """The task that reads it, and whether that is new."""

    task_id: str
    outcome: Literal["accepted", "repeated"]
    trace: str


async def store(
    ledger: Ledger, raw: bytes, envelope: MailEnvelope, *, keep: float, name: str = "", trace: str = ""
) -> StoredMail:
    """Store a mail once for its channel, however often it comes. `keep`: seconds for its bytes.

    `name`: what `name_of` says, for whoever stores one mail for several channels. Raises NoRoom where nothing more may
    be kept, OSError where the folder of blobs cannot be written, and RedisError.
    """
    name = name or await asyncio.to_thread(name_of, raw)
    channel_id, trace = envelope.channel_id, trace or uuid.uuid4().hex
    task_id = mail_task_id(channel_id, name)
    if await ledger.tasks.entry(task_id):
        return StoredMail(task_id, "repeated", trace)
    blob = await ledger.blobs.put(raw, keep=keep, task=task_id, blob_id=task_id)
    payload = orjson.dumps({"blob": blob, "from": envelope.sender, "to": envelope.to, "size": len(raw)})
    lane = mail_lane(channel_id, envelope.sender or envelope.lane)
    [fresh] = await ledger.tasks.put([NewTask(task_id, "mail", lane, payload, trace, channel_id)])
    return StoredMail(task_id, "accepted" if fresh else "repeated", trace)
