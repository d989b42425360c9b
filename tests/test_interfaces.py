"""Tokens for Genesys' interfaces: one for all processes, renewed by one of them, and never to be read by others."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from authlib.integrations.base_client import OAuthError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.genesys import Genesys
from dcbridge.errors import AccountFault, SendError, Unreachable
from dcbridge.genesys.authentication import Credentials
from dcbridge.interfaces import NO_LOGIN, Interfaces, Operation, SharedToken
from dcbridge.ledger import Ledger
from dcbridge.ledger.tokens import SETTLED
from dcbridge.ledger.vault import Vault
from dcbridge.oauth2 import read_grant
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings
from dcbridge.transport.sender import Sender
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests import stampede
from tests.authlib_server import Server
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.warm import Warm

ACCOUNT = GenesysAccount(
    api_key="the-api-key", client_secret="the-client-secret", password="the-password", refresh_token="the-first-refresh"
)
WHOAMI = Operation("authentication", "userinfo", bearer=True)
ROOT = Path(__file__).parent.parent


@dataclass
class Side:
    """Genesys, and one process of ours."""

    world: World
    url: str
    redis: Redis
    ledger: Ledger
    sender: Sender
    metrics: Metrics = field(default_factory=Metrics)
    now: float = 0.0

    def credentials(self, **changes: Any) -> Credentials:
        return replace(stampede.credentials(self.url), **changes)

    def token(self, **changes: Any) -> SharedToken:
        vault = Vault(changes.pop("vault", stampede.KEY))
        clock = changes.pop("clock", lambda: time.monotonic() + self.now)
        return SharedToken(self.credentials(**changes), self.ledger, vault, self.sender, self.metrics, clock, lock=2.0)

    def interfaces(self, token: SharedToken | None) -> Interfaces:
        return Interfaces("the-api-key", token, self.sender, self.ledger, self.metrics)

    def asks(self) -> httpx.Request:
        return httpx.Request("GET", f"{self.url}/auth/v3/userinfo")

    @property
    def grants(self) -> dict[str, int]:
        counts = self.world.counts
        return {name.removeprefix("grants."): n for name, n in counts.items() if name.startswith("grants.") and n}


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=ACCOUNT))
    async with listening(app) as url, Sender(read_timeout=1.0) as sender:
        yield Side(app.state.world, url, redis, Ledger(redis, keep=60, keep_dead=60), sender)


@asynccontextmanager
async def closing(token: SharedToken) -> AsyncIterator[SharedToken]:
    try:
        yield token
    finally:
        await token.close()


async def test_a_stampede_at_expiry_gets_one_grant(side: Side, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    """8 processes, 200 coroutines each."""
    name = side.token().id
    await side.ledger.tokens.put(Vault(stampede.KEY), name, "an-old-token", 0.0, 0.0)  # it has just ended
    command = [sys.executable, "-m", "tests.stampede", redis_server.url, side.url, "200", "15"]
    files = [tmp_path / f"{number}" for number in range(8)]
    processes = [Warm(command, {"PYTHONPATH": str(ROOT)}, file, file, ROOT) for file in files]
    await _released(side, processes)
    assert [await asyncio.to_thread(one.wait, 60) for one in processes] == [0] * 8
    got = sum(map(_got, files), Counter[str]())
    assert list(got.values()) == [1600]
    assert side.grants == {"asked": 1, "client_credentials": 1}


async def test_the_process_that_renews_is_killed(side: Side, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    side.world.switches.genesys.mode = "silent"
    command = [sys.executable, "-m", "tests.stampede", redis_server.url, side.url, "200", "2"]
    holder = Warm(command, {"PYTHONPATH": str(ROOT)}, tmp_path / "holder", tmp_path / "holder", ROOT)
    await _released(side, [holder])
    await _until(lambda: side.world.counts["grants.asked"] == 1)
    files = [tmp_path / f"{number}" for number in range(3)]
    others = [Warm(command, {"PYTHONPATH": str(ROOT)}, file, file, ROOT) for file in files]
    await _released(side, others)
    holder.kill()
    holder.wait()
    side.world.switches.genesys.mode = "ok"
    assert [await asyncio.to_thread(one.wait, 60) for one in others] == [0] * 3
    got = sum(map(_got, files), Counter[str]())
    assert list(got.values()) == [600]
    assert side.grants == {"asked": 2, "client_credentials": 1}


def _got(file: Path) -> Counter[str]:
    """Which tokens its coroutines had; log lines come before that."""
    return Counter(json.loads(file.read_text().splitlines()[-1]))


async def _released(side: Side, processes: list[Warm]) -> None:
    async def ready() -> bool:
        assert all(one.poll() is None for one in processes), [one.said() for one in processes]
        return int(await side.redis.get(stampede.READY) or 0) == len(processes)

    await _until(ready)
    await side.redis.delete(stampede.READY)
    await side.redis.rpush(stampede.START, *["go"] * len(processes))


async def _until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while True:
            value = found()
            if await value if isinstance(value, Awaitable) else value:
                return
            await asyncio.sleep(0.02)


async def test_a_second_process_uses_the_token_of_the_first(side: Side) -> None:
    async with closing(side.token()) as one, closing(side.token()) as other:
        assert await one.token() == await other.token()
        assert side.grants == {"asked": 1, "client_credentials": 1}


async def test_a_token_is_renewed_before_its_end_by_one_of_them(side: Side) -> None:
    side.world.switches.genesys.token_life = 1000
    async with closing(side.token()) as one, closing(side.token()) as other:
        first = await one.token()
        assert await other.token() == first
        name = side.token().id
        await side.redis.hset(f"dcb:token:{name}", "renew", 0)
        side.now = 900  # by both clocks
        assert (await one.token(), await other.token()) == (first, first)  # still good
        await _until(lambda: side.grants["client_credentials"] == 2)
        side.now += 20
        await _until(lambda: _is_another(one, first))
        await _until(lambda: _is_another(other, first))
        assert await one.token() == await other.token()
    assert side.grants["client_credentials"] == 2


async def _is_another(token: SharedToken, than: str) -> bool:
    return await token.token() != than


@pytest.mark.parametrize(
    ("changes", "grants"),
    [
        ({}, {"client_credentials": 2}),
        ({"grant": "password", "username": "bridge", "password": "the-password"}, {"password": 1, "refresh_token": 1}),
        ({"grant": "refresh_token", "refresh_token": "the-first-refresh"}, {"refresh_token": 2}),
    ],
)
async def test_each_grant_gives_a_token_and_the_next_one(
    side: Side, changes: dict[str, Any], grants: dict[str, int]
) -> None:
    async with closing(side.token(**changes)) as token:
        interfaces = side.interfaces(token)
        assert (await interfaces.send(WHOAMI, side.asks())).good
        await _ends(side, token)
        assert (await interfaces.send(WHOAMI, side.asks())).good
    assert side.grants == {"asked": 2} | grants
    assert side.world.violations == side.world.violations.__class__()


async def _ends(side: Side, token: SharedToken) -> None:
    """At Genesys alone: nothing here knows it. It was given long enough ago."""
    side.world.given.tokens.clear()  # type: ignore[attr-defined]  # its own
    ago = int(time.time() * 1000 - SETTLED * 1000) - 1
    await side.redis.hset(f"dcb:token:{token.id}", "since", ago)


async def test_a_refused_refresh_token_falls_back_to_the_first_grant_once(side: Side) -> None:
    changes = {"grant": "password", "username": "bridge", "password": "the-password"}
    async with closing(side.token(**changes)) as token:
        await token.token()
        side.world.given.refresh.clear()  # type: ignore[attr-defined]
        await _ends(side, token)
        assert (await side.interfaces(token).send(WHOAMI, side.asks())).good
    assert side.grants == {"asked": 3, "password": 2, "refresh_token.refused": 1}


async def test_a_token_that_is_refused_as_soon_as_it_is_given_is_not_asked_for_again_and_again(side: Side) -> None:
    """It is not the token's fault: else every request would cost a grant."""
    async with closing(side.token()) as token:
        await token.token()
        side.world.given = None
        for _ in range(5):
            assert (await side.interfaces(token).send(WHOAMI, side.asks())).http == 401
    assert side.grants["asked"] == 1


