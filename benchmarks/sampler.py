"""Runs a module and writes down where its processor time goes: `python -m benchmarks.sampler FILE MODULE [ARGUMENT …]`.

The kernel's profiling timer counts the processor time of the process, its signal finds the line that runs.
Time inside C code is found at the Python line that called it, or at the next one.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY = 0.004  # seconds of processor time; the kernel rarely has a finer one

Place = tuple[str, str]  # file, function

# What a message needs, by the files that do it. A sample belongs to the innermost of its files that is named here.
TOPICS = {
    "log lines": ("/dcbridge/runtime/logs.py", "/structlog/"),
    "counters for Prometheus": ("/dcbridge/runtime/metrics.py", "/prometheus_client/"),
    "the request to the provider": (
        "/dcbridge/transport/sender.py",
        "/aiohttp/",
        "/httpx/",
        "/httpx_aiohttp/",
        "/yarl/",
    ),
    "the ledger and Redis": (
        "/dcbridge/ledger/",
        "/dcbridge/store/durability.py",
        "/dcbridge/store/connection.py",
        "/redis/",
    ),
    "numbers, texts and the provider's form": (
        "/dcbridge/providers/phone.py",
        "/dcbridge/providers/segmentation.py",
        "/dcbridge/providers/",
        "/phonenumbers/",
    ),
    "reading and writing Digital Channels": (
        "/dcbridge/genesys/answers.py",
        "/dcbridge/genesys/payloads.py",
        "/dcbridge/intake.py",
        "/dcbridge/digital_channels.py",
    ),
    "the signature": ("/dcbridge/genesys/signature.py",),
    "the HTTP server": ("/uvicorn/", "/starlette/", "/dcbridge/runtime/server.py"),
    "the handler": ("/service/",),
    "taking and ending jobs": ("/workers/worker.py", "/rq/"),
    "the job": ("/workers/",),
}
REST = "the event loop and the rest of Python"


def topic_of(file: str) -> str:
    """What a file is for; "" where it has no topic of its own."""
    return next((topic for topic, parts in TOPICS.items() if any(part in file for part in parts)), "")


class Sampler:
    """Counts each sample's topic, and the innermost place in a file of ours."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self.samples = 0
        self.topics: Counter[str] = Counter()
        self._known: dict[str, str] = {}
        self.ours: Counter[Place] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._tick)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _tick(self, _number: int, frame: FrameType | None) -> None:
        places: list[Place] = []
        while frame is not None:
            places.append((frame.f_code.co_filename, frame.f_code.co_qualname))
            frame = frame.f_back
        if any(file.startswith("<frozen importlib") for file, _ in places):
            return  # starting up is no message's
        self.samples += 1
        self.topics[next(filter(None, (self._topic(file) for file, _ in places)), REST)] += 1
        mine = next((place for place in places if self._is_ours(place[0])), None)
        self.ours[mine or ("", REST)] += 1

    def _topic(self, file: str) -> str:
        if file not in self._known:
            self._known[file] = topic_of(file)
        return self._known[file]

    def _is_ours(self, file: str) -> bool:
        return file.startswith(self._root) and "site-packages" not in file and "/benchmarks/" not in file

    def view(self) -> dict[str, object]:
        return {
            "samples": self.samples,
            "topics": self.topics.most_common(),
            "ours": [[*place, n] for place, n in self.ours.most_common()],
        }


def main() -> None:
    """Run the module as if it had been started by itself."""
    file, module, *arguments = sys.argv[1:]
    sampler = Sampler(Path(__file__).parent.parent)
    sys.argv = [module, *arguments]
    sampler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sampler.stop()
        Path(file).write_text(json.dumps(sampler.view()))


if __name__ == "__main__":
    main()
