"""`dcbridge trace`: whatever became of a message can be read hop by hop, and nothing private with it."""

from __future__ import annotations

from typing import Any

import pytest

from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.history import KEPT
from dcbridge.ledger.uploads import Uploaded
from dcbridge.messages import Cost, MessageStatus, UpdateStatus
from dcbridge.runtime.logs import Tokens
from tests.cli.session import CONSUMER, SENDER, TEXT, Session
from tests.ledger.ledger_bench import CHANNEL, KEEP, copies_of, new_own

PRIVATELY: dict[str, Any] = {"sender_id": SENDER, "to_id": CONSUMER, "payload": f'{{"text":"{TEXT}"}}'.encode()}


async def waiting(session: Session, message_id: str = "m-1") -> str:
    return await session.put(message_id, **PRIVATELY)


async def sending(session: Session, message_id: str = "m-1") -> str:
    return await session.sending(message_id, **PRIVATELY)


async def sent(session: Session, message_id: str = "m-1") -> str:
    ref = await sending(session, message_id)
    assert await session.taken(ref) == "sent"
    return ref


async def post_receipt(session: Session, ref: str) -> None:
    [owed] = await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    assert owed.ref == ref
    await session.ledger.receipts.done(CHANNEL, [ref])


# ---------------------------------------------------------------- lives


async def test_the_life_of_a_message_that_was_delivered(session: Session) -> None:
    ref = await sent(session)
    assert await session.update(ref, "sent") == "noted"
    assert await session.update(ref, "delivered") == "delivered"
    await post_receipt(session, ref)
    [life] = await session.trace(ref)
    assert [hop["what"] for hop in life["hops"]] == [
        "accepted",
        "attempt 1: accepted by the provider",
        "delivery update: sent",
        "delivery update: delivered",
        "ended: delivered",
        "receipt: Delivered posted",
    ]
    assert life["hops"][1]["provider_id"] == "SM0"
    assert life["hops"][-1]["tries"] == 1
    assert (life["state"], life["attempts"], life["message_id"], life["channel"]) == ("delivered", 1, "m-1", CHANNEL)
    assert life["parts"] == [{"part": 1, "provider_id": "SM0", "status": "delivered"}]
    offsets = [hop["seconds_since_accepted"] for hop in life["hops"]]
    assert offsets == sorted(offsets)
    assert offsets[0] == 0
    assert life["hops"][0]["at"].endswith("Z")


async def test_a_message_of_dcbridges_own_is_found_by_its_id_and_says_what_caused_it(session: Session) -> None:
    mine = new_own("own-1", to_id=CONSUMER, payload=PRIVATELY["payload"])
    await session.ledger.own.put(mine)
    for given in ("own-1", mine.ref):
        [life] = await session.trace(given)
        assert (life["what"], life["caused_by"]) == ("a message of dcbridge's own", "answer own-1")
        assert (life["message"], life["channel"], life["state"]) == (mine.ref, CHANNEL, "accepted")
    said = await session.types("books")
    assert (said.code, "own/0123456789" in said.out) == (0, True)
    said = await session.types("status", "--channel", CHANNEL)
    assert "own/0123456789" in said.out
    assert "is not configured" not in said.out


async def test_what_a_message_cost_is_shown_where_the_provider_says_so(session: Session) -> None:
    ref = await sent(session)
    [life] = await session.trace(ref)
    assert "cost" not in life
    cost = Cost("acme", "EUR", 6_660_000, 2)
    await session.ledger.messages.update(ref, 0, "delivered", "SM0", "", "", 100.0, cost=cost)
    [life] = await session.trace(ref)
    assert life["cost"] == ["0.0666 EUR for 2 SMS"]


