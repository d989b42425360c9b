"""Redis by every kind of address, what is said of one that is not safe, and what an answer waits for.

With another server than the embedded one: PATH=/folder/of/valkey-server:$PATH pytest …
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis as sync
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from dcbridge.cli.dev.embedded_redis import find_server, free_port
from dcbridge.ledger import Ledger, NewTask
from dcbridge.settings.process import Settings
from dcbridge.settings.redis_url import read_address
from dcbridge.store.connection import connect, connect_sync, redis_problems, redis_warnings
from dcbridge.store.durability import Durable, NotDurable
from tests.certificates import self_signed

CANARY = "canary-8f1e6a"


def settings(url: str, **changes: Any) -> Settings:
    return Settings(**{"redis_url": SecretStr(url), "redis_timeout": 1.0, **changes})


@dataclass
class Servers:
    """Servers of this test's own, each with its arguments; all gone after it."""

    folder: Path
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *arguments: str, port: int = 0, sentinel: str = "") -> int:
        """The port of a server that answers. Raises RuntimeError with its words when it ends."""
        port = port or free_port()
        home = self.folder / str(port)
        home.mkdir(exist_ok=True)
        command = [find_server()]
        if sentinel:
            (home / "sentinel.conf").write_text(f"port {port}\nbind 127.0.0.1\ndir {home}\n{sentinel}\n")
            command += [str(home / "sentinel.conf"), "--sentinel"]
        else:
            command += ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(home), "--save", ""]
            command += ["--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0", *arguments]
        log = (home / "log").open("wb")
        self.processes[port] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        log.close()
        while self.processes[port].poll() is None:
            try:
                with sync.Redis(port=port, socket_timeout=1.0, retry=Retry(NoBackoff(), 0)) as client:
                    client.ping()
                return port
            except sync.AuthenticationError:
                return port
            except sync.RedisError:
                time.sleep(0.02)
        raise RuntimeError((home / "log").read_text(errors="replace"))

    def signal(self, port: int, number: int) -> None:
        os.kill(self.processes[port].pid, number)

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    started = Servers(tmp_path)
    yield started
    started.stop()


