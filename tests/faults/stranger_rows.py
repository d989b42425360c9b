"""What a stranger may try with a connection or some hundreds, without a secret where it does not say so."""

from __future__ import annotations

import base64
import json
import secrets
import socket
import time
import urllib.parse
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dcbridge.genesys.signature import HEADER, sign
from tests.stack import Stack, sms_body

POURED = 64 << 20  # bytes, as far as they are taken
POST = b"POST /webhooks/messages/main HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
ROUTES = {
    "public": (
        b"POST /webhooks/messages/main", b"POST /webhooks/interactions/main", b"POST /callbacks/twilio/status",
        b"GET /callbacks/twilio/inbound", b"POST /callbacks/mail/status", b"GET /callbacks/mail/inbound",
        b"GET /m/" + b"A" * 71, b"POST /triggers/textback", b"GET /no",
    ),
    "operator": (b"GET /healthz", b"GET /readyz", b"GET /metrics", b"GET /no"),
}  # fmt: skip
ROUTES["worker"] = ROUTES["operator"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where an attack goes. `hold` is how long a held one lasts, seconds."""

    stack: Stack
    listener: str
    hold: float

    @property
    def port(self) -> int:
        ports = self.stack.ports
        return {"public": ports.public, "operator": ports.operator, "worker": ports.worker}[self.listener]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix. A held one keeps its sockets open until it is measured."""

    name: str
    attack: Callable[[Target], list[socket.socket]]
    listener: str = "public"
    held: bool = False

    @property
    def title(self) -> str:
        return self.name if self.listener == "public" else f"{self.name}, on the {self.listener}'s port"


# ---------------------------------------------------------------- at once


def pour(start: bytes, piece: bytes, most: int = POURED) -> Callable[[Target], list[socket.socket]]:
    """As much of it as is taken."""

    def attack(target: Target) -> list[socket.socket]:
        with suppress(OSError):
            one = target.connect()
            one.settimeout(5)
            with one:
                one.sendall(start)
                for _ in range(-(-most // len(piece))):
                    one.sendall(piece)
        return []

    return attack


def request(head: bytes, body: bytes = b"", *, headers: bytes = b"") -> bytes:
    return head + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n" % len(body) + headers + b"\r\n" + body


def ask(target: Target, *requests: bytes) -> list[socket.socket]:
    """Each on a connection of its own, and its answer waited for."""
    for raw in requests:
        with suppress(OSError), target.connect() as one:
            one.settimeout(30)
            with suppress(OSError):
                one.sendall(raw)
            one.recv(65536)
    return []


def many_headers(line: bytes, count: int) -> Callable[[Target], list[socket.socket]]:
    def attack(target: Target) -> list[socket.socket]:
        return ask(target, *(request(route, headers=line * count) for route in ROUTES[target.listener]))

    return attack


def pipelined(target: Target) -> list[socket.socket]:
    """A megabyte of requests, and nothing read until they are sent."""
    one_request = request(ROUTES[target.listener][0])
    for _ in range(3):
        with suppress(OSError), target.connect() as one:
            one.settimeout(5)
            with suppress(OSError):
                one.sendall(one_request * ((1 << 20) // len(one_request)))
            while one.recv(1 << 20):
                pass
    return []


def unread_answers(target: Target) -> list[socket.socket]:
    """Requests without end, whose answers nobody reads."""
    one_request = request(ROUTES[target.listener][-1])
    with suppress(OSError), target.connect() as one:
        one.settimeout(2)
        for _ in range(2000):
            one.sendall(one_request * 100)
    return []


def forms(headers: bytes) -> Callable[[Target], list[socket.socket]]:
    """A megabyte of Twilio's form, in few long and in many short parameters."""
    few = b"Body=" + b"%F0%9F%98%80" * 80_000
    kind = b"Content-Type: application/x-www-form-urlencoded\r\n" + headers

    def attack(target: Target) -> list[socket.socket]:
        many = b"&".join(b"P%d=x" % n for n in range(120_000))[: (1 << 20) - 9]
        routes = (b"POST /callbacks/twilio/status", b"POST /callbacks/twilio/inbound")
        return ask(target, *(request(route, body, headers=kind) for route in routes for body in (many, few)))

    return attack


def bodies(headers: bytes) -> Callable[[Target], list[socket.socket]]:
    """729 kB of 145,000 messages, to both webhooks and to the mail reports."""
    body = b"[" + b"null," * 145_000 + b"null]"
    routes = ROUTES["public"][:2] + ROUTES["public"][4:5]

    def attack(target: Target) -> list[socket.socket]:
        return ask(target, *(request(route, body, headers=headers) for route in routes))

    return attack


# What has stood in log lines, and cost time there: digits that might be a number, dots and @ that might be a mailbox.
ODD = (
    "1" * 50_000, "a@" * 25_000, "a." * 25_000 + "@", "+1-" * 16_000, "/" * 50_000, "\\x" * 25_000, "\u202e" * 20_000,
)  # fmt: skip


def odd_words(target: Target) -> list[socket.socket]:
    """In a path, a trace and a name of a header, unsigned."""
    short = [urllib.parse.quote(word[:4000]).encode()[:16_000] for word in ODD]
    paths = [request(b"POST /webhooks/messages/" + word) for word in short]
    paths += [request(b"POST /callbacks/" + word + b"/status") for word in short]
    paths += [request(b"GET /m/" + word) for word in short]
    traces = [request(ROUTES["public"][0], headers=b"X-B3-TraceId: " + word + b"\r\n") for word in short]
    return ask(target, *paths, *traces)


def odd_ids(target: Target) -> list[socket.socket]:
    """In a signed message: its id, its channel, who it is to. Those who may sign can be wrong."""
    stack = target.stack
    for word in ODD:
        usual = sms_body(stack.new_id(), stack.new_number())
        channel = usual["channel"]
        for change in ({"messageId": word}, {"messageId": word[:3300]}, {"to": {"id": word}}, {"id": word}):
            raw = json.dumps({**usual, "channel": {**channel, **change}}).encode()
            signature = f"{HEADER}: {sign(stack.secret, raw)}\r\n".encode()
            ask(target, request(b"POST /webhooks/messages/main", raw, headers=signature))
    return []


def links(target: Target) -> list[socket.socket]:
    """Each of the shape of a link, and none that was ever made."""
    made = [base64.urlsafe_b64encode(secrets.token_bytes(53)).rstrip(b"=") for _ in range(200)]
    return ask(target, *(request(b"GET /m/" + token) for token in made))


# ---------------------------------------------------------------- held


def held(
    start: bytes, drip: bytes = b"", sockets: int = 100, every: float = 1.0
) -> Callable[[Target], list[socket.socket]]:
    """So many connections, kept for as long as it lasts; `drip` goes into each that is still open, time after time."""

    def attack(target: Target) -> list[socket.socket]:
        opened = [one for _ in range(sockets) if (one := _begun(target, start))]
        end = time.monotonic() + target.hold
        while time.monotonic() < end:
            time.sleep(min(every, max(0.0, end - time.monotonic())))
            for one in opened if drip else ():
                with suppress(OSError):
                    one.send(drip)
        return opened

    return attack


def _begun(target: Target, start: bytes) -> socket.socket | None:
    with suppress(OSError):
        one = target.connect()
        one.settimeout(1)
        one.sendall(start)
        return one
    return None


HALF_BODY = POST + b"Content-Length: 900000\r\n\r\n" + b"a" * 1000
LARGE_BODY = POST + b"Content-Length: 900000\r\n\r\n" + b"a" * 899_000
X_64K = b"a" * 65536
LINES = b"".join(b"X-%06d: %s\r\n" % (n, b"a" * 100) for n in range(500))
NO_SIGNATURE = b""
WRONG = b"X-Hub-Signature: sha1=" + b"0" * 40 + b"\r\nX-Twilio-Signature: " + b"A" * 27 + b"=\r\n"
ILL_SHAPED = b"X-Hub-Signature: sha1=xyz\r\nX-Twilio-Signature: xyz\r\nAuthorization: Basic xyz\r\n"

_AT_ONCE = (
    Row("header lines without end", pour(POST, LINES)),
    Row("a header without end", pour(POST + b"X-A: ", X_64K)),
    Row("a header's name without end", pour(POST, X_64K)),
    Row("a path without end", pour(b"POST /", X_64K)),
    Row("a trailer without end", pour(CHUNKED + b"1\r\na\r\n0\r\nX-A: ", X_64K)),
    Row("trailers without end", pour(CHUNKED + b"1\r\na\r\n0\r\n", LINES)),
    Row("a chunk extension without end", pour(CHUNKED + b"1;", X_64K)),
    Row("one-byte chunks without end", pour(CHUNKED, b"1\r\na\r\n" * 10_000)),
    Row("line ends without end", pour(b"", b"\r\n" * 30_000)),
    Row("a body without end", pour(POST + b"Content-Length: 99999999999\r\n\r\n", X_64K)),
    Row("chunks without end", pour(CHUNKED, b"10000\r\n" + X_64K + b"\r\n")),
    Row("40,000 headers, on each route", many_headers(b"A-Header: of no use\r\n", 40_000)),
    Row("80,000 headers of one letter, on each route", many_headers(b"a:\r\n", 80_000)),
    Row("3 × 1 MB of pipelined requests", pipelined),
    Row("answers that are not read", unread_answers),
)
_PUBLIC = (
    Row("1 MB of Twilio's form, no signature", forms(NO_SIGNATURE)),
    Row("1 MB of Twilio's form, a wrong signature", forms(WRONG)),
    Row("1 MB of Twilio's form, a signature of no shape", forms(ILL_SHAPED)),
    Row("729 kB of messages, no signature", bodies(NO_SIGNATURE)),
    Row("729 kB of messages, a wrong signature", bodies(WRONG)),
    Row("729 kB of messages, a signature of no shape", bodies(ILL_SHAPED)),
    Row("200 links that were never made", links),
    Row("odd words in paths and traces", odd_words),
    Row("odd ids in signed messages", odd_ids),
)
_HELD = (
    Row("idle sockets", held(b""), held=True),
    Row("half a head", held(POST), held=True),
    Row("a head that drips", held(POST, b"X: y\r\n"), held=True),
    Row("half a body", held(HALF_BODY), held=True),
    Row("nearly all of a large body", held(LARGE_BODY, sockets=40), held=True),
    Row("a body that drips", held(HALF_BODY, b"a"), held=True),
    Row("chunks that drip", held(CHUNKED, b"1\r\na\r\n"), held=True),
    Row("line ends that drip", held(b"\r\n", b"\r\n"), held=True),
    Row("silence after an answer", held(request(b"GET /no")), held=True),
)


def _on(listener: str, rows: Sequence[Row]) -> list[Row]:
    return [replace(row, listener=listener) for row in rows]


def at_once(listener: str) -> list[Row]:
    """Those that last for as long as they are answered."""
    return _on(listener, [*_AT_ONCE, *(_PUBLIC if listener == "public" else ())])


def waiting(listener: str) -> list[Row]:
    """Those that last for as long as they are let."""
    return _on(listener, _HELD)


def with_few_descriptors() -> list[Row]:
    """For a process that may open 300 files."""
    return [Row("600 idle sockets, 300 descriptors", held(b"", sockets=600), held=True)]
