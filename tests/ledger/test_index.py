"""A search finds exactly what matches, page by page, within a bounded look, whatever else is remembered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from dcbridge.address_tokens import address_token
from dcbridge.ledger import NewMessage, NewPiece, NewTask
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.index import MARGIN, Index
from dcbridge.ledger.reports.index import Page, Query, find, is_there
from dcbridge.messages import own_books
from dcbridge.settings.process import DAY, Settings
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, KEEP, Bench, new_message, new_own

KEY = b"0123456789abcdef"
OTHER, THIRD = "9876543210", "company.com"
NUMBERS = (CONSUMER, "16504661150", "16504661151")


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis, index=Index(KEEP + MARGIN, KEY))


def digest(address: str) -> str:
    return address_token(KEY, address)


async def filled(bench: Bench, count: int = 150) -> dict[str, MessageEntry]:
    """Messages of all kinds, the oldest first: some wait, some were sent, delivered, failed or removed."""
    rng = random.Random(14)
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0", OTHER: "globex 0 0 0 0 0 0"})
    refs = []
    for number in range(count):
        channel = rng.choice((CHANNEL, CHANNEL, OTHER, THIRD))
        message = new_message(f"m-{number}", channel_id=channel, to_id=f"{rng.choice(NUMBERS)}{number % 7}")
        refs.append(message.ref)
        await bench.ledger.messages.accept([message])
        what = rng.choice(("wait", "sent", "delivered", "delivered", "failed", "removed"))
        if what == "wait" or not (await bench.ledger.messages.claim(message.ref, "mine", 60.0)).ours:
            continue
        if what == "failed":
            await bench.ledger.messages.fail(message.ref, "mine", 500, "refused")
            continue
        await bench.taken(message.ref)
        if what != "sent":
            await bench.update(message.ref, what)
    entries = await bench.ledger.messages.entries(refs)
    return dict(zip(refs, entries, strict=True))


async def all_pages(redis: Redis, query: Query, limit: int = 7, most: int = 40) -> tuple[list[str], list[Page]]:
    cursor, found, pages = "", list[str](), list[Page]()
    while True:
        page = await find(redis, query, cursor, limit, most)
        assert len(page.refs) <= limit
        assert page.looked <= most + 1000  # one step of what is in flight
        found += page.refs
        pages.append(page)
        assert len(pages) < 1000
        if not page.cursor:
            return found, pages
        assert page.cursor != cursor
        cursor = page.cursor


QUERIES: Sequence[tuple[str, Query, Callable[[MessageEntry], bool]]] = (
    ("all", Query(), lambda one: True),
    ("a channel", Query(channel=OTHER), lambda one: one.channel_id == OTHER),
    ("a provider", Query(provider="globex"), lambda one: one.provider == "globex"),
    ("failed", Query(state="failed"), lambda one: one.state == "failed"),
    (
        "removed of a channel",
        Query(CHANNEL, state="removed"),
        lambda o: o.channel_id == CHANNEL and o.state == "removed",
    ),
    ("delivered", Query(state="delivered"), lambda one: one.state == "delivered"),
    ("waiting", Query(state="accepted"), lambda one: one.state == "accepted"),
    ("sent of a channel", Query(OTHER, state="sent"), lambda o: o.channel_id == OTHER and o.state == "sent"),
    ("a channel and a provider", Query(CHANNEL, "acme"), lambda o: o.channel_id == CHANNEL and o.provider == "acme"),
    ("a channel nobody has", Query(channel="none"), lambda one: False),
    ("a channel that the provider is not of", Query(CHANNEL, "globex"), lambda one: False),
)


async def test_each_filter_finds_what_matches_and_nothing_else(bench: Bench) -> None:
    known = await filled(bench)
    for name, query, fits in QUERIES:
        found, _ = await all_pages(bench.redis, query)
        assert sorted(found) == sorted(ref for ref, one in known.items() if fits(one)), name
    by_number = digest(f"{NUMBERS[0]}3")
    found, _ = await all_pages(bench.redis, Query(number=by_number))
    assert found == [ref for ref, one in reversed(known.items()) if one.consumer == by_number]
    assert found


async def test_the_newest_comes_first_and_a_time_is_a_limit(bench: Bench) -> None:
    known = await filled(bench)
    refs = list(reversed(known))
    assert (await all_pages(bench.redis, Query()))[0] == refs
    moments = sorted(one.accepted_at for one in known.values())
    after, before = moments[45] / 1000, moments[100] / 1000
    for query in (Query(after=after, before=before), Query(CHANNEL, after=after, before=before)):
        found, pages = await all_pages(bench.redis, query)
        assert found == [
            ref
            for ref in refs
            if after <= known[ref].accepted_at / 1000 < before and query.channel in ("", known[ref].channel_id)
        ]
        assert found
        assert sum(page.looked for page in pages) < 100  # it begins where the time begins, and ends where it ends
    for state in ("failed", "accepted"):
        found, _ = await all_pages(bench.redis, Query(state=state, after=after, before=before))
        wanted = [one for one in refs if known[one].state == state and after <= known[one].accepted_at / 1000 < before]
        assert sorted(found) == sorted(wanted)


async def test_what_matches_nothing_is_looked_for_so_far_and_no_further(bench: Bench) -> None:
    await filled(bench, 120)
    page = await find(bench.redis, Query(CHANNEL, "nobody"), most=1000)
    assert page == Page((), "", 0)  # no list is as short as that of a provider without messages
    page = await find(bench.redis, Query(state="delivered", channel=CHANNEL, after=0.0), limit=500, most=20)
    assert page.looked == 20
    assert page.cursor
    rest = await find(bench.redis, Query(state="delivered", channel=CHANNEL, after=0.0), page.cursor, limit=500)
    assert rest.looked > 20
    assert rest.cursor == ""


async def test_messages_that_come_in_between_move_no_page(bench: Bench) -> None:
    known = await filled(bench, 30)
    first = await find(bench.redis, Query(), limit=10)
    for number in range(20):
        await bench.put(f"later-{number}")
    second = await find(bench.redis, Query(), first.cursor, limit=10)
    assert [*first.refs, *second.refs] == list(reversed(known))[:20]


async def test_both_directions_of_one_consumer_are_found(bench: Bench) -> None:
    ref = await bench.put()
    await bench.ledger.tasks.put([NewTask("c-1", "consumer", "lane", b"{}", "", CHANNEL, f"+{CONSUMER}")])
    piece = NewPiece("c-2", "set", 1, 2, CHANNEL, "lane", b"{", "half", "", CONSUMER)
    await bench.ledger.tasks.put_piece(piece, 60.0, 60.0)
    await bench.ledger.tasks.put([NewTask("b-1", "callback", "", b"{}")])
    query = Query(number=digest(CONSUMER))
    assert (await find(bench.redis, query)).refs == (ref,)
    assert (await find(bench.redis, replace(query, consumers=True))).refs == ("t:c-2", "t:c-1", ref)
    assert (await bench.ledger.tasks.entry("c-1")).consumer == digest(CONSUMER)


async def test_consumers_whose_digests_begin_alike_are_told_apart(bench: Bench) -> None:
    alike = next(
        one
        for one in (f"1650466{n:04d}" for n in range(5000))
        if digest(one)[:2] == digest(CONSUMER)[:2] and one != CONSUMER
    )
    first, second = await bench.put("m-1"), await bench.put("m-2", to_id=alike)
    assert (await find(bench.redis, Query(number=digest(CONSUMER)))).refs == (first,)
    assert (await find(bench.redis, Query(number=digest(alike)))).refs == (second,)


async def test_one_who_is_written_in_two_ways_is_found_by_both(bench: Bench) -> None:
    first = await bench.put("m-1", to_id="0171 1234567")
    second = await bench.put("m-2", to_id="491711234567")
    query = Query(number=f"{digest('+491711234567')}.{digest('01711234567')}")
    assert sorted((await all_pages(bench.redis, query, limit=1))[0]) == sorted((first, second))


async def test_own_messages_are_of_their_channel(bench: Bench) -> None:
    assert await bench.ledger.own.put(new_own()) == "new"
    own = new_own().ref
    for query in (Query(channel=CHANNEL), Query(CHANNEL, state="accepted"), Query(number=digest(CONSUMER))):
        assert (await find(bench.redis, query)).refs == (own,)
    assert (await bench.ledger.messages.entry(own)).hash[b"ch"].decode() == own_books(CHANNEL)


async def test_a_message_that_ends_at_once_is_among_those_that_failed(bench: Bench) -> None:
    ref = await bench.put(reason=500, detail="no channel")
    assert (await find(bench.redis, Query(state="failed"))).refs == (ref,)


async def test_a_second_attempt_is_indexed_once(bench: Bench) -> None:
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0"})
    ref = await bench.sending()
    await bench.ledger.messages.retry(ref, "mine", 0.0, lane_limit=900.0, reason=310, code="1")
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert (await find(bench.redis, Query(provider="acme"))).refs == (ref,)
    days = await cast(Any, bench.redis.zrange("dcb:ix", 0, -1))
    assert await cast(Any, bench.redis.llen(f"dcb:ix:{days[0].decode()}:p/acme")) == 1


async def test_what_is_forgotten_is_not_found_and_every_list_ends(bench: Bench) -> None:
    known = await filled(bench, 60)
    gone = list(known)[10:40]
    await bench.redis.delete(*(f"dcb:m:{ref}" for ref in gone))
    found, _ = await all_pages(bench.redis, Query())
    assert found == [ref for ref in reversed(known) if ref not in gone]
    after = known[list(known)[5]].accepted_at / 1000
    found, _ = await all_pages(bench.redis, Query(after=after, before=known[list(known)[45]].accepted_at / 1000))
    assert set(found) <= set(list(known)[5:45])
    lists = [key async for key in bench.redis.scan_iter("dcb:ix:*")]
    assert len(lists) > 10
    for key in lists:
        left = await bench.redis.pttl(key)
        assert 0 < left <= (KEEP + MARGIN) * 1000, key


async def test_a_list_that_has_ended_is_no_hindrance(bench: Bench) -> None:
    known = await filled(bench, 20)
    today = (await cast(Any, bench.redis.zrange("dcb:ix", 0, -1)))[0].decode()
    await bench.redis.zadd("dcb:ix", {str(int(today) - n): int(today) - n for n in range(1, 400)})
    found, _ = await all_pages(bench.redis, Query())
    assert found == list(reversed(known))


async def test_days_are_gone_through_from_the_last_one(bench: Bench) -> None:
    known = list(await filled(bench, 40))
    today = int((await cast(Any, bench.redis.zrange("dcb:ix", 0, -1)))[0])
    for number, ref in enumerate(known):  # they were accepted on the three days up to today
        day = today - 2 + number // 14
        at = int(day * DAY * 1000) + number
        await cast(Any, bench.redis.hset(f"dcb:m:{ref}", "at", at))
        await bench.redis.zadd("dcb:ix", {str(day): day})
        await cast(Any, bench.redis.lrem(f"dcb:ix:{today}", 1, ref))
        await cast(Any, bench.redis.rpush(f"dcb:ix:{day}", ref))
    assert (await all_pages(bench.redis, Query(), limit=5, most=6))[0] == known[::-1]
    found, _ = await all_pages(bench.redis, Query(after=(today - 1) * DAY, before=today * DAY))
    assert found == known[14:28][::-1]


async def test_without_an_index_nothing_is_written_and_what_is_in_flight_is_found(redis: Redis) -> None:
    bench = Bench(redis)
    ref = await bench.put()
    failed = await bench.put("m-2", reason=500, detail="no channel")
    await bench.ledger.tasks.put([NewTask("c-1", "consumer", "lane", b"{}", "", CHANNEL, CONSUMER)])
    assert not await is_there(redis)
    assert [key async for key in redis.scan_iter("dcb:ix*")] == []
    assert await find(redis, Query()) == Page((), "", 0)
    assert (await find(redis, Query(state="accepted"))).refs == (ref,)
    assert (await bench.ledger.messages.entry(failed)).consumer == ""


async def test_without_a_key_of_tokens_nothing_is_found_by_number(redis: Redis) -> None:
    bench = Bench(redis, index=Index(KEEP))
    ref = await bench.put()
    assert (await find(redis, Query())).refs == (ref,)
    assert [key async for key in redis.scan_iter("dcb:ix:*/[0-9a-f][0-9a-f]")] == []
    assert (await bench.ledger.messages.entry(ref)).consumer == ""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Index(7 * DAY + MARGIN)),  # of a random key: each process has another one
        ({"token_key": KEY.decode()}, Index(7 * DAY + MARGIN, KEY)),
        ({"token_key": KEY.decode(), "retention_days": 1.0}, Index(DAY + MARGIN, KEY)),
        ({"token_key": KEY.decode(), "search_index": False}, Index()),
    ],
)
def test_the_settings_say_what_is_indexed(settings: dict[str, Any], expected: Index) -> None:
    assert Index.of(Settings(**settings)) == expected


@pytest.mark.parametrize(
    "cursor",
    ["x", "a.1.0", "a.1.0.x", "z.1.0.1", "a.1.0.1\n", "c.20000.0.1", "o.1.a", "a.9999999.0.1", "n.1.0.1", "a.١.0.1"],
)
async def test_a_cursor_that_is_not_of_this_search_is_refused(redis: Redis, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await find(redis, Query(), cursor)


@pytest.mark.parametrize("number", ["16504661149", "0123456789AB", "0123456789ab.", "x" * 12, "0" * 13])
async def test_a_number_itself_is_refused(redis: Redis, number: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        await find(redis, Query(number=number))


async def test_many_that_were_accepted_in_one_millisecond_are_each_found_once(bench: Bench) -> None:
    copies = [new_message(f"m-{n}", to_id=f"1650466{n:04d}") for n in range(150)]
    await bench.ledger.messages.accept(cast(Sequence[NewMessage], copies))
    found, _ = await all_pages(bench.redis, Query(state="accepted"), limit=11)
    assert sorted(found) == sorted(one.ref for one in copies)


async def test_an_index_that_is_damaged_keeps_no_message_from_being_sent(bench: Bench) -> None:
    """What was written before an error in a script stays: such a message would be known, and never be sent."""
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0"})
    now = int((await bench.redis.time())[0])
    for day in (f"dcb:ix:{at // int(DAY)}" for at in (now, now + 60)):
        for key in ("dcb:ix", day, f"{day}:c/{CHANNEL}", f"{day}:n/{digest(CONSUMER)[:2]}", f"{day}:p/acme"):
            await bench.redis.set(key, "no list")
    ref = await bench.put(to_id=CONSUMER)
    claimed = await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert claimed.ours
    assert claimed.entry.payload
    own = new_own()
    assert await bench.ledger.own.put(own) == "new"
    assert await bench.difference() == 0
