"""Mailboxes on IMAP servers: which process looks into one, what it says of it, and mails that could not be marked."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import cast

from dcbridge.ledger.locks import lock, unlock
from dcbridge.ledger.script import Script, ms
from dcbridge.settings.process import DAY

KEEP = 30 * DAY  # seconds
MOST_STORED = 10_000  # of one mailbox


@dataclass(frozen=True, slots=True)
class MailboxNote:
    """What the process that looks into a mailbox has said last. Times in seconds, `age` ago; None where unknown.

    `waiting`: mails that were found and are not stored yet. `left`: those that are not taken now, such as large ones.
    """

    contact_age: float | None
    noted_age: float
    waiting: int
    left: int
    error: str


class Mailboxes:
    """The mailboxes of one ledger. A name is "<channel>/<mailbox>"."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def hold(self, name: str, owner: str, ttl: float) -> bool:
        """Whether this process may look into it for `ttl` seconds from now."""
        return await lock(self._script, f"dcb:mailbox-lease:{name}", owner, ttl)

    async def release(self, name: str, owner: str) -> None:
        """Another process may."""
        await unlock(self._script, f"dcb:mailbox-lease:{name}", owner)

    async def note(
        self, name: str, owner: str, *, contact: float | None, waiting: int = 0, left: int = 0, error: str = ""
    ) -> None:
        """`contact`: seconds since the server has answered; None where it does not."""
        since = "" if contact is None else ms(contact)
        await self._script.call("mailbox_note", name, owner, since, waiting, left, error, ms(KEEP))

    async def stored(self, name: str, validity: int, uid: int) -> None:
        """This mail is stored, and its server does not let it be marked."""
        await self._script.record("mailbox_stored", name, f"{validity}/{uid}", MOST_STORED, ms(KEEP))

    async def all_stored(self, name: str, validity: int) -> set[int]:
        """UIDs of such mails."""
        key, redis = f"dcb:mailbox-stored:{name}", self._script.redis
        found = await self._script.outlast(lambda: cast(Awaitable[list[bytes]], redis.zrange(key, 0, -1)))
        pairs = (one.decode("ascii", "replace").partition("/") for one in found)
        return {int(uid) for of, _, uid in pairs if of == str(validity) and uid.isdecimal()}

    async def notes(self, names: Iterable[str], now: float) -> dict[str, MailboxNote]:
        """What was said of these; `now`: seconds since 1970."""
        names = list(names)
        found = await self._script.hashes([f"dcb:mailbox:{name}" for name in names])
        return {name: _note(one, now) for name, one in zip(names, found, strict=True) if one}


def _note(found: dict[bytes, bytes], now: float) -> MailboxNote:
    def number(field: bytes) -> int | None:
        value = found.get(field, b"")
        return int(value) if value.isdigit() else None

    contact, noted = number(b"contact"), number(b"noted")
    return MailboxNote(
        contact_age=None if contact is None else max(0.0, now - contact / 1000),
        noted_age=max(0.0, now - (noted or 0) / 1000),
        waiting=number(b"waiting") or 0,
        left=number(b"left") or 0,
        error=found.get(b"error", b"").decode("ascii", "replace")[:100],
    )
