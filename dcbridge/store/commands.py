"""Which commands the bridge needs of Redis, and which of them its user may not run: found by running each of them.

What is tried works on keys of its own, and leaves nothing.
"""

from __future__ import annotations

import secrets
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, NoPermissionError, RedisError, TimeoutError

_SHA = "0" * 40  # of no script: to be told so is to be allowed to ask

# Each with its arguments; {s}, {h}, {z}, {l}, {t} and {x} are a string, hash, sorted set, list, set and stream.
TRIED = """
ping; time; strlen {s}; type {s}; set {s} 1; get {s}; mget {s}; incr {s}; decr {s}; exists {s}
pexpire {s} 60000; pttl {s}; persist {s}; expire {s} 60; ttl {s}; hset {h} f 1; hget {h} f; hmget {h} f
hgetall {h}; hexists {h} f; hincrby {h} f 1; hsetnx {h} f 1; hkeys {h}; hlen {h}; hstrlen {h} f; hdel {h} g
hscan {h} 0; zadd {z} 1 a; zrem {z} b; zscore {z} a; zmscore {z} a; zrange {z} 0 0; zrevrange {z} 0 0
zrangebyscore {z} 0 0; zrevrangebyscore {z} 0 0; zcard {z}; zcount {z} 0 0; zrank {z} a; zincrby {z} 1 a
zscan {z} 0; zremrangebyscore {z} 0 0; zpopmin {z}; rpush {l} 1 2 3; lpush {l} 0; lindex {l} 0; llen {l}
lrange {l} 0 0; ltrim {l} 0 9; lrem {l} 1 9; lpop {l}; lpos {l} 0; dbsize; zrandmember {z} 1; blpop {l} 1; sadd {t} a
srem {t} b; smembers {t}; sismember {t} a; scard {t}; sscan {t} 0; xadd {x} 1-1 f 1; xrange {x} - +
xrevrange {x} + -; xlen {x}; xdel {x} 1-1; scan 0 count 1; script load return; eval return 0; evalsha {sha} 0
multi; discard; del {s} {h} {z} {l} {t} {x}
"""
OTHERS = ("exec", "unlink", "watch", "unwatch", "publish")  # of redis-py and RQ; with those above they are enough


def commands() -> list[list[str]]:
    """What is tried, word by word."""
    return [one.split() for line in TRIED.strip().splitlines() for one in line.split(";") if one.strip()]


def acl() -> str:
    """The rules of a user who may run what the bridge needs, and nothing else."""
    names = dict.fromkeys("script|load" if one[0] == "script" else one[0] for one in commands())
    return " ".join(["~dcb:*", "~rq:*", "-@all", *(f"+{name}" for name in (*names, *OTHERS))])


async def not_allowed(redis: Redis) -> list[str]:
    """What the user may not do, each with the rule to add. Raises RedisError when Redis does not answer."""
    commands_missing, keys_missing = dict[str, None](), dict[str, None]()
    for family in ("dcb", "rq"):
        name = f"{family}:probe:{secrets.token_hex(6)}"
        keys = {letter: f"{name}:{letter}" for letter in "shzltx"} | {"sha": _SHA}
        async with redis.client() as one:  # a connection of its own: MULTI must not meet others' commands
            for words in commands():
                answer = await _try(one, [word.format(**keys) for word in words])
                if isinstance(answer, NoPermissionError):
                    if "key" in str(answer):
                        keys_missing[f"~{family}:*"] = None
                    else:
                        commands_missing["script|load" if words[0] == "script" else words[0]] = None
    found = []
    if commands_missing:
        rules = " ".join(f"+{name}" for name in commands_missing)
        names = ", ".join(commands_missing)
        found.append(f"the user may not run {names}, and messages may be answered 503; add {rules} to its ACL")
    if keys_missing:
        found.append(f"the user may not use all keys of dcbridge; add {' '.join(keys_missing)} to its ACL")
    return found


async def _try(redis: Redis, words: list[str]) -> Any:
    try:
        return await cast(Any, redis).execute_command(*words)
    except NoPermissionError as error:
        return error
    except (RedisError, TypeError, ValueError) as error:
        if isinstance(error, ConnectionError | TimeoutError):
            raise
        return error  # it was run, and that is all that is asked for
