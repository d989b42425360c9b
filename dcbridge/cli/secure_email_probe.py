"""`dcbridge genesys probe`: one email, as bridge.yaml writes it, before a channel depends on it."""

from __future__ import annotations

import secrets
import time
from typing import Any

import typer

from dcbridge.cli.terminal import CANNOT_ASK, at_the_ledger, out, say_error
from dcbridge.config.secure_email import SecureEmail
from dcbridge.errors import OutcomeUnknown, SendError
from dcbridge.genesys import secure_email
from dcbridge.genesys.secure_email import Box
from dcbridge.operations.session import Session
from dcbridge.printable import printable
from dcbridge.providers.mailboxes import own_mailbox

FILE = ("dcbridge.txt", "text/plain", b"A file of dcbridge's test email.\n")


def run(config: Any, address: str) -> typer.Exit:
    """What the command does."""

    async def work(session: Session) -> int:
        genesys = session.configuration.genesys
        wanted = genesys.secure_email if genesys else None
        if genesys is None or wanted is None or not genesys.key:
            say_error("genesys.secure_email, or the api_key of genesys, is not set in bridge.yaml")
            return CANNOT_ASK
        try:
            own_mailbox(address)
        except ValueError as error:
            say_error(f"the address {error}")
            return CANNOT_ASK
        return await _try(session, genesys.url(wanted.base_url, "/nexus/v3"), wanted, genesys.key, address)

    return at_the_ledger(config, work)


async def _try(session: Session, url: str, wanted: SecureEmail, key: str, address: str) -> int:
    from dcbridge.interfaces import Interfaces
    from dcbridge.runtime.metrics import Metrics
    from dcbridge.transport.sender import Sender

    box = Box(url, wanted)
    reference = secure_email.reference(f"try-{secrets.token_hex(8)}")
    values = secure_email.values(
        address, "Jo Example", "Test email of dcbridge", f"This is a test. Its reference is {reference}.",
        "mailbox@example.com", "channel", reference, time.time(),
    )  # fmt: skip
    data = box.data(values, [FILE])
    async with Sender() as sender:
        interfaces = Interfaces(key, None, sender, session.ledger, Metrics())
        try:
            reading = await interfaces.send(secure_email.SEND, box.send(data, reference))
            secure_email.sent(reading)
        except OutcomeUnknown as error:
            say_error(f"no answer: {error.code or error.outcome}. Look in Genesys for {reference} before you try again")
            return 1
        except SendError as error:
            say_error(f"Genesys did not take it: {printable(error.code or error.outcome)}")
            return 1
        shown = await _shown(interfaces, box, address, reference)
    out.print(f"Genesys took the email {reference}.", markup=False)
    out.print(f"The list of emails {'shows' if shown else 'does not show'} its reference.", markup=False)
    if not shown:
        out.print("So an email whose answer is lost becomes a dead letter, and you decide.", markup=False)
    out.print("Look at each field of it in Genesys. If all are there, write into genesys.secure_email:", markup=False)
    typer.echo(f"verified: {wanted.fingerprint}")
    return 0


async def _shown(interfaces: Any, box: Box, address: str, reference: str) -> bool:
    """Whether an email whose answer was lost could be found again."""
    try:
        reading = await interfaces.send(secure_email.LIST, box.listed(address))
    except SendError:
        return False
    return secure_email.is_listed(reading, reference)
