"""What consumers write to an email channel: which mailboxes are its own, and what of their mail an agent gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, Field

from dcbridge.config.imap import ImapMailbox
from dcbridge.providers.mailboxes import own_mailbox
from dcbridge.settings.types import Model, Name

Mailbox = Annotated[str, AfterValidator(own_mailbox)]


class Inbound(Model):
    """Mail to an email channel: `dcbridge mail-in` takes it for these mailboxes, or fetches it from them."""

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
    unverified: Literal["mark", "ignore", "hold", "refuse"] = Field(
        "mark",
        description="Mail that fails DMARC by that field: marked for the agent; posted like any other; held as a dead"
        " letter until somebody replays or drops it; or counted and not posted. One that carries a reference of ours is"
        " marked where it would be held or refused.",
    )
    hold_over: int = Field(20, ge=1, description="Mails of one consumer in ten minutes; more are held as dead letters.")
    to: Literal["text", "email", "openmedia", "securemail"] = Field(
        "text",
        description="As what a mail reaches Genesys: a message of type Text, which is documented; or of type Email,"
        " like the documented webhook of an agent's email, and as Text where that is refused; or a work item of"
        " Openmedia, for mail that agents work on and do not answer, and a Text where that is refused; or an email of"
        " Secure Email, as `genesys.secure_email` writes it, and a Text where that is refused.",
    )
    service: str | None = Field(
        None, pattern=r"^[^\s/?#]{1,100}$", description="Name of the open media service, for `to: openmedia`."
    )
    original: bool = Field(
        False,
        description="Whether the agent also gets the whole text as a file, original.txt, where a quote or a signature"
        " was left out of it.",
    )
    reply_reference: Literal["off", "plus", "local_part"] = Field(
        "off",
        description="Sealed reference to the email in Reply-To and the envelope sender, by which an answer from another"
        " mailbox and a bounce find it: none; behind a + in the mailbox; or in place of what stands before the @, where"
        " your mail system brings all mail of the domain here.",
    )
    per_sender: int = Field(
        30, ge=1, description="Mails a minute of one sender; more are answered 451, or wait in their mailbox."
    )
    per_minute: int = Field(
        300, ge=1, description="Mails a minute to this channel; more are answered 451, or wait in their mailbox."
    )
    imap: dict[Name, ImapMailbox] = Field(
        {}, max_length=50, description="Mailboxes on IMAP servers whose mail is for this channel, by names of your own."
    )


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


def token_domains(channels: Mapping[str, _HasInbound]) -> dict[str, str]:
    """Domain in small letters -> channel whose references take the place of a mailbox there."""
    return {
        address.rpartition("@")[2].lower(): channel_id
        for channel_id, channel in channels.items()
        if channel.inbound is not None and channel.inbound.reply_reference == "local_part"
        for address in channel.inbound.addresses
    }


def base_of(mailbox: str) -> str:
    """A mailbox in small letters, without what stands behind a + in it."""
    local, _, domain = mailbox.strip().lower().rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"
