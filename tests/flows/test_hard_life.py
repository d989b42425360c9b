"""The worked example of docs/operations/trace.md is what the product says."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.terminal import on_a_terminal
from tests.flows.hard_life import SLOW, UNASKED, lived
from tests.stack import Stack

PAGE = Path(__file__).parent.parent.parent / "docs" / "operations" / "trace.md"


def steps(text: str) -> list[str]:
    """The words of each hop, and what it tells besides, without its figures."""
    found = re.findall(
        r"^ *(?:\d\d:\d\d:\d\d\.\d\d\d|\d\d-\d\d \d\d:\d\d) +\+[0-9.]+ \w+ +(.+?) *$", text, re.MULTILINE
    )
    return [re.sub(r"[0-9a-f]{24,}", "…", one) for one in found]


def test_a_429_a_kill_and_a_late_update_are_told_as_the_page_says() -> None:
    page = PAGE.read_text(encoding="utf-8").partition("## A worked example")[2].partition("\n## ")[0]
    settings = {"DCBRIDGE_WORKER_SILENCE": "1.5"}
    with Stack(settings=settings, sandbox={"slow_answer": SLOW}, providers=UNASKED) as stack:
        message = lived(stack)
        told = on_a_terminal(stack.environ, "trace", message)
        books = stack.settled()
        sent = len(stack.sandbox("sms"))
    assert told.code == 0
    assert steps(told.text) == steps(page)
    assert (books.difference, books.counts["unknown_resend"], sent) == (0, 1, 2)
    for word in ("code 20429", "the worker stopped responding", "after the end, no change"):
        assert word in told.text
        assert word in page
