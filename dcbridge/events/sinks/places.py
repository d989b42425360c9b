"""Whether two entries of bridge.yaml name one place: how each kind of address is compared."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from dcbridge.settings.redis_url import read_address

_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671, "nats": 4222, "tls": 4222}


def web_address(url: str) -> tuple[str, str | None, int | None, str, str]:
    """As two spellings of one URL agree; http and https are two places."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path or "/", parts.query


def redis_address(url: str) -> tuple[frozenset[tuple[str, int]], str, str, int]:
    address = read_address(url)
    return frozenset(address.hosts), address.service, address.path if address.scheme == "unix" else "", address.db


def broker(url: str) -> tuple[str | None, int | None, str]:
    """Host, port and virtual host; the user does not matter."""
    parts = urlsplit(url)
    return parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path.strip("/") or "/"


def any_in_common(one: list[str], other: list[str]) -> bool:
    return bool({_server(server) for server in one} & {_server(server) for server in other})


def _server(server: str) -> tuple[str | None, int | None]:
    parts = urlsplit(server if "://" in server else f"kafka://{server}")
    return parts.hostname, parts.port or _PORTS.get(parts.scheme)


def meet(one: str, other: str) -> bool:
    """Can two templates come out as one word? Where both have placeholders, only equal ones are known to."""
    return one == other or _fits(one, other) or _fits(other, one)


def _fits(template: str, word: str) -> bool:
    pieces = re.split(r"\{[^{}]*\}", template)
    return "{" not in word and bool(re.fullmatch("[A-Za-z0-9_-]+".join(map(re.escape, pieces)), word))
