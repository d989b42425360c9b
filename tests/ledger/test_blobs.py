"""Blobs: bounded in Redis and in the folder, deleted with their task, and never a file that nobody knows."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import NewTask
from dcbridge.ledger.blobs import SMALL, BlobRoom, NoRoom
from tests.ledger.ledger_bench import KEEP_DEAD, Bench

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def bench(redis: Redis, folder: Path) -> Bench:
    return Bench(redis, BlobRoom(memory=4096, folder=str(folder), folder_limit=4 * SMALL))


async def left(bench: Bench) -> tuple[list[str], dict[str, int]]:
    """The keys of blobs, and the bytes that are counted."""
    counted: Any = await bench.redis.hgetall("dcb:blob-bytes")
    keys = [key for key in await bench.keys("dcb:blob*") if key != "dcb:blob-bytes"]
    return keys, {place.decode(): int(size) for place, size in counted.items()}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_a_small_one_is_in_redis_and_gone_when_its_time_is_over(bench: Bench, folder: Path) -> None:
    blob = await bench.ledger.blobs.put(PICTURE, keep=60.0)
    assert await bench.ledger.blobs.get(blob) == PICTURE
    assert files(folder) == []
    assert (await left(bench))[1] == {"redis": len(PICTURE)}
    await bench.sweep()
    assert await bench.ledger.blobs.get(blob) == PICTURE  # its time is not over
    await bench.pass_time(61)
    await bench.sweep()
    assert await bench.ledger.blobs.get(blob) is None
    assert await left(bench) == ([], {"redis": 0})


async def test_a_large_one_is_a_file_of_ours_alone(bench: Bench, folder: Path) -> None:
    large = bytes(SMALL + 1)
    blob = await bench.ledger.blobs.put(large, keep=60.0)
    assert files(folder) == [blob]
    assert [stat.S_IMODE(os.stat(path).st_mode) for path in (folder, folder / blob)] == [0o700, 0o600]
    assert await bench.ledger.blobs.get(blob) == large
    await bench.pass_time(61)
    await bench.sweep()
    assert files(folder) == [blob]  # the ledger's own sweep does no I/O
    assert await bench.ledger.blobs.sweep() == 1
    assert (files(folder), await left(bench)) == ([], ([], {"folder": 0}))
    assert await bench.ledger.blobs.get(blob) is None


async def test_what_redis_has_no_room_for_goes_to_the_folder_until_that_is_full_too(bench: Bench, folder: Path) -> None:
    blobs = bench.ledger.blobs
    here = [await blobs.put(bytes(1024), keep=60.0) for _ in range(4)]
    assert (files(folder), (await left(bench))[1]) == ([], {"redis": 4096})
    there = await blobs.put(bytes(1024), keep=60.0)
    assert files(folder) == [there]
    await blobs.delete(here[0])
    assert await blobs.get(here[0]) is None
    await blobs.put(bytes(1024), keep=60.0)  # in its place
    assert files(folder) == [there]
    for _ in range(3):
        await blobs.put(bytes(SMALL + 1), keep=60.0)
    with pytest.raises(NoRoom):
        await blobs.put(bytes(SMALL + 1), keep=60.0)
    assert len(files(folder)) == 4


async def test_without_a_folder_there_is_room_for_small_ones_alone(redis: Redis) -> None:
    blobs = Bench(redis).ledger.blobs
    assert await blobs.get(await blobs.put(bytes(SMALL), keep=60.0)) == bytes(SMALL)
    with pytest.raises(NoRoom):
        await blobs.put(bytes(SMALL + 1), keep=60.0)


@pytest.mark.parametrize("size", [100, SMALL + 100], ids=["redis", "folder"])
async def test_a_task_that_is_done_takes_its_blobs_along(bench: Bench, folder: Path, size: int) -> None:
    ledger = bench.ledger
    mine, other = [await ledger.blobs.put(bytes(size), keep=60.0, task=task) for task in ("t-1", "t-2")]
    await ledger.tasks.put([NewTask("t-1", "consumer", "", b"{}"), NewTask("t-2", "consumer", "", b"{}")])
    assert (await ledger.tasks.claim("t-1", "mine", 60.0)).ours
    assert await ledger.tasks.retry("t-1", "mine", 0.0, "later") == "waiting"
    assert await ledger.blobs.get(mine) == bytes(size)
    assert (await ledger.tasks.claim("t-1", "mine", 60.0)).ours
    assert await ledger.tasks.done("t-1", "mine", 60.0) == "done"
    await ledger.blobs.sweep()
    assert (await ledger.blobs.get(mine), await ledger.blobs.get(other)) == (None, bytes(size))
    assert await bench.keys("dcb:blobs-of:*") == ["dcb:blobs-of:t-2"]


@pytest.mark.parametrize("way", ["replayed", "dropped", "kept too long"])
@pytest.mark.parametrize("size", [100, SMALL + 100], ids=["redis", "folder"])
async def test_a_dead_letter_keeps_the_blobs_of_its_task(bench: Bench, size: int, way: str) -> None:
    ledger, task = bench.ledger, NewTask("t-1", "consumer", "", b"{}")
    blob = await ledger.blobs.put(bytes(size), keep=60.0, task="t-1")
    await ledger.tasks.put([task])
    assert (await ledger.tasks.claim("t-1", "mine", 60.0)).ours
    assert await ledger.tasks.dead("t-1", "mine", "500", b"{}", 1000.0) == "dead"
    await bench.pass_time(KEEP_DEAD - 10)
    await bench.sweep()
    await ledger.blobs.sweep()
    assert await ledger.blobs.get(blob) == bytes(size)
    if way == "replayed":
        assert await ledger.dead_letters.again("t-t-1", task) == "new"
        assert await ledger.blobs.get(blob) == bytes(size)
        assert (await ledger.tasks.claim("t-1", "mine", 60.0)).ours
        await ledger.tasks.done("t-1", "mine", 60.0)
    elif way == "dropped":
        assert await ledger.dead_letters.drop(["t-t-1"]) == 1
    else:
        await bench.pass_time(20)
    await bench.sweep()
    await ledger.blobs.sweep()
    assert await ledger.blobs.get(blob) is None
    assert set((await left(bench))[1].values()) == {0}


@pytest.mark.parametrize("size", [100, SMALL + 100], ids=["redis", "folder"])
async def test_the_same_id_is_kept_and_counted_once(bench: Bench, size: int) -> None:
    for _ in range(2):
        assert await bench.ledger.blobs.put(bytes(size), keep=60.0, blob_id="m-1") == "m-1"
    assert sum((await left(bench))[1].values()) == size


async def test_a_process_that_dies_while_it_writes_leaves_no_file_for_ever(bench: Bench, folder: Path) -> None:
    """Its room is reserved before it writes, and the file is written again by whoever comes with the same id."""
    for blob in ("m-1", "m-2"):
        await bench.ledger.blobs.put(bytes(SMALL + 1), keep=60.0, blob_id=blob)
        (folder / blob).rename(folder / f"{blob}.00.part")
    await bench.ledger.blobs.put(bytes(SMALL + 1), keep=60.0, blob_id="m-2")
    assert await bench.ledger.blobs.get("m-2") == bytes(SMALL + 1)
    await bench.pass_time(61)
    assert await bench.ledger.blobs.sweep() == 2
    assert (files(folder), await left(bench)) == ([], ([], {"folder": 0}))


async def test_a_process_that_dies_while_it_deletes_leaves_the_rest_to_the_next(bench: Bench, folder: Path) -> None:
    await bench.ledger.blobs.put(bytes(SMALL + 1), keep=60.0)
    await bench.pass_time(61)
    assert len(await bench.ledger.script.call("blobs_ended", 10)) == 1  # and nothing more
    assert await bench.ledger.blobs.sweep() == 0
    await bench.pass_time(61)
    assert await bench.ledger.blobs.sweep() == 1
    assert files(folder) == []


@pytest.mark.parametrize("blob", ["../m-1", "a/b", "", ".", "m-1\n", "ö", "a" * 65])
async def test_no_id_leads_out_of_the_folder(bench: Bench, folder: Path, blob: str) -> None:
    await bench.ledger.blobs.put(bytes(SMALL + 1), keep=60.0)  # the folder is there
    (folder.parent / "m-1").write_bytes(b"of somebody else")
    assert await bench.ledger.blobs.get(blob) is None
    if blob:
        with pytest.raises(ValueError, match="hyphens"):
            await bench.ledger.blobs.put(PICTURE, keep=60.0, blob_id=blob)
    assert await bench.ledger.blobs.put(PICTURE, keep=60.0, blob_id="a" * 64) == "a" * 64


async def test_one_that_is_put_again_is_kept_as_long_as_its_last_owner_asked(bench: Bench) -> None:
    """Its time was over, and nobody has deleted it yet."""
    for size in (100, SMALL + 1):
        await bench.ledger.blobs.put(bytes(size), keep=60.0, blob_id=f"m-{size}")
        await bench.pass_time(61)
        await bench.ledger.blobs.put(bytes(size), keep=60.0, blob_id=f"m-{size}")
        await bench.sweep()
        assert await bench.ledger.blobs.sweep() == 0
        assert await bench.ledger.blobs.get(f"m-{size}") == bytes(size)


async def test_one_that_is_being_deleted_is_not_put_again(bench: Bench, folder: Path) -> None:
    """Its file would be deleted under its new owner, or be left and belong to nobody."""
    blobs, large = bench.ledger.blobs, bytes(SMALL + 1)
    await blobs.put(large, keep=60.0, blob_id="m-1")
    await bench.pass_time(61)
    assert await bench.ledger.script.call("blobs_ended", 10) == [b"m-1"]  # somebody is about to
    for again in (large, PICTURE):
        with pytest.raises(NoRoom):
            await blobs.put(again, keep=60.0, blob_id="m-1")
    (folder / "m-1").unlink()
    await bench.ledger.script.call("blob_forget", "m-1")
    await blobs.put(large, keep=60.0, blob_id="m-1")
    assert await blobs.get("m-1") == large
    assert await left(bench) == (["dcb:blob-files", "dcb:blob-sizes"], {"folder": len(large)})


async def test_files_of_a_folder_that_nobody_has_any_more_keep_nothing_in_redis(redis: Redis, bench: Bench) -> None:
    """The setting was taken away: their time is over, and none of them can be deleted."""
    script = bench.ledger.script
    await asyncio.gather(*(script.record("blob_reserve", f"f-{n}", "", 1, 1000, 1 << 30) for n in range(101)))
    without = Bench(redis)
    blob = await without.ledger.blobs.put(PICTURE, keep=30.0)
    await without.pass_time(61)
    await without.sweep()
    assert await without.ledger.blobs.get(blob) is None
