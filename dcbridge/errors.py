"""What can go wrong with a send, and what follows from it.

    SendError
    ├── Unreachable       nobody was spoken to: DNS, connect, TLS, pool      again
    ├── Throttled         the provider said "later"                        again, not before retry_after; 310 at the end
    ├── Deferred          "not now", and not because of a rate             again; the mapped reason at the end
    ├── OutcomeUnknown    the request was written and no answer was read    the channel's policy
    ├── Refused           the provider said no to this message              Failed with the mapped reason
    │   └── RouteRefused  for a reason of its own                           another provider, or Failed as above
    ├── AccountFault      credentials, credit, suspended account            again; the operator is told; 500 at the end
    ├── Unreadable        it was taken, and the answer makes no sense       wait for an update by our reference
    │   └── Undecodable   a status of 2xx, and a body that cannot be read   as the status says: taken
    └── Gone              a subscriber wants no more events                 the subscriber is disabled

    BadCallback           a provider's callback that we cannot believe or read
    ├── BadSignature      → 401
    └── UnreadableEvent   → kept in the dead letters with its raw bytes

Each class declares its consequence; `workers.failures` is the one place that acts on it.
No message holds text, an address, a subject or a secret: `code` is the provider's own code.
"""

from __future__ import annotations

from typing import ClassVar

from dcbridge.messages import Reason


class SendError(Exception):
    """A send that did not end in "taken"."""

    again: ClassVar[bool] = False  # try the same request later?
    taken: ClassVar[bool | None] = False  # did the provider take the message? None: nobody knows
    page: ClassVar[bool] = False  # does an operator have to act?
    final_reason: ClassVar[Reason] = Reason.GENERAL  # told to the agent when tries or time run out
    # What the provider may be left for, where a channel has another one: a reason of `config.routing`, or "route".
    switch: str = ""

    def __init__(
        self,
        code: str = "",
        *,
        reason: Reason | None = None,
        retry_after: float | None = None,
        whole_account: bool = False,
    ) -> None:
        """`code` as the provider names it; `retry_after` in seconds from now."""
        super().__init__(code)
        self.code = code
        self.reason = reason or self.final_reason
        self.retry_after = retry_after
        self.whole_account = whole_account  # Retry-After speaks for the account, not the message

    @property
    def outcome(self) -> str:
        """The word for logs and metrics: "unreachable", "throttled", …"""
        name = type(self).__name__
        return "".join(("_" + c.lower()) if c.isupper() else c for c in name).lstrip("_")


class Unreachable(SendError):
    """DNS, connect, TLS or pool timeout: the provider certainly did not accept it."""

    again = True
    switch = "unreachable"


class Throttled(SendError):
    """429 or the provider's own throttle code."""

    again = True
    switch = "throttled"
    final_reason = Reason.RATE_LIMIT


class Deferred(SendError):
    """The provider said "not now" for another reason than a rate: SMTP's 4xx."""

    again = True


class OutcomeUnknown(SendError):
    """Timeout, reset or 5xx after the body was written."""

    taken = None


class Refused(SendError):
    """The provider will not take this message, now or later."""


class RouteRefused(Refused):
    """For a reason that is the provider's own, such as a sender that is not registered there or a country that is not
    enabled: where the channel has another provider, that one may take it.
    """

    switch = "route"

    @property
    def outcome(self) -> str:
        return "refused"


class AccountFault(SendError):
    """Credentials, credit or a suspended account: a fault of the channel, not of the message."""

    again = True
    page = True
    switch = "account"


class Unreadable(SendError):
    """2xx that we cannot read: it was probably sent, so it is not sent again."""

    taken = True
    page = True


class Undecodable(Unreadable):
    """2xx whose body cannot be unpacked, broke off or has no end. The status alone says that it was taken."""

    @property
    def outcome(self) -> str:
        return "unreadable"


class Gone(SendError):
    """A subscriber said for good that it wants no more events: HTTP 410."""

    page = True


class BadCallback(Exception):
    """A callback that is not what its provider sends. `kind` is a fixed word for the log."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class BadSignature(BadCallback):
    """Missing or wrong; `kind` says which sort of wrong, never a value."""


class UnreadableEvent(BadCallback):
    """Signed by the provider, and still not readable."""
