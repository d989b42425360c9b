"""`dcbridge status`: what is wrong comes first, what waits says why, and nothing private is shown."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from dcbridge.ledger.reports.books import ChannelBooks
from dcbridge.runtime.logs import Tokens
from tests.cli.letters import all_kinds
from tests.cli.session import CONSUMER, PRIVATE, SENDER, TEXT, Said, Session
from tests.cli.terminal import OnATerminal, on_a_terminal
from tests.ledger.ledger_bench import CHANNEL

PRIVATELY: dict[str, Any] = {"sender_id": SENDER, "payload": f'{{"text":"{TEXT}"}}'.encode()}


async def status(session: Session, *arguments: str, **settings: str) -> tuple[Said, dict[str, Any]]:
    """As text and as JSON, looked at for what is private."""
    shown = await session.types("status", *arguments, **settings)
    told = await session.types("status", "--json", *arguments, **settings)
    assert shown.code == told.code, shown.err
    for word in PRIVATE:
        assert word not in shown.out
        assert word not in told.out
    return shown, told.json


def without_seconds(text: str) -> str:
    return re.sub(r"[0-9.]+ s\b", "", text)


async def problems(session: Session) -> list[str]:
    shown, told = await status(session)
    assert shown.code == (1 if told["problems"] else 0)
    written = [line.removeprefix("! ") for line in shown.out.splitlines() if line.startswith("! ")]
    assert [without_seconds(one) for one in written] == [without_seconds(one) for one in told["problems"]]
    return list(told["problems"])


# ---------------------------------------------------------------- what is wrong


async def test_all_is_well(session: Session) -> None:
    await session.hires()
    shown, told = await status(session)
    assert (shown.code, told["problems"], told["suspended"], told["books_difference"]) == (0, [], False, 0)
    assert "all is well" in shown.out
    assert told["redis"] == session.environ["DCBRIDGE_REDIS_URL"]


async def test_without_a_worker_it_says_so(session: Session) -> None:
    await session.serves()
    assert await problems(session) == ["no worker is running: messages are accepted and wait"]
    await session.hires("outbound")
    assert await problems(session) == ["no worker serves receipts, inbound, events"]


async def test_a_worker_that_was_killed_is_named(session: Session) -> None:
    await session.hires()
    worker = await session.hires()
    await session.redis.delete(f"dcb:alive:{worker._claims_as}")
    [problem] = await problems(session)
    assert problem.startswith(f"worker {worker.name}: last heartbeat ")
    await session.redis.hset(worker.key, "last_heartbeat", "2026-01-01T00:00:00.000000Z")
    assert await problems(session) == []  # others have taken over long ago


async def test_a_suspension(session: Session) -> None:
    await session.hires()
    await session.redis.set("rq:suspended", 1)
    [problem] = await problems(session)
    assert "rq resume" in problem


async def test_books_that_do_not_balance(session: Session) -> None:
    await session.hires()
    await session.put()
    await session.redis.hincrby(f"dcb:books:{CHANNEL}", "accepted", 3)
    [problem] = await problems(session)
    assert "3 unaccounted for" in problem


async def test_an_open_breaker(session: Session) -> None:
    await session.hires()
    await session.ledger.pacing.record_failure("twilio", "x", "20003", at_once=True, threshold=3, first=50.0, most=80.0)
    await session.redis.zadd("dcb:parked:twilio", {"x": 1, "y": 2})
    [problem] = await problems(session)
    assert problem.startswith("twilio: nothing has been sent for ")
    assert "(code 20003); 2 wait; next attempt in " in problem


async def test_a_job_that_waits_for_long(session: Session) -> None:
    await session.hires()
    await session.put()
    [job] = await session.keys("rq:job:*")
    await session.redis.hset(job, "enqueued_at", "2026-01-01T00:00:00.000000Z")
    [problem] = await problems(session)
    assert problem.startswith("outbound: the first of 1 jobs has waited for ")


async def test_receipts_that_nobody_takes(session: Session) -> None:
    await session.hires()
    ref = await session.sending()
    await session.ledger.messages.fail(ref, "mine", 530, "")
    await session.drop_jobs()
    await session.hires()
    await session.pass_time(90)
    await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    await session.ledger.receipts.again(CHANNEL, {ref: 300.0})
    [problem] = await problems(session)
    assert problem.startswith(f"{CHANNEL}: Digital Channels does not accept receipts: 1 are owed")


async def test_a_conversation_that_nobody_will_look_at(session: Session) -> None:
    await session.hires()
    ref = await session.put()
    await session.redis.zrem("dcb:due", f"m:{ref}")
    assert await problems(session) == [f"{ref} and its conversation wait for nothing: a bug, or a damaged Redis"]


async def test_a_redis_that_would_lose_messages(session: Session) -> None:
    await session.hires()
    await session.redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        [problem] = await problems(session)
    finally:
        await session.redis.config_set("maxmemory-policy", "noeviction")
    assert problem.startswith("redis: maxmemory-policy is allkeys-lru")


async def test_the_journal_where_it_is_on_this_computer(session: Session) -> None:
    await session.hires()
    assert (await status(session))[1]["journal"] is None
    in_folder(session.environ["DCBRIDGE_JOURNAL"], {})
    assert (await status(session))[1]["journal"] == {"bytes_waiting": 0, "set_aside": 0}
    in_folder(session.environ["DCBRIDGE_JOURNAL"], {"000000000001.journal": 100, "000000000001.7.bad": 10})
    waiting, aside = await problems(session)
    assert waiting.startswith("the journal has 100 bytes")
    assert aside.startswith("the journal has set aside 1 damaged files")


async def test_the_journals_of_several_processes_are_one(session: Session) -> None:
    await session.hires()
    journal = Path(session.environ["DCBRIDGE_JOURNAL"])
    in_folder(str(journal), {"000000000001.journal": 100})
    in_folder(str(journal / "process-1"), {"000000000001.journal": 20, "000000000001.7.bad": 10})
    assert (await status(session))[1]["journal"] == {"bytes_waiting": 120, "set_aside": 1}


def in_folder(folder: str, sizes: dict[str, int]) -> None:
    Path(folder).mkdir(exist_ok=True)
    for name, size in sizes.items():
        (Path(folder) / name).write_bytes(bytes(size))


# ---------------------------------------------------------------- what waits


async def test_channels_states_and_heads(session: Session) -> None:
    await all_kinds(session)
    worker = await session.hires()
    first = await session.put("w-1", to_id=CONSUMER, **PRIVATELY)
    await session.put("w-2", to_id=CONSUMER, **PRIVATELY)
    second = await session.sending("w-3", to_id="2", **PRIVATELY)
    await session.retry(second, delay=100.0)
    third = await session.put("w-4", to_id="3", channel_id="company.com")
    await session.pass_time(30)
    _, told = await status(session)
    channels = {one["channel_id"]: one for one in told["channels"]}
    assert channels[CHANNEL]["states"] == {"accepted": 2, "retry": 1}
    assert channels["company.com"]["states"] == {"accepted": 1}
    assert channels[CHANNEL]["oldest_age"] >= 30
    assert told["lanes"]["count"] == 3
    heads = {one["id"]: one for one in told["lanes"]["heads"]}
    assert (heads[first]["why"], heads[first]["behind"], heads[first]["channel_id"]) == ("queued", 1, CHANNEL)
    assert (heads[second]["why"], heads[second]["code"], heads[second]["attempts"]) == ("retry", "20429", 1)
    assert heads[third]["why"] == "queued"
    assert heads[first]["consumer"] == Tokens(session.environ["DCBRIDGE_TOKEN_KEY"].encode()).of(CONSUMER)
    assert told["dead_letters"] == 7
    assert told["workers"][0]["name"] == worker.name
    assert [queue["name"] for queue in told["queues"]] == ["receipts", "inbound", "outbound", "events"]


@pytest.mark.parametrize(
    ("arguments", "channels", "providers"),
    [
        ([], {CHANNEL, "company.com"}, {"twilio", "mail"}),
        (["--channel", CHANNEL], {CHANNEL}, {"twilio"}),
        (["--provider", "mail"], {"company.com"}, {"mail"}),
        (["--provider", "mail", "--channel", CHANNEL], set(), set()),
    ],
)
async def test_filters(session: Session, arguments: list[str], channels: set[str], providers: set[str]) -> None:
    await session.hires()
    await session.put("m-1")
    await session.put("m-2", channel_id="company.com")
    _, told = await status(session, *arguments)
    assert {one["channel_id"] for one in told["channels"]} == channels
    assert {one["name"] for one in told["providers"]} == providers
    assert {one["channel_id"] for one in told["lanes"]["heads"]} == channels


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--channel", "nobody"], "there is no channel nobody"),
        (["--provider", "twillio"], "known: mail, twilio"),
        (["--every", "0"], "0.2"),
        (["--heads", "-1"], "--heads"),
    ],
)
@pytest.mark.parametrize("watch", [[], ["--watch"]])
async def test_a_name_or_a_number_that_cannot_be(
    session: Session, arguments: list[str], says: str, watch: list[str]
) -> None:
    said = await session.types("status", *arguments, *watch)
    assert (said.code, said.out) == (1 if arguments[0] in ("--channel", "--provider") else 2, "")
    assert says in said.err


async def test_a_channel_that_is_not_configured_any_more_can_be_asked_for(session: Session) -> None:
    await session.hires()
    ref = await session.put("m-1", channel_id="gone")
    _, told = await status(session, "--channel", "gone")
    assert [one["id"] for one in told["lanes"]["heads"]] == [ref]


async def test_the_number_of_heads_can_be_chosen(session: Session) -> None:
    for n in range(12):
        await session.put(f"m-{n}", to_id=str(n))
    for given, found in (([], 10), (["--heads", "0"], 0), (["--heads", "12"], 12)):
        assert len((await status(session, *given))[1]["lanes"]["heads"]) == found


async def test_looking_changes_nothing(session: Session) -> None:
    await session.hires()
    await session.retry(await session.sending("m-1", to_id="1"))
    await session.put("m-2", to_id="2")
    before = await session.everything()
    await status(session)
    assert await session.everything() == before


async def test_without_redis_it_says_so(session: Session) -> None:
    said = await session.types("status", DCBRIDGE_REDIS_URL="redis://:a-password@127.0.0.1:1/0")
    assert (said.code, said.out) == (3, "")
    assert "redis://127.0.0.1:1/0 cannot be reached" in said.err
    assert "a-password" not in said.err


async def test_it_asks_as_much_of_a_long_queue_as_of_a_short_one(session: Session) -> None:
    """Commands, since what they cost depends on the computer; docs/operations/status.md has what it took on one."""

    async def cost() -> int:
        before: Any = await session.redis.info("stats")
        assert (await session.types("status", "--json")).code == 1
        after: Any = await session.redis.info("stats")
        return int(after["total_commands_processed"] - before["total_commands_processed"])

    async def more(count: int, name: str) -> None:
        for start in range(0, count, 500):
            await asyncio.gather(*(session.put(f"{name}-{n}", to_id=f"{name}{n}") for n in range(start, start + 500)))

    await more(3000, "a")
    few = await cost()
    await more(6000, "b")
    assert await cost() < few * 1.2


# ---------------------------------------------------------------- on a screen, and in a pipe


async def a_lot(session: Session) -> None:
    await session.hires()
    await session.ledger.pacing.announce({CHANNEL: "twilio 50 5 10 1 1 2", "company.com": "mail 0 1 0 0 1 0"})
    for n in range(4):
        ref = await session.put(f"m-{n}", to_id=f"1650466{n:04d}")
        await session.ledger.messages.claim(ref, ref, 60.0)
    await session.ledger.pacing.record_failure(
        "mail", "x", "connection refused", at_once=True, threshold=3, first=50.0, most=80.0
    )


async def test_it_fits_on_eighty_columns_and_cuts_no_id(session: Session) -> None:
    await a_lot(session)
    _, told = await status(session)
    screen = await asyncio.to_thread(on_a_terminal, session.environ, "status", columns=80)
    assert screen.code == 1
    assert max(map(len, screen.lines)) <= 80
    assert "…" not in screen.text
    assert all(one["id"] in screen.text for one in told["lanes"]["heads"])
    assert "\x1b[" in screen.raw
    assert not any(word in screen.text for word in PRIVATE)


async def test_a_pipe_gets_whole_lines_without_colours_and_boxes(session: Session) -> None:
    await a_lot(session)
    said = await session.types("status")
    assert "\x1b" not in said.out
    assert said.out.isascii()
    assert not [line for line in said.out.splitlines() if line != line.rstrip()]
    [line] = [line for line in said.out.splitlines() if line.startswith(CHANNEL)]
    assert "1/s, burst 1, booked" in line
    assert "of 2 in flight" in line


async def test_watching_looks_again_until_ctrl_c(session: Session) -> None:
    worker = await session.hires()
    with OnATerminal(session.environ, "status", "--watch", "--every", "0.2") as running:
        await asyncio.to_thread(running.until, "all is well")
        await session.put("m-1")
        await asyncio.to_thread(running.until, "a free worker")
        await session.redis.delete(f"dcb:alive:{worker._claims_as}")
        await asyncio.to_thread(running.until, "no worker is running")
        await asyncio.to_thread(running.until, "cannot reach Redis")  # the end of a line that is folded
        running.interrupt()
        screen = await asyncio.to_thread(running.end)
    assert screen.code == 0
    assert "Traceback" not in screen.text


async def test_watching_tells_of_rates(session: Session) -> None:
    with OnATerminal(session.environ, "status", "--watch", "--every", "0.2") as running:
        await asyncio.to_thread(running.until, "accepted 0.0/s, ended 0.0/s")
        for n in range(20):
            await session.put(f"m-{n}")
        seen = await asyncio.to_thread(running.until, "20 ")
        running.interrupt()
        await asyncio.to_thread(running.end)
    assert "ended" in seen


async def test_watching_for_machines_is_a_line_a_look_and_waits_for_a_redis_that_is_away(session: Session) -> None:
    environ = session.environ | {"DCBRIDGE_REDIS_URL": "redis://127.0.0.1:1/0"}
    with OnATerminal(environ, "status", "--watch", "--json", "--every", "0.2") as running:
        await asyncio.to_thread(running.until, "cannot be reached")
        await asyncio.to_thread(running.until, "cannot be reached")
        running.interrupt()
        assert (await asyncio.to_thread(running.end)).code == 0


async def test_watching_a_redis_that_goes_away_keeps_the_last_look(own_session: Session, own_redis: Any) -> None:
    await own_session.hires()
    with OnATerminal(own_session.environ, "status", "--watch", "--every", "0.2") as running:
        await asyncio.to_thread(running.until, "all is well")
        own_redis.kill()
        seen = await asyncio.to_thread(running.until, "the last reading before that")
        assert "cannot be reached" in seen
        await asyncio.to_thread(own_redis.start)
        await asyncio.to_thread(running.until, "all is well")
        running.interrupt()
        assert (await asyncio.to_thread(running.end)).code == 0


def test_every_figure_of_a_channel_is_shown_or_left_to_the_books() -> None:
    """A figure that is added to the books has to be thought of here."""
    shown = {"channel_id", "in_flight", "oldest_age", "receipts_waiting", "oldest_receipt_age"}
    books = {"accepted", "delivered", "removed", "failed", "unconfirmed", "redelivered", "providers"}
    assert set(ChannelBooks.__dataclass_fields__) == shown | books
