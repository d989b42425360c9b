"""`dcbridge send`: post one test message as Digital Channels would, and show what becomes of it while it happens."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from dcbridge.cli.terminal import (
    CANNOT_ASK,
    NO,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    no_such,
    out,
    print_json,
    say_error,
)
from dcbridge.config.genesys_cloud import OPEN_MESSAGING
from dcbridge.config.models import Channel, Configuration
from dcbridge.errors import Refused, SendError
from dcbridge.genesys import signature
from dcbridge.ledger.fields import State
from dcbridge.messages import Address
from dcbridge.operations.session import Session
from dcbridge.printable import printable
from dcbridge.providers import phone
from dcbridge.providers.mail_message import mailbox_of

if TYPE_CHECKING:
    from dcbridge.operations.lives import Life

WITHIN = 15.0  # seconds for the webhook
LOOK = 0.3  # seconds between two looks
MOST_TEXT = 10_000  # characters
_ENDS = frozenset({State.DELIVERED, State.FAILED, State.REMOVED, State.UNCONFIRMED})
_DONE: Mapping[str, frozenset[str]] = {
    "submitted": frozenset({State.SENT, State.DELIVERED, State.UNCONFIRMED}),
    "delivered": frozenset({State.DELIVERED}),
}
_REFUSED = {
    401: "the service refused the signature: it runs with another secret than this bridge.yaml has",
    404: "there is no such endpoint: is that the service, and does it have this bridge.yaml?",
    413: "the message is too large: shorten --text",
    503: "the service could not store it: does it reach Redis?",
}


class NotOne(ValueError):
    """What was given is not one recipient; says why, and never what was given."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is posted, and where."""

    channel_id: str
    message_id: str
    url: str
    body: bytes = field(repr=False)


