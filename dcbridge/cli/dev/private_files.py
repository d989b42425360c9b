"""Files and folders that nobody else on this computer may read, whatever the umask is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

UMASK = 0o077  # of every process that writes into a data folder


class NotOurFolder(Exception):
    """Another user could change what is put into the folder."""


def make_private_folder(folder: Path, holds: str) -> None:
    """Make it, or take others' rights to it away where it is empty or `holds` a file of this name. Raises NotOurFolder.

    One that has something else in it, such as the home of a user, keeps its rights: what is put there has its own.
    """
    before = os.umask(UMASK)  # for the folders above it too
    try:
        folder.mkdir(parents=True, exist_ok=True)
    finally:
        os.umask(before)
    found = folder.stat()
    if os.geteuid() not in (0, found.st_uid):
        raise NotOurFolder(f"{folder} belongs to another user; choose another folder")
    if (folder / holds).exists() or not any(folder.iterdir()):
        folder.chmod(0o700)
    elif found.st_mode & 0o022:
        raise NotOurFolder(f"others can write to {folder}; choose another folder")


def write_private(path: Path, text: str) -> None:
    """Write a file anew. One that was there, with more rights or as a link, is replaced."""
    if path.is_symlink() or (path.exists() and path.stat().st_nlink > 1):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)  # before anything is in it
        file.truncate()
        file.write(text)


def tighten(path: Path) -> None:
    """Take others' rights away from a file, or from a folder with everything in it. Links are left alone."""
    if path.is_symlink() or not path.exists():
        return
    if path.is_dir():
        path.chmod(0o700)
        for inner in path.iterdir():
            tighten(inner)
    elif stat.S_ISREG(path.stat().st_mode):
        path.chmod(0o600)
