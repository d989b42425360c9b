"""`dcbridge …` as a person sees it: a process on a terminal of so many columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.warm import Warm

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Screen:
    """What was written, without its colours, and as it came."""

    code: int
    text: str
    raw: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]


class OnATerminal:
    """A command that runs; used as a context manager, and ended where it does not end by itself."""

    def __init__(self, environ: Mapping[str, str], *arguments: str, columns: int = 80) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        told = {name: value for name, value in environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        terminal, cwd = Path(os.ttyname(theirs)), Path.cwd()
        told |= {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "dcbridge", *arguments]
        self._process = Warm(command, told, terminal, terminal, cwd, read=terminal)
        self._ours, self._theirs = ours, theirs
        self._both = True  # until it has opened its end: a terminal whose other end nobody has open is over
        self._raw = b""

    def __enter__(self) -> OnATerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._close_theirs()
        os.close(self._ours)

    def _close_theirs(self) -> None:
        if self._both:
            os.close(self._theirs)
            self._both = False

    def until(self, words: str | re.Pattern[str]) -> str:
        """Read until this was written once more; what was written since the last time. AssertionError if it is not."""
        begin, deadline = len(self._raw), time.monotonic() + PATIENCE
        wanted = re.compile(re.escape(words)) if isinstance(words, str) else words
        while not wanted.search(plain(self._raw[begin:])):
            assert time.monotonic() < deadline, f"{words!r} was not written: {plain(self._raw)[-2000:]}"
            assert self._read(), f"it ended without {words!r}: {plain(self._raw)[-2000:]}"
        return plain(self._raw[begin:])

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> Screen:
        """Wait for its end."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it did not end: {plain(self._raw)[-2000:]}"
        code = self._process.wait(PATIENCE)
        return Screen(code, plain(self._raw), self._raw.decode(errors="replace"))

    def _read(self) -> bool:
        """Some more of it; False at the end."""
        ready, _, _ = select.select([self._ours], [], [], 1.0)
        if ready or self._process.poll() is not None:
            self._close_theirs()
        if not ready:
            return True
        try:
            some = os.read(self._ours, 65536)
        except OSError:  # nobody holds the other end any more
            return False
        self._raw += some
        return bool(some)


def on_a_terminal(environ: Mapping[str, str], *arguments: str, columns: int = 80) -> Screen:
    with OnATerminal(environ, *arguments, columns=columns) as running:
        return running.end()


def plain(raw: bytes) -> str:
    """Without colours and movements of the cursor."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode(errors="replace")).replace("\r\n", "\n")
