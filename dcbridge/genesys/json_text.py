"""JSON as it comes from outside, read in all its encodings, so that what was read can be written and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any

import orjson

from dcbridge.genesys import nesting

MAX_DEPTH = 500  # of JSON that only the standard reader takes


class NotJson(ValueError):
    """The body is no JSON that anybody could read, or more of it than one webhook can mean."""


class TooDeep(NotJson):
    """It is nested deeper than is read, or is no JSON."""


def read_json(body: bytes) -> Any:
    """Any JSON, in UTF-8 with or without a mark, UTF-16 or UTF-32. Raises NotJson.

    What comes out can be written and read again: a number that no float can hold is None.
    """
    return read_json_with(body, no_constant)


def read_json_with(body: bytes, constant: Callable[[str], Any]) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return read_mended(body, constant)


def read_mended(body: bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """What orjson refuses. Raises NotJson."""
    return _mended(read_slowly(body, constant or no_constant))


def read_slowly(body: bytes, constant: Callable[[str], Any]) -> Any:
    try:  # Node writes lone surrogates and some gateways add a mark; the standard reader takes both
        return json.loads(text_of(body), parse_constant=constant, parse_int=_whole, parse_float=_float)
    except RecursionError:
        raise TooDeep("the body is not JSON") from None
    except ValueError:
        raise NotJson("the body is not JSON") from None


def text_of(body: bytes) -> str:
    return body.decode(json.detect_encoding(body), "surrogatepass").removeprefix("\ufeff")


def dumps(value: Any) -> bytes:
    """What `read_json` gave, as JSON again."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # deeper than 254
        return nesting.write(value)


def _mended(value: Any) -> Any:
    """Lone surrogates become U+FFFD: no encoding that a provider takes can carry them. Raises NotJson.

    A limit of its own, since Python's depends on who calls: what the service reads, a worker reads as well.
    """
    top = [value]
    level: list[Any] = [top]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for holder in level:
            for place, item in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                if isinstance(holder, dict) and (name := mended_text(place)) != place:
                    del holder[place]
                    place = name
                holder[place] = mended_text(item) if isinstance(item, str) else item
                if isinstance(item, (dict, list)):
                    below.append(item)
        if not below:
            return top[0]
        level = below
    raise TooDeep("nested too deeply")


def mended_text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _whole(digits: str) -> int | float | None:
    """A whole number as orjson reads it: beyond 64 bits it is a float."""
    if len(digits) <= 20:
        whole = int(digits)
        if -(1 << 63) <= whole < 1 << 64:
            return whole
    return _float(digits)


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if isfinite(number) else None


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
