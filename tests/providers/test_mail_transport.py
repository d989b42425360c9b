"""The mail transport against a real SMTP server on loopback."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Unreachable
from dcbridge.messages import Reason
from dcbridge.providers.base import MailRequest
from dcbridge.transport.smtp import send_mail, xtext
from tests.certificates import self_signed

CONTENT = b"Subject: Hi\r\n\r\nfirst\r\n.\r\n..two\r\nlast\r\n"
REQUEST = MailRequest(
    host="127.0.0.1",
    port=0,
    security="none",
    username="",
    password="",
    verify_certificate=True,
    local_hostname="bridge.example.com",
    mail_from="care@company.com",
    rcpt_to="ana@example.com",
    content=CONTENT,
    envelope_id="0123-1",
    ask_dsn=True,
    timeout=2.0,
    provider_id="<0123@company.com>x",
)


@dataclass
class Mailbox:
    """What the server was handed, and what it says at each step."""

    replies: dict[str, str] = field(default_factory=dict)
    envelopes: list[Envelope] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)

    async def handle_MAIL(self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 (aiosmtpd's name)
        envelope.mail_from = address
        self.options += options
        return self.replies.get("MAIL", "250 2.1.0 OK")

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:  # noqa: N802
        envelope.rcpt_tos.append(address)
        return self.replies.get("RCPT", "250 2.1.5 OK")

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return self.replies.get("DATA", "250 2.0.0 queued")


class DsnMailbox(Mailbox):
    """aiosmtpd knows no DSN: this one offers it, and DsnServer notes the parameters (RFC 3461)."""

    async def handle_EHLO(  # noqa: N802
        self, _: SMTP, session: Session, __: Envelope, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [answers[0], "250-DSN", *answers[1:]]


class DsnServer(SMTP):
    """Takes the parameters out before aiosmtpd refuses them."""

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 (aiosmtpd's name)
        await super().smtp_MAIL(self._without(arg, "RET", "ENVID"))

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        await super().smtp_RCPT(self._without(arg, "NOTIFY", "ORCPT"))

    def _without(self, arg: str | None, *known: str) -> str:
        words = (arg or "").split(" ")
        ours = [word for word in words if word.partition("=")[0] in known]
        self.event_handler.options += ours
        return " ".join(word for word in words if word not in ours)


@asynccontextmanager
async def listening(factory: Callable[[], Any], **options: Any) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """A server that follows a script and then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate that it signed itself, and a client's that trusts it."""
    made, key = self_signed(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made, key)
    return server, ssl.create_default_context(cafile=str(made))


def login(_: SMTP, __: Session, ___: Envelope, ____: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"user", "påss".encode()), handled=False)


async def test_a_message_is_handed_over_byte_for_byte() -> None:
    box = Mailbox()
    async with listening(lambda: SMTP(box)) as port:
        answer = await send_mail(replace(REQUEST, port=port))
    assert (answer.step, answer.code, answer.text) == ("done", 250, "2.0.0 queued")
    assert answer.provider_id == REQUEST.provider_id
    assert not answer.dsn_asked  # it was not offered, and aiosmtpd refuses what it did not offer
    [envelope] = box.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("care@company.com", ["ana@example.com"])
    assert envelope.content == CONTENT


