"""The processes of a whole bridge on one computer, and the folder that they share.

Redis, the sandbox (both outside worlds), the service and a worker are processes of their own, as in
production. `dcbridge dev` starts them for a person, the tests start them to break them.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from dcbridge.cli.dev import cloud, companies, own_messages
from dcbridge.cli.dev.private_files import UMASK, make_private_folder, tighten, write_private

STOP_WAIT = 25.0  # seconds for a part to end by itself


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, all on 127.0.0.1. Redis takes a free port of its own.

    `mail_in` takes consumers' mail by LMTP, and `mail_operator` says whether it does; neither is in bridge.yaml.
    `console` 0: none.
    `bridge_at` and `digital_channels_at` are where each side finds the other, when something listens
    in between; 0 for nothing.
    """

    public: int = 8080
    operator: int = 8081
    worker: int = 8082
    page: int = 8090
    mail: int = 8025
    smsc: int = 2775
    bridge_at: int = 0
    digital_channels_at: int = 0
    mail_in: int = field(default=8024, repr=False, kw_only=True)
    mail_operator: int = field(default=8083, repr=False, kw_only=True)
    console: int = field(default=8091, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A process of ours; it is over when its process is."""

    name: str
    process: subprocess.Popen[str]


_YAML = """\
# Made by `dcbridge dev` at its first start; change it and start again.
public_url: http://127.0.0.1:{public}

digital_channels:
  base_url: http://127.0.0.1:{digital_channels_at}/nexus/v3
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
    inbound:
      addresses: [{mailbox}]
      authserv_id: mail.sandbox.invalid
      reply_reference: plus

subscribers:
  sandbox:
    sink:
      kind: http
      url: http://127.0.0.1:{page}/subscriber
      secrets:
        - file:subscriber_secret
      allow: [127.0.0.1]
    events:
      - "*"
      - interaction.gap
      - subscriber.failing
      - subscriber.recovered
      - subscriber.disabled
      - subscriber.enabled
      - delivery.dead
      - consent.stopped
      - consent.started
    retry:
      waits: [2, 4, 8, 16, 32]
"""

_WORK_ITEMS = """\
  work-items:
    sink:
      kind: openmedia
      url: http://127.0.0.1:{page}/nexus/v3
      service: bridge-tasks
      api_key: file:genesys_api_key
      show: [address, text]
    retry:
      waits: [2, 4, 8, 16, 32]
"""

MAILBOX = "care@company.com"  # where consumers write to
NUMBER = "+15557650123"  # what the sandbox's SMS provider calls our channel


def prepare(
    folder: Path, ports: Ports, kinds: Sequence[str] = (), spare: str = "", *, items: bool = False, own: bool = False
) -> None:
    """Make the folder, its secrets and its bridge.yaml where they are missing; the ports may change.

    `kinds` are companies that are added to bridge.yaml, and "open-messaging"; `spare` is one that takes over from
    Twilio. `items`: with a subscriber that makes work items of dead letters; `own`: with answers, calls and a trigger.
    All of it is its user's alone, also what an earlier version made. Raises NotOurFolder and CannotAdd.
    """
    make_private_folder(folder, holds="app_secret")
    write_private(folder / ".gitignore", "*\n")
    values = {
        "app_secret": secrets.token_hex(20),
        "twilio_auth_token": secrets.token_hex(16),
        "mail_callback_secret": secrets.token_hex(16),
        "subscriber_secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "trigger_secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "genesys_api_key": secrets.token_hex(16),
        "genesys_client_secret": secrets.token_hex(16),
        "genesys_line_password": secrets.token_hex(16),
        "token_key": secrets.token_hex(32),
        "redis_password": secrets.token_hex(32),
        "account_sid": "AC" + secrets.token_hex(16),
        "contact_center_id": str(uuid.uuid4()),
    }
    for name, value in values.items():
        path = folder / name
        if not path.exists():
            write_private(path, value + "\n")
    text = (_YAML + (_WORK_ITEMS if items else "")).format(
        public=ports.bridge_at or ports.public,
        page=ports.page,
        digital_channels_at=ports.digital_channels_at or ports.page,
        mail=ports.mail,
        number=NUMBER,
        mailbox=MAILBOX,
        account_sid=read(folder, "account_sid"),
        contact_center_id=read(folder, "contact_center_id"),
    )
    if own:
        text = text.replace("    unknown_grace: 3\n", "    unknown_grace: 3\n" + own_messages.ANSWERS, 1)
        text += own_messages.TRIGGERS + own_messages.GENESYS.format(page=ports.page)
    path, made_for = folder / "bridge.yaml", folder / "ports"
    spare = spare or companies.spare(path)
    with_cloud = cloud.NAME in kinds or cloud.added(path)
    kinds = [kind for kind in kinds if kind != cloud.NAME]
    kinds = list(dict.fromkeys([*companies.added(path), *kinds, *([spare] if spare else [])]))
    if not path.exists() or (ports != Ports() and (not made_for.exists() or made_for.read_text() != f"{ports}\n")):
        write_private(path, text)
    write_private(made_for, f"{ports}\n")
    companies.add(folder, kinds, ports.page, ports.smsc)
    if with_cloud:
        cloud.add(folder, ports.page)
    if spare:
        companies.set_spare(folder, spare)
    for name in (*values, "bridge.yaml", "env", "redis", "journal", "blobs"):
        tighten(folder / name)


def read(folder: Path, name: str) -> str:
    """One of the values that `prepare` made."""
    return (folder / name).read_text().strip()


def environment(folder: Path, ports: Ports, redis_url: str) -> dict[str, str]:
    """What the service and the worker are told: nothing of this process' own DCBRIDGE_ settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DCBRIDGE_")}
    return kept | {
        "DCBRIDGE_CONFIG": str(folder / "bridge.yaml"),
        "DCBRIDGE_REDIS_URL": redis_url,
        "DCBRIDGE_JOURNAL": str(folder / "journal"),
        "DCBRIDGE_PUBLIC_HOST": "127.0.0.1",
        "DCBRIDGE_PUBLIC_PORT": str(ports.public),
        "DCBRIDGE_OPERATOR_PORT": str(ports.operator),
        "DCBRIDGE_WORKER_PORT": str(ports.worker),
        "DCBRIDGE_MAIL_HOST": "127.0.0.1",
        "DCBRIDGE_MAIL_PORT": str(ports.mail_in),
        "DCBRIDGE_MAIL_OPERATOR_PORT": str(ports.mail_operator),
        "DCBRIDGE_CONSOLE_PORT": str(ports.console),
        "DCBRIDGE_BLOB_FOLDER": str(folder / "blobs"),
        "DCBRIDGE_TOKEN_KEY": read(folder, "token_key"),
        "DCBRIDGE_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }


def write_env(folder: Path, ports: Ports, redis_url: str) -> Path:
    """A file for a shell: after `. <file>` it finds `dcbridge`, whose commands speak to this bridge.

    It holds the key of the tokens and the password of Redis.
    """
    told = environment(folder, ports, redis_url)
    names = ("DCBRIDGE_CONFIG", "DCBRIDGE_REDIS_URL", "DCBRIDGE_JOURNAL", "DCBRIDGE_TOKEN_KEY")
    path = folder / "env"
    lines = [f"export {name}={shlex.quote(told[name])}\n" for name in names]
    write_private(path, "".join([*lines, f'export PATH={shlex.quote(str(_command_folder()))}:"$PATH"\n']))
    return path


def _command_folder() -> Path:
    """Where the `dcbridge` that runs is; for `python -m dcbridge`, where its Python keeps commands."""
    command = Path(sys.argv[0])
    return command.absolute().parent if command.name == "dcbridge" else Path(sysconfig.get_path("scripts"))


def sandbox_arguments(folder: Path, ports: Ports, told: Mapping[str, object] | None = None) -> list[str]:
    """How Python starts the sandbox. `told` changes other values of its config."""
    numbers = (ports.bridge_at or ports.public, ports.page, ports.mail)
    values = {"mail_in_port": ports.mail_in if companies.takes_mail(folder) else 0, **(told or {})}
    return ["-m", "dcbridge.cli.dev.sandbox_process", str(folder), *map(str, numbers), json.dumps(values)]


SERVICE = ["-m", "dcbridge", "serve"]
WORKER = ["-m", "dcbridge", "worker"]
MAIL_IN = ["-m", "dcbridge", "mail-in"]
CONSOLE = ["-m", "dcbridge", "console", "serve", "--dev"]


def start(
    name: str, arguments: list[str], environ: Mapping[str, str], follow: Callable[[str, subprocess.Popen[str]], None]
) -> Part:
    """Start one part; `follow` reads what it says, in a thread of its own."""
    # A session of its own, so that Ctrl-C reaches this process alone and the parts are stopped in order.
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        umask=UMASK,
    )
    part = Part(name, process)
    threading.Thread(target=follow, args=(name, process), daemon=True).start()
    return part


def stop_all(parts: list[Part]) -> None:
    """The worlds last: what is in flight may still need them."""
    for part in reversed(parts):
        if part.process.poll() is None:
            part.process.send_signal(signal.SIGTERM)
            try:
                part.process.wait(STOP_WAIT)
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()


def wait_until_ready(ports: Ports, parts: list[Part], stop: threading.Event, seconds: float = 60.0) -> bool:
    """True when every part answers; False when one ended, `stop` was set or time ran out."""
    urls = [
        f"http://127.0.0.1:{ports.page}/sandbox/state",
        f"http://127.0.0.1:{ports.operator}/readyz",
        f"http://127.0.0.1:{ports.worker}/readyz",
        *(f"http://127.0.0.1:{ports.mail_operator}/readyz" for part in parts if part.name == "mail-in"),
        *(f"http://127.0.0.1:{ports.console}/readyz" for part in parts if part.name == "console"),
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
