"""Blobs in a bucket: each is whole, what fails is tried again or said, and nothing is taken for missing by mistake."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.responses import Response

from dcbridge.errors import Undecodable
from dcbridge.ledger import Ledger
from dcbridge.ledger.blobs import SMALL, BlobRoom, NoRoom
from dcbridge.operations.doctor.bucket import check_bucket
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings
from dcbridge.transport.s3 import BucketAway, S3Blobs, bucket_of
from tests.ledger.ledger_bench import KEEP, KEEP_DEAD, Bench
from tests.transport.bucket import KEY_ID, REGION, SECRET, FakeBucket, fake_bucket, fault

DATA = bytes(range(256)) * 1000
ACCESS = {"DCBRIDGE_BLOB_BUCKET_KEY_ID": KEY_ID, "DCBRIDGE_BLOB_BUCKET_SECRET": SECRET,
          "DCBRIDGE_BLOB_BUCKET_REGION": REGION, "DCBRIDGE_TOKEN_KEY": "0123456789abcdef"}  # fmt: skip


@pytest.fixture
async def there() -> AsyncIterator[tuple[FakeBucket, str]]:
    async with fake_bucket() as found:
        yield found


def opened(url: str, **more: str) -> S3Blobs:
    found = bucket_of(read_settings({"DCBRIDGE_BLOB_BUCKET": url, **ACCESS, **more})[0])
    assert found is not None
    return found


@pytest.fixture
async def blobs(there: tuple[FakeBucket, str]) -> AsyncIterator[S3Blobs]:
    found = opened(there[1])
    yield found
    await found.close()


@pytest.fixture
def bucket(there: tuple[FakeBucket, str]) -> FakeBucket:
    return there[0]


async def all_of(blobs: S3Blobs, name: str) -> bytes | None:
    found = await blobs.open(name)
    if found is None:
        return None
    size, pieces = found
    data = b"".join([piece async for piece in pieces])
    assert len(data) == size
    return data


async def test_an_object_is_written_read_and_deleted(bucket: FakeBucket, blobs: S3Blobs) -> None:
    for data in (DATA, b"", b"x"):
        await blobs.write("a-1", data)
        assert bucket.objects == {"/bucket/a-1": data}
        assert (await blobs.read("a-1"), await all_of(blobs, "a-1")) == (data, data)
    await blobs.delete(["a-1", "a-2"])
    assert (await blobs.read("a-1"), await all_of(blobs, "a-1")) == (None, None)
    assert (bucket.objects, bucket.wrong) == ({}, [])


@pytest.mark.parametrize("token", [None, "t/o+ken=="])
@pytest.mark.parametrize("path", ["", "/", "/a/b.c~d"])
async def test_the_url_may_have_a_path_and_the_key_a_session(
    there: tuple[FakeBucket, str], path: str, token: str | None
) -> None:
    bucket, url = there
    bucket.token = token
    blobs = opened(url + path, **({"DCBRIDGE_BLOB_BUCKET_SESSION_TOKEN": token} if token else {}))
    await blobs.write("a-1", DATA)
    assert [*bucket.objects] == [f"/bucket{path.rstrip('/')}/a-1"]
    assert (await blobs.read("a-1"), bucket.wrong) == (DATA, [])
    await blobs.close()


BUSY = fault(503, "SlowDown", {"retry-after": "0"})


@pytest.mark.parametrize("fault_", [BUSY, fault(500, "InternalError"), Response(status_code=502), fault(429, "x")])
async def test_what_may_pass_is_tried_again(bucket: FakeBucket, blobs: S3Blobs, fault_: Response) -> None:
    bucket.faults = [fault_, fault_]
    await blobs.write("a-1", DATA)
    bucket.faults = [fault_]
    assert await blobs.read("a-1") == DATA
    bucket.faults = [fault_]
    assert await all_of(blobs, "a-1") == DATA
    bucket.faults = [fault_]
    await blobs.delete(["a-1"])
    assert bucket.objects == {}
    assert len(bucket.asked) == 3 + 2 + 3 + 2


@pytest.mark.parametrize(
    ("fault_", "why", "asked"),
    [
        (fault(403, "AccessDenied"), "AccessDenied", 1),
        (fault(404, "NoSuchBucket"), "NoSuchBucket", 1),
        (Response("<html>not found</html>", 404), "HTTP 404", 1),
        (fault(301, "PermanentRedirect"), "PermanentRedirect", 1),
        (BUSY, "SlowDown", 4),
    ],
)
async def test_what_does_not_pass_is_said_and_nothing_is_taken_for_missing(
    bucket: FakeBucket, blobs: S3Blobs, fault_: Response, why: str, asked: int
) -> None:
    await blobs.write("a-1", DATA)
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: blobs.write("a-2", DATA),
        lambda: blobs.read("a-1"),
    ]
    for attempt in attempts:
        bucket.faults, bucket.asked = [fault_] * asked, []
        with pytest.raises(BucketAway, match=why) as raised:
            await attempt()
        assert len(bucket.asked) == asked
        assert "bucket b" not in str(raised.value)
    assert bucket.objects == {"/bucket/a-1": DATA}


async def test_one_that_is_not_deleted_is_said_after_the_others(bucket: FakeBucket, blobs: S3Blobs) -> None:
    for name in ("a-1", "a-2", "a-3"):
        await blobs.write(name, b"x")
    bucket.faults = [fault(403, "AccessDenied")]
    with pytest.raises(BucketAway, match="AccessDenied"):
        await blobs.delete(["a-1", "a-2", "a-3"])
    assert len(bucket.objects) == 1


async def test_a_body_that_breaks_off_is_read_again_and_never_half(bucket: FakeBucket, blobs: S3Blobs) -> None:
    await blobs.write("a-1", DATA)
    bucket.faults = ["cut", "cut"]
    assert await blobs.read("a-1") == DATA
    bucket.faults = ["cut"] * 4
    with pytest.raises(BucketAway, match="broke off"):
        await blobs.read("a-1")
    found = await blobs.open("a-1")
    assert found is not None
    bucket.faults = ["cut"]
    with pytest.raises(Undecodable, match="broke off"):
        assert [piece async for piece in found[1]]


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
async def test_another_clock_is_followed(bucket: FakeBucket, blobs: S3Blobs, ahead: float) -> None:
    bucket.ahead = ahead
    await blobs.write("a-1", DATA)
    assert bucket.asked == ["PUT", "PUT"]
    assert await blobs.read("a-1") == DATA
    assert bucket.asked == ["PUT", "PUT", "GET"]
    bucket.ahead = 0.0
    assert await all_of(blobs, "a-1") == DATA  # HEAD says no code


async def test_a_bucket_that_is_not_there_or_silent_is_away(bucket: FakeBucket) -> None:
    nowhere = opened("http://127.0.0.1:9/bucket")
    with pytest.raises(BucketAway, match="connect"):
        await nowhere.read("a-1")
    await nowhere.close()
    assert issubclass(BucketAway, OSError)


async def test_a_large_one_is_sent_and_read_piece_by_piece(bucket: FakeBucket, blobs: S3Blobs) -> None:
    """The server of this test has it once in memory, while it sends it; whoever reads it has not."""
    data, size = b"x" * (8 << 20), 0
    await blobs.write("a-1", data)
    digest, found = hashlib.sha256(), await blobs.open("a-1")
    assert found is not None
    tracemalloc.start()
    async for piece in found[1]:
        assert len(piece) <= 1 << 20
        digest.update(piece)
        size += len(piece)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (size, digest.digest()) == (len(data), hashlib.sha256(data).digest())
    assert most < 1.5 * len(data)


# ---------------------------------------------------------------- as the ledger's store


async def test_the_ledger_keeps_large_ones_in_the_bucket_and_deletes_them(
    bucket: FakeBucket, blobs: S3Blobs, redis: Redis
) -> None:
    bench = Bench(redis)
    room = BlobRoom(folder_limit=4 * SMALL)
    ours = Ledger(redis, keep=KEEP, keep_dead=KEEP_DEAD, room=room, store=blobs).blobs
    large, small = bytes(SMALL + 1), b"small"
    assert await ours.put(large, keep=60.0, blob_id="a-1") == "a-1"
    await ours.put(small, keep=60.0, blob_id="a-2")
    assert bucket.objects == {"/bucket/a-1": large}
    assert (await ours.get("a-1"), await ours.get("a-2")) == (large, small)
    with pytest.raises(NoRoom):
        await ours.put(bytes(3 * SMALL), keep=60.0)
    await bench.pass_time(61)
    bucket.faults = [fault(403, "AccessDenied")]
    with pytest.raises(BucketAway):
        await ours.sweep()
    assert [*bucket.objects] == ["/bucket/a-1"]
    await bench.pass_time(61)
    assert (await ours.sweep(), bucket.objects) == (1, {})


async def test_one_that_was_not_written_is_written_by_whoever_comes_again(
    bucket: FakeBucket, blobs: S3Blobs, redis: Redis
) -> None:
    ours = Ledger(redis, keep=KEEP, keep_dead=KEEP_DEAD, room=BlobRoom(), store=blobs).blobs
    bucket.faults = [fault(403, "AccessDenied")]
    with pytest.raises(OSError, match="AccessDenied"):
        await ours.put(bytes(SMALL + 1), keep=60.0, blob_id="a-1")
    assert await ours.get("a-1") is None
    await ours.put(bytes(SMALL + 1), keep=60.0, blob_id="a-1")
    assert await ours.get("a-1") == bytes(SMALL + 1)


# ---------------------------------------------------------------- settings, and dcbridge check


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"DCBRIDGE_BLOB_BUCKET": "s3://bucket"}, "should be https://host/path"),
        ({"DCBRIDGE_BLOB_BUCKET": "https://me:secret@b.example"}, "should be https://host/path"),
        ({"DCBRIDGE_BLOB_BUCKET": "https://b.example/?x"}, "should be https://host/path"),
        ({"DCBRIDGE_BLOB_BUCKET_SECRET": ""}, "needs an access key"),
        ({"DCBRIDGE_BLOB_BUCKET_KEY_ID": ""}, "needs an access key"),
        ({"DCBRIDGE_BLOB_FOLDER": "/x"}, "files are in one place"),
        ({"DCBRIDGE_BLOB_BUCKET_REGION": "eu west"}, "should be the name of a region"),
        ({"DCBRIDGE_BLOB_BUCKET_KEY_ID": "a b"}, "should be an access key id"),
    ],
)
def test_settings_that_lead_to_no_bucket_are_refused(changes: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        read_settings({"DCBRIDGE_BLOB_BUCKET": "https://b.example", **ACCESS, **changes})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ([], []),
        ([fault(403, "AccessDenied")], ["cannot be written (AccessDenied): allow this access key s3:PutObject"]),
        ([Response(), fault(403, "AccessDenied")], ["cannot be read (AccessDenied): allow"]),
        ([Response(), Response(b"other")], ["is not what is read"]),
        (["", "", fault(403, "AccessDenied")], ["cannot be deleted (AccessDenied): allow"]),
        (["", "", Response(status_code=204)], ["is still there"]),
    ],
)
async def test_check_writes_reads_and_deletes(
    there: tuple[FakeBucket, str], faults: list[Any], says: list[str]
) -> None:
    bucket, url = there
    bucket.faults = faults
    problems = await check_bucket(read_settings({"DCBRIDGE_BLOB_BUCKET": url, **ACCESS})[0])
    assert len(problems) == len(says)
    assert all(one in problem for one, problem in zip(says, problems, strict=True))
