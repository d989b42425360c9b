"""One Redis for all tests, started by us on a free port and emptied before each test that asks for it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from tests import warm
from tests.certificates import self_signed

# No test measures time, and a shared machine has none to spare.
settings.register_profile("dcbridge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("dcbridge"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dcbridge"))

# A process that a test starts finds what another one has compiled, and the next run finds this one's test files: to
# rewrite the assertions of them all takes longer than to run many of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell lets what it runs in the background ignore Ctrl-C, and all that it starts. Some tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Each Redis of the tests writes every command to a file and calls fsync, as in production. Tests kill processes and
# never the power: in memory these files are as good, and a slow disk is not what is tested.
IN_MEMORY, ENOUGH = "/dev/shm", 4 << 30


def _is_good_for_files(folder: str) -> bool:
    try:
        about = os.statvfs(folder)
    except OSError:
        return False
    holds = about.f_bavail * about.f_frsize >= ENOUGH and not about.f_flag & os.ST_NOEXEC
    return holds and os.access(folder, os.W_OK | os.X_OK)


if "TMPDIR" not in os.environ and _is_good_for_files(IN_MEMORY):
    os.environ["TMPDIR"] = IN_MEMORY
    tempfile.tempdir = None

# Everything here speaks with this computer. A list of all the world's authorities is read in 50 ms, for each client
# and each process anew; one of a single authority in none. Who wants to be trusted brings his own.
_folder = tempfile.TemporaryDirectory(prefix="dcbridge-authority-")
os.environ["SSL_CERT_FILE"] = str(self_signed(Path(_folder.name), "authority")[0])

ROOT = Path(__file__).parent
# Whole bridges that are broken, watched or measured; the longest first.
SLOW = ("faults/test_soak.py", "helm/test_running.py", "benchmarks/", "faults/", "flows/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help=f"leave out {', '.join(SLOW)}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --quick, what is slow is not even read."""
    return True if config.getoption("quick") and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One slow file, then some quick ones: waiting and computing share the time, and the last file is a quick one."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    slow = sorted(filter(_is_slow, files), key=_rank)
    quick = [path for path in files if not _is_slow(path)]
    beside = len(quick) // len(slow) if slow else 0
    order: list[Path] = []
    for path in slow:
        order += [path, *quick[:beside]]
        del quick[:beside]
    items[:] = [item for path in (*order, *quick) for item in files[path]]


def pytest_collection_finish() -> None:
    """What was collected stays until the end: Python's garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Before tests/parallel.py forks."""
    if session.config.option.numprocesses > 1 and any(_is_slow(item.path) for item in session.items):
        warm.share()


def _is_slow(path: Path) -> bool:
    return _rank(path) < len(SLOW)


def _rank(path: Path) -> int:
    name = path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "")
    return next((rank for rank, slow in enumerate(SLOW) if name.startswith(slow)), len(SLOW))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The server of the whole run: append-only and fsynced, as in production."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of that server, which is empty."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that one test alone may stop, kill and start again."""
    server = EmbeddedRedis(tmp_path / "own-redis", free_port())
    server.start()
    yield server
    server.kill()
