"""A whole bridge as real processes in a folder of its own, to be watched, and broken, by the tests.

Redis, the sandbox (both outside worlds), the service and a worker listen on free ports; each can be
killed, stopped and started again by itself. Whatever a part says is kept in a file of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self, TextIO, TypeVar
from urllib.parse import urlencode

import httpx
import orjson
import redis
import yaml
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.cli.dev.processes import SERVICE, WORKER, Ports, environment, prepare, read, sandbox_arguments
from dcbridge.genesys import signature
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports.books import Books
from dcbridge.ledger.reports.books import read as read_books
from dcbridge.messages import message_ref
from tests import warm
from tests.warm import Process

T = TypeVar("T")
SMS, EMAIL = "0123456789", "company.com"  # the channels
ROOT = Path(__file__).parent.parent
PATIENCE = 90.0  # seconds; a test that waits longer than this has failed

# Short waits, so that what is left behind is found soon. A lease outlasts the four timeouts by 5 seconds.
SETTINGS = {
    "DCBRIDGE_CONNECT_TIMEOUT": "0.5",
    "DCBRIDGE_WRITE_TIMEOUT": "0.5",
    "DCBRIDGE_READ_TIMEOUT": "2.5",
    "DCBRIDGE_POOL_TIMEOUT": "0.5",
    "DCBRIDGE_LEASE": "9",
    "DCBRIDGE_REDIS_TIMEOUT": "1.5",
    "DCBRIDGE_ANSWER_WITHIN": "5",
    "DCBRIDGE_RECONCILE_EVERY": "0.2",
    "DCBRIDGE_RECEIPT_LINGER": "0.02",
}
RETRY = {"first": 0.1, "factor": 2.0, "most": 1.0, "jitter": 0.5}
SANDBOX = {
    "retry_timeout": 0.3,
    "retry_attempts": 400,
    "status_delay": 0.05,
    "slow_answer": 0.5,
    "retry_after": 1,
}


def until(found: Callable[[], T | None], what: str, seconds: float = PATIENCE, pause: float = 0.05) -> T:
    """The first true value that `found` gives; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {seconds:g} s; the last value was {value!r}")


def quiet_port() -> int:
    """A free port that the kernel will not lend to an outgoing connection while its owner is down.

    It belongs to this process until that ends: no other process of any run of these tests gets it meanwhile.
    """
    for _ in range(1000):
        port = random.randrange(15_000, 32_000)
        if port in _PORTS or not _reserve(port):
            continue
        _PORTS.add(port)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


_PORTS: set[int] = set()  # that this process has taken


@cache
def _reservations() -> TextIO:
    """A file of which each process locks the bytes whose numbers are its ports; a lock ends with its process."""
    path = Path(tempfile.gettempdir(), f"dcbridge-test-ports-{os.getuid()}")
    return path.open("a+")


def _reserve(port: int) -> bool:
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def quiet_ports(count: int) -> list[int]:
    """As many, no two of them the same."""
    found: set[int] = set()
    while len(found) < count:
        found.add(quiet_port())
    return list(found)


