"""The loop of an email on the sandbox's page, in a real browser; by hand, since it takes Chromium and half a minute.

    python -m tests.sandbox.in_a_browser FOLDER

An agent writes with a picture, the consumer answers with one as Gmail does, the agent replies with one, the consumer
answers as Outlook does; then mail that attacks its reader is opened. What the page shows is checked, and pictures of it
are written into FOLDER: wide and narrow, light and dark. Chromium is driven by its DevTools protocol.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.stack import EMAIL, Stack

PIXELS = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
INBOUND = {"addresses": ["care@company.com"], "authserv_id": "mail.sandbox.invalid", "reply_reference": "plus"}
WITHIN = 60.0  # seconds that anything may take
TITLE = "dcbridge sandbox"


class Page:
    """One page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            said = await self._socket.receive_json(timeout=WITHIN)
            if said.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(json.dumps(said["params"])[:400])
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])

    async def run(self, code: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, code: str, what: str) -> Any:
        deadline = time.monotonic() + WITHIN
        while time.monotonic() < deadline:
            if value := await self.run(code):
                return value
            await asyncio.sleep(0.1)
        raise AssertionError(f"{what}: not within {WITHIN:g} s; {self.errors}")

    async def attach(self, field: str, path: Path) -> None:
        document = await self.call("DOM.getDocument")
        node = await self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=f"#{field}")
        await self.call("DOM.setFileInputFiles", nodeId=node["nodeId"], files=[str(path)])

    async def write(self, form: str, **fields: str) -> None:
        """Fill in a form, and send it."""
        for name, value in fields.items():
            found = f"document.getElementById({json.dumps(name.replace('_', '-'))})"
            await self.run(f"{found}.value = {json.dumps(value)}; {found}.dispatchEvent(new Event('change'))")
        await self.run(f"document.getElementById('{form}').requestSubmit()")

    async def picture(self, path: Path, width: int, height: int, *, dark: bool) -> None:
        narrow = width < 600
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=narrow
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await asyncio.sleep(0.5)
        assert await self.run("document.documentElement.scrollWidth") <= width, "nothing stands out to the right"
        taken = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=narrow)
        await asyncio.to_thread(path.write_bytes, base64.b64decode(taken["data"]))


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[Page]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command = ["chromium", *options, f"--user-data-dir={profile}", "about:blank"]
        quiet = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet)
        try:
            async with aiohttp.ClientSession() as session:
                port = await asyncio.to_thread(_port, Path(profile, "DevToolsActivePort"))
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    [target] = [one for one in await answer.json() if one["type"] == "page"]
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    for method in ("Page.enable", "Runtime.enable", "Log.enable", "DOM.enable"):
                        await page.call(method)
                    await page.call("Page.navigate", url=url)
                    await page.until("document.getElementById('link-text')?.textContent === 'Live'", "the page is live")
                    yield page
        finally:
            process.terminate()
            await process.wait()


def _port(file: Path) -> str:
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        if file.exists() and (found := file.read_text().split()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError("the browser did not start")


BUBBLES = "[...document.querySelectorAll('#letters .bubble')].map((one) => one.innerText.split('\\n\\nhttp')[0])"
PICTURES = "[...document.querySelectorAll('#letters .bubble img')].filter((one) => one.naturalWidth > 0).length"


async def loop(page: Page, folder: Path, picture: Path) -> None:
    await page.run("document.getElementById('tab-email').click()")
    await page.attach("email-file", picture)
    text = "Dear Ana,\n\nyour parcel comes on Tuesday in the morning.\n\nKind regards\nJo"
    await page.write("email-form", email_to="ana@mail.com", email_subject="Your order 17", email_text=text)
    await _open(page, "mail", 1)
    await page.attach("mail-file", picture)
    await page.write("mail-form", mail_style="gmail", mail_text="Yes please, and this is the way.")
    await page.until(f"{BUBBLES}.length === 2 && {PICTURES} === 2", "the agent sees the answer and both pictures")
    await page.run("document.querySelector('#letters .link-like').click()")
    assert await page.run("document.getElementById('email-to').value") == "ana@mail.com"
    assert await page.run("document.getElementById('email-subject').value") == "Re: Your order 17"
    await page.attach("email-file", picture)
    await page.write("email-form", email_text="Thank you, then until Tuesday, and have a nice day.")
    await _open(page, "mail", 2)
    await page.write("mail-form", mail_style="outlook", mail_text="Until then!")
    await page.until(f"{BUBBLES}.length === 4", "the agent sees the second answer")
    await page.run("document.querySelectorAll('.cut').forEach((one) => { one.open = true; })")
    said = await page.run(BUBBLES)
    assert "Yes please, and this is the way." in said[1], said
    assert "Tuesday" not in said[1], said
    assert said[3].endswith("Until then!"), said
    for width, height in ((1440, 1000), (360, 800)):
        for dark in (False, True):
            name = f"loop-{width}-{'dark' if dark else 'light'}.png"
            await page.picture(folder / name, width, height, dark=dark)


async def _open(page: Page, kind: str, count: int) -> None:
    """The newest mail of a kind, once there are so many."""
    there = f"document.querySelectorAll('#mails > details.{kind}').length === {count}"
    await page.until(there, "the mail is in the consumer's mailbox")
    await page.run(f"document.querySelector('#mails > details.{kind} > summary').click()")
    await page.until(f"document.querySelector('#mails > details.{kind} .letter') !== null", "it is open")


async def attack(page: Page) -> None:
    await page.write("mail-form", mail_style="hostile", mail_text="Look at this.")
    await page.until(f"{BUBBLES}.length === 5", "the agent sees its text")
    await page.run("document.querySelector('#mails > details.written > summary').click()")
    frame = "document.querySelector('#mails > details.written iframe')"
    shown = await page.until(f"{frame}?.contentDocument?.body?.innerText", "its HTML is shown")
    assert "Look at this." in shown
    await asyncio.sleep(1)
    titles = await page.run(f"[document.title, {frame}.contentDocument.title, location.pathname]")
    assert titles == [TITLE, "", "/"], titles
    assert await page.run(f"{frame}.contentDocument.querySelectorAll('script, img, form, iframe, svg').length") == 0


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    parts = ("sandbox", "service", "worker", "mail-in")
    with tempfile.TemporaryDirectory(prefix="dcbridge-test-") as data:
        picture = Path(data, "map.png")
        picture.write_bytes(base64.b64decode(PIXELS))
        with Stack(Path(data, "stack"), channels={EMAIL: {"inbound": INBOUND}}, parts=parts) as stack:

            async def walk() -> None:
                async with browser(f"http://127.0.0.1:{stack.ports.page}/") as page:
                    await loop(page, folder, picture)
                    await attack(page)
                    assert page.errors == [], page.errors

            asyncio.run(walk())
            mails = stack.mails_to("ana@mail.com")
            headers = [dict(mail["headers"]) for mail in mails]
            assert headers[1]["References"].split()[0] == headers[0]["Message-ID"], "one thread in her mail program"
            assert stack.violations() == []
    sys.stdout.write(f"the loop works; pictures are in {folder}\n")


if __name__ == "__main__":
    main()
