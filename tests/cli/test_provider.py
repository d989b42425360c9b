"""`dcbridge provider` and `dcbridge drill`, and what books, trace and status say of several providers."""

from __future__ import annotations

import pytest
import yaml

from dcbridge.config.loader import load
from tests.cli.session import Session
from tests.stack import SMS

FIRST, SPARE = "twilio", "spare"


@pytest.fixture
async def two(session: Session) -> Session:
    """The channel has a second account, and the ledger knows of it."""
    path = session.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    told["providers"][SPARE] = {**told["providers"][FIRST]}
    told["channels"][SMS].pop("provider")
    told["channels"][SMS]["providers"] = [FIRST, SPARE]
    path.write_text(yaml.safe_dump(told))
    await session.ledger.pacing.announce(load(path, {}).limits())
    return session


async def _new(session: Session) -> dict[str, str]:
    listed = (await session.types("provider", "list", "--json")).json
    return {one["name"]: one["health"] for one in listed if one["name"] in (FIRST, SPARE)}


async def test_drain_and_prefer_hold_for_a_time_and_say_by_whom(two: Session) -> None:
    said = await two.types("provider", "drain", FIRST, "--for", "90m", "--by", "ann", "--why", "works")
    assert (said.code, said.out.startswith(f"{FIRST} gets nothing new, until 20")) == (0, True)
    assert await _new(two) == {FIRST: "no", SPARE: "yes"}
    listed = await two.types("provider", "list")
    assert "drained by ann: works, until 20" in listed.out
    assert "drained by ann until 20" in (await two.types("status")).out
    said = await two.types("provider", "prefer", SPARE, "--for", "1d")
    assert await _new(two) == {FIRST: "no", SPARE: "first"}
    said = await two.types("provider", "prefer", FIRST, "--by", "bob")
    assert "Before, it was drained by ann, until 20" in said.out
    for name in (FIRST, SPARE):
        assert (await two.types("provider", "clear", name)).code == 0
    assert await _new(two) == {FIRST: "yes", SPARE: "yes"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("provider", "drain", FIRST, "--for", "2 hours"), "--for"),
        (("provider", "drain", FIRST, "--for", "31d"), "--for"),
        (("provider", "drain", FIRST, "--for", "0s"), "--for"),
        (("drill", SPARE, "--share", "0"), "--share"),
        (("drill", SPARE, "--share", "101%"), "--share"),
        (("drill", SPARE, "--share", "one"), "--share"),
    ],
)
async def test_a_time_or_a_share_that_cannot_be_is_told_as_usage(
    two: Session, words: tuple[str, ...], says: str
) -> None:
    said = await two.types(*words)
    assert said.code == 2
    assert says in said.err
    assert await two.keys("dcb:steer:*") == await two.keys("dcb:drill:*") == []


async def test_one_that_is_nowhere_beside_another_cannot_be_drained(two: Session) -> None:
    said = await two.types("provider", "drain", "mail")
    assert (said.code, "no channel has mail beside another provider" in said.err) == (1, True)


async def test_a_drill_begins_counts_and_ends(two: Session) -> None:
    assert (await two.types("drill", SPARE)).out.startswith("There is no drill of spare")
    said = await two.types("drill", SPARE, "--share", "100%", "--for", "1h", "--by", "ann")
    assert (said.code, "of new conversations go through spare" in said.out) == (0, True)
    ref = await two.sending(channel_id=SMS)
    assert (await two.ledger.messages.entry(ref)).provider == SPARE
    await two.taken(ref)
    found = (await two.types("drill", SPARE, "--json")).json["drill"]
    assert (found["share"], found["by"], found["drilled"]["taken"], found["beside"]["taken"]) == (1.0, "ann", 1, 0)
    assert "through spare" in (await two.types("drill", SPARE)).out
    assert (await two.types("drill", SPARE, "--end")).out.startswith("The drill of spare is over.")
    assert (await two.types("drill", SPARE, "--end")).out.startswith("No drill of spare was under way.")


async def test_a_switch_is_in_the_books_and_in_the_trace(two: Session) -> None:
    ref = await two.sending(channel_id=SMS)
    await two.ledger.messages.retry(
        ref, "mine", 5.0, lane_limit=900.0, reason=500, code="connect", switch="unreachable"
    )
    assert (await two.ledger.messages.claim(ref, "mine", 60.0)).ours
    await two.taken(ref)
    books = await two.types("books", "--json")
    [channel] = [one for one in books.json["channels"] if one["channel_id"] == SMS]
    figures = {one["name"]: (one["accepted"], one["in_flight"], one["left"]) for one in channel["providers"]}
    assert (books.code, figures) == (0, {FIRST: (0, 0, 1), SPARE: (1, 1, 0)})
    assert SPARE in (await two.types("books")).out
    traced = (await two.types("trace", ref)).out
    assert f"{SPARE}: the other one could not be reached; before, it went through {FIRST}" in traced
    assert f"from {FIRST} to {SPARE}" in traced


async def test_books_of_a_provider_that_do_not_add_up_are_an_alarm(two: Session) -> None:
    await two.sending(channel_id=SMS)
    assert (await two.types("books")).code == 0
    await two.redis.hincrby(f"dcb:books:{SMS}", f"{FIRST}|accepted", 1)
    assert (await two.types("books")).code == 1


async def test_a_slow_one_is_a_problem_and_the_last_choice(two: Session) -> None:
    await two.redis.hset(f"dcb:slow:{FIRST}", mapping={"since": 1000, "share": "0.5"})
    assert await _new(two) == {FIRST: "last", SPARE: "yes"}
    status = (await two.types("status", "--json")).json
    assert any("had no delivery update in time" in one for one in status["problems"])