class Stack:
    """Used as a context manager: everything runs inside, and nothing of it is left after."""

    warm = True  # False: each process is started as an operator's would be, and pays for its imports

    def __init__(
        self,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        sandbox: Mapping[str, object] | None = None,
        channels: Mapping[str, Mapping[str, object]] | None = None,
        providers: Mapping[str, Mapping[str, object]] | None = None,
        parts: tuple[str, ...] = ("sandbox", "service", "worker"),
        companies: tuple[str, ...] = (),
        items: bool = False,
        own: bool = False,
    ) -> None:
        """`settings` and `sandbox` change the values above; `channels` and `providers` add to what bridge.yaml says;
        `companies` are those of `dcbridge dev --with`; `items`: dead letters become work items;
        `own`: with answers and calls by text.
        """
        self._own = None if folder else tempfile.TemporaryDirectory(prefix="dcbridge-test-", ignore_cleanup_errors=True)
        self.folder = (folder or Path(self._own.name if self._own else "")).resolve()
        *ports, redis_port, self.mail_in, mail_operator = quiet_ports(9)
        self.ports = Ports(*ports, mail_in=self.mail_in, mail_operator=mail_operator)
        self.redis = EmbeddedRedis(self.folder / "redis", redis_port)
        self.processes: dict[str, Process] = {}
        self._wanted = parts
        prepare(self.folder, self.ports, companies, items=items, own=own)
        self._configure(channels or {}, providers or {})
        self.secret = self.kept("app_secret").encode()
        told_to_all = environment(self.folder, self.ports, self.redis.url) | {"PYTHONPATH": str(ROOT)}
        if "mail-in" not in parts:
            del told_to_all["DCBRIDGE_BLOB_FOLDER"]
        self.environ = told_to_all | SETTINGS | dict(settings or {})
        told = {**SANDBOX, **(sandbox or {})}
        self._commands = {
            "sandbox": sandbox_arguments(self.folder, self.ports, told),
            "service": SERVICE,
            "worker": WORKER,
            "mail-in": ["-m", "dcbridge", "mail-in"],
        }
        self._ready = {
            "sandbox": f"http://127.0.0.1:{self.ports.page}/sandbox/counts",
            "service": f"http://127.0.0.1:{self.ports.operator}/readyz",
            "worker": f"http://127.0.0.1:{self.ports.worker}/readyz",
            "mail-in": f"http://127.0.0.1:{mail_operator}/readyz",
        }
        self.public = f"http://127.0.0.1:{self.ports.public}"
        # None is kept: threads share it, and httpcore closes one that expires between its choice and its use.
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=0)
        self.client = httpx.Client(trust_env=False, timeout=10.0, limits=limits)
        self._messages = random.randrange(10**9)

    def _configure(
        self, channels: Mapping[str, Mapping[str, object]], providers: Mapping[str, Mapping[str, object]]
    ) -> None:
        path = self.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["retry"] = RETRY
        for name in channels:
            told["channels"].setdefault(name, {})
        for name, channel in told["channels"].items():
            if "mail-in" not in self._wanted and name == EMAIL:
                channel.pop("inbound", None)
            channel.update({"unknown_grace": 0.5, **channels.get(name, {})})
            if "providers" in channel:
                channel.pop("provider", None)
        for name, provider in told["providers"].items():
            usual = {"list_lag": 1.0} if provider["kind"] == "twilio" else {}
            provider.update({**usual, **providers.get(name, {})})
        path.write_text(yaml.safe_dump(told))

    def __enter__(self) -> Self:
        try:
            self.redis.start()
            self.start(*self._wanted)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------ processes

    def start(self, *names: str, wait: bool = True) -> None:
        """Start these parts, and wait until each says that it is ready."""
        for name in names:
            self.run(name, [sys.executable, *self._commands[name]])
        if wait:
            for name in names:
                until(lambda name=name: self.is_ready(name), f"the {name} is ready")  # type: ignore[misc]

    def run(self, name: str, command: list[str]) -> Process:
        """Any process in the stack's environment; what it says goes to its log. Modules of ours start warm."""
        assert name not in self.processes or self.processes[name].poll() is not None, f"the {name} runs already"
        if self.warm and warm.can(command):
            self.processes[name] = warm.Warm(command, self.environ, self.log(name), self.log(name), ROOT)
        else:
            with self.log(name).open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, env=self.environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
        return self.processes[name]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`dcbridge …` in the stack's environment, to its end."""
        return warm.run([sys.executable, "-m", "dcbridge", *arguments], self.environ)

    def is_ready(self, name: str) -> bool:
        """Whether it answers. AssertionError with its last words when it ended by itself."""
        process = self.processes[name]
        assert process.poll() is None, f"the {name} ended with {process.poll()}:\n{self.said(name)[-3000:]}"
        try:
            return self.client.get(self._ready[name], timeout=2.0).status_code == 200
        except httpx.HTTPError:
            return False

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            self.processes[name].kill()
        for name in names:
            self.processes.pop(name).wait()

    def terminate(self, *names: str) -> list[int]:
        """SIGTERM, as every rolling deploy does; the exit codes."""
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        return [self.processes.pop(name).wait(60) for name in names]

    def restart(self, *names: str) -> None:
        self.terminate(*names)
        self.start(*names)

    def freeze_redis(self) -> None:
        """It holds its connections and answers nothing."""
        os.kill(self.redis_pid, signal.SIGSTOP)

    def thaw_redis(self) -> None:
        os.kill(self.redis_pid, signal.SIGCONT)

    @property
    def redis_pid(self) -> int:
        assert self.redis.process is not None
        return self.redis.process.pid

    def stop(self) -> None:
        """End what is running, gently at first, and remove the folder."""
        running = [self.processes[name] for name in ("worker", "service", "sandbox") if name in self.processes]
        running += [process for process in self.processes.values() if process not in running]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        if self.redis.process is not None:
            self.thaw_redis()
        self.redis.stop()
        self.client.close()
        if self._own is not None:
            self._own.cleanup()

    @property
    def rq_worker(self) -> list[str]:
        """RQ's own command, up to its options."""
        rq = str(Path(sys.executable).with_name("rq"))
        return [rq, "worker", "--url", self.redis.url, "--serializer", "rq.serializers.JSONSerializer"]

    # ------------------------------------------------------------ what is known

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """Everything that a part wrote to its standard output and error."""
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def lines(self, name: str, event: str) -> list[dict[str, Any]]:
        """The log lines of a part that tell of this event."""
        written = (line for line in self.said(name).splitlines() if line.startswith("{"))
        return [line for line in map(json.loads, written) if line.get("event") == event]

    def kept(self, name: str) -> str:
        """A secret or another value that the folder holds."""
        return read(self.folder, name)

    def books(self) -> Books:
        async def look() -> Books:
            async with Redis.from_url(self.redis.url) as connection:
                return await read_books(connection)

        return asyncio.run(look())

    def ledger(self) -> redis.Redis:
        """A plain connection, for a look at the keys."""
        return redis.Redis(port=self.redis.port)

    def ref(self, message_id: str, channel: str = SMS) -> str:
        """What the bridge calls this message."""
        return message_ref(channel, message_id)

    def entry(self, message_id: str, channel: str = SMS) -> MessageEntry:
        """What the ledger holds of one message, or of its first copy."""
        with self.ledger() as connection:
            found: Any = connection.hgetall(f"dcb:m:{self.ref(message_id, channel)}")
        return MessageEntry(found)

    def metrics(self, name: str) -> str:
        return self.client.get(self._ready[name].replace("readyz", "metrics")).text

    # ------------------------------------------------------------ the outside worlds

    def sandbox(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """GET without a body, POST with one; the JSON answer."""
        url = f"http://127.0.0.1:{self.ports.page}/sandbox/{path}"
        answer = self.client.get(url) if body is None else self.client.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return orjson.loads(answer.content)

    def control(self, **switches: Mapping[str, object]) -> None:
        self.sandbox("control", switches)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.sandbox("state")
        return found

    def recorded(self, what: str, **message: str) -> Any:
        """One part of that state, of "agent" perhaps the `id` alone; the rest is neither written nor read."""
        return self.sandbox(f"state?{urlencode({'only': what, **message})}")[what]

    def new_id(self) -> str:
        self._messages += 1
        return f"1613{self._messages:09d}-0"

    def new_number(self) -> str:
        """A consumer whom nobody has written to yet, as Digital Channels writes a number."""
        self._messages += 1
        return f"1650253{self._messages % 10_000:04d}"

    def agent_writes(self, to: str, text: str = "Agent message text", message_id: str | None = None) -> str:
        """An agent's SMS, taken by the bridge; its messageId."""
        message_id = message_id or self.new_id()
        made = self.sandbox("agent/sms", {"to": to, "text": text, "messageId": message_id, "wait": True})
        assert made["state"] == "accepted", made
        return message_id

    def agent_mails(self, *to: str, subject: str = "Subject", text: str = "Plain text email body") -> str:
        """An agent's email, taken by the bridge; its messageId."""
        people = [{"id": mailbox, "name": "Recipient"} for mailbox in to]
        made = self.sandbox("agent/email", {"to": people, "subject": subject, "text": text, "wait": True})
        assert made["state"] == "accepted", made
        return str(made["messageId"])

    def sends_raw(self, body: object, **more: object) -> dict[str, Any]:
        """A webhook of Digital Channels with this body, once; {"status", "body"} of the answer."""
        text = body if isinstance(body, str) else json.dumps(body)
        answer: dict[str, Any] = self.sandbox("agent/raw", {"body": text, **more})
        return answer

    def expects(self, body: Mapping[str, object]) -> None:
        """Digital Channels knows this message, though it has not sent it: its receipts will be understood."""
        assert self.sends_raw(body, headers={"X-Hub-Signature": None})["status"] == 401

    def webhook(
        self, body: bytes | Mapping[str, object], headers: Mapping[str, str] | None = None, endpoint: str = "main"
    ) -> httpx.Response:
        """A webhook of our own, signed as Digital Channels signs; nobody sends it again."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {"Content-Type": "application/json", signature.HEADER: signature.sign(self.secret, raw)}
        return self.client.post(
            f"{self.public}/webhooks/messages/{endpoint}", content=raw, headers={**usual, **(headers or {})}
        )

    def message(self, message_id: str, channel: str = SMS) -> dict[str, Any]:
        """What Digital Channels knows of a message it sent, receipts by recipient."""
        for found in self.recorded("agent", id=message_id):
            if (found["channel_id"], found["message_id"]) == (channel, message_id):
                return dict(found)
        raise AssertionError(f"{message_id} was never sent")

    def receipt(self, message_id: str, recipient: str = "", channel: str = SMS) -> dict[str, Any]:
        """Wait for the receipt of one copy: {"status", "reasons", "repeated"}."""

        def found() -> dict[str, Any] | None:
            receipts = self.message(message_id, channel)["receipts"]
            return receipts.get(recipient) if recipient else next(iter(receipts.values()), None)

        return until(found, f"a receipt for {message_id}")

    def texts_to(self, number: str) -> list[dict[str, Any]]:
        """What the SMS provider took for this number, in order."""
        return [sms for sms in self.sandbox("sms") if sms["to"] == "+" + number.lstrip("+")]

    def mails_to(self, mailbox: str) -> list[dict[str, Any]]:
        return [m for m in self.sandbox("mail") if any(r["address"] == mailbox for r in m["recipients"])]

    def violations(self) -> list[str]:
        """Rules of the contracts that the bridge broke, and receipts about messages that the sandbox never sent."""
        unseen = [f"unseen: {one['message_id']}" for one in self.recorded("agent") if one["state"] == "unseen"]
        return [f"{v['who']}: {v['rule']}: {v['detail']}" for v in self.recorded("violations")] + unseen

    def settled(self, seconds: float = PATIENCE) -> Books:
        """Wait until nothing is in flight and no receipt is owed; the books."""

        def still() -> Books | None:
            books = self.books()
            owed = sum(channel.receipts_waiting for channel in books.channels)
            return None if books.in_flight or owed or sum(books.tasks.values()) else books

        return until(still, "nothing is in flight", seconds, pause=0.1)


def sms_body(message_id: str, to: str, text: str = "Agent message text") -> dict[str, Any]:
    """The documented webhook of an agent's SMS."""
    return {
        "channel": {
            "id": SMS,
            "type": "sms",
            "from": {"id": SMS},
            "to": {"id": to},
            "messageId": message_id,
        },
        "type": "Text",
        "text": text,
    }
