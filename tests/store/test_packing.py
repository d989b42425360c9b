"""Commands leave as redis-py would write them, and a task that is cancelled in one of them ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.runtime.logs import Token
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from dcbridge.store.packing import pack_in_c


def packed(kind: type[Connection] = Connection) -> Connection:
    pool = ConnectionPool(connection_class=kind)
    pack_in_c(pool)
    made: Connection = cast(Any, pool).make_connection()
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("EVALSHA", "a" * 40, 0, "accept", 604_800_000, -1, b"\x00\xff\r\n", "", b"", "Grüße 😀", Token("a1")),
        ("SET", "key", 1.5),
        ("SET", b"key", b"x" * 100_000),
        ("SET", "key", memoryview(b"some bytes")),
        ("CONFIG GET", "appendfsync"),
        (b"CLIENT INFO",),
        ("PING",),
    ],
    ids=lambda words: str(words[0]),
)
def test_a_command_is_the_same_bytes(words: tuple[Any, ...]) -> None:
    assert b"".join(packed().pack_command(*words)) == b"".join(Connection().pack_command(*words))


@pytest.mark.parametrize(("word", "error"), [(None, DataError), (True, DataError), ("\ud800", UnicodeEncodeError)])
def test_what_is_no_word_is_refused_as_before(word: object, error: type[Exception]) -> None:
    for one in (packed(), Connection()):
        with pytest.raises(error):
            one.pack_command("SET", "key", word)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Connection, SSLConnection, UnixDomainSocketConnection])
def test_every_kind_of_connection_stays_of_its_kind(kind: type[Connection]) -> None:
    assert isinstance(packed(kind), kind)


async def test_a_cancellation_is_never_lost_in_a_command(redis_server: EmbeddedRedis) -> None:
    """Whichever step of it the cancellation meets; and the connection is of use to the next one."""
    redis = connect(Settings(redis_url=redis_server.url))

    async def work() -> None:
        while True:
            with suppress(Exception):
                await redis.time()
                async with redis.pipeline(transaction=False) as pipe:
                    pipe.echo("x")
                    await pipe.execute()

    for steps in range(2, 42):
        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        _, going_on = await asyncio.wait([task], timeout=2.0)
        task.cancel()
        assert not going_on, steps
        assert await redis.echo("mine") == b"mine"
    await redis.aclose()
