"""`dcbridge pause`, `resume`, `hold`, `cancel`, `retry` and the rest, and where status and trace show them."""

from __future__ import annotations

import re
from typing import Any

from dcbridge.ledger.controls import CANCELLED
from dcbridge.ledger.lua import take_script
from tests.cli.session import CONSUMER, Session
from tests.cli.test_status import problems, status

FAR = 3600.0


async def some(session: Session, count: int = 3, channel: str = "sms", **changes: Any) -> list[str]:
    """Messages of as many conversations."""
    return [await session.put(f"m-{n}", channel_id=channel, to_id=f"{CONSUMER}{n}", **changes) for n in range(count)]


async def hired(session: Session) -> str:
    """A worker that has announced its limits; the channel of SMS that bridge.yaml has."""
    await session.hires()
    channel = next(name for name, one in session.configuration.channels.items() if one.type == "sms")
    await session.ledger.pacing.announce({channel: "twilio 0 1 0 0 1 0"})
    return channel


async def test_a_pause_is_seen_wherever_an_operator_looks_and_one_command_ends_it(session: Session) -> None:
    channel = await hired(session)
    for what, name in (("provider", "twilio"), ("channel", channel)):
        said = await session.types("pause", what, name, "--why", "wrong\x1b texts", "--by", "ann", "--until", "2h")
        assert (said.code, said.err) == (0, "")
        assert re.fullmatch(
            rf"{what} {name} is paused, until .+Z\. dcbridge resume {what} {name} ends it\.\n", said.out
        )
        [ref] = await some(session, 1, channel)
        assert await session.ledger.messages.claim(ref, "mine", 60.0)
        [problem] = await problems(session)
        assert re.match(rf"{what} {name} is paused by ann for .+, until .+Z: wrong.* texts; 1 waits; ", problem)
        assert problem.endswith(f"; dcbridge resume {what} {name} ends it")
        shown, found = await status(session)
        assert shown.code == 1
        assert [(one["what"], one["name"], one["by"]) for one in found["controls"]] == [(what, name, "ann")]
        [life] = await session.trace(ref)
        assert [re.sub("for [^,]+", "", one) for one in life["paused"]] == [re.sub("for [^,]+", "", problem)]
        said = await session.types("resume", what, name, "--by", "bob", "--why", "sorted out")
        assert said.code == 0
        assert await problems(session) == []
        [life] = await session.trace(ref)
        assert "paused" not in life
        assert await session.ledger.controls.cancel([ref]) == ["cancelled"]
        await session.ledger.receipts.take(channel, 10, 0.0)
        await session.redis.delete(f"dcb:m:{ref}")
    told = await session.types("audit", "--json")
    rows = [(one["action"], one["what"], one["by"], one["why"]) for one in told.lines]
    assert rows[-2:] == [("resume", "p/twilio", "bob", "sorted out"), ("pause", "p/twilio", "ann", "wrong? texts")]
    shown = await session.types("audit")
    assert "provider twilio" in shown.out
    assert "bob" in shown.out
    assert re.search(r"until 20\d\d-\d\d-\d\dT[\d:]{8}Z", shown.out)


async def test_names_that_are_not_known_and_words_that_say_nothing(session: Session) -> None:
    for words, code, says in (
        (["pause", "provider", "twilo"], 1, 'did you mean "twilio"?'),
        (["pause", "channel", "nowhere"], 1, "there is no channel nowhere"),
        (["pause", "subscriber", "crn"], 1, "there is no subscriber crn"),
        (["pause", "conversation", "f" * 24], 1, "no message has this reference"),
        (["pause", "conversation", CONSUMER, "--channel", "nowhere"], 1, "there is no channel nowhere"),
        (["pause", "planet", "mars"], 2, "give what and its name"),
        (["pause", "channel", "nowhere", "--until", "yesterday"], 2, "30 days at most"),
        (["pause", "channel", "nowhere", "--until", "2020-01-01"], 2, "30 days at most"),
        (["hold", "nowhere"], 1, "there is no channel nowhere"),
        (["cancel"], 2, "give references"),
        (["cancel", "f" * 24, "--all"], 2, "exclude each other"),
        (["cancel", "f" * 24], 1, "no message has this reference"),
        (["cancel", "--channel", "nowhere"], 1, "there is no channel nowhere"),
        (["cancel", "--state", "sent"], 2, "use one of waiting"),
        (["release"], 2, "give references"),
        (["release", "f" * 24, "--channel", "x"], 2, "give references"),
    ):
        said = await session.types(*words)
        assert said.code == code, words
        assert says in " ".join(re.sub("[│╭╮╰╯─]", " ", said.err).split()), words
    assert await session.ledger.controls.all() == []
    assert await session.ledger.controls.audit(9) == []


