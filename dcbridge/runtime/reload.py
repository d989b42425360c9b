"""bridge.yaml while a process runs: a changed file is read again, and its subscribers count from then on.

A file that cannot be used is refused with its reasons, and the old one stays. What else has changed
in it waits for the next start, and that is said.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import structlog

from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError

log = structlog.get_logger()

_MOUNTED = re.compile(r"file:([^\s\"',\]]+)")

Fingerprint = tuple[tuple[str, int, int, int], ...]


class Reload:
    """Looks at the file of `configuration` every `every` seconds."""

    def __init__(
        self, path: str | Path, environ: Mapping[str, str], configuration: Configuration, metrics: Metrics, every: float
    ) -> None:
        self._path, self._environ, self._metrics, self._every = Path(path), environ, metrics, every
        self.configuration = configuration
        self._seen = _fingerprint(self._path)

    async def keep_looking(self, apply: Callable[[Configuration], Awaitable[None]]) -> None:
        """Hand each usable change to `apply`, until cancelled. What `apply` raises is tried again at the next look."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look(apply)
            except Exception:
                log.error("configuration_not_applied", exc_info=True)

    async def look(self, apply: Callable[[Configuration], Awaitable[None]]) -> str:
        """One look: "same", "refused", "read" or, where more than the subscribers has changed, "read in part"."""
        found = await asyncio.to_thread(_fingerprint, self._path)
        if found == self._seen:
            return "same"
        try:
            fresh = await asyncio.to_thread(load, self._path, self._environ)
        except ConfigurationError as error:
            self._seen = found
            for problem in error.problems:
                log.error("configuration_refused", problem=str(problem))
            self._metrics.reloads.labels("refused").inc()
            return "refused"
        elsewhere = _changed_elsewhere(self.configuration, fresh)
        running = self.configuration.with_subscribers(fresh.subscribers)
        await apply(running)
        self.configuration, self._seen = running, found
        for warning in fresh.warnings:
            log.warning("configuration_warning", problem=str(warning))
        log.info("configuration_read", subscribers=sorted(fresh.subscribers))
        if elsewhere:
            log.warning("configuration_needs_a_restart", sections=elsewhere)
        word = "read in part" if elsewhere else "read"
        self._metrics.reloads.labels(word).inc()
        return word


def _changed_elsewhere(old: Configuration, new: Configuration) -> list[str]:
    """Sections that differ, other than subscribers."""
    return [
        name for name in type(old).model_fields if name != "subscribers" and getattr(old, name) != getattr(new, name)
    ]


def _fingerprint(path: Path) -> Fingerprint:
    """Of the file, and of the mounted secrets that it names: who they are, how long, and when they were written."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    found = [path, *(path.parent / name for name in sorted(set(_MOUNTED.findall(text))))]
    return tuple(mark for one in found if (mark := _mark(one)) is not None)


def _mark(path: Path) -> tuple[str, int, int, int] | None:
    try:
        stat = os.stat(path)  # follows the links by which Kubernetes changes a mounted file
    except OSError:
        return None
    return str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns
