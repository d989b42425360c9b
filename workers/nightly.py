"""Once a night, in one worker for all: Genesys exports yesterday, and our messages are compared with that.

Each step can be repeated: the job is found by its title, and the comparison changes nothing. The file is fetched from
another host, by a link: without our credentials, and only from hosts that are configured.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import structlog
from redis.exceptions import RedisError

from dcbridge.config.reconcile import Reconcile
from dcbridge.errors import AccountFault, Refused, SendError, Unreadable
from dcbridge.genesys import exports, user_data
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.exports import BadExport
from dcbridge.genesys.operations import Operation
from dcbridge.genesys.user_data import Job, UserData
from dcbridge.interfaces import Interfaces
from dcbridge.ledger.reports import search
from dcbridge.ledger.reports.kept import our_messages
from dcbridge.ledger.signals import Lead
from dcbridge.reconcile import Comparison, Result, TooMany
from dcbridge.settings.process import DAY
from dcbridge.transport.sender import Sender
from dcbridge.transport.ssrf import Guard, plain
from workers.context import WorkerContext
from workers.leader import keep_leading

log = structlog.get_logger()

NAME = "reconcile"
LOOK, POLL = 60.0, 30.0  # seconds between two looks at the clock; and at a job
WITHIN = 6 * 3600.0  # seconds that a job may take
AGAIN = 1800.0  # seconds after a failure
TRIES = 5  # of one night
LARGEST = 2 << 30  # bytes of a file
FETCHED_WITHIN = 3600.0
FAULT = f"genesys/{NAME}"


async def keep_reconciling(ctx: WorkerContext) -> None:
    """Until cancelled. Without `reconcile` in bridge.yaml, nothing is done."""
    genesys, interfaces = ctx.configuration.genesys, ctx.interfaces
    if genesys is None or genesys.reconcile is None or interfaces is None:
        return
    wanted = genesys.reconcile
    api = UserData(genesys.url(wanted.base_url, "/udm/v10"))

    async def watch(_: Lead) -> None:
        tried: dict[str, int] = {}
        while True:
            night = last_night(wanted, time.time())
            if tried.get(night, 0) < TRIES and not await ctx.ledger.nights.is_done(night):
                tried = {night: tried.get(night, 0) + 1}
                good = await Night(ctx, wanted, api, interfaces, night).run()
                await asyncio.sleep(LOOK if good else AGAIN)
            await asyncio.sleep(LOOK)

    await keep_leading(ctx.ledger, NAME, watch)


def last_night(wanted: Reconcile, now: float) -> str:
    """The day that is to be compared now: yesterday, and before the hour of `nightly` the day before."""
    hour, _, minute = wanted.nightly.partition(":")
    at = datetime.fromtimestamp(now, UTC) - timedelta(days=1, hours=int(hour), minutes=int(minute))
    return f"{at:%Y-%m-%d}"


class Night:
    """One day's comparison."""

    def __init__(
        self, ctx: WorkerContext, wanted: Reconcile, api: UserData, interfaces: Interfaces, day: str, poll: float = POLL
    ) -> None:
        self._ctx, self._wanted, self._api, self._interfaces = ctx, wanted, api, interfaces
        self._day, self._poll = day, poll
        self._since = datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()

    async def run(self) -> bool:
        """Whether there is a result, which is written down."""
        try:
            job = await self._exported()
            with tempfile.TemporaryDirectory(prefix="dcbridge-export-") as folder:
                path = Path(folder, "export")
                await self._fetch(job, path)
                result = await self._compared(path)
        except RedisError:
            raise
        except (
            Exception
        ) as error:  # a fault of ours as well: begun anew every few seconds, it would fetch files without end
            code = error.code if isinstance(error, SendError) else str(error) if isinstance(error, BadExport) else ""
            ours = not isinstance(error, SendError | BadExport | TooMany | OSError)
            log.error("reconcile_failed", day=self._day, error=type(error).__name__, code=code, exc_info=ours)
            self._ctx.metrics.reconciled.labels("failed").inc()
            if isinstance(error, AccountFault | BadExport | TooMany):
                self._ctx.metrics.faults.labels("not_reconciled", FAULT).inc()
            return False
        await self._tell(result)
        await self._clean(job)
        return True

    async def _exported(self) -> Job:
        """The job of this day, finished. Raises a SendError."""
        title = f"dcbridge {self._day}"
        listed = await self._send(user_data.LIST, self._api.list(title))
        job = user_data.found(listed, title)
        if job is None:
            w = self._wanted
            request = self._api.create(title, self._since, self._since + DAY, w.source, w.type, w.media)
            job = user_data.job_of((await self._send(user_data.CREATE, request)).whole)
        async with asyncio.timeout(WITHIN):
            while job is not None and not job.failed:
                if user_data.is_done(await self._send(user_data.PROGRESS, self._api.progress(job.id))):
                    listed = await self._send(user_data.LIST, self._api.list(title))
                    job = user_data.found(listed, title) or job
                    break
                await asyncio.sleep(self._poll)
        if job is None or job.failed or not job.file:
            raise Refused("the export failed" if job else "no job")
        return job

    async def _fetch(self, job: Job, path: Path) -> None:
        """Raises a SendError. The link is used once, by a connection of its own."""
        answer = await self._interfaces.exchange(user_data.FILE, self._api.file(job.file))
        if answer.status_code != 303:
            raise Refused(f"http {answer.status_code}")
        try:
            link = httpx.URL(answer.headers.get("Location", ""))
        except httpx.InvalidURL:
            raise Unreadable("no link") from None
        hosts = {plain(one): one for one in self._wanted.file_hosts}
        if link.scheme not in ("https", "http") or plain(link.host) not in hosts or link.userinfo:
            raise AccountFault("the host of the file is not in file_hosts")
        guard = Guard(link.host, [link.host])
        async with (
            Sender(guard=guard, read_timeout=60.0, answer_limit=LARGEST) as sender,
            asyncio.timeout(FETCHED_WITHIN),
            sender.stream(httpx.Request("GET", link), LARGEST) as file,
        ):
            if file.status != 200:
                raise Refused(f"http {file.status}")
            with path.open("wb") as out:
                async for piece in file.pieces():
                    await asyncio.to_thread(out.write, piece)

    async def _compared(self, path: Path) -> Result:
        """Raises BadExport for a file of which a line cannot be read."""
        ledger, settings = self._ctx.ledger, self._ctx.settings
        channels = await search.channels(ledger.redis) | set(self._ctx.configuration.channels)
        days = min(settings.retention_days, settings.callback_dedupe_days)
        comparison = Comparison(channels, self._since, self._since + DAY, 20, time.time() - days * DAY)
        async for _, messages in our_messages(ledger.redis):
            for message in messages:
                comparison.ours(message)

        def theirs() -> Result:
            for kept in exports.messages(path):
                if isinstance(kept, BadExport):
                    raise kept
                comparison.theirs(kept)
            return comparison.result()

        return await asyncio.to_thread(theirs)

    async def _tell(self, result: Result) -> None:
        counts = {
            "both": result.both.count,
            "only_ours": result.only_ours.count,
            "only_theirs": result.only_theirs.count,
            "ambiguous": result.ambiguous.count,
        }
        await self._ctx.ledger.nights.done(self._day, differs=result.differs, counts=counts)
        self._ctx.metrics.reconciled.labels("differs" if result.differs else "same").inc()
        (log.error if result.differs else log.info)("reconciled", day=self._day, differs=result.differs, **counts)
        for name, found in (("only_ours", result.only_ours), ("only_theirs", result.only_theirs)):
            for line in found.first:
                log.warning("message_on_one_side", side=name, **line.words)
        if result.differs:
            self._ctx.metrics.faults.labels("books_differ", FAULT).inc()

    async def _clean(self, job: Job) -> None:
        """Genesys deletes it after 30 days by itself."""
        for operation, request in (
            (user_data.DELETE_FILE, self._api.delete_file(job.file)),
            (user_data.DELETE_JOB, self._api.delete_job(job.id)),
        ):
            with suppress(SendError):
                await self._interfaces.send(operation, request)

    async def _send(self, operation: Operation, request: httpx.Request) -> Reading:
        reading = await self._interfaces.send(operation, request)
        if not reading.good:
            raise reading.error()
        return reading
