"""Companies' own settings against ours: the sandbox plays Twilio, Telnyx and Vonage; Twilio's SDK judges its wire."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from twilio.rest import Client  # type: ignore[import-untyped]

from dcbridge.cli.dev.companies import COMPANIES
from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.operations.doctor.checks import a_sender
from dcbridge.operations.doctor.finding import Finding
from dcbridge.operations.doctor.numbers import numbers_at
from dcbridge.operations.doctor.telnyx import Telnyx
from dcbridge.operations.doctor.twilio import Twilio, messaging_base
from dcbridge.operations.doctor.vonage import Vonage
from dcbridge.transport.sender import Sender
from sandbox.config import Account
from sandbox.wires.telnyx import PROFILE
from sandbox.wires.twilio_settings import NUMBER_SID, SERVICE_SID
from tests.listening import listening
from tests.sandbox.test_sandbox_sms import _Redirected
from tests.sandbox.two_worlds import SID, TOKEN, Worlds, two_worlds

PUBLIC = "https://bridge.example.com"
NUMBER = "+15557650123"
NUMBER_PATH = f"/2010-04-01/Accounts/{SID}/IncomingPhoneNumbers/{NUMBER_SID}.json"
SERVICE_PATH = f"/v1/Services/{SERVICE_SID}"
INBOUND = f"{PUBLIC}/callbacks/twilio/inbound"
KEY = base64.b64encode(b"k" * 32).decode()
PUBLIC_KEY = base64.b64encode(Ed25519PrivateKey.from_private_bytes(b"k" * 32).public_key().public_bytes_raw()).decode()
PEM = COMPANIES["vonage"].secrets["private_key"]()
APPLICATION = COMPANIES["vonage"].values["application_id"]
CHANNELS = {"twilio": ("0123456789", NUMBER), "telnyx": ("5550200002", "+15557650202"),
            "vonage": ("5550200001", "+15557650201")}  # fmt: skip
SECRETS = (TOKEN, "telnyx-api-key", "vonage-secret", "vonage-signature")


def configuration(url: str, **fields: dict[str, Any]) -> Configuration:
    """Accounts at the sandbox; `fields` are added to theirs."""
    providers: dict[str, dict[str, Any]] = {
        "twilio": {"kind": "twilio", "base_url": url, "account_sid": SID, "auth_token": TOKEN},
        "telnyx": {"kind": "telnyx", "base_url": url, "api_key": "telnyx-api-key", "public_key": PUBLIC_KEY},
        "vonage": {"kind": "vonage", "base_url": url, "messages_url": url, "api_key": "k1",
                   "api_secret": "vonage-secret", "signature_secret": "vonage-signature", "application_id": APPLICATION,
                   "private_key": PEM},
    }  # fmt: skip
    whole = {
        "public_url": PUBLIC,
        "digital_channels": {"base_url": url, "contact_center_id": "0ff723ff-6c6f-44e0-9ce3-ce579337eadd"},
        "endpoints": {"main": {"secrets": ["the-app-secret-of-now"]}},
        "providers": {name: {**providers[name], **changes} for name, changes in fields.items()},
        "channels": {
            CHANNELS[name][0]: {"type": "sms", "provider": name, "number": CHANNELS[name][1]} for name in fields
        },
    }
    return parse(yaml.safe_dump(whole), {})


async def look(sender: Sender, url: str, name: str, deep: bool = False, **fields: Any) -> list[Finding]:
    return await looked(sender, configuration(url, **{name: fields}), name, deep)


async def looked(sender: Sender, whole: Configuration, name: str, deep: bool = False) -> list[Finding]:
    account, numbers = whole.providers[name].fields, numbers_at(whole, name)
    found: list[Finding] = []
    if name == "vonage":
        found += await Vonage(sender, name, account, PUBLIC, numbers, deep=deep).check()  # type: ignore[arg-type]
    else:
        kind: Any = {"twilio": Twilio, "telnyx": Telnyx}[name]
        found += await kind(sender, name, account, PUBLIC, numbers).check()
    assert not any(secret in str(one) for one in found for secret in SECRETS)
    return found


def worst(found: list[Finding]) -> list[str]:
    """What is wrong, or deserves a look."""
    return [f"{one.severity.word}: {one.words}" for one in found if one.severity.word in ("error", "warning")]


@dataclass
class At:
    worlds: Worlds
    sender: Sender

    async def twilio(self, **fields: Any) -> list[Finding]:
        return await look(self.sender, self.worlds.url, "twilio", **fields)

    async def set(self, path: str, **form: str) -> None:
        answer = await self.worlds.http.post(path, data=form, auth=(SID, TOKEN))
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def at_the_sandbox() -> AsyncIterator[At]:
    accounts = {
        "telnyx": Account(kind="telnyx", channel="5550200002", number="+15557650202",
                          secrets={"api_key": "telnyx-api-key", "private_key": KEY}),
        "vonage": Account(kind="vonage", channel="5550200001", number="+15557650201",
                          secrets={"api_key": "k1", "api_secret": "vonage-secret",
                                   "signature_secret": "vonage-signature", "application_id": APPLICATION,
                   "private_key": PEM}),
    }  # fmt: skip
    async with two_worlds(public_url=PUBLIC, accounts=accounts) as worlds, a_sender() as sender:
        yield At(worlds, sender)


async def test_twilio_s_sdk_reads_and_writes_the_settings() -> None:
    async with at_the_sandbox() as at:
        client = Client(SID, TOKEN, http_client=_AnyHost(at.worlds.url))

        def ask() -> tuple[Any, ...]:
            [number] = client.incoming_phone_numbers.list(phone_number=NUMBER)
            service = client.messaging.v1.services(SERVICE_SID)
            first = service.fetch()
            changed = client.incoming_phone_numbers(number.sid).update(sms_url="https://elsewhere.example.com/")
            senders = [one.phone_number for one in service.phone_numbers.list()]
            return number, first, changed, senders, client.api.v2010.accounts(SID).fetch()

        number, service, changed, senders, account = await asyncio.to_thread(ask)
        client.http_client.session.close()
        assert (number.sms_url, number.sms_method, number.phone_number) == (INBOUND, "POST", NUMBER)
        assert (service.use_inbound_webhook_on_number, senders) == (True, [NUMBER])
        assert changed.sms_url == "https://elsewhere.example.com/"
        assert (account.status, account.type) == ("active", "Full")


class _AnyHost(_Redirected):
    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super().request(method, url.replace("//messaging.", "//api."), *args, **kwargs)


async def test_all_is_well_as_the_sandbox_begins() -> None:
    async with at_the_sandbox() as at:
        for name in ("twilio", "telnyx", "vonage"):
            found = await look(at.sender, at.worlds.url, name, deep=True)
            assert worst(found) == [], found
            assert any("leads here" in one.words for one in found)
        assert worst(await at.twilio(messaging_service_sid=SERVICE_SID)) == []


URLS = [
    ("", "is not set"),
    ("https://old.example.com/hook?token=canary-secret", "leads to another host (https://old.example.com/…)"),
    ("http://bridge.example.com/callbacks/twilio/inbound", "is http and not https"),
    ("https://bridge.example.com:8443/callbacks/twilio/inbound", "leads to another port"),
    (f"{INBOUND}/", "slash too many"),
    (f"{PUBLIC}/callbacks/twilio/status", "is the address for status"),
    (f"{PUBLIC}/callbacks/other/inbound", "another path"),
    ("not a url", "is no URL"),
    ("https://[bad/", "is no URL"),
    ("https://bridge.example.com:99999999/x", "is no URL"),
    ("https://\x1b[31m.example.com/", "is no URL"),
    ("https://old.example.com/" + "x" * 5000, "another host"),
]


async def test_a_wrong_webhook_at_twilio_is_found_with_what_to_paste() -> None:
    async with at_the_sandbox() as at:
        for url, words in URLS:
            await at.set(NUMBER_PATH, SmsUrl=url)
            found = await at.twilio()
            [wrong] = [one for one in found if one.severity.word == "error"]
            assert words in wrong.words, url
            assert (wrong.paste, wrong.about) == (INBOUND, "providers.twilio, channel 0123456789")
            assert "canary" not in str(wrong)
            assert len(wrong.words) < 300
        for url in (INBOUND, INBOUND.upper().replace("/CALLBACKS/TWILIO/INBOUND", "/callbacks/twilio/inbound"),
                    f"{INBOUND}#rc=5", INBOUND.replace(".com", ".com:443")):  # fmt: skip
            await at.set(NUMBER_PATH, SmsUrl=url)
            assert worst(await at.twilio()) == [], url


async def test_what_else_can_be_wrong_at_twilio() -> None:
    async with at_the_sandbox() as at:
        await at.set(NUMBER_PATH, SmsMethod="GET")
        assert "is called by GET" in worst(await at.twilio())[0]
        await at.set(NUMBER_PATH, SmsMethod="POST", SmsApplicationSid="AP" + "0" * 32)
        assert "TwiML App" in worst(await at.twilio())[0]
        await at.set(NUMBER_PATH, SmsApplicationSid="", SmsUrl="")
        await at.set(SERVICE_PATH, UseInboundWebhookOnNumber="false", InboundRequestUrl="")
        [one] = worst(await at.twilio(messaging_service_sid=SERVICE_SID))
        assert one.startswith("error: the messaging service's webhook is not set")
        await at.set(SERVICE_PATH, InboundRequestUrl=INBOUND, StatusCallback="https://old.example.com/")
        assert worst(await at.twilio(messaging_service_sid=SERVICE_SID)) == []
        [one] = worst(await at.twilio(messaging_service_sid=SERVICE_SID, status_callbacks=False))
        assert "delivery status callback leads to another host" in one
        assert "no such messaging service" in worst(await at.twilio(messaging_service_sid="MG" + "0" * 32))[0]
        assert "no such number" in worst(await at.twilio(from_number="+15557650999"))[0]
        assert "no such number" in worst(await at.twilio(from_number="12345"))[0]
        assert worst(await at.twilio(auth_token="wrong")) == [
            "error: the account could not be read: the login was refused (HTTP 401)"
        ]


async def test_what_can_be_wrong_at_telnyx() -> None:
    async with at_the_sandbox() as at:

        async def set_(**changes: Any) -> list[str]:
            login = {"Authorization": "Bearer telnyx-api-key"}
            await at.worlds.http.patch(f"/v2/messaging_profiles/{PROFILE}", json=changes, headers=login)
            return worst(await look(at.sender, at.worlds.url, "telnyx"))

        assert "leads to another host" in (await set_(webhook_url="https://old.example.com"))[0]
        assert "is not set" in (await set_(webhook_url=""))[0]
        assert "disabled" in (await set_(webhook_url=f"{PUBLIC}/callbacks/telnyx/events", enabled=False))[0]
        assert "old version" in (await set_(enabled=True, webhook_api_version="1"))[0]
        assert await set_(webhook_api_version="2", whitelisted_destinations=["US"]) == []
        url = at.worlds.url
        assert "another messaging profile" in worst(await look(at.sender, url, "telnyx", messaging_profile_id="x-1"))[0]
        assert "no such number" in worst(await look(at.sender, url, "telnyx", from_number="+15557650999"))[0]
        assert "HTTP 401" in worst(await look(at.sender, url, "telnyx", api_key="wrong"))[0]


async def test_what_can_be_wrong_at_vonage() -> None:
    async with at_the_sandbox() as at:
        url, login = at.worlds.url, ("k1", "vonage-secret")
        await at.worlds.http.post("/account/settings", data={"drCallBackUrl": "https://old.example.com/"}, auth=login)
        assert "delivery receipts leads to another host" in worst(await look(at.sender, url, "vonage", deep=True))[-1]
        shallow = await look(at.sender, url, "vonage")
        assert any("--deep" in one.fix for one in shallow)
        assert next(one for one in shallow if one.severity.word == "error").words.startswith("the application's status")
        assert "no such number" in worst(await look(at.sender, url, "vonage", from_number="+15557650999"))[0]
        assert "HTTP 401" in worst(await look(at.sender, url, "vonage", api_secret="wrong"))[0]
        assert "no such application" in worst(await look(at.sender, url, "vonage", application_id="d1a2"))[0]


async def test_a_secret_that_ends_our_address_is_compared_and_not_shown() -> None:
    async with at_the_sandbox() as at:
        fields: dict[str, Any] = {"signature_secret": None, "callback_secret": "0123456789abcdef"}
        ours, login = f"{PUBLIC}/callbacks/vonage", ("k1", "vonage-secret")
        for end, words in (("/0123456789abcdef", ""), ("/0123456789abcdeX", "another secret"), ("", "no secret")):
            form = {"moCallBackUrl": f"{ours}/inbound{end}", "drCallBackUrl": f"{ours}/status{end}"}
            await at.worlds.http.post("/account/settings", data=form, auth=login)
            found = await look(at.sender, at.worlds.url, "vonage", deep=True, **fields)
            assert all(words in one for one in worst(found)), worst(found)
            assert len(worst(found)) == (4 if words else 0)
            assert "0123456789abcde" not in str(found)


Body = bytes | int
ANSWERS: list[tuple[int, bytes]] = [
    (200, b""), (200, b"[]"), (200, b"null"), (200, b"<html>"), (200, b'{"incoming_phone_numbers": 5, "data": 5}'),
    (200, b'{"incoming_phone_numbers": [[], 1, {"phone_number": {}}], "numbers": [null], "data": [7]}'),
    (200, b"\xff" * 100), (200, b"[" * 100_000), (200, b"x" * 2_000_000), (500, b""), (429, b"{}"), (403, b"{}"),
    (302, b""), (204, b""),
]  # fmt: skip


async def test_whatever_a_company_answers_is_a_finding() -> None:
    """None of it raises, shows what was answered, or says that all is well."""
    told: list[tuple[int, bytes]] = [(200, b"")]

    async def answer(_request: Request) -> Response:
        return Response(told[0][1], told[0][0], {"location": "https://old.example.com/canary"})

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    async with listening(app) as url, a_sender() as sender:
        for name in ("twilio", "telnyx", "vonage"):
            known = configuration(url, **{name: {}})
            for told[0] in ANSWERS:
                found = await looked(sender, known, name, deep=True)
                assert not any("leads here" in one.words for one in found), (told[0][:1], name)
                assert any(one.severity.word != "ok" for one in found)
                assert "canary" not in str(found)


@pytest.mark.parametrize(("base", "messaging"), [
    ("https://api.twilio.com", "https://messaging.twilio.com"),
    ("https://api.dublin.ie1.twilio.com", "https://messaging.dublin.ie1.twilio.com"),
    ("https://acme.signalwire.com/api/laml", "https://acme.signalwire.com/api/laml"),
])  # fmt: skip
def test_where_messaging_services_are(base: str, messaging: str) -> None:
    assert messaging_base(base) == messaging
