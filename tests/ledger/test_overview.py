"""What runs and what is held back, and the figures that a scrape makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from rq.serializers import JSONSerializer

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.cli.dev.processes import Ports, environment, prepare
from dcbridge.config.loader import load
from dcbridge.ledger.reports import books, overview
from dcbridge.ledger.reports.overview import Overview, Provider
from dcbridge.runtime.metrics import VERSION, Metrics
from dcbridge.runtime.scrape import Scrape
from dcbridge.settings.process import Settings, read_settings
from dcbridge.store.connection import connect_sync
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.test_pacing import OTHER, PacedBench
from workers.worker import RelayWorker


@pytest.fixture
def bench(redis: Redis) -> PacedBench:
    return PacedBench(redis)


@pytest.fixture
def told(redis_server: EmbeddedRedis, tmp_path: Path) -> dict[str, str]:
    """The environment of a bridge on the Redis of the tests."""
    prepare(tmp_path, Ports())
    return environment(tmp_path, Ports(), redis_server.url)


def made(told: dict[str, str], *queues: str) -> RelayWorker:
    """A worker that is made, and not run."""
    settings = read_settings(told)[0]
    return RelayWorker(
        list(queues),
        connection=connect_sync(settings),
        serializer=JSONSerializer,
        settings=settings,
        configuration=load(settings.config, told),
    )


async def account(bench: PacedBench) -> Provider:
    [found] = (await overview.read(bench.redis)).providers
    return found


# ---------------------------------------------------------------- workers and queues


async def test_an_empty_redis_has_nothing_to_tell(bench: PacedBench) -> None:
    now = await overview.read(bench.redis, ["acme"])
    assert (now.workers, now.alive, now.suspended, now.paces) == ((), 0, False, {})
    assert now.uncovered == ("receipts", "inbound", "outbound", "events")
    assert [(queue.name, queue.depth, queue.oldest_age) for queue in now.queues] == [
        ("receipts", 0, 0.0),
        ("inbound", 0, 0.0),
        ("outbound", 0, 0.0),
        ("events", 0, 0.0),
    ]
    assert [(one.name, one.open, one.parked) for one in now.providers] == [("acme", False, 0)]


async def test_a_worker_is_told_of_from_its_birth_to_its_death(bench: PacedBench, told: dict[str, str]) -> None:
    worker = made(told, "outbound", "inbound")
    await bench.redis.set(f"dcb:alive:{worker._claims_as}", 1, px=10_000)
    cast(Any, worker).register_birth()
    now = await overview.read(bench.redis)
    [found] = now.workers
    assert (found.name, found.pid, found.queues) == (worker.name, worker.pid, ("outbound", "inbound"))
    assert (found.version, found.concurrency, found.silent, found.in_flight) == (VERSION, 200, False, 0)
    assert found.last_heard < 45
    assert (now.alive, now.uncovered) == (1, ("receipts", "events"))
    await bench.redis.zadd("rq:wip:outbound", {f"send-1:{worker.name}": 1, "send-2:another": 1})
    await bench.redis.zadd("rq:wip:inbound", {f"consumer-1:{worker.name}": 1})
    now = await overview.read(bench.redis)
    assert now.workers[0].in_flight == 2
    assert [queue.started for queue in now.queues] == [0, 1, 2, 0]
    cast(Any, worker).register_death()
    assert (await overview.read(bench.redis)).workers == ()


async def test_a_worker_that_stopped_saying_that_it_lives_is_silent(bench: PacedBench, told: dict[str, str]) -> None:
    worker = made(told, "outbound")
    cast(Any, worker).register_birth()
    now = await overview.read(bench.redis)
    assert (now.workers[0].silent, now.alive) == (True, 0)
    assert "outbound" in now.uncovered
    await bench.redis.set(f"dcb:alive:{worker._claims_as}", 1, px=10_000)
    assert (await overview.read(bench.redis)).alive == 1


async def test_a_stock_worker_is_silent_when_its_heartbeat_is_old(bench: PacedBench) -> None:
    fields: dict[Any, Any] = {"birth": "2026-11-22T02:00:00.000000Z", "queues": "outbound", "hostname": "h", "pid": "7"}
    await bench.redis.sadd("rq:workers", "rq:worker:stock", "rq:worker:forgotten")
    now = (await overview.read(bench.redis)).at
    for age, silent in ((40, False), (50, True)):
        beat = datetime.fromtimestamp(now - age, UTC).isoformat().replace("+00:00", "Z")
        await bench.redis.hset("rq:worker:stock", mapping=fields | {"last_heartbeat": beat})
        [found] = (await overview.read(bench.redis)).workers
        assert (found.version, found.host, found.pid, found.silent) == ("", "h", 7, silent)


async def test_the_first_job_of_a_queue_says_how_long_it_has_waited(bench: PacedBench) -> None:
    await bench.put("m-1", to_id="1")
    await bench.put("m-2", to_id="2")
    job = cast(bytes, await bench.redis.lindex("rq:queue:outbound", 0)).decode()
    await bench.redis.hset(f"rq:job:{job}", "enqueued_at", "2026-11-22T02:00:00.000000Z")
    now = await overview.read(bench.redis)
    queue = now.queues[2]
    assert (queue.name, queue.depth) == ("outbound", 2)
    began = datetime(2026, 11, 22, 2, tzinfo=UTC).timestamp()
    assert queue.oldest_age == pytest.approx(now.at - began)
    await bench.redis.delete(f"rq:job:{job}")
    assert (await overview.read(bench.redis)).queues[2].oldest_age == 0


async def test_a_suspension_shows(bench: PacedBench) -> None:
    await bench.redis.set("rq:suspended", 1)
    assert (await overview.read(bench.redis)).suspended


# ---------------------------------------------------------------- providers and paces


async def test_a_breaker_tells_why_it_is_open_and_what_waits(bench: PacedBench) -> None:
    await bench.limit()
    refs = await bench.heads(3)
    await bench.record_failure(refs[0])
    assert ((await account(bench)).open, (await account(bench)).failing) == (False, 1)
    await bench.record_failure(refs[0], at_once=True)
    for ref in refs[1:]:
        assert await bench.claim(ref) == "parked"
    await bench.pass_time(2)
    found = await account(bench)
    assert (found.open, found.why, found.parked) == (True, "connect", 2)
    assert 2 <= found.open_for < 60
    assert 0 < found.next_probe_in <= 3
    assert found.oldest_parked_age >= 2
    await bench.ledger.pacing.record_success("acme", refs[0])
    assert (await account(bench)).open is False


async def test_a_pause_tells_how_long_it_lasts(bench: PacedBench) -> None:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 30)
    assert 25 < (await account(bench)).paused_for <= 30


@pytest.mark.parametrize(("sent", "ahead"), [(0, 0), (3, 1), (4, 2), (6, 4)])
async def test_a_rate_tells_how_far_ahead_it_is_booked(bench: PacedBench, sent: int, ahead: int) -> None:
    """In steps: with a burst of three the fourth message has to wait for one."""
    await bench.limit(provider="0.01 3 0", channel="0 1 0")
    for ref in await bench.heads(sent):
        await bench.claim(ref)
    pace = (await account(bench)).pace
    assert (pace.per_second, pace.burst) == (0.01, 3)
    assert (ahead - 0.3) * 100 < pace.booked_ahead <= ahead * 100


async def test_a_cap_tells_who_is_under_way_and_who_waits(bench: PacedBench) -> None:
    await bench.limit(provider="0 1 9", channel="0 1 2")
    refs = await bench.heads(5)
    assert [await bench.claim(ref, ref) for ref in refs] == ["go", "go", "held", "held", "held"]
    now = await overview.read(bench.redis)
    own = now.paces[CHANNEL]
    assert (own.cap, own.in_flight, own.held) == (2, 2, 3)
    assert set(now.paces) == {CHANNEL, OTHER}
    [found] = now.providers
    assert (found.pace.cap, found.pace.in_flight, found.pace.held) == (9, 2, 0)
    await bench.pass_time(61)
    assert (await overview.read(bench.redis)).paces[CHANNEL].in_flight == 0  # their leases are over


# ---------------------------------------------------------------- a scrape


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(bench: PacedBench, told: dict[str, str], settings: Settings | None = None) -> Series:
    settings = settings or read_settings(told)[0]
    text = await Scrape(Metrics(), bench.redis, settings, load(settings.config, told), tuple)()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def key(name: str, /, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"dcbridge_{name}", frozenset(labels.items())


async def test_what_alarms_look_at_is_told_before_anything_has_happened(
    bench: PacedBench, told: dict[str, str]
) -> None:
    found = await scraped(bench, told)
    for name, labels, value in (
        ("redis_up", {}, 1),
        ("redis_unsafe", {}, 0),
        ("redis_exposed", {}, 0),
        ("running_jobs", {"queue": "inbound"}, 0),
        ("suspended", {}, 0),
        ("build_info", {"version": VERSION}, 1),
        ("breaker_open", {"provider": "twilio"}, 0),
        ("breaker_parked", {"provider": "mail"}, 0),
        ("workers", {"queue": "outbound"}, 0),
        ("oldest_queued_seconds", {"queue": "receipts"}, 0),
        ("ledger_events_total", {"event": "unknown"}, 0),
        ("ledger_events_total", {"event": "dead"}, 0),
        ("errors_total", {"kind": "account_fault", "name": "twilio"}, 0),
        ("errors_total", {"kind": "receipt_refused", "name": CHANNEL}, 0),
        ("errors_total", {"kind": "journal_damaged", "name": "journal"}, 0),
    ):
        assert found[key(name, **labels)] == value, name


async def test_a_scrape_tells_of_workers_breakers_and_paces(bench: PacedBench, told: dict[str, str]) -> None:
    await bench.ledger.pacing.announce({CHANNEL: "twilio 0.01 1 1 0 1 7", "stray": "twilio 0.01 1 1 5 1 7"})
    for ref in await bench.heads(3):
        await bench.claim(ref, ref)
    await bench.ledger.pacing.record_failure("mail", "x", "connect", at_once=True, threshold=3, first=5.0, most=8.0)
    await bench.ledger.pauses.begin("twilio", 100)
    worker = made(told, "outbound")
    cast(Any, worker).register_birth()
    await bench.redis.set(f"dcb:alive:{worker._claims_as}", 1, px=10_000)
    await bench.redis.zadd("rq:wip:outbound", {f"send-1:{worker.name}": 1, f"send-2:{worker.name}": 2})
    found = await scraped(bench, told)
    assert found[key("workers", queue="outbound")] == 1
    assert found[key("running_jobs", queue="outbound")] == 2
    assert found[key("workers", queue="inbound")] == 0
    assert found[key("breaker_open", provider="mail")] == 1
    assert found[key("breaker_open", provider="twilio")] == 0
    assert found[key("paused_seconds", provider="twilio")] > 90
    assert 90 < found[key("pace_booked_seconds", of="provider", name="twilio")] <= 100
    assert found[key("requests_under_way", of="provider", name="twilio")] == 1
    assert found[key("waiting_for_slot", of="channel", name=CHANNEL)] == 2
    assert found[key("breaker_openings", provider="mail")] == 1
    assert not [labels for name, labels in found if ("name", "stray") in labels]  # a label is never data


async def test_a_redis_that_would_lose_messages_is_counted(bench: PacedBench, told: dict[str, str]) -> None:
    await bench.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        assert (await scraped(bench, told))[key("redis_unsafe")] == 1
    finally:
        await bench.redis.config_set("maxmemory-policy", "noeviction")


async def test_a_connection_to_redis_that_others_can_read_is_counted(bench: PacedBench, told: dict[str, str]) -> None:
    told["DCBRIDGE_REDIS_URL"] = "redis://redis.example.com:6379/0"  # what is said of it; the bench has its own
    assert (await scraped(bench, told))[key("redis_exposed")] == 1


async def test_without_redis_a_scrape_says_so_and_keeps_its_own_counters(told: dict[str, str]) -> None:
    told["DCBRIDGE_REDIS_URL"] = "redis://127.0.0.1:1/0"
    async with Redis.from_url(told["DCBRIDGE_REDIS_URL"]) as nobody:
        found = await scraped(PacedBench(nobody), told)
    assert found[key("redis_up")] == 0
    assert key("headroom_seconds") in found
    assert not [name for name, _ in found if name == "dcbridge_books_difference"]


async def test_a_scrape_asks_as_much_of_a_long_queue_as_of_a_short_one(bench: PacedBench, told: dict[str, str]) -> None:
    settings = read_settings(told)[0]
    scrape = Scrape(Metrics(), bench.redis, settings, load(settings.config, told), tuple)

    async def cost() -> list[int]:
        """Commands, and bytes that Redis wrote."""
        before: Any = await bench.redis.info("stats")
        await scrape()
        after: Any = await bench.redis.info("stats")
        return [after[name] - before[name] for name in ("total_commands_processed", "total_net_output_bytes")]

    await bench.heads(10)
    await cost()  # the first one asks whether Redis is safe
    few = await cost()
    for n in range(1000):
        await bench.put(f"more-{n}", to_id=f"1999{n:07d}")
    many = await cost()
    assert many[0] == few[0]
    assert many[1] < few[1] + 200  # digits of larger figures


# ---------------------------------------------------------------- receipts that are owed


async def test_a_receipt_that_is_tried_again_and_again_grows_old_all_the_same(bench: PacedBench) -> None:
    for n in range(30):
        ref = await bench.sending(f"m-{n}", to_id=str(n))
        await bench.ledger.messages.fail(ref, "mine", 530, "")
        await bench.pass_time(10_000 if n == 0 else 0)
    owed = await bench.ledger.receipts.take(CHANNEL, 100, 60.0)
    await bench.ledger.receipts.again(CHANNEL, {one.ref: 300.0 if n == 0 else 100.0 for n, one in enumerate(owed)})
    [channel] = (await books.read(bench.redis)).channels
    assert channel.oldest_receipt_age > 10_000
    await bench.ledger.receipts.done(CHANNEL, [owed[0].ref])
    [channel] = (await books.read(bench.redis)).channels
    assert channel.oldest_receipt_age < 5000
    await bench.ledger.receipts.done(CHANNEL, [one.ref for one in owed])
    assert (await books.read(bench.redis)).channels[0].oldest_receipt_age == 0


async def test_a_refused_receipt_that_is_owed_again_is_as_old_as_that(bench: PacedBench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.fail(ref, "mine", 530, "")
    await bench.pass_time(10_000)
    await bench.ledger.receipts.take(CHANNEL, 100, 60.0)
    await bench.ledger.receipts.refused(CHANNEL, ref, "http 404", b"{}")
    assert await bench.ledger.dead_letters.owe_receipt(f"r-{ref}", ref, "from", "to") == "new"
    [channel] = (await books.read(bench.redis)).channels
    assert (channel.receipts_waiting, channel.oldest_receipt_age < 5000) == (1, True)


def test_an_overview_counts_only_workers_that_are_heard_of() -> None:
    def worker(queues: tuple[str, ...], *, silent: bool) -> overview.Worker:
        return overview.Worker("w", "h", 1, queues, "", 1.0, 1.0, silent, 0, 0)

    now = Overview(
        0.0, (worker(("outbound",), silent=True), worker(("inbound", "receipts"), silent=False)), (), (), {}, False
    )
    assert (now.alive, now.uncovered) == (1, ("outbound", "events"))