@pytest.mark.parametrize("ask", [True, False])
async def test_a_report_is_asked_for_where_it_is_offered(ask: bool) -> None:
    box = DsnMailbox()
    async with listening(lambda: DsnServer(box)) as port:
        answer = await send_mail(replace(REQUEST, port=port, ask_dsn=ask, rcpt_to="a+b=c@example.com"))
    assert answer.step == "done"
    assert answer.dsn_asked is ask
    asked = {"RET=HDRS", "ENVID=0123-1", "NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;a+2Bb+3Dc@example.com"}
    assert asked.intersection(box.options) == (asked if ask else set())


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a-b@c", "a-b@c"), ("a+b=c", "a+2Bb+3Dc"), ("a b\n", "a+20b+0A"), ("é", "+C3+A9"), ("~!", "~!")],
)
def test_xtext(value: str, expected: str) -> None:
    assert xtext(value) == expected


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_tls_with_a_trusted_certificate(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], security: Literal["starttls", "tls"]
) -> None:
    box = Mailbox()
    server, trusting = certificate
    upgrade, at_once = (server, None) if security == "starttls" else (None, server)
    async with listening(lambda: SMTP(box, tls_context=upgrade), ssl=at_once) as port:
        request = replace(REQUEST, port=port, security=security)
        assert (await send_mail(request, tls=trusting)).step == "done"
        assert (await send_mail(replace(request, verify_certificate=False))).step == "done"
        with pytest.raises(Unreachable, match="tls"):
            await send_mail(request)
    assert len(box.envelopes) == 2


async def test_starttls_that_is_not_offered_sends_nothing() -> None:
    box = Mailbox()
    async with listening(lambda: SMTP(box)) as port:
        with pytest.raises(Unreachable, match="STARTTLS is not offered"):
            await send_mail(replace(REQUEST, port=port, security="starttls", username="user", password="p"))
    assert not box.envelopes


@pytest.mark.parametrize(("password", "step", "code"), [("påss", "done", 250), ("påsS", "auth", 535)])
async def test_login_under_tls(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], password: str, step: str, code: int
) -> None:
    box = Mailbox()
    server, trusting = certificate
    factory = lambda: SMTP(box, tls_context=server, authenticator=login, auth_required=True)  # noqa: E731 (a protocol factory)
    async with listening(factory) as port:
        request = replace(REQUEST, port=port, security="starttls", username="user", password=password)
        answer = await send_mail(request, tls=trusting)
    assert (answer.step, answer.code) == (step, code)
    assert len(box.envelopes) == (step == "done")


async def test_a_login_that_is_not_offered_is_a_fault_of_the_account() -> None:
    async with listening(lambda: SMTP(Mailbox())) as port:
        with pytest.raises(AccountFault, match="AUTH is not offered"):
            await send_mail(replace(REQUEST, port=port, username="user"))


@pytest.mark.parametrize(
    ("at", "reply", "step"),
    [
        ("MAIL", "550 5.1.8 no", "mail"),
        ("RCPT", "550 5.1.1 no", "rcpt"),
        ("RCPT", "450 4.7.1 later", "rcpt"),
        ("DATA", "554 5.7.1 no", "data"),
        ("DATA", "421 4.3.2 later", "data"),
    ],
)
async def test_a_refusal_is_an_answer(at: str, reply: str, step: str) -> None:
    async with listening(lambda: SMTP(Mailbox(replies={at: reply}))) as port:
        answer = await send_mail(replace(REQUEST, port=port))
    assert (answer.step, f"{answer.code} {answer.text}") == (step, reply)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"rcpt_to": "josé@example.com"}, {"SMTPUTF8"}),
        ({"mail_from": "équipe@company.com"}, {"SMTPUTF8"}),
        ({"content": "To: josé@example.com\r\n\r\nx\r\n".encode()}, {"SMTPUTF8", "BODY=8BITMIME"}),
        ({}, set()),
    ],
)
async def test_smtputf8_is_used_where_it_is_needed_and_offered(changes: dict[str, Any], options: set[str]) -> None:
    box = Mailbox()
    async with listening(lambda: SMTP(box, enable_SMTPUTF8=True)) as port:
        assert (await send_mail(replace(REQUEST, port=port, **changes))).step == "done"
    assert {option for option in box.options if not option.startswith("SIZE")} == options
    assert box.envelopes[0].rcpt_tos == [changes.get("rcpt_to", "ana@example.com")]
    box = Mailbox()
    async with listening(lambda: SMTP(box)) as port:
        if options:
            with pytest.raises(Refused) as refused:
                await send_mail(replace(REQUEST, port=port, **changes))
            wrong = Reason.INVALID_STRUCTURE if "mail_from" in changes else Reason.INVALID_DESTINATION
            assert refused.value.reason is wrong
        else:
            assert (await send_mail(replace(REQUEST, port=port, **changes))).step == "done"


