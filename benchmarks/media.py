"""What consumers' pictures cost a worker in memory: one, and two hundred at once.

`python -m benchmarks.media PORT REDIS_PORT SIZE COUNT` is the worker: it fetches so many pictures from a company on
that port, uploads each to Digital Channels there, posts the messages, and prints its figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import cast

import orjson
import uvloop
from pydantic import SecretStr

from benchmarks.table import Line, column
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port

ACCOUNT, CHANNEL = "AC0123456789abcdef0123456789abcdef", "0123456789"
CONFIGURATION = """
public_url: http://127.0.0.1:8080
digital_channels: {{base_url: "{url}/nexus/v3", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [the-app-secret-of-now]}}}}
providers: {{twilio: {{kind: twilio, ask: false, base_url: "{url}", account_sid: {account}, auth_token: token}}}}
channels: {{"{channel}": {{type: sms, provider: twilio, number: "+15557650123"}}}}
"""


@dataclass(frozen=True, slots=True)
class Size:
    """`picture` in bytes; `together` at once."""

    picture: int = 5_000_000
    together: int = 200


SMALL = Size(picture=100_000, together=20)


class FarSide(asyncio.Protocol):
    """A company with pictures, and a Digital Channels that takes all and keeps nothing."""

    picture = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._head, self._left, self._reply = cast(asyncio.Transport, transport), b"", 0, b""

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, whole, data = self._head.partition(b"\r\n\r\n")
            if not whole:
                return
            self._head = b""
            self.begin(head)
        self._left -= len(data)
        if self._left <= 0:
            self._left = 0
            self._transport.write(self._reply)

    def begin(self, head: bytes) -> None:
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        self._left = int(length[0].partition(b":")[2]) if length else 0
        if head.startswith(b"GET "):
            body = self.picture
        elif b"/media " in head.partition(b"\r\n")[0]:
            data = {"mediaId": "6b1f7a4e-3f53-4b8a-9d65-0f2b7c1de0aa", "url": "genesys://nexus/1", "length": 1}
            body = orjson.dumps({"status": {"code": 0}, "data": data})
        else:
            body = b'{"status":{"code":0}}'
        self._reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _serve(port: int, size: int) -> None:
    async def serve() -> None:
        FarSide.picture = b"\xff\xd8\xff" + bytes(size - 3)
        server = await asyncio.get_running_loop().create_server(FarSide, "127.0.0.1", port, backlog=1024)
        await server.serve_forever()

    uvloop.run(serve())


def _memory(name: str) -> float:
    """VmRSS, or VmHWM since the last `_forget_peak`, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


async def _work(port: int, redis_port: int, size: int, count: int) -> dict[str, float]:
    from dcbridge.config.loader import parse
    from dcbridge.ledger import NewTask
    from dcbridge.settings.process import Settings
    from workers.consumer_messages import post_consumer_message
    from workers.context import open_context

    url = f"http://127.0.0.1:{port}"
    settings = Settings(redis_url=SecretStr(f"redis://127.0.0.1:{redis_port}/0"), token_key=SecretStr("0" * 16))
    written = CONFIGURATION.format(url=url, account=ACCOUNT, channel=CHANNEL)
    async with open_context(settings, parse(written, {})) as ctx:

        async def carried(task: str) -> None:
            """A worker that has many is sent some of them again, a little later."""
            while True:
                await post_consumer_message(ctx, task)
                if (await ctx.ledger.tasks.entry(task)).state != "waiting":
                    return
                await asyncio.sleep(0.1)

        async def carry(name: str, some: int) -> None:
            place = f"{url}/2010-04-01/Accounts/{ACCOUNT}/Messages/MM1/Media/ME1"
            payload = orjson.dumps({"from": "16504661149", "text": "Look", "media": [place], "provider": "twilio"})
            ids = [f"c-{os.getpid()}-{name}-{n}" for n in range(some)]
            await ctx.ledger.tasks.put([NewTask(one, "consumer", "", payload, "", CHANNEL) for one in ids])
            await asyncio.gather(*(carried(one) for one in ids))
            states = [(await ctx.ledger.tasks.entry(one)).state for one in ids]
            assert states == ["done"] * some, states

        await carry("warm", 1)
        _forget_peak()
        before, began = _memory("VmRSS:"), time.monotonic()
        await carry("some", count)
        seconds = time.monotonic() - began
        uploaded = ctx.metrics.registry.get_sample_value(
            "dcbridge_media_total", {"direction": "in", "outcome": "uploaded"}
        )
        assert uploaded == count + 1, uploaded
        return {"memory": max(0.01, _memory("VmHWM:") - before), "whole": _memory("VmHWM:"), "rate": count / seconds}


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """One at a time and many at once, each by a process of its own."""
    port = free_port()
    far_side = get_context("spawn").Process(target=_serve, args=(port, size.picture), daemon=True)
    far_side.start()
    redis = EmbeddedRedis(folder / "media", free_port())
    redis.start()
    try:
        one, many = list[dict[str, float]](), list[dict[str, float]]()
        for run in range(runs):
            del run
            for found, count in ((one, 1), (many, size.together)):
                arguments = map(str, (port, redis.port, size.picture, count))
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.media", *arguments], capture_output=True, text=True, check=True
                )
                found.append(json.loads(done.stdout.splitlines()[-1]))
    finally:
        redis.stop()
        far_side.terminate()
        far_side.join()
    return [
        Line("memory of a worker for one picture of 5 MB, MiB", column(one, "memory"), 1, aim="≤ 16"),
        Line(
            "memory of a worker for 200 pictures at once, MiB", column(many, "memory"), 0, "one", column(one, "memory"),
            "≤ 400",
        ),
        Line("… all of its memory meanwhile, MiB", column(many, "whole"), 0, "one", column(one, "whole")),
        Line("… fetched, uploaded and posted, /s", column(many, "rate"), 1),
    ]  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_work(*map(int, sys.argv[1:5])))))
