"""A provider of OpenID Connect in Node.js, at which people sign in to the console."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import httpx
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.console.app import console_app
from dcbridge.console.ways import ways_of
from tests.console.running import HERE, context_of
from tests.judges.rows import FAILED, PASSED, CannotJudge, Row
from tests.judges.stage import Stage

BEGINS = 30.0  # seconds
CLIENT, SECRET = "console", "secret of + the / console"


async def judge(stage: Stage) -> list[Row]:
    folder = stage.node()
    with tempfile.TemporaryDirectory(prefix="dcbridge-judge-") as name:
        server = EmbeddedRedis(Path(name), free_port())
        server.start()
        try:
            async with _provider(folder) as issuer, Redis.from_url(server.url) as redis:
                return await _judged(issuer, redis)
        finally:
            server.stop()


async def _judged(issuer: str, redis: Redis) -> list[Row]:
    section = (
        f"\nconsole: {{public_url: '{HERE}', oidc: {{issuer: '{issuer}', client_id: {CLIENT},"
        f" client_secret: '{SECRET}',"
        " scopes: [openid, email, profile], roles: {operator: [duty]}}}\n"
    )
    context = context_of(redis, more=section)
    console = context.configuration.console
    if console is None:
        raise CannotJudge("the configuration has no console")
    store = context.ledger.console
    app = console_app(replace(context, ways=ways_of(context.settings, console, store)))
    rows = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as ours:
        back = await _signs_in(ours, "ada")
        answer = await ours.get(back)
        rows.append(_row("somebody signs in, with PKCE, state and nonce", answer.status_code == 303, answer))
        found = [(one.name, one.role, one.how) for one in await store.sessions()]
        rows.append(_row("name and role are those of the ID token", found == [("ada@example.com", "operator", "oidc")]))
        again = await ours.get(back)
        rows.append(_row("the same answer does not sign in twice", again.status_code == 403, again))
        other = await ours.get(await _signs_in(ours, "eve"))
        rows.append(_row("who is in no group with a role is refused", other.status_code == 403, other))
        out = (await ours.get("/signed-out")).text
        end = re.search(r'href="(http://127[^"]+)"', out)
        rows.append(_row("the provider's page to sign out is linked", bool(end and "/session/end" in end[1])))
    return rows


async def _signs_in(ours: httpx.AsyncClient, name: str) -> str:
    """As a browser does, at the provider's own pages; where it is sent back to."""
    there = (await ours.get("/sign-in/oidc")).headers["location"]
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(there)
        for _ in range(20):
            if answer.status_code in (302, 303):
                at = urljoin(str(answer.url), answer.headers["location"])
                if at.startswith(HERE):
                    return at
                answer = await browser.get(at)
                continue
            form = re.search(r'action="([^"]+)"', answer.text)
            prompt = re.search(r'name="prompt" value="([^"]+)"', answer.text)
            if not form or not prompt:
                break
            fields = {"prompt": prompt[1], "login": name, "password": "any"}
            answer = await browser.post(urljoin(str(answer.url), form[1]), data=fields)
    raise CannotJudge(f"the provider shows a page that is not known: http {answer.status_code}")


def _row(what: str, good: bool, answer: httpx.Response | None = None) -> Row:
    if good:
        return Row(what, PASSED)
    said = re.search(r'role="alert"[^>]*>([^<]+)<', answer.text) if answer is not None else None
    return Row(what, FAILED, said[1] if said else "")


@asynccontextmanager
async def _provider(folder: Path) -> AsyncIterator[str]:
    issuer = f"http://127.0.0.1:{free_port()}"
    told = {"ISSUER": issuer, "REDIRECT": f"{HERE}/sign-in/oidc/callback", "CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(
        "node",
        "oidc.mjs",
        cwd=folder,
        env={**os.environ, **told},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        if process.stdout is None:
            raise CannotJudge("the provider says nothing")
        try:
            async with asyncio.timeout(BEGINS):
                while (line := await process.stdout.readline()) and line.strip() != b"ready":
                    pass
        except TimeoutError:
            raise CannotJudge(f"the provider did not start within {BEGINS:g} s") from None
        if not line:
            raise CannotJudge("the provider ended")
        yield issuer
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
