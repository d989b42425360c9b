"""`dcbridge reconcile`: four sets, an exit code, and the line and field of what cannot be read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from dcbridge.ledger import NewTask
from dcbridge.ledger.digests import begins, day_of, entry
from dcbridge.settings.process import DAY
from tests.cli.session import Session
from tests.ledger.ledger_bench import CHANNEL, new_own


async def three_of_each(session: Session) -> list[dict[str, Any]]:
    """Three messages of agents and three of consumers; what Genesys would export of them."""
    for number in range(3):
        await session.put(f"m-{number}")
        name = f"c-{number}"
        await session.ledger.tasks.put([NewTask(name, "consumer", "", b"{}", channel_id=CHANNEL)])
        await session.ledger.tasks.claim(name, "mine", 60.0)
        await session.ledger.tasks.done(name, "mine", 600.0, ids=f"posted-{number}")
    at = time.time() * 1000
    names = [f"{word}-{number}" for word in ("m", "posted") for number in range(3)]
    return [{"ixnId": f"i-{name}", "externalId": name, "channelId": CHANNEL, "startDate": at} for name in names]


async def compares(session: Session, rows: list[dict[str, Any]], *more: str) -> Any:
    session.folder.joinpath("a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    period = ("--since", "1h", "--until", "2099-01-01")
    return await session.types("reconcile", str(session.folder / "a.jsonl"), *period, *more)


async def test_both_sides_have_the_same(session: Session) -> None:
    rows = await three_of_each(session)
    said = await compares(session, rows)
    assert (said.code, said.err) == (0, "")
    assert "both: 6" in said.out
    assert "Both sides have the same messages." in said.out


async def test_one_message_is_missing_on_each_side(session: Session) -> None:
    rows = await three_of_each(session)
    del rows[1]
    rows.append(rows[0] | {"ixnId": "i-new", "externalId": "m-new"})
    said = await compares(session, rows)
    assert said.code == 1
    assert "warning: genesys.keep_message_ids is off" in said.err
    assert "The two sides differ." in said.out
    told = await compares(session, rows, "--json")
    assert told.code == 1
    sets = {name: [one["id"] for one in told.json[name]["messages"]] for name in ("only_ours", "only_theirs")}
    assert sets == {"only_ours": ["m-1"], "only_theirs": ["m-new"]}
    assert (told.json["both"]["count"], told.json["ambiguous"]["count"]) == (5, 0)
    assert all(word in said.out for word in ("m-1", "m-new", "i-new", "a.jsonl:6"))


async def test_of_a_day_that_is_forgotten_a_digest_is_compared(session: Session) -> None:
    day = time.time() - 20 * DAY
    entries = entry("m-1", "delivered") + entry("m-2", "failed")
    await session.ledger.digests.write(day_of(day), {CHANNEL: entries}, 40 * DAY)
    at = (begins(day_of(day)) + 3600) * 1000
    row = {"ixnId": "i-1", "externalId": "m-1", "channelId": CHANNEL, "startDate": at}
    period = ("--since", day_of(day), "--until", day_of(day + DAY), "--json")
    session.folder.joinpath("a.jsonl").write_bytes(orjson.dumps(row))
    told = await session.types("reconcile", str(session.folder / "a.jsonl"), *period)
    assert told.code == 1
    assert [one["id"] for one in told.json["both"]["messages"]] == ["m-1"]
    assert [one["state"] for one in told.json["only_ours"]["messages"]] == ["failed"]
    session.folder.joinpath("a.jsonl").write_bytes(
        orjson.dumps(row) + b"\n" + orjson.dumps(row | {"ixnId": "i-2", "externalId": "m-2"})
    )
    told = await session.types("reconcile", str(session.folder / "a.jsonl"), *period)
    assert (told.code, told.json["both"]["count"]) == (0, 2)


async def test_a_message_without_an_id_is_ambiguous_and_what_was_not_posted_is_none(session: Session) -> None:
    rows = await three_of_each(session)
    for name, ids in (("c-none", "-"), ("c-before", ""), ("c-two", "posted-3 posted-4")):
        await session.ledger.tasks.put([NewTask(name, "consumer", "", b"{}", channel_id=CHANNEL)])
        await session.ledger.tasks.claim(name, "mine", 60.0)
        await session.ledger.tasks.done(name, "mine", 600.0, ids=ids)
    await session.ledger.tasks.put([NewTask("c-waits", "consumer", "", b"{}", channel_id=CHANNEL)])
    assert await session.ledger.own.put(new_own()) == "new"
    told = await compares(session, rows, "--json")
    assert [one["ref"] for one in told.json["ambiguous"]["messages"]] == ["c-none"]
    assert sorted(one["id"] for one in told.json["only_ours"]["messages"]) == ["posted-3", "posted-4"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"externalId": "m-1"}, "error: a.jsonl:7: ixnId: should be a text"),
        ({"ixnId": "i", "startDate": "canary-text"}, "error: a.jsonl:7: startDate: should be a time"),
    ],
)
async def test_bad_input_names_the_line_and_the_field(session: Session, row: dict[str, Any], says: str) -> None:
    rows = await three_of_each(session)
    said = await compares(session, [*rows, row])
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(says)


async def test_a_file_that_is_not_there_and_a_period_without_length(session: Session, tmp_path: Path) -> None:
    said = await session.types("reconcile", str(tmp_path / "none.jsonl"))
    assert (said.code, said.err) == (2, "error: none.jsonl: cannot be read: there is no such file\n")
    said = await session.types("reconcile", str(tmp_path / "none.jsonl"), "--since", "1h", "--until", "2h")
    assert (said.code, said.err) == (2, "error: --since should be before --until\n")


async def test_status_shows_the_last_night_if_it_differs(session: Session) -> None:
    counts = {"both": 5, "only_ours": 1, "only_theirs": 2, "ambiguous": 0}
    await session.ledger.nights.done("2026-11-24", differs=True, counts=counts)
    said = await session.types("status", "--json")
    words = "the messages of 2026-11-24 differ from those that Genesys kept: 1 only ours, 2 only theirs, 0 ambiguous"
    assert any(problem.startswith(words) for problem in said.json["problems"])
    await session.ledger.nights.done("2026-11-25", differs=False, counts=counts)
    said = await session.types("status", "--json")
    assert not any("differ from" in problem for problem in said.json["problems"])
