"""Digital Channels payloads, to and from our words: a tolerant reader and a strict writer.

The shapes are those of contract/third-party-messaging.txt; what they leave open is read by the
rules of docs/digital-channels.md. The reader never raises on content: what is wrong with a
message is said in the message, so that the door can answer 200 and send a Failed receipt.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from math import isfinite
from typing import Any

import orjson

from dcbridge.genesys import nesting
from dcbridge.messages import Address, AgentMessage, Content, Reason, Receipt, ReceiptStatus

MAX_RECIPIENTS = 1000  # of one message
MAX_MESSAGES = 500  # of one webhook; today's carry one
MAX_DEPTH = 500  # of JSON that only the standard reader takes
MAX_COPIES = 2000  # messages times recipients: what one write to Redis may hold up others for


class NotJson(ValueError):
    """The body is no JSON that anybody could read, or more of it than one webhook can mean."""


class TooDeep(NotJson):
    """It is nested deeper than is read, or is no JSON."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a message cannot be carried: the reason for the agent, and fixed words for the operator."""

    reason: Reason
    what: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message object of a webhook. `copies` has one AgentMessage per recipient.

    With a `problem`, `copies` holds what could still be identified, so that each can get its receipt.
    """

    message_id: str
    channel_id: str
    copies: tuple[AgentMessage, ...]
    payload: bytes  # the message object as JSON, unknown fields and all
    problem: Problem | None = None
    raw: bytes = b""  # as it came: the whole body where it held this message alone, or what the payload cannot hold


TOO_DEEP = Problem(Reason.INVALID_STRUCTURE, "nested too deeply")


# ---------------------------------------------------------------- reading


def read_json(body: bytes) -> Any:
    """Any JSON, in UTF-8 with or without a mark, UTF-16 or UTF-32. Raises NotJson.

    What comes out can be written and read again: a number that no float can hold is None.
    """
    return _read_json(body, _no_constant)


def _read_json(body: bytes, constant: Callable[[str], Any]) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _mended(_read_slowly(body, constant))


def _read_slowly(body: bytes, constant: Callable[[str], Any]) -> Any:
    try:  # Node writes lone surrogates and some gateways add a mark; the standard reader takes both
        return json.loads(_text(body), parse_constant=constant, parse_int=_whole, parse_float=_float)
    except RecursionError:
        raise TooDeep("the body is not JSON") from None
    except ValueError:
        raise NotJson("the body is not JSON") from None


def _text(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), "surrogatepass").removeprefix("\ufeff")


def read_webhook(body: bytes, endpoint: str, trace_id: str = "") -> list[Incoming]:
    """Every message of a webhook: one object, a list, or {"messages": […]}. Raises NotJson.

    A message without an id gets one made of the endpoint and its bytes, so a redelivery is recognised.
    """
    raws: dict[int, bytes] = {}
    try:
        items = _items(read_json(body))
    except TooDeep as error:
        items, raws = _items_apart(body, error)
    if not items:
        return [_incoming({}, body, body, endpoint, trace_id)]
    if len(items) > MAX_MESSAGES:
        raise NotJson(f"the body holds more than {MAX_MESSAGES} messages")
    if len(items) == 1:
        return [replace(_incoming(items[0], dumps(items[0]), body, endpoint, trace_id), raw=body)]
    found: list[Incoming] = []
    copies = 0
    for place, item in enumerate(items):
        payload = dumps(item)
        one = _incoming(item, payload, b"%d:" % place + raws.get(place, payload), endpoint, trace_id)
        found.append(replace(one, problem=TOO_DEEP, raw=raws[place]) if place in raws else one)
        copies += len(found[-1].copies)
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
            items = _items(_read_slowly(body, _no_constant))
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
    return {_word(_mended_text(one) if isinstance(one, str) else one) for one in ids} or {None}


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
    cut = nesting.Cut(_text(body), read_json)
    read = [cut.apart(item) for item in _items(cut.value)[: MAX_MESSAGES + 1]]
    raws = {place: raw for place, (_, raw) in enumerate(read) if raw}
    if len(read) == 1 and raws:
        raise error
    return [item for item, _ in read], raws


def read_copies(payload: bytes, message_id: str, trace_id: str = "") -> tuple[AgentMessage, ...]:
    """All copies, by their index, of what `Incoming.payload` kept.

    Older versions kept numbers of any length and Infinity as Python writes them.
    """
    return _incoming(_read_json(payload, lambda _: None), payload, payload, "", trace_id, message_id).copies


def read_stored(payload: bytes, index: int, message_id: str, trace_id: str = "") -> AgentMessage:
    """One of them. Raises ValueError when there is no such copy."""
    copies = read_copies(payload, message_id, trace_id)
    if not 0 <= index < len(copies):
        raise ValueError("the stored payload has no such copy")
    return copies[index]


def made_up_id(endpoint: str, body: bytes) -> str:
    """The id of a message that came without one: the same for the same bytes at the same endpoint."""
    return "dcbridge-" + hashlib.sha256(endpoint.encode() + b"\0" + body).hexdigest()[:32]


def _incoming(item: Any, payload: bytes, raw: bytes, endpoint: str, trace_id: str, message_id: str = "") -> Incoming:
    fields = item if isinstance(item, dict) else {}
    channel = fields.get("channel")
    channel = channel if isinstance(channel, dict) else {}
    message_id = message_id or _word(channel.get("messageId")) or _word(fields.get("messageId"))
    message_id = message_id or made_up_id(endpoint, raw)
    channel_id = _word(channel.get("id"))
    channel_type = _word(channel.get("type")).lower()
    sender = _address(channel.get("from"))
    recipients = _addresses(channel.get("to"))
    context = channel.get("context")
    reply_to = _address(context.get("replyTo")) if isinstance(context, dict) else None
    kind = _word(fields.get("type"))
    contents, contents_ok = _contents(fields.get("content"))
    text = fields.get("text")
    subject = fields.get("subject")
    problem = None
    if not isinstance(item, dict):
        problem = Problem(Reason.INVALID_STRUCTURE, "the message is not an object")
    elif not channel:
        problem = Problem(Reason.INVALID_STRUCTURE, "channel is missing or not an object")
    elif not channel_id:
        problem = Problem(Reason.INVALID_STRUCTURE, "channel.id is missing or not a text")
    elif sender is None:
        problem = Problem(Reason.INVALID_STRUCTURE, "channel.from.id is missing or not a text")
    elif not recipients:
        problem = Problem(Reason.INVALID_STRUCTURE, "channel.to has no id")
    elif len(recipients) > MAX_RECIPIENTS:
        problem = Problem(Reason.INVALID_STRUCTURE, f"channel.to has more than {MAX_RECIPIENTS} recipients")
    elif text is not None and not isinstance(text, str):
        problem = Problem(Reason.INVALID_STRUCTURE, "text is not a text")
    elif subject is not None and not isinstance(subject, str):
        problem = Problem(Reason.INVALID_STRUCTURE, "subject is not a text")
    elif not contents_ok:
        problem = Problem(Reason.INVALID_STRUCTURE, "content is not a list of {type, text}")
    elif kind.lower() == "text" and not text:
        problem = Problem(Reason.INVALID_STRUCTURE, "text is missing or empty")
    elif not text and not any(c.type in ("text", "html") and c.text for c in contents):
        problem = Problem(Reason.UNSUPPORTED, "nothing in the message can be sent")
    elif channel_type == "sms" and not text:
        problem = Problem(Reason.UNSUPPORTED, "an SMS channel carries text only")
    copies = tuple(
        AgentMessage(
            channel_id=channel_id,
            message_id=message_id,
            sender=sender or Address(channel_id),
            to=to,
            recipients=recipients,
            type=kind,
            text=text if isinstance(text, str) else "",
            subject=subject if isinstance(subject, str) else "",
            contents=contents,
            reply_to=reply_to,
            trace_id=trace_id,
            index=index,
        )
        for index, to in enumerate(recipients[:MAX_RECIPIENTS])
    )
    return Incoming(message_id, channel_id, copies, payload, problem)


def _word(value: Any) -> str:
    """An identifier: a text as it is, a whole number as its digits, anything else as nothing.

    No number beyond 64 bits: what is stored is read by orjson, to which it is no whole number.
    """
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return str(value)
    return ""


def _address(value: Any) -> Address | None:
    if isinstance(value, dict):
        found = _word(value.get("id"))
        return Address(found, _word(value.get("name"))) if found else None
    found = _word(value)
    return Address(found) if found else None


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
        found.append(Content(_word(item.get("type")).lower(), text or ""))
    return tuple(found), True


def dumps(value: Any) -> bytes:
    """What `read_json` gave, as JSON again."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # deeper than 254
        return nesting.write(value)


