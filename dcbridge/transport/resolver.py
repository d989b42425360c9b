"""Names to addresses for an aiohttp client, each of which a Guard has judged."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from aiohttp.abc import AbstractResolver, ResolveResult

from dcbridge.transport.ssrf import Guard

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


def resolver_of(guard: Guard) -> AbstractResolver:
    """Names to addresses, all of which may be reached; for the running event loop."""
    return JudgedNames(guard, guard.names or SystemNames())


class JudgedNames(AbstractResolver):
    """One forbidden address among several is no better than one alone: who put it there controls the name."""

    def __init__(self, guard: Guard, names: AbstractResolver) -> None:
        self._guard = guard
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._names.resolve(host, port, family)
        for one in found:
            self._guard.check(one["host"])
        return found

    async def close(self) -> None:
        await self._names.close()


class SystemNames(AbstractResolver):
    """The system's resolver in a thread of its own: a name server that hangs holds up nobody else's names."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        infos = await asyncio.get_running_loop().run_in_executor(self._thread, ask)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=version, proto=protocol, flags=_NUMERIC
            )
            for version, _kind, protocol, _name, address in infos
        ]

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
