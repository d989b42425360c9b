"""What stands before every handler: the role, the form's token and its origin; and what every answer says."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import dcbridge.console
from dcbridge.console import guard
from dcbridge.console.access import TABLE, Rule, form_of, record
from dcbridge.console.app import rules
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.ways import OwnComputer
from tests.console.running import CSRF, HERE, As, context_of, open_console

ALL = list(rules())
TEMPLATES = Path(dcbridge.console.__file__).parent / "templates"


def test_all_of_the_table_is_routed() -> None:
    assert {(rule.method, rule.path) for rule in ALL} == set(TABLE)


def test_what_a_template_asks_for_is_in_the_table() -> None:
    """A link or a button that asks for a rule that is not there is never shown."""
    text = "".join(one.read_text() for one in TEMPLATES.glob("*.html"))
    asked = set(re.findall(r'may\("(GET|POST)", "([^"]+)"\)', text))
    assert len(asked) > 20
    assert asked <= set(TABLE)


async def test_every_answer_says_what_a_browser_may_do(redis: Redis) -> None:
    async with open_console(redis) as console:
        for path in ("/nowhere", "/healthz", "/sign-in"):
            headers = (await console.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert "strict-transport-security" not in headers


async def test_an_unknown_page_says_nothing_of_what_was_asked(redis: Redis) -> None:
    async with open_console(redis) as console:
        answer = await console.get("/<script>alert(1)</script>")
        assert answer.status_code == 404
        assert "There is no such page" in answer.text
        assert "alert" not in answer.text


async def test_a_host_that_is_not_known_is_refused(redis: Redis) -> None:
    async with open_console(redis) as console:
        answer = await console.get("/healthz", headers={"Host": "evil.example"})
        assert (answer.status_code, "DCBRIDGE_CONSOLE_HOSTS" in answer.text) == (421, True)


@pytest.mark.parametrize(
    ("client", "headers", "known"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("10.1.2.3", {}, False),
        ("127.0.0.1", {"X-Forwarded-For": "10.1.2.3"}, False),
        ("127.0.0.1", {"Forwarded": "for=10.1.2.3"}, False),
        ("127.0.0.1", {"X-Forwarded-Proto": "https"}, False),
    ],
)
async def test_only_this_computer_needs_no_sign_in(client: str, headers: dict[str, str], known: bool) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "client": (client, 1), "headers": raw})
    assert (await OwnComputer().who(request) is not None) == known


# ---------------------------------------------------------------- forms, and the record of what was done


async def _reveal(request: Request, _context: ConsoleContext, person: Person) -> Response:
    if form_of(request).get("fail"):
        raise ValueError("canary-inside")
    if form_of(request).get("many"):
        record(request, what="12 letters", result="revealed")
    return PlainTextResponse(f"{person.name}: secret")


REVEAL = Rule("POST", "/letters/{name}/reveal", Role.OPERATOR, "reveal", True, _reveal)


async def _post(
    redis: Redis, role: Role, fields: dict[str, str], headers: dict[str, str]
) -> tuple[httpx.Response, ConsoleContext]:
    context = context_of(redis, As(role))
    app = Starlette(routes=[Route(REVEAL.path, guard.endpoint(REVEAL, context), methods=["POST"])])
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
        return await client.post("/letters/d1/reveal", data=fields, headers=headers), context


GOOD = {"csrf_token": CSRF, "why": "asked by the consumer"}


@pytest.mark.parametrize(
    ("role", "fields", "headers", "status"),
    [
        (Role.OPERATOR, GOOD, {}, 200),
        (Role.ADMIN, GOOD, {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, 200),
        (Role.VIEWER, GOOD, {}, 403),
        (Role.OPERATOR, {}, {}, 403),
        (Role.OPERATOR, {"csrf_token": ""}, {}, 403),
        (Role.OPERATOR, {"csrf_token": CSRF + "x"}, {}, 403),
        (Role.OPERATOR, {"csrf_token": "é"}, {}, 403),
        (Role.OPERATOR, GOOD, {"Origin": "https://evil.example"}, 403),
        (Role.OPERATOR, GOOD, {"Origin": "null"}, 403),
        (Role.OPERATOR, GOOD, {"Origin": "http://127.0.0.1:8091"}, 403),
        (Role.OPERATOR, GOOD, {"Origin": "ftp://127.0.0.1:8090"}, 403),
        (Role.OPERATOR, GOOD, {"Origin": "http://["}, 403),
        (Role.OPERATOR, GOOD, {"Sec-Fetch-Site": "cross-site"}, 403),
        (Role.OPERATOR, GOOD, {"Sec-Fetch-Site": "same-site"}, 403),
        (Role.OPERATOR, GOOD, {"Sec-Fetch-Site": "none"}, 403),
        (Role.OPERATOR, GOOD, {"Content-Type": "text/plain"}, 400),
        (Role.OPERATOR, GOOD | {"text": "x" * guard.FORM_LIMIT}, {}, 413),
        (Role.OPERATOR, GOOD | {f"n{n}": "" for n in range(guard.FIELDS)}, {}, 400),
        (Role.OPERATOR, GOOD, {"X-Nobody": "1"}, 401),
    ],
)
async def test_a_form_is_taken_from_its_own_page_alone(
    redis: Redis, role: Role, fields: dict[str, str], headers: dict[str, str], status: int
) -> None:
    answer, context = await _post(redis, role, fields, headers)
    assert answer.status_code == status
    written = [(one.by, one.action, one.what, one.why, one.result) for one in await context.ledger.controls.audit(9)]
    assert written == ([("ada", "reveal", "d1", GOOD["why"], "done")] if status == 200 else [])


@pytest.mark.parametrize(
    ("more", "status", "written"),
    [
        ({"many": "1"}, 200, ("12 letters", "revealed")),
        ({"fail": "1"}, 500, ("d1", "failed")),
        ({"why": "x\x1b[31m" * 99}, 200, ("d1", "done")),
    ],
)
async def test_what_a_handler_says_is_recorded(
    redis: Redis, more: dict[str, str], status: int, written: tuple[str, str]
) -> None:
    answer, context = await _post(redis, Role.ADMIN, GOOD | more, {})
    assert (answer.status_code, "canary" in answer.text) == (status, False)
    (one,) = await context.ledger.controls.audit(9)
    assert (one.what, one.result) == written
    assert len(one.why) <= guard.WORDS
    assert one.why.isprintable()


async def test_nothing_hidden_is_shown_where_it_cannot_be_recorded(redis: Redis) -> None:
    await redis.set("dcb:audit", "of another type")
    answer, _ = await _post(redis, Role.ADMIN, GOOD, {})
    assert (answer.status_code, "secret" in answer.text) == (503, False)


@pytest.mark.parametrize(
    ("path", "leads"),
    [("/m?a=1&b=2", "/sign-in?next=%2Fm%3Fa%3D1%26b%3D2"), ("/", "/sign-in")],
)
async def test_who_is_not_signed_in_is_brought_to_the_page_for_it(redis: Redis, path: str, leads: str) -> None:
    rule = Rule("GET", path.partition("?")[0], Role.VIEWER, "", False, _reveal)
    app = Starlette(routes=[Route(rule.path, guard.endpoint(rule, context_of(redis)))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, leads)
