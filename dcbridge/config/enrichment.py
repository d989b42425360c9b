"""Whether interaction events are told with what Genesys knows of the interaction."""

from __future__ import annotations

from pydantic import Field

from dcbridge.settings.types import Model, Url


class Enrichment(Model):
    """Data of interactions that is added to their events, for subscribers with `enrich`."""

    base_url: Url | None = Field(
        None,
        description="URL of the interfaces for chat sessions and Secure Email, up to /nexus/v3.",
        json_schema_extra={"default": "`base_url` of `genesys` with /nexus/v3"},
    )
    token: bool = Field(
        False, description="Whether chat sessions are asked for with a token besides the key; needs `auth`."
    )
    verified: bool = Field(
        False,
        description="Set it to true when you have checked what your tenant answers, since the reference does not print"
        " it. Until then no data is requested.",
    )