async def until(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: str) -> None:
    """Greet, and say yes to everything up to a command, which is read and not answered."""
    writer.write(b"220 ready\r\n")
    while not (line := await reader.readline()).startswith(last.encode()):
        assert line
        writer.write(b"250 OK\r\n")


async def test_a_connection_that_breaks_before_the_content_reached_nobody() -> None:
    for last in ("EHLO", "MAIL", "RCPT", "DATA"):

        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, last: str = last) -> None:
            await until(reader, writer, last)

        async with scripted(hang_up) as port:
            with pytest.raises(Unreachable):
                await send_mail(replace(REQUEST, port=port))


@pytest.mark.parametrize("lines", [1, 5])
async def test_a_connection_that_breaks_in_the_content_leaves_the_outcome_unknown(lines: int) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until(reader, writer, "DATA")
        writer.write(b"354 go on\r\n")
        for _ in range(lines):
            await reader.readline()

    async with scripted(hang_up) as port:
        with pytest.raises(OutcomeUnknown) as raised:
            await send_mail(replace(REQUEST, port=port))
    assert raised.value.code == "connection lost"


@pytest.mark.parametrize(
    ("last", "say", "error"),
    [("DATA", b"354 go on\r\n", OutcomeUnknown), ("DATA", b"", Unreachable), ("RCPT", b"", Unreachable)],
)
async def test_silence_is_waited_out(last: str, say: bytes, error: type[SendError]) -> None:
    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until(reader, writer, last)
        writer.write(say)
        await reader.read()

    async with scripted(fall_silent) as port:
        with pytest.raises(error, match="timeout"):
            await send_mail(replace(REQUEST, port=port, timeout=1.0))


async def test_a_server_that_drips_is_not_waited_for_at_each_step() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        while await reader.readline():
            await asyncio.sleep(0.19)
            writer.write(b"250 OK\r\n")

    async with scripted(drip) as port:
        with pytest.raises(Unreachable, match="timeout"):
            await send_mail(replace(REQUEST, port=port, timeout=0.25))


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n", b"\r\n"])
async def test_what_does_not_speak_smtp_is_unreachable(greeting: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()

    async with scripted(talk) as port:
        with pytest.raises(Unreachable, match="not SMTP"):
            await send_mail(replace(REQUEST, port=port))


async def test_a_greeting_that_refuses_is_an_answer() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"554 5.7.1 not you\r\n")
        await reader.read()

    async with scripted(refuse) as port:
        answer = await send_mail(replace(REQUEST, port=port))
    assert (answer.step, answer.code) == ("connect", 554)


async def test_a_quit_that_is_not_answered_changes_nothing() -> None:
    async def forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until(reader, writer, "DATA")
        writer.write(b"354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"250 2.0.0 queued\r\n")
        await reader.read()

    async with scripted(forget) as port:
        assert (await send_mail(replace(REQUEST, port=port, timeout=2.0))).step == "done"


async def test_a_refused_port_and_a_host_that_is_none() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(Unreachable, match="connect"):
            await send_mail(replace(REQUEST, port=port))
    with pytest.raises(Unreachable, match="dns"):
        await send_mail(replace(REQUEST, host="nowhere.invalid", port=25))
    with pytest.raises(Unreachable, match="dns"):
        await send_mail(replace(REQUEST, host="a" * 64 + ".example", port=25))


async def test_no_error_quotes_an_address() -> None:
    async with listening(lambda: SMTP(Mailbox())) as port:
        with pytest.raises(Refused) as refused:
            await send_mail(replace(REQUEST, port=port, rcpt_to="josé@example.com"))
    assert "example" not in str(refused.value)
    with pytest.raises(Unreachable) as unreachable:
        await send_mail(replace(REQUEST, host="nowhere.invalid"))
    assert "nowhere" not in str(unreachable.value)
