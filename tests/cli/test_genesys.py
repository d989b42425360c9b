"""`dcbridge genesys` and `dcbridge shapes`: a login by hand that every process then uses, and what was learnt."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
import yaml
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from sandbox.app import build_app
from sandbox.world import World
from tests.cli.session import invoke
from tests.listening import listening
from tests.sandbox.two_worlds import CCID, CONFIG
from tests.test_interfaces import ACCOUNT

KEY = "0123456789abcdef0123456789abcdef"


@dataclass
class Operator:
    """At a bridge whose bridge.yaml has this `auth`."""

    folder: Path
    url: str
    world: World
    environ: dict[str, str | None]

    def configure(self, ccid: str = CCID, **auth: str) -> None:
        told = {
            "public_url": "http://localhost:8080",
            "digital_channels": {"base_url": f"{self.url}/nexus/v3", "contact_center_id": ccid},
            "endpoints": {"main": {"secrets": ["0123456789abcdef"]}},
            "providers": {
                "post": {"kind": "smtp", "host": "localhost", "security": "none", "callback_secret": "0123456789abcdef"}
            },
            "channels": {"company.com": {"type": "email", "provider": "post"}},
            "genesys": {"base_url": self.url, "api_key": ACCOUNT.api_key},
        }
        if auth:
            client = {"client_id": "dcbridge", "client_secret": ACCOUNT.client_secret}
            told["genesys"] = {**told["genesys"], "auth": client | auth}  # type: ignore[dict-item]
        (self.folder / "bridge.yaml").write_text(yaml.safe_dump(told))

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Its exit code, and what it says on both outputs."""
        said = await asyncio.to_thread(invoke, list(arguments), "", self.environ)
        return said.code, " ".join((said.out + said.err).split())

    async def signs_in(self, paste: str) -> tuple[int, str]:
        """`paste`: what follows redirect_uri in the address that is pasted; "{}" stands for what the browser shows."""
        pipe = asyncio.subprocess.PIPE
        command = [sys.executable, "-m", "dcbridge", "genesys", "login"]
        process = await asyncio.create_subprocess_exec(
            *command,
            env={k: v for k, v in self.environ.items() if v},
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while not (line := await process.stdout.readline()).startswith(self.url.encode()):
                assert line, "no address was printed"
            async with httpx.AsyncClient(trust_env=False) as browser:
                answer = await browser.get(line.decode().strip())
            shown = answer.headers["location"].removeprefix(ACCOUNT.redirect_uri)
            said, _ = await process.communicate(f"{ACCOUNT.redirect_uri}{paste.format(shown)}\n".encode())
        return process.returncode or 0, " ".join(said.decode().split())


@pytest.fixture
async def operator(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Operator]:
    app = build_app(replace(CONFIG, genesys=ACCOUNT))
    async with listening(app) as url:
        environ: dict[str, str | None] = {
            "DCBRIDGE_CONFIG": str(tmp_path / "bridge.yaml"),
            "DCBRIDGE_REDIS_URL": redis_server.url,
            "DCBRIDGE_TOKEN_KEY": KEY,
            "COLUMNS": "200",
            "PYTHONPATH": str(Path(__file__).parent.parent.parent),
        }
        yield Operator(tmp_path, url, app.state.world, environ)


async def test_a_login_by_hand_is_used_and_renewed_by_others(operator: Operator, redis: Redis) -> None:
    operator.configure(grant="authorization_code", redirect_uri=ACCOUNT.redirect_uri)
    code, said = await operator.run("genesys", "check")
    assert (code, "sign in with `dcbridge genesys login`" in said) == (1, True)
    code, said = await operator.signs_in("{}")
    assert (code, "Signed in. The workers use" in said) == (0, True)
    assert await operator.run("genesys", "check") == (0, "ok: the token works")
    [key] = await redis.keys("dcb:token:*")
    await redis.hset(key, mapping={"good": 0, "renew": 0})
    assert await operator.run("genesys", "check") == (0, "ok: the token works")
    assert operator.world.counts["grants.refresh_token"] == 1
    assert operator.world.counts["grants.authorization_code"] == 1
    code, said = await operator.run("shapes", "authentication.userinfo")
    assert said == "authentication.userinfo authorities: list contactCenterId: text username: text"
    assert (await operator.run("shapes", "--forget"))[0] == 0
    assert await operator.run("shapes") == (0, "No interface has answered anything yet.")


async def test_what_a_check_finds(operator: Operator) -> None:
    operator.configure()
    assert (await operator.run("genesys", "check"))[0] == 2
    operator.configure(grant="client_credentials")
    assert (await operator.run("genesys", "login"))[0] == 2
    assert await operator.run("genesys", "check") == (0, "ok: the token works")
    operator.configure(grant="client_credentials", ccid="00000000-6c6f-44e0-9ce3-ce579337eadd")
    code, said = await operator.run("genesys", "check")
    assert (code, "another contact centre" in said) == (1, True)
    operator.environ["DCBRIDGE_TOKEN_KEY"] = None
    for command in (["genesys", "check"], ["check"], ["worker", "--burst"]):
        code, said = await operator.run(*command)
        assert (code, "DCBRIDGE_TOKEN_KEY: is not set, and the tokens" in said) == (2, True)
