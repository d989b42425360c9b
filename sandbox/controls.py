"""The sandbox's own routes: speak as the agent or the consumer, watch, break things, start afresh.

Bodies are JSON with that Content-Type, which a foreign web page cannot send here without asking; and a request that a
browser sends for another page is refused.
A request that makes no sense is answered 400 {"error": "…"}.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox import consumer_mail, conversations, engagement, files, open_messaging, webhooks
from sandbox.beside import Beside
from sandbox.magic import MAILBOXES, NUMBERS
from sandbox.mail_clients import BY_NAME, Answer
from sandbox.records import Interaction, Record, SentByConsumer
from sandbox.sms_company import SmsCompany
from sandbox.wires.base import E164
from sandbox.world import Watcher, World

REPLAYED = 150
HEARTBEAT = 15.0
BETWEEN_EVENTS = 0.05
SUBTYPES = (
    "InboundNew",
    "Outbound",
    "SMS",
    "WhatsApp",
    "FacebookPublic",
    "FacebookPrivate",
    "TwitterPublic",
    "TwitterPrivate",
)


class WrongError(Exception):
    """The control's request makes no sense; says why."""


class Controls:
    def __init__(self, world: World, companies: Mapping[str, SmsCompany], beside: Beside) -> None:
        """`companies`: SMS companies by the name of their account."""
        self.world, self.beside = world, beside
        self.companies = companies

    def routes(self) -> list[Route]:
        posts: dict[str, Callable[[dict[str, Any]], Awaitable[object]]] = {
            "/sandbox/agent/sms": self.agent_sms,
            "/sandbox/agent/email": self.agent_email,
            "/sandbox/agent/raw": self.agent_raw,
            "/sandbox/interaction": self.interaction,
            "/sandbox/item/done": self.item_done,
            "/sandbox/call/complete": self.call_complete,
            "/sandbox/call/fill": self.call_fill,
            "/sandbox/consumer/sms": self.consumer_sms,
            "/sandbox/consumer/mail": self.consumer_mail,
            "/sandbox/bridge": self.beside.ask,
            "/sandbox/control": self.control,
            "/sandbox/reset": self.reset,
        }
        gets: dict[str, Callable[[Request], object]] = {
            "/sandbox/state": self.state,
            "/sandbox/counts": lambda request: self.world.counts,
            "/sandbox/sms": lambda request: [sms.view() for sms in self.world.sms.values()],
            "/sandbox/mail": lambda request: [mail.view() for mail in self.world.mails],
            "/sandbox/written": lambda request: [mail.view() for mail in self.world.written],
            "/sandbox/calls": lambda request: [call.view() for call in self.world.calls.values()],
            "/sandbox/secure": lambda request: [mail.view() for mail in self.world.secure.values()],
            "/sandbox/items": lambda request: [item.view() for item in self.world.items.values()],
            "/sandbox/heard": lambda request: list(self.world.heard.values()),
            "/sandbox/control": lambda request: self.world.switches.view(),
            "/sandbox/setting": lambda request: self.setting(),
            "/sandbox/conversations": lambda request: conversations.all_of(self.world),
            "/sandbox/conversation": lambda request: conversations.one(
                self.world, request.query_params.get("with", "")
            ),
        }
        return [
            *(Route(path, taking_json(act), methods=["POST"]) for path, act in posts.items()),
            *(Route(path, _giving_json(act), methods=["GET"]) for path, act in gets.items()),
            Route("/sandbox/events", self.events, methods=["GET"]),
        ]

    async def agent_sms(self, asked: dict[str, Any]) -> object:
        message_id = _text(asked, "messageId") if "messageId" in asked else None
        channel = _text(asked, "channel") if "channel" in asked else self.world.config.sms_channel
        if self.world.channels.get(channel) != "sms":
            raise WrongError("channel: the id of an sms channel")
        file, to = _file(asked), _text(asked, "to")
        cloud = self.world.config.cloud
        if cloud is not None and channel == cloud.integration:
            text = _text(asked, "text") if file is None else _text_or_none(asked)
            body = open_messaging.outbound(cloud, f"+{to}" if to.isdigit() else to, text or None, message_id)
            media = [open_messaging.with_file(self.world, body, file)] if file else []
            return await self._send(body, asked, *media)
        if file is None:
            body = webhooks.sms_body(self.world, channel, to, _text(asked, "text"), message_id)
            return await self._send(body, asked)
        media_id = str(uuid.uuid4())
        self.world.media[(channel, media_id)] = ("picture", file.mimetype, file.data)
        body = webhooks.rich_body(self.world, channel, to, _text_or_none(asked), message_id, media_id)
        return await self._send(body, asked, files.shown(files.keep(self.world, file)))

    async def agent_email(self, asked: dict[str, Any]) -> object:
        to = asked.get("to")
        if not isinstance(to, list) or not to:
            raise WrongError("to: a non-empty list of {id, name}")
        recipients = [_address(one, f"to[{at}]") for at, one in enumerate(to)]
        reply_to = _address(asked["replyTo"], "replyTo") if asked.get("replyTo") is not None else None
        text, html = (_text(asked, name) if asked.get(name) else None for name in ("text", "html"))
        if text is None and html is None:
            raise WrongError("text or html: a non-empty string")
        message_id = _text(asked, "messageId") if "messageId" in asked else None
        subject = asked.get("subject", "")
        if not isinstance(subject, str):
            raise WrongError("subject: a string")
        channel = _text(asked, "channel") if "channel" in asked else self.world.config.email_channel
        body = webhooks.email_body(self.world, recipients, subject, text, html, reply_to, message_id, channel)
        file = _file(asked)
        if file is None:
            return await self._send(body, asked)
        media_id = str(uuid.uuid4())
        self.world.media[(channel, media_id)] = (_name(asked), file.mimetype, file.data)
        body["attachments"] = [{"url": f"genesys://nexus/{media_id}"}]
        return await self._send(body, asked, files.shown(files.keep(self.world, file)))

    async def _send(self, body: dict[str, Any], asked: dict[str, Any], *media: str) -> object:
        """Send in the background; with "wait": true, answer when the bridge took it or we gave up."""
        message = webhooks.expect(self.world, body)
        message.media.extend(media)
        work = webhooks.deliver(self.world, message, orjson.dumps(body))
        if asked.get("wait"):
            await work
        else:
            self.world.spawn(work)
        return {"messageId": message.message_id, "state": message.state, "attempts": message.attempts}

    async def agent_raw(self, asked: dict[str, Any]) -> object:
        """One webhook of exactly these bytes, once; answers with what the bridge answered."""
        body = _text(asked, "body").encode() if "body" in asked else _bytes(asked, "body_base64")
        webhook = asked.get("webhook", "messages")
        headers = asked.get("headers", {})
        if webhook not in ("messages", "interactions"):
            raise WrongError("webhook: messages or interactions")
        if not isinstance(headers, dict) or not all(isinstance(one, str | None) for one in headers.values()):
            raise WrongError("headers: an object of strings; null leaves a usual header out")
        endpoint = _text(asked, "endpoint") if "endpoint" in asked else self.world.config.messages_endpoint
        message = None
        if webhook == "messages":
            try:
                message = webhooks.expect(self.world, orjson.loads(body))
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                message = None  # not a message that a receipt could ever name
        answer = await webhooks.post(self.world, webhook, endpoint, body, headers)
        if message is not None:
            message.attempts, message.ms = 1, answer.ms
            message.state = "accepted" if 200 <= answer.status < 300 else "refused"
            if message.state == "accepted":
                self.world.counts["copies"] += len(message.recipients)
            self.world.tell("agent", message)
        return {"status": answer.status, "body": answer.body.decode("utf-8", "replace"), "ms": answer.ms}

    async def item_done(self, asked: dict[str, Any]) -> object:
        """An agent finishes a work item."""
        item = self.world.items.get(_text(asked, "external"))
        if item is None or item.state != "open":
            raise WrongError("external: the externalId of an open work item")
        item.state = "gone"
        self.world.tell("item", item)
        return item.view()

    async def call_complete(self, asked: dict[str, Any]) -> object:
        """An agent calls a consumer who wished for it."""
        reason = _text(asked, "reason") if "reason" in asked else "ANSWERED_BY_AGENT"
        try:
            return engagement.complete(self.world, _text(asked, "id"), reason).view()
        except ValueError as wrong:
            raise WrongError(str(wrong)) from None

    async def call_fill(self, asked: dict[str, Any]) -> object:
        """Others take the last places of a slot."""
        try:
            self.world.full.add(datetime.fromisoformat(_text(asked, "at")).timestamp())
        except ValueError:
            raise WrongError("at: a time in ISO 8601") from None
        return {"full": len(self.world.full)}

    async def interaction(self, asked: dict[str, Any]) -> object:
        """One batch of one event, or of those in "events"; ids that are not given are new."""
        wanted = asked.get("events", [asked])
        if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
            raise WrongError("events: a list of {event, id, subtype, mediaType}")
        events = [_event(one) for one in wanted]
        for one, event in zip(wanted, events, strict=True):
            if isinstance(data := one.get("userData"), dict):
                self.world.attach(event["entity"]["id"], {str(name): str(value) for name, value in data.items()})
        operation_id = asked.get("operationId") or str(uuid.uuid4())
        made = Interaction(self.world.next_seq(), time.time(), str(operation_id), events)
        self.world.interactions.append(made)
        self.world.tell("interaction", made)
        body = orjson.dumps({"operationId": made.operation_id, "data": {"entities": events}})
        work = webhooks.announce(self.world, made, body)
        if asked.get("wait"):
            await work
        else:
            self.world.spawn(work)
        ids = [event["entity"]["id"] for event in events]
        return {"operationId": made.operation_id, "ids": ids, "state": made.state, "attempts": made.attempts}

    async def consumer_sms(self, asked: dict[str, Any]) -> object:
        sender = _text(asked, "from")
        if not E164.fullmatch(sender):
            raise WrongError("from: a number in E.164, like +16504661149")
        name = _text(asked, "provider") if "provider" in asked else self.world.config.sms_provider
        company = self.companies.get(name)
        if company is None:
            raise WrongError(f"provider: one of {', '.join(self.companies)}")
        to = _text(asked, "to") if "to" in asked else self.world.accounts[name].number
        sid = _text(asked, "sid") if "sid" in asked else company.wire.new_id()
        file = _file(asked)
        if file is not None and not company.wire.carries_media:
            raise WrongError(f"file: {company.wire.who} carries no files here")
        text = _text(asked, "text") if file is None else _text_or_none(asked)
        sent = SentByConsumer(self.world.next_seq(), time.time(), sid, sender, to, text, provider=name)
        if file is not None:
            sent.files.append((files.keep(self.world, file), file.mimetype))
            sent.media.append(files.shown(sent.files[0][0]))
        self.world.consumer.append(sent)
        self.world.counts["consumer"] += 1
        self.world.tell("consumer", sent)
        if asked.get("wait"):
            await company.write(sent)
        else:
            self.world.spawn(company.write(sent))
        return {"sid": sid, "state": sent.state, "answer": sent.answer}

    async def consumer_mail(self, asked: dict[str, Any]) -> object:
        """A mail of a consumer, or of her mail system, to the bridge; "answers" is the mail that she has before her."""
        world, style = self.world, asked.get("style", "fresh")
        if not world.config.mail_in_port:
            raise WrongError("mail-in does not run here: bridge.yaml has no email channel with `inbound`")
        if style not in BY_NAME:
            raise WrongError(f"style: one of {', '.join(BY_NAME)}")
        seq = asked.get("answers")
        answered = consumer_mail.found(world, seq) if isinstance(seq, int) else None
        if seq is not None and answered is None:
            raise WrongError("answers: the seq of a mail that arrived")
        mailbox = _text(asked, "from") if asked.get("from") else answered.recipients[0].address if answered else ""
        if "@" not in mailbox:
            raise WrongError("from: a mailbox, like ana@mail.com")
        file = _file(asked)
        to = consumer_mail.reply_address(answered) if answered else world.config.mailbox
        answer = Answer(
            said=_text(asked, "text") if file is None and style != "bounce" else _text_or_none(asked),
            mailbox=mailbox,
            to=_text(asked, "to") if asked.get("to") else to,
            subject=_text(asked, "subject") if asked.get("subject") else "",
            answered=answered,
            files=[(_name(asked), file)] if file else [],
        )
        try:
            written = consumer_mail.write(world, style, answer)
        except ValueError as wrong:
            raise WrongError(str(wrong)) from None
        work = consumer_mail.deliver(world, written)
        if asked.get("wait"):
            await work
        else:
            world.spawn(work)
        return {"seq": written.seq, "state": written.state, "answer": written.answer}

    async def control(self, asked: dict[str, Any]) -> object:
        try:
            self.world.switches.turn(asked)
        except ValueError as wrong:
            raise WrongError(str(wrong)) from wrong
        return self.world.switches.view()

    async def reset(self, asked: dict[str, Any]) -> object:
        self.world.reset()
        return {"ok": True}

    def setting(self) -> object:
        config = self.world.config
        return {
            "bridge_url": config.bridge_url,
            "sms_channel": config.sms_channel,
            "sms_number": config.sms_number,
            "companies": [
                {
                    "name": name,
                    "who": self.companies[name].wire.who,
                    "at": self._at(one.channel),
                    "channel": one.channel,
                    "carriers": [c for c in config.carriers.get(one.channel, ()) if c in self.companies] or [name],
                    "number": one.number,
                    "media": self.companies[name].wire.carries_media,
                }
                for name, one in self.world.accounts.items()
                if name in self.companies
            ],
            "email_channel": config.email_channel,
            "email_sender": config.email_sender,
            "smtp_port": self.world.smtp_port,
            "numbers": [{"number": one.number, "says": one.says, "reason": one.reason} for one in NUMBERS],
            "mailboxes": MAILBOXES,
            "mail": consumer_mail.setting(self.world),
            "switches": self._switched(),
        }

    def _switched(self) -> object:
        """What the page's own switches stand at, which a page that opens now has to show."""
        switches = self.world.switches
        return {
            "subscriber": switches.subscriber.mode,
            "off": switches.sms.off,
            "engagement": switches.engagement,
            **{name: view() for name, view in self.world.shown.items()},
        }

    def _at(self, channel: str) -> str:
        """What tells a channel of Genesys Cloud from the others of a company."""
        cloud = self.world.config.cloud
        return "Genesys Cloud" if cloud is not None and channel == cloud.integration else ""

    def state(self, request: Request) -> object:
        """Everything, or what `only` names, and the agents' messages of these `id`s, for who asks again and again."""
        world = self.world
        only, ids = (request.query_params.getlist(name) for name in ("only", "id"))
        parts: dict[str, Callable[[], object]] = {
            "smtp_port": lambda: world.smtp_port,
            "counts": lambda: world.counts,
            "under_way": lambda: len(world.tasks),
            "agent": lambda: [one for one in world.agent.values() if not ids or one.message_id in ids],
            "seen": lambda: list(world.seen),
            "consumer": lambda: list(world.consumer),
            "sms": lambda: [sms.view() for sms in world.sms.values()],
            "mails": lambda: [mail.view() for mail in world.mails],
            "written": lambda: [mail.view() for mail in world.written],
            "interactions": lambda: list(world.interactions),
            "heard": lambda: list(world.heard.values()),
            "violations": lambda: list(world.violations),
            "wire": lambda: [exchange.view() for exchange in world.exchanges],
            "switches": world.switches.view,
        }
        return {name: part() for name, part in parts.items() if name in only or not only}

    async def events(self, request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=headers)

    async def _stream(self) -> AsyncIterator[bytes]:
        watcher = Watcher()
        self.world.watchers.add(watcher)
        try:
            yield _event_bytes("setting", self.setting())
            yield b"".join(_record_bytes(kind, record) for kind, record in self.world.recent(REPLAYED))
            yield _event_bytes("ready", {})
            while not watcher.closed:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await watcher.ready.wait()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if watcher.emptied:
                    watcher.emptied = False
                    yield (
                        _event_bytes("reset", {}) + _event_bytes("setting", self.setting()) + _event_bytes("ready", {})
                    )
                yield b"".join(_record_bytes(kind, record) for kind, record in watcher.take())
                await asyncio.sleep(BETWEEN_EVENTS)
        finally:
            self.world.watchers.discard(watcher)


