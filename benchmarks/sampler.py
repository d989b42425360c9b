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


class Sampler:
    """Counts the innermost place, and each place of ours that is somewhere above it, once a sample."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}/"
        self.samples = 0
        self.inner: Counter[Place] = Counter()
        self.ours: Counter[Place] = Counter()  # the innermost place in a file of ours

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
        self.inner[places[0]] += 1
        mine = next((place for place in places if self._is_ours(place[0])), None)
        self.ours[mine or ("", "the event loop")] += 1

    def _is_ours(self, file: str) -> bool:
        return file.startswith(self._root) and "site-packages" not in file and "/benchmarks/" not in file

    def view(self) -> dict[str, object]:
        return {
            "samples": self.samples,
            "inner": [[*place, n] for place, n in self.inner.most_common()],
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
