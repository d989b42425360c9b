"""The script that a mail server pipes its reports into: what it posts, and that it never lets go of a report."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "docs/providers/post_report.sh"
SECRET, LATER, MAIL = "s3cret-of-the-callback", 75, b"From: MAILER-DAEMON\r\n\r\nana@example.com: no\r\n"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass
class Bridge:
    """Answers as it is told; 0 closes the connection without a word."""

    status: int = 200
    url: str = ""
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture(scope="module")
def listening() -> Iterator[Bridge]:
    bridge = Bridge()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bridge.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
            if bridge.status:
                self.send_response(bridge.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    bridge.url = f"http://127.0.0.1:{server.server_address[1]}/callbacks/post/status"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield bridge
    server.shutdown()
    server.server_close()


@pytest.fixture
def bridge(listening: Bridge) -> Bridge:
    listening.status = 200
    listening.heard.clear()
    return listening


def configured(folder: Path, url: str, mode: int = 0o600) -> Path:
    path = folder / "report.conf"
    path.write_text(f'url = "{url}"\nheader = "Authorization: Bearer {SECRET}"\n')
    path.chmod(mode)
    return path


def post(*arguments: Path | str, mail: bytes = MAIL, **environ: str) -> subprocess.CompletedProcess[bytes]:
    environ = {"PATH": "/usr/bin:/bin"} | environ
    done = subprocess.run([SCRIPT, *arguments], input=mail, capture_output=True, env=environ, check=False, timeout=60)
    for said in (done.stdout, done.stderr):
        assert SECRET.encode() not in said
        assert b"example.com" not in said
    return done


def test_a_mail_is_posted_as_it_came(bridge: Bridge, tmp_path: Path) -> None:
    done = post(configured(tmp_path, bridge.url))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    [(headers, body)] = bridge.heard
    assert (headers["authorization"], headers["content-type"]) == (f"Bearer {SECRET}", "message/rfc822")
    assert body == MAIL


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 405, 408, 425, 429, 431, 500, 502, 503, 504, 0])
def test_whatever_may_be_over_some_time_is_tried_again(bridge: Bridge, tmp_path: Path, status: int) -> None:
    bridge.status = status
    kept = tmp_path / "kept"
    kept.mkdir()
    assert post(configured(tmp_path, bridge.url), kept).returncode == LATER
    assert len(bridge.heard) == 1
    assert list(kept.iterdir()) == []


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_the_bridge_will_never_take_is_kept(bridge: Bridge, tmp_path: Path, status: int) -> None:
    bridge.status = status
    config, kept = configured(tmp_path, bridge.url), tmp_path / "kept"
    assert post(config).returncode == LATER  # no folder is named: it stays in the queue
    assert post(config, kept).returncode == LATER  # it is not there
    kept.mkdir()
    assert post(config, kept).returncode == 0
    [one] = kept.iterdir()
    assert one.read_bytes() == MAIL
    assert one.stat().st_mode & 0o077 == 0


def test_of_a_large_mail_the_beginning_is_posted(bridge: Bridge, tmp_path: Path) -> None:
    large = MAIL + b"x" * 3_000_000
    assert post(configured(tmp_path, bridge.url), mail=large).returncode == 0
    [(_, body)] = bridge.heard
    assert body == large[:1_000_000]


def test_nothing_of_it_is_left_in_the_folder_for_temporary_files(bridge: Bridge, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for bridge.status in (200, 503, 413):
        post(configured(tmp_path, bridge.url), TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []


def test_without_what_it_needs_it_says_later(bridge: Bridge, tmp_path: Path) -> None:
    assert post().returncode == LATER
    assert post(tmp_path / "none").returncode == LATER
    assert post(configured(tmp_path, bridge.url, 0o644)).returncode == LATER
    assert post(configured(tmp_path, "http://127.0.0.1:9/")).returncode == LATER
    assert post(configured(tmp_path, "http://nowhere.invalid/")).returncode == LATER
    assert post(configured(tmp_path, bridge.url), mail=b"").returncode == LATER
    assert post(configured(tmp_path, bridge.url), TMPDIR=str(tmp_path / "none")).returncode == LATER
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "find", "mktemp", "head", "cat", "rm"):
        (tools / name).symlink_to(shutil.which(name) or "")
    assert post(configured(tmp_path, bridge.url), PATH=str(tools)).returncode == LATER
    assert not bridge.heard
    (tools / "curl").symlink_to(shutil.which("curl") or "")
    assert post(configured(tmp_path, bridge.url), PATH=str(tools)).returncode == 0


def test_it_reads_no_curlrc(bridge: Bridge, tmp_path: Path) -> None:
    (tmp_path / ".curlrc").write_text("fail\nproxy = http://127.0.0.1:9\n")
    assert post(configured(tmp_path, bridge.url), HOME=str(tmp_path)).returncode == 0


def test_an_end_in_the_middle_is_later(bridge: Bridge, tmp_path: Path) -> None:
    with subprocess.Popen(
        [SCRIPT, configured(tmp_path, bridge.url)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as one:
        assert one.stdin is not None
        one.stdin.write(MAIL)
        one.stdin.flush()
        one.terminate()
        one.stdin.close()
        assert one.wait(30) in (LATER, -15)  # a signal is "later" as well
    assert not bridge.heard
