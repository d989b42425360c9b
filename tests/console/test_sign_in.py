"""Sign-in by a token and by a proxy; sessions; and where nobody is led to."""

from __future__ import annotations

from dataclasses import replace

import httpx
import orjson
import pytest
from redis.asyncio import Redis
from starlette.requests import Request

from dcbridge.config.console import TrustedProxy
from dcbridge.console.app import console_app
from dcbridge.console.context import Role
from dcbridge.console.main import require_sign_in
from dcbridge.console.sign_in.limits import HOUR, PEERS, Attempts, network_of
from dcbridge.console.sign_in.onwards import onwards
from dcbridge.console.sign_in.proxy import Proxy
from dcbridge.console.sign_in.sessions import Sessions
from dcbridge.console.ways import ways_of
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import Settings
from tests.console.running import HERE, KEY, Console, configuration_of, context_of

TOKENS = "\nconsole: {tokens: true, idle_timeout: 600, session_timeout: 3600}\n"
COOKIE = "dcbridge-console"


def _console(redis: Redis, more: str = TOKENS, base: str = HERE) -> Console:
    context = context_of(redis, more=more)
    console = context.configuration.console
    assert console is not None
    context = replace(context, ways=ways_of(context.settings, console, context.ledger.console))
    transport = httpx.ASGITransport(console_app(context), client=("127.0.0.1", 50000))
    return Console(context, httpx.AsyncClient(transport=transport, base_url=base), {})


async def _token(console: Console, role: str = "operator", lasts: float = 60.0) -> tuple[str, str]:
    made = await console.context.ledger.console.make_token("ada", role, lasts, "root")
    assert made
    return made[0].id, made[1]


