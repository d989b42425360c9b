"""The plugin that runs the tests: what it reports is what pytest reports of tests that it runs itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

CONFTEST = """
import os, pathlib, pytest

PLACE = pathlib.Path(__file__).parent

@pytest.fixture(scope="session")
def server():
    yield os.getpid()
    (PLACE / f"stopped-{os.getpid()}").touch()

@pytest.fixture(scope="module")
def stack(server):
    yield server
    with (PLACE / f"stacks-{os.getpid()}").open("a") as file:
        file.write("x")
"""
# Three tests that see one process and one fixture.
STEADY = """
import os, warnings

def test_one(stack, tmp_path):
    print("not shown")
    (tmp_path / "mine").write_text("")
    assert stack == os.getpid()

def test_two(stack):
    assert stack == os.getpid()

def test_three(stack):
    warnings.warn("look here")
"""
FAILING = """
import pytest

def test_fails(stack):
    print("shown, since it fails")
    assert stack < 0

def test_skips():
    pytest.skip("not today")

@pytest.fixture
def broken():
    yield
    raise OSError("at its end")

def test_ends_badly(broken):
    pass
"""
CRASHING = """
import os, signal

def test_before():
    pass

def test_dies():
    os.kill(os.getpid(), signal.SIGKILL)

def test_behind():
    pass
"""


def run(folder: Path, *options: str) -> str:
    """What pytest says of these tests, with this plugin and no settings of ours."""
    settings = folder.parent / "pytest.ini"
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-c", str(settings), "-p", "tests.parallel", *options, str(folder)]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tests"
    place.mkdir()
    files = {"conftest": CONFTEST, "test_failing": FAILING, "test_crashing": CRASHING}
    files |= {f"test_steady_{number}": STEADY for number in range(5)}
    for name, text in files.items():
        (place / f"{name}.py").write_text(text)
    return place


def test_all_is_reported_and_a_process_that_dies_costs_one_test(folder: Path) -> None:
    said = run(folder, "-n", "2", "-rs", "-p", "no:cacheprovider")
    assert "2 failed, 18 passed, 1 skipped, 5 warnings, 1 error" in said
    assert re.search(r"test_fails.*shown, since it fails", said, re.DOTALL)
    assert "the process that ran this test ended in it, with exit code -9" in said
    assert "OSError: at its end" in said
    assert "not today" in said
    assert "look here" in said
    assert "not shown" not in said
    stopped = sorted(path.name.partition("-")[2] for path in folder.glob("stopped-*"))
    stacks = {path.name.partition("-")[2]: path.read_text() for path in folder.glob("stacks-*")}
    assert sum(map(len, stacks.values())) == 6, "one for each file that asks for it"
    assert len(stopped) >= 2
    assert set(stacks) <= set(stopped)


def test_the_first_failure_ends_the_run_where_that_is_asked_for(folder: Path) -> None:
    (folder / "test_crashing.py").unlink()
    said = run(folder, "-n", "2", "-x", "-p", "no:cacheprovider")
    assert "stopping after 1 failures" in said
    assert "1 failed" in said
    assert not {"skipped", "1 error"} & set(re.findall(r"skipped|1 error", said)), "of the same file, behind it"
    assert list(folder.glob("stopped-*")), "what was running has stopped what it shared"
