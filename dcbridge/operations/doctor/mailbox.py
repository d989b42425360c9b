"""Whether a mailbox on an IMAP server can be looked into. It is opened read-only, and no mail is read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress

from dcbridge.config.imap import ImapMailbox
from dcbridge.operations.doctor import certificate
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.transport.tls import client_context, tls_word

MOST_LINES = 200  # of one answer
LONGEST = 1 << 16  # bytes of a line
_CHECK = "check host, port and security"


class NoImap(Exception):
    """What is said there is not IMAP."""


async def check(mailbox: ImapMailbox, patience: float, about: About) -> Sequence[Finding]:
    """Connect, STARTTLS where that is configured, log in, open the folder, log out."""
    found: list[Finding] = []
    talk: _Talk | None = None
    try:
        async with asyncio.timeout(patience):
            talk = await _Talk.open(mailbox)
            found += await _looked(talk, mailbox, about)
    except NoImap:
        found.append(about.error("the IMAP server broke off, or is none", _CHECK))
    except (OSError, TimeoutError, UnicodeError) as error:
        found.append(about.error(f"the IMAP server cannot be used ({_word(error)})", _CHECK))
    finally:
        if talk is not None:
            talk.close()
    return found


async def _looked(talk: _Talk, mailbox: ImapMailbox, about: About) -> list[Finding]:
    found = list(certificate.judged(talk.tls, about))
    if mailbox.oauth2 is not None:
        return [*found, about.ok("the IMAP server answers; the token is not tried here")]
    if not await talk.command(b"LOGIN", mailbox.username, mailbox.secret):
        return [*found, about.error("the IMAP server refused the login", "check username and password")]
    if not mailbox.folder.isascii():
        found.append(about.ok("the login works; the folder is not looked into here"))
    elif await talk.command(b"EXAMINE", mailbox.folder):
        found.append(about.ok("the login works, and the folder is there"))
    else:
        found.append(about.error("the login works, and there is no such folder", "check folder"))
    with suppress(NoImap):
        await talk.command(b"LOGOUT")
    return found


class _Talk:
    """One connection, and its commands one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._count = reader, writer, 0

    @classmethod
    async def open(cls, mailbox: ImapMailbox) -> _Talk:
        context = client_context(verify=mailbox.verify_certificate)
        first = context if mailbox.security == "tls" else None
        where = (mailbox.host, mailbox.server_port)
        talk = cls(*await asyncio.open_connection(*where, ssl=first, limit=LONGEST))
        try:
            if not (await talk._line()).startswith(b"* OK"):
                raise NoImap
            if first is None:
                if not await talk.command(b"STARTTLS"):
                    raise NoImap
                await talk._writer.start_tls(context, server_hostname=mailbox.host)
        except BaseException:
            talk.close()
            raise
        return talk

    @property
    def tls(self) -> object:
        return self._writer.get_extra_info("ssl_object")

    async def command(self, word: bytes, *arguments: str) -> bool:
        """Whether it was answered OK. Raises NoImap."""
        self._count += 1
        tag = b"d%d" % self._count
        line = tag + b" " + word
        for one in arguments:
            if one.isascii() and one.isprintable():
                line += b' "' + one.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
                continue
            literal = one.encode()  # RFC 9051, 4.3: announced, and sent when the server says go on
            self._writer.write(line + b" {%d}\r\n" % len(literal))
            if not (await self._line()).startswith(b"+"):
                return False
            line = literal
        self._writer.write(line + b"\r\n")
        await self._writer.drain()
        for _ in range(MOST_LINES):
            answer = await self._line()
            if answer.startswith(tag + b" "):
                return answer.upper().startswith(tag.upper() + b" OK")
        raise NoImap

    async def _line(self) -> bytes:
        try:
            line = await self._reader.readline()
        except ValueError:  # longer than LONGEST
            raise NoImap from None
        if not line.endswith(b"\n"):
            raise NoImap
        return line

    def close(self) -> None:
        self._writer.transport.abort()


def _word(error: Exception) -> str:
    """Fixed words: an error's own text may quote what the server said."""
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return tls_word(error)
    if isinstance(error, socket.gaierror):
        return "dns"
    return "no answer in time" if isinstance(error, TimeoutError) else "connect"
