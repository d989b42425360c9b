"""What Digital Channels sends: an agent's message and interaction events, signed, timed and redelivered.

The bodies are those of contract/third-party-messaging.txt and contract/interactions-webhook.txt. A
redelivery carries the same bytes and signature; its trace id is new.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx
import orjson

from dcbridge.genesys import signature
from sandbox import open_messaging
from sandbox.records import AgentMessage, Interaction
from sandbox.world import World

WHO = "Digital Channels"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bridge answered; status 0 is no answer within the limit or no connection."""

    status: int
    body: bytes
    ms: float
    silent: bool = False  # connected, and said nothing in time


def rich_body(world: World, channel: str, to: str, text: str, message_id: str | None, media_id: str) -> dict[str, Any]:
    """The shape of a RichMedia message is not published: this one names its file where others have an image."""
    body = sms_body(world, channel, to, text, message_id)
    return body | {"type": "RichMedia", "content": [{"type": "image", "url": f"genesys://nexus/{media_id}"}]}


def sms_body(world: World, channel: str, to: str, text: str, message_id: str | None) -> dict[str, Any]:
    return {
        "channel": {
            "id": channel,
            "type": "sms",
            "from": {"id": channel},
            "to": {"id": to},
            "messageId": message_id or f"{int(time.time() * 1000)}-{world.next_seq()}",
        },
        "type": "Text",
        "text": text,
    }


def email_body(
    world: World,
    to: list[dict[str, str]],
    subject: str,
    text: str | None,
    html: str | None,
    reply_to: dict[str, str] | None,
    message_id: str | None,
    channel_id: str = "",
) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "id": channel_id or world.config.email_channel,
        "type": "email",
        "from": {"id": world.config.email_sender, "name": "Contact centre"},
        "to": to,
        "messageId": message_id or str(uuid.uuid4()),
    }
    if reply_to is not None:
        channel["context"] = {"replyTo": reply_to}
    content = [{"type": kind, "text": body} for kind, body in (("text", text), ("html", html)) if body is not None]
    return {"channel": channel, "type": "Email", "subject": subject, "content": content}


def expect(world: World, body: dict[str, Any]) -> AgentMessage:
    """Remember a message before it is sent, so that its receipts are known.

    Raises KeyError, TypeError or AttributeError where `body` is not shaped like a message.
    """
    channel = body["channel"]
    to = channel["to"] if isinstance(channel["to"], list) else [channel["to"]]
    text = body.get("text") or "\n".join(part["text"] for part in body.get("content", ()) if part["type"] == "text")
    message = AgentMessage(
        world.next_seq(),
        time.time(),
        channel["id"],
        channel["messageId"],
        body["type"],
        channel["from"]["id"],
        tuple(address["id"] for address in to),
        text,
        body.get("subject", ""),
    )
    world.keep_agent(message)
    world.counts["agent"] += 1
    return message


async def deliver(world: World, message: AgentMessage, body: bytes) -> None:
    """Send the webhook until it is taken, refused or out of attempts; notes each rule that the bridge breaks."""
    for attempt in range(world.config.retry_attempts + 1):
        if attempt:
            world.counts["redeliveries"] += 1
            await asyncio.sleep(world.config.retry_timeout)
        answer = await _post_message(world, message, body)
        message.attempts, message.ms = attempt + 1, answer.ms
        if answer.silent:
            world.violation(WHO, f"a webhook is answered within {world.config.answer_limit:g} s", message.message_id)
        message.state = _judge(world, message, answer)
        if message.state == "accepted":
            world.counts["copies"] += len(message.recipients)
        world.tell("agent", message)
        if message.state != "sending":
            return
    message.state = "given up"
    world.tell("agent", message)


async def _post_message(world: World, message: AgentMessage, body: bytes) -> Answer:
    """As the channel's platform does."""
    cloud = world.config.cloud
    if cloud is None or message.channel_id != cloud.integration:
        return await post(world, "messages", world.config.messages_endpoint, body)
    headers = {signature.HEADER: None, "X-Hub-Signature-256": open_messaging.signed(cloud.webhook_secret, body)}
    return await post(world, "open-messaging", cloud.endpoint, body, headers, who=open_messaging.WHO)


def _judge(world: World, message: AgentMessage, answer: Answer) -> str:
    """The message's state after this answer; "sending" asks for a redelivery."""
    if answer.status == 0 or answer.status >= 500:
        return "sending"
    if not 200 <= answer.status < 300:
        world.violation(WHO, "a webhook with a valid signature is answered 2XX or 5XX", f"answered {answer.status}")
        return "refused"
    if answer.status != 200:
        world.violation(WHO, "a taken webhook is answered 200", f"answered {answer.status}")
    try:
        value = orjson.loads(answer.body)
        named = value.get("messageId") if isinstance(value, dict) else None
    except orjson.JSONDecodeError:
        named = None
    if named is None:
        world.violation(WHO, "the answer names the messageId", message.message_id)
    elif named != message.message_id:
        world.violation(WHO, "the answer names the messageId that was sent", f"{message.message_id} became {named}")
    return "accepted"


async def announce(world: World, interaction: Interaction, body: bytes) -> None:
    """Send the Interactions webhook until it is answered 200 or out of attempts."""
    for attempt in range(world.config.retry_attempts + 1):
        if attempt:
            world.counts["redeliveries"] += 1
            await asyncio.sleep(world.config.retry_timeout)
        answer = await post(world, "interactions", world.config.interactions_endpoint, body)
        interaction.attempts = attempt + 1
        interaction.state = "taken" if answer.status == 200 else "sending"
        if answer.status and answer.status != 200 and answer.status < 500:
            world.violation(WHO, "the Interactions webhook is answered 200", f"answered {answer.status}")
        world.tell("interaction", interaction)
        if interaction.state == "taken":
            return
    interaction.state = "given up"
    world.tell("interaction", interaction)


async def post(
    world: World, webhook: str, endpoint: str, body: bytes, headers: dict[str, str | None] | None = None,
    who: str = WHO,
) -> Answer:  # fmt: skip
    """One delivery to /webhooks/<webhook>/<endpoint>. `headers` replace the usual ones; None leaves one out."""
    path = f"/webhooks/{webhook}/{endpoint}"
    usual: dict[str, str | None] = {
        "Content-Type": "application/json",
        signature.HEADER: signature.sign(world.config.app_secret.encode(), body),
        "X-B3-TraceId": str(uuid.uuid4()),
    }
    for name, value in (headers or {}).items():
        for known in [key for key in usual if key.lower() == name.lower()]:
            del usual[known]
        usual[name] = value
    written = {name: value for name, value in usual.items() if value is not None}
    started = time.perf_counter()
    status, answered, silent = 0, b"", False
    try:
        async with asyncio.timeout(world.config.answer_limit):
            response = await world.client.post(world.config.bridge_url + path, content=body, headers=written)
        status, answered = response.status_code, response.content
    except (TimeoutError, httpx.TimeoutException):
        # httpx-aiohttp names a reset after the request a connect timeout; only a full wait is silence.
        silent = time.perf_counter() - started >= world.config.answer_limit * 0.95
    except (httpx.HTTPError, aiohttp.ClientError, OSError):
        pass
    ms = (time.perf_counter() - started) * 1000
    world.exchange(who, False, "POST", path, started, status, body, answered, "signed")
    return Answer(status, answered, ms, silent)
