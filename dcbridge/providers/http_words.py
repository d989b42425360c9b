"""What companies with an HTTP API have in common: forms, JSON, and what a status means without a word of their own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import unquote_to_bytes

import httpx
import orjson

from dcbridge import retry_after
from dcbridge.errors import AccountFault, BadSignature, OutcomeUnknown, Refused, SendError, Throttled, UnreadableEvent
from dcbridge.json_values import a_list as a_list
from dcbridge.json_values import a_text as a_text
from dcbridge.json_values import an_object as an_object
from dcbridge.json_values import code as code
from dcbridge.json_values import json_object as json_object
from dcbridge.json_values import json_value as json_value
from dcbridge.messages import ConsumerMessage, DeliveryUpdate, Reason
from dcbridge.providers.base import Callback, Unread

FORM = "application/x-www-form-urlencoded"
MOST_PARAMETERS = 500  # of a form or a query
MOST_FORM = 1 << 18  # bytes
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)

Codes = Mapping[str, tuple[type[SendError], Reason]]


def codes(error: type[SendError], reason: Reason, words: str) -> dict[str, tuple[type[SendError], Reason]]:
    """One line of a table: all `words` with what follows from them."""
    return dict.fromkeys(words.split(), (error, reason))


def reasons(reason: Reason, words: str) -> dict[str, Reason]:
    """The same for a table that only says why a message failed."""
    return dict.fromkeys(words.split(), reason)


def error_of(answer: httpx.Response, code: str, known: Codes, *, trusted: bool = False) -> SendError:
    """What an answer other than "taken" means. `code`: the company's, "" for none; an unknown one is Refused, 500.

    429, 408 and 5xx mean what HTTP says whatever the code is; with `trusted`, a known code goes first.
    """
    status = answer.status_code
    error, reason = known.get(code, (Refused, Reason.GENERAL))
    if trusted and code in known:
        pass
    elif status == 429:
        error, reason = Throttled, Reason.RATE_LIMIT
    elif status >= 500 or status == 408:
        error, reason = OutcomeUnknown, Reason.GENERAL
    elif status in (401, 402) or (status == 403 and not code) or 300 <= status < 400 or status < 200:
        error, reason = AccountFault, Reason.GENERAL  # a redirect is a wrong URL: nothing was taken
    return error(
        code or f"HTTP {status}",
        reason=reason,
        retry_after=retry_after.longest(answer.headers.get_list("Retry-After")),
        whole_account=status == 429,
    )


def writable(text: str) -> str:
    """A text as UTF-8 can write it: half of a character is a question mark."""
    return text.encode("utf-8", "replace").decode()


Element = ConsumerMessage | DeliveryUpdate


def each(
    elements: Sequence[object], read: Callable[[Mapping[str, object]], Element], alone: Callable[[object], object]
) -> Sequence[Element | Unread]:
    """The elements of a callback, each read by itself. One that cannot be is kept as a callback of its own: `alone`."""
    found: list[Element | Unread] = []
    for element in elements:
        try:
            found.append(read(an_object(element)))
        except UnreadableEvent as error:
            found.append(Unread(error.kind, _written(alone(element))))
    return found


def _written(value: object) -> bytes:
    """As JSON; b"" for what is nested deeper than can be written, and not deeper than can be read."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return b""


def check_time(moment: str, age: float) -> None:
    """Raises BadSignature unless `moment`, in seconds since 1970, differs from now by `age` seconds at most."""
    if not _SECONDS.fullmatch(moment):
        raise BadSignature("no timestamp")
    if abs(time.time() - int(moment)) > age:
        raise BadSignature("too old or too new")


def query(callback: Callback) -> bytes:
    """The query as it was signed."""
    return callback.url.partition("?")[2].encode("utf-8", "replace")


def content_type(callback: Callback) -> str:
    """Without its parameters, in lower case."""
    return callback.header("content-type").partition(";")[0].strip().lower()


def is_form(callback: Callback) -> bool:
    return content_type(callback) == FORM


def parameters(callback: Callback) -> dict[str, str]:
    """What a GET has in its query and a POST in its form."""
    if callback.method != "POST":
        return decoded(query(callback))
    return decoded(callback.body) if is_form(callback) else {}


def decoded(raw: bytes) -> dict[str, str]:
    """Names and values of a form as text; of a repeated name the first."""
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in [*pairs(raw)][::-1]}


def pairs(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of a form, in its order."""
    for item in raw.split(b"&"):
        if item:
            name, _, value = item.replace(b"+", b" ").partition(b"=")
            yield unquote_to_bytes(name), unquote_to_bytes(value)
