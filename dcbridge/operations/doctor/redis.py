"""Is there a Redis, can it be written, and would it lose anything?"""

from __future__ import annotations

from redis.exceptions import RedisError

from dcbridge.ledger import probe
from dcbridge.ledger.layout import KEY as LAYOUT_KEY
from dcbridge.ledger.layout import problem as layout_problem
from dcbridge.operations.session import explain_redis_error
from dcbridge.settings.process import Settings
from dcbridge.store.commands import not_allowed
from dcbridge.store.connection import connect, redis_problems


async def check_redis(settings: Settings) -> list[str]:
    """Each problem in words, with its mend; nothing when Redis is as it should be."""
    redis = connect(settings)
    try:
        missing = await not_allowed(redis)
        if missing:
            return missing
        await probe.write(redis)
        layout = layout_problem(await redis.get(LAYOUT_KEY))
        return [*([layout] if layout else []), *await redis_problems(redis, settings)]
    except (RedisError, OSError) as error:
        return [explain_redis_error(settings, error)]
    finally:
        await redis.aclose()
