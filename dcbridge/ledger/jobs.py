"""Every job there is: what runs it, on which queue, how long it may take.

A job is a wake-up that carries one id. It is queued by the ledger's script, in the same step as
the state it belongs to; a job that runs twice, or for an id that has moved on, does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class JobKind:
    """`path` is what RQ imports; `timeout` in seconds is RQ's own last resort, far above ours.

    `about`: whose id the job carries, "m" of an agent message or "t" of a task; "" for anything else.
    """

    path: str
    queue: str
    about: Literal["m", "t", ""] = ""
    timeout: int = 180


OUTBOUND, RECEIPTS, INBOUND, EVENTS = "outbound", "receipts", "inbound", "events"
QUEUES = (RECEIPTS, INBOUND, OUTBOUND, EVENTS)  # the order in which a worker with a free hand looks

JOBS = {
    "send": JobKind("workers.jobs.send", OUTBOUND, "m"),
    "receipts": JobKind("workers.jobs.receipts", RECEIPTS),
    "ask": JobKind(
        "workers.jobs.ask", INBOUND, "m"
    ),  # like a callback it brings news; it must not wait behind what is sent
    "callback": JobKind("workers.jobs.callback", INBOUND, "t"),
    "consumer": JobKind("workers.jobs.consumer", INBOUND, "t"),
    "mail": JobKind("workers.jobs.mail", INBOUND, "t"),
    "confirm": JobKind("workers.jobs.confirm", OUTBOUND, "t"),
    # Half of a worker's places at most, as deliveries: a Genesys that hangs must leave room for messages.
    "book": JobKind("workers.jobs.book", EVENTS, "t"),
    "watch": JobKind("workers.jobs.watch", EVENTS, "t"),
    "notice": JobKind("workers.jobs.notice", EVENTS, "t"),
    "split": JobKind("workers.jobs.split", INBOUND),
    "deliver": JobKind("workers.jobs.deliver", EVENTS, "t"),
}
