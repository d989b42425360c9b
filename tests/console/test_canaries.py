"""What others write is shown as text: markup in every field that a stranger of the installation can fill."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from redis.asyncio import Redis

from dcbridge.console.access import TABLE
from dcbridge.console.context import Role
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.fields import Kind
from dcbridge.messages import message_ref
from tests.console.running import As, open_console
from tests.ledger.ledger_bench import Bench

CANARY = "<img src=x onerror=alert(1)>\"'><svg/onload=alert(2)>{{7*7}}"
ATTRIBUTE = 'x" onmouseover=alert(3) y="'
CHANNEL = "0123456789"


class _Seen(HTMLParser):
    """Elements that no page of ours has, and attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name.startswith("on") or name == "style" or (value or "").lower().strip().startswith("javascript:"):
                self.wrong.append(f"{tag} {name}")
        named = dict(attrs)
        if tag in ("img", "iframe", "object", "embed", "base") or (tag == "script" and not named.get("src")):
            self.wrong.append(tag)


def _wrong(html: str) -> list[str]:
    seen = _Seen()
    seen.feed(html)
    return seen.wrong


def test_the_parser_sees_what_would_run() -> None:
    assert _wrong(f"<p>{CANARY}</p>") == ["img onerror", "img", "svg onload"]
    assert _wrong(f'<p title="{ATTRIBUTE}">') == ["p onmouseover"]
    assert _wrong("<a href=' javascript:x'>") == ["a href"]


async def _filled(redis: Redis) -> dict[str, str]:
    """A ledger whose every text is a canary; the ids of what is in it."""
    bench = Bench(redis)
    ledger = bench.ledger
    for number, name in enumerate((CANARY, ATTRIBUTE)):
        await bench.put(f"m-{number} {name}", channel_id=CHANNEL, sender_id=name, to_id=name, trace_id=name)
        await bench.put(f"s-{number}", channel_id=name)  # a channel that only webhooks name
        await ledger.dead_letters.add(f"r-{number}", Kind.RECEIPT, name, name, name.encode())
        await ledger.dead_letters.add(f"x-{number}", name, CHANNEL, name, name.encode())  # type: ignore[arg-type]
        await ledger.controls.note(name, name, name, name, name)
        await ledger.controls.begin(Target(What.CHANNEL, name), by=name, why=name)
        await ledger.console.make_token(name, "viewer", 60, name)
    await ledger.controls.begin(Target(What.PROVIDER, "twilio"), by=CANARY, why=ATTRIBUTE)
    ref = await bench.sending("retried", channel_id=CHANNEL, to_id="16504660001")
    await ledger.messages.retry(ref, "mine", 60.0, lane_limit=600.0, reason=305, code=f"{CANARY} {ATTRIBUTE}")
    sent = await bench.sending("sent", channel_id=CHANNEL, to_id="16504660002")
    await ledger.messages.submitted(sent, "mine", 1, 1, CANARY, delivered=False, confirm_within=60.0, sender=ATTRIBUTE)
    failed = await bench.sending("failed", channel_id=CHANNEL, to_id="16504660003")
    await ledger.messages.fail(failed, "mine", 301, f"{CANARY} {ATTRIBUTE}")
    return {"ref": message_ref(CHANNEL, f"m-0 {CANARY}"), "retry": ref, "sent": sent, "failed": failed}


async def test_nothing_that_others_write_runs(redis: Redis) -> None:
    ids = await _filled(redis)
    async with open_console(redis, ways=(As(Role.ADMIN, CANARY),)) as console:
        shown = 0
        for (method, path), _rule in sorted(TABLE.items()):
            if path.startswith("/api/"):
                continue
            for ref in ids.values() if "{ref}" in path else ["r-0"]:
                at = re.sub(r"\{\w+(:\w+)?\}", ref, path)
                given = {"q": CANARY, "id": CANARY, "name": ATTRIBUTE, "why": CANARY, "channel": ATTRIBUTE}
                answer = await (console.get(at, params=given) if method == "GET" else console.post(at, given))
                assert answer.status_code < 500, (method, path)
                assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
                if answer.headers.get("content-type", "").startswith("text/html"):
                    assert _wrong(answer.text) == [], (method, path)
                    shown += "&lt;img src=x onerror" in answer.text
        for path in (f"/{CANARY}", "/sign-in?next=" + CANARY, "/signed-out"):
            assert _wrong((await console.get(path)).text) == []
    assert shown > 3, "the canaries are there to be seen"