def _for_another_page(request: Request) -> bool:
    """What a browser says of who asks; a script says neither."""
    origins, hosts = request.headers.getlist("origin"), request.headers.getlist("host")
    if any(origin.partition("://")[2] not in hosts for origin in origins):
        return True
    return request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")


def taking_json(act: Callable[[dict[str, Any]], Awaitable[object]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _json({"error": "Content-Type is application/json"}, 415)
        if _for_another_page(request):
            return _json({"error": "only this page may press its buttons"}, 403)
        try:
            return _json(await act(_object(await request.body())))
        except orjson.JSONDecodeError as wrong:
            return _json({"error": f"the body is JSON: {wrong}"}, 400)
        except WrongError as wrong:
            return _json({"error": str(wrong)}, 400)

    return endpoint


def _giving_json(act: Callable[[Request], object]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _json(act(request))

    return endpoint


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _event_bytes(kind: str, value: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(value))


def _record_bytes(kind: str, record: Record) -> bytes:
    return _event_bytes(kind, record.view())


def _object(body: bytes) -> dict[str, Any]:
    value = orjson.loads(body) if body else {}
    if not isinstance(value, dict):
        raise WrongError("the body is an object")
    return value


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise WrongError(f"{name}: a non-empty string")
    return value


def _text_or_none(asked: dict[str, Any]) -> str:
    """The text beside a file, which may be missing."""
    return _text(asked, "text") if asked.get("text") else ""


def _file(asked: dict[str, Any]) -> files.File | None:
    try:
        return files.given(asked)
    except files.WrongFileError as wrong:
        raise WrongError(str(wrong)) from None


def _name(asked: dict[str, Any]) -> str:
    """Of a file, as its sender calls it."""
    name = asked["file"].get("name")
    return name if isinstance(name, str) and re.fullmatch(r"[\w ().,+-]{1,80}", name) else "picture"


def _bytes(asked: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(asked, name), validate=True)
    except binascii.Error as wrong:
        raise WrongError(f"{name}: base64") from wrong


def _address(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise WrongError(f"{where}: an object {{id, name}}")
    address = {"id": _text(value, "id")}
    if value.get("name"):
        address["name"] = _text(value, "name")
    return address


def _event(asked: dict[str, Any]) -> dict[str, Any]:
    event, subtype = asked.get("event"), asked.get("subtype", "InboundNew")
    media_type = asked.get("mediaType", "chat")
    if event not in ("STARTED", "FINISHED"):
        raise WrongError("event: STARTED or FINISHED")
    if subtype not in SUBTYPES:
        raise WrongError(f"subtype: one of {', '.join(SUBTYPES)}")
    if media_type not in ("chat", "email"):
        raise WrongError("mediaType: chat or email")
    interaction_id = _text(asked, "id") if asked.get("id") else str(uuid.uuid4())
    uri = f"NexusURL/nexus/v3/chat/sessions/{uuid.uuid4()}/{interaction_id}"
    entity = {"id": interaction_id, "mediaType": media_type, "interactionSubtype": subtype, "selfUri": uri}
    return {"event": event, "entity": entity}
