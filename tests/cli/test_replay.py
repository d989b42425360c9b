"""`dcbridge dead replay`: letters are put back where they came from, once, or stay and say why."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
import redis as sync

from dcbridge.config.accounts import ProviderAccount
from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import callback_lane, consumer_lane, pack
from dcbridge.replay import Replay
from tests.cli.letters import (
    CONSUMER_TASK,
    Made,
    all_kinds,
    callback,
    dead_callback,
    dead_task,
    refused_receipt,
    told_failed,
    unreadable_batch,
    unreadable_webhook,
    update_of_nobody,
    webhook,
)
from tests.cli.session import CONSUMER, DAY, SENDER, TEXT, Session
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message
from tests.providers import test_telnyx as telnyx
from tests.stack import ROOT, until
from tests.warm import Warm


@pytest.mark.parametrize("verb", ["replay", "drop"])
async def test_a_dry_run_changes_nothing(session: Session, verb: str) -> None:
    ids = await all_kinds(session)
    before = await session.everything()
    said = await session.types("dead", verb, "--dry-run", "--all")
    assert said.code == 0
    assert "would be" in said.out
    assert await session.everything() == before
    if verb == "replay":
        assert all(letter_id in said.out for letter_id in ids)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("letter_id", ["t-b-" + "0" * 24, "u-1"])
async def test_a_callback_of_an_address_for_both_gets_the_place_that_its_content_asks_for(
    session: Session, written: bool, letter_id: str
) -> None:
    """What consumers write is read in its order, also when it is read again."""
    body = telnyx.event("message.received", telnyx.RECEIVED) if written else telnyx.report("delivered")
    raw = pack("telnyx", Callback("events", "POST", "https://bridge.example.com", b"", {}, body))
    kind = Kind.CALLBACK if letter_id.startswith("t-") else Kind.DELIVERY_UPDATE
    await session.ledger.dead_letters.add(letter_id, kind, "", "unreadable", raw)
    account = ProviderAccount.model_validate({"kind": "telnyx", "api_key": "KEY01", "public_key": telnyx.PUBLIC})
    providers = {**session.configuration.providers, "telnyx": account}
    configuration = session.configuration.model_copy(update={"providers": providers})
    [letter] = [one async for one in session.ledger.dead_letters.read([letter_id]) if one]
    done = await Replay(session.ledger, configuration).one(letter)
    assert done.done
    entry = await session.ledger.tasks.entry(done.name)
    assert entry.lane == (callback_lane("telnyx", "inbound") if written else "")


async def test_a_consumers_message_becomes_its_task_again(session: Session) -> None:
    letter_id = await dead_task(session)
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, said.out.splitlines()[-1]) == (0, "1 replayed, 0 not.")
    task_id = letter_id.removeprefix("t-")
    assert await session.queued("inbound") == [task_id]
    claimed = await session.ledger.tasks.claim(task_id, "new", 60.0)
    assert claimed.entry.payload == CONSUMER_TASK
    assert (claimed.entry.job, claimed.entry.channel_id, claimed.entry.trace_id) == ("consumer", CHANNEL, "trace")
    assert claimed.entry.lane == consumer_lane(CHANNEL, CONSUMER)
    assert await session.keys("dcb:dead*") == []
    assert (await session.hops(task_id))[:2] == ["accepted", "replayed"]


async def test_a_callback_is_read_again_in_its_order(session: Session) -> None:
    letter_id = await dead_callback(session)
    assert (await session.types("dead", "replay", "--what", "callback")).code == 0
    claimed = await session.ledger.tasks.claim(letter_id.removeprefix("t-"), "new", 60.0)
    assert claimed.entry.payload == callback()
    assert claimed.entry.lane == callback_lane("twilio", "inbound") != ""


async def test_a_task_that_the_ledger_has_forgotten_is_put_back_all_the_same(session: Session) -> None:
    letter_id = await dead_task(session)
    await session.redis.delete(f"dcb:{letter_id.replace('t-', 't:', 1)}")
    assert (await session.types("dead", "replay", letter_id)).code == 0
    assert await session.queued("inbound") == [letter_id.removeprefix("t-")]


async def test_a_task_that_dies_again_is_a_letter_again(session: Session) -> None:
    letter_id = await dead_task(session)
    task_id = letter_id.removeprefix("t-")
    for token in ("a", "b"):
        assert (await session.types("dead", "replay", letter_id)).code == 0
        assert (await session.ledger.tasks.claim(task_id, token, 60.0)).ours
        assert await session.ledger.tasks.dead(task_id, token, "http 400", CONSUMER_TASK, 7 * DAY) == "dead"
    assert await session.keys("dcb:dead:*") == [f"dcb:dead:{letter_id}"]


@pytest.mark.parametrize("state", ["waiting", "done"])
async def test_a_task_that_came_again_meanwhile_is_not_doubled(session: Session, state: str) -> None:
    letter_id = await dead_task(session)
    task_id = letter_id.removeprefix("t-")
    await session.redis.delete(f"dcb:t:{task_id}")  # forgotten, and sent again by the provider
    await session.ledger.tasks.put([NewTask(task_id, "consumer", "", CONSUMER_TASK, "trace", CHANNEL)])
    if state == "done":
        await session.ledger.tasks.claim(task_id, "mine", 60.0)
        await session.ledger.tasks.done(task_id, "mine", 100.0)
    before = await session.everything()
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, f"is {state}: drop this dead letter" in said.out) == (1, True)
    assert await session.everything() == before


async def test_a_refused_receipt_is_owed_again_with_what_the_post_needs(session: Session) -> None:
    letter_id = await refused_receipt(session)
    ref = letter_id.removeprefix("r-")
    assert await session.redis.pttl(f"dcb:m:{ref}") > 0
    assert (await session.types("dead", "replay", letter_id)).code == 0
    assert await session.redis.pttl(f"dcb:m:{ref}") == -1
    assert (await session.hops(ref))[-1] == "due: receipt Failed"
    [owed] = await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    assert (owed.ref, owed.sender_id, owed.to_id, owed.status, owed.tries) == (ref, SENDER, CONSUMER, "Failed", 0)
    await session.ledger.receipts.done(CHANNEL, [ref])
    assert await session.redis.pttl(f"dcb:m:{ref}") > 0
    assert SENDER.encode() not in await session.whole_database()
    assert await session.difference() == 0


async def test_a_receipt_of_a_forgotten_message_stays_and_says_so(session: Session) -> None:
    letter_id = await refused_receipt(session)
    await session.redis.delete(f"dcb:m:{letter_id.removeprefix('r-')}")
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "forgotten" in said.out) == (1, True)
    assert await session.keys("dcb:dead:*") == [f"dcb:dead:{letter_id}"]


async def test_a_delivery_update_is_read_again_by_a_task_of_its_own(session: Session) -> None:
    for _ in range(2):  # nobody knows it now either: it comes back, and may be replayed again
        letter_id = await update_of_nobody(session)
        assert (await session.types("dead", "replay", letter_id)).code == 0
        task_id = await session.pop_job("inbound")
        claimed = await session.ledger.tasks.claim(task_id or "", "new", 60.0)
        assert (claimed.entry.payload, claimed.entry.lane) == (callback("status"), "")
        await session.ledger.tasks.done(task_id or "", "new", 100.0)


async def test_a_message_whose_agent_was_told_failed_stays_and_says_so(session: Session) -> None:
    letter_id = await told_failed(session)
    before = await session.everything()
    said = await session.types("dead", "replay", letter_id)
    assert said.code == 1
    assert "the agent saw Failed (the channel is not configured)" in said.out
    assert await session.everything() == before
    await session.redis.delete(f"dcb:m:{letter_id.removeprefix('m-')}")  # even when the ledger has forgotten it
    assert (await session.types("dead", "replay", letter_id)).code == 1


async def test_what_still_cannot_be_read_stays(session: Session) -> None:
    ids = [await unreadable_webhook(session), await unreadable_batch(session)]
    before = await session.everything()
    said = await session.types("dead", "replay", *ids)
    assert (said.code, said.out.count("still cannot be read"), said.out.count("stays")) == (1, 2, 2)
    assert await session.everything() == before


async def test_a_webhook_that_can_be_read_now_is_accepted_under_the_name_its_sender_was_told(session: Session) -> None:
    body = webhook("")  # as if an older version had not been able to read it
    letter_id = await unreadable_webhook(session, body)
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "accepted, and will be sent" in said.out) == (0, True)
    [life] = await session.trace(letter_id.removeprefix("w-"))
    assert (life["state"], life["channel"]) == ("accepted", CHANNEL)
    assert await session.keys("dcb:dead*") == []
    assert await session.queued() == [life["message"]]
    claimed = await session.ledger.messages.claim(life["message"], "mine", 60.0)
    assert TEXT.encode() in claimed.entry.payload
    assert (claimed.entry.sender_id, claimed.entry.to_id) == (SENDER, CONSUMER)
    assert await session.difference() == 0


async def test_a_webhook_that_was_accepted_since_is_not_sent_twice(session: Session) -> None:
    await session.put("m-1")
    letter_id = await unreadable_webhook(session, webhook("m-1"))
    before = await session.everything()
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "was accepted since" in said.out) == (1, True)
    assert await session.everything() == before


async def test_a_webhook_with_another_fault_ends_as_failed_as_it_would_at_the_webhook(session: Session) -> None:
    body = orjson.dumps({**orjson.loads(webhook("m-1")), "text": 7})
    letter_id = await unreadable_webhook(session, body)
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "ends as Failed: 520 text is not a text" in said.out) == (0, True)
    [life] = await session.trace("m-1")
    assert life["state"] == "failed"
    assert await session.keys("dcb:dead:*") == [f"dcb:dead:m-{life['message']}"]


async def test_a_webhook_for_a_channel_that_is_not_configured_waits_for_that(session: Session) -> None:
    letter_id = await unreadable_webhook(session, webhook("m-1", id="nobody"))
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "530 the channel is not configured" in said.out) == (1, True)
    assert await session.keys("dcb:m:*") == []


async def batches(session: Session) -> list[dict[bytes, bytes]]:
    """Those that wait; beside them stand events of dcbridge's own."""
    entries: Any = await session.redis.xrange("dcb:interactions")
    return [fields for _, fields in entries if b"own" not in fields]


