"""What consumers write to an email channel: which mailboxes are its own, and what of their mail an agent gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from dcbridge.providers.mailboxes import own_mailbox
from dcbridge.settings.types import Model

Mailbox = Annotated[str, AfterValidator(own_mailbox)]


class Inbound(Model):
    """Mail to an email channel: `dcbridge mail-in` takes it for these mailboxes."""

    addresses: tuple[Mailbox, ...] = Field(
        min_length=1, description="Mailboxes whose mail is for this channel; what stands behind a + is ignored."
    )
    automatic: Literal["hide", "mark"] = Field(
        "hide", description="Answers of machines and mail of lists: hidden from agents and counted, or marked."
    )
    authserv_id: str = Field(
        "",
        pattern=r"^[!-:<-~]*$",
        description="Name of the mail system whose Authentication-Results field is believed; without it, none is.",
    )
    unverified: Literal["mark", "ignore"] = Field(
        "mark", description="Mail that fails DMARC by that field: marked for the agent, or posted like any other."
    )
    per_sender: int = Field(30, ge=1, description="Mails a minute of one sender; more are answered 451.")
    per_minute: int = Field(300, ge=1, description="Mails a minute to this channel; more are answered 451.")


class _HasInbound(Protocol):
    @property
    def inbound(self) -> Inbound | None: ...


def mailboxes(channels: Mapping[str, _HasInbound]) -> dict[str, str]:
    """Mailbox in small letters -> channel id."""
    return {
        address.lower(): channel_id
        for channel_id, channel in channels.items()
        if channel.inbound is not None
        for address in channel.inbound.addresses
    }


def domains(channels: Mapping[str, _HasInbound]) -> frozenset[str]:
    """Of all mailboxes whose mail is taken, in small letters."""
    return frozenset(mailbox.rpartition("@")[2] for mailbox in mailboxes(channels))


def base_of(mailbox: str) -> str:
    """A mailbox in small letters, without what stands behind a + in it."""
    local, _, domain = mailbox.strip().lower().rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"
