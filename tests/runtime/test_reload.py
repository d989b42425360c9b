"""bridge.yaml changes while a process runs: what is taken over, what is refused, and what waits for a restart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.reload import Reload
from tests.events.minimal import BRIDGE

SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
TEXT = (
    BRIDGE
    + """
subscribers:
  crm: {sink: {kind: http, url: https://crm.example.com/hook, secrets: ["file:signing-secret"]}}
"""
)
LAKE = f"  lake: {{sink: {{kind: http, url: https://lake.example.com/hook, secrets: [{SECRET}]}}}}\n"


class File:
    """A bridge.yaml in a folder, somebody who looks at it, and what was applied."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bridge.yaml"
        self.secret = folder / "signing-secret"
        self.secret.write_text(SECRET)
        self.path.write_text(TEXT)
        self.metrics = Metrics()
        self.applied: list[Configuration] = []
        self.reload = Reload(self.path, {}, load(self.path, {}), self.metrics, 60.0)

    async def apply(self, configuration: Configuration) -> None:
        self.applied.append(configuration)

    async def look(self, apply: Callable[[Configuration], Awaitable[None]] | None = None) -> str:
        return await self.reload.look(apply or self.apply)

    def counted(self, outcome: str) -> float:
        name = "dcbridge_configuration_reloads_total"
        return self.metrics.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


async def test_a_file_that_has_not_changed_is_left_alone(file: File) -> None:
    assert [await file.look(), await file.look()] == ["same", "same"]
    assert file.applied == []


async def test_a_new_subscriber_counts_from_the_next_look_on(file: File) -> None:
    file.path.write_text(TEXT + LAKE)
    assert await file.look() == "read"
    assert [set(one.subscribers) for one in file.applied] == [{"crm", "lake"}]
    assert file.counted("read") == 1
    assert await file.look() == "same"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (TEXT + "  lake: {sink: {kind: htttp}}\n", "subscribers.lake.sink.kind"),
        (TEXT + "  crm: {}\n", "written twice"),
        ("{", "is not YAML"),
        (TEXT.replace("endpoints:", "endpoint:"), "endpoint"),
    ],
)
async def test_a_bad_file_is_refused_with_its_reasons_and_the_old_one_stays(file: File, bad: str, reason: str) -> None:
    before = file.reload.configuration
    file.path.write_text(bad)
    with capture_logs() as lines:
        assert await file.look() == "refused"
    told = [line["problem"] for line in lines if line["event"] == "configuration_refused"]
    assert any(reason in problem and "bridge.yaml:" in problem for problem in told)
    assert (file.applied, file.reload.configuration) == ([], before)
    assert file.counted("refused") == 1
    assert await file.look() == "same"  # said once
    file.path.write_text(TEXT + LAKE)
    assert await file.look() == "read"


async def test_a_file_that_is_gone_is_refused_too(file: File) -> None:
    file.path.unlink()
    assert await file.look() == "refused"
    file.path.write_text(TEXT)
    assert await file.look() == "read"


async def test_what_needs_a_restart_is_said_and_the_subscribers_are_taken_all_the_same(file: File) -> None:
    file.path.write_text(TEXT.replace("0123456789", "9876543210") + LAKE)
    with capture_logs() as lines:
        assert await file.look() == "read in part"
    [line] = [line for line in lines if line["event"] == "configuration_needs_a_restart"]
    assert line["sections"] == ["providers", "channels"]
    assert set(file.applied[0].subscribers) == {"crm", "lake"}
    assert set(file.applied[0].channels) == {"0123456789"}


async def test_a_mounted_secret_that_changed_is_a_change(file: File) -> None:
    other = "whsec_" + "b" * 40
    file.secret.write_text(other)
    assert await file.look() == "read"
    assert file.applied[0].subscribers["crm"] != load_before(file).subscribers["crm"]


def load_before(file: File) -> Configuration:
    file.secret.write_text(SECRET)
    return load(file.path, {})


async def test_a_link_that_leads_elsewhere_is_a_change(file: File, tmp_path: Path) -> None:
    """As Kubernetes changes a mounted file: the name stays, what it leads to is another file."""
    for name, text in (("old", TEXT), ("new", TEXT + LAKE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "bridge.yaml").write_text(text)
        (tmp_path / name / "signing-secret").write_text(SECRET)
    link = tmp_path / "mounted"
    link.symlink_to("old")
    reload = Reload(link / "bridge.yaml", {}, load(link / "bridge.yaml", {}), file.metrics, 60.0)
    assert await reload.look(file.apply) == "same"
    link.unlink()
    link.symlink_to("new")
    assert await reload.look(file.apply) == "read"


async def test_what_could_not_be_applied_is_tried_again_at_the_next_look(file: File) -> None:
    async def redis_is_away(_: Configuration) -> None:
        raise ConnectionError("away")

    file.path.write_text(TEXT + LAKE)
    with pytest.raises(ConnectionError):
        await file.look(redis_is_away)
    assert await file.look() == "read"
