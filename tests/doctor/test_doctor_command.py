"""`dcbridge doctor` on a terminal and for programs: what is wrong, what to paste where, and the exit code."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.cli.session import Session
from tests.doctor.dns_server import serving, txt
from tests.doctor.test_companies import NUMBER_PATH
from tests.sandbox.two_worlds import SID, TOKEN, two_worlds

CONFIGURATION = f"""
public_url: https://bridge.invalid
digital_channels: {{{{base_url: "{{url}}/nexus/v3", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}}}
endpoints: {{{{main: {{{{secrets: ["${{{{APP_SECRET}}}}"]}}}}}}}}
providers:
  twilio: {{{{kind: twilio, base_url: "{{url}}", account_sid: {SID}, auth_token: "${{{{TWILIO_TOKEN}}}}"}}}}
  post: {{{{kind: postmark, server_token: "${{{{POST}}}}", callback_secret: "${{{{POST}}}}"}}}}
channels:
  "0123456789": {{{{type: sms, provider: twilio, number: "+15557650123"}}}}
  example.com: {{{{type: email, provider: post, number: care@example.com}}}}
"""
SECRETS = {"APP_SECRET": "the-app-secret-of-now", "TWILIO_TOKEN": TOKEN, "POST": "0123456789abcdef0123"}


@pytest.fixture
def session(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Session:
    return Session(redis, redis_server.url, tmp_path / "bridge")


async def test_the_doctor_finds_a_wrong_webhook_at_twilio(session: Session, tmp_path: Path) -> None:
    zone = {"example.com": {"TXT": [txt("v=spf1 +all")]}, "_dmarc.example.com": {"TXT": [txt("v=DMARC1; p=none")]}}
    async with two_worlds(public_url="https://bridge.invalid") as worlds, serving(zone) as names:
        file = tmp_path / "bridge.yaml"
        file.write_text(CONFIGURATION.format(url=worlds.url))
        more = {**SECRETS, "DCBRIDGE_NAME_SERVER": f"127.0.0.1:{names.port}"}
        doctor = ("doctor", "--config", str(file))

        well = await session.types(*doctor, "--channel", "0123456789", **more)
        assert "ok: providers.twilio, channel 0123456789: the number's webhook leads here" in well.out
        assert well.code == 0, well.out

        await worlds.http.post(NUMBER_PATH, data={"SmsUrl": "https://old.example.com/sms"}, auth=(SID, TOKEN))
        ill = await session.types(*doctor, "--channel", "0123456789", **more)
        assert ill.code == 1
        lines = [line.strip() for line in ill.out.splitlines()]
        at = next(n for n, line in enumerate(lines) if "the number's webhook" in line)
        assert lines[at] == (
            "error: providers.twilio, channel 0123456789: the number's webhook leads to another host"
            " (https://old.example.com/…): what consumers write does not arrive"
        )
        assert lines[at + 1 : at + 4] == [
            "Enter the address.",
            "paste: https://bridge.invalid/callbacks/twilio/inbound",
            "where: Twilio console, Phone Numbers, the number, Messaging, A message comes in",
        ]
        assert ill.err.strip() == "1 error, 1 warning"  # and public_url, which leads nowhere from here

        told = await session.types(*doctor, "--json", **more)
        rows = [orjson.loads(line) for line in told.out.splitlines()]
        wrong = [one["words"] for one in rows if one["severity"] == "error"]
        assert any(words.startswith("SPF: example.com ends with +all") for words in wrong)
        assert [one for one in rows if one.get("paste") == "https://bridge.invalid/callbacks/twilio/inbound"]
        assert {"redis", "journal", "public_url", "providers.twilio", "domain example.com"} <= {
            one["about"] for one in rows
        }
        quiet = await session.types(*doctor, "--quiet", **more)
        assert not [line for line in quiet.out.splitlines() if line.startswith(("ok:", "note:"))]
        everything = well.out + ill.out + told.out + quiet.out
        assert not any(secret in everything for secret in SECRETS.values())


async def test_the_doctor_goes_on_without_redis(session: Session, tmp_path: Path) -> None:
    async with two_worlds(public_url="https://bridge.invalid") as worlds:
        file = tmp_path / "bridge.yaml"
        file.write_text(CONFIGURATION.format(url=worlds.url).replace("  example.com:", "  # "))
        away = {**SECRETS, "DCBRIDGE_REDIS_URL": "redis://127.0.0.1:1/0"}
        said = await session.types("doctor", "--config", str(file), **away)
        assert said.code == 1
        assert "error: redis: redis://127.0.0.1:1/0 cannot be reached" in said.out
        assert "the number's webhook leads here" in said.out
