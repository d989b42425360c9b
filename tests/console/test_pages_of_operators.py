"""Dead letters, channels, providers, subscribers, events, workers, signature trouble and audit, as pages."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from dcbridge.console.context import Role
from tests.console.filled import CANARY, ESCAPED, EVENT, OWN, SECRET_TEXT, SMS, fill, unreadable
from tests.console.running import open_console

SECRETS = ("x" * 32, "y" * 32, "QUFBQUFB")  # of the example's environment, and its file
PAGES = (
    "/dead-letters", f"/dead-letters?what=receipt&reason={CANARY}", "/dead-letters/l-0", "/dead-letters/runs/none",
    "/channels", f"/channels?q={CANARY}", f"/channels/{SMS}", "/channels/company.com",
    "/providers", "/providers/twilio", "/providers/mail", "/subscribers", "/subscribers/crm",
    "/events", f"/events?interaction={CANARY}", f"/events/{EVENT}", "/workers", "/signatures",
    "/audit", f"/audit?by={CANARY}", "/audit?since=nonsense",
)  # fmt: skip
MOST = 400  # commands of one page with this little in Redis; most of it is the script of the books and the overview


class Run(HTMLParser):
    """What a browser would run, or fetch from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def of(self, page: str) -> list[str]:
        self.feed(page)
        return self.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("img", "style", "iframe", "object") or (
            tag == "script" and not (given.get("src") or "").startswith("/static/")
        ):
            self.found.append(tag)
        self.found += [name for name in given if name.startswith("on") or name == "style"]
        self.found += [
            f"{name}={value}"
            for name, value in attrs
            if name in ("href", "src", "action", "formaction") and not re.match(r"[/#?]|data:,$", value or "")
        ]


async def commands(redis: Redis) -> int:
    return int((await cast(Any, redis.info("stats")))["total_commands_processed"])


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
async def test_no_page_shows_a_secret_a_text_or_what_a_browser_would_run(redis: Redis, role: Role) -> None:
    async with open_console(redis, role, more=OWN) as console:
        await fill(console.context)
        for path in PAGES:
            before = await commands(redis)
            answer = await console.get(path)
            assert await commands(redis) - before < MOST, path
            assert answer.status_code == (404 if "runs" in path else 422 if "nonsense" in path else 200), path
            assert Run().of(answer.text) == [], path
            for secret in (*SECRETS, SECRET_TEXT):
                assert secret not in answer.text, path
        assert ESCAPED in (await console.get("/audit")).text


async def test_empty_pages_say_what_to_do(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        for path, words in (
            ("/dead-letters", "There are no dead letters"),
            ("/events", "There are no events yet"),
            ("/signatures", "No signature trouble"),
            ("/audit", "Nothing is recorded yet"),
            ("/workers", "No worker is running"),
            ("/subscribers", "crm"),
        ):
            answer = await console.get(path)
            assert (answer.status_code, words in answer.text) == (200, True), path


async def test_what_is_not_there_is_404(redis: Redis) -> None:
    async with open_console(redis) as console:
        for path in (
            "/dead-letters/none", "/channels/none", "/providers/none", "/subscribers/none", "/events/none",
            "/audit/export/exe",
        ):  # fmt: skip
            assert (await console.get(path)).status_code == 404, path


async def test_a_viewer_sees_no_button_and_an_operator_sees_no_drop(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER, more=OWN) as console:
        await fill(console.context)
        letter = await unreadable(console.context)
        for path in (*PAGES, f"/dead-letters/{letter}"):
            posts = re.findall(r'<form method="post" action="([^"]+)"', (await console.get(path)).text)
            assert [one for one in posts if not one.startswith(("/messages/find", "/dead-letters/replay"))] == [], path
            assert '<button type="submit" class="danger"' not in (await console.get(path)).text, path
    async with open_console(redis, Role.OPERATOR, more=OWN) as console:
        for path in (f"/dead-letters/{letter}", "/dead-letters", "/workers"):
            shown = (await console.get(path)).text
            assert "/drop" not in shown, path
            assert "/mend" not in shown, path
            assert "/drain" not in shown, path
        assert f'action="/dead-letters/{letter}/reveal"' in (await console.get(f"/dead-letters/{letter}")).text


async def test_the_configuration_is_shown_as_loaded(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        shown = unescape((await console.get("/providers/twilio")).text)
        assert "<dt><code>auth_token</code></dt><dd>set</dd>" in shown
        assert "<dt><code>account_sid</code></dt><dd>AC00000000000000000000000000000000</dd>" in shown
        shown = unescape((await console.get(f"/channels/{SMS}")).text)
        assert "<dt><code>outcome_unknown</code></dt><dd>fail</dd>" in shown
        assert "<dt><code>secrets</code></dt><dd>1 set</dd>" in shown
