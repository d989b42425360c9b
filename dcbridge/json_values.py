"""Values of JSON that came from outside: what should be an object, a list or a text, and may be anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import orjson

# A company's code, as it may stand in a log and in a receipt.
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII)


def code(value: object) -> str:
    """A company's code as text; "" for what is none, such as a sentence."""
    written = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return written if _CODE.fullmatch(written) else ""


def json_value(body: bytes) -> object:
    """Whatever JSON it is; None for none. Its depth is bounded by orjson."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def json_object(body: bytes) -> dict[str, object]:
    """A JSON object; {} for anything else."""
    return an_object(json_value(body))


def an_object(value: object) -> dict[str, object]:
    """A value of JSON that should be an object; {} for anything else."""
    return value if isinstance(value, dict) else {}


def a_list(value: object) -> Sequence[object]:
    """A value of JSON that should be a list; () for anything else."""
    return value if isinstance(value, list) else ()


def a_text(value: object) -> str:
    """A value of JSON that should be a text; a whole number as it is written, "" for anything else."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def is_deeper(value: object, most: int) -> bool:
    """Whether objects and lists stand in each other on more than `most` levels: orjson reads 1024, and writes 254."""
    level = [value]
    for _ in range(most):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)


def _inside(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
