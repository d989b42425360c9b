"""The fixtures of tests that need a whole bridge; the conftest.py of a folder takes them from here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import SMS, Stack


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    """One bridge for a file of stories."""
    with Stack(channels={SMS: {"confirm_within": 5}}) as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """The file's bridge between two quiet worlds that remember nothing."""
    shared_stack.sandbox("reset", {})
    return shared_stack


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A bridge that this test alone may break."""
    # Its SMS provider repeats a callback that met a dead service; Twilio does so where "#rc=" asks for it.
    with Stack(sandbox={"callback_tries": 40}) as running:
        yield running
