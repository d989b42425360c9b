"""A consumer's files that were uploaded to Digital Channels: each once for its message, and deleted there in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import orjson

from dcbridge.ledger.script import Script, ms

FEW = 20  # deletions at a time


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of one file: its id at Digital Channels; or why it was withheld, in one of our words."""

    media_id: str = ""
    url: str = ""  # genesys://nexus/…
    name: str = ""
    mimetype: str = ""
    size: int = 0
    withheld: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """A file that is to be deleted."""

    channel_id: str
    media_id: str

    @property
    def member(self) -> str:
        """As it is stored; an id has no space."""
        return f"{self.channel_id} {self.media_id}"


class Uploads:
    """The uploads of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def note(
        self, task: str, place: int, what: Uploaded, channel_id: str, *, keep: float, remember: float
    ) -> None:
        """What became of the file at this place of a message. `keep`: seconds until it is deleted; 0 is never."""
        words = orjson.dumps(asdict(what))
        await self._script.record("upload_note", task, place, words, channel_id, what.media_id, ms(keep), ms(remember))

    async def of(self, task: str) -> dict[int, Uploaded]:
        """What is known of a message's files, by their place."""
        stored = await self._script.hash(f"dcb:uploads-of:{task}")
        return {int(place): Uploaded(**orjson.loads(words)) for place, words in stored.items()}

    async def due(self) -> list[Due]:
        """Those whose time is over. They come again after ten minutes, unless `deleted` is called."""
        found = [member.decode().partition(" ") for member in await self._script.call("uploads_due", FEW)]
        return [Due(channel_id, media_id) for channel_id, _, media_id in found]

    async def refused(self, file: Due, give_up: float) -> bool:
        """Its deletion was refused; whether it has been for `give_up` seconds, and is forgotten."""
        return bool(await self._script.call("uploads_refused", ms(give_up), file.member))

    async def deleted(self, files: Iterable[Due]) -> None:
        if members := [file.member for file in files]:
            await self._script.record("uploads_deleted", *members)
