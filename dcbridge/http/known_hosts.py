"""Which Host a listener without a login answers to.

A web page may bring a browser to any port of the computer that it runs on: its own name is made to lead to
127.0.0.1 (DNS rebinding), and what is answered counts as its own. The browser still says that name in Host.
An IP address in Host needs no look: no DNS was asked, so nobody can have changed where it leads.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_NAME = re.compile(r"(?:\*|(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,252}))")
MISDIRECTED = 421


class KnownHosts:
    """An ASGI app in front of another: requests for other hosts are answered 421 and go no further.

    `names` are host names in small letters, without a port; "*.example.com" is every name below it, "*" is any.
    localhost and what is below it, and every IP address, are known. A request without Host comes from no browser.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (), *, setting: str = "") -> None:
        """`setting` is where an operator would add a name."""
        self._app = app
        self._names = frozenset(name.rstrip(".") for name in names)
        self._below = tuple(name[1:] for name in self._names if name.startswith("*."))
        self._mend = f"; add it to {setting}" if setting else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._knows([value for name, value in scope["headers"] if name == b"host"]):
            answer = PlainTextResponse(f"this listener is not known under that host{self._mend}\n", MISDIRECTED)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _knows(self, hosts: list[bytes]) -> bool:
        if len(hosts) > 1:
            return False
        return not hosts or "*" in self._names or self._is_known(hosts[0].decode("latin-1"))

    def _is_known(self, host: str) -> bool:
        name = _without_port(host).lower()
        if not name or _is_address(name):
            return bool(name)
        name = name.removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        return any(name.endswith(suffix) and len(name) > len(suffix) for suffix in self._below)


def read_names(text: str) -> tuple[str, ...]:
    """Names apart by commas or white space. Raises ValueError with what is wrong with one."""
    names = tuple(name.lower().rstrip(".") for name in re.split(r"[,\s]+", text) if name)
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError("should be host names without a port, apart by commas: metrics.example.com, *.example.com")
    return names


def _without_port(host: str) -> str:
    """The part before the port; "" where it cannot be read."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:@/?#\\]+)(?::[0-9]*)?", host)
    return found[1] if found else ""


def _is_address(name: str) -> bool:
    """As a browser writes it: "127.1" and "0x7f.1" it has turned into 127.0.0.1 before it sends them."""
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
