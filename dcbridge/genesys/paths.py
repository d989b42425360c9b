"""Names that others gave, in the paths of our requests."""

from __future__ import annotations

from urllib.parse import quote

from dcbridge.errors import Refused


def segment(name: str) -> str:
    """A name as one segment of a path. Raises Refused for what leads to another path instead: httpx takes "." and ".."
    out, with the segment before it, and a DELETE of a file would be one of what is above it.
    """
    if name in ("", ".", ".."):
        raise Refused("no name of a resource")
    return quote(name, safe="")