async def test_a_conversation_is_named_by_a_message_or_by_an_address_that_stays_out_of_the_history(
    session: Session,
) -> None:
    channel = await hired(session)
    ref, other = await some(session, 2, channel)
    assert (await session.types("pause", "conversation", ref)).code == 0
    [one] = await session.ledger.controls.all()
    assert one.target.name == (await session.ledger.messages.entry(ref)).lane
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).why == "paused"
    assert (await session.ledger.messages.claim(other, "mine", 60.0)).ours
    said = await session.types("resume", "conversation", "-", "--channel", channel, stdin=f"{CONSUMER}0\n")
    assert (said.code, said.out) == (0, "The pause of this conversation is over.\n")
    assert await session.ledger.controls.all() == []


async def test_a_number_in_another_spelling_names_the_same_conversation(session: Session) -> None:
    channel = await hired(session)
    [ref] = await some(session, 1, channel)
    lane = (await session.ledger.messages.entry(ref)).lane
    typed = f"+1 650 466-{CONSUMER[-4:]}0"
    assert (await session.types("pause", "conversation", typed, "--channel", channel)).code == 0
    assert [one.target.name for one in await session.ledger.controls.all()] == [lane]
    await session.ledger.controls.cancel([ref], "gone")  # nothing waits there any more
    assert (await session.types("resume", "conversation", f"+{CONSUMER}0", "--channel", channel)).code == 0
    assert await session.ledger.controls.all() == []


async def test_cancel_by_filter_counts_asks_and_says_what_came_of_it(session: Session) -> None:
    channel = await hired(session)
    refs = await some(session, 4, channel)
    assert (await session.ledger.messages.claim(refs[0], "mine", 60.0)).ours
    dry = await session.types("cancel", "--channel", channel, "--dry-run")
    assert (dry.code, dry.out.splitlines()) == (
        0,
        [
            f"3 accepted of channel {channel}",
            f"1 sending of channel {channel}",
            "Would cancel 4 messages, and changed nothing.",
        ],
    )
    assert await session.ledger.controls.audit(9) == []
    unsure = await session.types("cancel", "--channel", channel)
    assert (unsure.code, unsure.out) == (2, "")
    assert "4 messages match; repeat the command with --yes" in unsure.err
    for filter_, count in (
        (["--provider", "nobody"], 0),
        (["--accepted-before", "1h"], 0),
        (["--accepted-after", "1h"], 4),
        (["--state", "waiting"], 3),
    ):
        found = await session.types("cancel", "--channel", channel, "--dry-run", *filter_)
        assert (f"cancel {count} message" in found.out) is bool(count)
    done = await session.types("cancel", "--channel", channel, "--yes", "--why", "wrong texts", "--by", "ann")
    assert (done.code, done.out.splitlines()) == (
        0,
        ["3 cancelled", "1 are under way or unknown: they are not ended, and not sent again"],
    )
    again = await session.types("cancel", *refs[1:], "--yes")
    assert again.out == "3 were cancelled before\n"
    owed = await session.ledger.receipts.take(channel, 10, 0.0)
    assert [(one.status, one.reason) for one in owed] == [("Failed", "500")] * 3
    assert await session.difference() == 0
    [life] = await session.trace(refs[1])
    assert "cancelled by an operator" in [hop["what"] for hop in life["hops"]]
    assert [hop.get("detail") for hop in life["hops"] if hop["what"] == "ended: failed"] == [CANCELLED]
    rows = [(one.action, one.by, one.what, one.result) for one in await session.ledger.controls.audit(9)]
    assert rows[2][:2] == ("cancel", "ann")
    assert rows[2][3] == "3 cancelled, 1 under way"
    assert rows[3][3] == "began, of 4"
    assert rows[3][2].startswith(f"channel {channel}, accepted before ")


async def test_a_message_is_cancelled_by_its_message_id_in_all_copies(session: Session) -> None:
    channel = await hired(session)
    await some(session, 1, channel)
    said = await session.types("cancel", "m-0", "--channel", channel)
    assert (said.code, said.out) == (0, "1 cancelled\n")


