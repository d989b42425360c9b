"""Blobs in a folder: one file each, whole or not there at all. A folder that hangs holds up a thread alone."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PIECE = 1 << 16  # bytes


class BlobFiles:
    """The files of one folder, named by their ids."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def write(self, name: str, data: bytes) -> None:
        """On the disk when this returns. Raises OSError."""
        await asyncio.to_thread(self._write, name, data)

    async def read(self, name: str) -> bytes | None:
        """None where there is no such file. Raises OSError."""
        return await asyncio.to_thread(self._read, name)

    async def open(self, name: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Its size, and its bytes a few at a time; None where there is no such file. Raises OSError."""
        opened = await asyncio.to_thread(self._open, name)
        return (os.fstat(opened.fileno()).st_size, _pieces(opened)) if opened is not None else None

    async def delete(self, names: Sequence[str]) -> None:
        """Also what a process that died has written of them. Raises OSError."""
        await asyncio.to_thread(self._delete, names)

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        if path.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f"{name}.{secrets.token_hex(4)}.part"
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.rename(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _open(self, name: str) -> BinaryIO | None:
        try:
            return (self._folder / name).open("rb")
        except FileNotFoundError:
            return None

    def _delete(self, names: Sequence[str]) -> None:
        paths = [self._folder / name for name in names]
        with suppress(FileNotFoundError), os.scandir(self._folder) as found:  # once: it may have many files
            ended = frozenset(names)
            paths += [Path(one.path) for one in found if _part_of(one.name) in ended]
        for path in paths:
            with suppress(FileNotFoundError):
                path.unlink()


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
    finally:
        file.close()


def _part_of(file: str) -> str:
    """The name of what such a file is a part of, or ""."""
    name, _, rest = file.partition(".")
    return name if rest.endswith(".part") else ""
