"""Channels, providers, subscribers and workers: what an operator stops and resumes there, and tries out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from redis.asyncio import Redis

from dcbridge.console.context import Role
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.fields import State
from dcbridge.ledger.reports import books
from dcbridge.messages import own_books
from tests.console.filled import EVENT, OWN, SMS, put_event
from tests.console.running import Console, open_console
from tests.ledger.ledger_bench import new_message

WHY = {"why": "wrong texts are leaving"}
NUMBER = "+1 650 466 1149"


async def stopped(console: Console) -> dict[str, tuple[str, bool]]:
    """What is in force: by whom and why, and whether time to live stands still."""
    found = await console.context.ledger.controls.all()
    return {str(one.target): (f"{one.by}: {one.why}", one.stands_still) for one in found}


@pytest.mark.parametrize(
    ("begin", "end", "target"),
    [
        (f"/channels/{SMS}/pause", f"/channels/{SMS}/resume", f"channel {SMS}"),
        (f"/channels/{SMS}/hold", f"/channels/{SMS}/end-hold", f"hold {SMS}"),
        ("/providers/twilio/pause", "/providers/twilio/resume", "provider twilio"),
        ("/subscribers/crm/pause", "/subscribers/crm/resume", "subscriber crm"),
        ("/workers/drain", "/workers/resume", "all"),
    ],
)
async def test_what_is_stopped_says_who_and_why_until_it_is_resumed(
    redis: Redis, begin: str, end: str, target: str
) -> None:
    async with open_console(redis) as console:
        page = begin.rpartition("/")[0]
        for fields, words in (
            ({}, "should say why"),
            ({**WHY, "lasts": "7"}, "should be one of the list"),
            ({**WHY, "until": "yesterday"}, "should be a time in the future"),
            ({**WHY, "until": "2001-01-01"}, "should be a time in the future"),
            ({**WHY, "until": "9999-12-31T23:59:59-23:59"}, "should be a time in the future"),
        ):
            refused = await console.post(begin, fields)
            assert (refused.status_code, words in refused.text) == (422, True), fields
        assert await stopped(console) == {}
        begun = await console.post(begin, {**WHY, "lasts": "7200", "still": "on"})
        assert (begun.status_code, begun.headers["location"].startswith(f"{page}?done=")) == (303, True)
        assert await stopped(console) == {target: ("ada: wrong texts are leaving", True)}
        shown = (await console.get(begun.headers["location"])).text
        assert "wrong texts are leaving" in shown
        assert "time to live stands still" in shown
        assert (await console.post(end)).status_code == 303
        assert await stopped(console) == {}
        assert (await console.record())[0].split()[:2] == ["ada", "resume"]


async def test_a_pause_ends_at_the_time_that_was_given(redis: Redis) -> None:
    async with open_console(redis) as console:
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
        await console.post(f"/channels/{SMS}/pause", {**WHY, "until": f"{at:%Y-%m-%dT%H:%M:%S}Z"})
        [control] = await console.context.ledger.controls.all()
        assert control.until is not None
        assert abs(control.until - at.timestamp()) < 60


async def test_only_an_admin_drains(redis: Redis) -> None:
    await redis.hset("rq:worker:w1", mapping={"hostname": "host", "pid": "1", "queues": "outbound"})
    await redis.sadd("rq:workers", "rq:worker:w1")
    async with open_console(redis, Role.OPERATOR) as console:
        for path in ("/workers/drain", "/workers/w1/drain"):
            assert (await console.post(path, {**WHY, "lasts": "0"})).status_code == 403
        assert await stopped(console) == {}
    async with open_console(redis) as console:
        assert (await console.post("/workers/none/drain", {**WHY, "lasts": "0"})).status_code == 404
        assert (await console.post("/workers/w1/drain", {**WHY, "lasts": "0"})).status_code == 303
        assert await stopped(console) == {"worker w1": ("ada: wrong texts are leaving", False)}
        assert "drained, safe to stop" in (await console.get("/workers")).text
        await console.post("/workers/drain", {**WHY, "lasts": "0"})
        assert "Safe to stop: yes" in (await console.get("/workers")).text
        await console.context.ledger.messages.accept([new_message(channel_id=SMS)])
        await redis.rpush("rq:queue:receipts", "job")
        assert "Safe to stop: not yet" in (await console.get("/workers")).text
        await console.post("/workers/w1/resume")
        assert list(await stopped(console)) == ["all"]


async def test_messages_that_are_held_are_released_and_rejected_one_by_one(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        ledger = console.context.ledger
        await ledger.pacing.announce(console.context.configuration.limits())
        await ledger.controls.begin(Target(What.HOLD, SMS), by="ann", why="campaign")
        messages = [new_message(f"m-{n}", channel_id=SMS, to_id=f"1650466114{n}") for n in range(3)]
        await ledger.messages.accept(messages)
        refs = [one.ref for one in messages]
        shown = (await console.get(f"/channels/{SMS}")).text
        assert re.findall(r'name="ref" value="([^"]+)"', shown) == refs
        review = f"/channels/{SMS}/review"
        for fields, words in (({"how": "release", **WHY}, "Tick messages"), ({"ref": refs[0]}, "should say why")):
            refused = await console.post(review, fields)
            assert (refused.status_code, words in refused.text) == (422, True)
        assert (await console.post(review, {"ref": "0" * 24, "how": "reject", **WHY})).status_code == 422
        await console.post(review, {"ref": refs[0], "how": "release", **WHY})
        await console.post(review, {"ref": refs[1], "how": "reject", **WHY})
        entries = await ledger.messages.entries(refs)
        assert [one.state for one in entries] == [State.ACCEPTED, State.FAILED, State.ACCEPTED]
        assert await ledger.controls.held(SMS, 10) == [refs[2]]
        assert [line.split()[1] for line in (await console.record())[:2]] == ["reject", "release"]


async def test_a_provider_is_drained_for_a_time(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        for fields in ({**WHY, "lasts": "7200", "how": "explode"}, {"lasts": "7200", "how": "drain"}):
            assert (await console.post("/providers/twilio/steer", fields)).status_code == 422
        done = await console.post("/providers/twilio/steer", {**WHY, "lasts": "7200", "how": "drain"})
        assert done.status_code == 303
        order = await console.context.ledger.routes.order("twilio")
        assert order is not None
        assert (order.how, order.by, order.why) == ("drain", "ada", WHY["why"])
        assert "is drained" in (await console.get("/providers")).text
        await console.post("/providers/twilio/clear")
        assert await console.context.ledger.routes.order("twilio") is None


# ---------------------------------------------------------------- tests of the operator


async def once(console: Console) -> str:
    shown = (await console.get(f"/channels/{SMS}")).text
    return shown.partition('name="once" value="')[2].partition('"')[0]


async def test_a_test_message_takes_the_way_of_own_messages_once(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR, more=OWN) as console:
        form = {"number": NUMBER, "text": "Hello <b>", "once": await once(console)}
        sent = await console.post(f"/channels/{SMS}/test", form)
        assert sent.status_code == 303
        ref = sent.headers["location"].removeprefix("/messages/")
        entry = await console.context.ledger.messages.entry(ref)
        assert (entry.is_own, entry.to_id, entry.state) == (True, "16504661149", State.ACCEPTED)
        again = await console.post(f"/channels/{SMS}/test", form)
        assert again.headers["location"] == sent.headers["location"]
        [one] = [one for one in (await books.read(redis)).channels if one.channel_id == own_books(SMS)]
        assert one.accepted == 1
        record = "\n".join(await console.record())
        assert record.startswith(f"ada test.message {SMS} again {ref}\nada test.message {SMS} queued {ref}")
        assert "650" not in record.replace(ref, "")
        assert "650" not in sent.headers["location"].replace(ref, "")


async def test_a_test_message_that_may_not_be_sent_says_why_at_its_field(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR, more=OWN) as console:
        for change, words in (
            ({"number": "no number"}, "should be a phone number"),
            ({"number": "1" * 5000}, "should be a phone number"),
            ({"number": "+881612345678"}, "Such numbers get no message"),
            ({"text": " "}, "should be a text of at most"),
            ({"text": "x" * 460}, "should be a text of at most"),
            ({"text": "ж" * 300}, "needs more than 3 SMS"),
            ({"once": "x"}, "the form is out of date"),
        ):
            form = {"number": NUMBER, "text": "Hello", "once": await once(console), **change}
            answer = await console.post(f"/channels/{SMS}/test", form)
            assert (answer.status_code, words in answer.text) == (422, True), words
        for number in range(3):
            form = {"number": NUMBER, "text": "Hello", "once": await once(console)}
            answer = await console.post(f"/channels/{SMS}/test", form)
            assert answer.status_code == (303 if number < 2 else 422)
        assert "as often as repeats" in answer.text
    async with open_console(redis, Role.OPERATOR) as console:
        assert "sends no messages of dcbridge" in (await console.get(f"/channels/{SMS}")).text
        answer = await console.post(f"/channels/{SMS}/test", {"number": NUMBER, "text": "x", "once": "0" * 16})
        assert (answer.status_code, "set own_messages" in answer.text) == (422, True)


async def test_a_test_event_that_is_not_accepted_says_why(redis: Redis) -> None:
    """The example's subscriber is at a host that there is not."""
    async with open_console(redis, Role.OPERATOR) as console:
        answer: httpx.Response = await console.post("/subscribers/crm/test")
        assert (answer.status_code, "crm did not accept it: unreachable" in answer.text) == (200, True)
        assert (await console.record())[0].startswith("ada test.event subscriber crm crm did not accept it")


