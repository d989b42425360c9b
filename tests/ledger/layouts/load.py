"""Puts what a version has left in Redis back into one, as if it had been left a moment ago."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from redis import Redis

HERE = Path(__file__).parent


def load(redis: Redis, layout: int) -> dict[str, Any]:
    """Fill an empty Redis; what the recording says of itself."""
    about, *lines = map(json.loads, (HERE / f"layout-{layout}.jsonl").read_text().splitlines())
    now = time.time() * 1000
    for line in lines:
        _put(redis, line["key"], line["type"], line["value"], now)
        if "ms" in line:
            redis.pexpire(line["key"], line["ms"])
    found: dict[str, Any] = about
    return found


def _put(redis: Any, key: str, kind: str, value: Any, now: float) -> None:
    match kind:
        case "hash":
            redis.hset(key, mapping={name: told(one, now) for name, one in value.items()})
        case "zset":
            redis.zadd(key, {member: float(told(score, now)) for member, score in value.items()})
        case "list":
            redis.rpush(key, *[told(one, now) for one in value])
        case "set":
            redis.sadd(key, *value)
        case "stream":
            for at, fields in value:
                redis.xadd(key, {name: told(one, now) for name, one in fields.items()}, id=told(at, now))
        case _:
            redis.set(key, told(value, now))


def told(value: Any, now: float) -> str | bytes:
    """What was stored, with its moments moved."""
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return " ".join(f"{now + float(word[1:]):.0f}" if _is_moment(word) else word for word in str(value).split(" "))


def _is_moment(word: str) -> bool:
    return word.startswith("@") and word[1:].removeprefix("-").replace(".", "", 1).isdigit()
