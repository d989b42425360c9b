"""What the SMS provider sends to the bridge: statuses, and what a consumer wrote. Signed as Twilio signs.

https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import time
import uuid
from collections.abc import Mapping
from urllib.parse import parse_qs, urldefrag, urlencode

import aiohttp
import httpx

from sandbox.magic import Behaviour
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.world import World

WHO = "SMS provider"
ANSWER_LIMIT = 15.0
BETWEEN_TRIES = 0.5
FINAL = frozenset(("delivered", "undelivered", "failed", "canceled"))
_TWIML = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<Response\s*(/>|>\s*</Response>)\s*")


def sign(token: str, url: str, fields: Mapping[str, str]) -> str:
    """X-Twilio-Signature: base64 HMAC-SHA1 over the URL and the sorted names and values."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


class Callbacks:
    def __init__(self, world: World) -> None:
        self.world = world

    async def follow(self, sms: Sms, behaviour: Behaviour) -> None:
        """Walk the message through its statuses and tell the bridge each, in that order."""
        switch, config = self.world.switches.sms, self.world.config
        delay = config.status_delay if switch.status_delay is None else switch.status_delay
        for status in behaviour.statuses:
            if delay:
                await asyncio.sleep(delay)
            await self.tell(sms, status, behaviour.error_code)

    async def tell(self, sms: Sms, status: str, error_code: int | None) -> None:
        """Record the status and send the callback, where one was asked for."""
        world = self.world
        failed = status in ("undelivered", "failed")
        sms.statuses.append(status)
        if sms.status not in FINAL:
            sms.status, sms.error_code = status, error_code if failed else None
        sms.updated = time.time()
        world.tell("sms", sms)
        if not sms.callback_url or not world.switches.sms.callbacks:
            return
        account = world.config.twilio_account_sid
        fields = {
            "AccountSid": account,
            "ApiVersion": "2010-04-01",
            "From": sms.sender or world.config.sms_number,
            "MessageSid": sms.sid,
            "MessageStatus": status,
            "SmsSid": sms.sid,
            "SmsStatus": status,
            "To": sms.to,
        }
        if sms.service_sid:
            fields["MessagingServiceSid"] = sms.service_sid
        if failed and error_code is not None:
            fields["ErrorCode"] = str(error_code)
        answer, _ = await self._post(sms.callback_url, fields)
        sms.callbacks.append(answer)
        world.counts["sms.callbacks"] += 1

    async def write(self, sent: SentByConsumer) -> None:
        """Carry a consumer's message to the bridge, and check the answer that Twilio expects."""
        world = self.world
        fields = {
            "AccountSid": world.config.twilio_account_sid,
            "ApiVersion": "2010-04-01",
            "Body": sent.text,
            "From": sent.sender,
            "MessageSid": sent.sid,
            "NumMedia": "0",
            "NumSegments": str(measure(sent.text)[1]),
            "SmsMessageSid": sent.sid,
            "SmsSid": sent.sid,
            "SmsStatus": "received",
            "To": sent.to,
        }
        url = f"{world.config.bridge_url}/callbacks/{world.config.sms_provider}/inbound"
        status, body = await self._post(url, fields)
        sent.state = "taken" if status == 200 else "refused"
        sent.answer = str(status) if status else "no answer"
        if status == 200 and body.strip() and not _TWIML.fullmatch(body):
            sent.answer = "200, not TwiML"
            world.violation(WHO, "an inbound callback is answered with empty TwiML or nothing", body[:200].decode())
        world.tell("consumer", sent)

    async def _post(self, callback_url: str, fields: Mapping[str, str]) -> tuple[int, bytes]:
        """The bridge's last answer; (0, b"") is none. "#rc=2" on the URL asks for two more tries, as at Twilio."""
        world = self.world
        url, fragment = urldefrag(callback_url)
        public = world.config.public_url
        where = world.config.bridge_url + url.removeprefix(public) if public and url.startswith(public) else url
        body = urlencode(fields).encode()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": sign(world.config.twilio_auth_token, url, fields),
            "I-Twilio-Idempotency-Token": str(uuid.uuid4()),
        }
        override = parse_qs(fragment).get("rc", [""])[0]
        tries = max(world.config.callback_tries, 1 + int(override) if override.isdigit() else 1)
        status, answered = 0, b""
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(BETWEEN_TRIES * attempt)
            started = time.perf_counter()
            status, answered = 0, b""
            try:
                async with asyncio.timeout(ANSWER_LIMIT):
                    response = await world.client.post(where, content=body, headers=headers)
                status, answered = response.status_code, response.content
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError):
                pass
            path = url.partition("://")[2].partition("/")[2]
            world.exchange(WHO, False, "POST", f"/{path}", started, status, body, answered, "signed")
            if 200 <= status < 300:
                return status, answered
        if 400 <= status < 500:
            world.violation(WHO, "a callback that is signed right is taken", f"answered {status}")
        return status, answered
