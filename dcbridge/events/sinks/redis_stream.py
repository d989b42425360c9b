"""Events as entries of a Redis stream.

https://redis.io/docs/latest/commands/xadd/
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr
from redis import exceptions as said
from redis.asyncio import Redis
from redis.asyncio.sentinel import MasterNotFoundError

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, SendError, Unreachable
from dcbridge.events.envelope import pack, type_of
from dcbridge.events.sinks.base import Event, delivery_key
from dcbridge.events.sinks.fields import TlsFields
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import redis_address
from dcbridge.settings.redis_url import read_address
from dcbridge.settings.types import Seconds, Secret
from dcbridge.store.connection import connect

# One step: an event is added and remembered, or neither. Braces keep both keys in one slot of a cluster.
ADD = """
if ARGV[2] ~= '0' and redis.call('EXISTS', KEYS[2]) == 1 then return false end
local entry = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 3))
if type(entry) == 'table' and entry.err then return entry end
if ARGV[2] ~= '0' then redis.call('SET', KEYS[2], '', 'PX', ARGV[2]) end
return entry
"""

CONNECTIONS = 20
_A_PERSON_MUST = frozenset({"WRONGTYPE", "NOAUTH", "WRONGPASS", "NOPERM", "MOVED"})


def _redis_url(value: SecretStr) -> SecretStr:
    read_address(value.get_secret_value())
    return value


class RedisStream(TlsFields):
    """A stream of a Redis; better not of the one that dcbridge itself works with."""

    example: ClassVar[Mapping[str, object]] = {
        "url": "rediss://:${EVENTS_REDIS_PASSWORD}@redis.example.com/0",
        "stream": "interactions",
    }

    kind: Literal["redis-stream"] = Field(description="This kind of sink.")
    url: Annotated[Secret, AfterValidator(_redis_url)] = Field(
        description="URL of the Redis: redis://, rediss://, unix:// or redis+sentinel://."
    )
    stream: str = Field(min_length=1, max_length=200, description="Key of the stream.")
    most: int = Field(100_000, ge=1, description="Entries that the stream keeps, about; older ones are dropped.")
    dedupe: Seconds = Field(
        86400.0, description="Seconds for which an event that came twice is added once; 0 is not at all."
    )

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return cls._equal("stream", one, other) and redis_address(one["url"]) == redis_address(other["url"])

    @property
    def place(self) -> str:
        return f"{read_address(self.url.get_secret_value()).place} {self.stream}"


@dataclass(frozen=True, slots=True)
class _Way:
    """What `dcbridge.store.connection` asks of settings, taken from the sink's fields."""

    redis_url: SecretStr
    redis_timeout: float
    redis_ca_file: str
    redis_client_certificate: str
    redis_client_key: str
    concurrency: int = CONNECTIONS


class RedisStreamSink:
    """One subscriber's stream. An entry has the fields id, type, content_type and body."""

    def __init__(self, fields: RedisStream, options: SinkOptions) -> None:
        self._fields = fields
        self._options = options
        self._redis: Redis | None = None

    async def deliver(self, event: Event) -> bool:
        """Returns when Redis has it, and whether it had it before; how safe it is there, is that Redis' to say.

        Raises a SendError.
        """
        packed = pack(event, self._options.envelope, self._options.public_url)
        stream, most, kept = self._fields.stream, self._fields.most, round(self._fields.dedupe * 1000)
        entry: dict[str, str | bytes] = {
            "id": event.id,
            "type": type_of(event),
            "content_type": packed.content_type,
            "body": packed.body,
        }
        add = self._open().register_script(ADD)
        try:
            async with asyncio.timeout(self._fields.timeout):
                added = await add(
                    keys=[stream, f"{{{stream}}}:seen:{delivery_key(self._options.subscriber, event)}"],
                    args=[most, kept, *chain.from_iterable(entry.items())],
                )
            return added is None
        except TimeoutError:
            raise OutcomeUnknown("timeout") from None
        except (said.RedisError, OSError) as error:
            raise _meaning(error) from None

    async def close(self) -> None:
        if self._redis:
            await self._redis.aclose()

    def _open(self) -> Redis:
        if self._redis is None:
            fields = self._fields
            if read_address(fields.url.get_secret_value()).tls:
                fields.tls()  # the client would say of unusable files only that it could not connect
            self._redis = connect(
                _Way(
                    redis_url=fields.url,
                    redis_timeout=fields.timeout,
                    redis_ca_file=fields.ca_file or "",
                    redis_client_certificate=fields.client_certificate or "",
                    redis_client_key=fields.client_key or "",
                )
            )
        return self._redis


def _meaning(error: Exception) -> SendError:
    """Redis' words in ours. The word in capitals says what it is; the rest may quote keys."""
    found = re.search(r"\b[A-Z]{3,}(?= )", str(error))
    code = found[0] if found and isinstance(error, said.ResponseError) else type(error).__name__
    if isinstance(error, said.AuthenticationError | said.AuthorizationError | said.NoPermissionError):
        return AccountFault(code)
    if isinstance(error, said.ReadOnlyError | said.BusyLoadingError):
        return Deferred(code)
    if isinstance(error, said.ResponseError):
        return AccountFault(code) if code in _A_PERSON_MUST else Deferred(code)
    if isinstance(error, MasterNotFoundError):
        return Unreachable("no primary")
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ssl.SSLError):
        return Unreachable("tls")
    if isinstance(cause, socket.gaierror):
        return Unreachable("dns")
    if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
        return Unreachable("connect")
    return OutcomeUnknown("timeout" if isinstance(error, said.TimeoutError) else "connection lost")
