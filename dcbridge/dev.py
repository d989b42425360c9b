"""`dcbridge dev`: everything on one computer, and one readable log.

Redis, the sandbox (both outside worlds), the service and a worker are processes of their own, as in
production; what is kept (Redis' append-only file, the secrets, bridge.yaml) is in one folder and is
found again by the next start.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx

from dcbridge.embedded_redis import EmbeddedRedis, NoRedisFound, free_port
from dcbridge.log_lines import Printer

STOP_WAIT = 25.0  # seconds for a part to end by itself


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, all on 127.0.0.1. Redis takes a free port of its own."""

    public: int = 8080
    operator: int = 8081
    worker: int = 8082
    page: int = 8090
    mail: int = 8025


@dataclass(frozen=True, slots=True)
class Part:
    """A process of ours; it is over when its process is."""

    name: str
    process: subprocess.Popen[str]


_YAML = """\
# Made by `dcbridge dev` at its first start; change it and start again.
public_url: http://127.0.0.1:{public}

digital_channels:
  base_url: http://127.0.0.1:{page}/nexus/v3
  contact_center_id: {contact_center_id}

endpoints:
  main:
    secrets:
      - file:app_secret

interactions:
  main:
    secrets:
      - file:app_secret

providers:
  twilio:
    kind: twilio
    base_url: http://127.0.0.1:{page}
    account_sid: {account_sid}
    auth_token: file:twilio_auth_token
  mail:
    kind: smtp
    host: 127.0.0.1
    port: {mail}
    security: none
    callback_secret: file:mail_callback_secret

channels:
  "0123456789":
    type: sms
    provider: twilio
    number: "{number}"
    unknown_grace: 3
  company.com:
    type: email
    provider: mail
    delivered_when: confirmed
    unknown_grace: 3
"""

NUMBER = "+15557650123"  # what the sandbox's SMS provider calls our channel


def run(folder: Path, ports: Ports, *, demo: bool = False) -> int:
    """Start everything, wait for Ctrl-C or a part that ends, stop everything; the exit code."""
    folder = folder.resolve()
    if taken := [f"{name} {port}" for name, port in _ports(ports) if not _free(port)]:
        print(f"error: already in use: {', '.join(taken)}; see `dcbridge dev --help` to choose others", file=sys.stderr)
        return 2
    prepare(folder, ports)
    redis = EmbeddedRedis(folder / "redis", free_port())
    try:
        redis.start()
    except (NoRedisFound, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parts: list[Part] = []
    stop = threading.Event()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    previous = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    printer = Printer(sys.stdout, quiet=demo)
    code = 0
    try:
        environment = _environment(folder, ports, redis.url)
        for name, arguments in (
            (
                "sandbox",
                ["-m", "dcbridge.sandbox_process", str(folder), *map(str, (ports.public, ports.page, ports.mail))],
            ),
            ("service", ["-m", "dcbridge", "serve"]),
            ("worker", ["-m", "dcbridge", "worker"]),
        ):
            parts.append(_start(name, arguments, environment, printer))
        ready = _wait_until_ready(ports, parts, stop)
        if ready and demo:
            from dcbridge.demo import play

            code = play(folder, ports)
        elif ready:
            _welcome(ports, folder)
            while not stop.wait(0.3):
                if ended := [part for part in parts if part.process.poll() is not None]:
                    print(f"error: the {ended[0].name} ended by itself; see its last lines above", file=sys.stderr)
                    code = 1
                    break
        elif not stop.is_set():
            print("error: not everything came up; see the lines above", file=sys.stderr)
            code = 1
    finally:
        _stop(parts)
        redis.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if not demo:
        print(f"Stopped. What it knew is in {folder.name}/ for the next start.")
    return code


def prepare(folder: Path, ports: Ports) -> None:
    """Make the folder, its secrets and its bridge.yaml where they are missing; the ports may change."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    for name, value in (
        ("app_secret", secrets.token_hex(20)),
        ("twilio_auth_token", secrets.token_hex(16)),
        ("mail_callback_secret", secrets.token_hex(16)),
        ("token_key", secrets.token_hex(32)),
        ("account_sid", "AC" + secrets.token_hex(16)),
        ("contact_center_id", str(uuid.uuid4())),
    ):
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(value + "\n")
    text = _YAML.format(
        public=ports.public,
        page=ports.page,
        mail=ports.mail,
        number=NUMBER,
        account_sid=read(folder, "account_sid"),
        contact_center_id=read(folder, "contact_center_id"),
    )
    path = folder / "bridge.yaml"
    if not path.exists() or ports != Ports():
        path.write_text(text)


def read(folder: Path, name: str) -> str:
    """One of the values that `prepare` made."""
    return (folder / name).read_text().strip()


def _environment(folder: Path, ports: Ports, redis_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DCBRIDGE_")}
    return kept | {
        "DCBRIDGE_CONFIG": str(folder / "bridge.yaml"),
        "DCBRIDGE_REDIS_URL": redis_url,
        "DCBRIDGE_PUBLIC_HOST": "127.0.0.1",
        "DCBRIDGE_PUBLIC_PORT": str(ports.public),
        "DCBRIDGE_OPERATOR_PORT": str(ports.operator),
        "DCBRIDGE_WORKER_PORT": str(ports.worker),
        "DCBRIDGE_TOKEN_KEY": read(folder, "token_key"),
        "DCBRIDGE_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


def _start(name: str, arguments: list[str], environment: dict[str, str], printer: Printer) -> Part:
    # A session of its own, so that Ctrl-C reaches this process alone and the parts are stopped in order.
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    part = Part(name, process)
    threading.Thread(target=printer.follow, args=(name, process), daemon=True).start()
    return part


def _stop(parts: list[Part]) -> None:
    """The worlds last: what is in flight may still need them."""
    for part in reversed(parts):
        if part.process.poll() is None:
            part.process.send_signal(signal.SIGTERM)
            try:
                part.process.wait(STOP_WAIT)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()


def _wait_until_ready(ports: Ports, parts: list[Part], stop: threading.Event, seconds: float = 60.0) -> bool:
    urls = [
        f"http://127.0.0.1:{ports.page}/sandbox/state",
        f"http://127.0.0.1:{ports.operator}/readyz",
        f"http://127.0.0.1:{ports.worker}/readyz",
    ]
    deadline = time.monotonic() + seconds
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while urls and time.monotonic() < deadline and not stop.is_set():
            if any(part.process.poll() is not None for part in parts):
                return False
            try:
                if client.get(urls[0]).status_code == 200:
                    urls.pop(0)
                    continue
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
    return not urls


def _welcome(ports: Ports, folder: Path) -> None:
    print(
        f"\n  dcbridge is running.\n\n"
        f"  Write as the agent, answer as the consumer:  http://127.0.0.1:{ports.page}/\n"
        f"  Health and metrics:                          http://127.0.0.1:{ports.operator}/metrics\n"
        f"  Configuration and data:                      {folder.name}/\n\n"
        f"  Ctrl-C stops all of it.\n",
        flush=True,
    )


def _ports(ports: Ports) -> list[tuple[str, int]]:
    return [
        ("public port", ports.public),
        ("operator port", ports.operator),
        ("worker port", ports.worker),
        ("page port", ports.page),
        ("mail port", ports.mail),
    ]


def _free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
