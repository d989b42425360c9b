"""An email of a consumer, submitted to Genesys' Secure Email API as the template of bridge.yaml says.

The request has no key for repetitions, so it is written once for each claim that is certain that none was before:

    claimed → begun → written → 2xx                        done
                              → not taken, that is certain → free, and again or as a text
                              → no answer, 5xx, a crash    → listed? → there: done
                                                                    → not there for five minutes: dead, outcome unknown

Only an operator repeats an unknown outcome: `dcbridge dead replay`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import httpx
import structlog

from dcbridge.config.secure_email import SecureEmail
from dcbridge.errors import Deferred, OutcomeUnknown, Refused, SendError, Unreachable, Unreadable
from dcbridge.genesys import secure_email
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.secure_email import Box, File
from dcbridge.interfaces import Interfaces, Operation
from dcbridge.ledger import TaskClaim
from workers import failures, media_in
from workers.context import WorkerContext
from workers.files import Withheld
from workers.interface_pace import turn
from workers.secure_messages import NAME

log = structlog.get_logger()

T = TypeVar("T")

UNKNOWN = "secure email: outcome unknown"
LOOKED_FOR = 300.0  # seconds for which an email that may have been submitted is looked for
MOST_TIME = 30.0  # seconds of a request
SHARE = 0.4  # of a lease that it may take: a second worker must not come meanwhile


class Came(StrEnum):
    """What came of it."""

    TAKEN = "taken"
    NOT_TAKEN = (
        "not taken"  # Genesys does not take this one, or bridge.yaml names no way any more: it goes on as a text
    )
    UNKNOWN = "unknown"  # it may be there, and cannot be found
    LOST = "lost"  # another worker has it


@dataclass(frozen=True, slots=True)
class _Job:
    """One claim of one email."""

    ctx: WorkerContext
    id: str
    claim: str
    claimed: TaskClaim
    stored: Mapping[str, Any]
    wanted: SecureEmail
    url: str
    interfaces: Interfaces

    @property
    def box(self) -> Box:
        return Box(self.url, self.wanted)

    @property
    def reference(self) -> str:
        return secure_email.reference(self.id)

    @property
    def patience(self) -> float:
        return min(MOST_TIME, self.ctx.settings.lease * SHARE)


async def submit(ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, stored: Mapping[str, Any]) -> Came:
    """Raises Deferred while it may be taken later."""
    genesys = ctx.configuration.genesys
    wanted = genesys.secure_email if genesys else None
    if genesys is None or wanted is None or ctx.interfaces is None:
        return Came.NOT_TAKEN
    job = _Job(ctx, task_id, claim, claimed, stored, wanted, genesys.url(wanted.base_url, "/nexus/v3"), ctx.interfaces)
    try:
        return await (_look(job) if claimed.entry.posting else _write(job))
    except Refused as error:
        log.warning("secure_email_refused", code=error.code)
        ctx.metrics.consumer_messages.labels(claimed.entry.channel_id, "secure_email_refused").inc()
        return Came.NOT_TAKEN
    except SendError as error:
        if error.page:
            ctx.metrics.faults.labels(error.outcome, NAME).inc()
        raise Deferred(f"secure email: {error.code or error.outcome}", retry_after=error.retry_after) from None


async def _write(job: _Job) -> Came:
    """Raises a SendError where it is certain that Genesys does not have it, or where that is not known."""
    files = await _files(job)
    if files is None:
        found = await media_in.for_agent(job.ctx, job.id, job.claimed, {**job.stored, "item": True})
        if found is None:
            return Came.LOST
        text, entries = found.text, list[File]()
    else:
        text, entries = files
    mail = job.stored["secure"]
    if not (mail["subject"] or text or entries):
        return Came.NOT_TAKEN
    entry = job.claimed.entry
    filled = secure_email.values(
        job.stored["from"], mail["name"], mail["subject"], text, mail["to"], entry.channel_id, job.reference,
        (entry.accepted_at or 0) / 1000,
    )  # fmt: skip
    try:
        return await _once(job, job.box.data(filled, entries))
    except Refused as error:
        if not entries or not secure_email.refuses_files(error):
            raise
    log.warning("secure_email_files_refused", files=len(entries))
    found = await media_in.for_agent(job.ctx, job.id, job.claimed, {**job.stored, "item": True})
    return Came.LOST if found is None else await _once(job, job.box.data({**filled, "text": found.text}))


async def _once(job: _Job, data: Mapping[str, object]) -> Came:
    """Raises a SendError. After OutcomeUnknown, the task remembers that it was written."""
    ctx, requests = job.ctx, job.ctx.ledger.requests
    if not await ctx.ledger.pacing.may_speak(NAME, job.id, ctx.settings.lease):
        raise Unreachable("breaker open")
    await turn(ctx, NAME, job.wanted.pace, job.patience)
    match await requests.begin(job.id, job.claim):
        case "stale":
            return Came.LOST
        case "began":
            return await _look(job)
    request = job.box.send(data, job.reference)
    try:
        await _asked(job, secure_email.SEND, request, secure_email.sent)
    except Unreadable as error:  # it was taken, in words that make no sense
        failures.response_unreadable(ctx, NAME, error)
    except SendError as error:
        if error.taken is False:
            await requests.free(job.id, job.claim)
        else:
            log.warning("secure_email_unknown", code=error.code)
        raise
    return Came.TAKEN


async def _look(job: _Job) -> Came:
    """Whether an email that was written is there. Raises a SendError while it may still come to be."""
    request = job.box.listed(job.stored["from"])
    try:
        there = await _asked(
            job, secure_email.LIST, request, lambda reading: secure_email.is_listed(reading, job.reference)
        )
    except SendError as error:
        log.info("secure_email_not_looked_for", code=error.code)
        there = False
    if there:
        return Came.TAKEN
    began = job.claimed.entry.posting.rpartition(" ")[2]
    if time.time() - (int(began) / 1000 if began.isdecimal() else 0) < LOOKED_FOR:
        raise OutcomeUnknown("outcome unknown")
    return Came.UNKNOWN


async def _asked(job: _Job, operation: Operation, request: httpx.Request, read: Callable[[Reading], T]) -> T:
    """Raises a SendError."""
    ctx = job.ctx
    try:
        async with asyncio.timeout(job.patience):
            answer = read(await job.interfaces.send(operation, request, job.claimed.entry.trace_id))
    except TimeoutError:
        unknown = OutcomeUnknown("timeout")
        await failures.update_breaker(ctx, NAME, job.id, unknown)
        raise unknown from None
    except SendError as error:
        await failures.update_breaker(ctx, NAME, job.id, error)
        raise
    await ctx.ledger.pacing.record_success(NAME, job.id)
    return answer


async def _files(job: _Job) -> tuple[str, list[File]] | None:
    """The text and the files of an email that has them in it; None for one whose files are links."""
    wanted, names = job.wanted.files, job.stored.get("names") or {}
    urls = [url for url in job.stored["media"] if url]
    if wanted is None or not urls or len(urls) > media_in.MOST:
        return None
    entries, notes, total = list[File](), list[str](), 0
    for url in urls:
        try:
            async with job.ctx.files.room("consumers"):
                data, kind = await media_in.vetted(job.ctx, job.claimed, None, url, names.get(url, ""))
        except Withheld as withheld:
            notes.append(media_in.note_of(withheld.why))
            continue
        total += len(data)
        if total > wanted.most:
            return None
        entries.append((names.get(url) or f"file.{kind.extension}", kind.mimetype, data))
    return "\n".join(filter(None, [job.stored["text"], *notes])), entries