def _mended(value: Any) -> Any:
    """Lone surrogates become U+FFFD: no encoding that a provider takes can carry them. Raises NotJson.

    A limit of its own, since Python's depends on who calls: what the service reads, a worker reads as well.
    """
    top = [value]
    level: list[Any] = [top]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for holder in level:
            for place, item in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                if isinstance(holder, dict) and (name := _mended_text(place)) != place:
                    del holder[place]
                    place = name
                holder[place] = _mended_text(item) if isinstance(item, str) else item
                if isinstance(item, (dict, list)):
                    below.append(item)
        if not below:
            return top[0]
        level = below
    raise TooDeep("nested too deeply")


def _mended_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(digits: str) -> int | float | None:
    """A whole number as orjson reads it: beyond 64 bits it is a float."""
    if len(digits) <= 20:
        whole = int(digits)
        if -(1 << 63) <= whole < 1 << 64:
            return whole
    return _float(digits)


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


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
    return _word(value.get("operationId")), [read(item) for item in _entities(value)]


def _entities(value: Any) -> list[Any]:
    data = value.get("data") if isinstance(value, dict) else None
    entities = data.get("entities") if isinstance(data, dict) else None
    return entities if isinstance(entities, list) else []


def _entities_apart(body: bytes, error: TooDeep) -> tuple[Any, Callable[[Any], Entity]]:
    """The batch, and what reads each of its entities by itself. Raises NotJson, and `error` where there are none."""
    cut = nesting.Cut(_text(body), read_json)
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
        interaction=_word(entity.get("id")),
        name=_word(item.get("event")),
        media=_word(entity.get("mediaType")),
        subtype=_word(entity.get("interactionSubtype")),
        fields={**beside, **entity},
        item=item,
    )


