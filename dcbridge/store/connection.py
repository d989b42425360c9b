"""How a process reaches Redis, and what about a Redis is not safe for messages."""

from __future__ import annotations

from typing import Any, Protocol, cast

import redis as sync
import redis.sentinel as sync_sentinel
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry as SyncRetry

from dcbridge.settings.process import Settings
from dcbridge.settings.redis_url import RedisAddress, read_address
from dcbridge.store.packing import pack_in_c

OLDEST = (6, 2)
KNOWS_WAITAOF = (7, 2)
NEARLY_FULL = 0.85  # of maxmemory, or of the memory of Redis' computer where there is no maxmemory
FILLING = 0.7  # of the same
BEHIND = 10  # seconds without a word of a replica
NOT_CHECKED = "CONFIG GET is not allowed: maxmemory-policy and appendfsync could not be checked"
INFO_NOT_CHECKED = "INFO is not allowed: the version, the append-only file, replicas and memory could not be checked"
NOTES = (NOT_CHECKED, INFO_NOT_CHECKED)  # what managed services may refuse, and nothing needs
_ONE_QUESTION = 2  # sentinels that may be dead before a living one is asked, within `redis_timeout`


class Way(Protocol):
    """What of the settings a connection needs."""

    @property
    def redis_url(self) -> SecretStr: ...
    @property
    def redis_timeout(self) -> float: ...
    @property
    def redis_ca_file(self) -> str: ...
    @property
    def redis_client_certificate(self) -> str: ...
    @property
    def redis_client_key(self) -> str: ...
    @property
    def concurrency(self) -> int: ...


class _BehindSentinel(Redis):
    """redis-py's client of a group leaves its connections to the sentinels open when it is closed."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        if self.auto_close_connection_pool and isinstance(self.connection_pool, SentinelConnectionPool):
            await self.connection_pool.sentinel_manager.aclose()


def connect(settings: Way, *, patience: float | None = None) -> Redis:
    """A client whose calls fail after `redis_timeout` (or `patience`) seconds and are not repeated behind our back."""
    address = read_address(settings.redis_url.get_secret_value())
    options = _options(settings, address, patience)
    options["retry"] = Retry(NoBackoff(), 1)  # a connection that died while idle is opened again once
    if not address.service:
        found = Redis.from_url(settings.redis_url.get_secret_value(), **options)
    else:
        group = cast(Any, Sentinel)(
            address.hosts, sentinel_kwargs=_ask(settings, address, Retry(NoBackoff(), 0)), **options
        )
        found = group.master_for(address.service, redis_class=_BehindSentinel, **_who(address))
    pack_in_c(found.connection_pool)
    return found


def connect_sync(settings: Settings, *, patience: float | None = None) -> sync.Redis:
    """As `connect`, for RQ, which blocks."""
    address = read_address(settings.redis_url.get_secret_value())
    options = _options(settings, address, patience)
    options["retry"] = SyncRetry(NoBackoff(), 1)
    if not address.service:
        return sync.Redis.from_url(settings.redis_url.get_secret_value(), **options)
    group = cast(Any, sync_sentinel.Sentinel)(
        list(address.hosts), sentinel_kwargs=_ask(settings, address, SyncRetry(NoBackoff(), 0)), **options
    )
    found: sync.Redis = group.master_for(address.service, **_who(address))
    return found


def _options(settings: Way, address: RedisAddress, patience: float | None) -> dict[str, Any]:
    return {
        "socket_timeout": patience if patience is not None else settings.redis_timeout,
        "socket_connect_timeout": settings.redis_timeout,
        "health_check_interval": 15,
        "decode_responses": False,
        # redis-py takes 100 where nothing is said, and raises at the next: each job in flight may need one.
        "max_connections": settings.concurrency + 200,
        **({} if address.scheme == "unix" else {"socket_keepalive": True}),
        **_tls(settings, address),
    }


def _tls(settings: Way, address: RedisAddress) -> dict[str, Any]:
    """The server's certificate and its name are checked, as redis-py does by itself."""
    if not address.tls:
        return {}
    named = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_client_certificate,
        "ssl_keyfile": settings.redis_client_key,
    }
    given: dict[str, Any] = {name: path for name, path in named.items() if path}
    return given | ({"ssl": True} if address.service else {})


def _who(address: RedisAddress) -> dict[str, Any]:
    named = {"username": address.username, "password": address.password}
    return {"db": address.db, **{name: value for name, value in named.items() if value}}


def _ask(settings: Way, address: RedisAddress, retry: object) -> dict[str, Any]:
    """For the sentinels: they are asked one after the other, so a dead one may not take the whole time.

    Left to itself redis-py 8.1 would ask each of them eleven times, with pauses that add up to many seconds.
    """
    share = settings.redis_timeout / min(len(address.hosts), _ONE_QUESTION + 1)
    named = {
        "username": address.query.get("sentinel_username"),
        "password": address.query.get("sentinel_password"),
    }
    return {
        "retry": retry,
        "socket_timeout": share,
        "socket_connect_timeout": share,
        **{name: value for name, value in named.items() if value},
        **_tls(settings, address),
    }


# ---------------------------------------------------------------- what is not safe


def redis_warnings(settings: Settings) -> list[str]:
    """What loses nothing and is still no good, each with its mend."""
    address = read_address(settings.redis_url.get_secret_value())
    found = []
    if address.in_the_clear:
        found.append(
            "the connection is not encrypted: messages cross the network to Redis as plain text; use rediss://"
        )
    if address.tls and address.query.get("ssl_cert_reqs", "required") != "required":
        found.append("the certificate of Redis is not checked; leave ssl_cert_reqs out and set DCBRIDGE_REDIS_CA_FILE")
    return found


