"""Mails of consumers, from LMTP to Digital Channels; beside a bare mail server that writes each into a file.

`python -m benchmarks.mails PORT FOLDER` is that mail server, aiosmtpd's.
"""

from __future__ import annotations

import asyncio
import os
import smtplib
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import psutil
import uvloop

from benchmarks.media import FarSide
from benchmarks.stage import Launch, Stage, Wrong, cold
from benchmarks.table import Line, column
from dcbridge.cli.dev.embedded_redis import free_port

CARE = "care@company.com"
CHANNEL = """
  company.com:
    type: email
    provider: mail
    inbound: {{addresses: [{care}], per_sender: 1000000, per_minute: 1000000, hold_over: 1000000}}
"""
PROVIDER = """
  mail: {kind: smtp, host: 127.0.0.1, port: 9}
channels:
"""
FILE = 33_000  # bytes of the file in a mail of 50 kB
CONNECTIONS = 4  # of the mail system
PATIENCE = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Size:
    """`mails` of 50 kB; `large` is a mail with files of so many bytes in all."""

    mails: int = 1000
    large: int = 18_000_000
    launch: Launch = cold


SMALL = Size(mails=20, large=1_000_000)


# ------------------------------------------------------------ the mails


def mail(files: Sequence[bytes]) -> bytes:
    """Text and HTML, a quote in both, and files."""
    message = EmailMessage(SMTP)
    message["From"], message["To"], message["Subject"] = "Ana Ruiz <SENDER>", CARE, "Re: Your order"
    message["Message-ID"] = "<NUMBER@example.org>"
    message["Date"] = "Thu, 26 Nov 2026 12:00:00 +0100"
    said = "\n".join(f"Line {n} of an answer, which says something about an order." for n in range(20))
    quoted = "\n".join(f"> Line {n} of the email before, which said something else." for n in range(40))
    message.set_content(f"{said}\n\nOn Wed, 25 Nov 2026 at 10:00, Company <{CARE}> wrote:\n{quoted}\n")
    rows = "".join(f"<p style='margin:0'>{line}</p>" for line in (said + "\n" + quoted).split("\n"))
    message.add_alternative(f"<html><body>{rows}</body></html>", subtype="html")
    for place, data in enumerate(files):
        message.add_attachment(data, "application", "pdf", filename=f"file-{place}.pdf")
    return message.as_bytes()


def mails(count: int, whose: str, *files: int) -> list[tuple[str, bytes]]:
    """As many, of up to 200 consumers, each with files of so many bytes."""
    written = mail([b"%PDF-1.4" + os.urandom(size) for size in files])
    found = []
    for n in range(count):
        sender = f"{whose}{n % 200}@example.org"
        raw = written.replace(b"SENDER", sender.encode(), 1).replace(b"NUMBER", uuid.uuid4().hex.encode(), 1)
        found.append((sender, raw))
    return found


