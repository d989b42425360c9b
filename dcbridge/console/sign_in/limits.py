"""How often somebody may try to sign in: by where they come from, and all together. In bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

PEERS = 10_000  # that are remembered
MINUTE = 60.0


class Attempts:
    """So many a minute of one peer, and of all."""

    def __init__(self, each: int = 20, total: int = 300, clock: Callable[[], float] = time.monotonic) -> None:
        self._each, self._total, self._clock = each, total, clock
        self._peers: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._all = (0.0, 0)

    def may(self, peer: str) -> bool:
        """Whether one more is allowed; it counts."""
        now, name = self._clock(), network_of(peer)
        of_peer, self._all = _counted(self._peers.pop(name, (now, 0)), now), _counted(self._all, now)
        self._peers[name] = of_peer
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        return of_peer[1] <= self._each and self._all[1] <= self._total


def _counted(seen: tuple[float, int], now: float) -> tuple[float, int]:
    began, count = seen
    return (now, 1) if now - began >= MINUTE else (began, count + 1)


def network_of(peer: str) -> str:
    """An IPv6 customer has a /64 at least."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network(f"{address}/64", strict=False))
    return str(address)