async def redis_doubts(redis: Redis) -> list[str]:
    """What loses nothing yet. Raises RedisError when Redis does not answer."""
    try:
        info: dict[str, Any] = await redis.info()
    except ResponseError:
        return []
    found = []
    used, most, whose = _room(info)
    if FILLING * most <= used < NEARLY_FULL * most:
        found.append(f"{used * 100 // most}% of {whose} is used")
    for number in range(int(info.get("connected_slaves", 0))):
        replica = info.get(f"slave{number}")
        if isinstance(replica, dict) and (replica.get("state") != "online" or int(replica.get("lag", 0)) > BEHIND):
            words = f"{replica.get('ip')}:{replica.get('port')}"
            found.append(f"the replica {words} is {replica.get('state')}, heard of {replica.get('lag', 0)} s ago")
    return found


async def redis_problems(redis: Redis, settings: Settings) -> list[str]:
    """What would lose messages or refuse them, each with its mend. Raises RedisError when Redis does not answer."""
    info: dict[str, Any] = {}
    try:
        info = await redis.info()
        found = [*_server(info), *_on_disk(info), *_copies(info, settings), *_memory(info)]
    except ResponseError:
        found = [INFO_NOT_CHECKED]
    waits = settings.durability == "waitaof"
    if info and waits and _version(info) < KNOWS_WAITAOF:
        found.append(
            f"Redis {info.get('redis_version')} has no WAITAOF (7.2 has it), so no message can be accepted;"
            " set DCBRIDGE_DURABILITY=always and `appendfsync always`"
        )
    try:
        # One name a call: Redis 6.2 takes no more.
        config: dict[Any, Any] = await redis.config_get("maxmemory-policy") | await redis.config_get("appendfsync")
    except ResponseError:
        return [*found, NOT_CHECKED]
    policy = _text(config, "maxmemory-policy")
    if policy and policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: messages can be evicted; set `maxmemory-policy noeviction`")
    fsync = _text(config, "appendfsync")
    if info.get("aof_enabled") and fsync == "no" and waits:
        found.append("appendfsync is no: WAITAOF never succeeds; set `appendfsync everysec` or `always`")
    elif info.get("aof_enabled") and fsync not in ("always", "") and not waits:
        mend = " or DCBRIDGE_DURABILITY=waitaof" if _version(info) >= KNOWS_WAITAOF else ""
        found.append(
            f"appendfsync is {fsync}: a crash loses the last one or two seconds; set `appendfsync always`{mend}"
        )
    return found


def _server(info: dict[str, Any]) -> list[str]:
    found = []
    if _version(info) < OLDEST:
        found.append(f"Redis {info.get('redis_version')} is too old; 6.2 is the oldest that works")
    if info.get("cluster_enabled"):
        found.append("this is a Redis Cluster, which dcbridge does not support; use one server, or Sentinel")
    if info.get("role") == "slave":
        found.append("this Redis is a replica and cannot be written; give the address of the primary")
    if not info.get("aof_enabled"):
        found.append("the append-only file is off: a restart loses accepted messages; set `appendonly yes`")
    elif info.get("aof_last_write_status", "ok") != "ok":
        found.append("the last write to the append-only file failed; is the disk of Redis full?")
    return found


def _on_disk(info: dict[str, Any]) -> list[str]:
    """Snapshots, and the append-only file when it is written anew."""
    found = []
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        found.append(
            "the last snapshot (RDB) failed: with `stop-writes-on-bgsave-error yes` every message is answered 503;"
            " is the disk of Redis full, or its memory too small for a fork?"
        )
    if info.get("aof_enabled") and info.get("aof_last_bgrewrite_status", "ok") != "ok":
        found.append("the append-only file could not be rewritten and grows: is the disk of Redis full?")
    return found


def _copies(info: dict[str, Any], settings: Settings) -> list[str]:
    there, asked = int(info.get("connected_slaves", 0)), settings.replicas
    if there < asked:
        return [
            f"{there} of the {asked} replicas that DCBRIDGE_REPLICAS asks for are connected:"
            " until they are, every message is answered 503"
        ]
    if not asked and read_address(settings.redis_url.get_secret_value()).service:
        return ["Sentinel without DCBRIDGE_REPLICAS: a failover loses what the new primary had not received; set it"]
    return []


def _memory(info: dict[str, Any]) -> list[str]:
    used, most, whose = _room(info)
    if not most or used < NEARLY_FULL * most:
        return []
    if whose == "maxmemory":
        return [f"{used * 100 // most}% of maxmemory is used: at 100% every message is answered 503; give Redis more"]
    return [f"{used * 100 // most}% of {whose} is used: at 100% Redis is killed; give it more"]


def _room(info: dict[str, Any]) -> tuple[int, int, str]:
    """Bytes used, bytes that there are (0 where nobody says), and whose they are."""
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if most:
        return used, most, "maxmemory"
    return used, int(info.get("total_system_memory", 0)), "the memory of Redis' computer (maxmemory is not set)"


def _version(info: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in str(info.get("redis_version", "0")).split(".")[:2] if n.isdigit())


def _text(config: dict[Any, Any], name: str) -> str:
    value = config.get(name, config.get(name.encode(), ""))
    return value.decode() if isinstance(value, bytes) else str(value)
