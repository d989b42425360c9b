"""The SMS provider, spoken to by Twilio's own SDK and checked by Twilio's own validator."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from twilio.base.exceptions import TwilioRestException  # type: ignore[import-untyped]
from twilio.http.http_client import TwilioHttpClient  # type: ignore[import-untyped]
from twilio.http.response import Response as TwilioResponse  # type: ignore[import-untyped]
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]
from twilio.rest import Client  # type: ignore[import-untyped]

from sandbox.magic import NUMBERS, MagicNumber
from tests.sandbox.two_worlds import SID, TOKEN, Worlds, mute, replying, two_worlds

SENDER = "+15557650123"


class _Redirected(TwilioHttpClient):  # type: ignore[misc]  # the SDK has no types
    """Twilio's client, calling the sandbox where it would call api.twilio.com."""

    def __init__(self, url: str) -> None:
        super().__init__(timeout=30)
        self.url = url

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> TwilioResponse:
        assert url.startswith("https://api.twilio.com/")
        return super().request(method, self.url + url.removeprefix("https://api.twilio.com"), *args, **kwargs)


async def sdk(worlds: Worlds, token: str = TOKEN, **fields: Any) -> Any:
    client = Client(SID, token, http_client=_Redirected(worlds.url))
    try:
        return await asyncio.to_thread(client.messages.create, **fields)
    finally:
        client.http_client.session.close()


async def send(worlds: Worlds, **fields: str) -> httpx.Response:
    fields = {"To": "+16504661149", "From": SENDER, "Body": "Hello", **fields}
    written = {name.replace("Lt", "<"): value for name, value in fields.items() if value != "-"}
    return await worlds.http.post(f"/2010-04-01/Accounts/{SID}/Messages.json", data=written, auth=(SID, TOKEN))


async def test_the_sdk_sends_and_the_callbacks_validate() -> None:
    async with two_worlds() as worlds:
        callback = f"{worlds.bridge_url}/callbacks/twilio/status?ref=a%20b&part=0"
        made = await sdk(worlds, to="+16504661149", from_=SENDER, body="Grüße – 1 € 😀", status_callback=callback)
        assert (made.status, made.num_segments, made.error_code, made.account_sid) == ("queued", "1", None, SID)
        assert made.sid.startswith("SM")
        assert len(made.sid) == 34
        assert made.date_created is not None
        await worlds.settled()
        heard = worlds.bridge.at("/callbacks/twilio/status?ref=a%20b&part=0")
        assert [one.form["MessageStatus"] for one in heard] == ["queued", "sent", "delivered"]
        for one in heard:
            assert RequestValidator(TOKEN).validate(callback, one.form, one.headers["x-twilio-signature"])
            assert not RequestValidator("other").validate(callback, one.form, one.headers["x-twilio-signature"])
            assert set(one.form) == {
                "AccountSid",
                "ApiVersion",
                "From",
                "MessageSid",
                "MessageStatus",
                "SmsSid",
                "SmsStatus",
                "To",
            }
        assert (await worlds.http.get("/sandbox/sms")).json()[0]["body"] == "Grüße – 1 € 😀"


async def test_the_sdk_sees_a_refusal() -> None:
    async with two_worlds() as worlds:
        with pytest.raises(TwilioRestException) as refused:
            await sdk(worlds, to="+15005550004", from_=SENDER, body="Hello")
        assert (refused.value.status, refused.value.code) == (400, 21610)
        with pytest.raises(TwilioRestException) as refused:
            await sdk(worlds, "other", to="+16504661149", from_=SENDER, body="Hello")
        assert (refused.value.status, refused.value.code) == (401, 20003)


SERVICE = "MG" + "0" * 32


