"""Digital Channels payloads, to and from our words: a tolerant reader and a strict writer.

The shapes are those of contract/third-party-messaging.txt; what they leave open is read by the
rules of docs/digital-channels.md. The reader never raises on content: what is wrong with a
message is said in the message, so that the service can answer 200 and send a Failed receipt.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import orjson

from dcbridge.genesys import nesting
from dcbridge.genesys.json_text import NotJson as NotJson
from dcbridge.genesys.json_text import (
    TooDeep,
    mended_text,
    no_constant,
    read_json_with,
    read_mended,
    read_slowly,
    text_of,
)
from dcbridge.genesys.json_text import dumps as dumps
from dcbridge.genesys.json_text import read_json as read_json
from dcbridge.messages import Address, AgentMessage, Content, Reason, Receipt, ReceiptStatus

MAX_RECIPIENTS = 1000  # of one message
MAX_MEDIA = 10  # files of one message
MAX_MESSAGES = 500  # of one webhook; today's carry one
MAX_CHANNEL_ID = 200  # characters, as in a configuration
MAX_ID = 400  # characters of any other id; it is stored once for each copy
AS_IT_CAME = 16_384  # bytes of a body that is kept as it came; written again, a longer one has no white space
MAX_COPIES = 2000  # messages times recipients: what one write to Redis may hold up others for


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a message cannot be carried: the reason for the agent, and fixed words for the operator."""

    reason: Reason
    what: str


_invalid = partial(Problem, Reason.INVALID_STRUCTURE)
TOO_DEEP = _invalid("nested too deeply")


class Incoming(NamedTuple):
    """One message object of a webhook.

    With a `problem`, `sender` and `recipients` hold what could still be identified, so that each can get its receipt.
    """

    message_id: str
    channel_id: str
    sender: Address
    recipients: tuple[Address, ...]  # one copy each
    item: Any  # the message object, unknown fields and all
    payload: bytes  # the same as JSON
    trace_id: str = ""
    problem: Problem | None = None
    raw: bytes = b""  # as it came: the whole body where it held this message alone, or what the payload cannot hold

    @property
    def copies(self) -> tuple[AgentMessage, ...]:
        """One AgentMessage a recipient, made anew each time: only who sends needs them."""
        fields = self.item if isinstance(self.item, dict) else {}
        channel = fields.get("channel")
        context = channel.get("context") if isinstance(channel, dict) else None
        text, subject = fields.get("text"), fields.get("subject")
        contents, _ = _contents(fields.get("content"))
        reply_to = _address(context.get("replyTo")) if isinstance(context, dict) else None
        media = media_named(self.item) if _MEDIA_WORD in self.payload else ()
        text = "" if media and is_media(text) else text
        return tuple(
            AgentMessage(
                channel_id=self.channel_id,
                message_id=self.message_id,
                sender=self.sender,
                to=to,
                recipients=self.recipients,
                type=word(fields.get("type")),
                text=text if isinstance(text, str) else "",
                subject=subject if isinstance(subject, str) else "",
                contents=contents,
                reply_to=reply_to,
                trace_id=self.trace_id,
                index=index,
                media=media,
            )
            for index, to in enumerate(self.recipients[:MAX_RECIPIENTS])
        )


# ---------------------------------------------------------------- reading


def read_webhook(body: bytes, endpoint: str, trace_id: str = "") -> list[Incoming]:
    """Every message of a webhook: one object, a list, or {"messages": […]}. Raises NotJson.

    A message without an id gets one made of the endpoint and its bytes, so a redelivery is recognised.
    """
    raws: dict[int, bytes] = {}
    short = b""  # the body, where it can be kept as it came
    try:
        items = _items(value := orjson.loads(body))
        short = body if items and items[0] is value and len(body) <= AS_IT_CAME else b""
    except orjson.JSONDecodeError:
        try:
            items = _items(read_mended(body))
        except TooDeep as error:
            items, raws = _items_apart(body, error)
    if not items:
        return [incoming({}, body, body, endpoint, trace_id)]
    if len(items) > MAX_MESSAGES:
        raise NotJson(f"the body holds more than {MAX_MESSAGES} messages")
    if len(items) == 1:
        return [incoming(items[0], short or dumps(items[0]), body, endpoint, trace_id, raw=body)]
    found: list[Incoming] = []
    copies = 0
    for place, item in enumerate(items):
        payload = dumps(item)
        one = incoming(item, payload, b"%d:" % place + raws.get(place, payload), endpoint, trace_id)
        found.append(one._replace(problem=TOO_DEEP, raw=raws[place]) if place in raws else one)
        copies += min(len(found[-1].recipients), MAX_RECIPIENTS)
        if copies > MAX_COPIES:
            raise NotJson(f"the body holds more than {MAX_COPIES} copies of messages")
    return found


