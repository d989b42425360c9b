"""The audit: filters, pages and files."""

from __future__ import annotations

import csv
import io
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.console.context import Role
from dcbridge.ledger.controls import Action, Target, What
from dcbridge.operations.audit import MOST, About, Wanted, about
from tests.console.running import Console, open_console

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "＝")
LINES = (
    ("ann", "pause", "c/0123456789", "wrong texts", "until 1764200000000"),
    ("bob", "dead.reveal", "w-1", "", "agent-message, 29 bytes"),
    ("ann", "console.sign-in", "oidc", "", "done"),
    ("Bob", "resume", "c/0123456789", "", ""),
)


async def noted(console: Console) -> None:
    for by, action, what, why, result in LINES:
        await console.context.ledger.controls.note(by, action, what, why, result)


async def test_nothing_in_the_record_turns_or_ends_a_line(redis: Redis) -> None:
    """Also where a reason came from an operator's form: an admin reads it on a terminal."""
    async with open_console(redis, Role.OPERATOR) as console:
        controls = console.context.ledger.controls
        bad = "a\x1b[31m\nb\u202ec"
        await controls.note(bad, bad, bad, bad, "x" * 5000)
        await controls.begin(Target(What.ALL), by=bad, why=bad)
        lines = await controls.audit(9)
        assert {word for one in lines for word in (one.by, one.why)} == {"a?[31m?b?c"}
        assert max(len(one.result) for one in lines) == 1000
        [one] = await controls.all()
        assert (one.by, one.why) == ("a?[31m?b?c", "a?[31m?b?c")


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ("", ["resume", "console.sign-in", "dead.reveal", "pause"]),
        ("by=BOB", ["resume", "dead.reveal"]),
        ("by=ann&action=pau", ["pause"]),
        ("about=reveals", ["dead.reveal"]),
        ("about=sign-ins", ["console.sign-in"]),
        ("about=changes", ["resume", "pause"]),
        ("about=nonsense", ["resume", "console.sign-in", "dead.reveal", "pause"]),
        ("since=2020-01-01&until=2120-01-01", ["resume", "console.sign-in", "dead.reveal", "pause"]),
        ("until=2020-01-01", []),
        ("since=2120-01-01", []),
    ],
)
async def test_lines_are_chosen_on_the_page_and_in_both_files(redis: Redis, query: str, actions: list[str]) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        await noted(console)
        shown = (await console.get(f"/audit?{query}")).text
        assert shown.count('data-label="Person"') == len(actions)
        lines = (await console.get(f"/audit/export/jsonl?{query}")).text.splitlines()
        assert [orjson.loads(line)["action"] for line in lines] == actions
        rows = list(csv.DictReader(io.StringIO((await console.get(f"/audit/export/csv?{query}")).text)))
        assert [row["action"] for row in rows] == actions


async def test_what_is_stored_in_short_is_shown_in_words(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        await noted(console)
        await console.context.ledger.controls.note("ann", "pause", "all", "", "until 999999999999999")
        shown = (await console.get("/audit")).text
        assert "channel 0123456789" in shown
        assert "until 2025-11-26T23:33:20Z" in shown
        assert "until 999999999999999" in shown


@pytest.mark.parametrize("day", ["26.11.2026", "2026-13-01", "0001-01-01", "9999-12-31", "١٢٣٤-٠١-٠١"])
async def test_a_day_that_is_none_is_told_at_its_field(redis: Redis, day: str) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        answer = await console.get("/audit", params={"since": day})
        assert (answer.status_code, "should be a day such as" in answer.text) == (422, True)
        assert (await console.get("/audit/export/csv", params={"since": day})).status_code == 404


@pytest.mark.parametrize(
    "cell", ['=HYPERLINK("http://x")', "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\u00a0=1", "＝1"]
)
async def test_no_cell_is_a_formula(redis: Redis, cell: str) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        await console.context.ledger.controls.note(cell, cell, cell, cell, cell)
        answer = await console.get("/audit/export/csv")
        assert answer.headers["content-disposition"].startswith('attachment; filename="dcbridge-audit-')
        [_, row] = csv.reader(io.StringIO(answer.text))
        assert all(one.lstrip(" ")[0] not in FORMULAS for one in row[1:]), row


async def test_pages_go_on_where_the_last_one_ended(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        for number in range(120):
            await console.context.ledger.controls.note("ann" if number % 2 else "bob", "pause", f"n{number}.", "", "")
        for query, pages, count in (("", 3, 120), ("by=ann", 2, 60)):
            seen, path = [], f"/audit?{query}"
            for _ in range(pages):
                shown = (await console.get(path)).text
                seen += [part.partition(".")[0] for part in shown.split("<span>n")[1:]]
                path = shown.partition('" rel="next"')[0].rpartition('href="')[2].replace("&amp;", "&")
            assert 'rel="next"' not in shown
            assert (len(seen), seen) == (count, sorted(seen, key=int, reverse=True))


async def test_a_filter_costs_a_bounded_number_of_commands(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        async with redis.pipeline(transaction=False) as pipe:
            for number in range(MOST + 500):
                pipe.xadd("dcb:audit", {"at": number, "by": "ann", "action": "pause"})
            await pipe.execute()

        async def commands() -> int:
            return int((await cast(Any, redis.info("stats")))["total_commands_processed"])

        before = await commands()
        assert "No line matches" in (await console.get("/audit?by=nobody")).text
        assert await commands() - before < 30
        assert len((await console.get("/audit/export/jsonl")).text.splitlines()) == MOST


def test_each_line_is_of_one_kind() -> None:
    def line(action: str) -> Action:
        return Action(1.0, "ann", action, "", "", "")

    assert [about(line(one)) for one in ("reveal", "dead.reveal", "sign-in", "sign-out", "pause", "")] == [
        About.REVEALS, About.REVEALS, About.SIGN_INS, About.SIGN_INS, About.CHANGES, About.CHANGES,
    ]  # fmt: skip
    assert Wanted(since=1.0, until=2.0).has(line("pause"))
    assert not Wanted(since=0.0, until=1.0).has(line("pause"))
