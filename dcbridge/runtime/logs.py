"""Log lines that can be searched and hold nothing private: JSON in production, readable on a terminal.

Three guards stand before a line leaves: an exception is told by its types and places only, because
its message may quote data; a value under a private name is withheld; and of a line that another
library wrote, only numbers are filled in.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal, TextIO
from uuid import UUID

import orjson
import structlog
from structlog.contextvars import get_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from dcbridge.address_tokens import address_token
from dcbridge.printable import printable, printable_lines, safe_json
from dcbridge.tracing import ids, switch

WITHHELD = "[withheld]"
LONGEST = 512  # characters of one value; what is longer is cut before anything looks at it
_LARGEST = 1 << 53  # that a number in JSON can be for every reader

# Names are compared in small letters with "-" written as "_", at every depth of a line.
_PRIVATE_WORDS = """
    text body subject content contents html raw payload message messages data description
    to from from_ from_id to_id sender recipient recipients reply_to cc bcc mail_from rcpt_to envelope
    address addresses number numbers phone msisdn mailbox email consumer display_name nickname
    secret secrets secret_key retired_secrets signing_secret app_secret client_secret
    token auth_token access_token refresh_token api_token token_key api_key apikey key x_api_key
    password passwd username user credentials authorization proxy_authorization auth bearer
    cookie set_cookie headers signature x_hub_signature x_twilio_signature x_signalwire_signature
    sig api_secret signature_secret
    query query_string params form args kwargs environ redis_url
"""
PRIVATE = frozenset(_PRIVATE_WORDS.split())

# Their lines are about sockets and life cycle, and hold nothing that a request brought along.
_TRUSTED = ("uvicorn.error",)
_TALKATIVE = ("httpx", "httpcore", "aiohttp.access", "asyncio")  # below a warning they name every URL
_SILENT = ("uvicorn.access",)  # service/endpoint.py writes a line of its own


class Token(str):
    """A stand-in for an address. Its type is what lets it pass under a private name."""

    __slots__ = ()


class Tokens:
    """Stand-ins for addresses: an operator who knows a number can search for it, a reader of logs cannot."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, address: str) -> Token:
        """TOKEN_LENGTH hex digits, the same for every spelling of one number ("+1 650…", "1650…") or mailbox."""
        return Token(address_token(self._key, address))


_lines: TextIO | None = None  # where `info_line` writes JSON, once `configure` has said so


def configure(
    form: Literal["auto", "json", "console"] = "auto",
    level: str = "info",
    stream: TextIO | None = None,
    *,
    once: bool = False,
) -> None:
    """Send every line, structlog's and the standard library's, to the stream (standard error unless given).

    `once`: it stays so until the process ends, and loggers need not look each time.
    """
    out = stream if stream is not None else sys.stderr
    terminal = out.isatty()
    console = form == "console" or (form == "auto" and terminal)
    render: Processor = (
        structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _timestamp,
        _exception,
        _guard,
        *([_for_a_terminal] if console else []),
    ]
    number = logging.getLevelNamesMapping()[level.upper()]
    global _lines
    _lines = out if not console and number <= logging.INFO else None
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=once,
    )
    handler = _Handler(out, [*shared, render])
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name in ("uvicorn", "uvicorn.error", "rq", "rq.worker", "rq.job"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(max(number, logging.WARNING))  # each process says itself that it is up
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).disabled = True


def log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None, /
) -> None:  # the signature of sys.excepthook
    """What a process says of the exception that ends it; for `sys.excepthook`, which would print the message."""
    if isinstance(error, KeyboardInterrupt):
        return
    structlog.get_logger().error("uncaught", exc_info=(kind, error, trace))