async def test_a_message_that_waits_says_how_many_are_before_it_and_by_which_token_the_logs_know_its_consumer(
    session: Session,
) -> None:
    await waiting(session, "m-1")
    ref = await waiting(session, "m-2")
    [life] = await session.trace(ref)
    assert [hop["what"] for hop in life["hops"]] == ["accepted"]
    assert life["waits_behind"] == "1 in its conversation"
    assert life["consumer"] == Tokens(session.environ["DCBRIDGE_TOKEN_KEY"].encode()).of(CONSUMER)


async def test_a_message_that_is_held_back_says_why(session: Session) -> None:
    ref = await waiting(session)
    key = f"dcb:m:{ref}"
    await session.redis.hset(key, "sl", 1_800_000_000_000)
    assert (await session.trace(ref))[0]["held_back"] == "by the rate limit, until 2027-01-15T08:00:00.000Z"
    await session.redis.hset(key, "hd", 1)
    assert (await session.trace(ref))[0]["held_back"] == "the allowed number of requests is in flight"
    await session.redis.zadd("dcb:parked:twilio", {ref: 1})
    await session.redis.hset("dcb:breaker:twilio", "why", "20003")
    assert (await session.trace(ref))[0]["held_back"] == "the breaker of twilio is open: 20003"


async def test_every_attempt_is_told_with_its_code_and_the_next_is_announced(session: Session) -> None:
    ref = await sending(session)
    assert await session.retry(ref, delay=4.0) == "retry"
    [life] = await session.trace(ref)
    assert [hop["what"] for hop in life["hops"]] == ["accepted", "attempt 1: not accepted", "due: next attempt"]
    assert (life["hops"][1]["code"], life["hops"][1]["then_in_seconds"], life["last_code"]) == ("20429", 4.0, "20429")
    assert 3.9 < life["hops"][2]["seconds_since_accepted"] < 60
    await session.pass_time(5)
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert (await session.hops(ref))[-1] == "attempt 2: under way"
    assert await session.taken(ref) == "sent"
    [life] = await session.trace(ref)
    assert [hop["what"] for hop in life["hops"]] == [
        "accepted",
        "attempt 1: not accepted",
        "attempt 2: accepted by the provider",
        "due: a status lookup at the provider, or unconfirmed",
    ]
    assert life["hops"][2]["provider_id"] == "SM0"


async def test_a_refusal_is_told_with_its_reason_in_words(session: Session) -> None:
    ref = await sending(session)
    await session.ledger.messages.fail(ref, "mine", 530, "21211")
    [life] = await session.trace(ref)
    attempt, end, receipt = life["hops"][1:]
    assert (attempt["what"], attempt["reason"], attempt["code"]) == ("attempt 1: failed", "530", "21211")
    assert (end["what"], end["says"], end["detail"]) == ("ended: failed", "Invalid destination.", "21211")
    assert (receipt["what"], receipt["tries"]) == ("due: receipt Failed", 0)


async def test_what_the_provider_was_asked_and_what_it_said(session: Session) -> None:
    ref = await sending(session)
    await session.ledger.messages.unknown(ref, "mine", 0.0, "timeout")
    for word, detail in (("failed", "HTTP 500"), ("unclear", "several with this text"), ("absent", "")):
        assert await session.ledger.lookups.ask(ref, 900.0) == "asking"
        assert (await session.ledger.lookups.claim(ref, "q", 15.0)).ours
        assert await session.ledger.lookups.answered(ref, "q", 0, word, "twilio", detail) == "ok"
        assert await session.ledger.lookups.again(ref, "q", 0.0) == "again"
    assert await session.ledger.lookups.ask(ref, 900.0) == "asking"
    assert (await session.ledger.lookups.claim(ref, "q", 15.0)).ours
    await session.ledger.lookups.answered(ref, "q", 0, "found", "twilio", "sent")
    fate = MessageStatus("SM7", UpdateStatus.SENT)
    given: dict[str, Any] = {"delivered": False, "confirm_within": 100.0}
    assert await session.ledger.lookups.found(ref, "q", 0, 1, "twilio", fate, ["SM7"], **given) == "sent"
    [life] = await session.trace(ref)
    asked = [(hop["what"], hop.get("code"), hop.get("status"), hop.get("provider_id")) for hop in life["hops"][2:-1]]
    assert asked == [
        ("asked twilio: no answer", "HTTP 500", None, None),
        ("asked twilio: the answer does not decide it", "several with this text", None, None),
        ("asked twilio: it has no such message", None, None, None),
        ("asked twilio: it has the message", None, "sent", "SM7"),
    ]