def deliver(port: int, some: Sequence[tuple[str, bytes]]) -> None:
    """Over a few connections, as a mail system does. Raises Wrong for what is not taken."""
    refused: list[object] = []

    def one(mine: Sequence[tuple[str, bytes]]) -> None:
        with smtplib.LMTP("127.0.0.1", port, timeout=60) as client:
            for sender, raw in mine:
                try:
                    client.sendmail(sender, [CARE], raw)
                except smtplib.SMTPException as error:
                    refused.append(error)

    threads = [threading.Thread(target=one, args=(some[at::CONNECTIONS],)) for at in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise Wrong(f"{len(refused)} mails were not taken: {refused[0]}")


# ------------------------------------------------------------ Digital Channels


class _Counting(FarSide):
    posts: Any = None

    def begin(self, head: bytes) -> None:
        if b"/messages " in head.partition(b"\r\n")[0]:
            with self.posts.get_lock():
                self.posts.value += 1
        super().begin(head)


def _serve(port: int, posts: Synchronized[int]) -> None:
    async def serve() -> None:
        _Counting.posts = posts
        server = await asyncio.get_running_loop().create_server(_Counting, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    uvloop.run(serve())


# ------------------------------------------------------------ a run


class _Bridge:
    """mail-in, a worker and what they speak to."""

    def __init__(self, stage: Stage, posts: Synchronized[int]) -> None:
        self._stage, self._posts, self.port = stage, posts, free_port()
        operator = free_port()
        stage.start(
            "mail-in", "-m", "dcbridge", "mail-in",
            DCBRIDGE_MAIL_PORT=str(self.port), DCBRIDGE_MAIL_OPERATOR_PORT=str(operator),
        )  # fmt: skip
        stage.start_worker()
        stage.wait_for("mail-in", f"http://127.0.0.1:{operator}/readyz")

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self._stage.processes[name].pid)

    def carry(self, some: Sequence[tuple[str, bytes]]) -> float:
        """To the agent; the seconds that it took."""
        wanted = self._posts.value + len(some)
        began = time.monotonic()
        deliver(self.port, some)
        while self._posts.value < wanted:
            if time.monotonic() - began > PATIENCE:
                raise Wrong(f"{wanted - self._posts.value} of {len(some)} mails did not reach the agent")
            time.sleep(0.005)
        return time.monotonic() - began

    def peak(self, name: str, work: Callable[[], object]) -> float:
        """By how much a process grows meanwhile, MiB."""
        place = Path(f"/proc/{self.process(name).pid}")
        (place / "clear_refs").write_text("5")
        before = _memory(place, "VmRSS:")
        work()
        return max(0.01, _memory(place, "VmHWM:") - before)


def _memory(place: Path, name: str) -> float:
    line = next(line for line in (place / "status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


@contextmanager
def _bridge(folder: Path, launch: Launch) -> Iterator[_Bridge]:
    port, posts = free_port(), get_context("spawn").Value("q", 0)
    far_side = get_context("spawn").Process(target=_serve, args=(port, posts), daemon=True)
    far_side.start()
    try:
        with Stage(folder, {"DCBRIDGE_BLOB_FOLDER": str(folder / "blobs")}, launch=launch) as stage:
            path = folder / "bridge.yaml"
            written = path.read_text().replace(f"127.0.0.1:{stage.worlds}/nexus", f"127.0.0.1:{port}/nexus")
            written = written.replace("\nchannels:\n", PROVIDER, 1) + CHANNEL.format(care=CARE).lstrip("\n")
            path.write_text(written)
            yield _Bridge(stage, posts)
    finally:
        far_side.terminate()
        far_side.join()


def _run(folder: Path, size: Size) -> dict[str, float]:
    some = mails(size.mails, "c", FILE)
    half = len(some) // 2
    with _bridge(folder, size.launch) as bridge:
        bridge.carry(mails(20, "warm", FILE))
        both = [bridge.process(name) for name in ("worker", "mail-in")]
        before = [sum(one.cpu_times()[:2]) for one in both]
        seconds = bridge.carry(some[:half])
        found = {"half": both[0].memory_info().rss / 1e6}
        seconds += bridge.carry(some[half:])
        spent = [(sum(one.cpu_times()[:2]) - was) / len(some) * 1000 for one, was in zip(both, before, strict=True)]
        found |= {"rate": len(some) / seconds, "worker": spent[0], "mail-in": spent[1]}
        found["memory"] = both[0].memory_info().rss / 1e6
        large, at_listener = mails(1, "large", size.large // 2, size.large // 2), list[float]()

        def receive() -> None:
            at_listener.append(bridge.peak("mail-in", lambda: bridge.carry(large)))

        found["large"] = bridge.peak("worker", receive)
        return found | {"large at mail-in": at_listener[0]}


def _beside(folder: Path, size: Size) -> float:
    """Mails a second that a bare mail server writes into files."""
    folder.mkdir(parents=True)
    port, some = free_port(), mails(size.mails, "c", FILE)
    with Stage(folder / "stage") as stage:
        stage.start("bare", "-m", "benchmarks.mails", str(port), str(folder))
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                smtplib.LMTP("127.0.0.1", port, timeout=5).close()
                break
            except OSError:
                stage.must_run("bare")
                if time.monotonic() > deadline:
                    raise Wrong("the bare mail server is not ready") from None
                time.sleep(0.05)
        began = time.monotonic()
        deliver(port, some)
        return len(some) / (time.monotonic() - began)


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """In turn with the bare mail server."""
    found, bare = [], []
    for run in range(runs):
        found.append(_run(folder / f"mails-{run}", size))
        bare.append(_beside(folder / f"bare-{run}", size))
    return [
        Line("mails of 50 kB from LMTP to the agent, one worker, /s", column(found, "rate"), 1, "aiosmtpd, into files",
             tuple(bare), "≥ 50"),
        Line("… processor time of the worker for each, ms", column(found, "worker"), 1),
        Line("… processor time of mail-in for each, ms", column(found, "mail-in"), 1),
        Line("… memory of the worker after all of them, MB", column(found, "memory"), 0, "after half of them",
             column(found, "half")),
        Line("memory of a worker for one mail of 25 MB, MiB", column(found, "large"), 0, aim="≤ 80"),
        Line("… memory of mail-in for it, MiB", column(found, "large at mail-in"), 0),
    ]  # fmt: skip


# ------------------------------------------------------------ the bare mail server


async def _bare(port: int, folder: Path) -> None:
    from aiosmtpd.lmtp import LMTP

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            path = folder / uuid.uuid4().hex
            with path.open("wb") as file:
                file.write(envelope.original_content)
                file.flush()
                os.fsync(file.fileno())
            return "250 2.0.0 stored"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LMTP(Handler(), loop=loop), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_bare(int(sys.argv[1]), Path(sys.argv[2])))
