"""All mailboxes on IMAP servers that bridge.yaml names, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket

from dcbridge.config.models import Configuration
from dcbridge.interfaces import MailTokens
from dcbridge.ledger import Ledger
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.transport.sender import Sender
from service.imap.mailbox import Mailbox
from service.imap.taking import Place, Tools
from service.mail.taker import Rates
from service.mail.wire import Room


def places(configuration: Configuration) -> list[Place]:
    """Every mailbox, in the order of bridge.yaml."""
    return [
        Place(channel_id, name, channel.inbound, told)
        for channel_id, channel in configuration.channels.items()
        if channel.inbound is not None
        for name, told in channel.inbound.imap.items()
    ]


async def run(
    settings: Settings, configuration: Configuration, ledger: Ledger, metrics: Metrics, room: Room, stop: asyncio.Event
) -> None:
    """Each mailbox by itself. Raises ConfigurationError where tokens cannot be shared."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    tools = Tools(settings, ledger, metrics, room, Rates(), owner)
    async with Sender(connect_timeout=settings.connect_timeout, read_timeout=settings.read_timeout) as sender:
        tokens = MailTokens(settings, ledger, sender, metrics)
        mailboxes = [
            Mailbox(place, tools, tokens.of(place.told.oauth2.credentials()) if place.told.oauth2 else None)
            for place in places(configuration)
        ]
        try:
            await asyncio.gather(*(mailbox.run(stop) for mailbox in mailboxes))
        finally:
            await tokens.close()