@pytest.mark.parametrize(
    ("wrong", "code", "right"),
    [
        ({"To": "-"}, 21604, {}),
        ({"To": "16504661149"}, 21211, {"To": "+16504661149"}),
        ({"To": "+0504661149"}, 21211, {"To": "+1504661149"}),
        ({"From": "-"}, 21603, {"From": "-", "MessagingServiceSid": SERVICE}),
        ({"From": "not a number"}, 21212, {"From": "Company"}),
        ({"From": "-", "MessagingServiceSid": "MG1"}, 21701, {"MessagingServiceSid": SERVICE}),
        ({"Body": ""}, 21602, {"Body": " "}),
        ({"Body": "a" * 1601}, 21617, {"Body": "a" * 1600}),
        ({"Body": "€" * 801}, 21617, {"Body": "€" * 800}),
        ({"Body": "я" * 1601}, 21617, {"Body": "я" * 1600}),
        ({"Body": "😀" * 801}, 21617, {"Body": "😀" * 800}),
        ({"StatusCallback": "/callbacks"}, 21609, {"StatusCallback": "http://127.0.0.1:9/callbacks"}),
        ({"StatusCallback": "ftp://example.com/a"}, 21609, {}),
        ({"StatusCallback": "https://a_b.example.com/"}, 21609, {}),
        ({"ValidityPeriod": "0"}, 20001, {"ValidityPeriod": "1"}),
        ({"ValidityPeriod": "36001"}, 20001, {"ValidityPeriod": "36000"}),
        ({"body": "Hello"}, 20001, {}),
        ({"Reference": "1"}, 20001, {}),
    ],
)
async def test_a_wrong_field_is_refused_and_its_twin_is_taken(
    wrong: dict[str, str], code: int, right: dict[str, str]
) -> None:
    async with two_worlds() as worlds:
        refused = await send(worlds, **wrong)
        assert (refused.status_code, refused.json()["code"], refused.json()["status"]) == (400, code, 400)
        assert not worlds.world.sms
        assert (await send(worlds, **right)).status_code == 201


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        (SID, {"content-type": "application/json"}, b"{}", 400),
        (SID, {}, urlencode({"To": "+16504661149", "From": SENDER, "Body": "a"}).encode() + b"&Body=b", 400),
        (SID, {}, urlencode({"To": "+16504661149", "From": SENDER}).encode() + b"&Body=%FF", 400),
        (SID, {"authorization": "Basic " + base64.b64encode(f"{SID}:x".encode()).decode()}, b"", 401),
        (SID, {"authorization": ""}, b"", 401),
        ("AC" + "0" * 32, {}, b"", 404),
        (SID, {}, urlencode({"To": "+16504661149", "From": SENDER, "Body": "a"}).encode(), 201),
    ],
)
async def test_the_request_itself(path: str, headers: dict[str, str], body: bytes, status: int) -> None:
    async with two_worlds() as worlds:
        account = base64.b64encode(f"{SID}:{TOKEN}".encode()).decode()
        usual = {"content-type": "application/x-www-form-urlencoded", "authorization": f"Basic {account}"}
        answer = await worlds.http.post(
            f"/2010-04-01/Accounts/{path}/Messages.json", content=body, headers={**usual, **headers}
        )
        assert answer.status_code == status


@pytest.mark.parametrize("magic", NUMBERS, ids=lambda magic: magic.number)
async def test_a_magic_number_does_what_its_row_says(magic: MagicNumber) -> None:
    slow = 0.3 if magic.behaviour.answer == "slow" else 60.0  # of a busy machine, nothing takes 60
    async with two_worlds(slow_answer=slow) as worlds:
        callback = f"{worlds.bridge_url}/callbacks/twilio/status"
        behaviour, refusal = magic.behaviour, magic.behaviour.refusal

        async def once() -> httpx.Response:
            return await send(worlds, To=magic.number, StatusCallback=callback)

        if behaviour.answer in ("reset", "lost"):
            with pytest.raises(httpx.ReadError):
                await once()
        elif refusal is not None:
            for _ in range(refusal.tries or 3):
                answer = await once()
                assert (answer.status_code, answer.json()["code"]) == (refusal.http, refusal.code)
                assert answer.headers.get("retry-after") == ("2" if refusal.retry_after else None)
            if refusal.tries:
                assert (await once()).status_code == 201
        else:
            answer = await once()
            assert answer.status_code == 201
            assert (answer.elapsed.total_seconds() >= slow) == (behaviour.answer == "slow")
            if behaviour.answer == "early":
                assert [one.form["MessageStatus"] for one in worlds.bridge.heard] == ["delivered"]
        await worlds.settled()
        taken = behaviour.answer != "lost" and (refusal is None or refusal.tries is not None)
        assert len(worlds.world.sms) == taken
        told = [(one.form["MessageStatus"], one.form.get("ErrorCode")) for one in worlds.bridge.heard]
        expected = behaviour.statuses[-1:] if behaviour.answer == "early" else behaviour.statuses
        code = str(behaviour.error_code)
        failed = ("undelivered", "failed")
        assert told == ([(status, code if status in failed else None) for status in expected] if taken else [])


