"""`python -m benchmarks.profile worker|door`: where the processor time goes, by library and by our function."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks import door
from benchmarks.load import drive
from benchmarks.messages import ENDPOINT
from benchmarks.relay import IN_FLIGHT, PATIENCE, PROVIDER_MS
from benchmarks.stage import OURS, Stage, Wrong

ROOT = Path(__file__).parent.parent


def worker(folder: Path, count: int) -> dict[str, object]:
    """A worker that relays `count` messages, each past a provider that takes 200 ms."""
    file = folder / "worker.json"
    with Stage(folder / "worker") as stage:
        stage.start_worlds(PROVIDER_MS)
        asyncio.run(stage.fill("profile", 0, count))
        stage.start_worker("worker", ("-m", "benchmarks.sampler", str(file), OURS[1], *OURS[2:]), IN_FLIGHT)
        stage.watch(lambda seen: seen.delivered >= count, PATIENCE)
        stage.end("worker")
    return read(file)


def service(folder: Path, count: int) -> dict[str, object]:
    """A service that takes `count` webhooks over 64 connections."""
    file = folder / "door.json"
    with Stage(folder / "door") as stage:
        stage.start("door", "-m", "benchmarks.sampler", str(file), "benchmarks.door_server", "full", str(stage.door))
        unsigned = f"http://127.0.0.1:{stage.door}/webhooks/messages/{ENDPOINT}"
        stage.wait_for("door", unsigned, status=401, method="POST")
        result = uvloop.run(drive(stage.door, door.prepared("profile", count), door.CONNECTIONS))
        stage.end("door")
    if result.statuses[200] != count:
        raise Wrong(f"not every answer was 200: {dict(result.statuses)}")
    return read(file)


def read(file: Path) -> dict[str, object]:
    """What Sampler.view wrote."""
    found: dict[str, object] = json.loads(file.read_text())
    return found


def library(file: str) -> str:
    """The package that a file belongs to; ours by its folder."""
    _, _, installed = file.rpartition("site-packages/")
    if installed != file:
        return installed.partition("/")[0].removesuffix(".py")
    if file.startswith(str(ROOT)):
        return str(Path(file).relative_to(ROOT).parent)
    return "Python's own"


def told(found: dict[str, object], most: int = 15) -> str:
    """Shares of the samples: by library of the innermost line, then by our own function that was innermost."""
    total = int(str(found["samples"])) or 1
    inner, ours = found["inner"], found["ours"]
    assert isinstance(inner, list)
    assert isinstance(ours, list)
    libraries: Counter[str] = Counter()
    for file, _function, n in inner:
        libraries[library(file)] += n
    places = [(f"{library(file)}/{Path(file).name}: {name}" if file else name, n) for file, name, n in ours]
    rows = [f"{total} samples", "", "by library, innermost line"]
    rows += [f"{n / total:>6.1%}  {name}" for name, n in libraries.most_common(most)]
    rows += ["", "by our function that was innermost, libraries below it included"]
    rows += [f"{n / total:>6.1%}  {name}" for name, n in places[:most]]
    return "\n".join(rows)


def main() -> None:
    """Print it."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    options.add_argument("what", choices=["worker", "door"])
    options.add_argument("--count", type=int, default=12_000, help="messages (default 12000)")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="dcbridge-profile-") as name:
        run = worker if asked.what == "worker" else service
        print(told(run(Path(name), asked.count)))


if __name__ == "__main__":
    main()
