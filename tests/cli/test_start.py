"""What `serve` and `worker` say of the configuration when they start."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.config.test_configuration import GOOD, edited
from tests.stack import until
from tests.warm import ROOT, Warm

NOWHERE = {
    "DCBRIDGE_REDIS_URL": "redis://127.0.0.1:1/0",
    "DCBRIDGE_PUBLIC_PORT": "0",
    "DCBRIDGE_OPERATOR_PORT": "0",
    "DCBRIDGE_WORKER_PORT": "0",
    "DCBRIDGE_LOG_FORMAT": "json",
    "DCBRIDGE_FOO": "1",
}
LOGGED = ("redis_does_not_answer", "worker_waits_for_redis")


def start(command: str, config: Path, **environ: str) -> Warm:
    """What it says is in one file, in order."""
    log = config.with_name("log")
    words = [sys.executable, "-m", "dcbridge", command, "--config", str(config)]
    return Warm(words, {**os.environ, **NOWHERE, **environ}, log, log, ROOT)


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_what_is_doubtful_is_told_once_before_the_first_log_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(edited("/nexus/v3 → /nexus", "main-secret-00002 → $MAIN_SECRET_IS_MEANT"))
    process = start(command, tmp_path / "bridge.yaml")
    until(lambda: any(event in process.said() for event in LOGGED), "its first log line")
    process.kill()
    process.wait()
    told = process.said().splitlines(keepends=True)
    warnings = [line for line in told if line.startswith("warning: ")]
    assert len(set(warnings)) == len(warnings)
    assert told[: len(warnings)] == warnings
    for what in ("DCBRIDGE_FOO: is not a setting", "base_url: does not end in", "secrets[1]: begins with $",
                 "auth_token: is a secret in the file itself"):  # fmt: skip
        assert len([line for line in warnings if what in line]) == 1, what


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_what_is_broken_is_told_whole_and_nothing_starts(command: str, tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(GOOD.replace("type: sms", "type: fax"))
    process = start(command, tmp_path / "bridge.yaml", DCBRIDGE_LEASE="1m")
    assert process.wait(60) == 2
    said = process.said()
    assert [line.partition(":")[0] for line in said.splitlines() if not line.startswith("warning: ")] == [
        "error", "error", "2 problems to fix."
    ]  # fmt: skip
    assert "DCBRIDGE_LEASE: should be a number of seconds" in said
    assert "bridge.yaml:19: channels.0123456789.type: should be sms or email" in said
