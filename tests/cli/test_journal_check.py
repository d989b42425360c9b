"""`dcbridge check` says whether the journal could be used, and makes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dcbridge.operations.doctor.journal import NONE, journal_problems, journal_warnings
from dcbridge.settings.process import Settings


def journal(folder: Path | str, limit: int = 1 << 20) -> Settings:
    return Settings(journal=str(folder), journal_limit=limit)


@pytest.mark.parametrize("folder", ["there", "not-there", "not/there/at/all"])
def test_nothing_is_made(tmp_path: Path, folder: str) -> None:
    (tmp_path / "there").mkdir()
    before = [(path, path.stat().st_mtime_ns) for path in (tmp_path, *tmp_path.rglob("*"))]
    assert journal_problems(journal(tmp_path / folder)) == []
    assert [(path, path.stat().st_mtime_ns) for path in (tmp_path, *tmp_path.rglob("*"))] == before


def test_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for folder, named in (("file", "file"), ("file/journal", "file"), ("file/a/b", "file"), ("nowhere/a", "nowhere")):
        where = "" if named == folder else f" ({tmp_path / named})"
        said = f"DCBRIDGE_JOURNAL: {tmp_path / folder} cannot be written: Not a directory{where}"
        assert journal_problems(journal(tmp_path / folder)) == [said]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_elses(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert journal_problems(journal(tmp_path)) == [f"DCBRIDGE_JOURNAL: {tmp_path} cannot be written: Permission denied"]
    assert journal_problems(journal(tmp_path / "a")) == [
        f"DCBRIDGE_JOURNAL: {tmp_path / 'a'} cannot be written: Permission denied ({tmp_path})"
    ]


def test_no_journal_and_one_without_room_are_warnings(tmp_path: Path) -> None:
    assert journal_problems(Settings()) == []
    assert journal_warnings(Settings()) == [NONE]
    assert journal_warnings(journal(tmp_path, limit=1 << 16)) == []
    [told] = journal_warnings(journal(tmp_path / "a" / "b", limit=1 << 60))
    assert told.startswith("DCBRIDGE_JOURNAL: ")
    assert told.endswith(f" MiB are free there, but the journal may grow to {1 << 40} MiB")
