"""Which ways to sign in there are: those of bridge.yaml, or on one's own computer none."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from starlette.requests import Request

from dcbridge.config.console import Console
from dcbridge.console.context import Person, Role, SignedIn, Way
from dcbridge.console.sign_in.proxy import Proxy
from dcbridge.console.sign_in.sessions import Sessions
from dcbridge.console.sign_in.tokens import Bearer
from dcbridge.ledger.console import ConsoleStore
from dcbridge.settings.process import Settings
from dcbridge.settings.types import is_loopback

_FORWARDED = ("forwarded", "x-forwarded-", "x-real-ip", "via")  # how such names begin
_YOU = Person("you", Role.ADMIN, "dev")


@dataclass(frozen=True, slots=True)
class OwnComputer:
    """Whoever reaches the port from this computer; `dcbridge dev` binds it to loopback, where that is its user."""

    person: Person = _YOU
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    async def who(self, request: Request) -> SignedIn | None:
        """What a proxy brings comes from elsewhere."""
        if request.client is None or not is_loopback(f"http://{_in_url(request.client.host)}"):
            return None
        return None if _begin_with(request, _FORWARDED) else SignedIn(self.person, self.csrf)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _begin_with(request: Request, names: Iterable[str]) -> bool:
    return any(name.startswith(tuple(names)) for name in request.headers)


def ways_of(settings: Settings, console: Console, store: ConsoleStore) -> tuple[Way, ...]:
    """What a request is asked for, one after the other."""
    found: list[Way] = [Bearer(store)] if console.tokens else []
    if console.tokens or console.oidc:
        found.append(Sessions(settings, console, store))
    if console.proxy:
        found.append(Proxy(settings, console.proxy))
    return tuple(found)
