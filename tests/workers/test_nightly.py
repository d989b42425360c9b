"""The nightly comparison, against the sandbox's User Data Management: one export a day, and what it says is kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.config.reconcile import Reconcile
from dcbridge.genesys import user_data
from dcbridge.genesys.envelope import read
from dcbridge.genesys.user_data import Job, UserData, found, is_done, job_of
from dcbridge.settings.problems import ConfigurationError
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.records import AgentMessage
from sandbox.world import World
from tests.ledger.ledger_bench import CHANNEL, new_message
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import settings
from workers.context import WorkerContext, open_context
from workers.nightly import Night, last_night

YAML = """
public_url: http://127.0.0.1:8080
digital_channels: {base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}
endpoints: {main: {secrets: [the-app-secret-of-now]}}
providers: {twilio: {kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}
channels: {"%s": {type: sms, provider: twilio}}
genesys: {base_url: "%s", api_key: the-key, %s reconcile: {nightly: "03:10", file_hosts: [%s]}}
"""
AUTH = (
    "auth: {grant: client_credentials, client_id: dcbridge, client_secret: the-client-secret}, keep_message_ids: true,"
)
ACCOUNT = GenesysAccount(api_key="the-key", client_secret="the-client-secret")


@dataclass
class Side:
    world: World
    url: str
    context: WorkerContext

    @property
    def today(self) -> str:
        return f"{datetime.now(UTC):%Y-%m-%d}"

    async def night(self, **changes: Any) -> bool:
        genesys, interfaces = self.context.configuration.genesys, self.context.interfaces
        assert genesys is not None
        assert genesys.reconcile is not None
        assert interfaces is not None
        wanted = genesys.reconcile.model_copy(update=changes)
        return await Night(
            self.context, wanted, UserData(f"{self.url}/udm/v10"), interfaces, self.today, poll=0.01
        ).run()

    async def message(self, name: str, *, ours: bool = True, theirs: bool = True) -> None:
        if ours:
            await self.context.ledger.messages.accept([new_message(name)])
        if theirs:
            at = time.time()
            self.world.keep_agent(
                AgentMessage(
                    self.world.next_seq(), at, CHANNEL, name, "Text", CHANNEL, ("16504661149",), "x", state="accepted"
                )
            )

    def counted(self, result: str) -> float:
        registry = self.context.metrics.registry
        return registry.get_sample_value("dcbridge_reconciled_total", {"result": result}) or 0.0


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=ACCOUNT))
    async with listening(app) as url:
        configuration = parse(YAML % (CHANNEL, url, AUTH, "127.0.0.1"), {})
        async with open_context(settings(redis_server.url), configuration) as context:
            yield Side(app.state.world, url, context)
    assert list(app.state.world.violations) == []


async def test_a_day_is_exported_once_compared_and_deleted_there(side: Side) -> None:
    for name in ("m-1", "m-2"):
        await side.message(name)
    assert await side.night()
    last = await side.context.ledger.nights.last()
    assert last is not None
    assert (last.day, last.differs, last.counts["both"]) == (side.today, False, 2)
    assert await side.context.ledger.nights.is_done(side.today)
    assert (side.counted("same"), side.world.counts["exports"]) == (1, 1)
    headers = {"x-api-key": "the-key"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{side.url}/udm/v10/export/jobs", headers=headers)
        assert answer.status_code == 401  # only with a token


async def test_a_message_on_one_side_alone_is_a_difference(side: Side) -> None:
    await side.message("m-1")
    await side.message("m-2", ours=False)
    await side.message("m-3", theirs=False)
    assert await side.night()
    last = await side.context.ledger.nights.last()
    assert last is not None
    counts = {"both": 1, "only_ours": 1, "only_theirs": 1, "ambiguous": 0}
    edge = datetime.now(UTC)
    if 1 < edge.hour * 60 + edge.minute < 23 * 60 + 58:  # not at the edge of the day
        assert (last.differs, dict(last.counts)) == (True, counts)


async def test_a_job_whose_answer_was_lost_is_found_by_its_title(side: Side) -> None:
    await side.message("m-1")
    interfaces = side.context.interfaces
    assert interfaces is not None
    api = UserData(f"{side.url}/udm/v10")
    since = datetime.fromisoformat(f"{side.today}T00:00:00+00:00").timestamp()
    asked = api.create(f"dcbridge {side.today}", since, since + 86400, "UCS", "Interaction", ["chat"])
    assert (await interfaces.send(user_data.CREATE, asked)).good  # and nobody remembers the answer
    assert await side.night()
    assert side.world.counts["exports"] == 1


@pytest.mark.parametrize(
    ("changes", "mode"),
    [({"file_hosts": ("files.example.com",)}, "ok"), ({}, "500"), ({"file_hosts": None}, "ok")],
    ids=["another host", "sick", "a fault of ours"],
)
async def test_a_night_that_fails_is_not_done(side: Side, changes: dict[str, Any], mode: str) -> None:
    side.world.switches.genesys.mode = mode
    assert not await side.night(**changes)
    assert (await side.context.ledger.nights.last(), side.counted("failed")) == (None, 1)


async def test_only_so_many_days_are_kept(side: Side) -> None:
    for day in range(1, 46):
        await side.context.ledger.nights.done(f"2026-{1 + day // 28:02}-{1 + day % 28:02}", differs=False, counts={})
    last = await side.context.ledger.nights.last()
    assert last is not None
    assert last.day == "2026-02-18"
    assert await side.context.redis.hlen("dcb:reconciled") == 40


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-26T03:09:59", "2026-11-24"),
        ("2026-11-26T03:10:00", "2026-11-25"),
        ("2026-11-26T23:59:59", "2026-11-25"),
    ],
)
def test_which_day_is_compared(now: str, day: str) -> None:
    wanted = Reconcile(nightly="03:10", file_hosts=("files.example.com",))
    assert last_night(wanted, datetime.fromisoformat(f"{now}+00:00").timestamp()) == day


@pytest.mark.parametrize(
    ("value", "job"),
    [
        ({"id": 17, "title": "t", "fileName": "f", "status": "s"}, Job("17", "t", "f", "s")),
        ({"ID": "a", "filename": "f"}, Job("a", "", "f", "")),
        ({"title": "t"}, None),
        ({"id": True}, None),
        ([], None),
    ],
)
def test_a_job_is_read_in_any_case(value: object, job: Job | None) -> None:
    assert job_of(value) == job


@pytest.mark.parametrize(
    ("body", "done"),
    [
        ({"progress": 100}, True),
        ({"progress": 99, "status": "RUNNING"}, False),
        ({"status": "Completed"}, True),
        ({"progress": True}, False),
        ({}, False),
    ],
)
def test_when_a_job_is_done(body: object, done: bool) -> None:
    assert is_done(read(httpx.Response(200, json=body))) == done


def test_a_job_is_found_by_exactly_its_title() -> None:
    jobs = {"items": [{"id": 1, "title": "dcbridge 2026-11-2"}, {"id": 2, "title": "dcbridge 2026-11-25"}, "none"]}
    reading = read(httpx.Response(200, json=jobs))
    assert found(reading, "dcbridge 2026-11-25") == Job("2", "dcbridge 2026-11-25", "", "")
    assert found(read(httpx.Response(204)), "t") is None


@pytest.mark.parametrize(
    ("auth", "says"), [(AUTH, ""), ("", "auth"), (AUTH.replace("keep_message_ids: true,", ""), "keep_message_ids")]
)
def test_what_it_needs_is_named(auth: str, says: str) -> None:
    text = YAML % (CHANNEL, "https://gapi.example.com", auth, "files.example.com")
    if not says:
        assert parse(text, {}).genesys
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    assert says in str(raised.value)
