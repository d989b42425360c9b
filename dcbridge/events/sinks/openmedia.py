"""Dead letters as work items of Genesys' Openmedia API: a task for an agent, made once and ended with its letter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import httpx
from pydantic import AfterValidator, Field

from dcbridge.errors import SendError
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.fields import TlsFields, server_url, shown
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import web_address
from dcbridge.events.sinks.web import open_sender
from dcbridge.genesys import openmedia
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.openmedia import Item, Service
from dcbridge.genesys.operations import Operation
from dcbridge.json_values import a_text
from dcbridge.ledger.dead_letters import NO_CHANNEL
from dcbridge.ledger.fields import Kind
from dcbridge.settings.types import HeaderSecret

if TYPE_CHECKING:
    from dcbridge.genesys.operations import Client
    from dcbridge.transport.sender import Sender

WRITTEN, REPLAYED, DROPPED, HANDLED = (f"dead_letter.{word}" for word in ("written", "replayed", "dropped", "handled"))
TEST = "subscriber.test"
CREATE, LOOK, UPDATE, STOP = (Operation("openmedia", name) for name in ("create", "look", "update", "stop"))
_MUCH = 100  # characters of what a reason says

Shown = Literal["address", "text"]
_OF_CONSUMERS = (Kind.CALLBACK, Kind.CONSUMER, Kind.MAIL, Kind.BOOK)


def _subject(kind: str, reason: str) -> str:
    if kind == Kind.CALLBACK and NO_CHANNEL in reason:
        return "A message to a number or address that no channel has"
    return {
        Kind.CALLBACK.value: "A provider's callback that could not be read",
        Kind.CONSUMER.value: "A consumer's message that Digital Channels refused",
        Kind.BOOK.value: "A call that could not be booked",
        Kind.MAIL.value: "An email that could not be read, or that no channel has the address of",
    }.get(kind, f"Could not be processed: {kind}")


def _base(value: str) -> str:
    url = server_url(value, ("https", "http"), "https://digital.example.com/nexus/v3").rstrip("/")
    if "?" in url or "#" in url or "@" in url:
        raise ValueError("should have no user, query or fragment")
    return url


class Openmedia(TlsFields):
    """A service of open media, whose routing gives each item to an agent."""

    only: ClassVar[tuple[str, ...]] = (WRITTEN, REPLAYED, DROPPED, HANDLED)
    in_order: ClassVar[bool] = True
    example: ClassVar[Mapping[str, object]] = {
        "url": "https://digital.example.com/nexus/v3",
        "service": "bridge-tasks",
        "api_key": "${GENESYS_API_KEY}",
    }

    kind: Literal["openmedia"] = Field(description="This kind of sink.")
    url: Annotated[str, AfterValidator(_base)] = Field(description="URL of the Openmedia API, up to /nexus/v3.")
    service: str = Field(
        min_length=1, max_length=100, pattern=r"^[^\s/?#]+$", description="Name of the open media service."
    )
    api_key: HeaderSecret = Field(description="Sent as x-api-key.")
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        _OF_CONSUMERS,
        description="Kinds of dead letters that become items.",
        json_schema_extra={"default": "callback, consumer, mail and book: what consumers wrote, or asked for"},
    )
    show: tuple[Shown, ...] = Field(
        (), description="What of the dead letter the agent sees: address and text are the consumer's."
    )

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return web_address(_base(one["url"])) == web_address(_base(other["url"])) and cls._equal("service", one, other)

    @property
    def place(self) -> str:
        return shown(self.url)


class OpenmediaSink:
    """One service. A repetition of a delivery finds the item that it made, by its externalId."""

    def __init__(self, fields: Openmedia, options: SinkOptions) -> None:
        self._fields, self._options = fields, options
        self._service = Service(fields.url, fields.service)
        self._sender: Sender | None = None
        self._client: Client | None = None

    async def deliver(self, event: Event) -> bool:
        """True where there was an item already. Raises a SendError."""
        if event.name == TEST:
            external = f"dcb-test-{event.id.replace('_', '-')}"
            openmedia.created(
                await self._ask(CREATE, self._create(external, event.received_at, {"Subject": "A test of dcbridge"}))
            )
            await self._stop(external, "Discarded", "a test")
            return False
        letter, kind = _text(event, "letter"), _text(event, "kind")
        if not letter or kind not in self._fields.kinds:
            return False
        at = int(_text(event, "at") or 0)
        external = openmedia.external_id(letter, at)
        trace = await self._trace(letter)
        match event.name:
            case "dead_letter.written":
                return await self._open_item(event, letter, at, external, trace)
            case "dead_letter.replayed":
                await self._end_item(external, "Resolved", "processed after all", trace)
            case "dead_letter.dropped":
                await self._end_item(external, "Discarded", "dropped by an operator", trace)
        return False

    async def look(self, letter: str, at: int) -> Item | SendError:
        """What has become of an item. Raises a SendError where there is no answer."""
        request = self._service.look(openmedia.external_id(letter, at))
        return openmedia.what_became(await self._ask(LOOK, request, await self._trace(letter)))

    async def close(self) -> None:
        if self._sender:
            await self._sender.close()

    async def _open_item(self, event: Event, letter: str, at: int, external: str, trace: str) -> bool:
        letters = self._options.letters
        content = await letters.content(letter, at) if letters else None
        if letters and content is None:
            return False  # it has left meanwhile
        kind, reason = _text(event, "kind"), _text(event, "reason")[:_MUCH]
        least = {"Subject": _subject(kind, reason), "Letter": letter}
        data = {**least, "Kind": kind, "Reason": reason, "Channel": _text(event, "channel")}
        if content and "address" in self._fields.show:
            data["From"] = content.address
        if content and "text" in self._fields.show:
            data["Text"] = content.text
        written = datetime.fromtimestamp(at / 1000, UTC)
        whole = self._create(external, written, {name: one for name, one in data.items() if one})
        answer = await self._ask(CREATE, whole, trace)
        if answer.http == 400:  # a property that the service does not take must not cost the agent the task
            answer = await self._ask(CREATE, self._create(external, written, least), trace)
        openmedia.created(answer)
        if letters:
            await letters.item_opened(letter, at, self._options.subscriber)
        return answer.http == 409

    async def _end_item(self, external: str, reason: str, words: str, trace: str) -> None:
        answer = await self._ask(UPDATE, self._service.update(external, {"State": words}), trace)
        if answer.http == 404:
            return  # it is not there, or not any more
        if not answer.good and answer.http != 400:  # a state that cannot be written must not keep the item open
            raise answer.error()
        await self._stop(external, reason, words, trace)

    async def _stop(self, external: str, reason: str, words: str, trace: str = "") -> None:
        openmedia.stopped(await self._ask(STOP, self._service.stop(external, reason, words), trace))

    def _create(self, external: str, at: datetime, data: Mapping[str, str]) -> httpx.Request:
        return self._service.create(external, at.timestamp(), data)

    async def _trace(self, letter: str) -> str:
        return await self._options.letters.trace(letter) if self._options.letters else ""

    async def _ask(self, operation: Operation, request: httpx.Request, trace: str = "") -> Reading:
        return await self._open().send(operation, request, trace)

    def _open(self) -> Client:
        """Made with the first event, as for webhooks."""
        if self._client is None:
            if self._options.client is None:
                raise RuntimeError("this sink needs a client of Genesys' interfaces")
            self._sender = open_sender(self._fields, self._options)
            self._client = self._options.client(self._fields.api_key.get_secret_value(), self._sender)
        return self._client


def _text(event: Event, name: str) -> str:
    return a_text(event.fields.get(name))
