"""Interaction events with what Genesys knows of them: asked once, shown to those it is for, never waited for long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.enrichment import Enrichment
from dcbridge.config.loader import parse
from dcbridge.events.event import StoredEvent, for_ledger
from dcbridge.events.event import read as read_event
from dcbridge.events.event import split as read_batch
from dcbridge.events.sinks import Subscriber
from dcbridge.genesys.envelope import read
from dcbridge.genesys.interaction_data import chosen, data_of, question
from dcbridge.interfaces import Interfaces
from dcbridge.ledger import Ledger
from dcbridge.ledger.events import NewEvent
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError
from dcbridge.transport.sender import Sender
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests.events.receivers import SECRET
from tests.ledger.ledger_bench import CHANNEL
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import saying
from tests.workers.test_events_out import world
from workers.enrichment import Enricher, shown_to
from workers.interactions import split

BASE = "https://digital.example.com/nexus/v3"
SESSION = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("media", "uri", "url"),
    [
        ("chat", f"NexusURL/nexus/v3/chat/sessions/{SESSION}/i-1", f"{BASE}/chat/sessions/{SESSION}/i-1"),
        ("chat", f"/nexus/v3/chat/sessions/{SESSION}/i-1", f"{BASE}/chat/sessions/{SESSION}/i-1"),
        ("chat", f"https://evil.example/nexus/v3/chat/sessions/{SESSION}/i-1", f"{BASE}/chat/sessions/{SESSION}/i-1"),
        ("chat", f"https://a/nexus/v3/../nexus/v3/chat/sessions/{SESSION}/1", f"{BASE}/chat/sessions/{SESSION}/1"),
        ("Email", "anything", f"{BASE}/securemail/i-1/userdata"),
        ("chat", "NexusURL/nexus/v3/chat/sessions/../admin", None),
        ("chat", f"NexusURL/nexus/v3/chat/sessions/{SESSION}/i-1?read=true", None),
        ("chat", f"NexusURL/nexus/v3/chat/sessions/{SESSION}/i-1\n", None),
        ("chat", f"NexusURL/nexus/v3/channels/{SESSION}/i-1", None),
        ("chat", f"NexusURL/nexus/v3/chat/sessions/{SESSION}/i%2F1", None),
        ("chat", "x" * 3000 + f"/nexus/v3/chat/sessions/{SESSION}/i-1", None),
        ("chat", None, None),
        ("chat", {"a": 1}, None),
    ],
)
def test_what_is_asked_and_never_at_another_host(media: str, uri: object, url: str | None) -> None:
    asked = question(BASE, media, "i-1", uri)
    assert (None if asked is None else asked.url) == url
    if asked is not None:
        request = asked.request()
        assert (request.method, request.url.query) == ("GET", b"")


@pytest.mark.parametrize("interaction", ["../1", "1?read=true", "", "a" * 65, "a/b"])
def test_an_email_is_asked_about_by_a_plain_id_alone(interaction: str) -> None:
    assert question(BASE, "email", interaction, None) is None


@pytest.mark.parametrize(
    ("body", "names", "found"),
    [
        ({"data": {"a": 1}}, ["a"], {"a": 1}),
        ({"status": {"code": 0}, "a": 1}, ["a", "status"], {"a": 1}),
        ({"a": {"b": {"c": None}}}, ["a.b.c", "a.x", "a.b.c.d"], {"a.b.c": None}),
        ({"a.b": 1, "a": {"b": 2}}, ["a.b"], {"a.b": 1}),
        ({"a": [1]}, ["a.0"], {}),
    ],
)
def test_only_fields_that_are_named_are_taken(body: object, names: list[str], found: object) -> None:
    assert chosen(data_of(read(httpx.Response(200, content=orjson.dumps(body)))), names) == found


@dataclass
class Side:
    world: World
    ledger: Ledger
    enricher: Enricher
    metrics: Metrics
    base: str
    now: list[float] = field(default_factory=lambda: [1000.0])

    def counted(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("dcbridge_enrichments_total", {"outcome": outcome}) or 0.0

    async def told(self, *names: str, media: str = "chat", uri: bool = True) -> dict[str, Any]:
        found = [one for name in names for one in events(name, media, uri)]
        more = await self.enricher.enrich(found, SUBSCRIBERS)
        return {one.event.id: one.event.enriched for one in more.values()}


def events(interaction: str, media: str, uri: bool) -> list[StoredEvent]:
    entity = {"id": interaction, "mediaType": media}
    if uri:
        entity["selfUri"] = f"NexusURL/nexus/v3/chat/sessions/{SESSION}/{interaction}"
    both = [{"event": name, "entity": entity} for name in ("STARTED", "FINISHED")]
    body = {"operationId": "op", "data": {"entities": both}}
    return read_batch("main", orjson.dumps(body), datetime.now(UTC))[0]


def subscriber(*fields: str, **more: Any) -> Subscriber:
    sink = {"kind": "http", "url": "https://crm.example.com", "secrets": [SECRET]}
    given = {"enrich": True, "enrich_fields": fields} if fields else {}
    return Subscriber.model_validate({"sink": sink} | given | more)


SUBSCRIBERS = {
    "crm": subscriber("firstName", "none"),
    "lake": subscriber("userData.segment", events=["FINISHED"]),
    "plain": subscriber(),
}


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-key")))
    ledger, metrics, now = Ledger(redis, keep=60, keep_dead=60), Metrics(), [1000.0]
    async with listening(app) as url, Sender(read_timeout=1.0) as sender:
        client = Interfaces("the-key", None, sender, ledger, metrics)
        where = Enrichment(verified=True)
        enricher = Enricher(where, f"{url}/nexus/v3", client, ledger, metrics, lambda: now[0])
        yield Side(app.state.world, ledger, enricher, metrics, f"{url}/nexus/v3", now)


async def test_both_events_of_an_interaction_share_one_request(side: Side) -> None:
    more = await side.told("i-1")
    assert len(more) == 2
    [data] = {orjson.dumps(one["data"]) for one in more.values()}
    assert orjson.loads(data) == {"firstName": "Jo", "userData.segment": "gold"}
    assert len(await side.told("i-1")) == 2
    assert side.world.counts["interaction_data"] == 1
    assert (side.counted("fetched"), side.counted("cached")) == (1, 1)
    assert list(side.world.violations) == []


async def test_an_email_is_asked_about_by_its_attached_data(side: Side) -> None:
    side.world.attach("i-2", {"segment": "silver"})
    subscribers = {"crm": subscriber("segment")}
    more = await side.enricher.enrich(events("i-2", "email", uri=False), subscribers)
    assert {(one.event.enriched or {})["source"] for one in more.values()} == {"userdata"}
    assert [(one.event.enriched or {})["data"] for one in more.values()] == [{"segment": "silver"}] * 2


async def test_data_that_no_event_can_be_written_with_is_left_out(side: Side) -> None:
    deep: Any = orjson.Fragment(b"[" * 300 + b"]" * 300)  # orjson reads 1024 levels, and writes 254
    side.world.attach("i-1", {"segment": deep})
    assert await side.told("i-1") == {}
    assert side.counted("too_large") == 1


async def test_each_subscriber_sees_its_own_fields(side: Side) -> None:
    more = await side.enricher.enrich(events("i-1", "chat", uri=True), SUBSCRIBERS)
    event = next(iter(more.values())).event
    seen = {name: shown_to(one, event).enriched for name, one in SUBSCRIBERS.items()}
    assert (seen["crm"] or {})["data"] == {"firstName": "Jo"}
    assert (seen["lake"] or {})["data"] == {"userData.segment": "gold"}
    assert seen["plain"] is None


async def test_the_stored_event_keeps_the_bytes_of_its_first_time(side: Side) -> None:
    [(event_id, first)] = [*(await side.enricher.enrich(events("i-1", "chat", uri=True)[:1], SUBSCRIBERS)).items()]
    made: NewEvent = for_ledger(first, SUBSCRIBERS)
    await side.ledger.events.put([made])
    plain = events("i-1", "chat", uri=True)[0]
    await side.ledger.events.put([for_ledger(plain, SUBSCRIBERS)])  # again, and without: nothing changes
    stored = await side.ledger.events.one(event_id)
    assert stored is not None
    assert read_event(event_id, stored).event.enriched == first.event.enriched


async def test_a_sick_interface_is_left_alone_for_a_while(side: Side) -> None:
    side.world.switches.genesys.mode = "500"
    assert await side.told("i-1", "i-2") == {}
    assert side.world.counts["interaction_data"] == 6  # three tries for each
    assert await side.told("i-3") == {}
    assert (side.world.counts["interaction_data"], side.counted("resting")) == (6, 1)
    side.world.switches.genesys.mode = "ok"
    side.now[0] += 61
    assert len(await side.told("i-1")) == 2


async def test_refusals_in_a_row_switch_it_off_and_page(side: Side) -> None:
    async with Sender() as sender:
        refused = Interfaces("another", None, sender, side.ledger, side.metrics)
        where = Enrichment(verified=True)
        side.enricher = Enricher(where, side.base, refused, side.ledger, side.metrics, lambda: side.now[0])
        assert await side.told("i-1", "i-2", "i-3") == {}
    assert side.counted("refused") == 3
    side.now[0] += 3500
    assert await side.told("i-4") == {}
    assert side.counted("resting") == 1
    faults = {"kind": "account_fault", "at": "genesys/enrichment"}
    assert [
        sample.value
        for family in side.metrics.registry.collect()
        if family.name == "dcbridge_errors"
        for sample in family.samples
        if sample.name.endswith("_total") and set(sample.labels.values()) == set(faults.values())
    ] == [1]


async def test_what_has_no_address_is_not_asked_about_and_does_not_rest(side: Side) -> None:
    assert await side.told("i-1", uri=False) == {}
    assert (side.counted("no_address"), side.world.counts["interaction_data"]) == (1, 0)
    assert len(await side.told("i-2")) == 2


async def test_nothing_is_asked_for_those_who_do_not_want_it(side: Side) -> None:
    found = events("i-1", "chat", uri=True)
    assert await side.enricher.enrich(found, {"plain": subscriber(), "off": subscriber("firstName", on=False)}) == {}
    assert side.world.counts["interaction_data"] == 0


async def test_events_leave_with_it_from_the_first_attempt_on(redis: Redis, redis_server: EmbeddedRedis) -> None:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-key")))
    async with listening(app) as url:
        genesys = f"\ngenesys: {{base_url: '{url}', api_key: the-key, enrichment: {{verified: true}}}}\n"
        both = {"crm": "enrich: true, enrich_fields: [segment]", "lake": ""}
        async with world(redis, redis_server.url, genesys, **both) as w:
            w["crm"].replies = [saying(500)]
            entity = {"id": "i-9", "mediaType": "email"}
            batch = {"operationId": "op", "data": {"entities": [{"event": "STARTED", "entity": entity}]}}
            await w.context.ledger.events.put_batch("main-op", "main", "trace", orjson.dumps(batch))
            await w.work()
            [event_id] = await w.context.ledger.events.ids()
            await w.context.ledger.deliveries.replay("crm", {event_id: ""})
            await redis.zadd("dcb:due", {f"t:{event_id}-crm": 0}, xx=True)
            await w.until(lambda: len(w["crm"].heard) > 1)
            first, second = (body["data"]["enriched"] for _, body in w["crm"].heard[:2])
            assert first == second
            assert (first["source"], first["data"]) == ("userdata", {"segment": "gold"})
            assert "enriched" not in w["lake"].heard[0][1]["data"]
    assert app.state.world.counts["interaction_data"] == 1


class Broken(Enricher):
    async def enrich(
        self, found: Sequence[StoredEvent], subscribers: Mapping[str, Subscriber]
    ) -> Mapping[str, StoredEvent]:
        raise TypeError("what an answer was not expected to hold")


async def test_events_leave_without_it_where_it_has_a_bug(
    redis: Redis, redis_server: EmbeddedRedis, side: Side
) -> None:
    async with world(redis, redis_server.url, crm="") as w:
        client = Interfaces("the-key", None, w.context.sender, side.ledger, side.metrics)
        w.context = replace(
            w.context, enricher=Broken(Enrichment(verified=True), side.base, client, side.ledger, side.metrics)
        )
        entity = {"id": "i-9", "mediaType": "email"}
        batch = {"operationId": "op", "data": {"entities": [{"event": "STARTED", "entity": entity}]}}
        await w.context.ledger.events.put_batch("main-op", "main", "trace", orjson.dumps(batch))
        await split(w.context)
        assert len(await w.context.ledger.events.ids()) == 1


YAML = """
public_url: http://127.0.0.1:8080
digital_channels: {base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
interactions: {main: {secrets: [the-app-secret-of-now]}}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}
channels: {"%s": {type: sms, provider: twilio}}
genesys: {base_url: "http://127.0.0.1"%s}
subscribers: {crm: {enrich: true%s, sink: {kind: http, url: "https://crm.example.com", secrets: [%s]}}}
"""


@pytest.mark.parametrize(
    ("genesys", "fields", "says"),
    [
        (", enrichment: {verified: true}", ", enrich_fields: [a]", ""),
        (", enrichment: {}", ", enrich_fields: [a]", "needs genesys.enrichment"),
        ("", ", enrich_fields: [a]", "needs genesys.enrichment"),
        (", enrichment: {verified: true}", "", "enrich_fields: is missing"),
    ],
)
def test_it_is_off_until_somebody_has_looked(genesys: str, fields: str, says: str) -> None:
    text = YAML % (CHANNEL, genesys, fields, SECRET)
    if not says:
        assert parse(text, {}).subscribers["crm"].enrich_fields == ("a",)
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    assert says in str(raised.value)
