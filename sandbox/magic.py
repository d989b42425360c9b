"""Numbers and mailboxes that misbehave on purpose. The page shows these tables; tests read them.

Every number outside the table is delivered. `reason` is the Digital Channels code that the agent
should end up seeing; None where the message is delivered, or where no more is ever heard of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DELIVERED = ("queued", "sent", "delivered")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than 201. `tries` is how many sends get it before one is taken; None: all of them."""

    http: int
    code: int
    message: str
    tries: int | None = None
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How one SMS fares. `answer` "early" sends the last status before the answer to the send.

    "reset" takes the message and resets the connection; "lost" resets it and forgets the message.
    """

    statuses: tuple[str, ...] = DELIVERED
    error_code: int | None = None
    refusal: Refusal | None = None
    answer: Literal["at once", "slow", "early", "reset", "lost"] = "at once"


@dataclass(frozen=True, slots=True)
class MagicNumber:
    number: str
    says: str
    reason: int | None
    behaviour: Behaviour


@dataclass(frozen=True, slots=True)
class MagicMailbox:
    """`local` is the part before the @, at any domain."""

    local: str
    says: str
    reason: int | None


OPTED_OUT = Refusal(400, 21610, "Attempt to send to unsubscribed recipient")
# https://help.twilio.com/articles/223134027
STOP_WORDS = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"))
START_WORDS = frozenset(("START", "UNSTOP", "YES"))

NUMBERS = (
    MagicNumber(
        "+15005550001",
        "undelivered: the number does not exist",
        530,
        Behaviour(("queued", "sent", "undelivered"), 30005),
    ),
    MagicNumber(
        "+15005550002",
        "undelivered: the carrier filters it",
        350,
        Behaviour(("queued", "sent", "undelivered"), 30007),
    ),
    MagicNumber("+15005550003", "failed: unknown error", 500, Behaviour(("queued", "failed"), 30008)),
    MagicNumber(
        "+15005550004",
        "refused: the consumer opted out",
        350,
        Behaviour(refusal=OPTED_OUT),
    ),
    MagicNumber(
        "+15005550005",
        "refused: not a phone number",
        530,
        Behaviour(refusal=Refusal(400, 21211, "Invalid 'To' Phone Number")),
    ),
    MagicNumber("+15005550006", "slow to answer, then delivered", None, Behaviour(answer="slow")),
    MagicNumber(
        "+15005550007",
        "too many requests twice, then delivered",
        None,
        Behaviour(refusal=Refusal(429, 20429, "Too Many Requests", tries=2, retry_after=True)),
    ),
    MagicNumber(
        "+15005550008",
        "server error twice, then delivered",
        None,
        Behaviour(refusal=Refusal(500, 20500, "Internal Server Error", tries=2)),
    ),
    MagicNumber("+15005550009", "accepted, and never confirmed", None, Behaviour(())),
    MagicNumber("+15005550010", "delivered before the send is answered", None, Behaviour(answer="early")),
    MagicNumber(
        "+15005550011",
        "every status twice",
        None,
        Behaviour(("queued", "queued", "sent", "sent", "delivered", "delivered")),
    ),
    MagicNumber("+15005550012", "statuses in reverse order", None, Behaviour(("delivered", "sent", "queued"))),
    MagicNumber("+15005550013", "connection reset, but accepted and delivered", None, Behaviour(answer="reset")),
    MagicNumber("+15005550014", "connection reset, and not accepted", None, Behaviour(answer="lost")),
)

MAILBOXES = (
    MagicMailbox("bounce", "550 5.1.1 at RCPT: no such mailbox", 530),
    MagicMailbox("full", "452 4.2.2 at RCPT twice, then delivered", None),
    MagicMailbox("policy", "554 5.7.1 at RCPT: refused by policy", 350),
    MagicMailbox("toobig", "552 5.3.4 after DATA: too big", 510),
    MagicMailbox("greylist", "451 4.7.1 at RCPT twice, then delivered", None),
    MagicMailbox("slow", "slow to answer DATA, then delivered", None),
    MagicMailbox("drop", "closes the connection after DATA, not accepted", None),
    MagicMailbox("later-bounce", "accepted, then a failure report 5.1.1", 530),
)

BEHAVIOURS = {magic.number: magic.behaviour for magic in NUMBERS}
