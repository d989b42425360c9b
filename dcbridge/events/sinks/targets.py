"""Which subscribers send the same events to the same place: told by `dcbridge check`, because it is seldom meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel

from dcbridge.events.subscription import EVERYTHING, KINDS
from dcbridge.settings.redis_url import read_address

_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671, "nats": 4222, "tls": 4222}


def shared(subscribers: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(subscriber, the one before it that some events reach at the same place); entries are those of bridge.yaml.

    Entries that cannot be read are left out: they are refused elsewhere.
    """
    live = [(name, one) for name, one in subscribers.items() if one.get("on", True) is not False]
    for (first, one), (second, other) in combinations(live, 2):
        if _same_place(one.get("sink"), other.get("sink")) and _same_events(one, other):
            yield second, first


def _same_events(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(_overlap(one.get(name), other.get(name)) for name in ("events", "media", "subtypes"))


def _overlap(one: object, other: object) -> bool:
    """Two filters that let something through together; none, or `*`, lets everything through."""
    words = [
        {word.casefold() for word in filter_ if isinstance(word, str)} if isinstance(filter_, list | tuple) else set()
        for filter_ in (one, other)
    ]
    return any(not some or EVERYTHING in some for some in words) or bool(words[0] & words[1])


def _same_place(one: object, other: object) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one.get("kind") != other.get("kind"):
        return False
    try:
        return _same(str(one.get("kind")), one, other)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _same(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def of(name: str) -> tuple[Any, Any]:
        default = _default(kind, name)
        return one.get(name, default), other.get(name, default)

    def equal(name: str) -> bool:
        first, second = of(name)
        return bool(first == second)

    match kind:
        case "http":
            return _url(one["url"]) == _url(other["url"])
        case "redis-stream":
            return equal("stream") and _redis(one["url"]) == _redis(other["url"])
        case "amqp":
            return _broker(one["url"]) == _broker(other["url"]) and equal("exchange") and _meet(*of("routing_key"))
        case "nats":
            return _any_in_common(one["servers"], other["servers"]) and _meet(*of("subject"))
        case "kafka":
            return _any_in_common(one["servers"], other["servers"]) and equal("topic")
    return False


def _default(kind: str, name: str) -> Any:
    model: type[BaseModel] = KINDS[kind]
    return model.model_fields[name].default


def _url(url: str) -> tuple[str, str | None, int | None, str, str]:
    """As two spellings of one URL agree; http and https are two places."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path or "/", parts.query


def _redis(url: str) -> tuple[frozenset[tuple[str, int]], str, str, int]:
    address = read_address(url)
    return frozenset(address.hosts), address.service, address.path if address.scheme == "unix" else "", address.db


def _broker(url: str) -> tuple[str | None, int | None, str]:
    """Host, port and virtual host; the user is nobody's place."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.strip("/") or "/"


def _any_in_common(one: list[str], other: list[str]) -> bool:
    return bool({_server(server) for server in one} & {_server(server) for server in other})


def _server(server: str) -> tuple[str | None, int | None]:
    parts = urlsplit(server if "://" in server else f"kafka://{server}")
    return parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _meet(one: str, other: str) -> bool:
    """Can two templates come out as one word? Where both have placeholders, only equal ones are known to."""
    return one == other or _fits(one, other) or _fits(other, one)


def _fits(template: str, word: str) -> bool:
    pieces = re.split(r"\{[^{}]*\}", template)
    return "{" not in word and bool(re.fullmatch("[A-Za-z0-9_-]+".join(map(re.escape, pieces)), word))
