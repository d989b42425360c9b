"""What 200 means: the write is on the disk of Redis and, where that is asked for, in its replicas.

With `appendfsync always` and no replicas a reply is proof enough, and nothing is added. Otherwise
each script travels as one pipeline: the script, a small write, WAIT or WAITAOF.

* One pipeline, so one connection: WAIT counts what its own connection wrote. When the connection
  breaks and redis-py goes to another one, perhaps to a new primary after a failover, the script is
  repeated there too; a WAIT alone would be answered at once for a write that the new primary never saw.
* The small write: a message that is redelivered after a 503 changes nothing, and a connection that wrote
  nothing has nothing to wait for (Redis 6.2 counts every command, Valkey 8 writes only). Replicas take
  writes in order, so whoever has this one has all before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import NoScriptError, RedisError

from dcbridge.settings.process import Settings


class NotDurable(RedisError):
    """Written, and not yet safe: the sender is told to come again, and the repetition changes nothing."""


class Durable:
    """Runs a script and returns when its writes have been fsynced, and copied as often as the settings ask."""

    def __init__(self, settings: Settings) -> None:
        self._replicas = settings.replicas
        self._local = int(settings.durability == "waitaof")
        self._patience = max(1, int(settings.redis_timeout * 500))  # ms: half of what the connection waits
        # With `appendfsync everysec` WAITAOF answers once a second: 64 would be all that a second carries.
        self.batch = 1024 if self._local else 64

    async def run(self, redis: Redis, script: AsyncScript, arguments: Sequence[str | bytes | int], barrier: str) -> Any:
        """The script's answer. `barrier`: the key of the small write.

        Raises NotDurable after `redis_timeout` / 2 seconds, or what Redis said.
        """
        if not self._local and not self._replicas:
            return await script(args=arguments)
        answers = await self._pipeline(redis, script.sha, arguments, barrier)
        if isinstance(answers[0], NoScriptError):
            await redis.script_load(script.script)
            answers = await self._pipeline(redis, script.sha, arguments, barrier)
        for one in answers:
            if isinstance(one, Exception):
                raise one
        answer, _, acknowledged = answers
        local, copies = acknowledged if self._local else (0, acknowledged)
        if local < self._local or copies < self._replicas:
            raise NotDurable(f"on {local} disks, in {copies} of {self._replicas} replicas")
        return answer

    async def _pipeline(
        self, redis: Redis, sha: str, arguments: Sequence[str | bytes | int], barrier: str
    ) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.execute_command("EVALSHA", sha, 0, *arguments)
            pipe.set(barrier, 1)
            if self._local:
                pipe.execute_command("WAITAOF", self._local, self._replicas, self._patience)
            else:
                pipe.execute_command("WAIT", self._replicas, self._patience)
            return await pipe.execute(raise_on_error=False)
