"""Text that others wrote, before it reaches a terminal: without control characters of any kind.

Beside C0 there are C1 (U+009B begins an escape sequence in 8 bits), DEL, the bidirectional controls, which show a name
backwards, separators of lines, and what has no width: all that `str.isprintable` refuses.
"""

from __future__ import annotations

import json
import re

# What JSON may hold as it is, and a terminal may not get. Lone surrogates cannot stand in it.
_MAYBE = re.compile(r"[^ -~]+")


def printable(text: str) -> str:
    """In one line, each such character as "?"."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def printable_lines(text: str) -> str:
    """As `printable`, and lines stay lines, and tabs tabs."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def safe_json(text: str) -> str:
    """JSON in one line that means the same, with each such character as \\uXXXX."""
    if text.isascii() and "\x7f" not in text:  # nearly every line; the others of ASCII are written as escapes already
        return text
    return _MAYBE.sub(lambda run: "".join(c if c.isprintable() else _escaped(c) for c in run[0]), text)


def _escaped(character: str) -> str:
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]  # DEL is ASCII, and is left alone there
