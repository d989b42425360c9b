"""Whether the public address leads to a dcbridge, as far as that can be seen from here.

Requests are of a method that none of its routes has, without a body: dcbridge answers 405, stores nothing and counts no
refused signature. A network may well allow from outside what it does not allow from here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import orjson

from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.operations.doctor import certificate
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.settings.types import is_loopback
from dcbridge.transport.sender import Sender
from dcbridge.transport.tls import client_context

HANDSHAKE = 5.0  # seconds
AT = About("public_url")
_FROM_HERE = "try it from outside as well: your network may only keep this computer from it"


async def check(sender: Sender, configuration: Configuration) -> Sequence[Finding]:
    """Its certificate, and each kind of address below it."""
    base = configuration.public_url.rstrip("/")
    found: list[Finding] = []
    if base.startswith("https://"):
        found += await _certificate(base)
    elif is_loopback(base):
        found.append(AT.note("it is on this computer: no company reaches it"))
    probes = {f"{base}/webhooks/messages/{next(iter(configuration.endpoints))}": "webhooks"}
    name = next(iter(configuration.providers), None)
    if name is not None:
        probes[f"{base}/callbacks/{name}/status"] = "callbacks"
    answers = await asyncio.gather(*(_probe(sender, url, what) for url, what in probes.items()))
    return [*found, *{(one.severity, one.words): one for one in answers}.values()]


async def _probe(sender: Sender, url: str, what: str) -> Finding:
    try:
        answer = await sender.http(httpx.Request("PUT", url, headers={"Content-Length": "0"}))
    except SendError as error:
        why = error.code or error.outcome.replace("_", " ")
        return AT.warning(f"it cannot be reached from here ({why})", _FROM_HERE)
    try:
        ours = answer.status_code == 405 and orjson.loads(answer.content) == {"error": "method not allowed"}
    except orjson.JSONDecodeError:
        ours = False
    if ours:
        return AT.ok(f"the addresses for {what} lead to a dcbridge")
    if answer.status_code in (401, 403, 405):
        return AT.note(f"something before dcbridge answered for {what} (HTTP {answer.status_code})", _FROM_HERE)
    return AT.error(
        f"the addresses for {what} do not lead to a dcbridge (HTTP {answer.status_code})",
        "route public_url to the service's public port, with its path unchanged",
    )


async def _certificate(base: str) -> Sequence[Finding]:
    url = urlsplit(base)
    writer = None
    try:
        async with asyncio.timeout(HANDSHAKE):
            _, writer = await asyncio.open_connection(url.hostname, url.port or 443, ssl=client_context())
            return list(certificate.judged(writer.get_extra_info("ssl_object"), AT))
    except ssl.SSLCertVerificationError:
        return [
            AT.error(
                "the certificate of public_url is not trusted, or is of another name",
                "companies check it: send the whole chain, for that host name",
            )
        ]
    except (OSError, TimeoutError, UnicodeError):
        return []  # said by the request itself
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                writer.transport.abort()
