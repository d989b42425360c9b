"""What Redis says of a job is data: it chooses one of our own functions, and gives it one id.

RQ's own way is to import whatever dotted path a job names, so that everybody who can write to Redis
can run code in a worker. Here a path is looked up and never imported, and whatever else a job's hash
may hold (callbacks, dependencies, metadata, another serializer) is not read at all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import orjson

from dcbridge.ledger.jobs import JOBS
from workers import jobs

LARGEST = 1 << 20  # bytes of a job's data; ours hold an id, which a signed webhook may have made long
_SHOWN = 64  # characters of either in a log line

FUNCTIONS: dict[str, Callable[[str], Awaitable[None]]] = {kind.path: getattr(jobs, name) for name, kind in JOBS.items()}
_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
_OURS = "workers.jobs."


class RefusedJob(Exception):
    """A job that is not run. `path`: the function that it names, as far as that may be shown."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def read_job(data: bytes) -> tuple[Callable[[str], Awaitable[None]], str]:
    """The function of a job, and its one argument. Raises RefusedJob."""
    if not data or len(data) > LARGEST:
        raise RefusedJob("data_missing_or_too_large")
    try:
        given = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise RefusedJob("data_not_json") from None
    if not isinstance(given, list) or len(given) != 4 or not isinstance(given[0], str):
        raise RefusedJob("data_not_a_job")
    path, instance, arguments, named = given
    function = FUNCTIONS.get(path)
    if function is None:
        unknown = path.startswith(_OURS) and path.count(".") == _OURS.count(".")
        raise RefusedJob("unknown_job" if unknown else "path_not_allowed", shown_path(path))
    if instance is not None or named != {} or not isinstance(named, dict):
        raise RefusedJob("arguments_not_allowed", path)
    if not isinstance(arguments, list) or len(arguments) != 1 or not isinstance(arguments[0], str) or not arguments[0]:
        raise RefusedJob("arguments_not_allowed", path)
    return function, arguments[0]


def shown_path(path: str) -> str:
    """For a log line: a dotted name, cut; nothing where it is anything else."""
    return path[:_SHOWN] if len(path) <= 4 * _SHOWN and _PLAIN_PATH.fullmatch(path) else "[not a dotted name]"


def shown_id(job_id: bytes) -> str:
    """For a log line: printable ASCII, cut."""
    return "".join(chr(one) if 32 < one < 127 else "?" for one in job_id[:_SHOWN])
