"""The Dockerfile, compose.yaml and the health check, as far as they can be read; helm/try_image.sh builds and runs."""

from __future__ import annotations

import http.server
import re
import shlex
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcbridge.cli import health
from dcbridge.settings.process import Settings, read_settings
from tests.helm.charts import CHART, ROOT, objects, pods, values

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def instructions(name: str, text: str = DOCKERFILE) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [line.partition(" ")[2] for line in joined.splitlines() if line.partition(" ")[0] == name]


def result(name: str) -> list[str]:
    """In what the images are when they are built, beside the environment that they copy."""
    return instructions(name, DOCKERFILE[DOCKERFILE.index("\nFROM ${BASE} AS runtime") :])


def test_all_stages_begin_with_the_base_that_the_builder_names() -> None:
    assert instructions("FROM") == [
        "${BASE} AS build", "build AS build-trial", "${BASE} AS runtime", "runtime AS trial", "runtime AS production",
    ]  # fmt: skip
    assert instructions("ARG")[0].startswith("BASE=python:3.")


def test_the_result_runs_as_a_number_behind_an_init_and_installs_nothing() -> None:
    assert result("USER") == ["10001:10001"]
    assert result("ENTRYPOINT") == ['["/usr/bin/tini", "--", "dcbridge"]']
    assert result("RUN") == []
    assert all(copied.startswith("--from=build") for copied in result("COPY"))
    security = yaml.safe_load((CHART / "values.yaml").read_text())["podSecurityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == result("USER")[0]


def test_what_is_installed_is_locked_by_its_hash() -> None:
    told = " ".join(instructions("ENV"))
    assert "PIP_REQUIRE_HASHES=1" in told
    assert "PIP_ONLY_BINARY=:all:" in told
    installs = [
        part for run in instructions("RUN") for part in run.split("&&") if " install " in part and "pip" in part
    ]
    assert len(installs) == 5
    assert [part for part in installs if "--requirement requirements/" not in part and "--no-index" not in part] == []
    for name in ("image", "trial", "build"):
        lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
        pinned = [line for line in lines if "==" in line]
        assert pinned
        assert all(line.endswith("\\") for line in pinned), "a hash follows"
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(one for name in extras if name not in ("dev", "trial") for one in extras[name]),
    ]
    ours = {re.split(r"[<>=\[; ]", one)[0].lower() for one in wanted}
    assert ours <= {line.split("==")[0].lower() for line in (ROOT / "requirements/image.txt").read_text().splitlines()}


def test_every_package_of_ours_is_copied_and_nothing_else_is_let_in() -> None:
    copied = [one for line in instructions("COPY") if not line.startswith("--") for one in line.split()[:-1]]
    assert set(PACKAGES) <= set(copied)
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert {path.split("/")[0] for path in copied} == let_in
    assert not [name for name in (".git", ".venv", ".dcbridge", "tests", "bridge.env") if name in let_in]
    assert any(fnmatch("dcbridge/__pycache__", rule) for rule in rules)


def test_what_is_cut_out_of_the_image_is_not_needed() -> None:
    reads = {"carrierdata": "carrier", "geodata": "geocoder", "tzdata": "timezone"}
    cut = re.findall(r"site-packages/phonenumbers/(\w+)", DOCKERFILE)
    assert {"carrierdata", "geodata"} <= set(cut) <= set(reads)
    cut_out = "|".join(reads[folder] for folder in cut)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(rf"phonenumbers\.?({cut_out})|phonenumbers import ({cut_out})", path.read_text())


# ---------------------------------------------------------------- the health check


@contextmanager
def page(status: int) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("name", health.PORTS)
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_a_container_is_healthy_when_one_of_its_two_pages_says_so(name: str, status: int, healthy: bool) -> None:
    with page(status) as port:
        nobody = dict.fromkeys(health.PORTS, "1")
        assert health.healthy(nobody | {name: str(port)}, timeout=30.0) == healthy
        assert not health.healthy(nobody, timeout=30.0)


def test_the_health_check_asks_where_the_processes_listen() -> None:
    told = {f"DCBRIDGE_{name.upper()}": getattr(Settings(), name) for name in ("operator_port", "worker_port")}
    assert told == health.PORTS
    assert result("HEALTHCHECK")[0].endswith('CMD ["python", "-m", "dcbridge.cli.health"]')


# ---------------------------------------------------------------- compose.yaml


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = COMPOSE["services"]
    return found


@pytest.mark.parametrize("name", ["service", "worker"])
def test_a_process_of_compose_takes_its_environment_and_may_do_no_more_than_in_a_pod(name: str) -> None:
    one = services()[name]
    settings, _ = read_settings({k: str(v) for k, v in one["environment"].items()} | {"DCBRIDGE_TOKEN_KEY": "0" * 16})
    assert settings.redis_place == "unix:///run/redis/redis.sock"
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["user"] == result("USER")[0]
    assert one["restart"] == "unless-stopped"
    chart = next(
        spec for n, _, spec in pods(objects(values("minimal"))) if f"{name}" in n and n.startswith("Deployment")
    )
    pause = chart["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert int(one["stop_grace_period"].rstrip("s")) == chart["terminationGracePeriodSeconds"] - pause
    assert one["command"] == chart["containers"][0]["args"]


def test_the_redis_of_compose_would_lose_nothing_and_is_reached_by_its_socket_alone() -> None:
    one = services()["redis"]
    told = shlex.split(one["command"])
    given = dict(zip(told[1::2], told[2::2], strict=True))
    assert given["--appendonly"] == "yes"
    assert given["--appendfsync"] == "always"
    assert given["--maxmemory-policy"] == "noeviction"
    assert given["--port"] == "0"
    assert (one["network_mode"], "ports" in one) == ("none", False)
    assert one["user"].split(":")[1] == result("USER")[0].split(":")[1]
    mounted = [v for s in services().values() for v in s.get("volumes", [])]
    assert {v.split(":")[0] for v in mounted if isinstance(v, str)} == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", ["service", "worker"])
def test_an_editor_that_replaces_bridge_yaml_is_seen(name: str) -> None:
    """A file that is mounted by itself stays the old one."""
    one = services()[name]
    [folder] = [v for v in one["volumes"] if not isinstance(v, str)]
    assert (folder["type"], folder["read_only"], folder["bind"]) == ("bind", True, {"create_host_path": False})
    assert str(Path(one["environment"]["DCBRIDGE_CONFIG"]).parent) == folder["target"]
    assert [v for v in one["volumes"] if isinstance(v, str) and v.startswith((".", "/"))] == []


def test_only_the_public_port_can_be_opened_beyond_this_machine() -> None:
    opened = [port for one in services().values() for port in one.get("ports", [])]
    assert sorted(opened) == ["${BRIDGE_PUBLIC:-127.0.0.1:8080}:8080", "127.0.0.1:8081:8081", "127.0.0.1:8082:8082"]
