"""How a dead letter is put back where it came from, each kind its own way.

What cannot be put back stays a letter and says why. Ids begin with what they are: w- an agent
message that no receipt could name, m- one that was told Failed, r- a receipt, t- a task or a delivery (its
id follows), u- a delivery update, i- an interaction batch, e- one entity of such a batch.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property

import orjson

from dcbridge import intake
from dcbridge.config.models import Configuration
from dcbridge.events.event import lane, read
from dcbridge.genesys import payloads
from dcbridge.genesys.cloud import NoMessage
from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.bookings import book_lane
from dcbridge.ledger.dead_letters import DeadLetter
from dcbridge.ledger.deliveries import event_of, subscriber_of
from dcbridge.ledger.fields import Kind, TaskState
from dcbridge.providers.base import Callback, Provider
from dcbridge.providers.callback import callback_lane, consumer_lane, lane_for, mail_lane, unpack


@dataclass(frozen=True, slots=True)
class Replayed:
    """Whether the letter has left, or would leave, what became of it in words, and the name it goes by now."""

    done: bool
    says: str
    name: str = ""


def may_be_mended(letter: DeadLetter) -> bool:
    """Whether a person may put other bytes in place of its own: a webhook of Genesys that cannot be read, which has
    caused nothing yet. In all others the bytes are what a consumer or a provider said, or were answered already.
    """
    if letter.reason.startswith(intake.ELSEWHERE):
        return False
    return (letter.kind == Kind.AGENT_MESSAGE and letter.id.startswith("w-")) or letter.kind == Kind.INTERACTION_BATCH


GONE = Replayed(False, "no such dead letter")
_TOLD = "the agent saw Failed ({}): a message ends once, so only the agent can send it again"


class Replay:
    """Puts letters back; with `dry_run` it says what would be done and changes nothing."""

    def __init__(self, ledger: Ledger, configuration: Configuration, *, dry_run: bool = False) -> None:
        self._ledger = ledger
        self._letters = ledger.dead_letters
        self._configuration = configuration
        self._dry = dry_run
        self._mended: bytes | None = None

    async def one(self, letter: DeadLetter, mended: bytes | None = None) -> Replayed:
        """Put one letter back. Asking twice does nothing the second time. `mended`: these bytes instead of its own, of
        a letter that `may_be_mended`.
        """
        raw = await self._letters.raw(letter.id)
        if raw is None:
            return GONE
        if mended is not None:
            self._mended = mended if may_be_mended(letter) else None
            if self._mended is None:
                return Replayed(False, "this kind of dead letter cannot be mended")
        for kind, handle in HANDLERS.items():
            if kind == letter.kind:
                return await handle(self, letter, raw)
        return Replayed(False, f"this version cannot replay a dead letter of kind {letter.what}")

    async def _agent_message(self, letter: DeadLetter, raw: bytes) -> Replayed:
        """Read it as the service does. A message whose receipt could not be signed is left alone."""
        if letter.id.startswith("m-"):
            return Replayed(False, _TOLD.format(letter.reason))
        endpoint = self._endpoint_of(letter.id, letter.reason, raw)
        try:
            found = intake.read(self._configuration, endpoint, self._bytes(raw), uuid.uuid4().hex)
        except NoMessage:
            return Replayed(False, "still cannot be carried: it is not a message")
        if not found.readable:
            return Replayed(False, "still cannot be read: the body is not JSON")
        if any(one.reason.startswith(intake.ELSEWHERE) for one in found.dead_letters):
            return Replayed(False, "its channel still belongs to another endpoint than the one that received it")
        if found.dead_letters or found.unconfigured:
            return Replayed(False, f"still cannot be carried: {found.problems[0]}")
        firsts = dict.fromkeys(copy.first_ref for copy in found.copies)
        known = {first for first in firsts if await self._ledger.messages.entry(first)}
        copies = [copy for copy in found.copies if copy.first_ref not in known]
        if not copies:
            return Replayed(False, "was accepted since, in another delivery: drop this dead letter")
        ends = next((f"ends as Failed: {copy.reason} {copy.detail}" for copy in copies if copy.reason), "will be sent")
        return await self._do(f"accepted, and {ends}", copies[0].ref, lambda: self._letters.accept(letter.id, copies))

    def _endpoint_of(self, letter_id: str, reason: str, raw: bytes) -> str:
        """Where it came to, so that its messages are named as the sender was answered at the time; "": nobody knows."""
        if reason.startswith(intake.ELSEWHERE):
            return reason.removeprefix(intake.ELSEWHERE)
        known = self._configuration
        return next((one for one in known.endpoints if intake.names_letter(letter_id, one, raw, known)), "")

    async def _receipt(self, letter: DeadLetter, raw: bytes) -> Replayed:
        ref = letter.id.removeprefix("r-")
        entry = await self._ledger.messages.entry(ref)
        if not entry:
            return Replayed(False, "the ledger has forgotten the message, so no receipt is owed: drop this dead letter")
        if not entry.receipt_refused:
            return Replayed(False, "was posted since, or is owed already: drop this dead letter")
        try:
            channel = orjson.loads(raw)["messages"][0]["channel"]
            sender, to = str(channel["from"]["id"]), str(channel["to"]["id"])
        except (ValueError, LookupError, TypeError):
            return Replayed(False, "its bytes are not a receipt")
        return await self._do(
            "the receipt will be posted again", ref, lambda: self._letters.owe_receipt(letter.id, ref, sender, to)
        )

    async def _task(self, letter: DeadLetter, raw: bytes) -> Replayed:
        task_id = letter.id.removeprefix("t-")
        try:
            if letter.kind == Kind.CONSUMER:
                lane, says = (
                    consumer_lane(letter.channel_id, orjson.loads(raw)["from"]),
                    "will be posted to the agent again",
                )
            elif letter.kind == Kind.BOOK:
                told = orjson.loads(raw)
                lane, says = book_lane(told["kind"], told["key"]), "the call will be booked again"
            elif letter.kind == Kind.MAIL:
                lane, says = mail_lane(letter.channel_id, orjson.loads(raw)["from"]), "the mail will be read again"
            else:
                provider, callback = unpack(raw)
                lane, says = self._lane(provider, callback), "the callback will be processed again"
        except (ValueError, LookupError, TypeError):
            return Replayed(False, "its bytes are not a task")
        state = (await self._ledger.tasks.entry(task_id)).state or TaskState.DEAD
        if state != TaskState.DEAD:
            return Replayed(False, f"arrived again since, and is {state}: drop this dead letter")
        task = NewTask(task_id, letter.kind, lane, raw, "", letter.channel_id)
        return await self._do(says, task_id, lambda: self._letters.again(letter.id, task))

    async def _update(self, letter: DeadLetter, raw: bytes) -> Replayed:
        """The callback's own task is done and remembered, so this is another; one that nobody knows comes back here."""
        try:
            provider, callback = unpack(raw)
        except (ValueError, LookupError, TypeError):
            return Replayed(False, "its bytes are not a callback")
        lane = self._lane(provider, callback)
        task = NewTask(f"b-{secrets.token_hex(12)}", "callback", lane, raw)
        return await self._do(
            "the callback will be processed again", task.id, lambda: self._letters.put_task(letter.id, task)
        )

    @cached_property
    def _providers(self) -> dict[str, Provider]:
        return self._configuration.build_providers()

    def _lane(self, name: str, callback: Callback) -> str:
        """As the service would have it; of a provider that is not configured any more, by its address alone."""
        provider = self._providers.get(name)
        return lane_for(provider, callback) if provider else callback_lane(name, callback.kind)

    async def _batch(self, letter: DeadLetter, raw: bytes) -> Replayed:
        endpoints = [
            name for name in self._configuration.interactions if letter.id == f"i-{payloads.made_up_id(name, raw)}"
        ]
        if not endpoints:
            return Replayed(False, "its endpoint is not configured any more")
        try:
            body = self._bytes(raw)
            operation, events = payloads.read_interactions(body)
        except payloads.NotJson:
            return Replayed(False, "still cannot be read: the body is not JSON")
        name = intake.batch_id(endpoints[0], body, operation, events)
        if await self._ledger.events.has_batch(name):
            return Replayed(False, "was accepted since, in another delivery: drop this dead letter")
        trace = uuid.uuid4().hex
        return await self._do(
            "the batch will be split again",
            name,
            lambda: self._letters.put_batch(letter.id, name, endpoints[0], trace, body),
        )

    async def _entity(self, _letter: DeadLetter, _raw: bytes) -> Replayed:
        return Replayed(False, "it has neither an interaction id nor an event name, so it cannot be delivered: drop it")

    async def _delivery(self, letter: DeadLetter, raw: bytes) -> Replayed:
        """To the subscriber that did not take it, at its own pace."""
        delivery_id = letter.id.removeprefix("t-")
        event_id, name = event_of(delivery_id), subscriber_of(delivery_id)
        subscriber = self._configuration.subscribers.get(name)
        if subscriber is None or not subscriber.on:
            return Replayed(False, "its subscriber is not in bridge.yaml, or is off")
        try:
            event = read(event_id, raw).event
        except (ValueError, LookupError, TypeError):
            return Replayed(False, "its bytes are not an event")
        if await self._ledger.tasks.entry(delivery_id):
            return Replayed(False, "already waits for delivery again: drop this dead letter")
        where = lane(name, subscriber, event)
        return await self._do(
            "will be delivered to its subscriber again",
            delivery_id,
            lambda: self._letters.put_delivery(letter.id, event_id, name, where, raw),
        )

    def _bytes(self, raw: bytes) -> bytes:
        return raw if self._mended is None else self._mended

    async def _do(self, says: str, name: str, write: Callable[[], Awaitable[str]]) -> Replayed:
        if self._dry:
            return Replayed(True, says)
        answer = await write()
        if answer == "new":
            return Replayed(True, says, name)
        return GONE if answer == "gone" else Replayed(False, f"not replayed, because it changed meanwhile: {answer}")


HANDLERS: dict[Kind, Callable[[Replay, DeadLetter, bytes], Awaitable[Replayed]]] = {
    Kind.AGENT_MESSAGE: Replay._agent_message,
    Kind.RECEIPT: Replay._receipt,
    Kind.CALLBACK: Replay._task,
    Kind.MAIL: Replay._task,
    Kind.CONSUMER: Replay._task,
    Kind.BOOK: Replay._task,
    Kind.DELIVERY_UPDATE: Replay._update,
    Kind.INTERACTION_BATCH: Replay._batch,
    Kind.INTERACTION_ENTITY: Replay._entity,
    Kind.DELIVERY: Replay._delivery,
}
