"""Mail servers, mailboxes and the public address as they answer on loopback; and checks beside each other."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.config.imap import ImapMailbox
from dcbridge.config.loader import parse
from dcbridge.operations.doctor import mail_server, mailbox, public_address
from dcbridge.operations.doctor.checks import a_sender, sending_domains
from dcbridge.operations.doctor.examine import Check, examine
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.providers.smtp import SmtpFields
from tests.certificates import self_signed
from tests.listening import listening
from tests.providers.test_mail_transport import DsnMailbox, DsnServer, Mailbox, scripted
from tests.providers.test_mail_transport import listening as mail_listening
from tests.service.imap_server import PASSWORD, USER, Server, imap_server

AT = About("providers.mail")
CANARY = "the-canary-password"


def said(found: Iterable[Finding]) -> list[str]:
    words = [f"{one.severity.word}: {one.words}" for one in found]
    assert CANARY not in str(list(found))
    return words


def smtp(port: int, **fields: Any) -> SmtpFields:
    told = {"host": "127.0.0.1", "port": port, "security": "none", "local_hostname": "bridge.example.com", **fields}
    return SmtpFields.model_validate(told)


def tls_server(folder: Path) -> ssl.SSLContext:
    certificate, key = self_signed(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data.password == b"right", handled=False)


async def test_what_a_mail_server_offers() -> None:
    rows: list[tuple[Any, dict[str, Any], list[str]]] = [
        (lambda: SMTP(Mailbox(), hostname="mx"), {"callback_secret": "0123456789abcdef"},
         ["warning: the server offers no DSN", "note: the server offers no SMTPUTF8", "ok: the mail server answers"]),
        (lambda: DsnServer(DsnMailbox(), hostname="mx", enable_SMTPUTF8=True, data_size_limit=50_000_000),
         {"callback_secret": "0123456789abcdef"}, ["ok: the mail server answers, and offers SIZE"]),
        (lambda: SMTP(Mailbox(), hostname="mx", data_size_limit=1_000_000), {},
         ["warning: the server takes mail up to 1.0 MB"]),
        (lambda: SMTP(Mailbox(), hostname="mx"), {"security": "starttls"},
         ["error: the mail server offers no STARTTLS"]),
    ]  # fmt: skip
    for factory, fields, expected in rows:
        async with mail_listening(factory) as port:
            found = said(await mail_server.check(smtp(port, **fields), 5.0, AT))
            for words in expected:
                assert any(one.startswith(words) for one in found), (words, found)


async def test_the_certificate_and_the_login_of_a_mail_server(tmp_path: Path) -> None:
    context = tls_server(tmp_path)

    def factory() -> SMTP:
        return SMTP(Mailbox(), hostname="mx", tls_context=context, authenticator=_login, auth_required=False)

    plain = {"security": "starttls", "verify_certificate": False, "username": "me"}
    async with mail_listening(factory) as port:
        found = said(await mail_server.check(smtp(port, **plain, password="right"), 5.0, AT))
        assert "ok: the login works" in found
        assert any(one.startswith("warning: the certificate ends on") for one in found)  # of one day
        found = said(await mail_server.check(smtp(port, **plain, password=CANARY), 5.0, AT))
        assert any(one.startswith("error: the mail server refused the login (535)") for one in found)
        found = said(await mail_server.check(smtp(port, security="starttls"), 5.0, AT))
        assert found == ["error: the mail server cannot be used (tls certificate not trusted)"]
        found = said(await mail_server.check(smtp(port), 5.0, AT))
        assert "warning: mail goes unencrypted, and the server offers STARTTLS" in found


@pytest.mark.parametrize(
    "greeting", [b"", b"220 \xff\xff\r\n", b"554 go away " + b"x" * 100_000 + b"\r\n", b"hello\r\n" * 9]
)
async def test_no_mail_server(greeting: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with scripted(script) as port:
        found = said(await mail_server.check(smtp(port), 2.0, AT))
        assert [one.partition(":")[0] for one in found] == ["error"]
        assert len(found[0]) < 200


async def test_a_size_that_is_no_number() -> None:
    for size in ("", "0", "x", "-1", "9" * 5000, "١٢"):
        found = said(mail_server.judged({"size": size}, smtp(25), AT))
        assert not any("takes mail up to" in one for one in found), size


async def test_a_mailbox(tmp_path: Path) -> None:
    def at(port: int, **fields: Any) -> ImapMailbox:
        told = {"host": "127.0.0.1", "port": port, "verify_certificate": False, "username": USER, "password": PASSWORD}
        return ImapMailbox.model_validate({**told, **fields})

    async with imap_server(tmp_path, Server()) as server:
        found = said(await mailbox.check(at(server.port), 5.0, AT))
        assert found[-1] == "ok: the login works, and the folder is there", found
        assert server.bad == []
        for password in (CANARY, f'{CANARY} "\\\r\nd9 LOGOUT', f"{CANARY} ä"):
            found = said(await mailbox.check(at(server.port, password=password), 5.0, AT))
            assert found[-1] == "error: the IMAP server refused the login", password
        found = said(await mailbox.check(at(server.port, verify_certificate=True), 5.0, AT))
        assert found == ["error: the IMAP server cannot be used (tls certificate not trusted)"]


GREETINGS = [
    b"", b"* OK ready", b"* OK ready\r\n", b"* OK ready\r\n" + b"* x\r\n" * 5000, b"* BYE no\r\n", b"220 mail\r\n",
    b"* OK " + b"x" * 200_000, b"* OK ready\r\nd1 OK begin\r\n\xff\xff no TLS\r\n",
]  # fmt: skip


@pytest.mark.parametrize("greeting", GREETINGS)
async def test_no_imap_server_and_one_that_says_nothing_more(greeting: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    async with scripted(script) as port:
        told = {"host": "127.0.0.1", "port": port, "security": "starttls", "username": "a", "password": "b"}
        found = said(await mailbox.check(ImapMailbox.model_validate(told), 0.3, AT))
        assert [one.startswith("error: the IMAP server") for one in found] == [True], found


CONFIGURATION = """
public_url: {url}
digital_channels: {{base_url: "{url}", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [the-app-secret-of-now]}}}}
providers:
  mail: {{kind: smtp, host: mail.example.com, mail_from: bounces@bounces.example.com}}
  here: {{kind: smtp, host: 127.0.0.1}}
  post: {{kind: postmark, server_token: t, callback_secret: 0123456789abcdef}}
