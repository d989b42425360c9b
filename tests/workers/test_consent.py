"""STOP and START through a worker: kept to before each request, learnt from the provider, and never lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.consent import Consent
from dcbridge.ledger import NewTask
from dcbridge.providers.callback import unpack
from dcbridge.providers.twilio import Twilio
from dcbridge.settings.problems import ConfigurationError
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, SMS, FarSide, far_side, hang_up, saying
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one, status_callback
from workers import callbacks, confirmations, consent, consumer_messages, outbound

Open = Callable[..., Any]
OPTED_OUT = saying(400, {"code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400})
TODAY = f"opted out {datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def opened(redis: Redis, redis_server: EmbeddedRedis) -> Open:
    """A worker with this `consent` in bridge.yaml."""

    @asynccontextmanager
    async def open_one(**given: Any) -> AsyncIterator[FarSide]:
        how = Consent.model_validate({"enforce": "always"} | given)
        async with far_side(redis, redis_server.url) as side:
            configuration = side.context.configuration.model_copy(update={"consent": how})
            side.context = replace(side.context, configuration=configuration, consent_words=how.words())
            yield side

    return open_one


async def sends(side: FarSide, message_id: str, **changes: Any) -> tuple[str, str, str]:
    """State, reason and detail of a message that is sent, or not."""
    ref = await side.accept(message_id, **changes)
    await outbound.send(side.context, ref)
    entry = await side.entry(ref)
    return entry.state, entry.reason, entry.detail


async def test_a_stop_refuses_what_waits_and_what_comes_until_a_start(opened: Open) -> None:
    async with opened() as side:
        waiting = await side.accept("m-0")
        await read_one(side, inbound_callback(text="+Stop!"))
        await outbound.send(side.context, waiting)
        entry = await side.entry(waiting)
        assert (entry.state, entry.reason, entry.detail) == ("failed", "350", TODAY)
        assert await sends(side, "m-1", to="+1 (650) 466-1149") == ("failed", "350", TODAY)  # whatever the spelling
        assert await sends(side, "m-2", to="16504661148") == ("sent", "", "")  # another consumer
        assert len(side.provider.heard) == 1
        await read_one(side, inbound_callback(text="START", sid="SM10"), "b-2")
        assert (await sends(side, "m-4"))[0] == "sent"
        assert await side.difference() == 0


async def test_the_agent_sees_what_the_consumer_wrote(opened: Open) -> None:
    async with opened() as side:
        await read_one(side, inbound_callback(text="STOP"))
        [task] = [key.removeprefix("dcb:t:") for key in await Bench(side.redis).keys("dcb:t:c-*")]
        await consumer_messages.post_consumer_message(side.context, task)
        assert side.agents.messages[0][0]["text"] == "STOP"


@pytest.mark.parametrize(
    ("scope", "refused"), [("sender", [SMS]), ("channel", [SMS]), ("brand", [SMS, "fails", "taken"])]
)
async def test_what_an_opt_out_counts_for(opened: Open, scope: str, refused: list[str]) -> None:
    async with opened(scope=scope) as side:
        await read_one(side, inbound_callback(text="STOP"))
        found = {name: (await sends(side, f"m-{name}", channel=name))[0] for name in (SMS, "fails", "taken")}
        assert [name for name, state in found.items() if state == "failed"] == refused


@pytest.mark.parametrize(
    ("given", "text", "stops"),
    [
        ({}, "STOP", True),
        ({"enforce": "auto"}, "STOP", False),  # Twilio does it itself
        ({"enforce": "never"}, "STOP", False),
        ({}, "stop texting me", False),
        ({}, "Cancel", True),
        ({}, "no, stop", False),
        ({}, "OPT-OUT", True),
        ({}, "ARR%C3%8AT", True),
        ({"languages": ["en"]}, "ARR%C3%8AT", False),
        ({"stop": ["Tsch%C3%BCss"]}, "Tsch%C3%BCss", False),  # a word is written as consumers write it
        ({"stop": ["Tschüss"]}, "tschuss", True),
        ({}, "", False),
    ],
)
async def test_which_words_stop(opened: Open, given: dict[str, Any], text: str, stops: bool) -> None:
    async with opened(**given) as side:
        await read_one(side, inbound_callback(text=text))
        assert (await sends(side, "m-1"))[0] == ("failed" if stops else "sent")


async def test_twilio_says_what_the_consumer_asked_for(opened: Open) -> None:
    async with opened() as side:
        await read_one(side, inbound_callback(text="Basta+ya&OptOutType=STOP"))
        assert (await sends(side, "m-1"))[0] == "failed"
        await read_one(side, inbound_callback(text="Otra+vez&OptOutType=START", sid="SM10"), "b-2")
        assert (await sends(side, "m-2"))[0] == "sent"


async def test_an_opt_out_is_learnt_from_an_answer_and_from_an_update(opened: Open) -> None:
    async with opened() as side:
        side.provider.replies = [OPTED_OUT]
        assert await sends(side, "m-1") == ("failed", "350", "21610")
        assert await sends(side, "m-2") == ("failed", "350", TODAY)
        other = await side.accept("m-3", to="16504661148")
        await outbound.send(side.context, other)
        await read_one(side, status_callback(other, status="undelivered&ErrorCode=21610"))
        assert await sends(side, "m-4", to="16504661148") == ("failed", "350", TODAY)
        assert len(side.provider.heard) == 2


async def test_an_update_that_is_read_after_a_start_is_dated_before_it(opened: Open) -> None:
    """As after a worker that died: what it says is no news, and the consumer has changed their mind since."""
    async with opened() as side:
        other = await side.accept("m-1")
        await outbound.send(side.context, other)
        said = status_callback(other, status="undelivered&ErrorCode=21610")
        await side.context.ledger.tasks.put([NewTask("b-1", "callback", "", said, "trace")])
        await asyncio.sleep(0.002)
        await read_one(side, inbound_callback(text="START", sid="SM10"), "b-2")
        await callbacks.read_callback(side.context, "b-1")
        assert (await side.entry(other)).state == "failed"
        assert (await sends(side, "m-2"))[0] == "sent"


async def test_a_stop_that_is_read_twice_is_one_and_the_last_word_counts(opened: Open) -> None:
    """A worker that died between writing it down and being done reads the callback again, perhaps after the START."""
    async with opened() as side:
        ledger = side.context.ledger
        await ledger.tasks.put([NewTask("b-1", "callback", "", inbound_callback(text="STOP"), "trace")])
        accepted = (await ledger.tasks.entry("b-1")).accepted_at or 0
        events = side.context.providers["twilio"].parse_callback(unpack(inbound_callback(text="STOP"))[1])
        await consent.hear(side.context, events, accepted)  # and then it died
        assert (await sends(side, "m-1"))[0] == "failed"
        await read_one(side, inbound_callback(text="START", sid="SM10"), "b-2")
        await callbacks.read_callback(side.context, "b-1")
        assert (await ledger.tasks.entry("b-1")).state == "done"
        assert (await sends(side, "m-2"))[0] == "sent"
        counted = side.context.metrics.registry.get_sample_value
        assert counted("dcbridge_consent_total", {"channel": SMS, "outcome": "stopped"}) == 1
        assert counted("dcbridge_consent_total", {"channel": SMS, "outcome": "late"}) == 1
        assert counted("dcbridge_consent_total", {"channel": SMS, "outcome": "refused"}) == 1


ANSWERS = {"stop": "ACME: no more messages. START to get them again.", "help": "ACME, https://acme.example"}


class LeavesItToUs(Twilio):
    """A company with Twilio's API that does nothing about STOP."""

    can = replace(Twilio.can, opt_out="ours")


