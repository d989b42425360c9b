"""Whoever can write to Redis can wake our own jobs. Nobody runs code through RQ, or stops a worker by a job."""

from __future__ import annotations

import json
import zlib
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.ledger.jobs import JOBS
from tests.workers import test_worker
from tests.workers.test_worker import Work, in_state, said_so, working
from workers.context import install
from workers.job_data import FUNCTIONS, LARGEST, RefusedJob, read_job, shown_id, shown_path

work = test_worker.work  # the fixture

SEND = "workers.jobs.send"
# b"\x80\x04…": what the other serializer of RQ would have made of ("subprocess.call", None, ("true",), {}).
OTHER_SERIALIZER = (
    b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00(\x8c\x0fsubprocess.call\x94N\x8c\x04true\x94\x85\x94}\x94t\x94."
)


def data(path: object = SEND, instance: object = None, arguments: object = ("x",), named: object = None) -> bytes:
    return orjson.dumps([path, instance, arguments, {} if named is None else named])


@pytest.mark.parametrize("name", JOBS)
def test_each_job_of_ours_is_run_with_its_one_id(name: str) -> None:
    path = JOBS[name].path
    assert read_job(data(path)) == (FUNCTIONS[path], "x")
    assert FUNCTIONS[path].__name__ == name


NOT_OURS: dict[str, Any] = {
    "a program": "subprocess.check_output",
    "a shell": "os.system",
    "a builtin": "builtins.eval",
    "a builtin without its module": "eval",
    "an import": "importlib.import_module",
    "a module of ours": "workers.jobs",
    "a function that one of ours imports": "workers.jobs.outbound.send",
    "what a module of ours imports": "workers.worker.os.system",
    "an attribute of ours": "workers.jobs.send.__globals__",
    "a context of ours": "workers.jobs.hands",
    "a job of a later version": "workers.jobs.later",
    "ours, with a space": "workers.jobs.send ",
    "ours, in capitals": "WORKERS.JOBS.SEND",
    "ours, with a colon": "workers.jobs:send",
    "ours, with NUL": "workers.jobs.send\0",
    "ours, with a letter that looks the same": "workers.jobs.s\u0435nd",
    "another part of the bridge": "dcbridge.cli.dev.run.run",
    "nothing": "",
    "dots": "...",
    "a path": "/etc/passwd",
    "a long name": "a" * 100_000,
}
# What a later version's job may be called; it stays in the ledger until that version takes it.
LATER = {
    "a context of ours", "a job of a later version", "ours, with a space", "ours, with NUL",
    "ours, with a letter that looks the same",
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_OURS)
def test_no_other_path_is_run_or_imported(what: str) -> None:
    with pytest.raises(RefusedJob) as refused:
        read_job(data(NOT_OURS[what]))
    assert refused.value.reason == ("unknown_job" if what in LATER else "path_not_allowed")
    assert len(refused.value.path) <= 64
    assert refused.value.path.isascii()


WRONG_SHAPE: dict[str, bytes] = {
    "an instance": data(instance="x"),
    "an instance that is false": data(instance=False),
    "no argument": data(arguments=[]),
    "two arguments": data(arguments=["x", "y"]),
    "an empty id": data(arguments=[""]),
    "a number": data(arguments=[1]),
    "null": data(arguments=[None]),
    "a list": data(arguments=[["x"]]),
    "an object": data(arguments=[{"ref": "x"}]),
    "arguments as a text": data(arguments="x"),
    "arguments as an object": data(arguments={"x": 1}),
    "a named argument": data(named={"ref": "x"}),
    "a named argument alone": data(arguments=[], named={"ref": "x"}),
    "named arguments as a list": data(named=["x"]),
    "an empty list of named arguments": orjson.dumps([SEND, None, ["x"], []]),
    "no named arguments": orjson.dumps([SEND, None, ["x"], None]),
    "three parts": orjson.dumps([SEND, None, ["x"]]),
    "five parts": orjson.dumps([SEND, None, ["x"], {}, 1]),
    "a path that is a number": data(path=1),
    "a path that is a list": data(path=[SEND]),
    "a path that is null": orjson.dumps([None, None, ["x"], {}]),
    "an object instead": orjson.dumps({"path": SEND}),
    "a text instead": orjson.dumps(SEND),
    "a number instead": b"1",
    "an empty list": b"[]",
    "null instead": b"null",
    "no JSON": b"no json",
    "nothing": b"",
    "NUL": b"\0",
    "not UTF-8": b'["\xff",null,["x"],{}]',
    "a lone surrogate": b'["workers.jobs.send",null,["\\ud800"],{}]',
    "cut": data()[:-1],
    "more behind": data() + b"x",
    "NaN": b'["workers.jobs.send",null,[NaN],{}]',
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "compressed, as RQ once did": zlib.compress(data()),
    "RQ's other serializer": OTHER_SERIALIZER,
    "too large": b" " * LARGEST + data(),
}


@pytest.mark.parametrize("what", WRONG_SHAPE)
def test_a_job_of_another_shape_is_not_run(what: str) -> None:
    with pytest.raises(RefusedJob):
        read_job(WRONG_SHAPE[what])


