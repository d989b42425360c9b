"""Chromium before a console before a whole bridge: real processes, with messages in every state.

Without Playwright, Chromium or axe-core these tests are skipped; `make browser` has all three. Screenshots are
written to DCBRIDGE_SHOTS, by default build/browser/shots/.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.magic import NUMBERS
from tests.stack import ROOT, Stack, quiet_port, until

BUILD = ROOT / "build" / "browser"
SHOTS = Path(os.environ.get("DCBRIDGE_SHOTS", BUILD / "shots"))
AXE = Path(os.environ.get("DCBRIDGE_AXE", BUILD / "node_modules" / "axe-core" / "axe.min.js"))
CANARY = "<script>alert('canary')</script>"


@dataclass(frozen=True, slots=True)
class World:
    """What is there to be looked at. `mrs_x`: the number of a consumer with whom a conversation waits."""

    stack: Stack
    url: str
    mrs_x: str
    waiting: str  # messageId of the last of it

    def path(self, path: str) -> str:
        return self.url + path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser of Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: make browser")
    program = os.environ.get("DCBRIDGE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no chromium on the PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """The program of axe-core."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make browser")
    return AXE.read_text()


@pytest.fixture(scope="module")
def world(chromium: Any) -> Iterator[World]:
    """Delivered, failed and waiting messages, a consumer's answer, a dead letter; the provider is paused."""
    port = quiet_port()
    with Stack(settings={"DCBRIDGE_CONSOLE_PORT": str(port)}) as stack:
        sent = [stack.agent_writes(stack.new_number(), CANARY) for _ in range(8)]
        sent += [stack.agent_writes(one.number.lstrip("+")) for one in NUMBERS[:6]]
        mrs_x = stack.new_number()
        sent.append(stack.agent_writes(mrs_x, CANARY))
        stack.receipt(sent[-1])
        stack.sandbox("consumer/sms", {"from": f"+{mrs_x}", "text": CANARY})
        stack.webhook(b'{"type":"Text","channel":{"id":"0123456789"}}')
        until(lambda: all(stack.entry(one).ended_at for one in sent[:8]), "the first are delivered")
        paused = stack.command(
            "pause", "provider", "twilio", "--why", f"outage at the carrier {CANARY}", "--by", "anna"
        )
        assert paused.returncode == 0, paused.stderr
        waiting = [stack.agent_writes(mrs_x, CANARY) for _ in range(3)]
        stack.run("console", [sys.executable, "-m", "dcbridge", "console", "serve", "--dev"])
        url = f"http://127.0.0.1:{port}"
        until(lambda: _ready(stack, f"{url}/readyz"), "the console is ready")
        yield World(stack, url, mrs_x, waiting[-1])


def _ready(stack: Stack, url: str) -> bool:
    assert stack.processes["console"].poll() is None, stack.said("console")[-3000:]
    try:
        return stack.client.get(url, timeout=2.0).status_code == 200
    except OSError:
        return False
    except Exception as error:  # httpx has a tree of its own
        return not type(error).__module__.startswith("httpx")
