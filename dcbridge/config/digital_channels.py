"""Where Digital Channels is, and how it is spoken to."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dcbridge.providers.http import json_literal, texts
from dcbridge.settings.process import DAY
from dcbridge.settings.types import HeaderSecret, Model, SomeSeconds, Url, Uuid


class DigitalChannels(Model):
    """The Genesys side, where messages and receipts are posted."""

    base_url: Url = Field(description="URL of Digital Channels, /nexus/v3 included.")
    contact_center_id: Uuid = Field(description="UUID of the contact centre, sent as x-ccid.")
    api_key: HeaderSecret | None = Field(None, description="Sent as x-api-key, if a gateway in between needs one.")
    longest_pause: SomeSeconds = Field(
        300.0,
        le=DAY,
        description="Seconds for which a Retry-After is kept at most: receipts and consumer messages wait.",
    )
    empty_signature: Literal["empty", "omit", "path"] = Field(
        "empty", description="What is signed on a request without a body: zero bytes, nothing at all, or the path."
    )
    rich_media: dict[str, Any] | None = Field(
        None,
        description="Fields of a message with one file of a consumer's, beside `channel`; in its texts {url}, {name},"
        " {mimetype} and {size} are filled in, and =1 or =true is a value. Without it, the text has a link.",
    )
    media_signature: Literal["raw_body", "file_bytes", "empty"] = Field(
        "raw_body", description="What is signed on an upload: the complete multipart body, the file, or zero bytes."
    )

    @model_validator(mode="after")
    def _values_of_rich_media(self) -> Self:
        for text in texts(self.rich_media):
            if text.startswith("="):
                json_literal(text, "rich_media")
        return self


def nowhere() -> DigitalChannels:
    """Of a bridge whose channels are all elsewhere; `config.checks` refuses it for any other."""
    return DigitalChannels(
        base_url="https://digital-channels.invalid/nexus/v3", contact_center_id="00000000-0000-0000-0000-000000000000"
    )