def channels_named(body: bytes) -> set[str | None]:
    """The channel ids of a webhook that nobody vouches for yet; {None} where it would not be read.

    No message is built, and lone surrogates are mended in the ids alone.
    """
    try:
        try:
            items = _items(orjson.loads(body))
        except orjson.JSONDecodeError:
            items = _items(read_slowly(body, no_constant))
    except TooDeep as error:
        try:
            items, _ = _items_apart(body, error)
        except NotJson:
            return {None}
    except NotJson:
        return {None}
    if len(items) > MAX_MESSAGES:
        return {None}
    channels = [item.get("channel") if isinstance(item, dict) else None for item in items]
    ids = [channel.get("id") if isinstance(channel, dict) else None for channel in channels]
    return {_id(mended_text(one) if isinstance(one, str) else one, MAX_CHANNEL_ID) for one in ids} or {None}


_ID = re.compile(rb'"id"\s{0,9}:\s{0,9}(?:"([^"\\]{1,200})"|([0-9]{1,19}))')


def ids_mentioned(body: bytes) -> Iterator[str]:
    """What stands as an `id` anywhere in a body that is too long to be read before it is verified; the first ones."""
    plain = body.replace(b"\0", b"") if b"\0" in body[:4] else body  # UTF-16, UTF-32
    for found in islice(_ID.finditer(plain), 3 * MAX_COPIES):
        yield (found[1] or found[2]).decode("utf-8", "replace").strip()


def _items(value: Any) -> list[Any]:
    """The message objects of a webhook, in each shape that is read."""
    if isinstance(value, dict) and isinstance(value.get("messages"), list) and "channel" not in value:
        messages: list[Any] = value["messages"]
        return messages
    return value if isinstance(value, list) else [value]


def _items_apart(body: bytes, error: TooDeep) -> tuple[list[Any], dict[int, bytes]]:
    """The message objects of a webhook that cannot be read at once, each read by itself.

    Those that are nested too deeply are shallow, and beside them is how they came, by their place. Raises NotJson for
    a body that is no JSON, and `error` for one such message alone.
    """
    cut = nesting.Cut(text_of(body), read_json)
    read = [cut.apart(item) for item in _items(cut.value)[: MAX_MESSAGES + 1]]
    raws = {place: raw for place, (_, raw) in enumerate(read) if raw}
    if len(read) == 1 and raws:
        raise error
    return [item for item, _ in read], raws


def read_copies(payload: bytes, message_id: str, trace_id: str = "") -> tuple[AgentMessage, ...]:
    """All copies, by their index, of what `Incoming.payload` kept.

    Older versions kept numbers of any length and Infinity as Python writes them.
    """
    return incoming(
        read_json_with(payload, lambda _: None), payload, payload, "", trace_id, message_id=message_id
    ).copies


def read_stored(payload: bytes, index: int, message_id: str, trace_id: str = "") -> AgentMessage:
    """One of them. Raises ValueError when there is no such copy."""
    copies = read_copies(payload, message_id, trace_id)
    if not 0 <= index < len(copies):
        raise ValueError("the stored payload has no such copy")
    return copies[index]


def made_up_id(endpoint: str, body: bytes) -> str:
    """The id of a message that came without one: the same for the same bytes at the same endpoint."""
    return "dcbridge-" + hashlib.sha256(endpoint.encode() + b"\0" + body).hexdigest()[:32]


def incoming(
    item: Any, payload: bytes, named_by: bytes, endpoint: str, trace_id: str, *, message_id: str = "", raw: bytes = b""
) -> Incoming:
    """`named_by`: the bytes that give a message its id that came without one."""
    fields = item if isinstance(item, dict) else {}
    channel = fields.get("channel")
    channel = channel if isinstance(channel, dict) else {}
    named = message_id or word(channel.get("messageId")) or word(fields.get("messageId"))
    message_id = message_id or _id(named) or made_up_id(endpoint, named_by)
    channel_id = _id(channel.get("id"), MAX_CHANNEL_ID)
    sender = _address(channel.get("from"))
    recipients = _addresses(channel.get("to"))
    problem = (
        _unaddressed(item, channel, channel_id, sender, recipients)
        or _too_long("messageId", named)
        or _wrong_types(fields)
        or _nothing_to_send(fields, channel)
    )
    sender = sender or Address(channel_id)
    return Incoming(message_id, channel_id, sender, recipients, item, payload, trace_id, problem, raw)


