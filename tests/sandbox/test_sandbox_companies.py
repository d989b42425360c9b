"""The sandbox's SMS companies beside Twilio: each as strict as its company, and believed by its company's library."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import requests
from nacl.signing import SigningKey
from requests.adapters import HTTPAdapter
from vonage_http_client import Auth, HttpClient  # type: ignore[import-untyped] # it ships no types
from vonage_sms import Sms, SmsMessage  # type: ignore[import-untyped] # it ships no types

from dcbridge.cli.dev.companies import COMPANIES
from dcbridge.cli.dev.processes import Ports, prepare
from dcbridge.config.loader import load
from dcbridge.errors import SendError
from dcbridge.messages import Address, AgentMessage
from dcbridge.providers import KINDS
from dcbridge.providers.base import Provider, TokenLogin, Turn
from tests.sandbox.two_worlds import Heard, Worlds, two_worlds

CONSUMER, SENDER = "+16504661149", "+12025550123"


@dataclass(slots=True)
class Company:
    worlds: Worlds
    provider: Provider
    secrets: dict[str, str]
    token: str = ""

    def request(self, text: str = "Hello") -> httpx.Request:
        """What dcbridge sends."""
        to, sender = Address(CONSUMER[1:]), Address(SENDER)
        said = AgentMessage("c", f"m-{text}", sender, to, (to,), "Text", text)
        if "email" in self.provider.can.channel_types:
            to, sender = Address("ana@mail.com"), Address("no-reply@company.com")
            said = AgentMessage("c", f"m-{text}", sender, to, (to,), "Email", text, "Your order")
        made = self.provider.build_request(Turn(said, self.provider.parts(said)[0], time.time()))
        assert isinstance(made, httpx.Request)
        if self.token:
            made.headers["authorization"] = f"Bearer {self.token}"
        return self._signed(made)

    async def answer(self, request: httpx.Request) -> bool:
        """Whether the company accepts it."""
        try:
            self.provider.parse_response(await self._sent(request))
        except SendError:
            return False
        return True

    async def log_in(self) -> None:
        login = self.provider.login
        if isinstance(login, TokenLogin):
            self.token = login.read_token(await self._sent(login.token_request())).value

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        request = self._signed(request)
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        url = self.worlds.url + request.url.raw_path.decode()
        return await self.worlds.http.request(request.method, url, headers=headers, content=request.content)

    def _signed(self, request: httpx.Request) -> httpx.Request:
        """Where requests are signed with their time, and this one is not."""
        login = self.provider.login
        if login is None or isinstance(login, TokenLogin) or "authorization" in request.headers:
            return request
        url = self.worlds.url + request.url.raw_path.decode()
        headers = {name: value for name, value in request.headers.items() if name != "host"}
        return login.signed(httpx.Request(request.method, url, headers=headers, content=request.content), time.time())

    async def heard(self, path: str) -> list[Heard]:
        await self.worlds.settled()
        return self.worlds.bridge.at(path)


@asynccontextmanager
async def company(folder: Path, kind: str) -> AsyncIterator[Company]:
    prepare(folder, Ports(), [kind])
    account = COMPANIES[kind].account(kind, folder)
    configured = load(folder / "bridge.yaml", {})
    async with two_worlds(accounts={kind: account}, public_url="http://127.0.0.1:8080") as worlds:
        one = Company(worlds, configured.build_providers()[kind], dict(account.secrets))
        await one.log_in()
        yield one


def edited(old: str, new: str) -> Callable[[httpx.Request], httpx.Request]:
    """The same request with something else in its body."""

    def edit(request: httpx.Request) -> httpx.Request:
        assert old.encode() in request.content
        return with_content(request, request.content.replace(old.encode(), new.encode()))

    return edit


def with_content(request: httpx.Request, content: bytes) -> httpx.Request:
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    if headers.get("authorization", "").startswith(("HMAC-SHA256", "AWS4-")):
        del headers["authorization"]  # it is signed again
    return httpx.Request(request.method, request.url, headers=headers, content=content)


def with_unknown_field(request: httpx.Request) -> httpx.Request:
    if "json" not in request.headers["content-type"]:
        return with_content(request, request.content + b"&unknown=x")
    said = orjson.loads(request.content)
    (said["messages"][0] if "messages" in said else said)["unknown"] = "x"
    return with_content(request, orjson.dumps(said))


def unauthorized(request: httpx.Request) -> httpx.Request:
    name = next((one for one in ("authorization", "apikey", "x-postmark-server-token") if one in request.headers), "")
    if not name:
        return edited('"key":"', '"key":"x')(request)
    headers = {**request.headers, name: request.headers[name][:-2] + "=="}
    return httpx.Request(request.method, request.url, headers=headers, content=request.content)


DIGITS = CONSUMER[1:]
EMAILS = sorted(kind for kind, adapter in KINDS.items() if "email" in adapter.can.channel_types and kind in COMPANIES)
TEXTERS = sorted(COMPANIES.keys() - {*EMAILS, "smpp"})  # an SMSC is not spoken to by HTTP


@pytest.mark.parametrize("kind", EMAILS)
async def test_an_email_without_a_right_login_is_refused_and_its_twin_is_taken(tmp_path: Path, kind: str) -> None:
    async with company(tmp_path, kind) as one:
        assert not await one.answer(unauthorized(one.request()))
        assert not one.worlds.world.mails
        assert await one.answer(one.request())
        assert len(one.worlds.world.mails) == 1
        await one.worlds.settled()


@pytest.mark.parametrize(
    "damage",
    [
        unauthorized,
        with_unknown_field,
        edited(DIGITS, "abc"),
        edited("Hello", ""),
    ],
    ids=["login", "unknown field", "no number", "no text"],
)
@pytest.mark.parametrize("kind", TEXTERS)
async def test_a_wrong_request_is_refused_and_its_twin_is_taken(
    tmp_path: Path, kind: str, damage: Callable[[httpx.Request], httpx.Request]
) -> None:
    async with company(tmp_path, kind) as one:
        assert not await one.answer(damage(one.request()))
        assert not one.worlds.world.sms
        assert await one.answer(one.request())
        assert len(one.worlds.world.sms) == 1
        await one.worlds.settled()


async def consumer_writes(one: Company, kind: str, text: str) -> None:
    await one.worlds.control("/consumer/sms", {"provider": kind, "from": CONSUMER, "text": text, "wait": True})


@pytest.mark.parametrize(
    ("kind", "login", "proof", "code"),
    [
        ("africastalking", "API key", "secret in the path", "UserDoesNotExist"),
        ("aws-sms", "signed", "signed", "TEXT_INVALID"),
        ("azure-sms", "signed", "secret in the path", "4004"),
        ("bandwidth", "token", "password", "4720"),
        ("clickatell", "API key", "secret in the path", "29"),
        ("http", "key", "signed", "no_such_number"),
        ("infobip", "API key", "secret in the path", "1"),
        ("messagebird", "API key", "signed", "invalid_destination"),
        ("plivo", "auth id and token", "signed", "50"),
        ("sinch", "token", "signed", "417"),
        ("telnyx", "API key", "signed", "40001"),
        ("vonage", "key and secret", "signed", "11"),
    ],
)
async def test_the_page_gets_the_companys_own_words(
    tmp_path: Path, kind: str, login: str, proof: str, code: str
) -> None:
    async with company(tmp_path, kind) as one:
        assert await one.answer(edited(DIGITS, "15005550001")(one.request()))
        await one.worlds.settled()
        [sms] = one.worlds.world.sms.values()
        assert (sms.provider_code, sms.error_code) == (code, 30005)
        assert {(each.inward, each.check) for each in one.worlds.world.exchanges} == {(True, login), (False, proof)}
        one.worlds.world.exchanges.clear()
        await one.answer(unauthorized(one.request()))
        assert [each.check for each in one.worlds.world.exchanges] == [""]


# The next two take seconds to import, and every worker of pytest imports every file.
async def test_telnyxs_library_sends_and_believes_the_callbacks(tmp_path: Path) -> None:
    from telnyx import Telnyx as TelnyxSdk

    async with company(tmp_path, "telnyx") as one:
        sdk = TelnyxSdk(api_key=one.secrets["api_key"], base_url=f"{one.worlds.url}/v2", max_retries=0)
        text = "Grüße – 1 € 😀"
        made = await asyncio.to_thread(sdk.messages.send, to=CONSUMER, from_=SENDER, text=text)
        assert made.data is not None
        await consumer_writes(one, "telnyx", "Yes")
        heard = await one.heard("/callbacks/telnyx/events")
        key = base64.b64encode(bytes(SigningKey(base64.b64decode(one.secrets["private_key"])).verify_key)).decode()
        said = [_unwrapped(sdk, call, key) for call in heard]
        assert [each.event_type for each in said if each.event_type != "message.received"] == [
            "message.sent", "message.sent", "message.finalized"
        ]  # fmt: skip
        assert {each.payload.id for each in said if each.event_type != "message.received"} == {made.data.id}
        sdk.close()


def _unwrapped(sdk: Any, call: Heard, key: str) -> Any:
    return sdk.webhooks.unwrap(call.body.decode(), headers=dict(call.headers), key=key).data


class _Redirected(HTTPAdapter):
    """Calls the sandbox where Vonage's library would call rest.nexmo.com."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = str(request.url).replace("https://rest.nexmo.com", self.url)
        return super().send(request, *args, **kwargs)


