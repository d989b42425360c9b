"""How often somebody may try: by where they come from or who they are, and all together. In bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

PEERS = 10_000  # that are remembered
MINUTE, HOUR = 60.0, 3600.0


class Attempts:
    """So many in `every` seconds of one peer, and of all. What one tries beyond its share is not counted of all."""

    def __init__(
        self, each: int = 20, total: int = 300, every: float = MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each, self._total, self._every, self._clock = each, total, every, clock
        self._peers: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._all = (0.0, 0)

    def may(self, peer: str) -> bool:
        """Whether one more is allowed to an address; it counts."""
        return self.may_be_of(network_of(peer))

    def may_be_of(self, name: str) -> bool:
        """The same for whoever has this name."""
        now = self._clock()
        of_peer = self._peers[name] = self._counted(self._peers.pop(name, (now, 0)), now)
        while len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        if of_peer[1] > self._each:
            return False
        self._all = self._counted(self._all, now)
        return self._all[1] <= self._total

    def _counted(self, seen: tuple[float, int], now: float) -> tuple[float, int]:
        began, count = seen
        return (now, 1) if now - began >= self._every else (began, count + 1)


def network_of(peer: str) -> str:
    """An IPv6 customer has a /64 at least."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or ip_network(f"{address}/64", strict=False))
    return str(address)
