"""Open Messaging, by tests.faults.cloud_judges: Genesys' client for Python, and two verifiers of npm."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from tests.faults import cloud_judges
from tests.judges.rows import FAILED, PASSED, CannotJudge, Row
from tests.judges.stage import Stage


async def judge(stage: Stage) -> list[Row]:
    return await asyncio.to_thread(_judge, stage.folder)


def _judge(folder: Path) -> list[Row]:
    own = folder / "open-messaging"
    own.mkdir()
    try:
        python = cloud_judges.install(own)
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotJudge(f"what it needs cannot be installed: {type(error).__name__}") from None
    return [Row(what, PASSED if good else FAILED) for what, good in cloud_judges.passes(python, own)]