def test_a_longer_id_than_usual_is_no_reason() -> None:
    assert read_job(data(arguments=["x" * (LARGEST - 100)]))[1].startswith("x")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("subprocess.check_output", "subprocess.check_output"),
        ("a." * 100 + "b", ("a." * 100)[:64]),
        ("a." * 1000 + "b", "[not a dotted name]"),
        ("x\u202ey.z", "[not a dotted name]"),
        ("a.b\n", "[not a dotted name]"),
        ("16504661149.b", "[not a dotted name]"),
        ("word", "[not a dotted name]"),
    ],
)
def test_what_a_log_line_shows_of_a_path(path: str, shown: str) -> None:
    assert shown_path(path) == shown


@pytest.mark.parametrize(
    ("job_id", "shown"),
    [(b"send-1-2", "send-1-2"), (b"\x1b[31m\xff \n", "?[31m???"), (b"a" * 1000, "a" * 64), (b"", "")],
)
def test_what_a_log_line_shows_of_an_id(job_id: bytes, shown: str) -> None:
    assert shown_id(job_id) == shown


async def put(redis: Redis, job_id: bytes | str, given: bytes, queue: str = "outbound", **fields: Any) -> None:
    key = b"rq:job:" + (job_id if isinstance(job_id, bytes) else job_id.encode())
    mapping: dict[Any, Any] = {"data": given, **fields}
    await redis.hset(key, mapping=mapping)
    await redis.rpush(f"rq:queue:{queue}", job_id)


def refusals(said: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "job_refused"]


async def test_a_worker_refuses_them_all_and_does_its_work(work: Work, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    touch = ["touch", str(canary)]
    foreign = [
        data("subprocess.check_output", arguments=[touch]),
        data("subprocess.call", arguments=[], named={"args": touch}),
        data("os.system", arguments=[" ".join(touch)]),
        data("pathlib.Path.touch", arguments=[str(canary)]),
        b"\xff" * (LARGEST + 1),
        *WRONG_SHAPE.values(),
    ]
    foreign = [one for one in foreign if one]  # a job without data is one whose hash is gone
    for number, given in enumerate(foreign):
        await put(work.redis, f"odd-{number}", given, queue=("outbound", "inbound", "receipts", "events")[number % 4])
    odd_ids = [b"\xff\xfe", b"\0", "send-\u202e-1".encode(), b"x" * 100_000, b"send-" + b"\xff" * 24 + b"-1", b" "]
    for odd in odd_ids:
        await put(work.redis, odd, b"no json")
        await put(work.redis, odd + b"!", data(arguments=["0" * 24]))  # runs, and finds nothing to do
    await work.redis.rpush("rq:queue:inbound", "a string")
    await work.redis.set("rq:job:a string", "which is no hash")
    names = ["os.system", "subprocess.check_output", "workers.jobs.send"]
    callbacks = {f"{when}_callback_name": name for when in ("success", "failure", "stopped") for name in names}
    more: dict[Any, Any] = {"meta": OTHER_SERIALIZER, "dependency_ids": "odd-1", "repeats_left": 3, "retries_left": 3}
    ref = await work.accept()
    jobs = await cast(Awaitable[list[bytes]], work.redis.lrange("rq:queue:outbound", 0, -1))
    [ours] = [one for one in jobs if one.startswith(f"send-{ref}".encode())]
    await work.redis.hset(b"rq:job:" + ours, mapping=more | callbacks)
    code, said = await work.done(work.run("-m", "dcbridge", "worker", "--burst"))
    assert code == 0, said
    assert await in_state(work, [ref], "sent")
    assert not canary.exists()
    assert "job_internal_error" not in said
    assert "worker_waits_for_redis" not in said
    assert len(refusals(said)) == len(foreign) + len(odd_ids) + 1
    assert {line["level"] for line in refusals(said)} == {"warning"}
    assert max(len(line) for line in said.splitlines()) < 2000
    assert said.isascii()
    assert [key async for key in work.redis.scan_iter("rq:job:*")] == []
    assert [key async for key in work.redis.scan_iter("rq:wip:*")] == []


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("argument", ["nobody", "0" * 24, "x" * 2000, "\0", "m:", "\u202e", "*"])
async def test_an_id_that_nothing_is_known_of_does_nothing(work: Work, name: str, argument: str) -> None:
    function, given = read_job(data(JOBS[name].path, arguments=[argument]))
    install(work.context)
    await function(given)
    assert (work.provider.heard, work.agents.heard) == ([], [])


async def test_rqs_command_channel_and_foreign_records_do_not_stop_a_worker(work: Work) -> None:
    await put(work.redis, "odd", data("os.system", arguments=["true"]))
    await work.redis.sadd("rq:workers", "rq:worker:\u202enobody")
    async with working(work) as process:
        await said_so(process, "job_refused")
        [key] = [key for key in await work.workers() if b"nobody" not in key]
        name = key.removeprefix(b"rq:worker:").decode()
        for command in ("shutdown", "kill-horse", "stop-job", "stop-execution"):
            for told in ({"command": command, "job_id": "odd", "execution_id": "odd"}, {"command": command}, command):
                assert await work.redis.publish(f"rq:pubsub:{name}", orjson.dumps(told)) == 0  # nobody listens
        await work.redis.set(f"rq:scheduler-lock:{name}", "1")
        await work.redis.zadd("rq:scheduled:outbound", {"odd": 1})
        ref = await work.accept()

        async def sent() -> bool:
            return await in_state(work, [ref], "sent")

        await work.until(sent)
        assert process.poll() is None
        counted = await cast(Awaitable[dict[bytes, bytes]], work.redis.hgetall(key.decode()))
        assert int(counted[b"failed_job_count"]) == 1
