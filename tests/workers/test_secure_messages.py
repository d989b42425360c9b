"""A secure message waits: one text for each email that an agent sent, to the number that Genesys has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import cast

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.settings.problems import ConfigurationError
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests.ledger.ledger_bench import CHANNEL
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import settings
from workers import interactions, secure_messages
from workers.context import WorkerContext, open_context

YAML = """
public_url: http://127.0.0.1:8080
digital_channels: {base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
interactions: {main: {secrets: [the-app-secret-of-now]}}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}
channels: {"%s": {type: sms, provider: twilio, number: "+15557650123", default_region: US}}
genesys: {base_url: "%s", api_key: the-key, secure_messages: {channel: "%s", number_key: Phone, %s}}
"""
COUNTED = "address_key: Mail, text: 'You have {count} new messages.', without_count: 'A new message waits.'"
WAITING = {"Phone": "(650) 466-1149", "Mail": "jo@example.com"}


@dataclass
class Side:
    world: World
    context: WorkerContext

    async def tell(self, *events: tuple[str, str, str, str]) -> None:
        """(interaction, event, media, subtype)…, as a batch; then all that follows from it."""
        entities = [
            {"event": event, "entity": {"id": one, "mediaType": media, "interactionSubtype": subtype}}
            for one, event, media, subtype in events
        ]
        body = orjson.dumps({"operationId": "op", "data": {"entities": entities}})
        operation = f"op-{await self.context.redis.dbsize()}-{len(body)}"
        await self.context.ledger.events.put_batch(operation, "main", "trace", body)
        await interactions.split(self.context)

    async def work(self) -> list[str]:
        """Do each task once; the texts that are queued now."""
        waiting = cast(list[bytes], await self.context.redis.zrange("dcb:tasks:notice", 0, -1))
        for task in waiting:
            await self.context.redis.hdel(f"dcb:t:{task.decode()}", "nb")
            await secure_messages.notice(self.context, task.decode())
        keys = [key async for key in self.context.redis.scan_iter("dcb:p:*")]
        found = cast(list[bytes], await self.context.redis.mget(keys)) if keys else []
        return sorted(str(orjson.loads(one)["text"]) for one in found)

    def counted(self, outcome: str) -> float:
        registry = self.context.metrics.registry
        return registry.get_sample_value("dcbridge_secure_messages_total", {"outcome": outcome}) or 0.0


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-key")))
    async with listening(app) as url:
        configuration = parse(YAML % (CHANNEL, url, CHANNEL, COUNTED), {})
        genesys = configuration.genesys
        assert genesys is not None
        async with open_context(settings(redis_server.url), configuration) as context:
            await context.announce()
            yield Side(app.state.world, context)
    assert list(app.state.world.violations) == []


async def test_an_outbound_email_is_told_once_with_the_number_of_unread_ones(side: Side) -> None:
    side.world.attach("m-1", WAITING)
    await side.tell(
        ("m-1", "STARTED", "email", "Outbound"),
        ("m-1", "FINISHED", "email", "Outbound"),
        ("m-2", "FINISHED", "email", "InboundNew"),
        ("m-3", "FINISHED", "chat", "Outbound"),
    )
    assert await side.work() == ["You have 3 new messages."]
    await side.tell(("m-1", "FINISHED", "Email", "OUTBOUND"))  # by another operation
    assert await side.work() == ["You have 3 new messages."]
    assert side.counted("queued") == 1
    assert side.world.counts["interaction_data"] == 2


@pytest.mark.parametrize(
    ("data", "outcome"),
    [({"Mail": "jo@example.com"}, "no_number"), ({"Phone": "not a number"}, "no_number")],
)
async def test_without_a_number_nothing_is_sent(side: Side, data: dict[str, str], outcome: str) -> None:
    side.world.attach("m-1", data)
    await side.tell(("m-1", "FINISHED", "email", "Outbound"))
    assert await side.work() == []
    assert side.counted(outcome) == 1


async def test_without_a_mailbox_the_text_has_no_number(side: Side) -> None:
    side.world.attach("m-1", {"Phone": WAITING["Phone"]})
    await side.tell(("m-1", "FINISHED", "email", "Outbound"))
    assert await side.work() == ["A new message waits."]


async def test_a_sick_genesys_is_asked_again(side: Side) -> None:
    side.world.attach("m-1", WAITING)
    side.world.switches.genesys.mode = "500"
    await side.tell(("m-1", "FINISHED", "email", "Outbound"))
    assert await side.work() == []
    side.world.switches.genesys.mode = "ok"
    assert await side.work() == ["You have 3 new messages."]


async def test_an_id_that_is_none_is_not_asked_about(side: Side) -> None:
    await side.tell(("m-1?read=true", "FINISHED", "email", "Outbound"))
    assert await side.work() == []
    assert (side.counted("no_address"), side.world.counts["interaction_data"]) == (1, 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (COUNTED, ""),
        ("text: 'One waits.'", ""),
        ("text: 'You have {count}.', without_count: 'One.'", "address_key: is missing"),
        ("text: 'You have {count}.', address_key: Mail", "without_count: is missing"),
        ("text: ' '", "has nothing to read"),
        (f"text: '{'x' * 700}'", "SMS"),
    ],
)
def test_a_text_that_cannot_be_said_is_refused(fields: str, says: str) -> None:
    text = YAML % (CHANNEL, "https://gapi.example.com", CHANNEL, fields)
    if not says:
        assert CHANNEL in parse(text, {}).own_channels
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    assert says in str(raised.value)
