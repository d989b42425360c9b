"""Could the journal's folder be used? It is looked at, and nothing is made: the service has another user, mostly."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dcbridge.settings.process import Settings

NONE = (
    "DCBRIDGE_JOURNAL: is not set: while Redis is away, callbacks are answered 503; most SMS providers do not repeat"
    " them, so consumer messages are lost. Set it to a folder on a disk of the service's own"
)


def journal_warnings(settings: Settings) -> list[str]:
    """What is allowed and still deserves a look."""
    if not settings.journal:
        return [NONE]
    free = _free_bytes(Path(settings.journal))
    if free is not None and 0 < free < settings.journal_limit:
        return [
            f"DCBRIDGE_JOURNAL: {free >> 20} MiB are free there, but the journal may grow to"
            f" {settings.journal_limit >> 20} MiB"
        ]
    return []


def journal_problems(settings: Settings) -> list[str]:
    """Why the folder could not be made or written; nothing where it could, or where there is no journal."""
    if not settings.journal:
        return []
    folder = Path(settings.journal)
    there = _nearest(folder)
    if not there.is_dir():
        why = errno.ENOTDIR
    elif not os.access(there, os.W_OK | os.X_OK):
        why = errno.EACCES
    elif _free_bytes(there) == 0:
        why = errno.ENOSPC
    else:
        return []
    where = "" if there == folder else f" ({there})"
    return [f"DCBRIDGE_JOURNAL: {folder} cannot be written: {os.strerror(why)}{where}"]


def _nearest(folder: Path) -> Path:
    """The folder, or what would be its nearest parent that is there."""
    try:
        return next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    except OSError:  # a parent that cannot be looked into
        return folder


def _free_bytes(folder: Path) -> int | None:
    """What a process without special rights may still write there; None where nobody can tell."""
    try:
        found = os.statvfs(_nearest(folder))
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