async def test_an_unknown_outcome_and_what_was_done_about_it(session: Session) -> None:
    ref = await sending(session)
    await session.ledger.messages.unknown(ref, "mine", 0.0, "read timeout")
    assert (await session.hops(ref))[1:] == [
        "attempt 1: no answer",
        "due: a status lookup at the provider, or the channel's policy",
    ]
    assert await session.ledger.messages.settle(ref, "resend") == "retry"
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).ours
    await session.ledger.messages.unknown(ref, "mine", 0.0, "read timeout")
    assert await session.ledger.messages.settle(ref, "fail") == "failed"
    [life] = await session.trace(ref)
    assert [hop["what"] for hop in life["hops"]] == [
        "accepted",
        "attempt 1: no answer",
        "outcome still unknown: resend",
        "attempt 2: no answer",
        "outcome still unknown: fail",
        "ended: failed",
        "due: receipt Failed",
    ]
    assert life["hops"][1]["code"] == "read timeout"
    assert life["outcome_was_unknown"] == "2 times"


async def test_parts_and_their_ids(session: Session) -> None:
    ref = await sending(session)
    await session.ledger.messages.parts(ref, "mine", 2)
    assert await session.taken(ref, part=0, count=2) == "next"
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).ours
    [life] = await session.trace(ref)
    assert life["parts"][1] == {"part": 2, "provider_id": "", "status": "not accepted yet"}
    assert await session.taken(ref, part=1, count=2) == "sent"
    await session.update(ref, "delivered", 1)
    [life] = await session.trace(ref)
    first, second = life["hops"][1:3]
    assert (first["what"], first["part"], first["provider_id"]) == ("attempt 1: accepted by the provider", 1, "SM0")
    assert (second["what"], second["part"], second["provider_id"]) == ("attempt 2: accepted by the provider", 2, "SM1")
    assert [part["status"] for part in life["parts"]] == ["accepted by the provider", "delivered"]


@pytest.mark.parametrize(
    ("updates", "told"),
    [
        (["delivered"], ["delivered delivered"]),
        (["sent", "sent"], ["sent noted", "sent repeated"]),
        (["delivered", "failed"], ["delivered delivered", "failed late"]),
        (["failed", "delivered"], ["failed failed", "delivered late"]),
    ],
)
async def test_every_delivery_update_is_told_also_one_that_changed_nothing(
    session: Session, updates: list[str], told: list[str]
) -> None:
    ref = await sent(session)
    for status in updates:
        await session.update(ref, status, reason="530", detail="30005")
    [life] = await session.trace(ref)
    found = [hop for hop in life["hops"] if hop["what"].startswith("delivery update")]
    assert [f"{hop['what'].removeprefix('delivery update: ')} {hop['result']}" for hop in found] == told
    assert {hop["code"] for hop in found} == {"30005"}


async def test_an_update_that_came_before_the_answer(session: Session) -> None:
    ref = await sending(session)
    assert await session.update(ref, "delivered") == "parked"
    assert await session.retry(ref) == "delivered"
    assert (await session.hops(ref))[1:4] == [
        "delivery update: delivered",
        "attempt 1: no clear answer, but an update says that the provider accepted it",
        "ended: delivered",
    ]


