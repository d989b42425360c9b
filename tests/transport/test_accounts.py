"""The token of an account: asked for once, renewed before it ends, dropped when it is refused."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from dcbridge.errors import AccountFault, OutcomeUnknown, SendError, Throttled, Unreachable
from dcbridge.providers import build
from dcbridge.providers.bandwidth import BandwidthFields
from dcbridge.providers.base import Provider
from dcbridge.transport.accounts import Accounts
from dcbridge.transport.sender import Sender
from tests.transport.test_sender import heard, serving


@dataclass
class Company:
    """A server of tokens and of messages. `says`: the answer to a request for a token, and how many are answered."""

    seconds: str = "100"
    login: Callable[[int], tuple[int, bytes]] | None = None
    delay: float = 0.0
    refuses: set[str] = field(default_factory=set)
    now: float = 0.0
    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await heard(reader):
            path = said.split(b" ", 2)[1].decode()
            shown = next((x[22:] for x in said.decode().split("\r\n") if x.startswith("Authorization: Bearer ")), "")
            self.asked[path if path == "/token" else shown] += 1
            status, body = 200, b'{"id": "m-1"}'
            if path == "/token":
                number = self.asked[path]
                await asyncio.sleep(self.delay)
                status, body = 200, b'{"access_token": "t-%d", "expires_in": %s}' % (number, self.seconds.encode())
                if self.login:
                    status, body = self.login(number)
            elif shown in self.refuses:
                status, body = 401, b"{}"
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            await writer.drain()

    @property
    def provider(self) -> Provider:
        given = {
            "account_id": "1", "application_id": "2", "client_id": "3", "client_secret": "4",
            "callback_secret": "0123456789abcdef", "base_url": self.url, "token_url": f"{self.url}/token",
        }  # fmt: skip
        return build("acme", "bandwidth", BandwidthFields.model_validate(given), "https://bridge.example.com")

    def request(self) -> httpx.Request:
        return httpx.Request("POST", f"{self.url}/messages", content=b"{}")


@asynccontextmanager
async def accounts(company: Company) -> AsyncIterator[Accounts]:
    async with serving(company.talk) as url, Sender(read_timeout=0.5) as sender:
        company.url = url
        made = Accounts(sender, lambda: company.now)
        try:
            yield made
        finally:
            await made.close()


async def test_all_requests_of_a_moment_share_one_request_for_a_token() -> None:
    company = Company(delay=0.1)
    async with accounts(company) as ours:
        provider = company.provider
        first = asyncio.create_task(ours.send(provider, company.request()))
        others = [asyncio.create_task(ours.send(provider, company.request())) for _ in range(30)]
        await asyncio.sleep(0.02)
        first.cancel()  # who began it; the others wait for the same
        answers = await asyncio.gather(*others)
    assert {answer.status_code for answer in answers if isinstance(answer, httpx.Response)} == {200}
    assert company.asked == {"/token": 1, "t-1": 30}


async def test_a_token_is_renewed_at_80_percent_of_its_life_beside_the_work() -> None:
    company = Company()
    async with accounts(company) as ours:
        provider = company.provider
        for company.now, shown in ((0, "t-1"), (79, "t-1"), (81, "t-1")):
            await ours.send(provider, company.request())
            assert company.asked[shown] >= 1
        for _ in range(50):
            await ours.send(provider, company.request())
        assert company.asked["t-2"] > 0
        assert company.asked["/token"] == 2


async def test_while_a_renewal_fails_the_old_token_is_used_to_its_end() -> None:
    company = Company()
    async with accounts(company) as ours:
        provider = company.provider
        await ours.send(provider, company.request())
        company.login = lambda number: (503, b"")
        for company.now in (81, 82, 92, 99):
            await ours.send(provider, company.request())
            await asyncio.sleep(0.05)
        assert company.asked == {"/token": 3, "t-1": 5}  # not one a request
        company.now = 101
        with pytest.raises(Unreachable, match="login: HTTP 503"):
            await ours.send(provider, company.request())
        assert company.asked["t-1"] == 5


async def test_a_refused_token_is_dropped_and_the_request_tried_once_more() -> None:
    company = Company(refuses={"t-1"})
    async with accounts(company) as ours:
        provider = company.provider
        answer = await ours.send(provider, company.request())
        assert isinstance(answer, httpx.Response)
        assert (answer.status_code, company.asked) == (200, {"/token": 2, "t-1": 1, "t-2": 1})
        company.refuses = {"t-2", "t-3"}
        answer = await ours.send(provider, company.request())
        assert isinstance(answer, httpx.Response)
        assert (answer.status_code, company.asked["t-2"], company.asked["t-3"]) == (401, 2, 1)
        company.login = lambda number: (500, b"")
        answer = await ours.send(provider, company.request())  # the refusal is what is known
        assert isinstance(answer, httpx.Response)
        assert answer.status_code == 401


@pytest.mark.parametrize("seconds", ["0", "-1", "1e300", '"soon"', "null", "0.0"])
async def test_a_token_of_no_life_is_kept_for_a_moment(seconds: str) -> None:
    """Else each message would ask for one of its own."""
    company = Company(seconds)
    async with accounts(company) as ours:
        provider = company.provider
        for company.now in (0, 1, 3):
            await ours.send(provider, company.request())
    assert company.asked["/token"] == 1


@pytest.mark.parametrize(
    ("says", "error", "code"),
    [
        ((401, b'{"error": "invalid_client"}'), AccountFault, "login: invalid_client"),
        ((400, b"not JSON"), AccountFault, "login: HTTP 400"),
        ((302, b""), AccountFault, "login: HTTP 302"),
        ((429, b""), Throttled, "login: HTTP 429"),
        ((408, b""), Unreachable, "login: HTTP 408"),
        ((503, b""), Unreachable, "login: HTTP 503"),
        ((200, b"{}"), AccountFault, "login: no bearer token in the answer"),
        ((200, b'{"access_token": "a", "expires_in": 1e400}'), AccountFault, "login: no bearer token in the answer"),
        ((200, b'{"access_token": "a b"}'), AccountFault, "login: no bearer token in the answer"),
        ((200, b'{"access_token": "a\\r\\nX: y"}'), AccountFault, "login: no bearer token in the answer"),
        ((200, b'{"access_token": "%s"}' % (b"a" * 8193)), AccountFault, "login: no bearer token in the answer"),
        ((200, b'{"access_token": "a", "token_type": "mac"}'), AccountFault, "login: no bearer token in the answer"),
    ],
)
async def test_what_goes_wrong_with_a_login_says_that_nothing_was_sent(
    says: tuple[int, bytes], error: type[SendError], code: str
) -> None:
    company = Company(login=lambda number: says)
    async with accounts(company) as ours:
        for attempt in (ours.ready(company.provider), ours.send(company.provider, company.request())):
            with pytest.raises(SendError) as raised:
                await attempt
            assert (type(raised.value), raised.value.code, raised.value.taken) == (error, code, False)
    assert company.asked == {"/token": 2}


async def test_a_login_without_an_answer_says_that_nothing_was_sent() -> None:
    company = Company(delay=1.0)
    async with accounts(company) as ours:
        with pytest.raises(Unreachable, match="login: timeout"):
            await ours.ready(company.provider)
        company.delay = 0.0
        await ours.ready(company.provider)
        company.url = "http://127.0.0.1:1"
        with pytest.raises(Unreachable):
            await ours.send(company.provider, company.request())


async def test_an_unknown_outcome_of_the_request_itself_stays_one() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard(reader)
        writer.close()

    company = Company()
    async with accounts(company) as ours, serving(hang_up) as url:
        with pytest.raises(OutcomeUnknown):
            await ours.send(company.provider, httpx.Request("POST", url, content=b"{}"))