def send(
    channel: Annotated[str, typer.Option(help="Id of the channel in bridge.yaml.")],
    to: Annotated[
        list[str], typer.Option(help='The one number or mailbox to write to. "-" reads it from standard input.')
    ],
    text: Annotated[str, typer.Option(help="The text.")] = "Test message from dcbridge",
    subject: Annotated[str, typer.Option(help="The subject, of an email.")] = "Test message",
    until: Annotated[
        str, typer.Option(help="What to wait for: submitted (the provider has it) or delivered.")
    ] = "delivered",
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=1, max=3600)] = 60.0,
    url: Annotated[
        str | None, typer.Option(help="Base URL of the service. Default: public_url of bridge.yaml.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send one test message through the running service, and show its history while it happens.

    It is a real message: signed with the secret of bridge.yaml and posted to the webhook as Digital Channels does.
    Exit code 0: the message is where --until says; 1: it failed, or that took longer than --timeout.
    """
    if until not in _DONE:
        raise typer.BadParameter("should be submitted or delivered", param_hint="--until")
    if not text.strip() or len(text) > MOST_TEXT:
        raise typer.BadParameter(f"should have 1 to {MOST_TEXT} characters", param_hint="--text")

    async def work(session: Session) -> int:
        configuration = session.configuration
        known = configuration.channel(channel)
        if known is None:
            say_error(no_such("channel", channel, configuration.channels))
            return NO
        if known.platform == OPEN_MESSAGING:
            say_error(f"channel {channel} is of Open Messaging: send a message from Genesys Cloud instead")
            return NO
        try:
            message = message_of(configuration, known, channel, one_of(to), text, subject, url or "")
        except NotOne as error:
            say_error(f"--to {error}")
            return CANNOT_ASK
        return await _posted(session, message, until, timeout, as_json)

    raise at_the_ledger(config, work)


def one_of(given: list[str]) -> str:
    """The recipient, typed or from standard input. Raises NotOne."""
    if len(given) != 1:
        raise NotOne("should be given once: a test goes to one recipient")
    lines = [given[0]]
    if given[0] == "-":
        lines = [line for line in (sys.stdin.readline(400), sys.stdin.readline(400)) if line.strip()]
        if len(lines) != 1:
            raise NotOne("should be one line of standard input")
    if any(mark in lines[0].strip() for mark in ",;\n"):
        raise NotOne("should be one number or mailbox: a test goes to one recipient")
    return lines[0].strip()


def message_of(
    configuration: Configuration, channel: Channel, channel_id: str, to: str, text: str, subject: str, url: str
) -> Message:
    """The webhook, in the documented form. Raises NotOne."""
    message_id = f"try-{secrets.token_hex(6)}"
    endpoint = configuration.endpoint_of(channel_id)
    where = f"{(url or configuration.public_url).rstrip('/')}/webhooks/messages/{endpoint}"
    whole = (_email if channel.type == "email" else _sms)(channel, channel_id, to, message_id, text, subject)
    return Message(channel_id, message_id, where, orjson.dumps(whole))


def _sms(channel: Channel, channel_id: str, to: str, message_id: str, text: str, _subject: str) -> dict[str, Any]:
    try:
        number = phone.to_e164(to, channel.default_region)
    except Refused:
        raise NotOne("is no number that can be dialled: write it with its country code, +16504661149") from None
    ends = {"from": {"id": channel_id}, "to": {"id": channel.consumer(number)}}
    return {
        "channel": {"id": channel_id, "type": "sms", **ends, "messageId": message_id}, "type": "Text", "text": text,
    }  # fmt: skip


def _email(channel: Channel, channel_id: str, to: str, message_id: str, text: str, subject: str) -> dict[str, Any]:
    mailbox = mailbox_of(Address(to))
    if mailbox is None:
        raise NotOne("is no mailbox: write it as ada@example.com")
    sender = next((one for one in (channel.number, channel_id) if one and "@" in one), f"no-reply@{channel_id}")
    ends = {"from": {"id": sender}, "to": [{"id": mailbox.addr_spec}]}
    return {
        "channel": {"id": channel_id, "type": "email", **ends, "messageId": message_id},
        "type": "Email", "subject": subject, "content": [{"type": "text", "text": text}],
    }  # fmt: skip


async def _posted(session: Session, message: Message, until: str, patience: float, as_json: bool) -> int:
    import httpx

    from dcbridge.transport.sender import Sender

    configuration, channel_id = session.configuration, message.channel_id
    secret = configuration.secrets_for(configuration.endpoint_of(channel_id), channel_id)[0]
    headers = {
        "Content-Type": "application/json",
        signature.HEADER: signature.sign(secret, message.body),
        "X-B3-TraceId": secrets.token_hex(16),
    }
    async with Sender(connect_timeout=WITHIN, read_timeout=WITHIN) as sender:
        try:
            answer = await sender.http(httpx.Request("POST", message.url, content=message.body, headers=headers))
        except SendError as error:
            why = error.code or error.outcome.replace("_", " ")
            say_error(f"the service did not answer ({why}) at {message.url}: is it running there? See --url")
            return NO
    if answer.status_code != 200:
        reason = _REFUSED.get(answer.status_code, "that is not how dcbridge answers: see --url")
        say_error(f"HTTP {answer.status_code} of {message.url}: {reason}")
        return NO
    if not as_json:
        out.print(printable(f"{message.message_id}: accepted by {message.url}"), markup=False)
    return await _watch(session, message, until, patience, as_json)


async def _watch(session: Session, message: Message, until: str, patience: float, as_json: bool) -> int:
    """Print each step as it comes, until the message is where it should be, or at an end."""
    from dcbridge.operations.lives import as_json as life_as_json
    from dcbridge.operations.lives import lives

    deadline, shown, life = time.monotonic() + patience, 0, None
    while True:
        found = await lives(session, message.message_id, message.channel_id)
        life = found[0] if found else life
        if life is not None and not as_json:
            shown = _show_new(life, shown)
        state = str(life.facts["state"]) if life is not None else ""
        if state in _ENDS or state in _DONE[until] or time.monotonic() >= deadline:
            break
        await asyncio.sleep(min(LOOK, patience))
    if as_json and life is not None:
        print_json(life_as_json(life))
    return _result(message, state, until, patience)


def _show_new(life: Life, shown: int) -> int:
    from dcbridge.cli.trace import in_one_line

    happened = [hop for hop in life.hops if not hop.what.startswith("due")]
    for hop in happened[shown:]:
        out.print(printable(in_one_line(hop, life)), markup=False)
    return max(shown, len(happened))


def _result(message: Message, state: str, until: str, patience: float) -> int:
    more = f"`dcbridge trace {message.message_id}`"
    if state in _DONE[until]:
        return 0
    if state in _ENDS:
        say_error(f"the message ended as {state}: see {more}")
    elif not state:
        say_error(f"the service accepted the message, and this Redis does not have it: see DCBRIDGE_REDIS_URL, {more}")
    else:
        say_error(f"after {patience:g} s the message is {state}, and still under way: see {more}")
    return NO