async def test_vonages_library_sends_and_believes_the_callbacks(tmp_path: Path) -> None:
    async with company(tmp_path, "vonage") as one:
        auth = Auth(api_key=one.secrets["api_key"], api_secret=one.secrets["api_secret"])
        client = HttpClient(auth)
        client._session.mount("https://", _Redirected(one.worlds.url))
        message = SmsMessage(to=CONSUMER[1:], from_=SENDER[1:], text="0123456789 " * 30, client_ref="r")
        made = await asyncio.to_thread(Sms(client).send, message)
        client._session.close()
        assert (made.message_count, len(made.messages)) == ("3", 3)
        assert await one.answer(one.request("a & b = c"))
        await consumer_writes(one, "vonage", "a&b=c")
        heard = await one.heard("/callbacks/vonage/")
        said = [orjson.loads(call.body) if call.body else _query(call) for call in heard]
        assert len(said) == 4  # nobody asked for reports about the first
        validator = Auth(api_key="k", signature_secret=one.secrets["signature_secret"], signature_method="sha256")
        assert all(validator.check_signature(each) for each in said)


def _query(call: Heard) -> dict[str, str]:
    return dict(httpx.QueryParams(call.path.partition("?")[2]))


async def test_infobips_library_reads_both_directions(tmp_path: Path) -> None:
    from infobip_api_client import SmsDeliveryResult, SmsInboundMessageResult, SmsRequest, SmsResponse

    async with company(tmp_path, "infobip") as one:
        request = one.request()
        assert SmsRequest.from_dict(orjson.loads(request.content)) is not None
        first = await one.worlds.http.post("/sms/3/messages", content=request.content, headers=dict(request.headers))
        again = await one.worlds.http.post("/sms/3/messages", content=request.content, headers=dict(request.headers))
        statuses = []
        for answer in (first, again):
            read = SmsResponse.from_dict(answer.json())
            assert read is not None
            assert read.messages[0].status is not None
            statuses.append(read.messages[0].status.id)
        assert statuses == [26, 23]  # accepted, and a duplicate
        assert len(one.worlds.world.sms) == 1
        await consumer_writes(one, "infobip", "Yes")
        told = [orjson.loads(call.body) for call in await one.heard("/callbacks/infobip/status/")]
        reports = [SmsDeliveryResult.from_dict(each) for each in told]
        ids = [each.results[0].status.id for each in reports if each and each.results and each.results[0].status]
        assert ids == [26, 2, 5]
        [inbound] = await one.heard("/callbacks/infobip/inbound/")
        read_inbound = SmsInboundMessageResult.from_dict(orjson.loads(inbound.body))
        assert read_inbound is not None
        assert [each.text for each in read_inbound.results or ()] == ["Yes"]


async def test_azure_knows_a_second_request_by_its_key(tmp_path: Path) -> None:
    async with company(tmp_path, "azure-sms") as one:
        request = one.request()
        lost = edited(DIGITS, "15005550013")(request)  # taken, and the connection is reset
        with pytest.raises(httpx.HTTPError):
            await one.answer(lost)
        assert await one.answer(lost)
        assert await one.answer(edited('"Hello"', '"Other"')(request))  # to another number
        assert await one.answer(request)
        await one.worlds.settled()
        assert [sms.to for sms in one.worlds.world.sms.values()] == ["+15005550013", CONSUMER]