class _Handler(logging.StreamHandler[TextIO]):
    """Lines of the standard library. When one cannot be written, its arguments are not printed either."""

    def __init__(self, stream: TextIO, processors: Sequence[Processor]) -> None:
        super().__init__(stream)
        self._processors = processors

    def format(self, record: logging.LogRecord) -> str:
        line: Any = {"event": _filled(record).partition("\n")[0], "logger": record.name, "exc_info": record.exc_info}
        for process in self._processors:
            line = process(None, record.levelname.lower(), line)
        return str(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (the library's name)
        self.stream.write(_json({"event": "log line failed", "level": "error", "logger": record.name}) + "\n")


def info_line(name: str, /, **facts: Any) -> None:
    """As `log.info`, at a third of its price, for what is told of every message: context variables are not looked for.

    It passes the same guards.
    """
    if _lines is None or not structlog.is_configured():
        structlog.get_logger().info(name, **facts)
        return
    line = _guard(None, "info", {"event": name, **facts})
    line["level"] = "info"
    _timestamp(None, "info", line)
    _lines.write(_json(line) + "\n")
    _lines.flush()


def info_line_in_context(name: str, /, **facts: Any) -> None:
    """As `info_line`, in a job of a worker: the job's context variables are part of the line."""
    info_line(name, **{**get_contextvars(), **facts})


def _timestamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    seconds, ms = divmod(time.time_ns() // 1_000_000, 1000)
    event["timestamp"] = f"{_second(seconds)}.{ms:03d}Z"
    return event


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _filled(record: logging.LogRecord) -> str:
    """A line of another library with its numbers filled in and other arguments withheld."""
    if record.name in _TRUSTED:
        return record.getMessage()
    template, args = str(record.msg), record.args
    try:
        if isinstance(args, Mapping):
            return template % {key: _argument(value) for key, value in args.items()} if args else template
        return template % tuple(map(_argument, args)) if args else template
    except (TypeError, ValueError, KeyError):
        return template


def _argument(value: object) -> object:
    return value if isinstance(value, (int, float)) and abs(value) < 1e6 else WITHHELD


def _exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """An exception as types and places, with what caused it; never its message, never a local variable."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    if isinstance(given, tuple):
        given = given[1]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    if isinstance(given, BaseException):
        event["exception"] = "\n".join(_told(given))
    return event


def _told(error: BaseException, seen: tuple[int, ...] = ()) -> list[str]:
    lines = [f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")]
    for frame in traceback.extract_tb(error.__traceback__)[-20:]:
        place = "/".join(frame.filename.replace("\\", "/").split("/")[-2:])
        lines.append(f"  {place}:{frame.lineno} {frame.name}")
    seen = (*seen, id(error))
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions[:5]:
            lines += [f"  | {line}" for line in _told(inner, seen)]
    follows = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if follows is not None and id(follows) not in seen and len(seen) < 10:
        word = "caused by" if error.__cause__ else "while handling"
        first, *rest = _told(follows, seen)
        lines += [f"{word} {first}", *rest]
    return lines


# Our own references (dcbridge.messages.message_ref and the ids of tasks): hex digits, too many for a number.
_REF = re.compile(r"([a-z]{1,2}-)?[0-9a-f]{20,64}(-[0-9]+)?")


def _guard(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The last look: values under private names, values that print as who knows what, queries of URLs."""
    guarded: dict[str, Any] = {}
    for key, value in event.items():
        if key in _OURS:
            guarded[key] = value
        elif key == "event":
            guarded[key] = _scrubbed(str(value))
        elif _private_name(str(key)) and not _may_stand(value):
            guarded[key] = WITHHELD
        else:
            guarded[key] = value if _is_plain(value) else _plain_value(value)
    if guarded.get("trace"):
        _name_trace(guarded)
    return guarded


def _name_trace(line: dict[str, Any]) -> None:
    """The trace without the mark that the ledger may hold, and where there are spans, as these name it."""
    trace = line["trace"]
    if not isinstance(trace, str):
        return
    if ":" in trace:
        line["trace"] = ids.split(trace)[0]
    if switch.current() is not None:
        line["trace_id"] = f"{ids.trace_id_of(trace):032x}"


def _for_a_terminal(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """JSON escapes what a terminal would act on; a line for people has no escapes. Only an exception has lines."""
    exception = event.pop("exception", None)
    made: EventDict = _shown(event)
    return made if exception is None else {**made, "exception": printable_lines(exception)}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_shown(key): _shown(inner) for key, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list) else value


_OURS = frozenset({"level", "timestamp", "logger", "exception"})


def _may_stand(value: object) -> bool:
    """A token, nothing, and our own reference of a message may stand under any name."""
    if value is None or isinstance(value, Token):
        return True
    return isinstance(value, str) and len(value) <= LONGEST and _REF.fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _private_name(name: str) -> bool:
    return name.lower().replace("-", "_") in PRIVATE


def _is_plain(value: object) -> bool:
    """Most values are, and every line has ten of them."""
    kind = type(value)
    if kind is str or kind is Token:
        return len(value) <= LONGEST and "/" not in value  # type: ignore[arg-type,operator]
    return kind is float or (kind is int and -_LARGEST < value < _LARGEST)  # type: ignore[operator]


def _plain_value(value: object, depth: int = 0) -> object:
    if _is_plain(value):
        return value
    if isinstance(value, (list, tuple, set, frozenset)) and depth < 4:
        return [_plain_value(item, depth + 1) for item in value]
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        bits = value.bit_length()
        return value if bits <= 53 else str(value) if bits <= 256 else "[int]"
    if isinstance(value, (str, UUID)):
        return _without_query(str(value))
    if isinstance(value, Mapping) and depth < 4:
        return {
            str(k): WITHHELD if _private_name(str(k)) and not _may_stand(v) else _plain_value(v, depth + 1)
            for k, v in value.items()
        }
    return f"[{type(value).__name__}]"


# Every expression here reads each character once, whatever a stranger wrote: tests/test_expressions.py.
_USER = re.compile(r"(?<=://)[^/?#\s]*@")
_WORD = re.compile(r"\S+")
_PERHAPS_MAILBOX = re.compile(r"[^\s<>\"'(),;:]+")
_PERHAPS_NUMBER = re.compile(r"\+?[0-9][0-9 ().\-]*")


def _cut(text: str) -> str:
    """At most LONGEST characters. A URL that the cut goes through is withheld: a password may end behind it."""
    if len(text) <= LONGEST:
        return text
    *before, last = text[:LONGEST].rsplit(None, 1) or [""]
    if "://" not in last:
        return text[:LONGEST] + "…"
    return "".join([*before, " " if before else "", WITHHELD])


def _without_query(text: str) -> str:
    text = _cut(text)
    if "/" not in text:  # neither a URL nor a path
        return text
    return _WORD.sub(lambda found: _word_without_query(found[0]), _USER.sub("", text))


def _word_without_query(word: str) -> str:
    """A query begins at the first question mark behind a slash."""
    slash = word.find("/")
    mark = word.find("?", slash) if slash >= 0 else -1
    return word[: mark + 1] + WITHHELD if 0 <= mark < len(word) - 1 else word


def _scrubbed(text: str) -> str:
    """An event's words are fixed; whoever writes data into them anyway is cut short."""
    if len(text) <= LONGEST and text.replace("_", "").isalpha():  # our own, "message_sent"
        return text
    text = _without_query(text)
    text = _PERHAPS_MAILBOX.sub(lambda found: WITHHELD if "@" in found[0][1:-1] else found[0], text)
    return _PERHAPS_NUMBER.sub(lambda found: _without_number(found[0]), text)


def _without_number(run: str) -> str:
    """Seven characters or more from the first digit to the last may be a number."""
    number = run.rstrip(" ().-")
    return WITHHELD + run[len(number) :] if len(number.removeprefix("+")) >= 7 else run


def _json(value: Any, **_: object) -> str:
    try:
        return safe_json(orjson.dumps(value).decode())
    except TypeError:  # a text that is not UTF-8
        return json.dumps(value, default=lambda other: f"[{type(other).__name__}]")
