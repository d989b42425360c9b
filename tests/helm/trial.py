"""The chart's trial, run: Redis, the sandbox, the service and the workers as the rendered objects say."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from dcbridge.ledger.reports.books import Books
from dcbridge.ledger.reports.books import read as read_books
from tests.helm.charts import Json, objects, over, values
from tests.helm.kubelet import Namespace, Pod, running, until

REDIS, SANDBOX = ("StatefulSet", "dcbridge-redis"), ("Deployment", "dcbridge-sandbox")
SERVICE, WORKER = ("Deployment", "dcbridge-service"), ("Deployment", "dcbridge-worker-main")
PORTS = ("8025", "8080", "8081", "8082", "8090")  # of the chart; whoever runs the tests may have them in use


def secret() -> dict[str, str]:
    """What the README's first command puts into the Secret."""
    return {
        "token-key": secrets.token_hex(32),
        "redis-password": secrets.token_hex(16),
        "app_secret": secrets.token_hex(20),
        "twilio_auth_token": secrets.token_hex(16),
        "mail_callback_secret": secrets.token_hex(16),
        "subscriber_secret": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "account_sid": "AC" + secrets.token_hex(16),
        "contact_center_id": str(uuid.uuid4()),
    }


class Trial:
    """A namespace with the trial in it. Pods are started by whoever uses it."""

    def __init__(self, namespace: Namespace, ports: dict[str, str]) -> None:
        self.namespace, self._secret = namespace, namespace.cluster.secret
        self.client = httpx.Client(trust_env=False, timeout=15.0)
        self.sandbox = f"http://{namespace.address('dcbridge-sandbox')}:{ports['8090']}/sandbox"
        self.service = f"http://{namespace.address('dcbridge')}"

    def start(self, *parts: tuple[str, str], suffix: str = "0") -> list[Pod]:
        return [self.namespace.run(*part, suffix=suffix) for part in parts]

    def ready(self, *pods: Pod, seconds: float = 90.0) -> None:
        def all_are() -> bool:
            for pod in pods:
                process = pod.container.process
                assert process is not None
                assert process.poll() is None, f"{pod.name} ended by itself:\n{pod.container.said()[-2000:]}"
            return all(pod.ready for pod in pods)

        until(all_are, f"{', '.join(pod.name for pod in pods)} ready", seconds)

    def books(self) -> Books:
        async def look() -> Books:
            async with self._redis() as redis:
                return await read_books(redis)

        return asyncio.run(look())

    def redis_config(self, pattern: str) -> dict[Any, Any]:
        async def look() -> dict[Any, Any]:
            async with self._redis() as redis:
                return await redis.config_get(pattern)

        return asyncio.run(look())

    def _redis(self) -> Redis:
        return Redis(host=self.namespace.address("dcbridge-redis"), password=self._secret["redis-password"])

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"{self.sandbox}/state").json()
        return found

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = self.client.get(f"{self.sandbox}/counts").json()
        return found


def free_ports() -> dict[str, str]:
    """Port of the chart -> one that is free on every address of this computer, which is what a pod asks for."""
    with ExitStack() as held:
        found = [held.enter_context(socket.socket()) for _ in PORTS]
        for one in found:
            one.bind(("", 0))
        return {port: str(one.getsockname()[1]) for port, one in zip(PORTS, found, strict=True)}


@contextmanager
def trial(folder: Path, changes: Json | None = None, images: tuple[Path, Path] | None = None) -> Iterator[Trial]:
    ports = free_ports()
    named = re.compile(rf"\b(?:{'|'.join(PORTS)})\b")
    rendered = json.dumps(objects(over(values("values-trial"), changes or {})))
    found = json.loads(named.sub(lambda port: ports[port[0]], rendered))
    with running(folder, found, secret(), images) as namespace:
        inside = Trial(namespace, ports)
        try:
            yield inside
        finally:
            inside.client.close()


class Load:
    """Agents who write while something else happens; used as a context manager."""

    def __init__(self, inside: Trial, pause: float = 0.02) -> None:
        self._trial, self._pause = inside, pause
        self.sent = 0
        self.states: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with httpx.Client(trust_env=False, timeout=60.0) as client:
            while not self._stop.wait(self._pause):
                told = {"to": f"1650253{self.sent:04d}", "text": f"message {self.sent}", "wait": True}
                self.states.append(client.post(f"{self._trial.sandbox}/agent/sms", json=told).json()["state"])
                self.sent += 1

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


class Knocks:
    """Somebody who opens a connection for each request, as health checks of load balancers do."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.answered = self.failed = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._knock)

    def _knock(self) -> None:
        while not self._stop.wait(0.03):
            connection = http.client.HTTPConnection(self._address, 80, timeout=15)
            try:
                connection.request("GET", "/nobody-home")
                self.answered += connection.getresponse().status == 404
            except (OSError, http.client.HTTPException):
                self.failed += 1
            finally:
                connection.close()

    def __enter__(self) -> Knocks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


def roll(inside: Trial, part: tuple[str, str], old: list[Pod]) -> tuple[list[Pod], list[int]]:
    """A rolling update as the Deployment's strategy says: (new pods, exit codes of the old ones)."""
    strategy = inside.namespace.strategy(part[1])
    assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
    new, codes = [], []
    for number, leaving in enumerate(old):
        [coming] = inside.start(part, suffix=f"new-{number}")
        inside.ready(coming)
        new.append(coming)
        codes.append(leaving.delete())
    return new, codes


def settled(inside: Trial, messages: int) -> Books:
    """Wait until each message has its receipt and nothing is in flight; the books."""

    def still() -> bool:
        books = inside.books()
        owed = sum(channel.receipts_waiting for channel in books.channels)
        ended = sum(channel.delivered + channel.failed for channel in books.channels)
        return ended >= messages and not books.in_flight and not owed and not sum(books.tasks.values())

    until(still, "nothing is in flight", 90)
    time.sleep(0.2)
    return inside.books()
