"""One pixel is uploaded to Digital Channels, read, compared and deleted, with each way to sign."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import get_args

from dcbridge.config.models import Configuration, DigitalChannels
from dcbridge.digital_channels import DigitalChannels as Client
from dcbridge.errors import SendError
from dcbridge.settings.process import Settings
from dcbridge.transport.sender import Sender

# A PNG of one pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
UPLOADS: tuple[str, ...] = get_args(DigitalChannels.model_fields["media_signature"].annotation)
EMPTIES: tuple[str, ...] = get_args(DigitalChannels.model_fields["empty_signature"].annotation)


@dataclass(frozen=True, slots=True)
class Tried:
    """One way to sign: a setting, its value, whether it works, whether it is the one that is set, and why not."""

    setting: str
    value: str
    works: bool
    is_set: bool
    why: str = ""


async def try_media(settings: Settings, configuration: Configuration) -> AsyncIterator[Tried]:
    """Each way, first of an upload and then, with one that works, of reading and deleting."""
    channel_id = next(name for name in configuration.channels if configuration.organization_of(name) is None)
    async with Sender(connect_timeout=settings.connect_timeout, read_timeout=settings.read_timeout) as sender:

        def client(**changes: str) -> Client:
            there = configuration.digital_channels.model_copy(update=changes)
            return Client(configuration.model_copy(update={"digital_channels": there}), sender)

        uploaded: list[tuple[str, str]] = []
        for value in UPLOADS:
            why = ""
            try:
                uploaded.append(
                    (
                        value,
                        (await client(media_signature=value).upload(channel_id, "pixel.png", "image/png", PIXEL)).id,
                    )
                )
            except SendError as error:
                why = _words(error)
            yield Tried("media_signature", value, not why, value == configuration.digital_channels.media_signature, why)
        if not uploaded:
            return
        how, left = uploaded[-1][0], [media_id for _, media_id in uploaded]
        right: Client | None = None
        for value in EMPTIES:
            if not left:
                left.append((await client(media_signature=how).upload(channel_id, "pixel.png", "image/png", PIXEL)).id)
            why = await _read_and_delete(client(empty_signature=value), channel_id, left[-1])
            if not why:
                right = client(empty_signature=value)
                left.pop()
            yield Tried("empty_signature", value, not why, value == configuration.digital_channels.empty_signature, why)
        if right is not None:
            for media_id in left:
                await _forget(right, channel_id, media_id)


async def _read_and_delete(client: Client, channel_id: str, media_id: str) -> str:
    """Why that did not work; "" where it did."""
    try:
        if await client.download(channel_id, media_id) != PIXEL:
            return "other bytes came back"
        await client.delete(channel_id, media_id)
    except SendError as error:
        return _words(error)
    return ""


def _words(error: SendError) -> str:
    """What Digital Channels answered; without an answer, what became of the request."""
    if error.code.startswith("http "):
        return f"answered with HTTP {error.code.removeprefix('http ')}"
    return f"{error.outcome} {error.code}".strip()


async def _forget(client: Client, channel_id: str, media_id: str) -> None:
    with suppress(SendError):
        await client.delete(channel_id, media_id)
