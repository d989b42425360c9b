"""Whether our messages are compared each night with what Genesys exports."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from dcbridge.settings.types import Model, Url

Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Reconcile(Model):
    """An export of yesterday (UTC) by User Data Management, compared, logged and counted."""

    base_url: Url | None = Field(
        None,
        description="URL of User Data Management, up to /udm/v10.",
        json_schema_extra={"default": "`base_url` of `genesys` with /udm/v10"},
    )
    nightly: str = Field(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="When it begins, in UTC, such as 03:10."
    )
    file_hosts: Annotated[tuple[Word, ...], Field(min_length=1, max_length=20)] = Field(
        description="Hosts that an exported file may be fetched from: User Data Management answers with a link to one."
    )
    source: Word = Field("UCS", description="`source` and `type` of the export job.")
    type: Word = Field("Interaction", description="`jobParams.type` of the export job.")
    media: Annotated[tuple[Word, ...], Field(min_length=1, max_length=20)] = Field(
        ("chat",), description="`jobParams.media` of the export job."
    )
