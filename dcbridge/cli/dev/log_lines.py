"""The merged log of `dcbridge dev`: JSON lines of several processes, one readable line each."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TextIO

from dcbridge.printable import printable

_COLOURS = {"sandbox": "35", "service": "36", "worker": "32", "mail-in": "34"}
_LEVELS = {"warning": "33", "error": "31", "critical": "31"}
_SAID_ELSEWHERE = ("event", "level", "timestamp")


class Printer:
    """Writes lines of several threads, whole. `quiet` keeps all but errors back."""

    def __init__(self, out: TextIO, *, quiet: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._colours = out.isatty()
        self._lock = threading.Lock()

    def follow(self, name: str, process: subprocess.Popen[str]) -> None:
        """Print what a process says until it ends."""
        assert process.stdout is not None
        for line in process.stdout:
            shown = self.readable(name, line.rstrip("\n"))
            if shown:
                with self._lock:
                    self._out.write(shown + "\n")
                    self._out.flush()

    def readable(self, name: str, line: str) -> str:
        """One line, or "" for one that is kept back."""
        try:
            facts = json.loads(line)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            return f"{self._paint(name.ljust(8), _COLOURS.get(name, ''))}{printable(line)}" if line.strip() else ""
        level = str(facts.get("level", "info"))
        if self._quiet and level not in ("error", "critical"):
            return ""
        clock = printable(str(facts.get("timestamp", ""))[11:23])
        said = " ".join(
            f"{printable(key)}={_value(value)}"
            for key, value in facts.items()
            if key not in _SAID_ELSEWHERE and value is not None
        )
        event = self._paint(printable(str(facts.get("event", ""))), _LEVELS.get(level, "1"))
        who = self._paint(name.ljust(8), _COLOURS.get(name, ""))
        return f"{self._paint(clock, '2')} {who}{event}  {self._paint(said, '2')}"

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text else text


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and " " not in value and value.isprintable() else json.dumps(value)
    return json.dumps(value)
