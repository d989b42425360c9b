"""`make bench`: every figure beside its baseline, in one run. Quote the ratios; the machine is part of the rest."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

from benchmarks import door, relay


def main() -> None:
    """Print the table."""
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, medians of 3 rounds (least–most)\n")
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as name:
        for measure in (door.measure, relay.measure):
            for row in measure(Path(name)):
                print(row, flush=True)
            print()


if __name__ == "__main__":
    main()
