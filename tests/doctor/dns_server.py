"""A name server on loopback: real packets over UDP, and over TCP where an answer does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

UDP_ROOM = 1232  # bytes
Zone = Mapping[str, Mapping[str, Sequence[str]]]  # name -> type -> rows as a zone file has them


@dataclass(slots=True)
class NameServer:
    """What it knows; a name that it does not know is NXDOMAIN, a name in `silent` gets no answer."""

    zone: dict[str, dict[str, list[str]]]
    silent: frozenset[str] = frozenset()
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, packet: bytes, room: int) -> bytes | None:
        query = dns.message.from_wire(packet)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.silent:
            return None
        made = dns.message.make_response(query)
        there = self.zone.get(name)
        if there is None:
            made.set_rcode(dns.rcode.NXDOMAIN)
        elif rows := there.get(kind):
            made.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *rows))
        wire = made.to_wire(max_size=65535)
        if len(wire) > room:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC
            wire = short.to_wire()
        return wire


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self._server.answer(data, UDP_ROOM)) is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def serving(zone: Zone, silent: Sequence[str] = ()) -> AsyncIterator[NameServer]:
    whole = {name.lower(): {kind: list(rows) for kind, rows in kinds.items()} for name, kinds in zone.items()}
    server = NameServer(whole, frozenset(silent))

    async def by_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = server.answer(await reader.readexactly(length), 65535)
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
        writer.close()

    tcp = await asyncio.start_server(by_tcp, "127.0.0.1", 0)
    server.port = tcp.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(server), local_addr=("127.0.0.1", server.port))
    try:
        yield server
    finally:
        udp.close()
        tcp.close()
        await tcp.wait_closed()


def txt(text: bytes | str) -> str:
    """One TXT row as a zone file has it, in strings of 255 bytes."""
    raw = text.encode() if isinstance(text, str) else text
    pieces = [raw[at : at + 255] for at in range(0, len(raw), 255)] or [b""]
    return " ".join('"' + "".join(f"\\{byte:03d}" for byte in piece) + '"' for piece in pieces)
