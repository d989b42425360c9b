"""What the machine itself does in the meantime: a fixed piece of work, a write to the disk, and what it is called."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import percentile
from benchmarks.table import Line

STEPS, WRITES = 1_000_000, 100


@dataclass
class Noise:
    """One look before the first row and one after each. A quiet machine takes the same time every time."""

    folder: Path
    loops: list[float] = field(default_factory=list)  # ms
    syncs: list[float] = field(default_factory=list)  # ms

    def look(self) -> None:
        self.loops.append(loop_ms())
        self.syncs.append(sync_ms(self.folder))

    def lines(self) -> list[Line]:
        return [
            Line("noise: a fixed loop in Python, ms", tuple(self.loops), 1),
            Line("noise: 4 KB written and synced to the disk of the benchmarks, ms", tuple(self.syncs), 2),
        ]


def loop_ms() -> float:
    """Milliseconds for the same sum each time."""
    began = time.perf_counter()
    total = 0
    for n in range(STEPS):
        total += n * n % 7
    return (time.perf_counter() - began) * 1000


def sync_ms(folder: Path) -> float:
    """Milliseconds, the median of many."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(WRITES):
            began = time.perf_counter()
            os.write(file.fileno(), b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return percentile(took, 0.5) * 1000


def name() -> str:
    """Cores, processor, system and Python."""
    processor = platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = models[0] if models else processor
    except OSError:
        pass
    return f"{os.cpu_count()} cores ({processor}), {platform.system()}, Python {platform.python_version()}"
