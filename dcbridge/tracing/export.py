"""Spans on their way to a collector by OTLP over HTTP, configured by the OTEL_… variables of the environment.

A thread of its own sends them, from a queue that drops what does not fit. A collector is a stranger: of its answer only
the status is read, it can redirect us nowhere, and the end of a process waits for it no longer than FLUSH.
"""

from __future__ import annotations

from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

FLUSH = 3.0  # seconds that the end of a process waits for spans that are not sent yet


class _StatusOnly(requests.Session):
    """A body of any length, or one that never ends, stays where it is."""

    def request(self, *arguments: Any, **named: Any) -> requests.Response:
        response = super().request(*arguments, **{**named, "stream": True, "allow_redirects": False})
        response.close()  # and its connection: what is unread is thrown away
        response._content, response._content_consumed = b"", True  # type: ignore[attr-defined]
        return response


class Exporting(BatchSpanProcessor):
    """The SDK's own processor, whose end is bounded."""

    def shutdown(self) -> None:
        self._batch_processor.shutdown(timeout_millis=round(FLUSH * 1000))


def processor() -> Exporting:
    return Exporting(OTLPSpanExporter(session=_StatusOnly()))