def url_of(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def follow(primary: int) -> list[str]:
    return ["--replicaof", "127.0.0.1", str(primary)]


def version(port: int) -> tuple[int, ...]:
    with sync.Redis(port=port) as client:
        info: Any = client.info("server")
    return tuple(int(n) for n in info["redis_version"].split(".")[:2])


# ---------------------------------------------------------------- addresses

ADDRESSES = [
    ("redis://localhost", "redis://localhost:6379", False),
    (f"redis://user:{CANARY}@10.0.0.1:7000/3?x={CANARY}", "redis://10.0.0.1:7000/3", True),
    ("redis://[::1]/1", "redis://[::1]:6379/1", False),
    ("redis://redis.example.com", "redis://redis.example.com:6379", True),
    (f"rediss://user:{CANARY}@redis:6380", "rediss://redis:6380", False),
    ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock", False),
    (
        f"redis+sentinel://user:{CANARY}@one:1,[fe80::1]/main/2?sentinel_password={CANARY}",
        "redis+sentinel://one:1,[fe80::1]:26379/main/2",
        True,
    ),
    ("redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", "redis+sentinel://127.0.0.1:1,127.0.0.1:2/main", False),
    ("redis+sentinel://127.0.0.1:1,10.0.0.1:2/main", "redis+sentinel://127.0.0.1:1,10.0.0.1:2/main", True),
    ("rediss+sentinel://one,two/main", "rediss+sentinel://one:26379,two:26379/main", False),
]


@pytest.mark.parametrize(("url", "place", "in_the_clear"), ADDRESSES)
def test_an_address_prints_without_its_secrets_and_says_whether_it_is_encrypted(
    url: str, place: str, in_the_clear: bool
) -> None:
    address = read_address(url)
    assert address.place == place
    assert CANARY not in repr(address)
    assert any("not encrypted" in what for what in redis_warnings(settings(url))) == in_the_clear


def test_a_certificate_that_is_not_checked_is_named() -> None:
    assert redis_warnings(settings("rediss://redis?ssl_cert_reqs=required")) == []
    [said] = redis_warnings(settings("rediss://redis?ssl_cert_reqs=none"))
    assert "is not checked" in said


async def test_a_socket_and_a_user_with_a_password(servers: Servers, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    servers.start(
        "--unixsocket", str(socket), "--user", "default", "off",
        "--user", "bridge", "on", ">pass@word", "~*", "&*", "+@all",
    )  # fmt: skip
    for url, allowed in ((f"unix://bridge:pass%40word@{socket}?db=3", True), (f"unix://bridge:other@{socket}", False)):
        told = settings(url)
        async with connect(told) as client:
            with connect_sync(told) as twin:
                if allowed:
                    await client.set("key", "value")
                    assert twin.get("key") == b"value"
                else:
                    with pytest.raises(RedisError):
                        await client.set("key", "value")
                    with pytest.raises(RedisError):
                        twin.get("key")


# ---------------------------------------------------------------- what is not safe

UNSAFE = [
    ({"maxmemory-policy": "allkeys-lru"}, {}, "maxmemory-policy is allkeys-lru"),
    ({"appendfsync": "everysec"}, {}, "appendfsync is everysec"),
    ({"appendonly": "no"}, {}, "the append-only file is off"),
    ({"maxmemory": "1mb"}, {}, "% of maxmemory is used"),
    ({}, {"replicas": 1}, "0 of the 1 replicas that DCBRIDGE_REPLICAS asks for are connected"),
]


@pytest.mark.parametrize(("config", "changes", "said"), UNSAFE)
async def test_what_is_not_safe_is_named_and_nothing_is_said_of_its_twin(
    servers: Servers, config: dict[str, str], changes: dict[str, Any], said: str
) -> None:
    url = url_of(servers.start())
    async with connect(settings(url)) as client:
        assert await redis_problems(client, settings(url)) == []
        for name, value in config.items():
            await client.config_set(name, value)
        [found] = await redis_problems(client, settings(url, **changes))
        assert said in found


async def test_a_replica_and_a_server_without_waitaof_are_named(servers: Servers) -> None:
    primary = servers.start()
    replica = servers.start(*follow(primary))
    async with connect(settings(url_of(replica))) as client:
        assert "this Redis is a replica" in (await redis_problems(client, settings(url_of(replica))))[0]
    told = settings(url_of(primary), durability="waitaof")
    async with connect(told) as client:
        await client.config_set("appendfsync", "everysec")
        found = await redis_problems(client, told)
    if version(primary) < (7, 2):
        assert "has no WAITAOF" in found[0]
    else:
        assert found == []


# ---------------------------------------------------------------- what an answer waits for


def ledger_of(client: Any, told: Settings) -> Ledger:
    return Ledger(client, keep=60, keep_dead=60, durable=Durable(told))


def task(name: str) -> NewTask:
    return NewTask(name, "callback", "", b"")


def until_connected(primary: int, count: int = 1) -> None:
    with sync.Redis(port=primary) as client:
        for _ in range(500):
            info: Any = client.info("replication")
            if sum(info.get(f"slave{n}", {}).get("state") == "online" for n in range(count)) == count:
                return
            time.sleep(0.02)
    raise AssertionError(info)


async def test_a_write_that_too_few_replicas_have_is_not_accepted_however_often_it_is_repeated(
    servers: Servers,
) -> None:
    primary = servers.start()
    replica = servers.start(*follow(primary))
    until_connected(primary)
    told = settings(url_of(primary), replicas=1, redis_timeout=2.0)
    async with connect(told) as client:
        ledger = ledger_of(client, told)
        assert await ledger.tasks.put([task("one")]) == [True]
        servers.signal(replica, signal.SIGSTOP)
        for _ in range(3):  # the second one writes nothing, and a fresh connection has nothing to wait for
            with pytest.raises(NotDurable):
                await ledger.tasks.put([task("two")])
            await client.connection_pool.disconnect()
        servers.signal(replica, signal.SIGCONT)
        assert await ledger.tasks.put([task("two"), task("three")]) == [False, True]
        with sync.Redis(port=replica) as copy:
            assert copy.exists("dcb:t:one", "dcb:t:two", "dcb:t:three") == 3
        two = settings(url_of(primary), replicas=2, redis_timeout=2.0)
        with pytest.raises(NotDurable, match="in 1 of 2 replicas"):
            await ledger_of(client, two).tasks.put([task("four")])


async def test_a_script_that_the_server_forgot_is_loaded_again(servers: Servers) -> None:
    primary = servers.start()
    servers.start(*follow(primary))
    until_connected(primary)
    told = settings(url_of(primary), replicas=1)
    async with connect(told) as client:
        ledger = ledger_of(client, told)
        for name in ("one", "two"):
            assert await ledger.tasks.put([task(name)]) == [True]
            await client.script_flush()


async def test_waitaof_waits_for_the_disk(servers: Servers) -> None:
    primary = servers.start("--appendfsync", "no")
    told = settings(url_of(primary), durability="waitaof", redis_timeout=3.0)
    async with connect(told) as client:
        ledger = ledger_of(client, told)
        if version(primary) < (7, 2):
            with pytest.raises(RedisError, match="unknown command"):
                await ledger.tasks.put([task("one")])
            pytest.skip(f"this server is {version(primary)}; WAITAOF came with 7.2")
        with pytest.raises(NotDurable, match="on 0 disks"):
            await ledger.tasks.put([task("one")])
        await client.config_set("appendfsync", "everysec")
        assert await asyncio.gather(*(ledger.tasks.put([task(f"{n}")]) for n in range(1000))) == [[True]] * 1000


# ---------------------------------------------------------------- TLS


async def test_tls_with_certificates_on_both_sides(servers: Servers, tmp_path: Path) -> None:
    server, server_key = self_signed(tmp_path, "server")
    ours, our_key = self_signed(tmp_path, "ours")
    port = free_port()
    try:
        servers.start(
            "--tls-port", str(port), "--tls-cert-file", str(server), "--tls-key-file", str(server_key),
            "--tls-ca-cert-file", str(ours), "--tls-auth-clients", "yes",
        )  # fmt: skip
    except RuntimeError as error:
        pytest.skip(f"this server knows no TLS: {str(error).strip().splitlines()[-1]}")
    mutual = {"redis_client_certificate": str(ours), "redis_client_key": str(our_key)}
    for changes, accepted in (
        ({"redis_ca_file": str(server), **mutual}, True),
        ({"redis_ca_file": str(server)}, False),  # we show nothing
        ({"redis_ca_file": str(ours), **mutual}, False),  # it is not who we trust
        (mutual, False),
    ):
        told = settings(f"rediss://127.0.0.1:{port}/0", **changes)
        async with connect(told) as client:
            with connect_sync(told) as twin:
                if accepted:
                    await client.set("key", "value")
                    assert twin.get("key") == b"value"
                    assert await redis_problems(client, told) == []
                else:
                    with pytest.raises(RedisError):
                        await client.ping()
                    with pytest.raises(RedisError):
                        twin.ping()


# ---------------------------------------------------------------- Sentinel


@pytest.mark.parametrize("dead", [0, 1])
async def test_sentinel_leads_to_the_primary_and_after_a_failover_to_the_next_one(servers: Servers, dead: int) -> None:
    primary = servers.start("--requirepass", "secret", "--masterauth", "secret")
    replica = servers.start(*follow(primary), "--requirepass", "secret", "--masterauth", "secret")
    watch = (
        f"sentinel monitor main 127.0.0.1 {primary} 2\nsentinel auth-pass main secret\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000"
    )
    try:
        sentinels = [servers.start(sentinel=watch) for _ in range(3)]
    except RuntimeError as error:
        pytest.skip(f"this server cannot be a sentinel: {str(error).strip().splitlines()[-1]}")
    asked = [free_port() for _ in range(dead)] + sentinels
    told = settings(f"redis+sentinel://:secret@{','.join(f'127.0.0.1:{port}' for port in asked)}/main/0", replicas=1)
    async with connect(told) as client:
        ledger = ledger_of(client, told)
        with connect_sync(told) as twin:
            await _until_kept(ledger, "one")
            assert twin.exists("dcb:t:one") == 1
            assert await redis_problems(client, told) == []
            for port in sentinels:  # each knows the replica and the others
                with sync.Redis(port=port) as sentinel:
                    for _ in range(500):
                        state: Any = sentinel.sentinel_master("main")
                        if state["num-other-sentinels"] == 2 and state["num-slaves"] == 1:
                            break
                        await asyncio.sleep(0.05)
            servers.signal(primary, signal.SIGKILL)
            with pytest.raises(RedisError):
                await ledger.tasks.put([task("two")])
            # The new primary has no replica, so that is one too few; it takes what asks for none.
            alone = ledger_of(client, told.model_copy(update={"replicas": 0}))
            await _until_kept(alone, "three")
            assert twin.exists("dcb:t:one", "dcb:t:three") == 2
            info: Any = await client.info("replication")
            assert info["role"] == "master"
            assert "0 of the 1 replicas" in (await redis_problems(client, told))[0]
            with pytest.raises(NotDurable):
                await ledger.tasks.put([task("four")])
    with sync.Redis(port=replica, password="secret") as new:
        assert new.exists("dcb:t:one", "dcb:t:three") == 2


async def _until_kept(ledger: Ledger, name: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await ledger.tasks.put([task(name)])
                return
            except RedisError:
                await asyncio.sleep(0.1)


async def test_sentinels_that_are_all_dead_fail_in_time(servers: Servers) -> None:
    told = settings("redis+sentinel://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3/main")
    async with connect(told) as client, asyncio.timeout(3):
        with pytest.raises(RedisError):
            await client.ping()
    with connect_sync(told) as twin, pytest.raises(RedisError):
        twin.ping()
