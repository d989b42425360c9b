"""Mailboxes on IMAP servers whose mail is for a channel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from dcbridge.providers.oauth2 import OAuth2Fields
from dcbridge.settings.problems import Path, refuse
from dcbridge.settings.types import Model, Secret

LONGEST_IDLE = 1740.0  # seconds: RFC 2177 has servers that log out after half an hour
_MOVE = "move:"


class ImapMailbox(Model):
    """One folder of a mailbox that `dcbridge mail-in` looks into. All mail in it is for the channel."""

    host: str = Field(pattern=r"^[^\s/@]+$", max_length=255, description="Host name of the IMAP server.")
    port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of the IMAP server.",
        json_schema_extra={"default": "993, or 143 with starttls"},
    )
    security: Literal["tls", "starttls"] = Field(
        "tls", description="How the connection is encrypted: from the first byte, or by STARTTLS."
    )
    verify_certificate: bool = Field(True, description="Whether the server's certificate must be valid for its host.")
    username: str = Field(min_length=1, max_length=500, description="User name; at most companies the address.")
    password: Secret | None = Field(None, description="Password of that user; or `oauth2`.")
    oauth2: OAuth2Fields | None = Field(None, description="How a token is got, for servers that take no password.")
    folder: str = Field("INBOX", min_length=1, max_length=500, description="Name of the folder.")
    after: str = Field(
        "seen",
        max_length=500,
        description="What is done with a mail that is stored: `seen` marks it as read, `flag` sets the keyword"
        " $dcbridge, `move:<folder>` moves it, `delete` deletes it. What is marked already, or deleted, is not taken.",
    )
    since: date | None = Field(
        None,
        description="Day, such as 2026-12-01; mail that arrived before is left alone.",
    )
    poll_every: float = Field(
        60.0,
        ge=1,
        le=LONGEST_IDLE,
        allow_inf_nan=False,
        description="Seconds between two looks; with IDLE, a server reports a new mail at once as well.",
    )
    timeout: float = Field(
        60.0, gt=0, le=600, allow_inf_nan=False, description="Seconds that the server may be silent."
    )

    @field_validator("username", "folder", "after")
    @classmethod
    def _on_one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("should have no control characters")
        return value

    @field_validator("after")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("seen", "flag", "delete") and not (value.startswith(_MOVE) and value != _MOVE):
            raise ValueError("should be seen, flag, delete or move:<folder>")
        return value

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        refuse(
            *([(("password",), "is missing: a mailbox needs password or oauth2")] if not (self.password or self.oauth2)
              else [(("password",), "and oauth2 are both set: keep one of them")] if self.password and self.oauth2
              else []),
            *([(("after",), "moves to the folder that is looked into")] if self.move_to == self.folder else []),
        )  # fmt: skip
        return self

    @property
    def move_to(self) -> str:
        """The folder of `move:`; "" for anything else."""
        return self.after.removeprefix(_MOVE) if self.after.startswith(_MOVE) else ""

    @property
    def server_port(self) -> int:
        return self.port or (993 if self.security == "tls" else 143)

    @property
    def secret(self) -> str:
        return self.password.get_secret_value() if isinstance(self.password, SecretStr) else ""

    def doubts(self) -> Iterator[tuple[str, str]]:
        """(field, what) of each that is allowed and still deserves a look."""
        if not self.verify_certificate:
            yield "verify_certificate", "is false: a server in between can read mails and login; set it to true"


def shared(channels: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Path, str, str]]:
    """(path, what, suggestion) of each folder that is named twice: a mail in it would be taken for either."""
    first: dict[tuple[str, str, str], str] = {}
    for channel_id, channel in channels.items():
        inbound = channel.get("inbound")
        mailboxes = inbound.get("imap") if isinstance(inbound, Mapping) else None
        for name, told in mailboxes.items() if isinstance(mailboxes, Mapping) else ():
            if not isinstance(told, Mapping):
                continue
            host, username = (str(told.get(field, "")).lower() for field in ("host", "username"))
            other = first.setdefault((host, username, str(told.get("folder", "INBOX"))), f"{channel_id}.{name}")
            if other != f"{channel_id}.{name}":
                path: Path = ("channels", channel_id, "inbound", "imap", name)
                yield path, f'is the folder of "{other}" as well', "name each folder once"