def _unaddressed(
    item: Any, channel: dict[str, Any], channel_id: str, sender: Address | None, recipients: tuple[Address, ...]
) -> Problem | None:
    if not isinstance(item, dict):
        return _invalid("the message is not an object")
    if not channel:
        return _invalid("channel is missing or not an object")
    if not channel_id:
        too_long = _too_long("channel.id", word(channel.get("id")), MAX_CHANNEL_ID)
        return too_long or _invalid("channel.id is missing or not a text")
    if sender is None:
        return _invalid("channel.from.id is missing or not a text")
    if sender.id == TOO_LONG:
        return _invalid(f"channel.from.id is longer than {MAX_ID} characters")
    if not recipients:
        return _invalid("channel.to has no id")
    if len(recipients) > MAX_RECIPIENTS:
        return _invalid(f"channel.to has more than {MAX_RECIPIENTS} recipients")
    return None


def _wrong_types(fields: dict[str, Any]) -> Problem | None:
    for name in ("text", "subject"):
        if (value := fields.get(name)) is not None and not isinstance(value, str):
            return _invalid(f"{name} is not a text")
    if not _contents(fields.get("content"))[1]:
        return _invalid("content is not a list of {type, text}")
    if not fields.get("text") and word(fields.get("type")).lower() == "text" and not _has_media(fields):
        return _invalid("text is missing or empty")
    return None


def _nothing_to_send(fields: dict[str, Any], channel: dict[str, Any]) -> Problem | None:
    if fields.get("text") or _has_media(fields):
        return None
    if not any(one.type in ("text", "html") and one.text for one in _contents(fields.get("content"))[0]):
        return Problem(Reason.UNSUPPORTED, "nothing in the message can be sent")
    if word(channel.get("type")).lower() == "sms":
        return Problem(Reason.UNSUPPORTED, "an SMS channel carries text only")
    return None


CLOUD_MEDIA = "genesys://cloud/"  # before the quoted URL of a file of Open Messaging, in what is stored
MAX_CLOUD_MEDIA = 240  # characters of it: it has to fit into a link
_MEDIA_WORD = b"genesys:"
_MEDIA_URL = re.compile(
    rf"genesys://nexus/([A-Za-z0-9._-]{{1,100}})|{CLOUD_MEDIA}([A-Za-z0-9._~%/-]{{1,{MAX_CLOUD_MEDIA}}})", re.ASCII
)


def is_media(value: Any) -> bool:
    """Whether a text is the URL of a file at Digital Channels, and nothing else."""
    return isinstance(value, str) and bool(_MEDIA_URL.fullmatch(value.strip()))


def media_named(item: Any) -> tuple[str, ...]:
    """The ids of the files that a message names anywhere, in their order; MAX_MEDIA and one at most.

    No example of a RichMedia message is public: whatever is the URL of a file is taken for one.
    """
    found: dict[str, None] = {}
    waiting = [item]
    while waiting and len(found) <= MAX_MEDIA:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)
        elif is_media(value):
            found[value.strip().removeprefix("genesys://nexus/")] = None
    return tuple(found)


def _has_media(fields: dict[str, Any]) -> bool:
    return bool(media_named(fields))


