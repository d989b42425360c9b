"""Times in what is asked."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

When = Annotated[AwareDatetime, Field(description="With its zone: 2026-11-26T23:00:00Z.")]


def moment_of(when: datetime | None) -> float | None:
    """Seconds since 1970."""
    return when.timestamp() if when else None
