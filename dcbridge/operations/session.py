"""What every look and every action works with, and why Redis could not be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from redis import exceptions as redis_errors

from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.settings.process import Settings

Progress = Callable[[int], object]  # called with how many more were looked at, or done


def unwatched(_count: int) -> None:
    """For a Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Session:
    """The settings, the configuration and the ledger."""

    settings: Settings
    configuration: Configuration
    ledger: Ledger


def explain_redis_error(settings: Settings, error: Exception) -> str:
    """Why Redis could not be asked, and what to look at; nothing of what it said itself."""
    place = settings.redis_place
    match error:
        case redis_errors.AuthenticationError():
            return f"{place} refused the login: the user or the password of DCBRIDGE_REDIS_URL is wrong"
        case redis_errors.BusyLoadingError():
            return f"{place} is still loading its data: try again in a moment"
        case redis_errors.NoPermissionError():
            return f"{place} does not allow this user to do that: check its ACL"
        case redis_errors.MovedError() | redis_errors.ClusterDownError() | redis_errors.ClusterCrossSlotError():
            return f"{place} is a Redis Cluster, which dcbridge does not support: use one server, or Sentinel"
        case redis_errors.OutOfMemoryError():
            return f"{place} is full and accepts no writes: give it more memory, and raise maxmemory"
        case redis_errors.TimeoutError() | TimeoutError():
            return f"{place} did not answer within {settings.redis_timeout:g} seconds"
        case redis_errors.ConnectionError() | OSError():
            return f"{place} cannot be reached: is Redis running there, and is DCBRIDGE_REDIS_URL right?"
        case _:
            return f"{place} refused a command: {type(error).__name__}"
