"""Sign-in at a provider of OpenID Connect on loopback, made of Authlib's server; and each way in which it could lie."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from joserfc.jwk import RSAKey
from redis.asyncio import Redis

from dcbridge.console.app import console_app
from dcbridge.console.ways import ways_of
from tests.console.oidc_provider import CLIENT, EC, RSA, SECRET, Claims, Provider, Signs
from tests.console.running import HERE, Console, context_of
from tests.listening import listening

PERSON = {"sub": "4711", "email": "ada@example.com", "groups": ["staff", "duty"]}
CALLBACK = f"{HERE}/sign-in/oidc/callback"


@dataclass(frozen=True, slots=True)
class Scene:
    """A browser, a console, and a provider at a socket of its own."""

    console: Console
    provider: Provider

    async def at_provider(self, then: str = "/messages") -> str:
        """Where the provider sends the browser back to."""
        there = await self.console.get("/sign-in/oidc", params={"next": then})
        assert there.status_code == 303, there.text
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.provider.app())) as browser:
            back = await browser.get(there.headers["location"])
        assert back.status_code == 302, back.text
        return str(back.headers["location"])

    async def sign_in(self, then: str = "/messages") -> httpx.Response:
        return await self.console.get(await self.at_provider(then))


@asynccontextmanager
async def provided() -> AsyncIterator[Provider]:
    """A provider at a socket of its own."""
    provider = Provider(CALLBACK, PERSON)
    async with listening(provider.app()) as url:
        provider.issuer = url
        yield provider


@asynccontextmanager
async def scene(redis: Redis, more: str = "", at: Provider | None = None) -> AsyncIterator[Scene]:
    """A console that knows nothing of it yet."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(provided()) if at is None else at
        url = provider.issuer
        section = (
            f"\nconsole: {{public_url: '{HERE}', oidc: {{issuer: '{url}', client_id: {CLIENT}, client_secret: {SECRET},"
            f" roles: {{operator: [duty], admin: [root]}}{more}}}}}\n"
        )
        context = context_of(redis, more=section)
        assert context.configuration.console
        ways = ways_of(context.settings, context.configuration.console, context.ledger.console)
        transport = httpx.ASGITransport(console_app(replace(context, ways=ways)), client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            yield Scene(Console(context, client, {}), provider)


async def test_somebody_signs_in_at_their_companys_account(redis: Redis) -> None:
    async with scene(redis) as there:
        back = await there.at_provider("/messages?state=failed")
        answer = await there.console.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, "/messages?state=failed")
        (session,) = await there.console.context.ledger.console.sessions()
        assert (session.name, session.role, session.how) == ("ada@example.com", "operator", "oidc")
        assert there.console.client.cookies.get("dcbridge-sign-in") is None
        again = await there.console.get(back)  # the same answer works once
        assert again.status_code == 403
        await there.sign_in()
        assert there.provider.signs.asked == ["discovery", "jwks"]
        assert "/logout?client_id=console" in (await there.console.get("/signed-out")).text


async def test_who_has_not_signed_in_makes_us_ask_a_few_times_only(redis: Redis) -> None:
    async with scene(redis) as there:
        there.provider.signs.discovery = lambda found: found | {"issuer": "https://other.example"}  # not to be kept
        assert {(await there.console.get("/signed-out")).status_code for _ in range(25)} == {200}
        assert there.provider.signs.asked == ["discovery"] * 20


async def test_an_answer_in_another_browser_is_refused(redis: Redis) -> None:
    async with scene(redis) as there:
        back = await there.at_provider()
        cookie = there.console.client.cookies["dcbridge-sign-in"]
        for other in ("", "x" * 64, cookie[:-1]):
            there.console.client.cookies.clear()
            there.console.client.cookies.set("dcbridge-sign-in", other)
            answer = await there.console.get(back)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
        there.console.client.cookies.set("dcbridge-sign-in", cookie)
        assert (await there.console.get(back)).status_code == 303


def _with(**changed: object) -> Callable[[Claims], Claims]:
    return lambda claims: {name: value for name, value in (claims | changed).items() if value is not None}


def _at(**seconds: float) -> Callable[[Claims], Claims]:
    """Times from now on."""
    return lambda claims: claims | {name: time.time() + value for name, value in seconds.items()}


OTHER = RSAKey.generate_key(2048, {"use": "sig", "kid": "first"})
PUBLIC = RSA.as_pem(private=False)


