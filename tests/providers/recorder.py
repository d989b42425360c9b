"""An address for the blocking libraries of companies to send to: what arrived there is kept, and answered with JSON."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson


@dataclass(frozen=True, slots=True)
class Heard:
    """One request. Names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@contextmanager
def recording(answer: Callable[[Heard], object], status: int = 200) -> Iterator[tuple[str, list[Heard]]]:
    """Its URL, and what arrived; `answer` gives the JSON for each request."""
    arrived: list[Heard] = []

    class Recorder(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            arrived.append(Heard(self.command, self.path, headers, body))
            written = orjson.dumps(answer(arrived[-1]))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = _reply  # noqa: N815 (the names that http.server looks for)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", arrived
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def assert_same(ours: list[Heard], theirs: list[Heard]) -> None:
    """That a login for a token and the request after it are what the company's own library sent."""
    assert (len(ours), len(theirs)) == (2, 2)
    for one, their in zip(ours, theirs, strict=True):
        assert (one.method, one.path) == (their.method, their.path)
        assert one.headers["authorization"] == their.headers["authorization"]
        assert one.headers["content-type"] == their.headers["content-type"]
    assert ours[0].body == theirs[0].body
    assert orjson.loads(ours[1].body) == orjson.loads(theirs[1].body)
