"""Which addresses a webhook may reach."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

Allowed = Annotated[str, StringConstraints(min_length=1, max_length=253)]