async def test_a_receipt_that_was_tried_again_and_one_that_was_refused(session: Session) -> None:
    ref = await sent(session)
    await session.update(ref, "delivered")
    await session.ledger.receipts.take(CHANNEL, 10, 60.0)
    await session.ledger.receipts.again(CHANNEL, {ref: 30.0})
    [life] = await session.trace(ref)
    assert (life["hops"][-1]["what"], life["hops"][-1]["tries"]) == ("due: receipt Delivered", 1)
    await session.ledger.receipts.refused(CHANNEL, ref, "http 404", b"{}")
    [life] = await session.trace(ref)
    assert life["hops"][-1]["what"] == "receipt: refused by Digital Channels"
    assert life["hops"][-1]["code"] == "http 404"
    assert life["dead_letters"] == [f"r-{ref}"]


async def test_the_life_of_a_task(session: Session) -> None:
    task_id = "c-" + "0" * 24
    await session.ledger.tasks.put([NewTask(task_id, "consumer", "lane", TEXT.encode(), "trace", CHANNEL)])
    for place, file in enumerate(
        (Uploaded("media-1", "u", "file.png", "image/png", 4711), Uploaded(withheld="infected"))
    ):
        await session.ledger.uploads.note(task_id, place, file, CHANNEL, keep=60.0, remember=60.0)
    assert await session.hops(task_id) == ["accepted"]
    await session.ledger.tasks.claim(task_id, "mine", 60.0)
    assert (await session.hops(task_id))[-1].startswith("attempt 1: under way")
    await session.ledger.tasks.retry(task_id, "mine", 0.0, "http 503")
    assert (await session.hops(task_id))[1:] == ["attempt 1: not accepted", "due: next attempt"]
    await session.ledger.tasks.claim(task_id, "mine", 60.0)
    await session.ledger.tasks.dead(task_id, "mine", "http 400", TEXT.encode(), 100.0)
    [life] = await session.trace(task_id)
    assert [hop["what"] for hop in life["hops"]] == [
        "accepted",
        "attempt 1: not accepted",
        "attempt 2: given up",
        "ended: dead",
    ]
    assert (life["what"], life["dead_letters"]) == ("a consumer message", [f"t-{task_id}"])
    assert life["files"] == ["image/png of 4,711 bytes, media-1", "withheld: infected"]


# ---------------------------------------------------------------- ids


async def test_a_message_id_gives_every_copy_on_every_channel(session: Session) -> None:
    many = [f"reader-{n}" for n in range(12)]
    await session.ledger.messages.accept(copies_of("m-1", *many, channel_id="company.com"))
    ref = await waiting(session, "m-1")
    assert len(await session.trace("m-1")) == 13
    [life] = await session.trace("m-1", "--channel", CHANNEL)
    assert life["message"] == ref
    copies = await session.trace("m-1", "--channel", "company.com")
    assert [life["message"].partition("-")[2] for life in copies] == ["", *(str(n) for n in range(1, 12))]
    [life] = await session.trace(copies[3]["message"])
    assert life["message"] == copies[3]["message"]


async def test_a_message_of_a_channel_that_is_not_configured_is_found(session: Session) -> None:
    await session.put("m-1", channel_id="nobody", reason=530, detail="the channel is not configured")
    assert (await session.trace("m-1"))[0]["channel"] == "nobody"


async def test_a_message_id_may_look_like_one_of_our_own(session: Session) -> None:
    for message_id in ("0" * 24, "0" * 24 + "-1", "b-" + "0" * 24):
        ref = await waiting(session, message_id)
        extra = ["--channel", CHANNEL] if message_id.startswith("b-") else []
        [life] = await session.trace(message_id, *extra)
        assert life["message"] == ref


@pytest.mark.parametrize("given", ["m-2", "0" * 24, "0" * 24 + "-1", "c-" + "0" * 24, "", "a b\x1b[31m", "-- x"])
async def test_an_id_that_nobody_knows(session: Session, given: str) -> None:
    await waiting(session)
    before = await session.everything()
    said = await session.types("trace", "--", given)
    assert (said.code, said.out) == (1, "")
    assert "no message or task has the id" in said.err
    assert "7 days" in said.err
    assert "\x1b" not in said.err
    assert await session.everything() == before