async def test_another_process_has_renewed_a_token_that_is_refused(side: Side) -> None:
    async with closing(side.token()) as one, closing(side.token()) as other:
        assert await one.token() == await other.token()
        await _ends(side, one)
        for token in (one, other):
            assert (await side.interfaces(token).send(WHOAMI, side.asks())).good
    assert side.grants == {"asked": 2, "client_credentials": 2}


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"client_secret": "wrong"}, AccountFault, "login: Unauthorized"),
        ({"key": "wrong"}, AccountFault, "login: HTTP 403"),
        ({"grant": "password", "username": "bridge", "password": "wrong"}, AccountFault, "login: invalid_grant"),
        ({"grant": "authorization_code", "redirect_uri": "https://x"}, AccountFault, NO_LOGIN),
        ({"base_url": "http://127.0.0.1:1"}, Unreachable, "connect"),
    ],
)
async def test_a_login_that_fails_says_that_nothing_was_sent(
    side: Side, changes: dict[str, Any], error: type[SendError], code: str
) -> None:
    async with closing(side.token(**changes)) as token:
        with pytest.raises(error) as raised:
            await side.interfaces(token).send(WHOAMI, side.asks())
    assert raised.value.code.startswith(code)
    assert raised.value.taken is False


async def test_what_lies_in_redis_and_in_metrics_says_nothing(side: Side) -> None:
    changes = {"grant": "password", "username": "bridge", "password": "the-password"}
    async with closing(side.token(**changes)) as token:
        shown = await token.token()
        assert (await side.interfaces(token).send(WHOAMI, side.asks())).good
        stored = await side.ledger.script.hash(f"dcb:token:{token.id}")
        secrets = [shown, *side.world.given.refresh, "the-password", "the-client-secret"]  # type: ignore[attr-defined]
        written = b"\0".join([*stored.values(), *stored, side.metrics.text(), token.id.encode()])
        assert [one for one in secrets if one.encode() in written] == []
        assert [one for one in secrets if one in repr(side.credentials(**changes))] == []
    async with closing(side.token(**changes, vault=b"another key 1234")) as other:
        assert other.id != token.id
    assert Vault(b"another key 1234").open(stored[b"access"], f"access {token.id}") == ""
    assert Vault(stampede.KEY).open(stored[b"access"], f"refresh {token.id}") == ""
    assert Vault(stampede.KEY).open(b"", "") == ""


