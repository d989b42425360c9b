"""Commands leave as redis-py would write them."""

from __future__ import annotations

from typing import Any, cast

import pytest
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import DataError

from dcbridge.runtime.logs import Token
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
