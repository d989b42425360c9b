"""A consumer's mail while a process is killed at one point of its way: nothing is lost, nothing comes twice.

    python -m tests.faults.mail_crashes            # every row, by SIGKILL and by SIGTERM; the table

`mail-in` and a worker run as they are, with one function wrapped (tests/faults/crash_points.py). Beside them are a mail
system, which sends again what was not answered 250, and a small IMAP server.
"""

from __future__ import annotations

import asyncio
import smtplib
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.faults.crash_points import Call, Point
from tests.faults.crash_rows import Row, Victim, each, main
from tests.mail.writing import plain
from tests.service.imap_server import PASSWORD, USER, Server, imap_server
from tests.stack import EMAIL, Stack, until

CARE, MAIL_IN, WORKER = "care@company.test", "mail-in", "worker"
WAY, MODULE, MAILS = "mail", "tests.faults.mail_crashes", 5


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
        if not self._thread.is_alive():  # an open loop is a warning in whichever test collects it
            self._loop.close()
        self._folder.cleanup()


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack, mailbox: Mailbox) -> None:
        self._stack, self._mailbox = stack, mailbox
        self._victim = Victim(stack, MODULE, (MAIL_IN, WORKER))
        self._sent = 0

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        numbers = range(self._sent, self._sent + MAILS)
        self._sent += MAILS
        sending = threading.Thread(target=self._deliver, args=(numbers,))
        if point.name.startswith("IMAP"):
            died = self._victim.dies(point, fault, lambda: self._mailbox.put(*map(_mail, numbers)))
        else:
            died = self._victim.dies(point, fault, sending.start)
            sending.join(60)
        until(lambda: {*numbers} <= {*self._seen()}, "every mail reaches the agent", 90.0)
        until(lambda: not any(stack.books().tasks.values()), "nothing waits")
        until(lambda: self._unmarked() == 0, "all are marked", 60.0)
        seconds = time.monotonic() - died
        counted = Counter(n for n in self._seen() if n in numbers)
        bare = sum("note.pdf" not in text for text in self._texts() if int(text.split()[0]) in numbers)
        lost, twice = MAILS - len(counted), sum(counted.values()) - len(counted)
        excused = min(twice, self._victim.unknown)
        wrong = {"lost": lost, "twice": twice - excused, "without_file": bare, "unmarked": self._unmarked()}
        return Row(WAY, point, fault, MAILS, seconds, wrong, excused)

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


def play(chosen: Sequence[tuple[Point, str]], tell: Callable[[Row], object]) -> list[Row]:
    with Mailbox() as mailbox:
        told = {"host": "127.0.0.1", "port": mailbox.server.port, "verify_certificate": False, "username": USER,
                "password": PASSWORD}  # fmt: skip
        inbound = {
            "addresses": [CARE],
            "per_sender": 10_000,
            "per_minute": 10_000,
            "hold_over": 10_000,
            "imap": {"main": told},
        }
        with Stack(channels={EMAIL: {"inbound": inbound}}, parts=("sandbox", "service", WORKER, MAIL_IN)) as stack:
            return each(WAY, chosen, Play(stack, mailbox).row, tell)


if __name__ == "__main__":
    sys.exit(main(POINTS, play))
