"""Findings: each key has a page and a line in the documentation, and the worst is shown first."""

from __future__ import annotations

import re
from pathlib import Path

from dcbridge.operations.findings import KINDS, Severity, found, in_order

ROOT = Path(__file__).parent.parent.parent
STATUS = (ROOT / "docs" / "operations" / "status.md").read_text(encoding="utf-8")


def test_each_page_is_there() -> None:
    assert {kind.page for kind in KINDS.values() if not (ROOT / kind.page).is_file()} == set()


def test_each_key_stands_in_the_table_with_its_severity_and_page() -> None:
    rows = re.findall(r"^\| `([a-z.-]+)` \| (\w+) \| .+ \| \[.+\]\((.+)\) \|$", STATUS, re.MULTILINE)
    pages = {key: (kind.severity.value, kind.page) for key, kind in KINDS.items()}
    written = {
        key: (severity, str((ROOT / "docs" / "operations" / page).resolve().relative_to(ROOT)))
        for key, severity, page in rows
    }
    assert written == pages
    assert [key for key, _, _ in rows] == [one.key for one in in_order(found(key, "", "") for key in reversed(KINDS))]


def test_the_worst_is_first() -> None:
    severities = [one.severity for one in in_order(found(key, "", "") for key in KINDS)]
    assert severities == sorted(severities, key=list(Severity).index)
