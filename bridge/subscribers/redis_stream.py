"""Events as entries of a Redis stream.

https://redis.io/docs/latest/commands/xadd/
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from bridge.configuration_types import Seconds, Secret
from bridge.redis_address import read_address
from bridge.subscribers.base import Event
from bridge.subscribers.fields import TlsFields


def _redis_url(value: SecretStr) -> SecretStr:
    read_address(value.get_secret_value())
    return value


class RedisStream(TlsFields):
    """A stream of a Redis; better not of the one that dcbridge itself works with."""

    kind: Literal["redis-stream"]
    url: Annotated[Secret, AfterValidator(_redis_url)] = Field(
        description="URL of the Redis: redis://, rediss://, unix:// or redis+sentinel://."
    )
    stream: str = Field(min_length=1, max_length=200, description="Key of the stream.")
    most: int = Field(100_000, ge=1, description="Entries that the stream keeps, about; older ones are dropped.")
    dedupe: Seconds = Field(
        86400.0, description="Seconds for which an event that came twice is added once; 0 is not at all."
    )

    @property
    def place(self) -> str:
        return f"{read_address(self.url.get_secret_value()).place} {self.stream}"


class RedisStreamSink:
    """One subscriber's stream."""

    def __init__(self, fields: RedisStream, envelope: str, public_url: str) -> None:
        self._fields = fields

    async def deliver(self, event: Event) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