async def test_accepted_messages_can_be_looked_up_by_the_sdk() -> None:
    async with two_worlds() as worlds:
        for number in range(3):
            await send(worlds, Body=str(number))
        await send(worlds, To="+16504661140")
        client = Client(SID, TOKEN, http_client=_Redirected(worlds.url))
        found = await asyncio.to_thread(client.messages.list, to="+16504661149", page_size=2)
        assert [one.body for one in found] == ["2", "1", "0"]
        assert (await asyncio.to_thread(client.messages(found[0].sid).fetch)).body == "2"
        client.http_client.session.close()
        path = f"/2010-04-01/Accounts/{SID}/Messages.json"
        today = worlds.http.build_request("GET", path, params={"DateSent": "2001-01-01"})
        assert (await worlds.http.send(today, auth=(SID, TOKEN))).json()["messages"] == []
        assert (await worlds.http.get(path, params={"to": "1"}, auth=(SID, TOKEN))).status_code == 400
        assert (await worlds.http.get(path)).status_code == 401


async def test_status_callbacks_are_tried_once_unless_asked_otherwise() -> None:
    async with two_worlds() as worlds:
        await worlds.control("/control", {"sms": {"statuses": ["delivered"]}})
        worlds.bridge.replies = [replying(503)]
        await send(worlds, StatusCallback=f"{worlds.bridge_url}/one")
        await worlds.settled()
        assert [one.path for one in worlds.bridge.heard] == ["/one"]
        worlds.bridge.replies = [replying(503)]
        await send(worlds, StatusCallback=f"{worlds.bridge_url}/two#rc=2")
        await worlds.settled()
        assert [one.path for one in worlds.bridge.at("/two")] == ["/two", "/two"]
        assert not worlds.world.violations
        worlds.bridge.replies = [replying(403)]
        await send(worlds, StatusCallback=f"{worlds.bridge_url}/three")
        await worlds.settled()
        assert [one.rule for one in worlds.world.violations] == ["a callback that is signed right is taken"]


async def test_a_consumers_message_is_signed_and_its_answer_judged() -> None:
    async with two_worlds() as worlds:
        asked = {"from": "+16504661149", "text": "Yes & no + maybe = 😀", "wait": True}
        assert (await worlds.control("/consumer/sms", asked))["state"] == "taken"
        (heard,) = worlds.bridge.heard
        url = worlds.bridge_url + "/callbacks/twilio/inbound"
        assert RequestValidator(TOKEN).validate(url, heard.form, heard.headers["x-twilio-signature"])
        assert heard.form["Body"] == "Yes & no + maybe = 😀"
        assert (heard.form["From"], heard.form["To"]) == ("+16504661149", SENDER)
        assert heard.form["MessageSid"] == heard.form["SmsSid"] == heard.form["SmsMessageSid"]
        assert (heard.form["NumMedia"], heard.form["NumSegments"]) == ("0", "1")
        worlds.bridge.replies = [replying(200, {"ok": True})]
        assert (await worlds.control("/consumer/sms", asked))["state"] == "taken"
        assert len(worlds.world.violations) == 1
        worlds.bridge.replies = [replying(500)]
        assert (await worlds.control("/consumer/sms", asked))["answer"] == "500"


async def test_a_seed_repeats_the_same_faults() -> None:
    async with two_worlds() as worlds:

        async def run() -> list[int]:
            await worlds.control("/control", {"sms": {"p_429": 0.3, "p_500": 0.3, "seed": 7}})
            return [(await send(worlds)).status_code for _ in range(30)]

        first, second = await run(), await run()
        assert first == second
        assert set(first) == {201, 429, 500}


async def test_the_switches_hold_back_callbacks_and_answers() -> None:
    async with two_worlds() as worlds:
        await worlds.control("/control", {"sms": {"callbacks": False, "delay": 0.1}})
        answer = await send(worlds, StatusCallback=f"{worlds.bridge_url}/status")
        assert answer.elapsed.total_seconds() >= 0.1
        await worlds.settled()
        assert not worlds.bridge.heard
        assert worlds.world.sms[answer.json()["sid"]].status == "delivered"


async def test_reset_forgets_and_stops_what_is_under_way() -> None:
    async with two_worlds(status_delay=30.0) as worlds:
        await send(worlds, StatusCallback=f"{worlds.bridge_url}/status")
        worlds.bridge.replies = [mute]
        assert len(worlds.world.tasks) == 1
        await worlds.control("/reset", {})
        await worlds.settled()
        state = (await worlds.http.get("/sandbox/state")).json()
        assert (state["sms"], state["counts"], state["violations"]) == ([], {}, [])
