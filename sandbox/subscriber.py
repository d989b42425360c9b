"""A subscriber of interaction events: POST /subscriber. Checks hard, and can be slow, failing, dead or gone.

Signatures as Standard Webhooks has them:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.connection import reset
from sandbox.records import HeardEvent
from sandbox.world import World

WHO = "Subscriber"
CLOCKS_DIFFER = 300.0  # seconds that the specification lets a timestamp be off
_STATUSES = {"well": 204, "slow": 204, "failing": 500, "throttling": 429, "gone": 410}


class Subscriber:
    """The endpoint. One of these for each sandbox."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def post(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await request.body()
        broken = self._broken_rule(request, body)
        mode = self.world.switches.subscriber.mode
        status = 401 if broken else _STATUSES.get(mode, 0)
        if broken:
            self.world.violation(WHO, broken, request.url.path)
        heard = self._note(request.headers.get("webhook-id", ""), body, status)
        if mode == "slow" and not broken:
            await self._take_long(heard)
        check = "" if broken or not self.world.config.subscriber_secret else "signed"
        self.world.exchange(WHO, True, "POST", request.url.path, started, status, body, b"", check)
        heard.status = status
        self.world.tell("event", heard)
        if not status:
            await reset(request)
        headers = {"Retry-After": str(self.world.config.retry_after)} if status == 429 else None
        return Response(status_code=status or 500, headers=headers)

    async def _take_long(self, heard: HeardEvent) -> None:
        """The page shows at once what has come; whoever asked may be gone before there is an answer."""
        heard.open += 1
        self.world.tell("event", heard)
        try:
            await asyncio.sleep(self.world.switches.subscriber.delay)
        finally:
            heard.open -= 1

    def _note(self, webhook_id: str, body: bytes, status: int) -> HeardEvent:
        """One record for all attempts of one event."""
        world = self.world
        known = world.heard.get(webhook_id)
        if known is None:
            known = HeardEvent(world.next_seq(), time.time(), webhook_id, *_facts(body))
            world.keep_heard(known)
        elif 200 <= known.status < 300:
            world.counts["events.repeated"] += 1
        known.attempts += 1
        world.counts[f"events.{status}"] += 1
        return known

    def _broken_rule(self, request: Request, body: bytes) -> str:
        """The rule of the specification that this request breaks, or ""."""
        webhook_id = request.headers.get("webhook-id", "")
        stamp = request.headers.get("webhook-timestamp", "")
        if not webhook_id or "." in webhook_id:
            return "webhook-id is there and holds no full stop"
        if not stamp.isdigit() or abs(time.time() - int(stamp)) > CLOCKS_DIFFER:
            return "webhook-timestamp is the time of the attempt"
        if not _facts(body)[0]:
            return "the body is JSON with a type"
        if not self.world.config.subscriber_secret:
            return ""
        key = _key(self.world.config.subscriber_secret)
        signed = f"{webhook_id}.{stamp}.".encode() + body
        wanted = b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
        given = request.headers.get("webhook-signature", "").encode().split(b" ")
        return "" if any(hmac.compare_digest(wanted, one) for one in given) else "webhook-signature is right"


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return secret.encode()


def _facts(body: bytes) -> tuple[str, str, int]:
    """(type, interaction, number in the interaction), as far as the body tells."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", "", 0
    value = value if isinstance(value, dict) else {}
    data = value.get("data")
    data = data if isinstance(data, dict) else {}
    number = data.get("sequence")
    return str(value.get("type", "")), str(data.get("interactionId", "")), number if isinstance(number, int) else 0
