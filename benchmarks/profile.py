"""`python -m benchmarks.profile`: where the processor time goes, by topic; of one of them also by our function."""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import door
from benchmarks.load import drive
from benchmarks.messages import ENDPOINT
from benchmarks.relay import IN_FLIGHT, PATIENCE, PROVIDER_MS
from benchmarks.stage import OURS, Stage, Wrong, leave_nothing_running

ROOT = Path(__file__).parent.parent


def worker(folder: Path, count: int) -> dict[str, Any]:
    """A worker that relays `count` messages, each past a provider that takes 200 ms."""
    file = folder / "worker.json"
    with Stage(folder / "worker") as stage:
        stage.start_worlds(PROVIDER_MS)
        asyncio.run(stage.fill("profile", 0, count))
        stage.start_worker("worker", ("-m", "benchmarks.sampler", str(file), OURS[1], *OURS[2:]), IN_FLIGHT)
        stage.watch(lambda seen: seen.delivered >= count, PATIENCE)
        stage.end("worker")
    return read(file)


def service(folder: Path, count: int) -> dict[str, Any]:
    """A service that takes `count` webhooks over 64 connections."""
    file = folder / "door.json"
    with Stage(folder / "door") as stage:
        stage.start("door", "-m", "benchmarks.sampler", str(file), "benchmarks.door_server", "full", str(stage.public))
        unsigned = f"http://127.0.0.1:{stage.public}/webhooks/messages/{ENDPOINT}"
        stage.wait_for("door", unsigned, status=401, method="POST")
        result = uvloop.run(drive(stage.public, door.prepared("profile", count), door.CONNECTIONS))
        stage.end("door")
    if result.statuses[200] != count:
        raise Wrong(f"not every answer was 200: {dict(result.statuses)}")
    return read(file)


def read(file: Path) -> dict[str, Any]:
    """What Sampler.view wrote."""
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def told(found: dict[str, Any], most: int = 15) -> str:
    """Shares of the samples: by topic, then by our own function that was innermost."""
    total = found["samples"] or 1
    rows = [f"{total} samples", "", "what it is spent on"]
    rows += [f"{n / total:>6.1%}  {topic}" for topic, n in found["topics"]]
    rows += ["", "our function that was innermost, with the libraries below it"]
    for file, name, n in found["ours"][:most]:
        rows.append(f"{n / total:>6.1%}  " + (f"{Path(file).relative_to(ROOT)}: {name}" if file else name))
    return "\n".join(rows)


def both(workers: dict[str, Any], services: dict[str, Any]) -> str:
    """The table of docs/performance.md: shares by topic, the largest first."""
    shares = [{topic: n / (found["samples"] or 1) for topic, n in found["topics"]} for found in (workers, services)]
    rows = ["| of the processor time of | worker | door |", "|---|--:|--:|"]
    for topic in sorted({*shares[0], *shares[1]}, key=lambda topic: -sum(share.get(topic, 0) for share in shares)):
        cells = [f"{share[topic]:.0%}" if share.get(topic, 0) >= 0.005 else "" for share in shares]
        if any(cells):
            rows.append(f"| {topic} | {cells[0]} | {cells[1]} |")
    return "\n".join(rows)


def main() -> None:
    """Print it."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    options.add_argument("what", nargs="?", choices=["worker", "door"], help="one of them in detail")
    options.add_argument("--count", type=int, default=12_000, help="messages (default 12000)")
    asked = options.parse_args()
    leave_nothing_running()
    with tempfile.TemporaryDirectory(prefix="dcbridge-profile-") as name:
        folder = Path(name)
        match asked.what:
            case "worker":
                print(told(worker(folder, asked.count)))
            case "door":
                print(told(service(folder, asked.count)))
            case _:
                print(both(worker(folder, asked.count), service(folder, asked.count)))


if __name__ == "__main__":
    main()
