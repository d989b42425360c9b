"""The API: every operation is described, answers as it is described, and says which field is wrong."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import jsonschema
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from redis.asyncio import Redis

from dcbridge.console.access import TABLE
from dcbridge.console.api.dead_letters import page_of
from dcbridge.console.api.document import document
from dcbridge.console.api.operation import OPERATIONS, ROOT
from dcbridge.console.app import rules
from dcbridge.console.context import Role
from dcbridge.console.sign_in.tokens import Bearer
from dcbridge.ledger import Ledger
from dcbridge.ledger.dead_letters import Selection
from dcbridge.ledger.fields import Kind
from tests.console.running import Console, open_console
from tests.ledger.ledger_bench import Bench

CHANNEL, CONSUMER, TEXT = "0123456789", "16504660000", "canary-text"


def test_the_document_is_one_of_openapi() -> None:
    OpenAPIV31SpecValidator(orjson.loads(orjson.dumps(document()))).validate()


def test_every_operation_is_routed_and_described() -> None:
    routed = {(rule.method, rule.path) for rule in rules() if rule.path.startswith("/api/")}
    described = {(method.upper(), path) for path, found in document()["paths"].items() for method in found}
    assert routed == described == set(OPERATIONS)
    assert {OPERATIONS[one].role for one in OPERATIONS if one[0] == "POST"} >= {Role.OPERATOR, Role.ADMIN}
    assert [one for one in routed if TABLE[one].role != OPERATIONS[one].role] == []


def _answers_as_described(method: str, path: str, answer: Any) -> None:
    schema = document()["paths"][path][method.lower()]["responses"]["200"]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document()["components"]}
    jsonschema.Draft202012Validator(orjson.loads(orjson.dumps(whole))).validate(answer)


async def _asks(console: Console, method: str, path: str, body: Mapping[str, Any] | None = None, **names: str) -> Any:
    at = path.format(**names)
    answer = await (
        console.client.post(at, json=body or {}) if method == "POST" else console.client.get(at, params=body)
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    _answers_as_described(method, path, found)
    assert TEXT not in answer.text
    assert CONSUMER not in answer.text
    return found


async def test_what_an_operator_does_with_messages(redis: Redis) -> None:
    bench = Bench(redis)
    for name in ("m-1", "m-2", "m-3"):
        await bench.put(name, channel_id=CHANNEL)
    async with open_console(redis, Role.OPERATOR) as console:
        for path in (f"{ROOT}/status", "/api/status"):
            assert (await _asks(console, "GET", path))["at"]
        first = await _asks(console, "GET", f"{ROOT}/messages", {"channel": CHANNEL, "state": "accepted", "limit": 2})
        rest = await _asks(
            console, "GET", f"{ROOT}/messages", {"channel": CHANNEL, "state": "accepted", "cursor": first["cursor"]}
        )
        names = [one["message"] for page in (first, rest) for one in page["messages"]]
        assert (sorted(names), rest["cursor"]) == (["m-1", "m-2", "m-3"], "")
        life = await _asks(console, "GET", f"{ROOT}/messages/{{id}}", {"channel": CHANNEL}, id="m-1")
        assert life["found"][0]["state"] == "accepted"
        assert (await _asks(console, "POST", f"{ROOT}/messages/search", {"id": "m-1"}))["found"] == life["found"]
        paused = await _asks(console, "POST", f"{ROOT}/pauses", {"what": "channel", "name": CHANNEL, "why": "a test"})
        assert paused == {"what": "channel", "name": CHANNEL, "until": None}
        (one,) = (await _asks(console, "GET", f"{ROOT}/pauses"))["pauses"]
        assert (one["by"], one["why"]) == ("ada", "a test")
        wanted = {"channel": CHANNEL, "why": "wrong text", "limit": 2}
        counted = {"channel": CHANNEL, "state": "accepted", "count": 2}
        dry = await _asks(console, "POST", f"{ROOT}/messages/cancel", wanted | {"dry_run": True})
        assert dry == {"matching": [counted], "results": {}, "more": True}
        done = await _asks(console, "POST", f"{ROOT}/messages/cancel", wanted)
        assert done == {"matching": [counted], "results": {"cancelled": 2}, "more": True}
        again = await _asks(console, "POST", f"{ROOT}/messages/cancel", wanted)
        assert (again["results"], again["more"]) == ({"cancelled": 1}, False)
        assert (await _asks(console, "POST", f"{ROOT}/messages/retry", {"all": True}))["results"] == {}
        await _asks(console, "POST", f"{ROOT}/messages/release", {"channel": CHANNEL})
        await _asks(console, "POST", f"{ROOT}/messages/reject", {"channel": CHANNEL, "dry_run": True})
        ended = await _asks(console, "POST", f"{ROOT}/pauses/end", {"what": "channel", "name": CHANNEL})
        assert ended["was_in_force"]
        actions = (await _asks(console, "GET", f"{ROOT}/audit", {"limit": 99}))["actions"]
        assert {(one["by"], one["action"]) for one in actions} == {
            ("ada", name) for name in ("pause", "cancel", "resume")
        }


async def test_dead_letters(redis: Redis) -> None:
    ledger = Ledger(redis, keep=60, keep_dead=60)
    for n in range(3):
        await ledger.dead_letters.add(f"r-{n}", Kind.RECEIPT, CHANNEL, "http 400", f"{TEXT} {CONSUMER}".encode())
    async with open_console(redis, Role.ADMIN) as console:
        path = f"{ROOT}/dead-letters"
        first = await _asks(console, "GET", path, {"limit": 2, "what": "receipt"})
        rest = await _asks(console, "GET", path, {"limit": 2, "cursor": first["cursor"]})
        assert sorted(one["id"] for page in (first, rest) for one in page["dead_letters"]) == ["r-0", "r-1", "r-2"]
        assert rest["cursor"] == ""
        ids = await ledger.dead_letters.ids(newest_first=True)
        none = Selection(reason="of none")
        assert await page_of(ledger.dead_letters, ids, none, 9, most=2) == ([], ids[1])  # it goes on behind that one
        assert await page_of(ledger.dead_letters, ids, none, 9, most=3) == ([], "")
        assert (await _asks(console, "GET", path + "/{id}", id="r-1"))["reason"] == "http 400"
        shown = await _asks(console, "POST", path + "/{id}/reveal", {"why": "asked"}, id="r-1")
        assert base64.b64decode(shown["raw"]).decode() == f"{TEXT} {CONSUMER}"
        assert (await console.record())[0] == "ada reveal r-1 done"
        dry = await _asks(console, "POST", path + "/replay", {"ids": ["r-0", "no"], "dry_run": True})
        assert [one["id"] for one in dry["results"]] == ["r-0", "no"]
        assert (await console.record())[0].startswith("ada dead-letter.replay 2 dead letters would replay")
        dropped = await _asks(console, "POST", path + "/drop", {"what": "receipt"})
        assert (len(dropped["results"]), dropped["more"]) == (3, False)
        assert await ledger.dead_letters.ids() == []


WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/status", {"heads": "201"}, 422, "heads"),
    ("GET", "/status", {"colour": "red"}, 422, "colour"),
    ("GET", "/status", [("heads", "1"), ("heads", "2")], 400, "heads"),
    ("GET", "/status", {"provider": "no"}, 404, "provider"),
    ("GET", "/status", {"channel": "no"}, 404, "channel"),
    ("GET", "/audit", {"since": "yesterday"}, 422, "since"),
    ("GET", "/audit", {"since": "2026-01-01T00:00:00"}, 422, "since"),
    ("GET", "/audit", {"limit": "1" * 99}, 422, "limit"),
    ("GET", "/messages", {"cursor": "x"}, 422, "cursor"),
    ("GET", "/messages", {"state": "lost"}, 422, "state"),
    ("GET", "/messages/no-such", {}, 404, ""),
    ("GET", "/messages/+16504660000", {}, 400, ""),
    ("GET", "/dead-letters", {"what": "parcel"}, 422, "what"),
    ("GET", "/dead-letters", {"cursor": "gone"}, 422, "cursor"),
    ("GET", "/dead-letters/none", {}, 404, ""),
    ("GET", "/nowhere", {}, 404, ""),
    ("POST", "/status", {}, 405, ""),
    ("POST", "/pauses", {"what": "weather", "name": "x"}, 422, "what"),
    ("POST", "/pauses", {"what": "channel"}, 422, "name"),
    ("POST", "/pauses", {"what": "channel", "name": "no"}, 404, "name"),
    ("POST", "/pauses", {"what": "channel", "name": CHANNEL, "until": "2020-01-01T00:00:00Z"}, 422, "until"),
    ("POST", "/pauses", {"what": "channel", "name": CHANNEL, "until": "9999-12-31T23:59:59Z"}, 422, "until"),
    ("POST", "/pauses", {"what": "conversation", "name": "no"}, 404, "name"),
    ("POST", "/messages/cancel", {}, 422, "ids"),
    ("POST", "/messages/cancel", {"ids": ["m"], "all": True}, 422, "ids"),
    ("POST", "/messages/cancel", {"ids": ["no-such"]}, 404, "ids"),
    ("POST", "/messages/cancel", {"channel": "no"}, 404, "channel"),
    ("POST", "/messages/cancel", {"ids": ["x"] * 1001}, 422, "ids"),
    ("POST", "/messages/cancel", {"all": True, "limit": 0}, 422, "limit"),
    ("POST", "/messages/cancel", ["all"], 422, "body"),
    ("POST", "/dead-letters/drop", {"all": True, "ids": ["x"]}, 422, "ids"),
    ("POST", "/dead-letters/none/reveal", {}, 404, ""),
]


async def test_what_is_wrong_is_named(redis: Redis) -> None:
    async with open_console(redis) as console:
        for method, path, given, status, field in WRONG:
            how = {"json": given} if method == "POST" else {"params": given}
            answer = await console.client.request(method, ROOT + path, **how)
            assert answer.status_code == status, (path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            found = answer.json()
            jsonschema.validate(found, document()["components"]["schemas"]["Problem"])
            assert field in [one["field"] for one in found.get("errors", [{"field": ""}])], (path, found)
            assert "16504660000" not in answer.text


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "application/json"}, b"{}", 422),
        ({"Content-Type": "application/json"}, b"{", 400),
        ({"Content-Type": "application/json"}, b"[" * 200_000, 400),
        ({"Content-Type": "application/json"}, b" " * (300 << 10), 413),
        ({"Content-Type": "text/plain"}, b"{}", 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"all=1", 415),
        ({}, b"{}", 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, b'{"all":true}', 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, b'{"all":true}', 403),
        ({"Content-Type": "application/json", "X-Nobody": "1"}, b'{"all":true}', 401),
    ],
)
async def test_another_page_cannot_act_through_a_browser(
    redis: Redis, headers: dict[str, str], content: bytes, status: int
) -> None:
    async with open_console(redis) as console:
        answer = await console.client.post(f"{ROOT}/messages/cancel", headers=headers, content=content)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert ("www-authenticate" in answer.headers) == (status == 401)
        assert await console.record() == []


# ---------------------------------------------------------------- who may do what


@pytest.mark.parametrize("role", list(Role))
async def test_each_action_is_allowed_and_refused_by_role(redis: Redis, role: Role) -> None:
    """Walks all of the table, pages and API. What is allowed may find nothing to do; what is not changes nothing."""
    async with open_console(redis, role) as console:
        wrong = []
        for (method, path), rule in sorted(TABLE.items()):
            at = path.replace("{ref}", "0" * 24).replace("{id}", "none").replace("{", "").replace("}", "")
            before = await redis.dbsize()
            if method == "GET":
                answer = await console.get(at)
            elif path.startswith("/api/"):
                answer = await console.client.post(at, json={})
            else:
                answer = await console.post(at)
            may = role >= rule.role
            if (answer.status_code == 403) == may or answer.status_code >= 500:
                wrong.append((method, path, str(role), answer.status_code))
            if not may:
                assert await redis.dbsize() == before
        assert wrong == []


async def test_a_token_asks_as_its_role(redis: Redis) -> None:
    async with open_console(redis) as console:
        store = console.context.ledger.console
        made = await store.make_token("robot", "viewer", 60, "root")
        assert made
    async with open_console(redis, ways=(Bearer(store),)) as console:
        headers = {"Authorization": f"Bearer {made[1]}"}
        assert (await console.client.get("/api/status", headers=headers)).status_code == 200
        refused = await console.client.post(f"{ROOT}/messages/cancel", headers=headers, json={"all": True})
        assert (refused.status_code, refused.json()["status"]) == (403, 403)
        page = await console.post("/sign-out", {"csrf_token": ""}, headers=headers)
        assert page.status_code == 403  # forms are of sessions
        for wrong in ("", "Bearer", "Bearer x", f"Basic {made[1]}", f"Bearer {made[1]}x"):
            assert (await console.client.get("/api/status", headers={"Authorization": wrong})).status_code == 401
        await store.revoke_token(made[0].id)
        assert (await console.client.get("/api/status", headers=headers)).status_code == 401
