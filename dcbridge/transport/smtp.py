"""One SMTP transaction: connect, TLS, AUTH, MAIL, RCPT, DATA, QUIT (RFC 5321, 3207, 4954, 3461, 6531).

Nothing here is logged, and no error carries what the server said: it may quote an address.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import re
import socket
import ssl
from contextlib import suppress

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol
from aiosmtplib.response import SMTPResponse

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, Unreachable
from dcbridge.messages import Reason
from dcbridge.oauth2 import xoauth2
from dcbridge.providers.base import MailAnswer, MailRequest, MailStep
from dcbridge.transport.tls import client_context, tls_word

# The greeting is part of it: Postfix's postscreen holds it back for 6 seconds.
CONNECT_SECONDS = 10.0
# The answer is known by then, so nobody waits long for a goodbye.
QUIT_SECONDS = 2.0
SLICE = 65536  # bytes of the content that are handed to a connection at once

_LINE_END = re.compile(rb"\r\n|\n|\r")
_LEADING_DOT = re.compile(rb"(?m)^\.")
_NOT_XTEXT = re.compile(rb"[^!-*,-<>-~]")

_Lost = (aiosmtplib.SMTPServerDisconnected, aiosmtplib.SMTPTimeoutError, OSError)


async def send_mail(request: MailRequest, *, tls: ssl.SSLContext | None = None) -> MailAnswer:
    """Hand one message to the server. Raises Unreachable, OutcomeUnknown, AccountFault or Refused (530).

    The server's own refusals are answers, not errors. All of it takes two timeouts and 2 seconds at
    most. `tls` stands in for the system's trusted certificates.
    """
    client = aiosmtplib.SMTP(
        hostname=request.host,
        port=request.port,
        local_hostname=request.local_hostname or await asyncio.to_thread(_own_name),
        timeout=request.timeout,
        use_tls=request.security == "tls",
        start_tls=False,
        tls_context=tls or client_context(verify=request.verify_certificate),
    )
    transaction = _Transaction(client, request)
    try:
        return await transaction.run()
    finally:
        client.close()


class _Transaction:
    """Walks the steps, and knows at each failure what it means there."""

    def __init__(self, client: aiosmtplib.SMTP, request: MailRequest) -> None:
        self._client = client
        self._request = request
        self._dsn = False
        self._broken_off = False  # in the middle of the content

    async def run(self) -> MailAnswer:
        try:
            async with asyncio.timeout(self._request.timeout):
                answer = await self._open() or await self._envelope()
        except aiosmtplib.SMTPResponseException:
            raise Unreachable("not SMTP") from None  # a reply that no step expects and no code explains
        except _Lost as error:
            raise Unreachable(_word_for(error)) from None
        if answer is None:
            answer = await self._content()
        await self._quit()
        return answer

    async def _open(self) -> MailAnswer | None:
        """Connect, encrypt, log in; an answer where the server says no."""
        client, request = self._client, self._request
        try:
            await client.connect(timeout=min(CONNECT_SECONDS, request.timeout))
            await client.ehlo()
            if request.security == "starttls":
                if not client.supports_extension("starttls"):
                    raise Unreachable("STARTTLS is not offered")
                await client.starttls()
                await client.ehlo()
        except aiosmtplib.SMTPResponseException as error:
            return self._said("connect", error)
        except UnicodeError:
            raise Unreachable("dns") from None
        if request.username:
            if request.token:
                return await self._with_token()
            if not client.supported_auth_methods:
                raise AccountFault("AUTH is not offered")
            try:
                await client.login(request.username, request.password)
            except aiosmtplib.SMTPResponseException as error:
                return self._said("auth", error)
        return None

    async def _with_token(self) -> MailAnswer | None:
        """AUTH XOAUTH2. What is wrong with a token comes as a question, 334 with JSON in base64: an empty line asks for
        the reply to the command.
        """
        client, request = self._client, self._request
        if "xoauth2" not in client.server_auth_methods:
            raise AccountFault("AUTH XOAUTH2 is not offered")
        coded = base64.b64encode(xoauth2(request.username, request.token))
        reply = await client.execute_command(b"AUTH", b"XOAUTH2", coded)
        if reply.code == aiosmtplib.SMTPStatus.auth_continue:
            reply = await client.execute_command(b"")
        if reply.code == aiosmtplib.SMTPStatus.auth_successful:
            return None
        if not 400 <= reply.code < 600:
            raise Unreachable("not SMTP")
        return self._answer("auth", reply.code, reply.message)

    async def _envelope(self) -> MailAnswer | None:
        """MAIL and RCPT and the word DATA; an answer where the server says no."""
        client, request = self._client, self._request
        addresses_are_ascii = request.mail_from.isascii() and request.rcpt_to.isascii()
        mail_options, rcpt_options = [], []
        if client.supports_extension("size"):
            mail_options.append(f"SIZE={len(request.content)}")
        if not request.content.isascii():
            mail_options += ["BODY=8BITMIME"] if client.supports_extension("8bitmime") else []
        if not (addresses_are_ascii and request.content.isascii()):
            if not client.supports_extension("smtputf8"):
                raise Refused("SMTPUTF8 is not offered", reason=self._whose_mailbox())
            mail_options.append("SMTPUTF8")
        self._dsn = request.ask_dsn and client.supports_extension("dsn")
        if self._dsn:
            mail_options += ["RET=HDRS", f"ENVID={xtext(request.envelope_id)}"]
            rcpt_options += ["NOTIFY=SUCCESS,FAILURE"]
            # RFC 6533 has another address type for a mailbox that is not ASCII; the server fills it in.
            rcpt_options += [f"ORCPT=rfc822;{xtext(request.rcpt_to)}"] if request.rcpt_to.isascii() else []
        encoding = "ascii" if addresses_are_ascii else "utf-8"
        try:
            await client.mail(request.mail_from, options=mail_options, encoding=encoding)
        except aiosmtplib.SMTPResponseException as error:
            return self._said("mail", error)
        try:
            await client.rcpt(request.rcpt_to, options=rcpt_options, encoding=encoding)
        except aiosmtplib.SMTPResponseException as error:
            return self._said("rcpt", error)
        reply = await client.execute_command(b"DATA")
        if reply.code != aiosmtplib.SMTPStatus.start_input:
            return self._answer("data", reply.code, reply.message)
        return None

    def _whose_mailbox(self) -> Reason:
        """Why a message cannot go without SMTPUTF8: its recipient cannot be reached, or its sender not be named."""
        request = self._request
        about_sender = request.rcpt_to.isascii() and not request.mail_from.isascii()
        return Reason.INVALID_STRUCTURE if about_sender else Reason.INVALID_DESTINATION

    async def _content(self) -> MailAnswer:
        """From here on a broken connection says nothing about the message."""
        protocol = self._client.protocol
        if protocol is None:
            raise Unreachable("connection lost")
        content = _on_the_wire(self._request.content)
        # aiosmtplib's data() does not say which half of DATA failed. A server may say no before it has read all, so its
        # reply is waited for from the start.
        reading = asyncio.ensure_future(protocol.read_response(timeout=self._request.timeout))
        try:
            await asyncio.sleep(0)
            await self._write(protocol, content, reading)
            reply = await reading
        except (*_Lost, aiosmtplib.SMTPResponseException) as error:
            raise OutcomeUnknown("timeout" if isinstance(error, TimeoutError) else "connection lost") from None
        finally:
            reading.cancel()
        return self._answer("done" if 200 <= reply.code < 300 else "data", reply.code, reply.message)

    async def _write(self, protocol: SMTPProtocol, content: bytes, reply: asyncio.Future[SMTPResponse]) -> None:
        """Slice by slice, until all is written or the server has said no or yes. What fails is told by the reply."""
        self._broken_off = True
        with suppress(*_Lost):
            async with asyncio.timeout(self._request.timeout):
                for start in range(0, len(content), SLICE):
                    if reply.done():
                        return
                    protocol.write(content[start : start + SLICE])
                    await protocol._drain_helper()  # what the connection does not take yet is not kept for it as well
                self._broken_off = False

    async def _quit(self) -> None:
        if self._broken_off:  # it would be read as a part of the content
            return
        try:
            await self._client.quit(timeout=min(QUIT_SECONDS, self._request.timeout))
        except (aiosmtplib.SMTPException, OSError):
            return  # it has been said what there was to say

    def _said(self, step: MailStep, error: aiosmtplib.SMTPResponseException) -> MailAnswer:
        if not 200 <= error.code < 600:
            raise Unreachable("not SMTP") from None
        return self._answer(step, error.code, error.message)

    def _answer(self, step: MailStep, code: int, text: str) -> MailAnswer:
        return MailAnswer(step, code, text, dsn_asked=self._dsn, provider_id=self._request.provider_id)


def xtext(value: str) -> str:
    """RFC 3461, 4: printable ASCII without "+" and "=", everything else as "+" and two hex digits."""
    return _NOT_XTEXT.sub(lambda found: b"+%02X" % found[0][0], value.encode()).decode()


def _word_for(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError | ssl.CertificateError):
        return tls_word(cause)
    if isinstance(cause, socket.gaierror):
        return "dns"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "connect" if isinstance(error, aiosmtplib.SMTPConnectError) else "connection lost"


@functools.lru_cache(maxsize=2)
def _on_the_wire(content: bytes) -> bytes:
    """With CRLF, doubled leading dots and the final one; copies of one message share it."""
    content = _LINE_END.sub(b"\r\n", content)
    content += b"" if content.endswith(b"\r\n") else b"\r\n"
    return _LEADING_DOT.sub(b"..", content) + b".\r\n"


@functools.cache
def _own_name() -> str:
    """For EHLO; asked once, because the answer may take a DNS server its time."""
    return socket.getfqdn()
