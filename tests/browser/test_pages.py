"""Every page, of all that the console has: at three widths and in the dark, by axe-core, and without JavaScript."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from dcbridge.console.app import rules
from tests.browser.conftest import SHOTS, World
from tests.stack import until

LOOKS = [(1440, "light"), (1440, "dark"), (768, "light"), (360, "light")]
NARROWEST = 320


def _is_page(path: str) -> bool:
    return not path.startswith("/api") and not re.search(r"\.(json|ya?ml|csv|txt)$|/export/", path)


PATHS = sorted({rule.path for rule in rules() if rule.method == "GET" and _is_page(rule.path)})


def _address(world: World, path: str) -> str | None:
    """An example of a page: of one with a name in it, the first link to such a one on the pages before it."""
    if "{" not in path:
        return path
    ref = world.stack.ref(world.waiting)
    known = {"/messages/{ref}": f"/messages/{ref}"}
    if path == "/runs/{id}":
        return _run(world)
    if path in known:
        return known[path]
    wanted = re.compile(re.sub(r"\\\{\w+\\\}", '[^/?#"]+', re.escape(path)))
    for place in _places(world, path):
        page = world.stack.client.get(world.path(place)).text
        for href in re.findall(r'href="(/[^"#?]*)', page):
            if wanted.fullmatch(href) and href not in PATHS:
                return str(href)
    return None


def _run(world: World) -> str:
    """Of a cancellation that finds nothing: no email was sent."""
    page = world.stack.client.get(world.path("/messages/cancel?channel=company.com")).text
    token = re.findall(r'name="csrf_token" value="([^"]+)"', page)[0]
    form = {"csrf_token": token, "states": "waiting", "channel": "company.com", "before": "2026-01-01", "why": "a test"}
    answer = world.stack.client.post(world.path("/messages/cancel"), data=form, headers={"Origin": world.url})
    assert answer.status_code == 303, answer.text
    address = str(answer.headers["location"])
    until(lambda: "No message matched." in world.stack.client.get(world.path(address)).text, "the run has ended")
    return address


def _places(world: World, path: str) -> list[str]:
    parent = path.partition("/{")[0]
    if path.startswith("/tasks/"):  # what the consumer wrote is in the conversation
        page = world.stack.client.get(world.path(f"/messages/{world.stack.ref(world.waiting)}")).text
        return re.findall(r'href="(/conversations/[0-9a-f.]+)"', page)
    return [parent, f"/messages/{world.stack.ref(world.waiting)}", "/messages", "/conversations", "/dead-letters", "/"]


@pytest.mark.parametrize("path", PATHS)
def test_a_page_at_every_width(path: str, chromium: Any, world: World, axe: str) -> None:
    address = _address(world, path)
    if address is None:
        pytest.skip(f"nothing links to a {path} here")
    name = quote(path.strip("/").replace("/", "-"), safe="-") or "overview"
    for width, scheme in LOOKS:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
        )
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda said, errors=errors: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
        answer = page.goto(world.path(address))
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SHOTS / f"{name}-{width}-{scheme}.png"), full_page=True)
        assert answer.status == 200, (address, answer.status)
        assert page.locator("main h1").count() == 1
        _fits(page, address, width)
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        told = [
            f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}" for one in found
        ]
        assert told == [], f"{address} at {width} {scheme}"
        assert errors == []
        if width == 360:
            page.set_viewport_size({"width": NARROWEST, "height": 900})
            _fits(page, address, NARROWEST)
        context.close()


def _fits(page: Any, address: str, width: int) -> None:
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"{address} is {wide} wide on a screen of {width}"


@pytest.mark.parametrize("path", [path for path in PATHS if "{" not in path])
def test_a_page_is_read_without_javascript(path: str, chromium: Any, world: World) -> None:
    """Its headings and its rows are the same, and no canary runs with it."""
    told = []
    for enabled in (False, True):
        context = chromium.new_context(java_script_enabled=enabled)
        page = context.new_page()
        page.on("dialog", lambda dialog: pytest.fail(f"a canary ran: {dialog.message}"))
        page.goto(world.path(path))
        told.append(page.locator("main h1, main h2, main thead").all_inner_texts())
        context.close()
    assert re.sub(r"\d+", "", str(told[0])) == re.sub(r"\d+", "", str(told[1]))
    assert told[0]