channels:
  company.com: {{type: email, provider: mail}}
  two: {{type: email, provider: post, number: care@MÜLLER.example}}
  trial.company.com: {{type: email, provider: here}}
  three: {{type: email, provider: mail, number: care@company.com}}
"""


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[str]:
    async def answer(_request: Request) -> Response:
        return Response(body, status, media_type="application/json")

    async with listening(Starlette(routes=[Route("/{path:path}", answer, methods=["PUT"])])) as url:
        yield url


async def test_the_public_address() -> None:
    rows = [
        (405, b'{"error":"method not allowed"}', ["ok", "ok"]), (405, b"Not Allowed", ["note", "note"]),
        (404, b"", ["error", "error"]), (403, b"{}", ["note", "note"]), (200, b"[" * 9999, ["error", "error"]),
        (502, b'{"error":"method not allowed"}', ["error", "error"]),
    ]  # fmt: skip
    async with a_sender() as sender:
        for status, body, expected in rows:
            async with answering(status, body) as url:
                configuration = parse(CONFIGURATION.format(url=url), {})
                found = said(await public_address.check(sender, configuration))
                assert [one.partition(":")[0] for one in found] == ["note", *expected], (status, found)
        found = said(await public_address.check(sender, configuration))
        assert found[1:] == ["warning: it cannot be reached from here (connect)"]


def test_which_domains_are_looked_at() -> None:
    configuration = parse(CONFIGURATION.format(url="http://127.0.0.1:1"), {})
    assert list(sending_domains(configuration)) == [
        ("company.com", "bounces.example.com", "smtp"),
        ("xn--mller-kva.example", "", "postmark"),
        ("company.com", "bounces.example.com", "smtp"),
    ]
    assert [one[0] for one in sending_domains(configuration, "two")] == ["xn--mller-kva.example"]


async def test_a_check_that_hangs_or_breaks_takes_no_other_along() -> None:
    async def hangs() -> Iterable[Finding]:
        await asyncio.sleep(60)
        return []

    async def breaks() -> Iterable[Finding]:
        raise KeyError(CANARY)

    async def works() -> Iterable[Finding]:
        return [AT.ok("fine")]

    checks = [Check("a", hangs), Check("b", breaks), Check("c", works)]
    found = [one async for findings in examine(checks, within=0.05) for one in findings]
    assert said(found) == [
        "error: was not looked at to the end: something did not answer in time",
        "error: could not be looked at (KeyError)",
        "ok: fine",
    ]
    many = [Check(str(n), hangs) for n in range(60)]
    assert len([one async for one in examine(many, within=5.0, all_within=0.1)]) == 60
