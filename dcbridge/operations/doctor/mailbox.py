"""Whether a mailbox on an IMAP server can be looked into. It is opened read-only, and no mail is read."""

from __future__ import annotations

import asyncio
import imaplib
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dcbridge.config.imap import ImapMailbox
from dcbridge.operations.doctor import certificate
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.transport.tls import client_context, tls_word


@dataclass(slots=True)
class _Looking:
    """The connection, so that it can be cut from outside."""

    server: imaplib.IMAP4 | None = None
    found: list[Finding] = field(default_factory=list)

    def cut(self) -> None:
        server = self.server
        if server is not None:
            with suppress(OSError, imaplib.IMAP4.error):
                server.shutdown()


async def check(mailbox: ImapMailbox, patience: float, about: About) -> Sequence[Finding]:
    """Connect, log in, open the folder, log out."""
    looking = _Looking()
    task = asyncio.ensure_future(asyncio.to_thread(_look, looking, mailbox, patience / 2, about))
    try:
        return await asyncio.wait_for(asyncio.shield(task), patience)
    except TimeoutError:
        return [about.error("the IMAP server did not answer in time", "check host, port and security")]
    finally:
        looking.cut()


def _look(looking: _Looking, mailbox: ImapMailbox, patience: float, about: About) -> Sequence[Finding]:
    context = client_context(verify=mailbox.verify_certificate)
    where = (mailbox.host, mailbox.server_port)
    try:
        if mailbox.security == "tls":
            server: imaplib.IMAP4 = imaplib.IMAP4_SSL(*where, ssl_context=context, timeout=patience)
            looking.server = server
        else:
            looking.server = server = imaplib.IMAP4(*where, timeout=patience)
            server.starttls(context)
        looking.found += certificate.judged(server.socket(), about)
        if mailbox.oauth2 is not None:
            looking.found.append(about.ok("the IMAP server answers; the token is not tried here"))
            return looking.found
        try:
            server.login(mailbox.username, mailbox.secret)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            return [*looking.found, about.error("the IMAP server refused the login", "check username and password")]
        looking.found.append(_folder(server, mailbox, about))
        server.logout()
    except imaplib.IMAP4.error:
        looking.found.append(about.error("the IMAP server broke off, or is none", "check host, port and security"))
    except (OSError, ValueError) as error:
        looking.found.append(
            about.error(f"the IMAP server cannot be used ({_word(error)})", "check host, port and security")
        )
    return looking.found


def _folder(server: imaplib.IMAP4, mailbox: ImapMailbox, about: About) -> Finding:
    name = mailbox.folder.replace("\\", "\\\\").replace('"', '\\"')
    try:
        answer, _ = server.select(f'"{name}"', readonly=True)
    except (UnicodeError, imaplib.IMAP4.readonly):
        return about.note("the login works; the folder is not looked into here")
    if answer != "OK":
        return about.error("the login works, and there is no such folder", "check folder")
    return about.ok("the login works, and the folder is there")


def _word(error: Exception) -> str:
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return tls_word(error)
    if isinstance(error, socket.gaierror):
        return "dns"
    return "no answer in time" if isinstance(error, TimeoutError) else "connect"
