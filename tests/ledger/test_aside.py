"""An entry that this version cannot read is set aside and named, and everything beside it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.books import read
from dcbridge.messages import message_ref
from tests.ledger.ledger_bench import CHANNEL, Bench

Damage = Callable[[Redis, str], Awaitable[object]]


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def field(name: str, value: str | bytes) -> Damage:
    async def damage(redis: Redis, key: str) -> None:
        await redis.hset(key, name, value)

    return damage


def without(*names: str) -> Damage:
    async def damage(redis: Redis, key: str) -> None:
        await redis.hdel(key, *names)

    return damage


def of_type(kind: str) -> Damage:
    async def damage(redis: Redis, key: str) -> None:
        await redis.delete(key)
        await (redis.set(key, "x") if kind == "string" else redis.rpush(key, "x"))

    return damage


ENTRY: dict[str, Damage] = {
    "a newer state": field("s", "scheduled"),
    "no state": without("s"),
    "no channel": without("ch"),
    "no lane": without("ln"),
    "no end of its time": without("exp"),
    "an end that is no number": field("exp", "tomorrow"),
    "attempts that are no number": field("a", "many"),
    "a part that is no number": field("pt", "first"),
    "a number of 400 digits": field("a", "9" * 400),
    "not UTF-8": field("tr", b"\xff\xfe"),
    "a recipient that is not UTF-8": field("to", b"\xc3("),
    "a time that is no number": field("at", "yesterday"),
}
TYPES: dict[str, Damage] = {"a string": of_type("string"), "a list": of_type("list")}


async def asides(bench: Bench) -> list[str]:
    return [one.id async for one in bench.ledger.asides.all()]


async def nobody_crashes(bench: Bench) -> None:
    """Whoever only looks."""
    await read(bench.redis)
    await overview.read(bench.redis)
    await bench.ledger.sweep.run()


@pytest.mark.parametrize("damage", [*ENTRY, *TYPES])
async def test_a_message_that_cannot_be_read_is_set_aside_and_the_next_of_its_conversation_goes(
    bench: Bench, damage: str
) -> None:
    bad, behind, other = await bench.put("bad"), await bench.put("behind"), await bench.put("other", to_id="other")
    await bench.pass_time(20)
    await (ENTRY | TYPES)[damage](bench.redis, f"dcb:m:{bad}")
    for ref in (bad, other):
        claimed = await bench.ledger.messages.claim(ref, f"token-{ref}", 60.0)
        assert claimed.ours == (ref == other)
    await bench.drop_jobs()
    await bench.redis.zadd("dcb:due", {f"m:{bad}": 1}, xx=True)
    await bench.ledger.sweep.run()
    assert await asides(bench) == [f"m:{bad}"]
    if damage in ("no lane", *TYPES):
        third = await bench.put("third")  # the lane is found to be free by the next to come
        assert await bench.queued() == [behind]
        assert third not in await bench.queued()
    assert (await bench.ledger.messages.claim(behind, "t", 60.0)).ours
    await nobody_crashes(bench)
    assert (await read(bench.redis)).set_aside == 1
    assert await bench.difference() == 0


@pytest.mark.parametrize("damage", [*ENTRY, *TYPES])
async def test_the_head_that_a_message_leaves_behind_may_be_damaged(bench: Bench, damage: str) -> None:
    """What ends the one in front must be whole: its receipt is owed, though the next cannot be woken."""
    first, bad, third = [await bench.put(name) for name in ("first", "bad", "third")]
    assert (await bench.ledger.messages.claim(first, "mine", 60.0)).ours
    await (ENTRY | TYPES)[damage](bench.redis, f"dcb:m:{bad}")
    assert await bench.ledger.messages.fail(first, "mine", 500, "") == "failed"
    assert (await bench.owed()) == [("first", "Failed", "500")]
    await bench.pop_job()
    await bench.pop_job()
    await bench.ledger.messages.claim(bad, "t", 60.0)
    await bench.redis.zadd("dcb:due", {f"m:{bad}": 1}, xx=True)
    await bench.ledger.sweep.run()
    assert await asides(bench) == [f"m:{bad}"]
    if damage not in ("no lane", *TYPES):
        assert (await bench.ledger.messages.claim(third, "t", 60.0)).ours


@pytest.mark.parametrize("state", ["sending", "unknown", "sent"])
@pytest.mark.parametrize("damage", ["a newer state", "no channel", "no lane", "a time that is no number", "a string"])
async def test_the_sweep_goes_on_past_one_that_it_cannot_read(bench: Bench, state: str, damage: str) -> None:
    bad = await bench.sending("bad", to_id="bad", lease=0.0)
    good = await bench.sending("good", to_id="good", lease=0.0)
    if state == "unknown":
        await bench.ledger.messages.unknown(bad, "mine", 0.0, "timeout")
    if state == "sent":
        await bench.ledger.messages.submitted(bad, "mine", 0, 1, "SM", delivered=False, confirm_within=0.0)
    await (ENTRY | TYPES)[damage](bench.redis, f"dcb:m:{bad}")
    found = await bench.ledger.sweep.run()
    assert good in [d.id for d in found]
    for decision in found:  # as the reconciler does
        if decision.state == "sending":
            await bench.ledger.messages.unknown(decision.id, "", 0.0, "lease ended")
        elif decision.state == "sent":
            await bench.ledger.messages.confirm_over(decision.id, "", "")
        else:
            await bench.ledger.messages.settle(decision.id, "fail")
    assert await bench.state(good) == "unknown"
    assert await asides(bench) in ([f"m:{bad}"], [])  # a state in which the damage is not in the way ends as ever


RECEIPT: dict[str, Damage] = {
    "a newer status": field("rs", "Read"),
    "no status": without("rs"),
    "no sender": without("from"),
    "no recipient": without("to"),
    "no message id": without("mid"),
    "a time that is no number": field("at", "yesterday"),
    "tries that are no number": field("rt", "few"),
    "a reason that is no number": field("r", "because"),
    "a reason that is not known": field("r", "999"),
    "not UTF-8": field("to", b"\xff"),
    "a detail that is not UTF-8": field("d", b"\xff"),
}


@pytest.mark.parametrize("damage", [*RECEIPT, *TYPES])
async def test_a_receipt_that_cannot_be_read_is_set_aside_and_its_channel_goes_on(bench: Bench, damage: str) -> None:
    for name in ("before", "bad", "after"):
        await bench.ledger.messages.fail(await bench.sending(name, to_id=name), "mine", 500, "")
    bad = message_ref(CHANNEL, "bad")
    await (RECEIPT | TYPES)[damage](bench.redis, f"dcb:m:{bad}")
    assert sorted(mid for mid, _, _ in await bench.owed()) == ["after", "before"]
    assert await asides(bench) == [f"r:{bad}"]
    await nobody_crashes(bench)
    assert (await read(bench.redis)).channels[0].receipts_waiting == 2
    assert 0 < await bench.redis.ttl(f"dcb:m:{bad}") <= 30 * 86400


TASK: dict[str, Damage] = {
    "a newer state": field("s", "paused"),
    "no state": without("s"),
    "a newer job": field("j", "digest"),
    "attempts that are no number": field("a", "few"),
    "not UTF-8": field("tr", b"\xff"),
    "no lane": without("ln"),
}


@pytest.mark.parametrize("damage", [*TASK, *TYPES])
async def test_a_task_that_cannot_be_read_is_set_aside(bench: Bench, damage: str) -> None:
    await bench.ledger.tasks.put([NewTask(name, "callback", "", b"x") for name in ("bad", "good")])
    await bench.pass_time(20)
    await (TASK | TYPES)[damage](bench.redis, "dcb:t:bad")
    await bench.drop_jobs()
    await bench.ledger.sweep.run()
    await bench.ledger.tasks.claim("bad", "t", 60.0)
    await bench.ledger.sweep.run()
    assert (await bench.ledger.tasks.claim("good", "t", 60.0)).ours
    assert await asides(bench) == ["t:bad"]
    await nobody_crashes(bench)


async def test_what_is_due_and_of_a_kind_that_is_not_known_is_set_aside(bench: Bench) -> None:
    await bench.redis.hset("dcb:z:1", "s", "waiting")
    await bench.redis.zadd("dcb:due", {"z:1": 1})
    await bench.ledger.sweep.run()
    assert await asides(bench) == ["z:1"]
    assert await bench.redis.zcard("dcb:due") == 0


async def test_five_hundred_that_cannot_be_read_do_not_keep_the_sweep_from_the_others(bench: Bench) -> None:
    for n in range(500):
        await bench.redis.hset(f"dcb:m:{n:024d}", "s", "scheduled")
        await bench.redis.zadd("dcb:due", {f"m:{n:024d}": n + 1})
    ref = await bench.sending(lease=0.0)
    await bench.ledger.sweep.run()
    assert [d.id for d in await bench.ledger.sweep.run()] == [ref]


@pytest.mark.parametrize(
    "key", ["dcb:receipts:other", "dcb:limits", "dcb:books:other", "dcb:open:other", "dcb:aside:m:x"]
)
async def test_a_key_of_another_type_does_not_stop_the_others(bench: Bench, key: str) -> None:
    ref = await bench.put()
    await bench.ledger.messages.fail(await bench.sending("ended", to_id="ended"), "mine", 500, "")
    await bench.drop_jobs()
    await bench.redis.delete(f"dcb:receipts-woken:{CHANNEL}")
    await bench.redis.sadd("dcb:channels", "other")
    await bench.redis.zadd("dcb:owed", {"other": 1})
    await bench.redis.set(key, "of another type")
    if key == "dcb:limits":
        await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 0 0 1 0"})
    await bench.ledger.sweep.run()
    assert await bench.queued("receipts") == [CHANNEL]
    assert (await bench.ledger.messages.claim(ref, "t", 60.0)).ours
    await read(bench.redis)


# ---------------------------------------------------------------- back, and gone


async def test_a_message_is_put_back_where_it_was(bench: Bench) -> None:
    bad, behind = await bench.put("bad"), await bench.put("behind")
    await bench.redis.hset(f"dcb:m:{bad}", "s", "scheduled")
    await bench.redis.zadd("dcb:due", {f"m:{bad}": 1})
    await bench.ledger.sweep.run()
    found = bench.ledger.asides
    assert await found.put_back(f"m:{bad}") == "this version does not know its state"
    await bench.redis.hset(f"dcb:m:{bad}", "s", "accepted")  # as the newer version does in the end
    assert await found.put_back(f"m:{bad}") == "back"
    await bench.ledger.sweep.run()
    assert (await bench.ledger.messages.claim(behind, "t", 60.0)).why == "not its turn"
    assert (await bench.ledger.messages.claim(bad, "t", 60.0)).ours
    assert await asides(bench) == []
    assert await found.put_back(f"m:{bad}") == "gone"


async def test_a_receipt_is_put_back_where_it_was(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.fail(ref, "mine", 500, "")
    await bench.redis.hset(f"dcb:m:{ref}", "rs", "Read")
    assert await bench.owed() == []
    await bench.redis.hset(f"dcb:m:{ref}", "rs", "Failed")
    assert await bench.ledger.asides.put_back(f"r:{ref}") == "back"
    assert [mid for mid, _, _ in await bench.owed()] == ["m-1"]
    assert await bench.redis.ttl(f"dcb:m:{ref}") == -1


@pytest.mark.parametrize("how", ["dropped", "30 days"])
async def test_what_nobody_wants_counts_as_failed(bench: Bench, how: str) -> None:
    ref = await bench.put()
    await bench.redis.hset(f"dcb:m:{ref}", "s", "scheduled")
    await bench.redis.zadd("dcb:due", {f"m:{ref}": 1})
    await bench.ledger.sweep.run()
    if how == "dropped":
        assert await bench.ledger.asides.drop([f"m:{ref}", "m:another"]) == 1
    else:
        await bench.redis.zincrby("dcb:aside", -31 * 86_400_000, f"m:{ref}")
        await bench.ledger.sweep.run()
    assert await asides(bench) == []
    (books,) = (await read(bench.redis)).channels
    assert (books.failed, books.in_flight, books.difference) == (1, 0, 0)
    assert await bench.keys(f"dcb:m:{ref}") == []


async def test_a_full_redis_sets_nothing_aside(bench: Bench) -> None:
    ref = await bench.put()
    await bench.redis.config_set("maxmemory", "1")
    try:
        for ask in (bench.ledger.messages.claim(ref, "t", 60.0), bench.ledger.sweep.run()):
            with pytest.raises(Exception, match=r"memory|OOM"):
                await ask
    finally:
        await bench.redis.config_set("maxmemory", "0")
    assert await asides(bench) == []
    assert (await bench.ledger.messages.claim(ref, "t", 60.0)).ours


@pytest.mark.parametrize("damage", ["at", "type"])
async def test_a_dead_letter_that_cannot_be_read_does_not_hide_the_others(bench: Bench, damage: str) -> None:
    for name in ("bad", "good"):
        await bench.ledger.dead_letters.add(name, Kind.CALLBACK, "", "why", b"raw")
    if damage == "at":
        await bench.redis.hset("dcb:dead:bad", "at", "yesterday")
    else:
        await bench.redis.delete("dcb:dead:bad")
        await bench.redis.set("dcb:dead:bad", "x")
    letters = bench.ledger.dead_letters
    found = [one async for one in letters.read(await letters.ids())]
    assert sorted(one.id for one in found if one) == ["bad", "good"]
