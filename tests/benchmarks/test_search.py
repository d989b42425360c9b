"""The searches of the benchmark, beside a few thousand messages: each finds what it is for, and looks at no more."""

from __future__ import annotations

from redis.asyncio import Redis

from benchmarks.search import CHANNELS, KEY, measure, number
from dcbridge.address_tokens import address_token
from dcbridge.ledger import Ledger
from dcbridge.ledger.reports.index import Query, find


async def test_searches_find_what_the_benchmark_has_written(redis: Redis) -> None:
    pages = await measure(redis, remembered=1500, waiting=60, times=1)
    entries = Ledger(redis, keep=60, keep_dead=60).messages.entries
    for name, page in pages.items():
        if name.startswith(("nothing", "a number that")):
            assert (page.refs, page.cursor) == ((), ""), name
    newest = await entries(pages["the newest"].refs)
    assert [one.channel_id for one in newest] == ["paused"] * 50  # they were accepted last
    for name, field, value in (
        ("a channel", "channel_id", "large"),
        ("a provider", "provider", "of-large"),
        ("failed", "state", "failed"),
        ("delivered on a channel", "state", "delivered"),
        ("waiting", "state", "accepted"),
    ):
        assert {getattr(one, field) for one in await entries(pages[name].refs)} == {value}, name
        assert pages[name].looked <= 60, name
    of_middle = await entries(pages["failed on a channel"].refs)
    assert {(one.channel_id, one.state) for one in of_middle} == {("middle", "failed")}
    assert 0 < len(pages["ten minutes, some days ago"].refs) < 10
    someone = (await entries((await find(redis, Query("large"))).refs))[0].consumer
    assert {one.consumer for one in await entries((await find(redis, Query(number=someone))).refs)} == {someone}
    waits = address_token(KEY, number(7))
    assert any(one.channel_id == "paused" for one in await entries((await find(redis, Query(number=waits))).refs))
    assert set(CHANNELS) >= {
        one.channel_id for one in await entries(pages["a channel with one message in a thousand"].refs)
    }
