"""A bridge with subscribers that are well, slow, failing or throttling, and many webhooks about interactions."""

from __future__ import annotations

import asyncio
import secrets
import sys
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import yaml

from benchmarks.messages import http_post
from dcbridge.genesys import signature
from tests.stack import Stack, quiet_port, until

WELL = ("well-1", "well-2")
SICK = {"hangs": "slow", "fails": "failing", "throttles": "throttling"}
SECRET = "whsec_" + "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
WEBHOOK = "/webhooks/interactions/main"


class EventStack:
    """A service, a worker and receivers. Used as a context manager."""

    def __init__(self, sick: Mapping[str, str] | None = None, **more: Any) -> None:
        """`sick`: subscribers by name, and what is wrong with each; `more` are fields of every subscriber."""
        self.port = quiet_port()
        self.names = [*WELL, *(sick or {})]
        kinds = {**dict.fromkeys(WELL, "well"), **(sick or {})}
        self.stack = Stack(parts=("service", "worker"), settings={"DCBRIDGE_LEASE": "36"})
        self.configure({name: self.subscriber(kind, name, **more) for name, kind in kinds.items()})

    def subscriber(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        """What bridge.yaml says of one."""
        url = f"http://127.0.0.1:{self.port}/{kind}/{name}"
        sink = {"kind": "http", "url": url, "secrets": [SECRET], "timeout": 30, "allow": ["127.0.0.1"]}
        return {"sink": sink, **more}

    def configure(self, subscribers: Mapping[str, object]) -> None:
        """Write bridge.yaml with these subscribers, and breakers that are looked at often."""
        path = self.stack.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["subscribers"] = dict(subscribers)
        path.write_text(yaml.safe_dump(told))

    def __enter__(self) -> Self:
        self.stack.run("receivers", [sys.executable, "-m", "benchmarks.receivers", str(self.port)])
        try:
            self.stack.__enter__()
            until(self._receivers_answer, "the receivers answer")
        except BaseException:
            self.stack.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self.stack.stop()

    def _receivers_answer(self) -> bool:
        try:
            self.counts()
        except httpx.HTTPError:
            return False
        return True

    def counts(self) -> dict[str, int]:
        """Requests that each subscriber has had."""
        found: dict[str, int] = self.stack.client.get(f"http://127.0.0.1:{self.port}/counts").json()
        return found

    def heard(self, name: str) -> list[tuple[str, float, float]]:
        """(webhook-id, Unix time, milliseconds since the event was received) of each request."""
        found = self.stack.client.get(f"http://127.0.0.1:{self.port}/heard/{name}").json()
        return [(one[0], one[1], one[2]) for one in found]

    def tell(self, batches: Sequence[bytes], seconds: float) -> Told:
        """Post these batches, evenly over so many seconds, each until it is answered 200."""
        return asyncio.run(_Teller(self.stack.ports.public, self.stack.secret).tell(batches, seconds))

    def wait_for(self, events: int, seconds: float) -> None:
        """Until every well subscriber has heard as many ids."""

        def all_heard() -> bool:
            counts = self.counts()
            if min(counts.get(name, 0) for name in WELL) < events:
                return False
            return all(len({one[0] for one in self.heard(name)}) >= events for name in WELL)

        until(all_heard, "the well subscribers have all events", seconds, pause=0.5)


def batches_of(interactions: int, per_batch: int = 1) -> list[bytes]:
    """STARTED of each, and then FINISHED of each: twice as many events as interactions."""
    ids = [str(uuid.uuid4()) for _ in range(interactions)]
    entities = [
        {
            "event": event,
            "entity": {
                "id": one,
                "mediaType": "chat",
                "interactionSubtype": "InboundNew",
                "selfUri": f"NexusURL/nexus/v3/chat/sessions/49a0ed5c-77b8-4091-a0c2-1d904ff709b0/{one}",
            },
        }
        for event in ("STARTED", "FINISHED")
        for one in ids
    ]
    return [
        orjson.dumps({"operationId": str(uuid.uuid4()), "data": {"entities": entities[at : at + per_batch]}})
        for at in range(0, len(entities), per_batch)
    ]


@dataclass(slots=True)
class Told:
    """What became of the webhooks. `statuses` of every attempt; 0 is no answer."""

    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def again(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)


class _Teller:
    """Digital Channels, as far as it tells of interactions: a batch is sent again until it is answered 200."""

    CONNECTIONS = 16

    def __init__(self, port: int, secret: bytes) -> None:
        self._port, self._secret = port, secret
        self._told = Told()

    async def tell(self, batches: Sequence[bytes], seconds: float) -> Told:
        began = asyncio.get_running_loop().time()
        rest = iter(enumerate(batches))
        gap = seconds / max(1, len(batches))
        await asyncio.gather(*(self._speak(rest, began, gap) for _ in range(self.CONNECTIONS)))
        return self._told

    async def _speak(self, rest: Any, began: float, gap: float) -> None:
        loop = asyncio.get_running_loop()
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number, body in rest:
            await asyncio.sleep(max(0.0, began + number * gap - loop.time()))
            raw = http_post(WEBHOOK, body, {signature.HEADER: signature.sign(self._secret, body)})
            while True:
                try:
                    if streams is None:
                        streams = await asyncio.open_connection("127.0.0.1", self._port)
                    async with asyncio.timeout(10):
                        status = await _exchange(streams, raw)
                except (OSError, asyncio.IncompleteReadError, TimeoutError):
                    status = 0
                    if streams is not None:
                        streams[1].close()
                        streams = None
                self._told.statuses[status] += 1
                if status == 200:
                    break
                await asyncio.sleep(0.2 + secrets.randbelow(200) / 1000)
        if streams is not None:
            streams[1].close()


async def _exchange(streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], raw: bytes) -> int:
    reader, writer = streams
    writer.write(raw)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    await reader.readexactly(length)
    return int(head[9:12])
