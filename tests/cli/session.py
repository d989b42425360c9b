"""An operator at the command line, beside a ledger on a real Redis whose clock can be put forward."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson
from redis.asyncio import Redis
from rq.serializers import JSONSerializer
from typer.main import get_command
from typer.testing import CliRunner

from dcbridge.cli.app import app
from dcbridge.cli.dev.processes import Ports, environment, prepare
from dcbridge.config.loader import load
from dcbridge.ledger import Ledger
from dcbridge.ledger.jobs import QUEUES
from dcbridge.ledger.services import Service
from dcbridge.runtime.metrics import VERSION
from dcbridge.settings.process import read_settings
from dcbridge.store.connection import connect_sync
from tests.ledger.ledger_bench import Bench
from workers.worker import RelayWorker

DAY = 86400.0
TEXT, SENDER, CONSUMER = "canary-text", "canary-sender", "16504660000"  # none of them is ever to be seen
PRIVATE = (TEXT, SENDER, CONSUMER)


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [orjson.loads(line) for line in self.out.splitlines()]


@cache
def _command() -> Any:
    """Made once: with all its options it takes longer than most commands run."""
    return get_command(app)


def invoke(arguments: list[str], stdin: str, environ: Mapping[str, str | None]) -> Said:
    """As CliRunner.invoke does, which makes the command anew; what it does not catch is raised."""
    runner, code = CliRunner(), 0
    with runner.isolation(input=stdin, env=environ) as (out, err, _):
        try:
            _command().main(args=arguments, prog_name="dcbridge")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        written, complained = out.getvalue(), err.getvalue()
    return Said(code, _text(written), _text(complained), written)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\r\n", "\n")


class Session(Bench):
    """The ledger as the settings of the command line have it."""

    def __init__(self, redis: Redis, url: str, folder: Path) -> None:
        super().__init__(redis)
        self.folder = folder
        prepare(folder, Ports())
        self.environ = environment(folder, Ports(), url)
        self.configuration = load(self.environ["DCBRIDGE_CONFIG"], self.environ)

    async def types(self, *arguments: str, stdin: str = "", **settings: str) -> Said:
        """`dcbridge …` with these words; `settings` are those of the environment."""
        gone = {name: None for name in os.environ if name.startswith("DCBRIDGE_")}
        environ = gone | self.environ | settings | {"COLUMNS": "200"}
        said = await asyncio.to_thread(invoke, list(arguments), stdin, environ)
        assert not any(word in said.err for word in PRIVATE)
        return said

    async def trace(self, *arguments: str) -> Any:
        """The lives that `trace --json` found; looked at as text as well, and never private."""
        shown = await self.types("trace", *arguments)
        told = await self.types("trace", "--json", *arguments)
        assert (shown.code, told.code) == (0, 0), shown.err + told.err
        for word in PRIVATE:
            assert word not in shown.out
            assert word not in told.out
        for life in told.json["found"]:
            for hop in life["hops"]:
                assert hop["what"] in shown.out
        return told.json["found"]

    async def hops(self, *arguments: str) -> list[str]:
        """What happened, of the only life."""
        [life] = await self.trace(*arguments)
        return [hop["what"] for hop in life["hops"]]

    async def hires(self, *queues: str) -> RelayWorker:
        """A worker that is registered and says that it lives, and does nothing."""
        settings = read_settings(self.environ)[0]
        worker = RelayWorker(
            list(queues or QUEUES),
            connection=connect_sync(settings),
            serializer=JSONSerializer,
            settings=settings,
            configuration=self.configuration,
        )
        cast(Any, worker).register_birth()
        await self.redis.set(f"dcb:alive:{worker._claims_as}", 1, px=600_000)
        await self.serves()
        return worker

    async def serves(self, version: str = VERSION, **more: Any) -> Service:
        """A service that says that it lives, and does nothing."""
        service = Service("host-1", version, time.time(), **more)
        await Ledger(self.redis, keep=60, keep_dead=60).services.here(service)
        return service

    async def everything(self) -> dict[str, object]:
        """Every key and its value, to see that nothing changed."""
        found: dict[str, object] = {}
        for key in await self.keys("*"):
            kind: Any = await self.redis.type(key)
            whole: dict[bytes, Any] = {b"hash": self.redis.hgetall, b"set": self.redis.smembers}
            found[key] = await whole.get(kind, self.redis.dump)(key)  # a dump of these two has no order of its own
        return found
