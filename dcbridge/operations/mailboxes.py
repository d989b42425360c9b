"""IMAP mailboxes in `dcbridge status`: what the process that looks into each has said of it."""

from __future__ import annotations

from dataclasses import dataclass

from dcbridge.ledger.mailboxes import MailboxNote
from dcbridge.operations.findings import Finding, found
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_age

LATE = 120.0  # seconds after the next look that a mailbox may be silent


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """One mailbox of bridge.yaml, by its channel and name. `note`: None where nobody has looked into it yet."""

    channel_id: str
    name: str
    poll_every: float
    note: MailboxNote | None

    @property
    def problem(self) -> str:
        """In words; "" where all is well."""
        what = f"mailbox {self.name} of {self.channel_id}"
        if self.note is None:
            return f"{what}: nobody has looked into it; is dcbridge mail-in running?"
        if self.note.error:
            return f"{what}: no mail is fetched ({self.note.error})"
        if self.note.contact_age is None or self.note.contact_age > self.poll_every + LATE:
            age = format_age(self.note.noted_age if self.note.contact_age is None else self.note.contact_age)
            return f"{what}: looked into {age} ago; is dcbridge mail-in running?"
        return f"{what}: {self.note.left} mails are left in it; see mail_left in the log" if self.note.left else ""

    @property
    def finding(self) -> Finding:
        return found("mailbox", self.problem, "dcbridge mail-in", f"{self.channel_id}/{self.name}")

    @property
    def cells(self) -> tuple[str, ...]:
        """Of a table's row."""
        if self.note is None:
            return self.channel_id, self.name, "never", "", "", "not looked into"
        seen = "never" if self.note.contact_age is None else f"{format_age(self.note.contact_age)} ago"
        note = self.note
        return self.channel_id, self.name, seen, f"{note.waiting:,}", f"{note.left:,}", note.error or "ok"


async def mailboxes(session: Session, now: float) -> list[MailboxStatus]:
    """Every mailbox of bridge.yaml."""
    places = [
        (channel_id, name, told.poll_every)
        for channel_id, channel in session.configuration.channels.items()
        if channel.inbound is not None
        for name, told in channel.inbound.imap.items()
    ]
    notes = await session.ledger.mailboxes.notes([f"{channel}/{name}" for channel, name, _ in places], now)
    return [MailboxStatus(channel, name, every, notes.get(f"{channel}/{name}")) for channel, name, every in places]
