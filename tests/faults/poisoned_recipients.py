"""Six recipients for whom the provider always answers 500: does anybody else wait for them?

python -m tests.faults.poisoned_recipients --seconds 72

A service and a worker as real processes, beside a provider that takes 0.2 s for an answer. One message for each sick
recipient comes first, then one for a new and well recipient every 0.9 s, for so many seconds. Printed are how often the
breaker opened, the median and the most of the seconds from when Digital Channels sends a well one until the provider is
asked to take it, and the requests for the sick ones. The exit code is 1 when a well one waited longer than 2 s or never
went, or when the breaker opened more than twice.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs

from tests.stack import SMS, Stack, until

SICK = tuple(f"1202999000{n}" for n in range(6))
ANSWER = 0.2  # seconds
GAP = 0.9  # seconds between two messages for well recipients: most of what the account carries may fail
LONGEST, OPENINGS = 2.0, 2  # seconds that a well one may wait; times that the breaker may open
PATIENCE = 30.0  # seconds until the last well one went
ATTEMPTS = 10_000  # the sick ones are tried for as long as this runs


class Provider:
    """Answers as Twilio does: 201, and 500 for the sick. `asked`: number -> the moments of the requests for it.

    A context: it listens inside, on loopback.
    """

    def __init__(self, sick: tuple[str, ...]) -> None:
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                number = form["To"][0].removeprefix("+")
                outer.asked[number].append(time.monotonic())
                time.sleep(ANSWER)
                if number in sick:
                    self._answer(500, {})
                else:
                    self._answer(201, {"sid": f"SM{number:0>32}", "status": "queued"})

            def do_GET(self) -> None:
                """The list of messages, for one whose outcome is unknown."""
                self._answer(200, {"messages": [], "next_page_uri": None})

            def _answer(self, status: int, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Report:
    openings: int
    waits: list[float]  # seconds, of the well ones that the provider was asked to take
    missing: int  # well ones that it was not asked to take
    attempts: int  # requests for the sick ones

    @property
    def faults(self) -> list[str]:
        found = []
        if self.missing:
            found.append(f"{self.missing} for well recipients never went")
        if self.waits and max(self.waits) > LONGEST:
            found.append(f"one for a well recipient waited longer than {LONGEST:g} s")
        if self.openings > OPENINGS:
            found.append(f"the breaker opened more than {OPENINGS} times")
        return found

    def __str__(self) -> str:
        waits = self.waits or [0.0]
        return (
            f"openings of the breaker {self.openings}; {len(self.waits)} for well recipients went, after"
            f" {statistics.median(waits):.3f} s (median), {max(waits):.3f} s (most);"
            f" {self.attempts} requests for {len(SICK)} sick ones"
        )


def run(seconds: float) -> Report:
    """A bridge and a provider of its own."""
    with (
        Provider(SICK) as provider,
        Stack(
            providers={"twilio": {"base_url": provider.url, "status_callbacks": False, "list_lag": 0.5}},
            channels={SMS: {"delivered_when": "taken", "attempts": ATTEMPTS}},
        ) as stack,
    ):
        for number in SICK:
            stack.agent_writes(number)
        began = time.monotonic()
        written: dict[str, float] = {}
        while (due := began + GAP * len(written)) < began + seconds:
            time.sleep(max(0.0, due - time.monotonic()))
            number = f"1650253{len(written):04d}"
            written[number] = time.monotonic()
            stack.agent_writes(number)
        return _report(stack, provider, written)


def _report(stack: Stack, provider: Provider, written: dict[str, float]) -> Report:
    with suppress(AssertionError):  # those that never go are told as missing
        until(lambda: written.keys() <= provider.asked.keys(), "all for well recipients went", PATIENCE)
    asked = {number: list(moments) for number, moments in list(provider.asked.items())}
    waits = [asked[number][0] - sent for number, sent in written.items() if number in asked]
    return Report(
        openings=stack.books().counts.get("breaker_opened", 0),
        waits=waits,
        missing=len(written) - len(waits),
        attempts=sum(len(asked.get(number, ())) for number in SICK),
    )


def main() -> int:
    """Print the report; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--seconds", type=float, default=72.0, help="for which well recipients are written to")
    report = run(options.parse_args().seconds)
    print(report)  # noqa: T201
    for fault in report.faults:
        print(f"wrong: {fault}")  # noqa: T201
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
