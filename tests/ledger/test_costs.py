"""What a part costs is counted once, however often and by whomever it is said, and never without a bound."""

from __future__ import annotations

from decimal import Decimal

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.history import costs_of
from dcbridge.ledger.reports.books import read
from dcbridge.messages import Cost
from dcbridge.runtime.metrics import Metrics
from tests.ledger.ledger_bench import Bench

PRICE = Cost("acme", "EUR", 3_330_000, 1)


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def taken(bench: Bench, ref: str, part: int = 0, count: int = 1, cost: Cost | None = PRICE) -> str:
    return await bench.ledger.messages.submitted(
        ref, "mine", part, count, f"SM{part}", delivered=False, confirm_within=100.0, provider="acme", cost=cost
    )


async def told(bench: Bench, ref: str, status: str, part: int = 0, cost: Cost | None = PRICE) -> str:
    return await bench.ledger.messages.update(ref, part, status, f"SM{part}", "", "", 100.0, cost=cost)


async def sums(bench: Bench) -> dict[tuple[str, str], Decimal]:
    return dict((await read(bench.redis)).costs)


async def test_it_is_counted_once(bench: Bench) -> None:
    ref = await bench.sending()
    assert await taken(bench, ref) == "sent"
    for status in ("sent", "sent", "delivered", "delivered"):
        await told(bench, ref, status, cost=Cost("acme", "EUR", 9_990_000, 3))
    assert await sums(bench) == {("acme", "EUR"): Decimal("0.0333")}
    assert costs_of(await bench.ledger.messages.entry(ref)) == [("0.0333 EUR", 1)]


async def test_a_report_says_it_first_even_before_the_answer_or_after_the_end(bench: Bench) -> None:
    early = await bench.sending("m-1", to_id="1")
    assert await told(bench, early, "sent") == "parked"
    await taken(bench, early)
    late = await bench.sending("m-2", to_id="2")
    await taken(bench, late, cost=None)
    assert await told(bench, late, "delivered", cost=None) == "delivered"
    left = await bench.redis.pttl(f"dcb:m:{late}")
    assert await told(bench, late, "delivered") == "late"
    assert await bench.redis.pttl(f"dcb:m:{late}") <= left
    settled = await bench.sending("m-3", to_id="3")
    await bench.update(settled, "failed")
    assert await taken(bench, settled) == "stale"  # and its answer has the price all the same
    assert await sums(bench) == {("acme", "EUR"): Decimal("0.0999")}


async def test_each_part_has_its_own(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.parts(ref, "mine", 2)
    assert await taken(bench, ref, 0, 2) == "next"
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert await taken(bench, ref, 1, 2, Cost("acme", "EUR", 1)) == "sent"
    assert await sums(bench) == {("acme", "EUR"): Decimal("0.03330001")}
    assert costs_of(await bench.ledger.messages.entry(ref)) == [("0.03330001 EUR", 0)]


async def test_what_no_message_has_is_not_counted(bench: Bench) -> None:
    ref = await bench.sending()
    assert await told(bench, ref, "sent", part=7) == "gone"
    assert await told(bench, "0" * 24, "sent") == "gone"
    await taken(bench, "1" * 24)
    assert await told(bench, ref, "sent", part=1) == "gone"
    await taken(bench, ref, cost=None)
    await bench.update(ref, "delivered")
    assert await told(bench, ref, "sent", part=7) == "late"
    assert await sums(bench) == {}
    assert await bench.keys("dcb:m:*") == [f"dcb:m:{ref}"]


async def test_an_entry_grows_only_with_a_cost(bench: Bench) -> None:
    ref = await bench.sending()
    await taken(bench, ref, cost=None)
    assert (await bench.ledger.messages.entry(ref)).cost(0) is None
    assert costs_of(await bench.ledger.messages.entry(ref)) == []


async def test_a_sum_that_is_full_stays_and_the_message_goes_on(bench: Bench) -> None:
    await bench.redis.hset("dcb:costs", "acme EUR", str(2**63 - 1))
    ref = await bench.sending()
    assert await taken(bench, ref) == "sent"
    assert await sums(bench) == {("acme", "EUR"): Decimal(2**63 - 1).scaleb(-8)}


async def test_there_are_500_sums_at_most(bench: Bench) -> None:
    await bench.redis.hset("dcb:costs", mapping={f"acme-{n} EUR": "1" for n in range(499)})
    for name in ("m-1", "m-2", "m-3"):
        ref = await bench.sending(name, to_id=name)
        await taken(bench, ref, cost=Cost("acme", {"m-2": "USD"}.get(name, "EUR"), 5))
    found = await sums(bench)
    assert (len(found), found["acme", "EUR"]) == (500, Decimal("0.0000001"))
    assert ("acme", "USD") not in found


async def test_a_scrape_shows_it(bench: Bench) -> None:
    await taken(bench, await bench.sending())
    shown = Metrics().render(await read(bench.redis)).decode()
    assert 'dcbridge_cost_total{currency="EUR",provider="acme"} 0.0333\n' in shown


async def test_a_damaged_figure_is_shown_as_nothing(bench: Bench) -> None:
    ref = await bench.sending()
    for wrong in ("", "x", "acme EUR nan 1", "acme EUR " + "9" * 400 + " 1", "acme eur 1 1"):
        await bench.redis.hset(f"dcb:m:{ref}", "k0", wrong)
        assert costs_of(await bench.ledger.messages.entry(ref)) == []
