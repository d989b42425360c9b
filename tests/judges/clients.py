"""Clients of others against the sandbox. They pass where they work, and break none of the sandbox's own rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dcbridge.genesys.engagement import Engagement
from tests.judges.rows import FAILED, PASSED, Row
from tests.judges.stage import Stage


async def authentication(stage: Stage) -> list[Row]:
    stage.cloned("authentication-client-js", "genesys-authentication-client-js")
    return await _judged(stage, "authentication.mjs")


async def statistics(stage: Stage) -> list[Row]:
    stage.node()
    return await _judged(stage, "statistics.mjs")


async def engagement(stage: Stage) -> list[Row]:
    stage.cloned("engagement-client-js", "engagement-client-js")
    return await _judged(stage, "engagement.mjs")


async def callbacks(stage: Stage) -> list[Row]:
    stage.cloned("engagement-client-js", "engagement-client-js")
    at = (datetime.now(UTC) + timedelta(hours=3)).replace(microsecond=0)
    ours = Engagement("https://x").create("Sales", "+16504661149", at, {"dcbRef": "book-1"}, "en-US")
    return await _judged(stage, "callbacks.mjs", OUR_REQUEST=ours.content.decode())


async def cometd(stage: Stage) -> list[Row]:
    stage.node()
    return await _judged(stage, "cometd.mjs")


async def _judged(stage: Stage, script: str, **more: str) -> list[Row]:
    async with stage.sandbox() as (url, world):
        rows = await stage.run(script, url, **more)
        broken = sorted({f"{one.rule} ({one.detail})" for one in world.violations})
    what = "no rule of the sandbox is broken by it"
    return [*rows, Row(what, FAILED, "; ".join(broken)[:300]) if broken else Row(what, PASSED)]