async def test_an_interaction_batch_is_put_back_once(session: Session) -> None:
    body = orjson.dumps({"operationId": "o-1", "data": {"entities": []}})
    letter_id = await unreadable_batch(session, body)
    assert (await session.types("dead", "replay", letter_id)).code == 0
    [entry] = await batches(session)
    assert (entry[b"body"], entry[b"endpoint"]) == (body, b"main")
    await unreadable_batch(session, body)
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "accepted since" in said.out) == (1, True)
    assert await batches(session) == [entry]


async def test_a_letter_of_a_kind_from_the_future_is_left_alone(session: Session) -> None:
    await session.ledger.dead_letters.add("z-1", cast(Kind, "carrier pigeon"), "", "lost", b"")
    said = await session.types("dead", "replay", "z-1")
    assert (said.code, "carrier-pigeon" in said.out) == (1, True)
    assert await session.keys("dcb:dead:*") == ["dcb:dead:z-1"]


@pytest.mark.parametrize("make", [dead_task, dead_callback, refused_receipt, update_of_nobody])
async def test_replaying_twice_does_nothing_the_second_time(session: Session, make: Made) -> None:
    letter_id = await make(session)
    assert (await session.types("dead", "replay", letter_id)).code == 0
    before = await session.everything()
    said = await session.types("dead", "replay", letter_id)
    assert (said.code, "no such dead letter" in said.out) == (1, True)
    assert await session.everything() == before


