"""A consumer's mail while a process is killed at one point of its way: nothing is lost, nothing comes twice.

    python -m tests.faults.mail_crashes            # every row, by SIGKILL and by SIGTERM; the table

`mail-in` and a worker run as they are, with one function wrapped (tests/faults/crash_points.py). Beside them are a mail
system, which sends again what was not answered 250, and a small IMAP server.
"""

from __future__ import annotations

import argparse
import asyncio
import smtplib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.faults.crash_points import KILL, TERM, Call, Gate, Point, guard
from tests.mail.writing import plain
from tests.service.imap_server import PASSWORD, USER, Server, imap_server
from tests.stack import EMAIL, Stack, until

CARE, MAIL_IN, WORKER = "care@company.test", "mail-in", "worker"
MAILS = 5


def _always(_call: Call, _result: Any) -> str:
    return "mail"


def _task(kind: str) -> Any:
    return lambda call, _result: str(call[1]) if str(call[1]).startswith(kind) else ""


def _new_mail(call: Call, _result: Any) -> str:
    return "mail" if call[1][0].job == "mail" else ""


_TASKS = "dcbridge.ledger.tasks:Tasks."
POINTS = (
    Point("LMTP: blob kept, no task", MAIL_IN, _TASKS + "put", "before", "task", _new_mail),
    Point("LMTP: stored, not acknowledged", MAIL_IN, "service.mail.taker:LedgerTaker.take", "after", "task", _always),
    Point("IMAP: fetched, not stored", MAIL_IN, "service.imap.taking:store", "before", "task", _always),
    Point("IMAP: stored, not marked", MAIL_IN, "service.imap.taking:Taking._mark", "before", "task", _always),
    Point("IMAP: marked", MAIL_IN, "service.imap.taking:Taking._mark", "after", "task", _always),
    Point("read, not noted", WORKER, _TASKS + "done", "before", "task", _task("l-")),
    Point(
        "attachment uploaded, not noted", WORKER, "dcbridge.ledger.uploads:Uploads.note", "before", "task", _task("c-")
    ),
    Point("attachment noted, not posted", WORKER, "dcbridge.ledger.uploads:Uploads.note", "after", "task", _task("c-")),
)


@dataclass(frozen=True)
class Row:
    """What became of the mails of one row."""

    point: str
    fault: str
    sent: int
    lost: int
    twice: int
    without_file: int
    unmarked: int

    @property
    def good(self) -> bool:
        return not (self.lost or self.twice or self.without_file or self.unmarked)


