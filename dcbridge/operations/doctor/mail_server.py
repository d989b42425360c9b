"""What a mail server offers, against what dcbridge needs of it. No mail is sent; the login is tried."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress

import aiosmtplib

from dcbridge.operations.doctor import certificate
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.providers.smtp import MOST_ATTACHED, SmtpFields
from dcbridge.transport.tls import client_context, tls_word

# Attachments in base64 with line ends, and the text beside them.
LARGEST = MOST_ATTACHED * 4 // 3 * 78 // 76 + 200_000
QUIT_SECONDS = 1.0


async def check(fields: SmtpFields, patience: float, about: About) -> Sequence[Finding]:
    """Connect, EHLO, STARTTLS, EHLO, AUTH, QUIT."""
    client = aiosmtplib.SMTP(
        hostname=fields.host,
        port=fields.port,
        local_hostname=fields.local_hostname or await asyncio.to_thread(socket.getfqdn),
        timeout=patience,
        use_tls=fields.security == "tls",
        start_tls=False,
        tls_context=client_context(verify=fields.verify_certificate),
    )
    found: list[Finding] = []
    try:
        async with asyncio.timeout(patience):
            await _dialogue(client, fields, about, found)
            with suppress(aiosmtplib.SMTPException, OSError):
                await client.quit(timeout=QUIT_SECONDS)
    except aiosmtplib.SMTPResponseException as error:
        found.append(about.error(f"the mail server answered with {error.code} instead of a greeting"))
    except (aiosmtplib.SMTPException, OSError, UnicodeError) as error:
        found.append(about.error(f"the mail server cannot be used ({_word(error)})", "check host, port and security"))
    finally:
        client.close()
    return found


async def _dialogue(client: aiosmtplib.SMTP, fields: SmtpFields, about: About, found: list[Finding]) -> None:
    await client.connect()
    await client.ehlo()
    if fields.security == "starttls":
        if not client.supports_extension("starttls"):
            found.append(about.error("the mail server offers no STARTTLS", "set security to tls and the port to 465"))
            return
        await client.starttls()
        await client.ehlo()
    elif fields.security == "none" and client.supports_extension("starttls"):
        found.append(about.warning("mail goes unencrypted, and the server offers STARTTLS", "set security to starttls"))
    if fields.security != "none":
        found += certificate.judged(client.get_transport_info("ssl_object"), about)
    found += judged(client.esmtp_extensions, fields, about)
    if fields.username:
        found += [await _login(client, fields, about)]


def judged(offered: dict[str, str], fields: SmtpFields, about: About) -> Iterator[Finding]:
    """The extensions of the EHLO that counts."""
    words = offered.get("size", "").split()
    if "size" in offered and words and words[0].isascii() and words[0].isdecimal() and 0 < int(words[0][:15]) < LARGEST:
        yield about.warning(
            f"the server takes mail up to {int(words[0][:15]) / 1e6:.1f} MB, and agents' files make mails of up to"
            f" {LARGEST / 1e6:.1f} MB: larger ones fail",
            "raise the server's limit (Postfix: message_size_limit)",
        )
    if "smtputf8" not in offered:
        yield about.note("the server offers no SMTPUTF8: mail to addresses beyond ASCII fails")
    if "8bitmime" not in offered:
        yield about.note("the server offers no 8BITMIME")
    if "dsn" not in offered and fields.dsn == "auto" and fields.callback_secret:
        yield about.warning(
            "the server offers no DSN, so no delivery is ever confirmed", "use delivered_when: taken for its channels"
        )
    shown = [
        name.upper() for name in ("starttls", "size", "pipelining", "8bitmime", "smtputf8", "dsn") if name in offered
    ]
    yield about.ok(f"the mail server answers, and offers {', '.join(shown) or 'no extensions'}")


async def _login(client: aiosmtplib.SMTP, fields: SmtpFields, about: About) -> Finding:
    if fields.oauth2 is not None:
        if "xoauth2" in client.server_auth_methods:
            return about.ok("the server offers AUTH XOAUTH2; the token is not tried here")
        return about.error("the server offers no AUTH XOAUTH2", "use username and password, or another server")
    if not client.supported_auth_methods:
        return about.error(
            "the server offers no AUTH that dcbridge speaks (PLAIN, LOGIN, CRAM-MD5)",
            "remove username, or use the server's submission port, 587 or 465",
        )
    try:
        await client.login(fields.username, fields.password.get_secret_value())
    except aiosmtplib.SMTPResponseException as error:
        return about.error(f"the mail server refused the login ({error.code})", "check username and password")
    return about.ok("the login works")


def _word(error: Exception) -> str:
    """Fixed words: an error's own text may quote what the server said."""
    import ssl

    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError | ssl.CertificateError):
        return tls_word(cause)
    if isinstance(cause, socket.gaierror):
        return "dns"
    return "no answer in time" if isinstance(error, TimeoutError) else "connect"
