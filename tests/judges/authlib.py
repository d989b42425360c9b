"""Authlib as a client of the sandbox, and its authorization server for our requests: tests of the suite, by name."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.judges.rows import FAILED, PASSED, CannotJudge, Row
from tests.judges.stage import RUNS, Stage

TESTS = {
    "test_authlib_gets_tokens_from_the_sandbox": "its client gets tokens from the sandbox by each grant",
    "test_authlibs_server_gives_tokens_to_our_requests": "its server gives tokens to our requests",
}
ROOT = Path(__file__).parent.parent.parent


async def judge(stage: Stage) -> list[Row]:
    try:
        import authlib  # type: ignore[import-untyped]  # noqa: F401
    except ImportError:
        raise CannotJudge("authlib is not installed") from None
    names = [f"tests/test_interfaces.py::{name}" for name in TESTS]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-n", "0", "-q", "-rA", *names,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    async with asyncio.timeout(RUNS):
        said = (await process.communicate())[0].decode()
    rows = []
    for name, what in TESTS.items():
        outcomes = re.findall(rf"^(PASSED|FAILED|ERROR|SKIPPED)\b.*::{name}\b", said, re.MULTILINE)
        good = bool(outcomes) and set(outcomes) == {"PASSED"}
        rows.append(Row(what, PASSED) if good else Row(what, FAILED, ", ".join(outcomes) or "it did not run"))
    return rows