async def test_an_answer_counts_where_its_shape_cannot_be_written_down(side: Side) -> None:
    """Whoever asked would else do again what was done already."""
    await side.redis.set("dcb:shapes", "of another type")
    reading = await side.interfaces(None).send(Operation("authentication", "userinfo"), side.asks())
    assert reading.http == 401


async def test_shapes_are_names_and_types(side: Side) -> None:
    async with closing(side.token()) as token:
        await side.interfaces(token).send(WHOAMI, side.asks())
        await side.interfaces(token).send(WHOAMI, side.asks())
    assert await side.ledger.shapes.all() == {
        "authentication.userinfo": {"authorities": "list", "contactCenterId": "text", "username": "text"}
    }
    new = side.metrics.registry.get_sample_value(
        "dcbridge_genesys_new_fields_total", {"operation": "authentication.userinfo"}
    )
    assert new == 3


# ---------------------------------------------------------------- judged by authlib, both ways


async def test_authlib_gets_tokens_from_the_sandbox(side: Side) -> None:
    url = f"{side.url}/auth/v3/oauth/token"

    def talk() -> None:
        client = OAuth2Session("dcbridge", "the-client-secret")
        client.headers["x-api-key"] = "the-api-key"
        given = client.fetch_token(url, grant_type="client_credentials")
        assert given["token_type"] == "bearer"
        given = client.fetch_token(url, grant_type="password", username="bridge", password="the-password")
        again = client.refresh_token(url, refresh_token=given["refresh_token"])
        assert again["access_token"] != given["access_token"]
        assert client.get(f"{side.url}/auth/v3/userinfo").status_code == 200
        with pytest.raises(OAuthError, match="invalid_grant"):
            client.fetch_token(url, grant_type="password", username="bridge", password="wrong")

    await asyncio.to_thread(talk)


@pytest.mark.parametrize(
    ("changes", "refreshed"),
    [
        ({}, False),
        ({"grant": "password", "username": "bridge", "password": "the-password"}, True),
    ],
)
async def test_authlibs_server_gives_tokens_to_our_requests(
    side: Side, changes: dict[str, Any], refreshed: bool
) -> None:
    """Its own reading of our forms and of our Basic login, and our reading of its answers."""
    server = Server("dcbridge", "the-client-secret")

    async def answer(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        status, body = server.answer(request.method, str(request.url), dict(request.headers), form)
        return JSONResponse(body, status)

    async with listening(Starlette(routes=[Route("/auth/v3/oauth/token", answer, methods=["POST"])])) as url:
        credentials = replace(stampede.credentials(url), **changes)
        request, wrong = credentials.first(), replace(credentials, client_secret="x").first()
        assert request is not None
        assert wrong is not None
        granted = read_grant(await side.sender.http(request))
        assert granted.access == "an-access-token"
        assert bool(granted.refresh) == refreshed
        if refreshed:
            again = read_grant(await side.sender.http(credentials.by_refresh(granted.refresh)))
            assert again.refresh != granted.refresh
            with pytest.raises(AccountFault, match="login: invalid_grant"):
                read_grant(await side.sender.http(credentials.by_refresh("unknown")))
        with pytest.raises(AccountFault, match="login: invalid_client"):
            read_grant(await side.sender.http(wrong))


async def test_the_interfaces_of_a_worker_are_those_of_the_configuration(side: Side) -> None:
    auth = {"grant": "client_credentials", "client_id": "dcbridge", "client_secret": "the-client-secret"}
    genesys = Genesys.model_validate({"base_url": side.url, "api_key": "the-api-key", "auth": auth})
    redis = {"DCBRIDGE_REDIS_URL": "redis://localhost"}
    shared = read_settings(redis | {"DCBRIDGE_TOKEN_KEY": "0123456789abcdef"})[0]
    interfaces = Interfaces.of(genesys, shared, side.sender, side.ledger, side.metrics)
    assert (await interfaces.send(WHOAMI, side.asks())).good
    await interfaces.close()
    with pytest.raises(ConfigurationError, match="DCBRIDGE_TOKEN_KEY: is not set"):
        Interfaces.of(genesys, read_settings(redis)[0], side.sender, side.ledger, side.metrics)
    without = genesys.model_copy(update={"auth": None})
    assert not (await Interfaces.of(without, read_settings(redis)[0], *_of(side)).send(KEY_ONLY, side.asks())).good


KEY_ONLY = Operation("authentication", "userinfo")


def _of(side: Side) -> tuple[Sender, Ledger, Metrics]:
    return side.sender, side.ledger, side.metrics
