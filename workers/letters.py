"""What the sink of a subscriber may ask the ledger about the dead letters that its events tell of."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import orjson

from dcbridge.events.sinks.options import Content
from dcbridge.json_values import a_text, an_object, json_value
from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import Kind
from dcbridge.messages import ConsumerMessage
from dcbridge.providers.base import Provider
from dcbridge.providers.callback import unpack

LONGEST = 2000  # characters of a text; an agent needs no more to see what it is


class LettersOf:
    """One ledger's."""

    def __init__(self, ledger: Ledger, providers: Mapping[str, Provider]) -> None:
        self._ledger, self._providers = ledger, providers

    async def content(self, letter: str, at: int) -> Content | None:
        """None where it has left, or was written again since."""
        found = await anext(self._ledger.dead_letters.read([letter]))
        raw = await self._ledger.dead_letters.raw(letter)
        if found is None or raw is None or round(found.at * 1000) != at:
            return None
        return read_content(found.kind, raw, self._providers)

    async def trace(self, letter: str) -> str:
        return await self._ledger.dead_letters.trace(letter)

    async def item_opened(self, letter: str, at: int, subscriber: str) -> None:
        await self._ledger.work_items.opened(letter, at, subscriber)


def read_content(kind: str, raw: bytes, providers: Mapping[str, Provider]) -> Content:
    """As far as it can be read: what consumers wrote where it is that, and else the bytes as they came."""
    if kind == Kind.CALLBACK:
        return _callback(raw, providers)
    told = an_object(json_value(raw))
    if kind == Kind.BOOK:
        return Content(a_text(told.get("from")), "")
    if kind in (Kind.CONSUMER, Kind.MAIL):
        return Content(a_text(told.get("from")), a_text(told.get("text"))[:LONGEST])
    return Content("", orjson.dumps(told).decode()[:LONGEST] if told else "")


def _callback(raw: bytes, providers: Mapping[str, Provider]) -> Content:
    try:
        name, callback = unpack(raw)
    except (ValueError, LookupError, TypeError):
        return Content("", "")
    written: list[ConsumerMessage] = []
    with suppress(Exception):  # that it could not be read may be why it is here
        written += [one for one in providers[name].parse_callback(callback) if isinstance(one, ConsumerMessage)]
    if written:
        return Content(written[0].sender.id, "\n".join(one.text for one in written)[:LONGEST])
    return Content("", callback.body.decode("utf-8", "replace")[:LONGEST])
