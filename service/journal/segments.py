"""The journal's folder: segments of framed records, oldest first, every append fsynced.

    000000000001.journal   record record record …          record = MARK, length, CRC-32, body
    000000000002.journal   …                               body   = one line of JSON, then the payload as it is
    000000000001.1432.bad  bytes that were a record once, set aside for a person
    lock                   held by the one process that uses the folder

All of this blocks, and is called from one thread. It holds what consumers wrote: files are 0600.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from dcbridge.ledger import NewTask
from dcbridge.settings.problems import ConfigurationError, Problem

# A body is UTF-8, where D1 is never followed by a letter: no text that somebody sends holds a MARK.
MARK = b"\xd1J1\n"
_HEAD = struct.Struct("<4sII")
SEGMENT = 4 << 20  # bytes; the drain holds one segment in memory, and frees one at a time


class JournalFull(OSError):
    """No more is taken until Redis has taken some of it."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "the journal is full")


@dataclass(slots=True)
class Segment:
    """One file; `size` and `records` count what was fsynced."""

    path: Path
    size: int = 0
    records: int = 0


@dataclass(slots=True)
class Damage:
    """What was found wrong: bytes of an append that never ended, and bytes set aside."""

    cut: int = 0
    aside: int = 0


def encode(task: NewTask) -> bytes:
    """One record."""
    head = orjson.dumps([task.id, task.job, task.lane, task.trace_id, task.channel_id])
    body = head + b"\n" + task.payload
    return _HEAD.pack(MARK, len(body), zlib.crc32(body)) + body


def scan(data: bytes) -> tuple[list[NewTask], list[tuple[int, int]]]:
    """The records of a segment in order, and where bytes lie that are none: (begin, end) each."""
    tasks: list[NewTask] = []
    broken: list[tuple[int, int]] = []
    at = 0
    while at < len(data):
        found = _record(data, at)
        if found is None:
            begin = at
            while found is None and at != -1:
                at = data.find(MARK, at + 1)
                found = _record(data, at) if at != -1 else None
            broken.append((begin, at if at != -1 else len(data)))
            if found is None:
                break
        task, at = found
        tasks.append(task)
    return tasks, broken


def _record(data: bytes, at: int) -> tuple[NewTask, int] | None:
    """The record that begins here and where it ends; None where there is none."""
    if len(data) - at < _HEAD.size:
        return None
    mark, length, crc = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + length]
    if mark != MARK or len(body) != length or zlib.crc32(body) != crc:
        return None
    head, _, payload = body.partition(b"\n")
    try:
        task_id, job, lane, trace, channel = orjson.loads(head)
    except ValueError:
        return None
    return NewTask(task_id, job, lane, payload, trace, channel), at + _HEAD.size + length


def _unfinished(tail: bytes) -> bool:
    """What an append leaves that was cut off by a crash: too short for what it announces, or never filled in."""
    if len(tail) < _HEAD.size or not tail.strip(b"\0"):
        return True
    mark, length, _crc = _HEAD.unpack_from(tail)
    return bool(mark == MARK and len(tail) < _HEAD.size + length)


def probe(folder: Path) -> None:
    """Make the folder, write to it and fsync. Raises ConfigurationError when that cannot be done."""
    path = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_whole(path, bytes(4096))
        path.unlink()
        fsync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise _refused(f"{folder} cannot be written: {os.strerror(error.errno or 0)}") from None


