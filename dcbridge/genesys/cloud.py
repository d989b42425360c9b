"""Genesys Cloud's Open Messaging, without I/O: webhooks read, requests written, and who asks for tokens.

https://developer.genesys.cloud/commdigital/digital/openmessaging (2026-11) and the models of Genesys' own client
PureCloudPlatformClientV2 269.0.0. A webhook becomes the message object that Digital Channels would have sent, so that
whatever is stored has one form. Of its files the URLs are kept, as `genesys://cloud/<quoted URL>`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import httpx
import orjson

from dcbridge.genesys import payloads
from dcbridge.genesys.payloads import Incoming, Problem, word
from dcbridge.genesys.signature import Given
from dcbridge.json_values import a_list, a_text, an_object
from dcbridge.messages import Reason, Receipt, ReceiptStatus
from dcbridge.oauth2 import grant_request

HEADER = "X-Hub-Signature-256"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{43}=")
_HEX = re.compile(rb"[0-9A-Fa-f]{64}")
MOST_OPTIONS = 30  # lines that stand for buttons and cards
MOST_URL = payloads.MAX_CLOUD_MEDIA  # characters of a file's URL, quoted

REASONS = {
    Reason.EXPIRED: "MessageExpired",
    Reason.RATE_LIMIT: "RateLimited",
    Reason.NOT_ALLOWED: "MessageNotAllowed",
    Reason.GENERAL: "GeneralError",
    Reason.UNSUPPORTED: "UnsupportedMessage",
    Reason.UNKNOWN_MESSAGE: "UnknownMessage",
    Reason.INVALID_STRUCTURE: "InvalidMessageStructure",
    Reason.INVALID_DESTINATION: "InvalidDestination",
}


class NoMessage(Exception):
    """A webhook that is none of an agent's message: what somebody types, or what became of a consumer's message.

    `word`: for a metric; `channel_id`: that it names, or "".
    """

    def __init__(self, word: str, channel_id: str) -> None:
        super().__init__(word)
        self.word, self.channel_id = word, channel_id


@dataclass(frozen=True, slots=True)
class CloudCredentials:
    """An OAuth client of the grant Client Credentials."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    grant: str = "client_credentials"
    refresh_token: str = field(default="", repr=False)  # there is none for this grant

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells its tokens from those of others."""
        return self.token_url, self.grant, self.client_id

    def by_refresh(self, token: str) -> httpx.Request:
        return self.first()

    def first(self) -> httpx.Request:
        """A token from what is configured alone."""
        headers = {"Accept": "application/json"}
        return grant_request(self.token_url, self.client_id, self.client_secret, {"grant_type": self.grant}, headers)


# ---------------------------------------------------------------- the signature


def given(headers: Sequence[bytes]) -> Given | str:
    """What X-Hub-Signature-256 says (all that were sent: exactly one is right), or which kind of wrong it is.

    `sha256=` and the base64 of the digest; Digital Channels writes hex digits.
    """
    if not headers:
        return "missing"
    if len(headers) > 1:
        return "more than one header"
    if len(headers[0]) > 256:
        return "wrong length"
    name, separator, digest = headers[0].strip().partition(b"=")
    if not separator:
        return "no algorithm prefix"
    if name.lower() != b"sha256":
        return "unknown algorithm"
    if _HEX.fullmatch(digest):
        return "hex digits instead of base64"
    if not _BASE64.fullmatch(digest):
        return "wrong length"
    try:
        made = base64.b64decode(digest, validate=True)
    except binascii.Error:
        return "wrong length"
    if base64.b64encode(made) != digest:
        return "no secret matches"  # the last letter has bits that mean nothing
    return Given("sha256", made.hex().encode())


# ---------------------------------------------------------------- reading


def read_webhook(body: bytes, endpoint: str, trace_id: str = "") -> list[Incoming]:
    """The one message of a webhook. Raises NotJson, and NoMessage for events and receipts."""
    value = payloads.read_json(body)
    message = an_object(value)
    channel = an_object(message.get("channel"))
    channel_id = word(channel.get("id")) or word(an_object(channel.get("from")).get("id"))
    if (what := _no_message(message)) and isinstance(value, dict):
        raise NoMessage(what, channel_id if len(channel_id) <= payloads.MAX_CHANNEL_ID else "")
    if not isinstance(value, dict):
        return [payloads.incoming(value, payloads.dumps(value), body, endpoint, trace_id, raw=body)]
    item, problem = _translated(message, channel, channel_id)
    one = payloads.incoming(item, payloads.dumps(item), body, endpoint, trace_id, raw=body)
    return [one._replace(problem=problem) if problem and one.channel_id and one.recipients else one]


def _no_message(message: Mapping[str, object]) -> str:
    kind = word(message.get("type")).lower()
    if word(message.get("direction")).lower() == "inbound":
        return "an inbound message"
    return {"event": "an event", "receipt": "a receipt"}.get(kind, "")


def _translated(
    message: Mapping[str, object], channel: Mapping[str, object], channel_id: str
) -> tuple[dict[str, Any], Problem | None]:
    """As Digital Channels would have sent it, and why it cannot be carried."""
    content = a_list(message.get("content"))
    text = message.get("text")
    item: dict[str, Any] = {
        "channel": {
            "id": channel_id,
            "from": {"id": word(an_object(channel.get("from")).get("id")) or channel_id},
            "to": _recipient(channel.get("to")),
            "messageId": word(message.get("id")) or word(channel.get("messageId")),
        },
        "type": "Text",
    }
    files = [an_object(an_object(one).get("attachment")) for one in content if _kind(one) == "attachment"]
    if isinstance(text, str) or text is None:
        lines = [text or "", *_choices(content, text or "")]
        item["text"] = "\n".join(line for line in lines if line.strip())
    else:
        item["text"] = text  # what is wrong with it is said where all are judged
    problem = None
    if files:
        item["content"] = [{"type": "attachment", "url": _file_id(one)} for one in files[: payloads.MAX_MEDIA + 1]]
        if not all(_file_id(one) for one in files):
            problem = Problem(Reason.UNSUPPORTED, "a file has no URL, or a very long one")
        if not item["text"]:
            del item["text"]
    elif not item["text"]:
        problem = Problem(Reason.UNSUPPORTED, "nothing in the message can be sent")
    return item, problem


def _recipient(value: object) -> object:
    """One object; a list is not documented, and would be one copy each."""
    return {"id": word(value.get("id"))} if isinstance(value, dict) else value


def _kind(content: object) -> str:
    return word(an_object(content).get("contentType")).lower()


def _file_id(attachment: Mapping[str, object]) -> str:
    """What stands for a file in a stored message; "" for one that cannot be asked for."""
    url = a_text(attachment.get("url")).strip()
    if not re.match(r"https?://[^/\s]", url):
        return ""
    quoted = quote(url.removeprefix("https://"), safe="/")
    return f"{payloads.CLOUD_MEDIA}{quoted}" if len(quoted) <= MOST_URL else ""


def file_url(media_id: str) -> str:
    """The URL that a file's id stands for."""
    written = unquote(media_id.removeprefix(payloads.CLOUD_MEDIA))
    return written if written.startswith("http://") else f"https://{written}"