# ---------------------------------------------------------------- writing


def write_consumer_message(consumer_id: str, channel_id: str, text: str) -> bytes:
    """Step 1 of the documented SMS flow: what a consumer wrote, for POST /channels/<id>/messages."""
    return orjson.dumps(
        {
            "messages": [
                {
                    "channel": {"from": {"id": consumer_id}, "to": {"id": channel_id}},
                    "type": "Text",
                    "text": text,
                }
            ]
        }
    )


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


# ---------------------------------------------------------------- answers


def read_answer(body: bytes) -> tuple[int | None, list[str], str]:
    """(status code, ids, what it says) of a Digital Channels answer, in any shape that is documented.

    ids are texts or {"id": …}; an error can be in `status`, `error`, `message` or be plain text.
    The code is None where there is none. What it says is cut to 500 characters.
    """
    try:
        value = read_json(body)
    except NotJson:
        return None, [], body[:500].decode("utf-8", "replace")
    if not isinstance(value, dict):
        return None, [], ""
    status = value.get("status")
    code, said = None, ""
    if isinstance(status, dict):
        code = status.get("code") if isinstance(status.get("code"), int) else None
        said = _word(status.get("message"))
    for name in ("error_description", "error", "message"):
        said = said or _word(value.get(name))
    data = value.get("data")
    listed = data.get("ids") if isinstance(data, dict) else None
    ids = []
    for item in listed if isinstance(listed, list) else []:
        found = _word(item.get("id")) if isinstance(item, dict) else _word(item)
        if found:
            ids.append(found)
    return code, ids, said[:500]
