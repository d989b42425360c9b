"""How fast an interface of Genesys is asked."""

from __future__ import annotations

from pydantic import Field

from dcbridge.settings.types import Model


class InterfacePace(Model):
    """Of all workers together."""

    per_second: float = Field(
        0.0, ge=0, le=1000, allow_inf_nan=False, description="Requests a second of all workers; 0 is no limit."
    )
    burst: int = Field(1, ge=1, le=1000, description="Requests that may be written at once after an idle time.")