async def test_one_named_twice_is_replayed_once(session: Session) -> None:
    letter_id = await dead_task(session)
    said = await session.types("dead", "replay", letter_id, letter_id, "w-none")
    assert said.out.splitlines()[-1] == "1 replayed, 1 not."


async def test_many_are_told_in_sums(session: Session) -> None:
    for n in range(40):
        await session.ledger.dead_letters.add(f"t-c-{n:024x}", Kind.CONSUMER, CHANNEL, "http 400", CONSUMER_TASK)
    await told_failed(session)
    said = await session.types("dead", "replay", "--all")
    assert "40 replayed: will be posted to the agent again" in said.out
    assert "1 stay: the agent saw Failed" in said.out
    assert said.out.splitlines()[-1] == "40 replayed, 1 not."


async def test_a_rate_is_kept(session: Session) -> None:
    for n in range(4):
        await session.ledger.dead_letters.add(f"t-c-{n:024x}", Kind.CONSUMER, CHANNEL, "http 400", CONSUMER_TASK)
    began = time.time() * 1000
    assert (await session.types("dead", "replay", "--all", "--rate", "10/s")).code == 0
    moments = sorted([(await session.ledger.tasks.entry(f"c-{n:024x}")).accepted_at for n in range(4)])
    assert all(moment - began >= n * 100 - 1 for n, moment in enumerate(moments))  # however late one was, none is early


