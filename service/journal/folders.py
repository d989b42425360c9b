"""One folder for each process of a service: the first has the journal's own, each other one a folder inside of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import structlog

from service.journal.segments import JournalFiles, fsync_folder, probe

log = structlog.get_logger()

_NAME = "process-"


def folder_of(journal: Path, number: int) -> Path:
    return journal / f"{_NAME}{number}" if number else journal


def prepare(journal: Path, processes: int) -> None:
    """Make the folders, and put what processes have left that are not started any more behind what the first one has.

    Raises ConfigurationError where a folder cannot be written, or one that is left is in use.
    """
    folders = [folder_of(journal, number) for number in range(processes)]
    for folder in folders[1:]:
        probe(folder)
    left = {path for path in journal.glob(f"{_NAME}*") if path.name.removeprefix(_NAME).isdigit()}
    for folder in sorted(left.difference(folders)):
        _take_over(folder, journal)


def _take_over(folder: Path, journal: Path) -> None:
    files = JournalFiles(folder, 1 << 16)
    files.open()
    try:
        last = max((int(path.stem) for path in journal.glob("*.journal") if path.stem.isdigit()), default=0)
        for number, segment in enumerate(files.segments, last + 1):
            segment.path.rename(journal / f"{number:012d}.journal")
        fsync_folder(journal)
    finally:
        files.close()
    if files.damage.aside:
        log.error("journal_damaged", bytes_set_aside=files.damage.aside, see=f"the .bad files of {folder.name}")
    if files.segments:
        log.info("journal_taken_over", folder=folder.name, records=files.records)
    (folder / "lock").unlink(missing_ok=True)
    with suppress(OSError):  # bytes that were set aside stay for a person
        folder.rmdir()
