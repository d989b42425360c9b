"""A whole bridge beside SMSCs that nobody here wrote: both directions, and one that is killed in mid-window."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.stack import ROOT, Stack, quiet_port, until

NPM = Path(__file__).parent / "npm"
CHANNEL, NUMBER = "5550200013", "15557650213"
INSTALLS = 120.0  # seconds
DELAY = 150  # ms until a message is answered


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """npm's packages, at the versions and hashes of the lock; skipped where there are none."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node or npm is not on the PATH")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NPM / name, folder)
    done = subprocess.run(
        [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder, capture_output=True, text=True, timeout=INSTALLS, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"npm could not install the packages: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


class Smsc:
    """A process. `lines`: what it has said, over all of its lives."""

    def __init__(self, command: list[str]) -> None:
        self.command, self.lines = command, list[dict[str, Any]]()
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.reader = threading.Thread(target=self._read, args=(self.process,))
        self.reader.start()
        before = len(self.lines)
        until(lambda: any("ready" in one for one in self.lines[before:]), "the SMSC listens")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(json.loads(line))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def says(self, **told: str) -> None:
        """A consumer writes."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"from": "16504661149", "to": NUMBER, **told}) + "\n")
        self.process.stdin.flush()

    @property
    def taken(self) -> list[dict[str, Any]]:
        return [one for one in self.lines if "text" in one]


@pytest.fixture(scope="module", params=["npm smpp", "smpp34"])
def both(request: pytest.FixtureRequest) -> Iterator[tuple[Stack, Smsc]]:
    port = quiet_port()
    with Stack(companies=("smpp",), parts=("sandbox", "service")) as stack:
        path, password = stack.folder / "bridge.yaml", stack.kept("smpp_password")
        told = yaml.safe_load(path.read_text())
        told["providers"]["smpp"] |= {"port": port, "enquire_every": 1}
        told["channels"][CHANNEL] |= {"outcome_unknown": "fail"}
        path.write_text(yaml.safe_dump(told))
        arguments = [str(port), str(DELAY), password]
        if request.param == "smpp34":
            smsc = Smsc([sys.executable, "-m", "tests.smpp.smsc34", *arguments])
        else:
            node = shutil.which("node") or "node"
            smsc = Smsc([node, str(NPM / "smsc.js"), *arguments, str(request.getfixturevalue("modules"))])
        try:
            stack.start("worker")
            until(lambda: any("bound" in one for one in smsc.lines), "the worker is bound")
            yield stack, smsc
        finally:
            smsc.kill()


def send(stack: Stack, text: str, to: str = "") -> str:
    message_id = stack.new_id()
    told = {"channel": CHANNEL, "to": to or stack.new_number(), "text": text, "messageId": message_id, "wait": True}
    assert stack.sandbox("agent/sms", told)["state"] == "accepted"
    return message_id


@pytest.mark.parametrize("text", ["Grüße: 1 €", "ж😀", "0123456789 " * 40, "жизнь 😀 " * 30, "early: Hello"])
def test_a_message_is_delivered(both: tuple[Stack, Smsc], text: str) -> None:
    stack, smsc = both
    number = stack.new_number()
    receipt = stack.receipt(send(stack, text, number), channel=CHANNEL)
    assert (receipt["status"], receipt["repeated"]) == ("Delivered", 0)
    assert "".join(one["text"] for one in smsc.taken if one["to"] == number) == text
    assert {one["from"] for one in smsc.taken} == {NUMBER}


def test_a_consumers_message_reaches_the_agent(both: tuple[Stack, Smsc]) -> None:
    stack, smsc = both
    smsc.says(text="Hello from the handset")
    until(lambda: [one for one in stack.recorded("seen") if one["text"] == "Hello from the handset"], "it is seen")


def test_one_that_is_killed_in_mid_window_gets_each_message_once(both: tuple[Stack, Smsc]) -> None:
    """What it never answered is unknown, and fails as the channel wants; everything else is delivered."""
    stack, smsc = both
    before = len(smsc.taken)
    names = [f"message {n}" for n in range(60)]
    sent = {name: send(stack, name) for name in names}
    until(lambda: len(smsc.taken) > before + 15, "some of it is taken")
    smsc.kill()
    smsc.start()
    states = ("delivered", "failed", "sent")
    until(lambda: all(stack.entry(one, CHANNEL).state in states for one in sent.values()), "all of it is decided")
    ends = {name: stack.entry(message_id, CHANNEL) for name, message_id in sent.items()}
    unknown = [name for name, entry in ends.items() if entry.times_unknown]
    assert unknown, "no answer was outstanding"
    assert {(ends[name].state, ends[name].detail) for name in unknown} <= {("failed", "outcome unknown")}
    assert {name for name, entry in ends.items() if entry.state == "failed"} == set(unknown)
    until(lambda: {one["text"] for one in smsc.taken} >= set(names) - set(unknown), "the SMSC has told of each")
    assert max(Counter(one["text"] for one in smsc.taken if one["text"] in sent).values()) == 1
    assert stack.books().difference == 0
