"""Whether this process makes spans, and the few calls by which it does; where it makes none they cost nothing.

`start` is called by the main function of a process, as logging is configured there. Everything that is to be a span
asks `current`, which is None unless an operator wants tracing.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

    from dcbridge.tracing.spans import Tracing

_KEPT_OUT = "opentelemetry.sdk.metrics"  # by dcbridge/__init__.py, until it is wanted
EXTRA = "opentelemetry.exporter.otlp.proto.http"
Attributes = str | int | float | bool | None
_NOTHING = nullcontext[None]()

_current: Tracing | None = None


def installed() -> bool:
    """Whether the extra `otel` is there."""
    try:
        return importlib.util.find_spec(EXTRA) is not None
    except ModuleNotFoundError:
        return False


def start(process: str, version: str, *, tell: bool = False, processor: SpanProcessor | None = None) -> Tracing:
    """From now on this process makes spans. `process`: what it is called where OTEL_SERVICE_NAME is not set.

    `tell`: requests to others carry the trace. `processor`: what takes the spans, in place of OTLP.
    """
    if sys.modules.get(_KEPT_OUT, True) is None:
        del sys.modules[_KEPT_OUT]  # of dcbridge/__init__.py; the exporter may want it
    from dcbridge.tracing.spans import Tracing

    global _current
    _current = Tracing(process, version, tell=tell, processor=processor)
    return _current


def stop() -> None:
    """Send what is left, within a bounded time; it blocks."""
    global _current
    ended, _current = _current, None
    if ended is not None:
        ended.close()


def current() -> Tracing | None:
    return _current


def processing(queue: str, name: str, trace: str, **more: Attributes) -> AbstractContextManager[None]:
    """A span for the work on `name` (a reference, or the id of a task), which the trace `trace` brought."""
    return _NOTHING if _current is None else _current.processing(queue, name, trace, more)


def about(what: str, name: str, trace: str, **more: Attributes) -> AbstractContextManager[None]:
    """A span in the trace of `name` for what was learned in another trace, to which it links."""
    return _NOTHING if _current is None else _current.about(what, name, trace, more)


def together(queue: str, them: Sequence[tuple[str, str]], **more: Attributes) -> AbstractContextManager[None]:
    """A span in the trace of each of (name, trace), for what is done for all of them at once."""
    return _NOTHING if _current is None else _current.together(queue, them, more)


def asking(kind: str, **more: Attributes) -> AbstractContextManager[None]:
    """A span for a request to somebody else, where there is a span that it belongs to."""
    return _NOTHING if _current is None else _current.asking(kind, more)


def created(queue: str, them: Sequence[tuple[str, str]], **more: Attributes) -> None:
    """Each of (name, trace) is in the ledger: the span that its work hangs under."""
    if _current is not None:
        _current.created(queue, them, more)


def note(**more: Attributes) -> None:
    """What came of the work under way."""
    if _current is not None:
        _current.note(more)


def failed(outcome: str, code: str) -> None:
    """The work under way did not do what it was for."""
    if _current is not None:
        _current.failed(outcome, code)
