"""The page Doctor: a wrong webhook at the pretended Twilio is on it, with what to paste."""

from __future__ import annotations

from redis.asyncio import Redis

from dcbridge.console.context import Role
from tests.console.running import open_console
from tests.doctor.test_companies import NUMBER_PATH
from tests.sandbox.two_worlds import SID, TOKEN, two_worlds

CHANNEL = "5550001111"
PUBLIC = "https://bridge.invalid"


async def test_a_wrong_webhook_is_on_the_page(redis: Redis) -> None:
    async with two_worlds(public_url=PUBLIC, sms_number="+15557650123") as worlds:
        configuration = f"""
public_url: {PUBLIC}
digital_channels: {{base_url: "{worlds.url}", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [the-app-secret-of-now]}}}}
providers: {{twilio: {{kind: twilio, base_url: "{worlds.url}", account_sid: {SID}, auth_token: {TOKEN}}}}}
channels: {{"{CHANNEL}": {{type: sms, provider: twilio, number: "+15557650123"}}}}
"""
        form = {"channel": CHANNEL}
        async with open_console(redis, Role.OPERATOR, whole=configuration) as console:
            empty = await console.get("/doctor")
            assert (empty.status_code, "Check now</button>" in empty.text, "Errors" in empty.text) == (200, True, False)
            well = await console.post("/doctor", form)
            assert "Every check ended without an error." in well.text
            await worlds.http.post(NUMBER_PATH, data={"SmsUrl": "https://old.example.com/<b>"}, auth=(SID, TOKEN))
            ill = await console.post("/doctor", form)
            assert ill.status_code == 200
            words = "the number&#39;s webhook leads to another host (https://old.example.com/…)"
            assert f"<strong>providers.twilio, channel {CHANNEL}</strong>: {words}" in ill.text
            assert f"<code data-copy>{PUBLIC}/callbacks/twilio/inbound</code>" in ill.text
            assert "no-store" in ill.headers["cache-control"]
            assert TOKEN not in ill.text
            wrong = await console.post("/doctor", {"channel": "nobody", "selectors": "a/b"})
            assert wrong.status_code == 400
            assert "There is no such channel." in wrong.text
            assert "such as selector1" in wrong.text
            assert (await console.record())[0].startswith("ada doctor.look")
        async with open_console(redis, Role.VIEWER, whole=configuration) as console:
            assert "Only operators can run the doctor." in (await console.get("/doctor")).text
            assert (await console.post("/doctor", form)).status_code == 403
