"""The tables of fields and states in docs/architecture.md, written from fields.py.

python -m dcbridge.ledger.fields_page docs/architecture.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dcbridge.ledger.fields import KINDS, Each, Field, State, TaskState

BEGIN, END = "<!-- fields: written by python -m dcbridge.ledger.fields_page -->", "<!-- end of fields -->"


def page(text: str) -> str:
    """The page with its tables as they have to be."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return before + "\n".join([BEGIN, *_lines(), END]) + after


def _lines() -> Iterator[str]:
    for kind in KINDS:
        yield from (
            "",
            f"`{kind.key}`: {_first_line(kind)}",
            "",
            "| field | name in the code | holds |",
            "|---|---|---|",
        )
        for one in kind.fields():
            yield f"| `{_wire(one)}` | `{one.name}` | {one.says} |"
    for states, key in ((State, "dcb:m:<ref>"), (TaskState, "dcb:t:<id>")):
        yield from ("", f"The states of `{key}`:", "", "| state | means |", "|---|---|")
        yield from (f"| `{state.value}` | {state.says} |" for state in states)
    yield ""


def _wire(one: Field[object] | Each) -> str:
    return f"{one.wire}<n>" if isinstance(one, Each) else one.wire


def _first_line(kind: type) -> str:
    line = (kind.__doc__ or "").partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


def main() -> None:
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