ID_TOKENS = [
    (Signs(), 303),
    (Signs(claims=_with(aud=CLIENT)), 303),
    (Signs(claims=_at(exp=-20)), 303),  # within the skew that is allowed
    (Signs(claims=_with(aud=[CLIENT, "other"], azp=CLIENT)), 303),
    (Signs(claims=_with(aud=[CLIENT, "other"])), 403),
    (Signs(claims=_with(azp="other")), 403),
    (Signs(claims=_with(aud="other")), 403),
    (Signs(claims=_with(aud=None)), 403),
    (Signs(claims=_with(aud={CLIENT: 1})), 403),
    (Signs(claims=_with(iss="https://other.example")), 403),
    (Signs(claims=_with(iss=None)), 403),
    (Signs(claims=_at(exp=-60)), 403),
    (Signs(claims=_with(exp=None)), 403),
    (Signs(claims=_with(exp=True)), 403),
    (Signs(claims=_with(exp=1e300)), 403),
    (Signs(claims=_with(exp=10**400)), 403),
    (Signs(claims=_at(iat=3600)), 403),
    (Signs(claims=_at(nbf=3600)), 403),
    (Signs(claims=_with(nonce="other")), 403),
    (Signs(claims=_with(nonce=None)), 403),
    (Signs(claims=_with(nonce="é")), 403),
    (Signs(claims=_with(sub=None)), 403),
    (Signs(claims=_with(sub="")), 403),
    (Signs(claims=_with(groups=["staff"])), 403),
    (Signs(claims=_with(groups=None)), 403),
    (Signs(claims=_with(groups=[["duty"], {"duty": 1}, 3])), 403),
    (Signs(key=OTHER), 403),
    (Signs(key=PUBLIC, algorithm="HS256"), 403),  # the public key taken for a shared secret
    (Signs(key=b"", algorithm="none"), 403),
    (Signs(algorithm="RS512"), 403),  # not among those that bridge.yaml allows
    (Signs(key=EC, algorithm="ES256"), 403),  # a key that is not published
    (Signs(key=EC, algorithm="ES256", published=lambda: [EC.as_dict(private=False)]), 303),
    (Signs(published=list), 403),
    (Signs(published=lambda: [{"kty": "oct", "k": "eA"}] * 101), 403),
    (Signs(published=lambda: [{"kty": "RSA", "n": 1}]), 403),
]


async def test_an_id_token_is_believed_as_it_should_be_and_in_no_other_way(redis: Redis) -> None:
    found = []
    async with provided() as provider:
        for signs, _ in ID_TOKENS:
            await redis.flushdb()
            provider.signs = signs
            async with scene(redis, at=provider) as there:
                answer = await there.sign_in()
                sessions = await there.console.context.ledger.console.sessions()
                (line,) = await there.console.record()
            assert len(sessions) == (answer.status_code == 303)
            assert ("refused" in line) == (answer.status_code == 403)
            found.append(answer.status_code)
    assert found == [status for _, status in ID_TOKENS]


OF_ITSELF: list[Callable[[Claims], Any]] = [
    _with(issuer="https://other.example"),
    _with(issuer=None),
    _with(authorization_endpoint="http://other.example/authorize"),
    _with(authorization_endpoint="javascript:alert(1)"),
    _with(token_endpoint="http://169.254.169.254/token"),
    _with(token_endpoint="https://user@other.example/token"),
    _with(jwks_uri=None),
    _with(jwks_uri="file:///etc/passwd"),
    _with(jwks_uri=["https://a.example"]),
    lambda _: {"x": "y" * (300 << 10)},
    lambda _: [],
]


async def test_what_a_provider_says_of_itself_has_to_be_https(redis: Redis) -> None:
    async with provided() as provider:
        for bend in OF_ITSELF:
            provider.signs = Signs(discovery=bend)
            async with scene(redis, at=provider) as there:
                answer = await there.console.get("/sign-in/oidc")
            assert (answer.status_code, "location" in answer.headers) == (403, False)


PEOPLE: list[tuple[Claims, str, str, str]] = [
    (PERSON | {"email_verified": False}, "", "4711", "operator"),
    (PERSON | {"groups": "root"}, "", "ada@example.com", "admin"),
    (PERSON | {"name": "Ada\x1b[31m\n"}, ", name_claim: name", "Ada?[31m", "operator"),
    ({"sub": "4711", "access": {"roles": ["root", "duty"]}}, ", groups_claim: access.roles", "4711", "admin"),
    ({"sub": "x" * 999, "groups": ["duty"]}, "", "x" * 200, "operator"),
]


async def test_who_it_is(redis: Redis) -> None:
    async with provided() as provider:
        for person, more, name, role in PEOPLE:
            await redis.flushdb()
            provider.person = person
            async with scene(redis, more, provider) as there:
                assert (await there.sign_in()).status_code == 303
                (session,) = await there.console.context.ledger.console.sessions()
            assert (session.name, session.role) == (name, role)


@pytest.mark.parametrize(
    ("answered", "why"),
    [
        ({"error": "access_denied", "error_description": "<script>canary"}, "the provider refused"),
        ({"code": "x", "iss": "https://other.example"}, "the answer is of another provider"),
        ({"code": "x"}, "the provider cannot be read: http 400"),
    ],
)
async def test_a_provider_that_refuses(redis: Redis, answered: dict[str, str], why: str) -> None:
    async with scene(redis) as there:
        state = httpx.URL(await there.at_provider()).params["state"]
        answer = await there.console.get("/sign-in/oidc/callback", params={"state": state} | answered)
        assert (answer.status_code, why in answer.text, "canary" in answer.text) == (403, True, False)
