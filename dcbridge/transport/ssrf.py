"""Which addresses may be reached by a request whose URL an operator wrote and whose DNS somebody else keeps.

Public addresses may. Everything else may where it was allowed: by the host, for addresses that a network gives to
its own machines; by an address or a range, for all others too; the metadata services of clouds by their own
address alone. The address that was judged is the one that is connected to: names are resolved here, once for a
connection, and each socket is judged again as it is made.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(words: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in words.split())


# https://www.iana.org/assignments/iana-ipv4-special-registry and iana-ipv6-special-registry, November 2026; Python's
# own is_global has changed between its releases.
_OF_A_NETWORK = _networks("10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")
_SPECIAL = _networks(
    """
    0.0.0.0/8 169.254.0.0/16 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24
    224.0.0.0/4 240.0.0.0/4 2001::/23 2001:db8::/32 3fff::/20
    """
)
_GLOBAL_UNICAST = ip_network("2000::/3")  # all that IANA gives away of IPv6
_NAT64 = ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ip_network("2002::/16")
_METADATA = frozenset(
    ip_address(word)
    # AWS, Google, Azure and others; AWS; Google; Alibaba; Oracle; Azure's WireServer
    for word in ["169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"]
)

_HOST = re.compile(r"(?!.*\.\.)[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\.?")


class ForbiddenAddress(OSError):
    """A connection that is not made. Says nothing of the address."""

    def __init__(self) -> None:
        super().__init__("an address that is not allowed")


def _allowed(value: str) -> str:
    network_of(value)
    return value


def network_of(word: str) -> Network | None:
    """What an entry of an allow list opens: a range, or None for a host. Raises ValueError for neither."""
    try:
        return ip_network(word.strip("[]"))
    except ValueError:
        pass
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        if not _HOST.fullmatch(word.lower()) or looks_numeric(word):
            raise ValueError("should be a host, an address, or a range such as 10.1.0.0/16") from None
        return None
    raise ValueError(f"should be {network.network_address}/{network.prefixlen}: a range begins at its first address")


def plain(host: str) -> str:
    """A host in the form in which two are compared."""
    return host.lower().rstrip(".")


Allowed = Annotated[str, AfterValidator(_allowed)]


def looks_numeric(host: str) -> bool:
    """A host that a resolver could take for an IPv4 address: 2130706433, 0x7f.1, 127.1, 017700000001, 127.0.0.1."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or bool(re.fullmatch(r"0x[0-9a-f]*", last))


def literal(host: str) -> Address | None:
    """The address that a URL's host is, or None for a name. Raises ValueError for one that is written oddly."""
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        if looks_numeric(host) or ":" in host:
            raise ValueError("should be a name, or an address as in 192.0.2.7 or [2001:db8::7]") from None
        return None


def carried(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it: mapped, NAT64, 6to4; else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _SIX_TO_FOUR:
            return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address


class Guard:
    """What one URL may reach: public addresses, and what was allowed for it."""

    def __init__(self, host: str, allow: Iterable[str] = (), names: AbstractResolver | None = None) -> None:
        """`host` is that of the URL, `names` who resolves it. Raises ValueError for an entry of neither kind."""
        entries = {word: network_of(word) for word in allow}
        self._host = any(plain(word) == plain(host) for word, network in entries.items() if network is None)
        self._ranges = tuple(network for network in entries.values() if network is not None)
        self.names = names

    def allows(self, address: Address) -> bool:
        """May a connection be made to it?"""
        inner = carried(address)
        ranges = [network for network in self._ranges if address in network or inner in network]
        if address in _METADATA or inner in _METADATA:
            return any(network.num_addresses == 1 for network in ranges)
        if ranges:
            return True
        if any(inner in network for network in _OF_A_NETWORK):
            return self._host
        if any(inner in network for network in _SPECIAL):
            return False
        return isinstance(inner, IPv4Address) or inner in _GLOBAL_UNICAST

    def refuses(self, host: str) -> bool:
        """Is it clear already, without asking anybody, that the host of a URL may not be reached?"""
        local = plain(host) == "localhost" or plain(host).endswith(".localhost")
        try:
            address = literal("127.0.0.1" if local else host)
        except ValueError:
            return True
        return address is not None and not self.allows(address)

    def check(self, host: str) -> None:
        """Raises ForbiddenAddress unless the text is an address that may be reached, with nothing left to resolve."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            raise ForbiddenAddress from None
        if not self.allows(address):
            raise ForbiddenAddress

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for one address as getaddrinfo tells it. Raises ForbiddenAddress."""
        family, kind, protocol, _name, (host, *_port) = info
        self.check(host)
        return socket.socket(family=family, type=kind, proto=protocol)