def word(value: Any) -> str:
    """An identifier: a text as it is, a whole number as its digits, anything else as nothing.

    No number beyond 64 bits: what is stored is read by orjson, to which it is no whole number.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return str(value)
    return ""


def _id(value: Any, most: int = MAX_ID) -> str:
    """An identifier that may become a part of a key, a header or a log line: nothing where it is too long."""
    found = word(value)
    return found if len(found) <= most else ""


def _too_long(name: str, value: str, most: int = MAX_ID) -> Problem | None:
    return _invalid(f"{name} is longer than {most} characters") if len(value) > most else None


TOO_LONG = f"(longer than {MAX_ID} characters)"  # stands for such an address; no provider sends to it


def _address(value: Any) -> Address | None:
    if isinstance(value, dict):
        found = word(value.get("id"))
        return Address(_id(found) or TOO_LONG, word(value.get("name"))) if found else None
    found = word(value)
    return Address(_id(found) or TOO_LONG) if found else None


def _addresses(value: Any) -> tuple[Address, ...]:
    """One object or a list of them; the same address twice is one recipient."""
    found: dict[str, Address] = {}
    for item in value if isinstance(value, list) else [value]:
        address = _address(item)
        if address is not None:
            found.setdefault(address.id, address)
        if len(found) > MAX_RECIPIENTS:  # enough to refuse it
            break
    return tuple(found.values())


def _contents(value: Any) -> tuple[tuple[Content, ...], bool]:
    if value is None:
        return (), True
    if not isinstance(value, list):
        return (), False
    found = []
    for item in value:
        if not isinstance(item, dict):
            return (), False
        text = item.get("text")
        if text is not None and not isinstance(text, str):
            return (), False
        found.append(Content(word(item.get("type")).lower(), text or ""))
    return tuple(found), True


# ---------------------------------------------------------------- interaction batches


@dataclass(frozen=True, slots=True)
class Entity:
    """One entity of a batch: what became of which interaction. Empty texts where nothing was said."""

    interaction: str
    name: str
    media: str = ""
    subtype: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)  # the entity, and what stood beside it
    item: Any = None  # as it came


def read_interactions(body: bytes) -> tuple[str, list[Entity]]:
    """The operation id ("" when absent) and every entity, in order. Raises NotJson."""
    read: Callable[[Any], Entity] = _entity
    try:
        value = read_json(body)
    except TooDeep as error:
        value, read = _entities_apart(body, error)
    if not isinstance(value, dict):
        return "", []
    return word(value.get("operationId")), [read(item) for item in _entities(value)]


def _entities(value: Any) -> list[Any]:
    data = value.get("data") if isinstance(value, dict) else None
    entities = data.get("entities") if isinstance(data, dict) else None
    return entities if isinstance(entities, list) else []


def _entities_apart(body: bytes, error: TooDeep) -> tuple[Any, Callable[[Any], Entity]]:
    """The batch, and what reads each of its entities by itself. Raises NotJson, and `error` where there are none."""
    cut = nesting.Cut(text_of(body), read_json)
    if not _entities(cut.value):
        raise error

    def read(shallow: Any) -> Entity:
        item, raw = cut.apart(shallow)  # no event can be written with such fields, so the batch becomes a dead letter
        return replace(_entity(item), fields=nesting.TOO_DEEP, item=orjson.Fragment(raw)) if raw else _entity(item)

    return cut.value, read


def _entity(item: Any) -> Entity:
    if not isinstance(item, dict):
        return Entity("", "", item=item)
    entity = item.get("entity")
    entity = entity if isinstance(entity, dict) else {}
    beside = {name: value for name, value in item.items() if name not in ("event", "entity")}
    return Entity(
        interaction=_id(entity.get("id")),
        name=_id(item.get("event")),
        media=_id(entity.get("mediaType")),
        subtype=_id(entity.get("interactionSubtype")),
        fields={**beside, **entity},
        item=item,
    )


# ---------------------------------------------------------------- writing


def write_consumer_message(
    consumer_id: str, channel_id: str, text: str, others: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """Step 1 of the documented SMS flow: what a consumer wrote, for POST /channels/<id>/messages.

    `others`: messages besides the text, which may be "" then.
    """
    channel = {"from": {"id": consumer_id}, "to": {"id": channel_id}}
    messages = [{"channel": channel, "type": "Text", "text": text}] if text or not others else []
    return orjson.dumps({"messages": [*messages, *({"channel": channel, **other} for other in others)]})


def write_consumer_email(
    consumer_id: str, name: str, to: str, subject: str, text: str, html: str, others: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """The documented Email webhook, the other way round: Genesys documents none for what a consumer writes."""
    sender = {"id": consumer_id, "name": name} if name else {"id": consumer_id}
    channel = {"from": sender, "to": {"id": to}}
    content = [{"type": kind, "text": said} for kind, said in (("text", text), ("html", html)) if said]
    email = {"channel": channel, "type": "Email", "subject": subject, "content": content}
    return orjson.dumps({"messages": [email, *({"channel": channel, **other} for other in others)]})


def write_receipts(receipts: Sequence[Receipt]) -> bytes:
    """Step 5 of the documented SMS flow, for one or several receipts of one channel."""
    return orjson.dumps({"messages": [_receipt(receipt) for receipt in receipts]})


def _receipt(receipt: Receipt) -> dict[str, Any]:
    written: dict[str, Any] = {
        "channel": {
            "from": {"id": receipt.sender_id},
            "to": {"id": receipt.to_id},
            "messageId": receipt.message_id,
        },
        "type": "Receipt",
        "status": receipt.status.value,
    }
    if receipt.status is ReceiptStatus.FAILED:
        reason = receipt.reason or Reason.GENERAL
        message = f"{reason.text} ({receipt.detail})" if receipt.detail else reason.text
        written["reasons"] = [{"code": int(reason), "message": message}]
    return written