async def test_an_unknown_id_with_a_dead_letter_points_there(session: Session) -> None:
    await session.ledger.dead_letters.add(
        "w-dcbridge-1", Kind.AGENT_MESSAGE, "", "520 the body is not JSON", TEXT.encode()
    )
    said = await session.types("trace", "dcbridge-1")
    assert said.code == 1
    assert "dcbridge dead show w-dcbridge-1" in said.err
    told = await session.types("trace", "--json", "dcbridge-1")
    assert told.json == {"id": "dcbridge-1", "found": [], "dead_letters": ["w-dcbridge-1"]}


async def test_without_redis_it_says_so(session: Session) -> None:
    said = await session.types("trace", "m-1", DCBRIDGE_REDIS_URL="redis://127.0.0.1:1/0")
    assert said.code == 3
    assert "redis://127.0.0.1:1/0" in said.err


# ---------------------------------------------------------------- what it costs


async def test_a_code_cannot_write_on_the_terminal_and_is_cut_short(session: Session) -> None:
    ref = await sending(session)
    await session.ledger.messages.retry(ref, "mine", 5.0, lane_limit=0.0, reason=500, code="\x1b[2J\n" + "é" * 100)
    shown = await session.types("trace", ref)
    assert "\x1b[2J" not in shown.out
    assert "?[2J?" in shown.out
    assert all(len(value) <= 64 for name, value in (await raw_entry(session, ref)).items() if name.startswith(b"h"))


async def test_the_history_of_a_message_that_is_tried_for_hours_is_bounded(session: Session) -> None:
    ref = await session.put("m-1", **PRIVATELY)
    for _ in range(KEPT + 10):
        assert (await session.ledger.messages.claim(ref, "mine", 60.0)).ours
        await session.retry(ref, delay=0.0, lane_limit=0.0)
    [life] = await session.trace(ref)
    attempts = [hop["what"] for hop in life["hops"] if hop["what"].startswith("attempt")]
    assert attempts == [f"attempt {n}: not accepted" for n in range(11, KEPT + 11)]
    assert life["older_hops_forgotten"]
    assert "Older steps are not stored" in (await session.types("trace", ref)).out
    assert await session.redis.object("encoding", f"dcb:m:{ref}") in (b"ziplist", b"listpack")
    assert (await session.redis.memory_usage(f"dcb:m:{ref}") or 0) <= 2048


async def test_a_plain_message_pays_next_to_nothing_for_its_history(session: Session) -> None:
    ref = await sent(session)
    assert not [name for name in await raw_entry(session, ref) if name.startswith(b"h") and name != b"hs"]
    await session.update(ref, "sent")
    await session.update(ref, "delivered")
    history = {
        name: value for name, value in (await raw_entry(session, ref)).items() if name[:1] == b"h" and name != b"hs"
    }
    assert sum(len(name) + len(value) + 4 for name, value in history.items()) < 150
    assert await session.redis.object("encoding", f"dcb:m:{ref}") in (b"ziplist", b"listpack")


async def test_what_comes_after_the_end_does_not_prolong_a_life(session: Session) -> None:
    ref = await sent(session)
    await session.update(ref, "delivered")
    await post_receipt(session, ref)
    await session.pass_time(KEEP - 10)
    assert await session.update(ref, "failed", reason="530") == "late"
    assert 0 < await session.redis.pttl(f"dcb:m:{ref}") <= 10_000
    await session.pass_time(11)
    assert await session.update(ref, "failed", reason="530") == "gone"
    assert await session.keys("dcb:m:*") == []
    assert (await session.types("trace", ref)).code == 1


async def raw_entry(session: Session, ref: str) -> dict[bytes, bytes]:
    found: Any = session.redis.hgetall(f"dcb:m:{ref}")
    return dict(await found)
