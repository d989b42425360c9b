"""The row beside Fastify and BullMQ, as far as it goes without npm's packages: only the benchmark installs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import beside_bullmq
from benchmarks.beside_bullmq import FILES
from benchmarks.messages import CHANNEL, webhook
from benchmarks.stage import SECRET, CannotRun
from benchmarks.worlds import World
from dcbridge.genesys import signature
from tests import warm
from tests.benchmarks.test_rows import all_told

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not on the PATH")

# What parts.mjs makes of one webhook, and of three signatures.
ASKS = """\
import * as parts from %s;
const [body, right] = process.argv.slice(1);
const job = parts.jobOf(body);
const wrong = right.replace(/.$/, (digit) => (digit === "0" ? "1" : "0"));
const signed = [right, wrong, right.slice(0, -1), undefined].map((header) => parts.isSigned(header, Buffer.from(body)));
console.log(JSON.stringify({ job, signed, form: parts.formOf(job), receipt: parts.receiptOf(job) }));
"""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    assert NODE is not None
    body = webhook("m-1", 7)
    program = ASKS % json.dumps((FILES / "parts.mjs").as_uri())
    command = [NODE, "--input-type=module", "-e", program, body.decode(), signature.sign(SECRET.encode(), body)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_node
def test_it_takes_a_webhook_that_is_signed_and_no_other(said: dict[str, Any]) -> None:
    assert said["signed"] == [True, False, False, False]
    assert (said["job"]["messageId"], said["job"]["from"], said["job"]["to"]) == ("m-1", CHANNEL, "16504000007")


@needs_node
def test_the_simulated_parties_understand_what_it_sends(said: dict[str, Any]) -> None:
    world, receipt = World(0.0), said["receipt"]
    world.sms(said["form"].encode())
    world.post(receipt["body"].encode())
    assert (world.asked, world.delivered) == ({"m-1"}, {"m-1"})
    given = [receipt["headers"]["x-hub-signature"].encode()]
    assert signature.verify(given, receipt["body"].encode(), [SECRET.encode()]).ok


@needs_node
@pytest.mark.parametrize("script", sorted(path.name for path in FILES.glob("*.mjs")))
def test_each_script_is_javascript(script: str) -> None:
    assert NODE is not None
    done = subprocess.run([NODE, "--check", str(FILES / script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_lock_says_a_version_and_a_hash_of_each_package_and_no_address() -> None:
    wanted = json.loads((FILES / "package.json").read_text())["dependencies"]
    text = (FILES / "package-lock.json").read_text()
    packages = json.loads(text)["packages"]
    assert packages.pop("")["dependencies"] == wanted
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(one["version"] and one["integrity"].startswith("sha512-") for one in packages.values())
    assert "://" not in text


def test_every_line_of_it_stands_on_the_page() -> None:
    run = dict.fromkeys(("rate", "p99", "cpu", "redis", "memory", "finished"), 1.0)
    both = {"theirs": [run], "ours": [run]}
    all_told(beside_bullmq.lines(both, both))


# ---------------------------------------------------------------- where it cannot run


def a_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_without_node_the_command_says_so_and_measures_the_rest(tmp_path: Path) -> None:
    environ = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks", "--row", "bullmq", "--runs", "1", "--small"]
    done = warm.run(command, environ)
    assert done.returncode == 0, done.stderr
    assert "bullmq: not measured: node is not on the PATH" in done.stdout
    assert "noise: a fixed loop in Python" in done.stdout


@pytest.mark.parametrize(
    ("node", "npm", "why"),
    [
        ("echo v20.18.1", "", "npm is not on the PATH"),
        ("echo v20.17.9", "exit 0", "node says 'v20.17.9' and has to be 20.18 or newer"),
        ("echo none", "exit 0", "node says 'none' and has to be"),
        ("echo v20.18.0", "echo no registry >&2; exit 1", "npm could not install the packages: no registry"),
    ],
)
def test_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, npm: str, why: str
) -> None:
    for name, script in (("node", node), ("npm", npm)):
        if script:
            a_program(tmp_path / "bin", name, script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(CannotRun) as raised:
        beside_bullmq.installed(tmp_path / "scratch")
    assert str(raised.value).startswith(why)
