"""Log lines of the console in one line each: a traceback with all its values takes seconds to draw."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(scope="package", autouse=True)
def plain_log() -> Iterator[None]:
    structlog.configure(processors=[structlog.processors.JSONRenderer(default=str)])
    yield
    structlog.reset_defaults()
