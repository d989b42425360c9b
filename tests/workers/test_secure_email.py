"""An email of a consumer is submitted to Secure Email once, whatever is lost; what Genesys does not take is a text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.config.secure_email import fingerprint
from dcbridge.ledger import NewTask
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import settings
from workers import consumer_messages, secure_email
from workers.context import WorkerContext, open_context
from workers.media_in import BLOB

CHANNEL, ANA = "company.com", "ana@example.org"
FIELDS = {
    "fromAddress": "{address}",
    "firstName": "{first_name}",
    "lastName": "{last_name|Unknown}",
    "subject": "{subject}",
    "text": "{text}",
    "userData": {"dcbRef": "{reference}"},
}
FILES = {
    "field": "attachments",
    "each": {"fileName": "{file_name}", "contentType": "{mimetype}", "content": "{base64}"},
}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def configuration(url: str, files: dict[str, Any] | None) -> str:
    code = fingerprint("billing", FIELDS, files and {name: files[name] for name in ("field", "each")})
    secure = {"base_url": f"{url}/nexus/v3", "securebox": "billing", "fields": FIELDS, "verified": code}
    told = {
        "public_url": "http://127.0.0.1:8080",
        "digital_channels": {"base_url": f"{url}/nexus/v3", "contact_center_id": CONFIG.contact_center_id},
        "endpoints": {"main": {"secrets": [CONFIG.app_secret]}},
        "providers": {"mail": {"kind": "smtp", "host": "127.0.0.1", "security": "none"}},
        "channels": {
            CHANNEL: {
                "type": "email",
                "provider": "mail",
                "inbound": {"addresses": ["care@company.com"], "to": "securemail"},
            }
        },
        "genesys": {
            "base_url": url,
            "api_key": "the-key",
            "secure_email": secure | ({"files": files} if files else {}),
        },
    }
    return orjson.dumps(told).decode()


@dataclass
class Side:
    world: World
    context: WorkerContext

    async def write(self, text: str = "Hello", name: str = "Ana Tamm", *files: bytes, task_id: str = "c-1") -> None:
        names = {f"{BLOB}{task_id}-{place}": f"file{place}" for place in range(len(files))}
        for place, data in enumerate(files):
            await self.context.ledger.blobs.put(data, keep=60.0, task=task_id, blob_id=f"{task_id}-{place}")
        payload = {
            "from": ANA, "text": text, "media": [*names], "names": names, "provider": "mail",
            "secure": {"subject": "Order 17", "name": name, "to": "care@company.com"},
        }  # fmt: skip
        task = NewTask(task_id, "consumer", f"lane {task_id}", orjson.dumps(payload), "trace", CHANNEL)
        await self.context.ledger.tasks.put([task])

    async def work(self, task_id: str = "c-1", *, age: float = 0.0) -> str:
        """Do it once; its state. `age`: seconds since its request was begun."""
        key = f"dcb:t:{task_id}"
        await self.context.redis.hdel(key, "nb")
        posting = await self.context.redis.hget(key, "po")
        if posting and age:
            token, _, at = cast(bytes, posting).decode().partition(" ")
            await self.context.redis.hset(key, "po", f"{token} {int(at) - int(age * 1000)}")
        await consumer_messages.post_consumer_message(self.context, task_id)
        return (await self.context.ledger.tasks.entry(task_id)).state or ""

    @property
    def mails(self) -> list[Any]:
        return list(self.world.secure.values())

    @property
    def texts(self) -> list[str]:
        return [one.text for one in self.world.seen]

    def asked(self, method: str) -> int:
        return sum(one.who == "Secure Email" and one.method == method for one in self.world.exchanges)

    def counted(self, outcome: str) -> float:
        labels = {"channel": CHANNEL, "outcome": outcome}
        registry = self.context.metrics.registry
        return registry.get_sample_value("dcbridge_consumer_messages_total", labels) or 0.0


@pytest.fixture
async def side(request: pytest.FixtureRequest, redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-key")))
    async with listening(app) as url:
        parsed = parse(configuration(url, getattr(request, "param", FILES)), {})
        async with open_context(settings(redis_server.url), parsed) as context:
            await context.announce()
            yield Side(app.state.world, context)


def rules(side: Side) -> list[str]:
    return [one.rule for one in side.world.violations]


async def test_an_email_is_handed_in_with_its_files(side: Side) -> None:
    await side.write("Hello", "Ana Tamm", PNG)
    assert await side.work() == "done"
    [mail] = side.mails
    assert (mail.address, mail.name, mail.subject, mail.text) == (ANA, "Ana Tamm", "Order 17", "Hello")
    assert (mail.securebox, mail.data) == ("billing", {"dcbRef": mail.operation})
    assert mail.files == [("file0", "image/png", len(PNG))]
    assert (side.texts, side.counted("posted"), rules(side)) == ([], 1, [])
    assert side.world.media == {}, "nothing is uploaded beside it"
    await side.write("Hello", "", task_id="c-2")
    assert await side.work("c-2") == "done"
    assert side.mails[1].name == "Unknown"
    assert side.mails[0].operation != side.mails[1].operation


@pytest.mark.parametrize("side", [None, FILES | {"most": 50}], indirect=True, ids=["links", "too large"])
async def test_files_are_links_otherwise(side: Side) -> None:
    await side.write("Hello", "Ana Tamm", PNG)
    assert await side.work() == "done"
    [mail] = side.mails
    assert mail.files == []
    assert mail.text.startswith("Hello\nhttp")
    assert rules(side) == []


async def test_files_that_genesys_does_not_take_are_links(side: Side) -> None:
    await side.write("Hello", "Ana Tamm", b"RIFF\0\0\0\0WEBPVP8 " + bytes(100))
    assert await side.work() == "done"
    [mail] = side.mails
    assert mail.files == []
    assert "http" in mail.text
    assert (side.asked("POST"), rules(side)) == (2, [])


async def test_a_file_that_the_agent_may_not_have_is_said(side: Side) -> None:
    await side.write("Hello", "Ana Tamm", b"MZ" + bytes(100))
    assert await side.work() == "done"
    assert side.mails[0].text == "Hello\n[A file was withheld: its type is not allowed.]"


async def test_what_genesys_refuses_goes_on_as_a_text(side: Side) -> None:
    side.world.switches.genesys.mode = "refuse_fields"
    await side.write()
    assert await side.work() == "done"
    assert (side.mails, side.texts) == ([], ["Order 17\n\nHello"])
    assert side.counted("secure_email_refused") == 1


async def test_a_lost_answer_is_looked_for_and_not_repeated(side: Side) -> None:
    side.world.switches.genesys.mode, side.world.switches.genesys.count = "lost_answer", 1
    await side.write()
    assert await side.work() == "waiting"
    assert await side.work() == "done"
    assert (len(side.mails), side.asked("POST"), side.asked("GET"), rules(side)) == (1, 1, 1, [])


async def test_one_that_cannot_be_found_is_unknown_until_somebody_decides(side: Side) -> None:
    side.world.switches.genesys.lists = False
    side.world.switches.genesys.mode, side.world.switches.genesys.count = "lost_answer", 1
    await side.write()
    assert await side.work() == "waiting"
    assert await side.work() == "waiting", "for five minutes"
    assert await side.work(age=secure_email.LOOKED_FOR) == "dead"
    assert (side.asked("POST"), side.counted("secure_email_unknown"), side.texts) == (1, 1, [])
    letters = side.context.ledger.dead_letters
    [reason] = [one.reason async for one in letters.read(await letters.ids()) if one]
    assert reason == "secure email: outcome unknown"


async def test_after_a_500_nothing_is_repeated_and_a_question_that_fails_says_nothing(side: Side) -> None:
    side.world.switches.genesys.mode, side.world.switches.genesys.count = "500", 2
    await side.write()
    assert [await side.work(), await side.work()] == ["waiting", "waiting"]
    assert await side.work(age=secure_email.LOOKED_FOR) == "dead"
    assert (side.asked("POST"), side.mails) == (1, [])


async def test_a_worker_that_dies_after_it_has_begun_leaves_an_unknown_outcome(side: Side) -> None:
    await side.write()
    requests, tasks = side.context.ledger.requests, side.context.ledger.tasks
    await tasks.claim("c-1", "killed", 60.0)
    assert [await requests.begin("c-1", "killed") for _ in range(2)] == ["go", "go"], "its reply may be lost"
    assert await requests.begin("c-1", "another") == "stale"
    await tasks.retry("c-1", "killed", 0.0, "lease")
    assert await side.work() == "waiting"
    assert (side.asked("POST"), side.asked("GET")) == (0, 1)


async def test_what_was_not_taken_for_certain_is_tried_again(side: Side) -> None:
    """A wrong key: nothing is remembered of the request, and the breaker is open."""
    assert side.context.interfaces is not None
    right, side.context.interfaces._key = side.context.interfaces._key, "wrong"
    await side.write()
    assert await side.work() == "waiting"
    side.context.interfaces._key = right
    assert await side.work() == "waiting", "behind the breaker"
    await side.context.redis.delete(*[key async for key in side.context.redis.scan_iter("dcb:breaker*")])
    assert await side.work() == "done"
    assert len(side.mails) == 1
