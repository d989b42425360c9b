"""Where somebody goes after sign-in: a page of the console, and never another site."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

LONGEST = 2000  # characters
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)  # no backslash, no blank, no control character


def onwards(wanted: str) -> str:
    """`wanted` where it is a path of ours, also when it is decoded again and again; else the start."""
    if len(wanted) > LONGEST:
        return "/"
    text = wanted
    for _ in range(4):
        if not _PATH.fullmatch(text):
            return "/"
        try:
            parts = urlsplit(text)
        except ValueError:
            return "/"
        if parts.scheme or parts.netloc or parts.path.startswith(("/sign-in", "/sign-out")):
            return "/"
        if (decoded := unquote(text.partition("?")[0], errors="replace")) == text:
            break
        text = decoded
    return wanted