def replay_and_kill(session: Session, redis: sync.Redis, rate: str) -> int:
    """Start a replay, kill it after some letters; how it ended."""
    words = [sys.executable, "-m", "dcbridge", "dead", "replay", "--all", "--rate", rate]
    before = redis.zcard("dcb:dead")
    nowhere = Path(os.devnull)
    process = Warm(words, session.environ, nowhere, nowhere, ROOT)
    try:
        until(lambda: redis.zcard("dcb:dead") < before - 20, "some letters are replayed", pause=0.01)
    finally:
        process.kill()
    return process.wait()


async def test_a_replay_that_is_killed_loses_nothing_and_doubles_nothing(session: Session) -> None:
    count = 300
    for n in range(count):
        await session.ledger.dead_letters.add(
            f"u-{n:024x}", Kind.DELIVERY_UPDATE, "", "512 unknown message", callback("status")
        )
    with sync.Redis.from_url(session.environ["DCBRIDGE_REDIS_URL"]) as redis:
        for rate in ("200", "200"):
            assert await asyncio.to_thread(replay_and_kill, session, redis, rate) == -signal.SIGKILL
            assert 0 < redis.zcard("dcb:dead") < count
            assert redis.zcard("dcb:dead") + redis.zcard("dcb:tasks:callback") == count
    assert (await session.types("dead", "replay", "--all")).code == 0
    assert await session.redis.zcard("dcb:tasks:callback") == count
    assert len(await session.queued("inbound")) == count


# ---------------------------------------------------------------- what changed between the look and the step


async def test_the_step_itself_looks_once_more(session: Session) -> None:
    letters = session.ledger.dead_letters
    task_letter = await dead_task(session)
    task = NewTask(task_letter.removeprefix("t-"), "consumer", "", CONSUMER_TASK, "", CHANNEL)
    await session.redis.delete(f"dcb:t:{task.id}")
    await session.ledger.tasks.put([task])
    receipt = await refused_receipt(session)
    ref = receipt.removeprefix("r-")
    await session.redis.hdel(f"dcb:m:{ref}", "rx")
    webhook_letter, batch_letter = await unreadable_webhook(session), await unreadable_batch(session)
    known = new_message("m-1", sender_id=SENDER, to_id=CONSUMER)  # refused_receipt's own
    await session.ledger.events.put_batch("batch", "main", "", b"{}")
    before = await session.everything()

    assert await letters.again(task_letter, task) == "waiting"
    assert await letters.put_task(task_letter, task) == "again"
    assert await letters.owe_receipt(receipt, ref, SENDER, CONSUMER) == "owed"
    assert await letters.owe_receipt(receipt, "0" * 24, SENDER, CONSUMER) == "forgotten"
    assert await letters.put_batch(batch_letter, "batch", "main", "", b"{}") == "again"
    assert await letters.again("t-none", task) == "gone"
    assert await session.everything() == before

    assert await letters.accept(webhook_letter, [known]) == "again"
    await session.redis.hset(f"dcb:m:{ref}", mapping={"rx": "http 404", "rp": 1})
    assert await letters.owe_receipt(receipt, ref, SENDER, CONSUMER) == "posted"
    assert len(await session.keys("dcb:dead:*")) == 4
    assert await session.difference() == 0


async def test_two_operators_at_once_put_a_letter_back_once(session: Session) -> None:
    for n in range(30):
        await session.ledger.dead_letters.add(
            f"u-{n:024x}", Kind.DELIVERY_UPDATE, "", "512 unknown message", callback("status")
        )
    replay, other = (
        Replay(session.ledger, session.configuration),
        Replay(Bench(session.redis).ledger, session.configuration),
    )
    letters = session.ledger.dead_letters
    found = [letter async for letter in letters.read(await letters.ids()) if letter is not None]
    results = await asyncio.gather(*(one.one(letter) for letter in found for one in (replay, other)))
    assert sum(result.done for result in results) == 30
    assert await session.redis.zcard("dcb:tasks:callback") == 30


async def test_a_reader_that_goes_away_is_not_taken_for_redis(session: Session) -> None:
    """`dcbridge dead list | true`"""
    await told_failed(session)
    end, ours = os.pipe()
    os.close(end)
    words = [sys.executable, "-m", "dcbridge", "dead", "list"]
    done = await asyncio.to_thread(
        subprocess.run, words, env=session.environ, cwd=ROOT, stdout=ours, stderr=subprocess.PIPE, timeout=60
    )
    os.close(ours)
    assert (done.returncode, done.stderr) == (1, b"")
