"""Digital Channels' side of POST /nexus/v3/channels/{channelId}/messages: checks hard, answers as documented.

A request is refused as a whole: nothing of a batch is applied when one message in it is wrong.
Refusals: 401 signature, 403 x-ccid, 404 channel, 400 with the rule that was broken.

A receipt may be about a message that was not sent from here: a webhook that somebody posted by hand, or one from before
a restart or a reset. The real one knows all of those, so it is taken, kept as `unseen` and counted.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.genesys import signature
from sandbox import consumer_mail, files
from sandbox.connection import reset, wait_for_disconnect
from sandbox.records import UNSEEN, AgentMessage, Receipt, SeenByAgent
from sandbox.world import World

WHO = "Digital Channels"
STATUSES = ("Delivered", "Removed", "Failed")
REASON_CODES = (305, 310, 350, 500, 510, 512, 520, 530)


class BrokenRuleError(Exception):
    """The request breaks the contract; carries the HTTP status and the rule."""

    def __init__(self, status: int, rule: str) -> None:
        super().__init__(rule)
        self.status = status
        self.rule = rule


@dataclass(frozen=True, slots=True)
class GivenText:
    sender: str
    to: str
    text: str
    parts: dict[str, str] = field(default_factory=dict)  # of an email


@dataclass(frozen=True, slots=True)
class GivenReceipt:
    message_id: str
    sender: str
    recipient: str
    status: str
    reasons: list[dict[str, Any]]


class Messages:
    """The endpoint. One of these for each sandbox."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def post(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await request.body()
        switch = self.world.switches.digital_channels
        mode, delay = switch.mode, switch.delay
        if mode != "ok":
            mode = switch.take()
        if mode == "silent":
            self._note(request, started, 0, body, b"", "told to be silent")
            await wait_for_disconnect(request)
            return Response(status_code=500)
        if mode == "slow":
            await asyncio.sleep(delay)
        if mode == "500" or (mode == "refuse_text" and b'"Text"' in body):
            status = 500 if mode == "500" else 400
            answer = error(status, "told to fail")
            self._note(request, started, status, body, answer, "told to fail")
            return Response(answer, status, media_type="application/json")
        try:
            answer, status = self._apply(request, body, mode), 200
        except BrokenRuleError as broken:
            answer, status = error(broken.status, broken.rule), broken.status
            self.world.violation(WHO, broken.rule, f"answered {broken.status}")
        if mode == "late":
            await asyncio.sleep(delay)
        if mode == "lost_answer":
            self._note(request, started, 0, body, b"", "told to lose the answer")
            await reset(request)
            return Response(status_code=500)
        self._note(request, started, status, body, answer, "" if status == 401 else "signature")
        return Response(answer, status, media_type="application/json")

    def _note(self, request: Request, started: float, status: int, body: bytes, answer: bytes, check: str) -> None:
        self.world.exchange(WHO, True, request.method, request.url.path, started, status, body, answer, check)

    def _apply(self, request: Request, body: bytes, mode: str) -> bytes:
        channel = request.path_params["channel_id"]
        check_caller(self.world, request, channel, body)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as wrong:
            raise BrokenRuleError(400, "the body is JSON") from wrong
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            self.world.violation(WHO, "Content-Type is application/json")
        if not isinstance(value, dict) or not isinstance(value.get("messages"), list) or not value["messages"]:
            raise BrokenRuleError(400, "messages is a non-empty list")
        self._extras(value, ("messages",), "")
        if mode == "refuse_batch" and len(value["messages"]) > 1:
            raise BrokenRuleError(400, "told to refuse more than one message in a request")
        read = [self._read(channel, message, f"messages[{at}]") for at, message in enumerate(value["messages"])]
        ids: list[str] = []
        for one in read:
            if isinstance(one, GivenText):
                ids.append(self.note_seen(channel, one))
            else:
                self.note_receipt(channel, one)
        return self._answer(ids)

    def _read(self, channel_id: str, value: object, where: str) -> GivenText | GivenReceipt:
        message = an_object(value, where)
        channel = an_object(message.get("channel"), f"{where}.channel")
        sender = self._address(channel.get("from"), f"{where}.channel.from")
        to = self._address(channel.get("to"), f"{where}.channel.to")
        kind = message.get("type")
        if kind == "Text":
            self._extras(message, ("channel", "type", "text"), f"{where}.")
            self._extras(channel, ("from", "to"), f"{where}.channel.")
            text = message.get("text")
            if not isinstance(text, str) or not text:
                raise BrokenRuleError(400, f"{where}.text is a non-empty string")
            if self.world.channels[channel_id] == "sms" and to != channel_id:
                self.world.violation(WHO, "a consumer's SMS goes to the channel's id", f"{where}.channel.to.id is {to}")
            return GivenText(sender, to, text)
        if kind == "Email":
            return self._email(channel_id, message, channel, sender, to, where)
        if kind == "Receipt":
            self._extras(message, ("channel", "type", "status", "reasons"), f"{where}.")
            self._extras(channel, ("from", "to", "messageId"), f"{where}.channel.")
            return self._read_receipt(channel_id, message, channel, sender, to, where)
        raise BrokenRuleError(400, f"{where}.type is Text, Email or Receipt")

    def _email(
        self, channel_id: str, message: dict[str, Any], channel: dict[str, Any], sender: str, to: str, where: str
    ) -> GivenText:
        """What a consumer's email would look like after the documented webhook of an agent's: nothing documents it."""
        if self.world.channels[channel_id] != "email" or self.world.switches.digital_channels.emails == "refuse":
            raise BrokenRuleError(400, f"{where}.type Email is not taken from this channel")
        self._extras(message, ("channel", "type", "subject", "content"), f"{where}.")
        self._extras(channel, ("from", "to"), f"{where}.channel.")
        content = message.get("content")
        if not isinstance(content, list) or not content:
            raise BrokenRuleError(400, f"{where}.content is a non-empty list")
        parts = {}
        for at, part in enumerate(content):
            one = an_object(part, f"{where}.content[{at}]")
            if one.get("type") not in ("text", "html") or not isinstance(one.get("text"), str) or not one["text"]:
                raise BrokenRuleError(400, f"{where}.content[{at}] has a type, text or html, and a non-empty text")
            parts[one["type"]] = one["text"]
        return GivenText(sender, to, "\n\n".join(filter(None, (message.get("subject"), parts.get("text")))), parts)

    def _read_receipt(
        self, channel_id: str, value: dict[str, Any], channel: dict[str, Any], sender: str, to: str, where: str
    ) -> GivenReceipt:
        status = value.get("status")
        if status not in STATUSES:
            raise BrokenRuleError(400, f"{where}.status is one of {', '.join(STATUSES)}")
        message_id = channel.get("messageId")
        if not isinstance(message_id, str) or not message_id:
            raise BrokenRuleError(400, f"{where}.channel.messageId is a non-empty string")
        message = self.world.agent.get((channel_id, message_id))
        if message is not None and sender != message.sender:
            raise BrokenRuleError(400, f"{where}.channel.from is the sender of the agent's message, not its recipient")
        if message is not None and message.state != UNSEEN and to not in message.recipients:
            raise BrokenRuleError(400, f"{where}.channel.to is one of the recipients of the agent's message")
        reasons = value.get("reasons")
        if reasons is None:
            return GivenReceipt(message_id, sender, to, status, [])
        if status != "Failed":
            raise BrokenRuleError(400, f"{where}.reasons goes with Failed only")
        if not isinstance(reasons, list) or not reasons:
            raise BrokenRuleError(400, f"{where}.reasons is a non-empty list")
        for at, reason in enumerate(reasons):
            self._reason(reason, f"{where}.reasons[{at}]")
        return GivenReceipt(message_id, sender, to, status, reasons)

    def _reason(self, value: object, where: str) -> None:
        reason = an_object(value, where)
        code = reason.get("code")
        if isinstance(code, bool) or not isinstance(code, int) or code not in REASON_CODES:
            raise BrokenRuleError(400, f"{where}.code is one of {', '.join(map(str, REASON_CODES))}")
        if "message" in reason and not isinstance(reason["message"], str):
            raise BrokenRuleError(400, f"{where}.message is a string")
        self._extras(reason, ("code", "message"), f"{where}.")

    def _address(self, value: object, where: str) -> str:
        address = an_object(value, where)
        found = address.get("id")
        if not isinstance(found, str) or not found:
            raise BrokenRuleError(400, f"{where}.id is a non-empty string")
        if "name" in address and not isinstance(address["name"], str):
            raise BrokenRuleError(400, f"{where}.name is a string")
        self._extras(address, ("id", "name"), f"{where}.")
        return found

    def _extras(self, value: dict[str, Any], known: tuple[str, ...], where: str) -> None:
        for name in value.keys() - set(known):
            self.world.violation(WHO, "only documented fields are sent", f"{where}{name}")

    def note_seen(self, channel_id: str, text: GivenText) -> str:
        world = self.world
        seq = world.next_seq()
        now = time.time()
        seen = SeenByAgent(seq, now, f"{int(now * 1000)}-{seq}", channel_id, text.sender, text.to, text.text)
        seen.parts = text.parts
        if world.channels[channel_id] == "email":
            consumer_mail.note_seen(world, seen)
        world.seen.append(seen)
        world.counts["seen"] += 1
        world.tell("seen", seen)
        if "/m/" in text.text:
            world.spawn(self._open(seen))
        return seen.id

    async def _open(self, seen: SeenByAgent) -> None:
        """The agent's desktop opens the links of a message."""
        seen.media.extend(await files.of_text(self.world, WHO, seen.text))
        self.world.tell("seen", seen)

    def note_receipt(self, channel_id: str, given: GivenReceipt) -> None:
        world = self.world
        message = world.agent.get((channel_id, given.message_id)) or self._unseen(channel_id, given)
        if given.recipient not in message.recipients:
            message.recipients = (*message.recipients, given.recipient)
        known = message.receipts.get(given.recipient)
        if known is None:
            message.receipts[given.recipient] = Receipt(given.status, given.reasons, time.time())
            world.counts[f"receipts.{given.status}"] += 1
            if message.state == UNSEEN:
                world.counts["copies"] += 1  # dcbridge has accepted it
        elif known.status == given.status and _codes(known.reasons) == _codes(given.reasons):
            known.repeated += 1
            world.counts["receipts.repeated"] += 1
        else:
            world.violation(
                WHO,
                "a terminal receipt never changes",
                f"{given.message_id}: {known.status} then {given.status}",
            )
        world.tell("agent", message)

    def _unseen(self, channel_id: str, given: GivenReceipt) -> AgentMessage:
        """What a receipt tells of a message that was not sent from here."""
        world = self.world
        kind = "Text" if world.channels[channel_id] == "sms" else "Email"
        made = AgentMessage(
            world.next_seq(), time.time(), channel_id, given.message_id, kind, given.sender, (), "", state=UNSEEN
        )
        world.keep_agent(made)
        world.counts["unseen"] += 1
        return made

    def _answer(self, ids: list[str]) -> bytes:
        if not ids:
            return b'{"status":{"code":0}}'
        shape = self.world.switches.digital_channels.ids
        if shape == "alternate":
            self.world.counts["answers.ids"] += 1
            shape = "strings" if self.world.counts["answers.ids"] % 2 else "objects"
        written = ids if shape == "strings" else [{"id": one} for one in ids]
        return orjson.dumps({"status": {"code": 0}, "data": {"ids": written}})


def check_caller(world: World, request: Request, channel_id: str, body: bytes) -> None:
    """What all four operations demand. Raises BrokenRuleError 401, 403 or 404."""
    given = [value for name, value in request.headers.raw if name == b"x-hub-signature"]
    verdict = signature.verify(given, body, [world.config.app_secret.encode()])
    if not verdict.ok:
        raise BrokenRuleError(401, f"X-Hub-Signature is right for these bytes: {verdict.wrong}")
    if request.headers.get("x-ccid") != world.config.contact_center_id:
        raise BrokenRuleError(403, "x-ccid is the contact center's id")
    if channel_id not in world.channels:
        raise BrokenRuleError(404, "Channel not found")


def error(code: int, message: str) -> bytes:
    return orjson.dumps({"status": {"code": code, "message": message}})


def an_object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BrokenRuleError(400, f"{where} is an object")
    return value


def _codes(reasons: list[dict[str, Any]]) -> list[int | str]:
    return [reason["code"] for reason in reasons]
