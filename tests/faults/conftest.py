from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crash_cell import Bridges
from tests.running import own_stack, shared_stack, stack

__all__ = ["own_stack", "shared_stack", "stack"]


@pytest.fixture(scope="module")
def bridges() -> Iterator[Bridges]:
    """A bridge for the cells of one file, with short leases."""
    with Bridges(short=True) as running:
        yield running
