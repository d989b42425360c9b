"""Is there a Redis, can it be written, and would it lose anything? Can the journal be written?"""

from __future__ import annotations

from pathlib import Path

from redis.exceptions import RedisError

from bridge.problems import ConfigurationError
from bridge.redis_connection import connect, unsafe
from bridge.settings import Settings
from dcbridge.terminal import what_ails
from service.journal_files import probe


async def redis_problems(settings: Settings) -> list[str]:
    """Each problem in words, with its mend; nothing when Redis is as it should be."""
    redis = connect(settings)
    try:
        await redis.set("dcb:probe", 1, ex=60)
        return await unsafe(redis, settings)
    except (RedisError, OSError) as error:
        return [what_ails(settings, error)]
    finally:
        await redis.aclose()


def journal_problems(settings: Settings) -> list[str]:
    """Whether something can be written and fsynced in the journal's folder; a door may be using it meanwhile."""
    if not settings.journal:
        return []
    try:
        probe(Path(settings.journal))
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []
