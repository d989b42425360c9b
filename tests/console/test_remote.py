"""The command line from a laptop: it asks a console, and says and answers what it does beside Redis."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.console.app import console_app
from dcbridge.console.sign_in.tokens import Bearer
from dcbridge.ledger.fields import Kind
from tests.cli.session import Said, invoke
from tests.cli.session import Session as Shell
from tests.console.running import context_of
from tests.listening import listening

CHANNEL = "0123456789"


@dataclass(frozen=True, slots=True)
class Laptop:
    """Knows a URL and a token, and neither Redis nor bridge.yaml. `shell` is beside Redis."""

    url: str
    tokens: dict[str, str]
    shell: Shell

    async def types(self, *words: str, role: str = "admin", stdin: str = "") -> Said:
        environ = {"DCBRIDGE_URL": self.url, "DCBRIDGE_TOKEN": self.tokens[role], "DCBRIDGE_CONFIG": "/none"}
        return await asyncio.to_thread(invoke, list(words), stdin, environ)


@pytest.fixture
async def laptop(redis: Redis, redis_server: EmbeddedRedis, tmp_path: object) -> AsyncIterator[Laptop]:
    shell = Shell(redis, redis_server.url, tmp_path / "bridge")  # type: ignore[operator]
    context = context_of(redis)
    store, tokens = context.ledger.console, {}
    for role in ("viewer", "operator", "admin"):
        made = await store.make_token(role, role, 60, "root")
        assert made
        tokens[role] = made[1]
    app = console_app(context_of(redis, Bearer(store)))
    async with listening(app) as url:
        yield Laptop(url, tokens, shell)


async def test_it_says_what_the_command_beside_redis_says(laptop: Laptop) -> None:
    shell = laptop.shell
    for name in ("m-1", "m-2"):
        await shell.put(name, channel_id=CHANNEL)
    await shell.ledger.dead_letters.add("r-1", Kind.RECEIPT, CHANNEL, "http 400", b"canary")
    for words in (
        ["pause", "provider", "twilio", "--why", "a test", "--by", "admin"],
        ["trace", "m-1"],
        ["trace", "m-1", "--json"],
        ["trace", "no-such"],
        ["cancel", "m-1", "--dry-run"],
        ["cancel", "--channel", CHANNEL],
        ["cancel", "--channel", CHANNEL, "--dry-run"],
        ["cancel", "--channel", "no-such", "--dry-run"],
        ["retry", "no-such"],
        ["dead", "list"],
        ["dead", "list", "--json"],
        ["dead", "list", "--reason", "none"],
        ["dead", "show", "no-such"],
        ["audit"],
        ["audit", "--json"],
        ["resume", "provider", "twilio"],
        ["resume", "twilio"],
        ["hold", CHANNEL, "--until", "1h"],
        ["resume", "hold", CHANNEL],
    ):
        far, near = await laptop.types(*words), await shell.types(*words)
        if words[0] == "trace" and near.code == 0:  # two looks at a moment each
            assert far.out.count("\n") == near.out.count("\n")
        elif words[0] not in ("pause", "resume", "audit"):
            assert (far.code, far.out.split()[:2]) == (near.code, near.out.split()[:2]), words
        assert far.code == near.code, (words, far.err, near.err)


async def test_what_is_done_is_recorded_under_the_name_of_the_token(laptop: Laptop) -> None:
    for name in ("m-1", "m-2", "m-3"):
        await laptop.shell.put(name, channel_id=CHANNEL)
    said = await laptop.types("cancel", "--channel", CHANNEL, "--yes", "--why", "wrong text", role="operator")
    assert (said.code, said.out) == (0, "3 cancelled\n"), said.err
    said = await laptop.types("cancel", "--channel", CHANNEL)
    assert (said.code, said.out) == (1, "No message matches.\n")
    (last, *_) = (await laptop.types("audit", "--json")).lines
    assert (last["by"], last["action"], last["why"], last["result"]) == (
        "operator",
        "cancel",
        "wrong text",
        "3 cancelled",
    )


async def test_status_and_its_exit_code(laptop: Laptop) -> None:
    said = await laptop.types("status")
    assert said.code == 1
    assert "problem: no service is running" in said.out
    assert (await laptop.types("status", "--json")).json["problems"]
    assert (await laptop.types("status", "--provider", "no")).code == 1
    assert (await laptop.types("status", "--watch")).code == 2


async def test_dead_letters(laptop: Laptop) -> None:
    for n in range(3):
        await laptop.shell.ledger.dead_letters.add(f"r-{n}", Kind.RECEIPT, CHANNEL, "http 400", b"canary")
    assert (await laptop.types("dead", "show", "r-1", "--raw")).raw == b"canary"
    assert (await laptop.types("dead", "show", "r-1", "--raw", role="viewer")).code == 2
    assert (await laptop.types("dead", "replay", "r-0", "--dry-run")).code in (0, 1)
    assert (await laptop.types("dead", "drop", "r-0", role="operator")).code == 2
    said = await laptop.types("dead", "drop", "--all", "--yes")
    assert (said.code, said.out) == (0, "3 dropped, 0 not.\n"), said.err
    assert (await laptop.types("dead", "list")).out == "There are no dead letters.\n"


async def test_what_a_laptop_cannot_do(laptop: Laptop) -> None:
    refused = await laptop.types("cancel", "--all", "--yes", role="viewer")
    assert (refused.code, refused.err) == (2, "error: the role of this token does not allow that\n")
    assert (await laptop.types("books")).code == 2
    assert (await laptop.types("trace", "m-1", "--search")).code == 2
    assert (await laptop.types("--token", "dcbc_x", "status")).code == 2
    assert (await laptop.types("--url", "http://console.example.com", "status")).code == 2
    assert (await laptop.types("--url", "http://127.0.0.1:1", "status")).code == 3
    assert (await laptop.types("--url", "ftp://x", "status")).code == 2


async def test_what_is_no_console_is_not_believed(laptop: Laptop) -> None:
    async def other(_request: object) -> PlainTextResponse:
        return PlainTextResponse("<script>canary\x1b[31m", 404)

    async def hostile(_request: object) -> JSONResponse:
        return JSONResponse({"detail": "canary\x1b[31m" * 999, "errors": [1, {"field": ["x"]}]}, 422)

    async def packed(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "identity"
        return Response(gzip.compress(b'{"pauses": []}'), headers={"Content-Encoding": "gzip"})

    shapes: list[object] = [{}, {"dead_letters": "xy", "cursor": ""}, {"dead_letters": [{"id": 1}], "cursor": ""},
                            {"found": [{"hops": []}], "dead_letters": []}, {"actions": [1]}]  # fmt: skip

    async def misshapen(request: Request) -> Response:
        return JSONResponse(shapes[int(request.path_params["shape"])])

    routes = [Route("/{shape}/api/v1/{path:path}", misshapen)]
    async with listening(Starlette(routes=routes)) as url:
        for shape in range(len(shapes)):
            for words in ("dead list", "dead show x", "trace m-1", "audit", "status", "pause channel c --why w"):
                said = await laptop.types("--url", f"{url}/{shape}", *words.split())
                assert said.code in (0, 3), (shape, words)
    routes = [Route("/api/v1/status", other), Route("/api/v1/audit", hostile), Route("/api/v1/dead-letters", packed)]
    async with listening(Starlette(routes=routes)) as url:
        said = await laptop.types("--url", url, "status")
        assert (said.code, said.err) == (3, "error: there is no console at this URL: http 404\n")
        said = await laptop.types("--url", url, "audit")
        assert (said.code, "\x1b" in said.err, len(said.err) < 1000) == (2, False, True)
        said = await laptop.types("--url", url, "dead", "list")
        assert (said.code, said.err) == (3, "error: there is no console at this URL: http 200\n")
