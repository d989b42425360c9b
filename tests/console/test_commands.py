"""`dcbridge console`: tokens and sessions at the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from dcbridge.cli.console import missing_for_console
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.console.main import serve
from dcbridge.console.sign_in.tokens import check
from dcbridge.ledger import Ledger
from dcbridge.ledger.layout import WrongLayout
from dcbridge.settings.process import Settings
from tests.cli.session import Session
from tests.console.running import KEY, configuration_of


async def test_a_token_is_shown_once_and_counts_until_it_is_revoked(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    shell, store = Session(redis, redis_server.url, tmp_path / "bridge"), Ledger(redis, keep=60, keep_dead=60).console
    made = await shell.types("console", "token", "create", "ada", "--role", "operator", "--by", "root")
    text = made.out.strip()
    assert (made.code, "tokens are not accepted yet" in made.err) == (0, True)
    found = await check(store, text)
    assert found
    assert (found[0].name, str(found[0].role)) == ("ada", "operator")
    listed = await shell.types("console", "token", "list", "--json")
    (row,) = listed.lines
    assert (row["name"], row["role"], row["by"]) == ("ada", "operator", "root")
    assert text not in listed.out
    assert text.split("_", 2)[2] not in (await shell.types("console", "token", "list")).out
    await store.begin("ada", "operator", "token", lasts=60, idle=60, token=row["id"])
    await store.begin("eve", "viewer", "oidc", lasts=60, idle=60)
    assert {one["name"] for one in (await shell.types("console", "sessions", "list", "--json")).lines} == {"ada", "eve"}
    assert (await shell.types("console", "sessions", "revoke", "eve")).out == "1 session ended.\n"
    assert (await shell.types("console", "sessions", "revoke", "eve")).code == 1
    assert (await shell.types("console", "token", "revoke", row["id"])).code == 0
    assert await check(store, text) is None
    assert (await shell.types("console", "token", "revoke", row["id"])).code == 1
    actions = (await shell.types("audit", "--json")).lines
    assert [(one["action"], one["result"]) for one in actions] == [
        ("console.token", "revoked"),
        ("console.sessions", "1 ended"),
        ("console.token", "made for ada, operator"),
    ]


@pytest.mark.parametrize("lasts", ["0d", "367d", "1h30m", "99999999d", "-1d", "١d"])
async def test_a_token_has_an_end(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path, lasts: str) -> None:
    shell = Session(redis, redis_server.url, tmp_path / "bridge")
    assert (await shell.types("console", "token", "create", "ada", f"--expires={lasts}")).code == 2


async def test_it_reads_nothing_of_a_newer_version(redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.set("dcb:layout", "999")
    settings = Settings(token_key=KEY, redis_url=redis_server.url, console_port=0)
    with pytest.raises(WrongLayout):
        async with asyncio.timeout(10):
            await serve(settings, configuration_of(), dev=True)


def test_what_is_not_installed_is_named() -> None:
    assert missing_for_console() == ""
    assert missing_for_console(("jinja2", "no_such_module")) == (
        "the console is not installed (no_such_module missing); install the extra `console`:"
        " pip install 'dcbridge[console]'"
    )