class JournalFiles:
    """The folder, ours alone from `open` to `close`."""

    def __init__(self, folder: Path, limit: int, segment: int = SEGMENT) -> None:
        self.folder, self.limit = folder, limit
        self._segment = min(segment, limit // 4)
        self.segments: list[Segment] = []
        self.damage = Damage()
        self._lock = self._active = -1  # file descriptors
        self._next = 1

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def records(self) -> int:
        return sum(segment.records for segment in self.segments)

    def open(self) -> None:
        """Take the folder and look at all that is in it. Raises ConfigurationError when that cannot be done."""
        probe(self.folder)
        self._take_lock()
        try:
            for left in self.folder.glob("*.mended"):  # made, and not yet put in its place
                left.unlink()
            paths = sorted(path for path in self.folder.glob("*.journal") if path.stem.isdigit())
            for path in paths:
                self._next = int(path.stem) + 1
                segment = Segment(path)
                self.segments.append(segment)
                self._load(segment, newest=path is paths[-1])
                if not segment.records:
                    self.segments.remove(segment)
                    path.unlink()
            fsync_folder(self.folder)
        except OSError as error:
            self.close()
            raise _refused(f"{self.folder} cannot be read: {os.strerror(error.errno or 0)}") from None

    def close(self) -> None:
        for descriptor in (self._active, self._lock):
            if descriptor != -1:
                os.close(descriptor)
        self._active = self._lock = -1

    def append(self, tasks: Sequence[NewTask]) -> None:
        """All of them on the disk when this returns. Raises OSError, and then none counts as written."""
        data = b"".join(map(encode, tasks))
        if self.size + len(data) > self.limit:
            raise JournalFull
        if self._active == -1 or self.segments[-1].size >= self._segment:
            self._begin()
        segment = self.segments[-1]
        try:
            _write(self._active, data)
            os.fsync(self._active)
        except OSError:
            # After a failed fsync nobody knows what the disk holds: this file is not written again.
            with suppress(OSError):
                os.ftruncate(self._active, segment.size)
            self._seal()
            if not segment.records:
                self.segments.remove(segment)
                with suppress(OSError):
                    segment.path.unlink()
            raise
        segment.size += len(data)
        segment.records += len(tasks)

    def oldest(self) -> list[NewTask]:
        """The records of the first segment, which is written no more. There has to be one."""
        segment = self.segments[0]
        if len(self.segments) == 1:
            self._seal()
        return self._load(segment, newest=False)

    def remove_oldest(self) -> None:
        """Redis holds all of it. Raises OSError, and then it is still the oldest: asking again takes no other."""
        self.segments[0].path.unlink(missing_ok=True)
        fsync_folder(self.folder)
        del self.segments[0]

    # ------------------------------------------------------------ inside

    def _take_lock(self) -> None:
        self._lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._lock, 20, 0).decode(errors="replace").strip() or "unknown"
            self.close()
            raise _refused(
                f"{self.folder} is in use by another process ({owner}); give each service process a folder of its own"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _begin(self) -> None:
        self._seal()
        path = self.folder / f"{self._next:012d}.journal"
        self._active = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._next += 1
        try:
            fsync_folder(self.folder)
        except OSError:
            self._seal()
            path.unlink()
            raise
        self.segments.append(Segment(path))

    def _seal(self) -> None:
        if self._active != -1:
            os.close(self._active)
            self._active = -1

    def _load(self, segment: Segment, *, newest: bool) -> list[NewTask]:
        """Read a segment. What is no record is cut off (an append that never ended) or set aside, and never skipped."""
        data = segment.path.read_bytes()
        tasks, broken = scan(data)
        if broken:
            begin, end = broken[-1]
            if newest and end == len(data) and _unfinished(data[begin:]):
                self.damage.cut += end - begin
                del broken[-1]
            else:
                begin = len(data)
            for first, last in broken:
                _write_whole(self._free_name(f"{segment.path.stem}.{first}"), data[first:last])
                self.damage.aside += last - first
            ends = [0, *(last for _, last in broken)]
            begins = [*(first for first, _ in broken), begin]
            data = b"".join(data[a:b] for a, b in zip(ends, begins, strict=True))
            mended = segment.path.with_suffix(".mended")
            _write_whole(mended, data)
            mended.replace(segment.path)
            fsync_folder(self.folder)
        segment.size, segment.records = len(data), len(tasks)
        return tasks

    def _free_name(self, stem: str) -> Path:
        names = (self.folder / f"{stem}{f'-{n}' if n else ''}.bad" for n in itertools.count())
        return next(name for name in names if not name.exists())


def _refused(what: str) -> ConfigurationError:
    return ConfigurationError([Problem("DCBRIDGE_JOURNAL", 0, what)])


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _write_whole(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
