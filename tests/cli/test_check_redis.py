"""`dcbridge check` names what a user of Redis may not do; the documented rules are enough for the whole bridge."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import Ledger
from dcbridge.settings.process import Settings
from dcbridge.store.commands import acl, commands, not_allowed
from dcbridge.store.connection import INFO_NOT_CHECKED, NOT_CHECKED, connect, redis_problems
from tests import warm
from tests.ledger.ledger_bench import Bench, new_message
from tests.workers.far_side import CONFIGURATION, TOKEN, worlds

ROOT = Path(__file__).parents[2]
PASSWORD = "secret-of-the-user"


async def user(redis: Redis, *rules: str) -> Settings:
    """The settings of somebody with these rules alone."""
    await cast(Any, redis).execute_command(
        "ACL", "SETUSER", "bridge", "reset", "on", f">{PASSWORD}", *" ".join(rules).split()
    )
    port = redis.connection_pool.connection_kwargs["port"]
    return Settings(redis_url=SecretStr(f"redis://bridge:{PASSWORD}@127.0.0.1:{port}/0"), redis_timeout=5.0)


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ("~* +@all", ""),
        ("~* +@all -info -config", ""),
        ("~* +@all -@scripting", "+script|load +eval +evalsha"),
        ("~* +@all -evalsha", "+evalsha"),
        ("~* +@all -zadd -xadd", "+zadd +xadd"),
        ("~* +@all -blpop", "+blpop"),
        ("~* +@all -multi", "+multi"),
        ("~* +@all -@blocking", "+blpop"),
        ("~dcb:* +@all", "~rq:*"),
        ("~rq:* +@all", "~dcb:*"),
    ],
)
async def test_what_a_user_may_not_do_is_named_with_its_rule_and_nothing_is_left(
    redis: Redis, rules: str, missing: str
) -> None:
    limited = connect(await user(redis, rules))
    found = await not_allowed(limited)
    await limited.aclose()
    assert [one for one in found if missing not in one] == []
    assert bool(found) == bool(missing)
    assert PASSWORD not in str(found)
    assert await redis.keys("*") == [] or "del" in missing


async def test_the_documented_rules_are_what_is_tried() -> None:
    page = (ROOT / "docs/operations/redis.md").read_text(encoding="utf-8")
    assert acl() in page


async def test_every_command_of_the_scripts_is_tried() -> None:
    scripts = [*ROOT.glob("dcbridge/ledger/**/*.lua"), *ROOT.glob("workers/*.lua")]
    used = {name for script in scripts for name in re.findall(r"(?:call|ask|pcall)\('([A-Z]+)'", script.read_text())}
    assert len(used) > 20
    assert sorted(name.lower() for name in used if name.lower() not in {one[0] for one in commands()}) == []


async def test_a_redis_that_tells_nothing_of_itself_is_no_dead_redis(redis: Redis) -> None:
    settings = await user(redis, "~* +@all -info -config")
    limited = connect(settings)
    assert await redis_problems(limited, settings) == [INFO_NOT_CHECKED, NOT_CHECKED]
    await limited.aclose()


async def test_a_user_with_the_documented_rules_runs_the_bridge(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    settings = await user(redis, acl())
    limited = connect(settings)
    bench = Bench(limited)
    ledger = Ledger.of(settings, limited)
    async with worlds() as (_, _, url):
        yaml = tmp_path / "bridge.yaml"
        yaml.write_text(CONFIGURATION.format(url=url, nowhere="http://127.0.0.1:1", token=TOKEN))
        environment = {
            "PATH": "",
            "DCBRIDGE_CONFIG": str(yaml),
            "DCBRIDGE_REDIS_URL": settings.redis_url.get_secret_value(),
            "DCBRIDGE_TOKEN_KEY": "0123456789abcdef",
        }
        assert await ledger.messages.accept([new_message("m-1")]) == [True]
        said = await run(environment, "check")
        assert said[0] == 0, said
        code, out = await run(environment, "worker", "--burst")
        assert code == 0, out
        assert "NoPermission" not in out
        assert await bench.state(new_message("m-1").ref) != "accepted"
        found = await asyncio.gather(
            *(run(environment, *words) for words in (("status",), ("books",), ("trace", "m-1"), ("aside", "list")))
        )
    for code, out in found:
        assert code in (0, 1), out
        assert "ACL" not in out
    await limited.aclose()


async def run(environment: Mapping[str, str], *words: str) -> tuple[int, str]:
    ran = await asyncio.to_thread(warm.run, [sys.executable, "-m", "dcbridge", *words], environment, timeout=90)
    return ran.returncode, ran.stdout + ran.stderr