async def test_hold_release_and_reject(session: Session) -> None:
    channel = await hired(session)
    said = await session.types("hold", channel, "--why", "review")
    assert (
        said.out
        == f"Messages of this channel are held for review, without an end. dcbridge resume hold {channel} ends it.\n"
    )
    refs = await some(session, 4, channel)
    [problem] = await problems(session)
    assert f"channel {channel} is held for review by" in problem
    assert "; 4 wait; " in problem
    assert (await session.types("release", refs[0])).out == "1 released\n"
    assert (await session.types("reject", refs[1])).out == "1 rejected\n"
    assert (await session.ledger.messages.entry(refs[1])).detail == "rejected by the operator"
    assert (await session.ledger.messages.claim(refs[0], "mine", 60.0)).ours
    assert (await session.ledger.messages.claim(refs[2], "mine", 60.0)).why == "paused"
    assert (await session.types("release", "--channel", channel, "--yes")).out == "2 released\n"
    assert (await session.ledger.messages.claim(refs[2], "mine", 60.0)).ours
    more = await session.put("m-9", channel_id=channel, to_id=f"{CONSUMER}9")
    assert (await session.ledger.messages.claim(more, "mine", 60.0)).why == "paused"
    assert (await session.types("resume", "hold", channel)).out == f"The hold of channel {channel} is over.\n"


async def test_retry_makes_the_next_attempt_now(session: Session) -> None:
    channel = await hired(session)
    refs = await some(session, 3, channel)
    for ref in refs:
        await session.ledger.messages.claim(ref, "mine", 60.0)
    for ref in refs[:2]:
        await session.retry(ref, delay=500.0)
    await session.ledger.messages.unknown(refs[2], "mine", 900.0, "timeout")
    assert (await session.types("retry", "--channel", channel, "--yes")).out == "2 woken\n"
    assert (await session.types("retry", refs[2])).out == "1 unknown\n"
    assert (await session.types("retry", refs[2], "--unknown-too")).out == "1 woken\n"
    assert await session.state(refs[2]) == "retry"


async def test_a_drained_installation_says_when_it_is_safe_to_stop(session: Session) -> None:
    channel = await hired(session)
    [ref] = await some(session, 1, channel)
    await session.drop_jobs()
    await session.hires()
    said = await session.types("drain", "--why", "upgrade")
    assert said.code == 0
    assert said.out.splitlines()[0] == "this installation is drained, without an end. dcbridge resume all ends it."
    assert said.out.splitlines()[-1] == "Nothing is under way: it is safe to stop."
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).why == "paused"
    [problem] = await problems(session)
    assert problem.startswith("this installation is drained by ")
    assert (await session.types("resume", "all")).code == 0
    assert await problems(session) == []


async def test_a_worker_that_is_drained_takes_no_jobs(session: Session) -> None:
    channel = await hired(session)
    worker = await session.hires()
    assert (await session.types("drain", "worker", "nowhere")).code == 1
    assert (await session.types("drain", "planet", "mars")).code == 2
    said = await session.types("drain", "worker", worker.name, "--by", "ann")
    assert (said.code, said.out.splitlines()[-1]) == (0, "Nothing is under way in this worker: it is safe to stop.")
    [ref] = await some(session, 1, channel)
    take = session.redis.register_script(take_script())

    async def takes(name: str, popped: str = "") -> Any:
        return await take(args=[10, name, "2026-11-26T00:00:00Z", 9_999_999_999, popped, 1000, "outbound", 10])

    assert await takes(worker.name) is None
    queued: list[Any] = await session.redis.lrange("rq:queue:outbound", 0, -1)
    [job] = queued
    await session.put("m-8", channel_id=channel, to_id=f"{CONSUMER}8")
    await session.redis.lrem("rq:queue:outbound", 1, job)
    assert [row[0] for row in await takes(worker.name, job.decode())] == [job]  # what it has popped, and no more
    assert len(await takes("another")) == 1
    [problem] = await problems(session)
    assert problem.startswith(f"worker {worker.name} is drained by ann")
    assert (await session.types("resume", "worker", worker.name)).code == 0
    assert await takes(worker.name) == []
    assert ref


async def test_a_worker_of_an_older_version_is_named_while_something_is_paused(session: Session) -> None:
    channel = await hired(session)
    [key] = await session.keys("rq:worker:*")
    await session.redis.hdel(key, "controls")
    assert await problems(session) == []
    await session.types("pause", "channel", channel)
    assert any("is of an older version, and sends what is paused: replace it" in one for one in await problems(session))
