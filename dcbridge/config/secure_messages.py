"""Texts that say that a secure message waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from dcbridge.config import own_texts
from dcbridge.settings.types import Model, Url

COUNT = "{count}"


class SecureMessages(Model):
    """A text to the consumer for each email that an agent puts into the secure mailbox."""

    base_url: Url | None = Field(
        None,
        description="URL of Secure Email, up to /nexus/v3.",
        json_schema_extra={"default": "`base_url` of `genesys` with /nexus/v3"},
    )
    channel: str = Field(min_length=1, max_length=200, description="The channel of type sms that the texts go out on.")
    number_key: str = Field(
        min_length=1, max_length=200, description="Key of the email's attached data that has the consumer's number."
    )
    address_key: str = Field(
        "",
        max_length=200,
        description="Key of that data with the mailbox by which unread emails are counted.",
    )
    text: Annotated[str, StringConstraints(min_length=1, max_length=1600)] = Field(
        description="The text. {count} is the number of unread emails; it needs `address_key` and `without_count`."
    )
    without_count: Annotated[str, StringConstraints(min_length=1, max_length=1600)] | None = Field(
        None, description="The text where that number is not known."
    )
    event: Literal["STARTED", "FINISHED"] = Field(
        "FINISHED", description="Which event of the outbound email's interaction causes the text."
    )


def check(tree: Mapping[str, Any]) -> Iterator[own_texts.Found]:
    """What does not fit."""
    part = own_texts.part_of(tree, "secure_messages")
    path = ("genesys", "secure_messages")
    yield from own_texts.channel((*path, "channel"), tree, part.get("channel"))
    said = part.get("text")
    if isinstance(said, str):
        yield from own_texts.text((*path, "text"), said.replace(COUNT, "9"))
        for name in ("address_key", "without_count") if COUNT in said else ():
            if not part.get(name):
                yield (*path, name), "is missing: `text` has {count}", "add it, or take {count} out", True
    yield from own_texts.text((*path, "without_count"), part.get("without_count"))
