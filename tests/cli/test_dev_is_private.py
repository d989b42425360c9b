"""`dcbridge dev` on a computer with other users, and with a browser that visits other pages."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.cli.dev.private_files import NotOurFolder, make_private_folder, tighten, write_private
from dcbridge.cli.dev.processes import Ports, prepare, read, write_env
from tests.stack import ROOT, quiet_ports, until


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> list[str]:
    """Everything below that somebody else could read, write or enter."""
    found = [folder, *folder.rglob("*")]
    return sorted(str(path.relative_to(folder)) for path in found if not path.is_symlink() and mode(path) & 0o077)


# ---------------------------------------------------------------- files


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o007], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_folder_is_its_users_alone(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "above" / "data"
    prepare(folder, Ports())
    write_env(folder, Ports(), "redis://:secret@127.0.0.1:1/0")
    server = EmbeddedRedis(folder / "redis", free_port(), read(folder, "redis_password"))
    server.start()
    server.stop()
    assert open_to_others(tmp_path / "above") == []
    assert (folder / "redis" / "redis.log").exists()
    assert os.umask(umask) == umask, "this process' own is as it was"


def test_a_folder_of_an_earlier_version_is_tightened(umask: int, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    prepare(folder, Ports())
    write_env(folder, Ports(), "redis://127.0.0.1:1/0")
    (folder / "redis_password").unlink()  # it had none
    for inner in ("redis/appendonlydir", "journal"):
        (folder / inner).mkdir(parents=True)
        (folder / inner / "file").write_text("what a consumer wrote")
    secret = read(folder, "app_secret")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)
    prepare(folder, Ports())
    assert open_to_others(folder) == []
    assert read(folder, "app_secret") == secret
    assert len(read(folder, "redis_password")) == 64


def test_a_folder_with_other_things_in_it_keeps_its_rights_and_theirs(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "notes").chmod(0o644)
    tmp_path.chmod(0o755)
    prepare(tmp_path, Ports())
    assert (mode(tmp_path), mode(tmp_path / "notes")) == (0o755, 0o644)
    assert [name for name in open_to_others(tmp_path) if name not in (".", "notes")] == []


@pytest.mark.parametrize("rights", [0o777, 0o1777, 0o775, 0o757])
def test_a_folder_that_others_write_to_is_refused(tmp_path: Path, rights: int) -> None:
    (tmp_path / "notes").write_text("mine")
    tmp_path.chmod(rights)
    with pytest.raises(NotOurFolder, match="others can write"):
        make_private_folder(tmp_path, holds="app_secret")
    assert mode(tmp_path) == rights


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else for a moment")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    os.seteuid(65534)
    try:
        with pytest.raises(NotOurFolder, match="belongs to another user"):
            make_private_folder(folder, holds="app_secret")
    finally:
        os.seteuid(0)
        folder.rmdir()


def test_a_file_that_was_laid_out_for_us_is_replaced_and_not_written_through(umask: int, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("theirs")
    (tmp_path / "link").symlink_to(elsewhere)
    (tmp_path / "hard").hardlink_to(elsewhere)
    (tmp_path / "open").write_text("long old text")
    (tmp_path / "open").chmod(0o666)
    for name in ("link", "hard", "open", "new"):
        write_private(tmp_path / name, "secret")
        assert ((tmp_path / name).read_text(), mode(tmp_path / name)) == ("secret", 0o600)
    assert elsewhere.read_text() == "theirs"


def test_a_link_is_not_followed_when_rights_are_taken_away(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    tighten(inside)
    assert (mode(inside), mode(outside)) == (0o700, 0o644)


# ---------------------------------------------------------------- Redis


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "redis", free_port(), "the-password")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("password", [None, "", "the-passwor", "the-password "])
def test_redis_does_nothing_without_its_password(guarded: EmbeddedRedis, password: str | None) -> None:
    once = Retry(NoBackoff(), 0)  # else the client tries a wrong password again, for seconds
    with redis.Redis(port=guarded.port, password=password, retry=once) as stranger:
        for command in (("SET", "a", "b"), ("PING",), ("KEYS", "*"), ("CONFIG", "GET", "requirepass"), ("FLUSHALL",)):
            with pytest.raises((redis.AuthenticationError, redis.ResponseError)):
                stranger.execute_command(*command)
    with redis.Redis.from_url(guarded.url) as ours:
        assert ours.ping()
        assert ours.dbsize() == 0


def test_the_password_stands_in_no_list_of_processes(guarded: EmbeddedRedis) -> None:
    assert guarded.process is not None
    told = Path(f"/proc/{guarded.process.pid}/cmdline")
    if told.exists():
        assert b"the-password" not in told.read_bytes()
    assert "the-password" not in repr(guarded)
    assert "the-password" not in (guarded.folder / "redis.log").read_text()


# ---------------------------------------------------------------- all of it, as a person starts it


@dataclass(frozen=True, slots=True)
class Dev:
    folder: Path
    ports: Ports
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder = tmp_path_factory.mktemp("dev") / "data"
    *five, mail_in, mail_operator, console = quiet_ports(8)
    ports = Ports(*five, mail_in=mail_in, mail_operator=mail_operator, console=console)
    words = ["--folder", str(folder), "--port", ports.public, "--operator-port", ports.operator]
    words += ["--worker-port", ports.worker, "--page-port", ports.page, "--mail-port", ports.mail]
    words += ["--mail-in-port", ports.mail_in, "--mail-in-operator-port", ports.mail_operator]
    words += ["--console-port", ports.console]
    log = folder.parent / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "dcbridge", "dev", *map(str, words)],
            cwd=ROOT, stdout=said, stderr=said, umask=0,
        )  # fmt: skip

    def up() -> bool:
        assert process.poll() is None, log.read_text()
        return "dcbridge is running" in log.read_text()

    try:
        until(up, "it runs")
        yield Dev(folder, ports, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_nothing_in_its_folder_is_open_to_others_even_with_umask_000(dev: Dev) -> None:
    told = {"to": "16504661149", "text": "hello", "wait": True}
    with httpx.Client(trust_env=False) as client:
        client.post(f"http://127.0.0.1:{dev.ports.page}/sandbox/agent/sms", json=told).raise_for_status()
    assert {"redis", "journal", "env", "bridge.yaml", "app_secret"} <= {path.name for path in dev.folder.iterdir()}
    assert open_to_others(dev.folder) == []


def test_its_redis_has_the_password_of_the_env_file_and_no_other(dev: Dev) -> None:
    environment = dict(
        line.removeprefix("export ").split("=", 1) for line in (dev.folder / "env").read_text().splitlines()
    )
    url = environment["DCBRIDGE_REDIS_URL"]
    assert read(dev.folder, "redis_password") in url
    with redis.Redis.from_url(url) as ours:
        assert ours.ping()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    script = f". {dev.folder}/env; dcbridge books --json"
    assert subprocess.run(["sh", "-euc", script], cwd=ROOT, capture_output=True).returncode == 0


PLACES = [
    ("page", "/"), ("page", "/sandbox/state"), ("page", "/sandbox/events"), ("page", "/page.js"),
    ("page", "/sandbox/setting"), ("page", "/nothing"),
    ("operator", "/metrics"), ("operator", "/healthz"), ("worker", "/metrics"), ("worker", "/readyz"),
    ("console", "/"), ("console", "/readyz"), ("console", "/static/console.css"),
]  # fmt: skip


@pytest.mark.parametrize(("port", "path"), PLACES)
def test_a_page_whose_name_was_made_to_lead_here_reads_nothing(dev: Dev, port: str, path: str) -> None:
    at = getattr(dev.ports, port)
    with httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{at}") as client:
        for host in ("evil.example", f"evil.example:{at}", f"127.0.0.1.evil.example:{at}"):
            refused = client.get(path, headers={"Host": host})
            assert (refused.status_code, len(refused.content) < 200) == (421, True)
        if path not in ("/nothing", "/sandbox/events"):
            for host in (f"localhost:{at}", f"127.0.0.1:{at}", f"[::1]:{at}"):
                assert client.get(path, headers={"Host": host}).status_code == 200


BUTTONS = ["agent/sms", "agent/email", "agent/raw", "interaction", "consumer/sms", "control", "reset"]
FOREIGN: list[tuple[str, dict[str, str], int]] = [
    ("another page's origin", {"Origin": "http://evil.example"}, 403),
    ("this name on another port", {"Origin": "http://127.0.0.1:1"}, 403),
    ("a page in a sandboxed frame", {"Origin": "null"}, 403),
    ("an origin that ends like ours", {"Origin": "http://evil.example/HOST"}, 403),
    ("a site of its own", {"Sec-Fetch-Site": "cross-site"}, 403),
    ("another port of this computer", {"Sec-Fetch-Site": "same-site"}, 403),
    ("a form", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ("a text", {"Content-Type": "text/plain"}, 415),
    ("a text that names JSON", {"Content-Type": "text/plain; application/json"}, 415),
    ("a form with files", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ("nothing said of the body", {"Content-Type": ""}, 415),
]


@pytest.mark.parametrize("button", BUTTONS)
def test_another_page_presses_no_button(dev: Dev, button: str) -> None:
    host = f"127.0.0.1:{dev.ports.page}"
    with httpx.Client(trust_env=False, base_url=f"http://{host}/sandbox/") as client:
        for what, headers, status in FOREIGN:
            told = {"Content-Type": "application/json"} | {k: v.replace("HOST", host) for k, v in headers.items()}
            assert client.post(button, content=b"{}", headers=told).status_code == status, what
        assert client.get(button, headers={"Origin": "http://evil.example"}).status_code in (200, 405)
        allowed = client.options(
            button, headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        )
        assert "access-control-allow-origin" not in allowed.headers


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://HOST"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
def test_the_page_itself_and_a_script_press_them(dev: Dev, headers: dict[str, str]) -> None:
    host = f"127.0.0.1:{dev.ports.page}"
    told = {name: value.replace("HOST", host) for name, value in headers.items()}
    with httpx.Client(trust_env=False) as client:
        answer = client.post(f"http://{host}/sandbox/consumer/sms", json={"from": "1", "text": "x"}, headers=told)
        assert (answer.status_code, "E.164" in answer.text) == (400, True)


def test_no_other_page_puts_it_into_a_frame(dev: Dev) -> None:
    with httpx.Client(trust_env=False) as client:
        policy = client.get(f"http://127.0.0.1:{dev.ports.page}/").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