def _choices(content: Sequence[object], text: str) -> list[str]:
    """What an SMS can show of buttons, cards and the like: their words, a line each, and none that is there already."""
    found: dict[str, None] = {}
    for one in content:
        for line in _lines(an_object(one)):
            if line.strip() and line.strip() != text.strip():
                found.setdefault(line.strip())
            if len(found) == MOST_OPTIONS:
                return [*found]
    return [*found]


def _lines(content: Mapping[str, object]) -> Iterator[str]:
    match _kind(content):
        case "quickreply":
            yield _option(content.get("quickReply"))
        case "buttonresponse":
            yield _option(content.get("buttonResponse"))
        case "card":
            yield from _card(content.get("card"))
        case "carousel":
            for card in a_list(an_object(content.get("carousel")).get("cards")):
                yield from _card(card)
        case "datepicker":
            picker = an_object(content.get("datePicker"))
            yield a_text(picker.get("title"))
            yield a_text(picker.get("subtitle"))
            for time in a_list(picker.get("availableTimes")):
                yield _bullet(a_text(an_object(time).get("dateTime")))
        case "notification" | "generictemplate" | "template":
            template = an_object(content.get("template"))
            for place in ("header", "body", "footer"):
                yield a_text(an_object(template.get(place)).get("text"))


def _card(value: object) -> Iterator[str]:
    card = an_object(value)
    yield a_text(card.get("title"))
    yield a_text(card.get("description"))
    for action in a_list(card.get("actions")):
        yield _option(action)


def _option(value: object) -> str:
    return _bullet(a_text(an_object(value).get("text")))


def _bullet(text: str) -> str:
    return f"- {text}" if text.strip() else ""


# ---------------------------------------------------------------- writing


def write_receipt(receipt: Receipt, at: float) -> bytes:
    """For POST …/inbound/open/receipt. `at`: seconds since 1970."""
    written: dict[str, object] = {
        "id": receipt.message_id,
        "channel": {"to": {"id": receipt.to_id}, "time": _time(at)},
        "status": receipt.status.value,
        "isFinalReceipt": True,
    }
    if receipt.status is ReceiptStatus.FAILED:
        reason = receipt.reason or Reason.GENERAL
        message = f"{reason.text} ({receipt.detail})" if receipt.detail else reason.text
        written["reasons"] = [{"code": REASONS[reason], "message": message}]
    return orjson.dumps(written)


def write_message(
    consumer_id: str, text: str, message_id: str, at: float, content: Sequence[Mapping[str, object]] = ()
) -> bytes:
    """For POST …/inbound/open/message. One that has no text has content."""
    channel: dict[str, object] = {"from": sender(consumer_id), "time": _time(at)}
    if message_id:
        channel["messageId"] = message_id
    written: dict[str, object] = {"channel": channel}
    if text:
        written["text"] = text
    if content:
        written["content"] = [*content]
    return orjson.dumps(written)


def sender(consumer_id: str) -> dict[str, str]:
    """Who writes. A number in E.164, with its plus, is a phone; whatever else stays as it is."""
    digits = consumer_id.removeprefix("+")
    if re.fullmatch(r"[1-9][0-9]{6,14}", digits, re.ASCII):
        return {"id": f"+{digits}", "idType": "Phone"}
    return {"id": consumer_id, "idType": "Email" if "@" in consumer_id else "Opaque"}


def attachment(url: str, name: str, mimetype: str) -> dict[str, object]:
    """A file that Genesys Cloud reads at a URL; a message has one."""
    kind = mimetype.partition("/")[0].capitalize()
    media_type = kind if kind in ("Image", "Video", "Audio") else "File"
    return {
        "contentType": "Attachment",
        "attachment": {"mediaType": media_type, "url": url, "mime": mimetype, "filename": name},
    }


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