async def test_a_token_signs_in_and_is_nowhere_in_redis(redis: Redis) -> None:
    console = _console(redis)
    _, text = await _token(console)
    answer = await console.post("/sign-in", {"token": f" {text} ", "next": "/messages?a=1"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/messages?a=1")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    secret = answer.cookies[COOKIE]
    stored = b" ".join([await redis.dump(key) or b"" for key in await redis.keys("*")])
    assert text.split("_", 2)[2].encode() not in stored
    assert secret.encode() not in stored
    assert await console.record() == ["ada console.sign-in token as operator"]
    (session,) = await console.context.ledger.console.sessions()
    assert (session.name, session.role, session.how) == ("ada", "operator", "token")


async def test_by_https_the_cookie_is_of_this_host_alone(redis: Redis) -> None:
    more = TOKENS.replace("{", "{public_url: https://console.example.com, ")
    console = _console(redis, more, "https://console.example.com")
    _, text = await _token(console)
    origin = {"Origin": "https://console.example.com"}
    answer = await console.post("/sign-in", {"token": text}, headers=origin)
    assert answer.headers["set-cookie"].startswith(f"__Host-{COOKIE}=")
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


async def test_each_sign_in_is_a_new_session_and_ends_the_one_before(redis: Redis) -> None:
    """A session that somebody else began in this browser is worth nothing afterwards."""
    console = _console(redis)
    _, text = await _token(console)
    console.client.cookies.set(COOKIE, "chosen-by-somebody-else", domain="127.0.0.1")
    first = (await console.post("/sign-in", {"token": text})).cookies[COOKIE]
    console.client.cookies.clear()
    console.client.cookies.set(COOKIE, first, domain="127.0.0.1")
    second = (await console.post("/sign-in", {"token": text})).cookies[COOKIE]
    assert "chosen-by-somebody-else" != first != second
    store = console.context.ledger.console
    assert await store.session(first, 600) is None
    assert await store.session("chosen-by-somebody-else", 600) is None
    assert await store.session(second, 600)


async def _who(console: Console, cookie: str) -> Role | None:
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={cookie}".encode())]})
    for way in console.context.ways:
        if found := await way.who(request):
            return found.person.role
    return None


@pytest.mark.parametrize(("how", "ways", "there"), [("token", "tokens: true", True), ("token", "proxy", False),
                                                    ("oidc", "tokens: true", False)])  # fmt: skip
async def test_a_session_of_a_way_that_is_off_counts_nothing(redis: Redis, how: str, ways: str, there: bool) -> None:
    proxy = "proxy: {peers: [192.0.2.0/24], roles: {admin: [root]}}"
    console = _console(redis, f"\nconsole: {{{proxy if ways == 'proxy' else ways}}}\n")
    secret = await console.context.ledger.console.begin("ada", "admin", how, lasts=60, idle=60)
    known = console.context.configuration.console
    assert known
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={secret}".encode())]})
    found = await Sessions(console.context.settings, known, console.context.ledger.console).who(request)
    assert (found is not None) == there


@pytest.mark.parametrize("how", ["sign-out", "token", "session", "idle", "absolute"])
async def test_a_session_ends(redis: Redis, how: str) -> None:
    console = _console(redis)
    identity, text = await _token(console)
    cookie = (await console.post("/sign-in", {"token": text})).cookies[COOKIE]
    assert await _who(console, cookie) == Role.OPERATOR
    store = console.context.ledger.console
    (session,) = await store.sessions()
    key = f"dcb:console-session:{session.key}"
    match how:
        case "sign-out":
            signed_in = await console.context.ways[1].who(
                Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={cookie}".encode())]})
            )
            assert signed_in
            console.client.cookies.set(COOKIE, cookie, domain="127.0.0.1")
            answer = await console.post("/sign-out", {"csrf_token": signed_in.csrf})
            assert (answer.headers["location"], answer.cookies.get(COOKIE)) == ("/signed-out", None)
        case "token":
            assert await store.revoke_token(identity)
        case "session":
            assert await store.end(session.key)
        case "idle":
            assert 590_000 < await redis.pttl(key) <= 600_000
            await redis.pexpire(key, 1)
            while await redis.exists(key):
                pass
        case "absolute":
            await redis.hset(key, "until", "1")
    assert await _who(console, cookie) is None


async def test_a_request_keeps_a_session_from_being_idle(redis: Redis) -> None:
    console = _console(redis)
    _, text = await _token(console)
    cookie = (await console.post("/sign-in", {"token": text})).cookies[COOKIE]
    (session,) = await console.context.ledger.console.sessions()
    key = f"dcb:console-session:{session.key}"
    await redis.pexpire(key, 100_000)
    assert await _who(console, cookie)
    assert await redis.pttl(key) > 590_000


@pytest.mark.parametrize(
    "wrong", ["", "dcbc_", "x" * 9999, "dcbc_0123456789ab_" + 43 * "A", "é", "last", "over", "role"]
)
async def test_a_wrong_token_is_refused(redis: Redis, wrong: str) -> None:
    console = _console(redis)
    identity, text = await _token(console)
    if wrong == "last":
        wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    elif wrong in ("over", "role"):
        stored = orjson.loads(await redis.hget("dcb:console-tokens", identity) or b"")
        changed = stored | ({"until": 1.0} if wrong == "over" else {"role": "owner"})
        await redis.hset("dcb:console-tokens", identity, orjson.dumps(changed))
        wrong = text
    answer = await console.post("/sign-in", {"token": wrong})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert "There is no such token, or it is over." in answer.text
    assert wrong not in answer.text or len(wrong) < 6
    assert await console.record() == ["console.sign-in token refused: unknown or over"]


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": ""}]
)
async def test_another_site_cannot_sign_somebody_in(redis: Redis, headers: dict[str, str]) -> None:
    console = _console(redis)
    _, text = await _token(console)
    answer = await console.post("/sign-in", {"token": text}, headers=headers)
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


def test_what_one_peer_tries_in_vain_keeps_nobody_else_out() -> None:
    attempts = Attempts(clock=lambda: 0.0)
    assert sum(attempts.may("192.0.2.1") for _ in range(1000)) == 20
    assert attempts.may("192.0.2.2")
    guesses = iter(range(0, 86_400, 6))  # of a whole day
    record = Attempts(each=10, total=10, every=HOUR, clock=lambda: next(guesses))
    assert sum(record.may("") for _ in range(14_400)) == 240


async def test_guesses_are_limited_and_recorded_a_few_times(redis: Redis) -> None:
    console = _console(redis)
    codes = [(await console.post("/sign-in", {"token": "x"})).status_code for _ in range(25)]
    assert (codes.count(403), codes.count(429)) == (20, 5)
    assert len(await console.record()) == 10


def test_attempts_are_counted_by_network_and_forgotten() -> None:
    now = 0.0
    attempts = Attempts(each=2, total=5, clock=lambda: now)
    assert [attempts.may("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert [attempts.may(f"2001:db8::{n}") for n in range(3)] == [True, True, False]
    assert [attempts.may("192.0.2.2") for _ in range(2)] == [True, False]  # the sixth of all that were allowed
    now = 60.0
    assert attempts.may("192.0.2.1")
    many = Attempts(total=10**9)
    for n in range(PEERS + 100):
        many.may(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(many._peers) == PEERS
    assert [network_of(one) for one in ("", "::ffff:192.0.2.1", "fe80::1%eth0")] == [
        "unknown",
        "192.0.2.1",
        "fe80::/64",
    ]


@pytest.mark.parametrize(
    "path", ["/", "/messages", "/messages?state=failed&page=2", "/dead-letters/d1", "/m?u=http://a/"]
)
def test_a_page_of_ours_is_led_to(path: str) -> None:
    assert onwards(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "messages",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%2Fevil.example",
        "/%5Cevil.example",
        "/%252Fevil.example",
        "/%2f%2fevil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/%09/evil.example",
        " /evil",
        "/ /evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "http:/evil.example",
        "/sign-in?next=/",
        "/sign-out",
        "/%73ign-out",
        "/" + "a" * 2000,
        "/\u2028",
        "/é",
        "/../\\evil",
    ],
)
async def test_no_other_site_is_led_to(path: str) -> None:
    assert onwards(path) == "/"


# ---------------------------------------------------------------- a proxy

ALL = "0.0.0.0"  # noqa: S104  (read, not bound)
ROLES = {"viewer": ["all"], "operator": ["duty"], "admin": ["root", "x,y"]}
SECRET = "s" * 24
PROXY = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "duty, all"}
SHOWN = {"X-Console-Secret": SECRET}


@pytest.mark.parametrize(
    ("how", "peer", "headers", "role"),
    [
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN, Role.OPERATOR),
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN | {"X-Forwarded-Groups": "root"}, Role.ADMIN),
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN | {"X-Forwarded-Groups": "all"}, Role.VIEWER),
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN | {"X-Forwarded-Groups": "others"}, None),
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN | {"X-Forwarded-Groups": "ROOT"}, None),
        ({"secret": SECRET}, "198.51.100.1", PROXY | SHOWN | {"X-Forwarded-User": " "}, None),
        ({"secret": SECRET}, "198.51.100.1", PROXY, None),
        ({"secret": SECRET}, "127.0.0.1", PROXY | {"X-Console-Secret": SECRET + "s"}, None),
        ({"secret": SECRET}, "127.0.0.1", PROXY | {"X-Console-Secret": "é"}, None),
        ({"peers": ["10.0.0.0/8"]}, "10.1.2.3", PROXY, Role.OPERATOR),
        ({"peers": ["10.0.0.0/8"]}, "::ffff:10.1.2.3", PROXY, Role.OPERATOR),
        ({"peers": ["10.0.0.0/8"]}, "11.1.2.3", PROXY, None),
        ({"peers": ["10.0.0.0/8"]}, "11.1.2.3", PROXY | {"X-Forwarded-For": "10.1.2.3"}, None),
        ({"peers": ["10.0.0.0/8"], "secret": SECRET}, "10.1.2.3", PROXY, None),
        ({"peers": ["10.0.0.0/8"], "secret": SECRET}, "11.1.2.3", PROXY | SHOWN, None),
        ({"peers": ["10.0.0.0/8"], "secret": SECRET}, "10.1.2.3", PROXY | SHOWN, Role.OPERATOR),
    ],
)
async def test_the_headers_of_a_proxy(
    how: dict[str, object], peer: str, headers: dict[str, str], role: Role | None
) -> None:
    proxy = Proxy(Settings(token_key=KEY), TrustedProxy.model_validate({"roles": ROLES} | how))
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "client": (peer, 1), "headers": raw}
    found = await proxy.who(Request(scope))
    assert (found.person.role if found else None) == role
    for name, value in raw:  # whoever adds a line of its own in front of the proxy's is refused
        twice = await proxy.who(Request(scope | {"headers": [(name, value), *raw]}))
        assert twice is None


