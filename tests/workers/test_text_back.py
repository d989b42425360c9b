"""The text-back line at work, against the sandbox's Web Services: a missed call is answered by a text, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.genesys.web_services import CALLS
from dcbridge.settings.problems import ConfigurationError
from sandbox.app import build_app
from sandbox.cometd import Sessions
from sandbox.config import GenesysAccount
from sandbox.web_services import Login
from sandbox.world import World
from tests.ledger.ledger_bench import CHANNEL
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import settings
from workers.context import WorkerContext, open_context
from workers.text_back import keep_listening

NUMBER = "+16504661149"
YAML = """
public_url: http://127.0.0.1:8080
digital_channels: {base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}
channels: {"%s": {type: sms, provider: twilio, number: "+15557650123"}, mail.example: {type: email, provider: post}}
genesys: {base_url: "http://127.0.0.1", text_back: {%s}}
"""
LINE = (
    "base_url: '{url}/api/v2', username: text-back, password: the-password, channel: '0123456789',"
    " missed: 'Sorry that we missed your call.', dispositions: {{IssueResolved: 'How was it?'}}"
)


def written(line: str) -> str:
    post = "post: {kind: smtp, host: 127.0.0.1, security: none, callback_secret: the-callback-secret}"
    return (YAML % (CHANNEL, line)).replace("providers: {", f"providers: {{{post}, ")


@dataclass
class Side:
    world: World
    url: str
    context: WorkerContext
    http: httpx.AsyncClient

    async def calls(self, *steps: str, number: str = NUMBER, **more: Any) -> str:
        answer = await self.http.post(
            f"{self.url}/sandbox/line/call", json={"from": number, "steps": steps or ("Ringing", "Released"), **more}
        )
        return str(answer.json()["id"])

    def counted(self, outcome: str) -> float:
        registry = self.context.metrics.registry
        return registry.get_sample_value("dcbridge_text_back_total", {"outcome": outcome}) or 0.0

    def asked(self, operation: str) -> float:
        name, labels = "dcbridge_genesys_requests_total", {"operation": operation, "outcome": "taken"}
        return self.context.metrics.registry.get_sample_value(name, labels) or 0.0

    async def until(self, found: Callable[[], bool]) -> None:
        for _ in range(400):
            if found():
                return
            await asyncio.sleep(0.02)
        raise AssertionError([str(one) for one in self.world.violations])

    async def texts(self) -> list[str]:
        """What is queued of ours."""
        keys = [key async for key in self.context.redis.scan_iter("dcb:p:*")]
        found = cast(list[bytes], await self.context.redis.mget(keys)) if keys else []
        return sorted(one.decode() for one in found)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        before = self.counted("session")
        task = asyncio.create_task(keep_listening(self.context))
        try:
            await self.until(lambda: self.counted("session") > before)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="k", line_password="the-password")))
    async with listening(app) as url, httpx.AsyncClient(trust_env=False) as http:
        configuration = parse(written(LINE.format(url=url)), {})
        async with open_context(settings(redis_server.url), configuration) as context:
            await context.announce()
            side = Side(app.state.world, url, context, http)
            yield side
            assert [str(one) for one in app.state.world.violations] == []


async def test_a_missed_call_is_answered_by_a_text_once_in_half_an_hour(side: Side) -> None:
    async with side.listening():
        first = await side.calls()
        await side.until(lambda: side.counted("missed_queued") == 1)
        await side.calls("Ringing", "Established", "Released")
        await side.calls()
        await side.until(lambda: side.counted("missed_again") == 1)
        await side.calls(number="+16504661150")
        await side.until(lambda: side.counted("missed_queued") == 2)
        await side.calls("Ringing", "Released", number="5001")
        await side.until(lambda: side.counted("missed_no_number") == 1)
        await side.calls("Ringing", "Released", id=first)  # the same call is heard of again: it is that text
        await side.calls("Ringing", number="+16504661151")
        await side.calls("Ringing", "Released", number="+16504661152")
        await side.until(lambda: side.counted("missed_queued") == 3)
    assert [NUMBER[1:] in text for text in await side.texts()].count(True) == 1
    assert len(await side.texts()) == 3


async def test_what_many_notifications_ask_for_is_asked_once(side: Side) -> None:
    async with side.listening():
        before = side.asked("web-services.me")
        sessions = side.world.sessions["/api/v2/notifications"]
        assert isinstance(sessions, Sessions)
        [client] = sessions.clients.values()
        said: dict[str, object] = {"channel": CALLS, "data": {"messageType": "CallStateChangeMessage", "callId": "c-1"}}
        client.events.extend([said] * 100)
        await side.calls()  # ends the connect that is held
        await side.until(lambda: side.counted("missed_queued") == 1)
        await side.until(lambda: side.asked("web-services.me") > before)
        assert side.asked("web-services.me") == before + 1


async def test_an_expensive_number_is_not_texted(side: Side) -> None:
    async with side.listening():
        await side.calls(number="+881612345678")
        await side.until(lambda: side.counted("missed_refused") == 1)
        await side.calls()
        await side.until(lambda: side.counted("missed_queued") == 1)
    [text] = await side.texts()
    assert NUMBER[1:] in text


async def test_a_disposition_causes_its_text_and_another_one_none(side: Side) -> None:
    async with side.listening():
        await side.calls("Ringing", "Established", "Released", disposition="Other")
        await side.calls("Ringing", "Established", "Released", disposition="IssueResolved", number="+16504661150")
        await side.until(lambda: side.counted("disposed_queued") == 1)
    [text] = await side.texts()
    assert "How was it?" in text
    assert "16504661150" in text


async def test_a_lost_session_is_opened_again_and_what_ended_meanwhile_is_no_missed_call(side: Side) -> None:
    async with side.listening():
        gone = await side.calls("Ringing")
        rings = await side.calls("Ringing", number="+16504661150")
        login = side.world.line
        assert isinstance(login, Login)
        side.world.switches.statistics.polls = "unknown_client"
        login.calls[gone]["state"] = "Released"  # told by no notification
        await side.calls("Ringing", number="5001")  # the next connect is refused
        await side.until(lambda: side.counted("session_lost") >= 1)
        side.world.switches.statistics.polls = "ok"
        await side.until(lambda: side.counted("session") >= 2)
        await side.calls("Released", id=gone)
        await side.calls("Released", id=rings, number="+16504661150")
        await side.until(lambda: side.counted("missed_queued") == 1)
    [text] = await side.texts()
    assert "16504661150" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("channel: '0123456789'", ""),
        ("channel: nowhere", "is no channel"),
        ("channel: mail.example", "is a channel of type email"),
        ("channel: '0123456789', missed: ' '", "has nothing to read"),
        (f"channel: '0123456789', missed: '{'x' * 700}'", "SMS"),
        (f"channel: '0123456789', dispositions: {{a: '{'x' * 700}'}}", "SMS"),
    ],
)
def test_a_line_that_cannot_work_is_refused(line: str, says: str) -> None:
    text = written(f"base_url: 'https://gws.example.com/api/v2', username: u, password: a-long-password, {line}")
    if not says:
        assert CHANNEL in parse(text, {}).own_channels
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    assert says in str(raised.value)