async def test_a_subscriber_is_disabled_and_enabled(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        await console.context.ledger.subscribers.announce({"crm": 1000.0})
        await console.post("/subscribers/crm/disable")
        [one] = await console.context.ledger.subscribers.all()
        assert (one.disabled_for > 0, one.why) == (True, "ada")
        assert "Enable it" in (await console.get("/subscribers/crm")).text
        await console.post("/subscribers/crm/enable")
        [one] = await console.context.ledger.subscribers.all()
        assert one.disabled_for == 0


async def test_an_event_is_delivered_again_to_one_subscriber(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        ledger = console.context.ledger
        await ledger.subscribers.announce({"crm": 1000.0})
        await put_event(console.context)
        assert "waiting" in (await console.get(f"/events/{EVENT}")).text
        waits = await console.post(f"/events/{EVENT}/replay", {"subscriber": "crm"})
        assert waits.headers["location"] == f"/events/{EVENT}?done=waiting"
        await ledger.deliveries.delivered(f"{EVENT}-crm")
        again = await console.post(f"/events/{EVENT}/replay", {"subscriber": "crm"})
        assert again.headers["location"] == f"/events/{EVENT}?done=again"
        assert await ledger.deliveries.waiting(f"{EVENT}-crm")
        assert list(await ledger.deliveries.oldest("crm", 10)) == [f"{EVENT}-crm"]
        assert EVENT in (await console.get("/subscribers/crm")).text
        assert (await console.post(f"/events/{EVENT}/replay", {"subscriber": "none"})).status_code == 422
