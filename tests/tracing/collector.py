"""An OpenTelemetry collector: OTLP over HTTP on a socket, which keeps what it is sent; or one that is sick."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {1: "INTERNAL", 2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}


@dataclass(frozen=True)
class Sent:
    """A span as it was on the wire."""

    service: str
    trace: str
    id: str
    parent: str
    name: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    began: int
    ended: int


class Collector(ThreadingHTTPServer):
    """`sick`: "huge" answers without end, "slow" never, "redirects" elsewhere, "500" that."""

    daemon_threads = True

    def __init__(self, sick: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sick = sick
        self.raw: list[bytes] = []
        self.paths: list[str] = []
        self.most = 0  # bytes that went out of one answer without end
        self.ending = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.shutdown()
        self.server_close()

    def spans(self) -> list[Sent]:
        return [span for raw in list(self.raw) for span in _read(raw)]


def _read(raw: bytes) -> Iterator[Sent]:
    request = ExportTraceServiceRequest()
    request.ParseFromString(raw)
    for resource in request.resource_spans:
        named = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Sent(
                    service=named["service.name"],
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=KINDS[span.kind],
                    failed=span.status.code == 2,
                    attributes={one.key: _value(one.value) for one in span.attributes},
                    links=[(one.trace_id.hex(), one.span_id.hex()) for one in span.links],
                    began=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))


@dataclass
class _Handler(BaseHTTPRequestHandler):
    server: Collector = field(init=False)
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any) -> None:
        BaseHTTPRequestHandler.__init__(self, *arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.paths.append(self.path)
        if self.server.sick == "slow":
            self.server.ending.wait(60)
            return
        if self.server.sick == "huge":
            self._without_end()
            return
        if self.server.sick:
            status = 307 if self.server.sick == "redirects" else 500
            self.send_response(status)
            self.send_header("Location", f"{self.server.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.raw.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _without_end(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        piece, written = b"x" * 65536, 0
        try:
            while not self.server.ending.is_set() and written < 1 << 28:
                self.wfile.write(piece)
                written += len(piece)
        except OSError:
            self.close_connection = True
        self.server.most = max(self.server.most, written)

    def log_message(self, format: str, *_: object) -> None:
        pass