@asynccontextmanager
async def ours(opened: Open, **more: Any) -> AsyncIterator[FarSide]:
    """A provider that leaves opt-outs to us."""
    async with opened(answers=ANSWERS, **more) as side:
        configuration = side.context.configuration
        leaves = LeavesItToUs("twilio", configuration.providers["twilio"].fields, configuration.public_url)
        side.context = replace(side.context, providers={**side.context.providers, "twilio": leaves})
        yield side


async def confirmations_of(side: FarSide) -> list[str]:
    return [key.removeprefix("dcb:t:") for key in await Bench(side.redis).keys("dcb:t:a-*")]


async def test_a_stop_is_confirmed_once_where_the_provider_leaves_it_to_us(opened: Open) -> None:
    async with ours(opened) as side:
        for task in ("b-1", "b-2"):  # the same message in two callbacks
            await read_one(side, inbound_callback(text="STOP"), task)
        await read_one(side, inbound_callback(text="stop", sid="SM10"), "b-3")  # another one changes nothing
        [task] = await confirmations_of(side)
        for _ in range(2):
            await confirmations.confirm(side.context, task)
        [sent] = side.provider.forms
        assert (sent["To"], sent["From"], sent["Body"]) == ("+" + CONSUMER, "+15557650123", ANSWERS["stop"])
        await read_one(side, status_callback(task.removeprefix("a-")), "b-4")
        assert await side.redis.zcard("dcb:dead") == 0  # a report about it is no update of an unknown message
        await read_one(side, status_callback("0" * 24), "b-5")
        assert await side.redis.zcard("dcb:dead") == 1


