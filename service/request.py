"""One request of a public route: the headers that matter, read in one walk, and its body within a limit."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.answer import Refusal

_TRACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_READ = frozenset((b"content-length", b"x-hub-signature", b"x-hub-signature-256", b"x-b3-traceid", b"content-encoding"))
_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)


class Request:
    """`trace`: the sender's X-B3-TraceId, an opaque text, or one of ours. `carried`: the same, with what tracing has to
    say of it to those who read it in the ledger. `arrived`: when its last byte came, or 0.
    """

    __slots__ = (
        "_receive",
        "arrived",
        "carried",
        "encodings",
        "length",
        "names",
        "scope",
        "signatures",
        "signatures_256",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self._receive = scope, receive
        self.names: dict[str, str] = scope["path_params"]
        self.arrived = 0.0
        self.length = ""  # as declared
        self.trace = ""
        self.signatures: list[bytes] = []  # each X-Hub-Signature
        self.signatures_256: tuple[bytes, ...] = ()  # each X-Hub-Signature-256, which Genesys Cloud sends
        self.encodings: list[str] = []  # each Content-Encoding
        for name, value in scope["headers"]:
            if name not in _READ:
                continue
            if name == b"content-length":
                self.length = value.decode("latin-1")
            elif name == b"x-hub-signature":
                self.signatures.append(value)
            elif name == b"content-encoding":
                self.encodings.append(value.decode("latin-1"))
            elif name == b"x-hub-signature-256":
                self.signatures_256 += (value,)
            else:
                self.trace = self.trace or value.decode("latin-1")
        if not _TRACE.match(self.trace):
            self.trace = f"{_random.getrandbits(128):032x}"
        self.carried = self.trace

    def continues(self, trace: str) -> None:
        """The trace that another header names, where it is one that may be shown."""
        if _TRACE.match(trace):
            self.trace = self.carried = trace

    async def body(
        self, limit: int, *, keep: bool = True, room: Callable[[int], Awaitable[None]] | None = None
    ) -> bytes:
        """The raw bytes, and a note of when they had come; with `keep` off they are read and dropped. `room` is asked
        before so many bytes are kept, and may raise.

        Raises Refusal 413 as soon as they are known to be too many, ClientDisconnect where the sender left.
        """
        length = self.length
        if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > limit):
            raise _too_large(limit)
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece, more = message.get("body", b""), message.get("more_body", False)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if keep:
                if room is not None and piece:
                    await room(len(piece))
                pieces.append(piece)
        self.arrived = time.monotonic()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def left(self) -> None:
        """Until the sender leaves, or sends what no answer waits for."""
        while (message := await self._receive())["type"] != "http.disconnect" and not message.get("body"):
            pass


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too large", f"a body may have {limit} bytes")
