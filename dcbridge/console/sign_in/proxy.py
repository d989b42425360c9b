"""The headers of an authenticating proxy, which count where it shows a secret, or comes from an address of its own."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from starlette.requests import Request

from dcbridge.config.console import Roles, TrustedProxy
from dcbridge.console.context import Person, Role, SignedIn
from dcbridge.console.sign_in.sessions import form_token
from dcbridge.printable import printable
from dcbridge.settings.process import Settings

LONGEST = 200  # characters of a name
MOST_GROUPS = 1000


def role_of(groups: list[str], roles: Roles) -> Role | None:
    """The highest; None for somebody who is in none of the groups."""
    named = ((Role.ADMIN, roles.admin), (Role.OPERATOR, roles.operator), (Role.VIEWER, roles.viewer))
    return next((role for role, wanted in named if set(wanted) & set(groups)), None)


@dataclass(frozen=True, slots=True)
class Proxy:
    """The way of those whom a proxy has signed in."""

    settings: Settings
    proxy: TrustedProxy

    async def who(self, request: Request) -> SignedIn | None:
        if not self._is_trusted(request):
            return None
        names = request.headers.getlist(self.proxy.user_header)
        if len(names) != 1 or not names[0].strip():  # one that was written twice is not the proxy's alone
            return None
        lines = request.headers.getlist(self.proxy.groups_header)
        groups = [one.strip() for line in lines for one in line.split(",")][:MOST_GROUPS]
        role = role_of(groups, self.proxy.roles) if len(lines) == 1 else None
        if role is None:
            return None
        name = printable(names[0].strip())[:LONGEST]
        return SignedIn(Person(name, role, "proxy"), form_token(self.settings, f"proxy {name}"))

    def _is_trusted(self, request: Request) -> bool:
        """Every proof that is configured has to be there."""
        if self.proxy.peers and not _is_in(request.client.host if request.client else "", self.proxy.peers):
            return False
        if self.proxy.secret is None:
            return bool(self.proxy.peers)
        shown = request.headers.getlist(self.proxy.secret_header)
        wanted = self.proxy.secret.get_secret_value().encode()
        return len(shown) == 1 and hmac.compare_digest(shown[0].encode("latin-1", "replace"), wanted)


def _is_in(host: str, networks: tuple[str, ...]) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in ip_network(one) or address in ip_network(one) for one in networks)