@pytest.mark.parametrize(("text", "count"), [("HELP", 1), ("START", 0), ("Hello", 0), ("STOP&OptOutType=STOP", 0)])
async def test_what_is_answered(opened: Open, text: str, count: int) -> None:
    async with ours(opened) as side:
        await read_one(side, inbound_callback(text=text))
        assert len(await confirmations_of(side)) == count


async def test_a_provider_that_answers_itself_is_left_to_it(opened: Open) -> None:
    async with opened(answers=ANSWERS) as side:
        await read_one(side, inbound_callback(text="STOP"))
        assert await confirmations_of(side) == []


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (saying(429, {"code": 20429}), 2),  # certainly not accepted: again
        (saying(400, {"code": 21610}), 1),
        (hang_up, 1),  # it may have been accepted
        (saying(201, b"what?"), 1),
    ],
)
async def test_a_confirmation_that_fails(opened: Open, reply: Any, requests: int) -> None:
    async with ours(opened) as side:
        await read_one(side, inbound_callback(text="STOP"))
        [task] = await confirmations_of(side)
        side.provider.replies = [reply]
        await confirmations.confirm(side.context, task)
        await Bench(side.redis).pass_time(20)
        await confirmations.confirm(side.context, task)
        assert len(side.provider.heard) == requests
        assert (await side.context.ledger.tasks.entry(task)).state == "done"


async def test_one_whose_worker_died_or_that_is_late_is_not_sent(opened: Open) -> None:
    async with ours(opened) as side:
        await read_one(side, inbound_callback(text="STOP"))
        await read_one(side, inbound_callback(text="HELP", sid="SM10"), "b-2")
        one, late = await confirmations_of(side)
        assert (await side.context.ledger.tasks.claim(one, "dead worker", 1.0)).ours
        await side.context.ledger.tasks.retry(one, "dead worker", 0.0, "lease ended")
        await confirmations.confirm(side.context, one)
        await Bench(side.redis).pass_time(301)
        await confirmations.confirm(side.context, late)
        assert side.provider.heard == []
        assert {(await side.context.ledger.tasks.entry(task)).state for task in (one, late)} == {"done"}


async def test_a_worker_that_died_before_the_answer_was_queued_queues_it(opened: Open) -> None:
    async with ours(opened) as side:
        events = side.context.providers["twilio"].parse_callback(unpack(inbound_callback(text="STOP"))[1])
        await consent.hear(side.context, events, 1)  # written down, and then it died
        assert await confirmations_of(side) == []
        await read_one(side, inbound_callback(text="STOP"))
        assert len(await confirmations_of(side)) == 1


async def test_neither_number_nor_word_is_stored(opened: Open) -> None:
    async with opened() as side:
        await read_one(side, inbound_callback(text="STOP"))
        stored = b"".join([await side.redis.dump(key) for key in await side.redis.keys("dcb:stop:*")])
        assert stored
        assert CONSUMER[1:].encode() not in stored


async def test_another_key_ends_the_worker(opened: Open) -> None:
    async with opened() as side:
        await side.context.announce()
        other = replace(side.context, consumer_tokens=type(side.context.consumer_tokens)(b"another key of us"))
        with pytest.raises(ConfigurationError, match="DCBRIDGE_TOKEN_KEY: is not the one"):
            await other.announce()
