"""`dcbridge check --media` says which signatures Digital Channels accepts, and leaves no file there."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.operations.doctor.media import EMPTIES, UPLOADS, Tried, try_media
from dcbridge.settings.process import Settings
from tests import warm
from tests.listening import listening
from tests.workers.far_side import CONFIGURATION, TOKEN, configuration
from tests.workers.media_side import Store


async def tried(store: Store) -> list[Tried]:
    routes = [Route("/nexus/v3/{path:path}", store.answer, methods=["GET", "POST", "DELETE"])]
    async with listening(Starlette(routes=routes)) as url:
        return [one async for one in try_media(Settings(), configuration(url))]


@pytest.mark.parametrize("upload", UPLOADS)
@pytest.mark.parametrize("empty", EMPTIES)
async def test_each_way_to_sign_is_tried(upload: str, empty: str) -> None:
    store = Store(media_signature=upload, empty_signature=empty)
    found = await tried(store)
    assert [(one.setting, one.value) for one in found if one.works] == [
        ("media_signature", upload),
        ("empty_signature", empty),
    ]
    assert [one.value for one in found if one.is_set] == ["raw_body", "empty"]
    assert {one.why for one in found if not one.works} == {"answered with HTTP 401"}
    assert store.files == {}
    assert len(store.deleted) >= 1


async def test_one_that_takes_nothing_and_one_that_changes_a_file() -> None:
    store = Store(uploads=[Response(status_code=415) for _ in UPLOADS])
    found = await tried(store)
    assert [one.works for one in found] == [False] * len(UPLOADS)
    assert {one.why for one in found} == {"answered with HTTP 415", "answered with HTTP 401"}
    store = Store()

    class Changing(dict[str, tuple[str, str, bytes]]):
        def __setitem__(self, key: str, value: tuple[str, str, bytes]) -> None:
            super().__setitem__(key, (*value[:2], value[2] + b"!"))

    store.files = Changing()
    assert "other bytes came back" in {one.why for one in await tried(store)}


@pytest.mark.parametrize(("upload", "code"), [("raw_body", 0), ("empty", 1)])
async def test_the_command_ends_as_what_is_configured_works(tmp_path: Path, upload: str, code: int) -> None:
    store = Store(media_signature=upload)
    routes = [Route("/nexus/v3/{path:path}", store.answer, methods=["GET", "POST", "DELETE"])]
    async with listening(Starlette(routes=routes)) as url:
        file = tmp_path / "bridge.yaml"
        file.write_text(CONFIGURATION.format(url=url, nowhere=f"http://127.0.0.1:{free_port()}", token=TOKEN))
        command = [sys.executable, "-m", "dcbridge", "check", "--media", "--config", str(file)]
        ended = await asyncio.to_thread(warm.run, command, dict(os.environ), timeout=90)
    assert ended.returncode == code
    assert ("media_signature: raw_body: ok (configured)" in ended.stdout) == (code == 0)
    assert TOKEN not in ended.stdout
