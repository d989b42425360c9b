"""The journal's folder: what a crash, a bad disk and a full one leave, and who may use it."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.ledger import NewTask
from dcbridge.settings.problems import ConfigurationError
from service.journal.segments import MARK, JournalFiles, JournalFull, encode, probe, scan

LIMIT = 1 << 20


def task(number: int, payload: bytes = b'{"text": "hello"}') -> NewTask:
    return NewTask(f"b-{number:024d}", "callback", "a lane", payload, "trace", "0123456789")


@contextmanager
def opened(folder: Path, limit: int = LIMIT, segment: int = LIMIT) -> Iterator[JournalFiles]:
    files = JournalFiles(folder, limit, segment)
    files.open()
    try:
        yield files
    finally:
        files.close()


def drained(files: JournalFiles) -> list[NewTask]:
    found: list[NewTask] = []
    while files.segments:
        found += files.oldest()
        files.remove_oldest()
    return found


def written(folder: Path, count: int) -> tuple[list[NewTask], Path]:
    """A folder that a killed process left, and its one segment."""
    tasks = [task(number) for number in range(count)]
    with opened(folder) as files:
        files.append(tasks)
    [path] = folder.glob("*.journal")
    return tasks, path


def test_what_was_appended_comes_back_in_order_and_then_is_gone(tmp_path: Path) -> None:
    tasks = [task(number, bytes(range(256)) * number) for number in range(40)]
    with opened(tmp_path, segment=4096) as files:
        for one in tasks[:20]:
            files.append([one])
        files.append(tasks[20:])
        assert len(files.segments) > 3
    with opened(tmp_path, segment=4096) as files:  # the next process
        assert files.records == 40
        assert drained(files) == tasks
        assert (files.records, files.size) == (0, 0)
        files.append(tasks[:1])
        assert drained(files) == tasks[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_is_appended_during_the_drain_is_behind_it(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        files.append([task(1)])
        assert files.oldest() == [task(1)]
        files.append([task(2)])
        assert files.oldest() == [task(1)]
        files.remove_oldest()
        assert drained(files) == [task(2)]


def test_a_torn_tail_is_cut_wherever_the_crash_came(tmp_path: Path) -> None:
    tasks, path = written(tmp_path, 3)
    whole = path.read_bytes()
    before = len(whole) - len(encode(tasks[2]))
    for length in range(before, len(whole) + 1):
        for tail in {whole[:length], whole[:length] + bytes(100)}:  # a file may grow before its bytes are there
            path.write_bytes(tail)
            with opened(tmp_path) as files:
                kept = 3 if length == len(whole) else 2
                assert files.records == kept
                assert files.damage.cut + files.damage.aside == len(tail) - (len(whole) if kept == 3 else before)
                assert not files.damage.aside or len(tail) > length
                assert files.oldest() == tasks[:kept]
            with opened(tmp_path) as files:
                assert (files.damage.cut, files.damage.aside, files.records) == (0, 0, kept)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_bad_record_in_the_middle_is_set_aside_and_the_others_stay(tmp_path: Path) -> None:
    tasks, path = written(tmp_path, 5)
    whole = path.read_bytes()
    size = len(encode(tasks[0]))
    for at in range(size, 3 * size, 7):  # in the second and the third record
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        bad = at // size
        with opened(tmp_path) as files:
            assert files.oldest() == [one for number, one in enumerate(tasks) if number != bad]
            assert (files.damage.cut, files.damage.aside) == (0, size)
        [aside] = tmp_path.glob("*.bad")
        assert aside.read_bytes()[at - bad * size] == whole[at] ^ 0xFF
        assert aside.read_bytes()[: at - bad * size] == whole[bad * size : at]
        aside.unlink()


def test_damage_that_is_found_at_the_drain_is_set_aside_too_and_never_written_over(tmp_path: Path) -> None:
    tasks, path = written(tmp_path, 3)
    with opened(tmp_path) as files:
        for _ in range(2):
            data = bytearray(path.read_bytes())
            data[len(encode(tasks[0])) - 1] ^= 1
            path.write_bytes(data)
            files.oldest()
        assert drained(files) == tasks[2:]
    assert len(list(tmp_path.glob("*.bad"))) == 2


@given(st.text())
def test_no_text_holds_the_mark_of_a_record(text: str) -> None:
    assert MARK not in text.encode("utf-8", "surrogatepass")


@given(st.binary())
def test_nothing_is_read_out_of_noise_and_none_of_it_is_forgotten(noise: bytes) -> None:
    data = encode(task(1)) + noise + encode(task(2))
    tasks, broken = scan(data)
    assert tasks == [task(1), task(2)]
    assert b"".join(data[begin:end] for begin, end in broken) == noise


def test_a_full_journal_says_so_and_takes_again_what_fits_after_the_drain(tmp_path: Path) -> None:
    big = task(1, bytes(30_000))
    with opened(tmp_path, limit=1 << 16) as files:
        files.append([big])
        files.append([big])
        with pytest.raises(JournalFull):
            files.append([big])
        files.append([task(2)])  # a small one still fits
        assert (files.oldest(), files.records) == ([big], 3)
        files.remove_oldest()
        files.append([big])
        assert drained(files) == [big, task(2), big]


def test_a_disk_that_fails_fails_the_append_and_nothing_that_was_written_before(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = task(2, bytes(8_000))
    with opened(tmp_path) as files:
        files.append([task(1)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            for _ in range(3):
                with pytest.raises(OSError, match="File too large"):
                    files.append([big])
            files.append([task(3)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        files.append([big])
        assert files.records == 3
        assert drained(files) == [task(1), task(3), big]
        assert files.damage.aside == 0  # what did not fit was taken back


def test_a_removal_that_fails_half_way_takes_its_own_segment_and_no_other(tmp_path: Path) -> None:
    with opened(tmp_path, segment=1) as files:
        files.append([task(1)])
        files.append([task(2)])
        assert files.oldest() == [task(1)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # the folder cannot be opened, so not fsynced either
        try:
            for _ in range(3):
                with pytest.raises(OSError, match="Too many open files"):
                    files.remove_oldest()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        files.remove_oldest()
        assert drained(files) == [task(2)]


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ConfigurationError) as refused:
        JournalFiles(tmp_path, LIMIT).open()
    assert str(refused.value).startswith(f"DCBRIDGE_JOURNAL: {tmp_path} is in use by another process (")
    with opened(tmp_path):
        probe(tmp_path)  # `dcbridge check` may look meanwhile


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for look in (probe, lambda folder: JournalFiles(folder, LIMIT).open()):
        with pytest.raises(ConfigurationError, match="cannot be written: Not a directory"):
            look(tmp_path / "file" / "journal")
        look(tmp_path / "new" / "journal")
    assert (tmp_path / "new" / "journal").stat().st_mode & 0o077 == 0
