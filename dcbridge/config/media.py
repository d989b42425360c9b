"""Files in both directions: how large and of which types, how long they are kept, and who scans them."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dcbridge.media.file_types import KNOWN
from dcbridge.settings.process import DAY
from dcbridge.settings.types import HeaderSecret, Model, SomeSeconds, Url

_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


class Scan(Model):
    """Who looks whether a consumer's file is malware."""

    clamd: str | None = Field(None, description="Host and port of clamd, such as clamav.internal:3310.")
    url: Url | None = Field(
        None, description='URL that files are posted to; it answers 200 and {"infected": true} or false.'
    )
    token: HeaderSecret | None = Field(None, description="Sent to that URL as Authorization: Bearer.")
    timeout: SomeSeconds = Field(10.0, le=60, description="Seconds that a scan may take.")
    unavailable: Literal["hold", "pass"] = Field(
        "hold", description="While the scanner is away: hold the message, or let the file pass unscanned."
    )
    hold: SomeSeconds = Field(
        3600.0, le=DAY, description="Seconds for which it is held; then the text arrives without the file."
    )

    @field_validator("clamd")
    @classmethod
    def _a_place(cls, value: str | None) -> str | None:
        found = _PLACE.fullmatch(value) if value is not None else None
        if value is not None and (found is None or not 0 < int(found["port"]) < 65536):
            raise ValueError("should be a host and a port, such as clamav.internal:3310")
        return value

    @property
    def place(self) -> tuple[str, int]:
        """Of clamd."""
        host, _, port = (self.clamd or "").rpartition(":")
        return host.strip("[]"), int(port)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.clamd is None) == (self.url is None):
            raise ValueError("should have clamd or url, and not both")
        if self.token is not None and self.url is None:
            raise ValueError("token needs url")
        return self


class Media(Model):
    """Files of consumers and agents."""

    inbound: Literal["upload", "link"] = Field(
        "upload",
        description="What becomes of a consumer's file: uploaded to Digital Channels, or the provider's own link.",
    )
    most: int = Field(10 << 20, ge=1024, le=64 << 20, description="Bytes of a file at most, in either direction.")
    types: tuple[str, ...] = Field(
        KNOWN,
        description="Types of consumers' files that reach an agent, known by their first bytes.",
        json_schema_extra={"default": "all that are known"},
    )
    link_life: SomeSeconds = Field(
        7 * DAY, le=90 * DAY, description="Seconds for which a link to a file can be opened, from the message on."
    )
    keep: float = Field(
        30 * DAY,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after which a consumer's file is deleted at Digital Channels; 0 is never.",
    )
    scan: Scan | None = Field(None, description="Scanner for consumers' files.")

    @field_validator("types")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [one for one in value if one not in KNOWN]:
            raise ValueError(f"has {unknown[0][:60]!r}, which is none of {', '.join(KNOWN)}")
        return value

    @model_validator(mode="after")
    def _links_lead_somewhere(self) -> Self:
        if self.keep and self.keep < self.link_life:
            raise ValueError("keep should be at least link_life: a link would lead to a file that is deleted")
        return self


class ChannelMedia(Model):
    """Files of a channel's agents."""

    instead: Literal["link", "refuse"] = Field(
        "link",
        description="What to do with a file that the provider cannot carry: send a link to it, or fail with 510.",
    )
