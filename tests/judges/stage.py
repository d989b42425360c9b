"""Where judges work: the sandbox as a server, packages of npm, and clones of public repositories."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests.judges.rows import FAILED, CannotJudge, Row
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG

FILES = Path(__file__).parent / "node"
INSTALLS, CLONES, RUNS = 300.0, 60.0, 120.0  # seconds
ACCOUNT = GenesysAccount(api_key="the-api-key", client_secret="the-client-secret", password="the-password")
# Genesys' clients that are not on npm, each at the newest commit of its repository.
REPOSITORIES = {
    "authentication-client-js": "f65146de091edbe494c6c8c8f40eed5960ed4339",
    "engagement-client-js": "49aca6b3f977bb48eadf9617c7e8e35ae8b8af51",
}
OWNER = "https://github.com/GenesysPureEngage"


class Stage:
    """One run of all judges. `clones`: where repositories lie already."""

    def __init__(self, folder: Path, clones: Path | None) -> None:
        self.folder, self._clones = folder, clones
        self._node: Path | None = None
        self._cannot = ""

    def node(self) -> Path:
        """The scripts beside their packages, at the versions and hashes of the lock. Raises CannotJudge."""
        if self._cannot:
            raise CannotJudge(self._cannot)
        if self._node is None:
            try:
                self._node = _installed(self.folder / "node")
            except CannotJudge as error:
                self._cannot = str(error)
                raise
        return self._node

    def cloned(self, name: str, package: str) -> None:
        """Put a repository among the packages. Raises CannotJudge."""
        there = self.node() / "node_modules" / package
        if there.exists():
            return
        own = self._clones / name if self._clones else None
        source = str(own) if own is not None and own.exists() else f"{OWNER}/{name}.git"
        for command in (
            ["git", "init", "--quiet", str(there)],
            ["git", "-C", str(there), "fetch", "--quiet", "--depth", "1", source, REPOSITORIES[name]],
            ["git", "-C", str(there), "checkout", "--quiet", "FETCH_HEAD"],
        ):
            try:
                quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
                done = subprocess.run(command, capture_output=True, text=True, timeout=CLONES, env=quiet, check=False)
            except (subprocess.TimeoutExpired, FileNotFoundError) as error:
                shutil.rmtree(there, ignore_errors=True)
                raise CannotJudge(f"{name} cannot be fetched: {type(error).__name__}") from None
            if done.returncode:
                shutil.rmtree(there, ignore_errors=True)
                raise CannotJudge(f"{name} cannot be fetched: git said {done.returncode}")

    @asynccontextmanager
    async def sandbox(self) -> AsyncIterator[tuple[str, World]]:
        """Its URL, and what it remembers."""
        app = build_app(replace(CONFIG, genesys=ACCOUNT))
        async with listening(app) as url:
            app.state.world.switches.statistics.held = 5.0
            yield url, app.state.world

    async def run(self, script: str, url: str, **more: str) -> list[Row]:
        """What one script found."""
        environment = {
            "SANDBOX": url,
            "API_KEY": ACCOUNT.api_key,
            "CLIENT_ID": ACCOUNT.client_id,
            "CLIENT_SECRET": ACCOUNT.client_secret,
            "USERNAME_THERE": ACCOUNT.username,
            "PASSWORD": ACCOUNT.password,
            **more,
        }
        said, errors, code = await _run(self.node(), script, environment)
        rows = [Row(**json.loads(line)) for line in said.splitlines() if line.startswith("{")]
        if code or not rows:
            rows.append(Row(script, FAILED, f"node ended with {code}: {errors.strip().splitlines()[-1:]}"))
        return rows


async def _run(folder: Path, script: str, environment: Mapping[str, str]) -> tuple[str, str, int]:
    process = await asyncio.create_subprocess_exec(
        "node", script, cwd=folder, env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(RUNS):
            said, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        said, errors = await process.communicate()
    return said.decode(), errors.decode(), process.returncode or 0


def _installed(folder: Path) -> Path:
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        raise CannotJudge("node and npm are not both on the PATH")
    shutil.copytree(FILES, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALLS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotJudge(f"npm did not install the packages within {INSTALLS:g} s") from None
    if done.returncode:
        raise CannotJudge(f"npm could not install the packages: {done.stderr.strip().splitlines()[:1]}")
    return folder
