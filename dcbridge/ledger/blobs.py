"""Blobs: files that are kept for a while, in Redis as long as they are small and few, else in a folder or a bucket.

A blob belongs to a task and is deleted with it, or to nobody and is deleted when its time is over. The folder is the
same for all processes, and so is a bucket; Redis knows every file in it, as one "of the folder" in either case.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from dcbridge.ledger.script import Script, ms, word
from dcbridge.store.blob_files import BlobFiles

SMALL = 1 << 20  # bytes of a blob that is kept in Redis
FEW = 100  # files that one sweep deletes
_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


class NoRoom(Exception):
    """It is too large for Redis and there is no folder, or all that may be kept is taken, or one with its id is just
    being deleted.
    """


@dataclass(frozen=True, slots=True)
class BlobRoom:
    """How much may be kept: bytes in Redis, and the folder ("" is none) with its bytes."""

    memory: int = 64 << 20
    folder: str = ""
    folder_limit: int = 10 << 30


class BlobStore(Protocol):
    """Where large files are. Each method raises OSError while that is away."""

    async def write(self, name: str, data: bytes) -> None:
        """Kept, whole, when this returns. The same name stands for the same bytes."""

    async def read(self, name: str) -> bytes | None:
        """None where there is no such file."""

    async def open(self, name: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Its size, and its bytes a few at a time; None where there is no such file."""

    async def delete(self, names: Sequence[str]) -> None:
        """Also those that are not there."""


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


class Blobs:
    """The blobs of one ledger."""

    def __init__(self, script: Script, room: BlobRoom, store: BlobStore | None = None) -> None:
        """`store` in place of the folder."""
        self._script, self._room = script, room
        self._files = store or (BlobFiles(room.folder) if room.folder else None)

    async def put(self, data: bytes, *, keep: float, task: str = "", blob_id: str = "") -> str:
        """Keep bytes for `keep` seconds, or until the task of this id is done; the blob's id.

        A task that becomes a dead letter keeps them as long as that is kept. The same `blob_id` (letters, digits and
        "-"; random where none is given) stands for the same bytes: a second call writes nothing, and they are kept for
        `keep` seconds from then. What is put for a task is put before the task is. Raises NoRoom; OSError where the
        folder cannot be written.
        """
        blob_id = blob_id or secrets.token_hex(16)
        if not _ID.fullmatch(blob_id):
            raise ValueError("should be letters, digits and hyphens")
        facts = (blob_id, task, len(data), ms(keep))
        if len(data) <= SMALL:
            answer = word(await self._script.record("blob_put", *facts, self._room.memory, data))
            if answer == "new" or (answer == "again" and await self._in_redis(blob_id)):
                return blob_id
        if self._files is None:
            raise NoRoom
        answer = word(await self._script.record("blob_reserve", *facts, self._room.folder_limit))
        if answer in ("full", "ending"):
            raise NoRoom
        await self._files.write(blob_id, data)
        return blob_id

    async def get(self, blob_id: str) -> bytes | None:
        """Its bytes; None where it is not kept any more. Raises OSError while the folder cannot be read."""
        if not _ID.fullmatch(blob_id):
            return None
        redis = self._script.redis
        found = await self._script.outlast(lambda: cast(Awaitable[bytes | None], redis.get(f"dcb:blob:{blob_id}")))
        if found is None and self._files is not None:
            return await self._files.read(blob_id)
        return found

    async def pieces(self, blob_id: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Its size, and its bytes a few at a time; None where it is not kept any more. Raises as `get`."""
        if not _ID.fullmatch(blob_id):
            return None
        redis = self._script.redis
        found = await self._script.outlast(lambda: cast(Awaitable[bytes | None], redis.get(f"dcb:blob:{blob_id}")))
        if found is not None:
            return len(found), _one(found)
        return await self._files.open(blob_id) if self._files is not None else None

    async def delete(self, *blob_ids: str) -> None:
        """Before their time is over. A file goes with the next sweep."""
        if blob_ids:
            await self._script.record("blob_end", *blob_ids)

    async def sweep(self) -> int:
        """Delete the files whose time is over; how many. Those in Redis go with the sweep of the ledger."""
        if self._files is None:
            return 0
        ended = [one.decode() for one in await self._script.call("blobs_ended", FEW)]
        if ended:
            await self._files.delete(ended)
            await self._script.call("blob_forget", *ended)
        return len(ended)

    async def _in_redis(self, blob_id: str) -> bool:
        redis = self._script.redis
        return bool(await self._script.outlast(lambda: redis.exists(f"dcb:blob:{blob_id}")))