class Mailbox:
    """The IMAP server, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self.server = Server()
        self._folder = tempfile.TemporaryDirectory(prefix="imap-")
        self._loop = asyncio.new_event_loop()
        self._up, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    async def _run(self) -> None:
        async with imap_server(Path(self._folder.name), self.server):
            self._up.set()
            await self._end.wait()

    def put(self, *mails: bytes) -> None:
        self._loop.call_soon_threadsafe(lambda: self.server.put(*mails))

    def __enter__(self) -> Self:
        self._thread.start()
        self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        self._folder.cleanup()


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack, mailbox: Mailbox) -> None:
        self._stack, self._mailbox = stack, mailbox
        self._plain = {part: list(stack._commands[part]) for part in (MAIL_IN, WORKER)}
        self._sent = 0

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        stack.terminate(point.part)
        arguments = ["--at", point.name, "--do", fault, "--", point.part]
        stack._commands[point.part] = ["-m", "tests.faults.mail_crashes", *arguments]
        stack.start(point.part)
        numbers = range(self._sent, self._sent + MAILS)
        self._sent += MAILS
        if point.name.startswith("IMAP"):
            self._mailbox.put(*map(_mail, numbers))
        else:
            sending = threading.Thread(target=self._deliver, args=(numbers,))
            sending.start()
        until(lambda: stack.processes[point.part].poll() is not None, f"it ends at: {point.name}", 60.0)
        stack.processes.pop(point.part).wait()
        stack._commands[point.part] = self._plain[point.part]
        stack.start(point.part)
        if not point.name.startswith("IMAP"):
            sending.join(60)
        until(lambda: {*numbers} <= {*self._seen()}, "every mail reaches the agent", 90.0)
        until(lambda: not any(stack.books().tasks.values()), "nothing waits")
        until(lambda: self._unmarked() == 0, "all are marked", 60.0)
        counted = Counter(n for n in self._seen() if n in numbers)
        bare = sum("note.pdf" not in text for text in self._texts() if int(text.split()[0]) in numbers)
        lost, twice = MAILS - len(counted), sum(counted.values()) - len(counted)
        return Row(point.name, fault, MAILS, lost, twice, bare, self._unmarked())

    def _deliver(self, numbers: range) -> None:
        """As a mail system does: again, until the answer is 250."""
        for n in numbers:
            until(lambda n=n: self._delivered(n), f"mail {n} is taken", 60.0, pause=0.2)  # type: ignore[misc]

    def _delivered(self, n: int) -> bool:
        try:
            with smtplib.LMTP("127.0.0.1", self._stack.mail_in, timeout=20) as client:
                client.sendmail(f"ana{n}@example.test", [CARE], _mail(n))
        except (OSError, smtplib.SMTPException):
            return False
        return True

    def _texts(self) -> list[str]:
        return [one["text"] for one in self._stack.recorded("seen") if one["channel_id"] == EMAIL]

    def _seen(self) -> list[int]:
        return [int(text.split()[0]) for text in self._texts()]

    def _unmarked(self) -> int:
        return len(self._mailbox.server.letters) - self._mailbox.server.flagged("\\Seen")


PDF = "JVBERi0xLjQKMSAwIG9iago8PD4+CmVuZG9iagp0cmFpbGVyPDw+PgolJUVPRgo="


def _mail(number: int) -> bytes:
    body = (
        f"--x\r\nContent-Type: text/plain\r\n\r\n{number}\r\n--x\r\nContent-Type: application/pdf\r\n"
        "Content-Disposition: attachment; filename=note.pdf\r\nContent-Transfer-Encoding: base64\r\n"
        f"\r\n{PDF}\r\n--x--\r\n"
    )
    sender = f"From: ana{number}@example.test"
    return plain(
        body, sender, f"Message-ID: <{number}@example.test>", "Content-Type: multipart/mixed; boundary=x", subject=""
    )


def play(points: Sequence[Point], faults: Sequence[str]) -> list[Row]:
    with Mailbox() as mailbox:
        told = {"host": "127.0.0.1", "port": mailbox.server.port, "verify_certificate": False, "username": USER,
                "password": PASSWORD}  # fmt: skip
        inbound = {"addresses": [CARE], "per_sender": 10_000, "per_minute": 10_000, "imap": {"main": told}}
        with Stack(channels={EMAIL: {"inbound": inbound}}, parts=("sandbox", "service", WORKER, MAIL_IN)) as stack:
            run = Play(stack, mailbox)
            return [run.row(point, fault) for point in points for fault in faults]


def launch(arguments: Sequence[str]) -> None:
    """One process of the product, which is to end at a point."""
    options = argparse.ArgumentParser()
    options.add_argument("--at")
    options.add_argument("--do")
    options.add_argument("command", nargs="+")
    asked = options.parse_args(arguments)
    gate = Gate()
    gate.arm(asked.at, 2, asked.do)
    guard(gate, next(point for point in POINTS if point.name == asked.at))

    from dcbridge.cli.app import main as product

    sys.argv = ["dcbridge", *asked.command]
    product()


def main() -> int:
    if "--at" in sys.argv:
        launch(sys.argv[1:])
        return 0
    chosen = [point for point in POINTS if all(word in point.name for word in sys.argv[1:])]
    began = time.monotonic()
    rows = play(chosen, (KILL, TERM))
    for row in rows:
        sys.stdout.write(f"{row}\n")
    sys.stdout.write(f"{sum(row.good for row in rows)} of {len(rows)} good, {time.monotonic() - began:.0f} s\n")
    return 0 if all(row.good for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
