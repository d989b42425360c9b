"""Requests that nobody sane sends, as bytes, each with what may be answered. Documented bodies, bent."""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from dcbridge.genesys import signature
from sandbox.wires.twilio import sign
from tests.stack import Stack, sms_body

CLOSED = "closed"

EMAIL: dict[str, Any] = {
    "channel": {
        "id": "company.com",
        "type": "email",
        "from": {"id": "no-reply@company.com", "name": "no-reply"},
        "to": [{"id": "recipient-1@mail.com", "name": "Recipient 1"}, {"id": "recipient-2@mail.com"}],
        "messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b",
        "context": {"replyTo": {"id": "support@company.com", "name": "Support"}},
    },
    "type": "Email",
    "subject": "Email subject",
    "content": [{"type": "text", "text": "Plain"}, {"type": "html", "text": "<b>HTML</b>"}],
}
EVENTS: dict[str, Any] = {
    "operationId": "0f1e",
    "data": {"entities": [{"event": "STARTED", "entity": {"id": "1", "mediaType": "chat", "selfUri": "NexusURL/x"}}]},
}
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    -(2**70),
    1e308,
    "",
    " ",
    "\0",
    "\ud800",
    "\U0001f600" * 50,
    "x" * 20_000,
    "../../etc/passwd",
    "'; DROP TABLE",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "a\r\nX-Injected: 1",
    "dcb:m:x",
    [],
    {},
    [[]],
    [None],
    {"id": None},
    {"id": {"id": "x"}},
    [{"id": str(n)} for n in range(50)],
    ["x"] * 500,
    {"": ""},
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One request as bytes, and what may be answered. `alone`: on a connection of its own."""

    kind: str
    raw: bytes
    allowed: tuple[object, ...]
    alone: bool = False


class Hostile:
    """Makes shots for one stack, always the same ones for the same seed."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.dice = random.Random(seed)
        self.secret = stack.secret
        self.token = stack.kept("twilio_auth_token")
        self.bearer = stack.kept("mail_callback_secret")
        self.public = stack.public
        self.host = stack.public.partition("://")[2].encode()
        self.makers: tuple[tuple[int, Callable[[], Shot]], ...] = (
            (22, self.wrong_signature),
            (6, self.odd_header),
            (10, self.broken_json),
            (25, self.mutated),
            (5, self.nested),
            (6, self.encoded),
            (5, self.method),
            (6, self.path),
            (7, self.callback),
            (4, self.mutated_callback),
            (4, self.lie),
        )

    def next(self) -> Shot:
        makers = [maker for _, maker in self.makers]
        return self.dice.choices(makers, [weight for weight, _ in self.makers])[0]()

    def good(self) -> Shot:
        body = json.dumps(sms_body(f"good-{self.dice.random()}", "16504661149")).encode()
        return Shot("good", self.post(body), (200,))

    def post(
        self,
        body: bytes,
        headers: list[bytes] | None = None,
        path: bytes = b"/webhooks/messages/main",
        method: bytes = b"POST",
    ) -> bytes:
        """Signed right unless `headers` say otherwise."""
        if headers is None:
            headers = [b"X-Hub-Signature: " + signature.sign(self.secret, body).encode()]
        lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: " + self.host, b"Content-Length: %d" % len(body), *headers]
        return b"\r\n".join([*lines, b"", body])

    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json.dumps(self.dice.choice((sms_body("x", "16504661149"), EMAIL))))
        made["channel"]["messageId"] = f"h-{self.dice.randrange(10**12)}"
        return made

    def wrong_signature(self) -> Shot:
        body = json.dumps(self.document()).encode()
        right = signature.sign(self.secret, body).encode()
        name = b"X-Hub-Signature: "
        wrong: list[list[bytes]] = [
            [],
            [name],
            [name + b"sha1="],
            [name + right[5:]],
            [name + b"sha1:" + right[5:]],
            [name + right[:-1]],
            [name + right + b"0"],
            [name + right, name + right],
            [name + right, name + b"sha1=0"],
            [name + b"md5=" + right[5:]],
            [name + b"sha1=" + bytes(self.dice.choices(b"0123456789abcdef", k=40))],
            [name + b"sha256=" + right[5:]],
            [name + right[:-1] + (b"0" if right[-1:] != b"0" else b"1")],
            [name + signature.sign(b"", body).encode()],
            [name + signature.sign(self.secret, body + b" ").encode()],
            [name + signature.sign(self.secret, b"").encode()],
            [name + b"sha1=" + base64.b64encode(right)],
            [b"X-Hub-Signature-256: " + right],
            [name + b"sha1=" + b"\xff" * 40],
            [name + b"sha1=" + b"g" * 40],
            [name + b"sha1=" + b"\xc3\xa9" * 20],
        ]
        return Shot("wrong signature", self.post(body, self.dice.choice(wrong)), (401,))

    def odd_header(self) -> Shot:
        body = json.dumps(self.document()).encode()
        right = signature.sign(self.secret, body)
        upper = right.partition("=")[2].upper()
        extra = self.dice.choice(
            (
                b"X-B3-TraceId: \xff\xfe\x00"[:-1],
                b"X-B3-TraceId: " + b"a" * 5000,
                b"X-B3-TraceId: a b\tc",
                b"X-Odd: \x80\x81",
                b"Cookie: " + b"c" * 30_000,
                b"X-Long: " + b"l" * 60_000,
                b"Content-Type: \xff",
                b"Expect: 100-continue",
                b"Content-Type: application/xml",
                b"Content-Encoding: gzip",
                b"X-Forwarded-For: ${jndi:ldap://x}",
                b"Range: bytes=0-",
                b'Forwarded: for="[::1]"',
                b"Accept: " + b"*/*," * 3000,
            )
        )
        signed = self.dice.choice(
            (right, f"SHA1={upper}", f"sha1={upper}", signature.sign(self.secret, body, "sha512"))
        )
        raw = self.post(body, [b"x-hub-SIGNATURE: " + signed.encode(), extra])
        return Shot("odd header", raw, (200, 400, 431), alone=b"Expect" in extra)

    def broken_json(self) -> Shot:
        whole = json.dumps(self.document()).encode()
        cut = self.dice.randrange(len(whole))
        body = self.dice.choice(
            (
                whole[:cut],
                whole + b"}",
                whole[:cut] + b"\x00" + whole[cut:],
                whole[:cut] + b"," + whole[cut:],
                b"",
                b" ",
                b"nul",
                b"NaN",
                b'{"text": Infinity}',
                b"[" * 50,
                b'"',
                b"{'a': 1}",
                bytes(self.dice.randrange(256) for _ in range(60)),
                b"\xff" + whole,
                b"--boundary\r\n",
                b"<xml/>",
                b"a=b&c=d",
                b"1" * 5000,
                b"-" * 3,
                b'{"a": 1e999999}',
                b"// c\n{}",
            )
        )
        return Shot("broken JSON", self.post(body), (200,))

    def mutated(self) -> Shot:
        if self.dice.random() < 0.2:
            body = self.dumped(self.mutate(json.loads(json.dumps(EVENTS))))
            return Shot("wrong types", self.post(body, path=b"/webhooks/interactions/main"), (200,))
        made: Any = self.mutate(self.document())
        if self.dice.random() < 0.1:
            made = self.dice.choice(
                (
                    [made],
                    {"messages": [made]},
                    [made, made],
                    [],
                    {"messages": []},
                    [None, made],
                    made["channel"] if isinstance(made, dict) and "channel" in made else made,
                )
            )
        return Shot("wrong types", self.post(self.dumped(made)), (200,))

    def mutate(self, value: Any) -> Any:
        for _ in range(self.dice.choice((1, 1, 1, 2, 5))):
            place, key = self.somewhere(value)
            what = self.dice.random()
            if what < 0.15 and isinstance(place, dict):
                place.pop(key, None)
            elif what < 0.25 and isinstance(place, dict):
                place[self.dice.choice(("", "\0", "__proto__", "Channel", "\ud800", "x" * 3000))] = place.pop(key, None)
            else:
                place[key] = copy.deepcopy(self.dice.choice(ODD_VALUES))
        return value

    def somewhere(self, value: Any) -> tuple[Any, Any]:
        place, key = {"whole": value}, "whole"
        found: tuple[Any, Any] = (value, next(iter(value), "channel"))
        inside: Any = place[key]
        while isinstance(inside, dict | list) and inside:
            key = self.dice.choice(list(inside) if isinstance(inside, dict) else list(range(len(inside))))
            found, inside = (inside, key), inside[key]
            if self.dice.random() < 0.3:
                break
        return found

    def dumped(self, value: Any) -> bytes:
        text = json.dumps(value, ensure_ascii=self.dice.random() < 0.7, indent=self.dice.choice((None, None, 2)))
        return text.encode("utf-8", "surrogatepass")

    def nested(self) -> Shot:
        depth = self.dice.choice((100, 250, 260, 900, 1020, 1030, 5000, 100_000, 400_000))
        opening, closing = self.dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
        inside = opening * min(depth, 120_000) + b"1" + closing * min(depth, 120_000)
        whole = json.dumps(self.document()).encode()
        body = self.dice.choice((inside, whole[:-1] + b', "deep": ' + inside + b"}", inside[: len(inside) // 2]))
        return Shot("deep nesting", self.post(body), (200, 413))

    def encoded(self) -> Shot:
        text = json.dumps(self.document() | {"text": "Grüße 😀 \0"}, ensure_ascii=False)
        codec = self.dice.choice(
            ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "latin-1", "utf-7", "cp037")
        )
        body = text.encode(codec, "replace")
        if self.dice.random() < 0.3:
            body = (
                json.dumps(self.document())
                .encode()
                .replace(b"16504661149", b"\\ud83d\\u0000" + self.dice.choice((b"\xed\xa0\x80", b"")))
            )
        return Shot("odd encoding", self.post(body), (200,))

    def method(self) -> Shot:
        name = self.dice.choice(
            (
                b"GET",
                b"PUT",
                b"DELETE",
                b"PATCH",
                b"OPTIONS",
                b"TRACE",
                b"HEAD",
                b"PROPFIND",
                b"FOO",
                b"post",
                b"CONNECT",
            )
        )
        path = self.dice.choice((b"/webhooks/messages/main", b"/callbacks/twilio/status", b"/", b"/metrics"))
        body = b"" if self.dice.random() < 0.5 else b"{}"
        return Shot("wrong method", self.post(body, path=path, method=name), (400, 401, 404, 405, CLOSED), alone=True)

    def path(self) -> Shot:
        path = self.dice.choice(
            (
                b"/webhooks/messages/../../etc/passwd",
                b"/webhooks/messages/%2e%2e/main",
                b"//webhooks/messages/main",
                b"/webhooks/messages/main/",
                b"/webhooks/messages/main%00",
                b"/webhooks/messages/%ff%fe",
                b"/WEBHOOKS/messages/main",
                b"/webhooks/messages/main;a=b",
                b"*",
                b"/webhooks/messages/" + b"a" * 8000,
                b"/webhooks/messages/main?" + b"q" * 20_000,
                b"/webhooks/messages/main#x",
                b"/metrics",
                b"http://evil.example/webhooks/messages/main",
                b"http://evil.example/metrics",
                b"https://[::1]/webhooks/messages/main",
                b"/readyz",
                b"/callbacks/twilio/../mail/status",
                b"/callbacks//status",
                b"/callbacks/twilio/nothing",
                b"/webhooks/messages/\xc3\xa9",
                b"/%",
                b"/webhooks/messages/{endpoint}",
                b"/webhooks/messages/main/extra",
                b"/docs",
                b"/openapi.json",
                b"evil",
                b"/webhooks\\messages\\main",
            )
        )
        body = json.dumps(self.document()).encode()
        return Shot("path games", self.post(body, path=path), (200, 400, 404, 405, 414, CLOSED), alone=True)

    def callback(self) -> Shot:
        """Nobody signed these."""
        path = self.dice.choice(
            (
                b"/callbacks/twilio/status",
                b"/callbacks/twilio/inbound",
                b"/callbacks/mail/status",
                b"/callbacks/mail/inbound",
            )
        )
        body = self.dice.choice(
            (b"", b"MessageSid=SM1&Body=x", b"\xff" * 200, b"%" * 100, b"&" * 1000, b"=" * 1000, b"a" * 9000)
        )
        head = self.dice.choice(
            (
                [],
                [b"X-Twilio-Signature: " + base64.b64encode(b"0" * 20)],
                [b"X-Twilio-Signature: \xff"],
                [b"Authorization: Bearer x"],
                [b"Authorization: Basic \xff"],
                [b"Authorization: Bearer"],
                [b"X-Twilio-Signature: a", b"X-Twilio-Signature: b"],
            )
        )
        kind = self.dice.choice(
            (b"application/x-www-form-urlencoded", b"application/json", b"multipart/form-data; boundary=", b"")
        )
        return Shot("callback, unsigned", self.post(body, [*head, b"Content-Type: " + kind], path), (401,))

    def mutated_callback(self) -> Shot:
        """The provider signed these, and they make no sense."""
        if self.dice.random() < 0.5:
            lines = [
                b"Content-Type: multipart/report; report-type=delivery-status; boundary="
                + self.dice.choice((b"b", b'"', b"", b"\xff")),
                b"Message-ID: <" + str(self.dice.random()).encode() + b"@x>",
                b"",
                b"--b",
                b"Content-Type: message/delivery-status",
                b"",
                b"Original-Envelope-Id: " + self.dice.choice((b"x", b"+ZZ", b"\xff", b"a" * 5000)),
                b"",
                b"Action: failed",
                b"--b--",
            ]
            self.dice.shuffle(lines)
            head = [b"Authorization: Bearer " + self.bearer.encode(), b"Content-Type: message/rfc822"]
            return Shot("callback, senseless", self.post(b"\r\n".join(lines), head, b"/callbacks/mail/status"), (200,))
        names = (
            "MessageSid",
            "MessageStatus",
            "Body",
            "From",
            "To",
            "ErrorCode",
            "NumMedia",
            "MediaUrl0",
            "",
            "\ud800",
        )
        texts = [str(value) for value in ODD_VALUES if not isinstance(value, str) or "\ud800" not in value]
        fields = {name: self.dice.choice(texts) for name in self.dice.sample(names[:-1], 5)}
        kind = self.dice.choice(("status", "inbound"))
        query = (
            ""
            if kind == "inbound"
            else f"?m={quote(self.dice.choice(texts))[:500]}&p={self.dice.choice(('0', '-1', '9' * 50, 'x'))}"
        )
        path = f"/callbacks/twilio/{kind}{query}"
        head = [
            b"Content-Type: application/x-www-form-urlencoded",
            b"X-Twilio-Signature: " + sign(self.token, self.public + path, fields).encode(),
        ]
        return Shot("callback, senseless", self.post(urlencode(fields).encode(), head, path.encode()), (200,))

    def lie(self) -> Shot:
        """About the length of the body, or about where it ends."""
        body = json.dumps(self.document()).encode()
        right = self.post(body)
        length = b"Content-Length: %d" % len(body)
        chunked = b"Transfer-Encoding: chunked"
        raw = self.dice.choice(
            (
                right.replace(length, b"Content-Length: -1"),
                right.replace(length, b"Content-Length: 1e3"),
                right.replace(length, b"Content-Length: "),
                right.replace(length, length + b"\r\nContent-Length: 3"),
                right.replace(length, length + b"\r\n" + chunked),
                right.replace(length, b"Content-Length: " + b"9" * 40),
                right.replace(length, b"Content-Length: %d" % (len(body) - 7)),
                right.replace(length, chunked),
                right.replace(length, b"Transfer-Encoding: chunked, identity"),
                right.replace(length, chunked).replace(body, b"ZZ\r\n" + body),
                right.replace(length, chunked).replace(body, b"-5\r\n" + body),
                right.replace(length, chunked).replace(body, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
                right.replace(b" HTTP/1.1", b" HTTP/9.9"),
                right.replace(b" HTTP/1.1", b""),
                right.replace(b"\r\n", b"\n"),
                right.replace(b"Host: ", b"Host : "),
                b"\0" * 100,
                b"\r\n" * 100,
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                right.replace(length, b" " + length),
            )
        )
        return Shot("lies about length", raw, (200, 400, 401, 413, 501, 505, CLOSED), alone=True)