# ---------------------------------------------------------------- whether it starts


@pytest.mark.parametrize(
    ("more", "changed", "dev", "field"),
    [
        ("", {}, False, "console"),
        ("\nconsole: {}\n", {}, False, "console"),
        (TOKENS, {"token_key": None}, False, "DCBRIDGE_TOKEN_KEY"),
        (TOKENS, {"console_host": ALL}, False, "console.public_url"),
        (TOKENS.replace("{", "{public_url: https://c.example.com, "), {"console_host": ALL}, False, ""),
        (TOKENS, {}, False, ""),
        ("", {}, True, ""),
        ("", {"console_host": "::1"}, True, ""),
        ("", {"console_host": ALL}, True, "DCBRIDGE_CONSOLE_HOST"),
        ("", {"console_host": "10.0.0.1"}, True, "DCBRIDGE_CONSOLE_HOST"),
        ("", {"console_hosts": "*"}, True, "DCBRIDGE_CONSOLE_HOST"),
    ],
)
def test_it_starts_where_somebody_and_not_everybody_may_sign_in(
    more: str, changed: dict[str, str | None], dev: bool, field: str
) -> None:
    settings = Settings(**{name: value for name, value in ({"token_key": KEY} | changed).items() if value})  # type: ignore[arg-type]
    if not field:
        require_sign_in(settings, configuration_of(more), dev=dev)
        return
    with pytest.raises(ConfigurationError) as refused:
        require_sign_in(settings, configuration_of(more), dev=dev)
    assert [str(one).partition(":")[0].partition(" ")[0] for one in refused.value.problems] == [field]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("{oidc: {issuer: https://i.example, client_id: c, roles: {viewer: [a]}}}", "public_url"),
        (
            "{public_url: https://c.example, oidc: {issuer: http://i.example, client_id: c, roles: {viewer: [a]}}}",
            "issuer",
        ),
        ("{public_url: https://c.example, oidc: {issuer: https://i.example, client_id: c, roles: {}}}", "viewer"),
        (
            "{public_url: https://c.example, oidc: {issuer: https://i.example, client_id: c, roles: {viewer: [a]},"
            " algorithms: [HS256]}}",
            "algorithms",
        ),
        ("{proxy: {roles: {viewer: [a]}}}", "secret"),
        ("{proxy: {roles: {viewer: [a]}, secret: short}}", "secret"),
        ("{proxy: {roles: {viewer: [a]}, peers: [0.0.0.0/0]}}", "peers"),
        ("{proxy: {roles: {viewer: [a]}, peers: [10.0.0.1/8]}}", "peers"),
    ],
)
def test_a_section_that_lets_nobody_or_everybody_in_is_refused(more: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        configuration_of(f"\nconsole: {more}\n")
    assert any(field in str(one) for one in refused.value.problems)
