"""Requests that nobody sane sends, against a service on loopback: what it answers, and what that costs it.

    python -m benchmarks.hostile --requests 100000

Right after a valid signature everything is answered 200; anything else has a 4XX; nothing has a 5XX. A
good webhook goes in between and is answered. Prints answers by kind, and the service's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from benchmarks.hostile_requests import CLOSED, Hostile, Shot
from tests.stack import SMS, Stack, sms_body

PATIENCE = 20.0  # seconds for an answer; the service promises one in half of that
SILENT = "silent"
BIG = 50 * 1024 * 1024
TWIN_EVERY = 500  # requests between two good webhooks


@dataclass(slots=True)
class Report:
    """What came of a run. Memory in MiB."""

    answers: dict[str, Counter[object]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    good: int = 0
    memory_start: float = 0.0
    memory_end: float = 0.0
    memory_most: float = 0.0
    seconds: float = 0.0

    def note(self, kind: str, answer: object, allowed: tuple[object, ...], raw: bytes) -> None:
        self.answers.setdefault(kind, Counter())[answer] += 1
        if answer not in allowed and len(self.wrong) < 50:
            self.wrong.append(f"{kind}: {answer} for {raw[:300]!r} … {raw[-100:]!r}")

    @property
    def requests(self) -> int:
        return sum(sum(counter.values()) for counter in self.answers.values())


class Gun:
    """One connection at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def fire(self, shot: Shot) -> object:
        """The status, "closed" or "silent"."""
        if shot.alone:
            await self.close()
        for fresh in (self._streams is None, True):
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            answer = await self._exchange(shot)
            if answer != CLOSED or fresh:
                break
            await self.close()  # it had been closed between two requests
        if shot.alone or not isinstance(answer, int):
            await self.close()
        return answer

    async def _exchange(self, shot: Shot) -> object:
        assert self._streams is not None
        reader, writer = self._streams
        try:
            writer.write(shot.raw)
            if shot.kind == "lies about length":
                writer.write_eof()  # else the service waits for what was promised
            return await asyncio.wait_for(self._answer(reader, bodiless=shot.raw.startswith(b"HEAD")), PATIENCE)
        except TimeoutError:
            return SILENT
        except (OSError, asyncio.IncompleteReadError):
            return CLOSED

    async def _answer(self, reader: asyncio.StreamReader, *, bodiless: bool) -> int:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        if status == 100:
            return await self._answer(reader, bodiless=bodiless)
        lines = [line.partition(b":") for line in head.lower().split(b"\r\n")]
        length = next((int(value) for name, _, value in lines if name == b"content-length"), 0)
        await reader.readexactly(0 if bodiless else length)
        if any(name == b"connection" and b"close" in value for name, _, value in lines):
            await self.close()
        return status

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def big_body(port: int, hostile: Hostile, *, declared: bool) -> object:
    """50 MB, written for as long as somebody reads: the status, or "closed"."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = b"Content-Length: %d" % BIG if declared else b"Transfer-Encoding: chunked"
    head = hostile.post(b"").replace(b"Content-Length: 0", length)
    piece = b"x" * 65536 if declared else b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    try:
        writer.write(head)
        for _ in range(BIG // 65536):
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), PATIENCE)
            if answered.done():
                break
        return int((await asyncio.wait_for(answered, PATIENCE))[9:12])
    except (OSError, asyncio.IncompleteReadError):
        return CLOSED
    except TimeoutError:
        return SILENT
    finally:
        answered.cancel()
        writer.close()


async def slow_writer(port: int, hostile: Hostile, stop: asyncio.Event, *, body: bool) -> object:
    """A request that drips: what it got until the end of the run; "silent" where it was left waiting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = hostile.good().raw
    at = len(whole.partition(b"\r\n\r\n")[0]) + 8 if body else 1
    writer.write(whole[:at])
    answer = asyncio.create_task(reader.read(64))
    try:
        while not stop.is_set() and not answer.done() and at < len(whole) - 1:
            writer.write(whole[at : at + 1])
            at += 1
            await asyncio.wait([answer, asyncio.create_task(stop.wait())], timeout=1.0, return_when="FIRST_COMPLETED")
        if not answer.done():
            return SILENT
        head = answer.result()
        return int(head[9:12]) if head else CLOSED
    except OSError:
        return CLOSED
    finally:
        answer.cancel()
        writer.close()


async def attack(
    stack: Stack, requests: int, *, bigs: int = 20, slow: int = 8, guns: int = 16, seed: int = 1
) -> Report:
    """All of it at once, `requests` in number beside the big and the slow ones."""
    hostile, report, port = Hostile(stack, seed), Report(), stack.ports.public
    began, left, stop = time.monotonic(), iter(range(requests)), asyncio.Event()
    report.memory_start = memory(stack)

    async def shoot() -> None:
        gun = Gun(port)
        for number in left:
            shot = hostile.good() if number % TWIN_EVERY == 0 else hostile.next()
            answer = await gun.fire(shot)
            report.note(shot.kind, answer, shot.allowed, shot.raw)
            report.good += shot.kind == "good" and answer == 200
        await gun.close()

    async def watch() -> None:
        while True:
            report.memory_most = max(report.memory_most, memory(stack))
            await asyncio.sleep(0.1)

    async def bodies() -> None:
        for number in range(bigs):
            answer = await big_body(port, hostile, declared=number % 2 == 0)
            report.note("50 MB body", answer, (413, CLOSED), b"")

    watcher = asyncio.create_task(watch())
    drips = [asyncio.create_task(slow_writer(port, hostile, stop, body=n % 2 == 0)) for n in range(slow)]
    await asyncio.gather(bodies(), *(shoot() for _ in range(guns)))
    stop.set()
    for drip in drips:
        report.note("slow request", await drip, (SILENT, CLOSED, 400, 408, 503), b"")  # 503: it never came whole
    watcher.cancel()
    report.memory_end = memory(stack)
    report.seconds = time.monotonic() - began
    return report


def memory(stack: Stack) -> float:
    """Resident memory of the service process in MiB."""
    with open(f"/proc/{stack.processes['service'].pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


def run(requests: int, *, bigs: int = 20, seed: int = 1) -> Report:
    """A service and a Redis of its own; AssertionError when it did not survive."""
    with Stack(parts=("service",)) as stack:
        report = asyncio.run(attack(stack, requests, bigs=bigs, seed=seed))
        assert stack.webhook(sms_body("the-last", SMS)).status_code == 200
        assert stack.is_ready("service")
        for line in stack.lines("service", "request_internal_error"):
            report.wrong.append(f"a bug was logged: {line.get('exception', '')}")
        return report


def main() -> int:
    """Print the report; 1 when something was answered wrong."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--requests", type=int, default=100_000)
    options.add_argument("--bigs", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    report = run(asked.requests, bigs=asked.bigs, seed=asked.seed)
    for kind, counter in sorted(report.answers.items()):
        print(f"{kind:>22}  " + ", ".join(f"{answer}: {count}" for answer, count in sorted(counter.items(), key=str)))
    print(f"{report.requests} requests in {report.seconds:.0f} s, {report.requests / report.seconds:.0f} a second")
    print(f"memory of the service, MiB: {report.memory_start:.0f} at the start, {report.memory_end:.0f} at the end,"
          f" {report.memory_most:.0f} at most")  # fmt: skip
    for wrong in report.wrong[:20]:
        print(f"wrong: {wrong}")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
