"""A quarter of the crash matrix, so that four run side by side."""

from __future__ import annotations

import pytest

from tests.faults.crash_cell import Bridges, Cell, quarter


@pytest.mark.parametrize("cell", quarter(2), ids=str)
def test_nothing_is_lost_or_doubled(bridges: Bridges, cell: Cell) -> None:
    assert bridges.play(cell).wrong() == []
