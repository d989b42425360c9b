"""A consumer's files: fetched from the provider, scanned, uploaded to the platform; or withheld, and said.

Each file is uploaded once for its message: what became of it is written down before the message is posted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, Refused, SendError, Unreadable
from dcbridge.ledger import TaskClaim
from dcbridge.ledger.uploads import Uploaded
from dcbridge.media.file_types import ENOUGH, FileType, type_of
from dcbridge.providers.base import HasMedia
from dcbridge.providers.phone import is_blank
from dcbridge.settings.process import DAY
from dcbridge.transport.scanning import ScannerAway
from workers.context import WorkerContext
from workers.files import Withheld

log = structlog.get_logger()

ORIGINAL = "-original"  # ends the id of a file that holds the text of a mail
TEXT = FileType("text/plain", "txt")
BLOB = "blob:"  # before the id of a file that is here already
MOST = 10  # files of one message
TRIED_FOR = 300.0  # seconds for which a file that cannot be fetched, or is not taken for its signature, is tried
REMEMBERED = 2 * DAY  # seconds for which it is known what became of a file

SENTENCES = {
    "too large": "it is too large",
    "wrong type": "its type is not allowed",
    "infected": "malware was found in it",
    "wrong host": "its address is not one of the provider's",
    "expired": "the provider does not have it any more",
    "unreachable": "it could not be fetched",
    "not scanned": "it could not be scanned",
    "refused": "it was refused",
    "too many": f"a message has at most {MOST} files",
}


@dataclass(frozen=True, slots=True)
class ForAgent:
    """What the agent gets: a text ("" where there is nothing to say), and messages beside it."""

    text: str
    others: Sequence[Mapping[str, Any]] = ()


async def for_agent(ctx: WorkerContext, task_id: str, claimed: TaskClaim, stored: Mapping[str, Any]) -> ForAgent | None:
    """The message with its files; None where it was given to another worker meanwhile. Raises a SendError after which
    all of it is tried again.
    """
    urls = [url for url in stored["media"] if url]
    provider = _with_media(ctx.providers.get(stored.get("provider", "")))
    names = stored.get("names") or {}  # of a mail's files, which nobody has to be asked for
    came_along = all(url in names for url in urls)
    if not urls or (not came_along and (ctx.configuration.media.inbound == "link" or provider is None)):
        return ForAgent(text_for_the_agent(stored["text"], urls))
    known, since = await ctx.ledger.uploads.of(task_id), time.monotonic()
    files = []
    for place, url in enumerate(urls[: MOST + 1]):
        found = known.get(place)
        if found is None:
            if ctx.claim_may_be_lost(since):  # the files before took a while: this one would be read by another as well
                since = time.monotonic()
                if not (await ctx.ledger.tasks.claim(task_id, claimed.entry.token, ctx.settings.lease)).ours:
                    return None
            name = names.get(url)
            found = await _one(ctx, claimed, provider, url, name) if place < MOST else Uploaded(withheld="too many")
            await ctx.ledger.uploads.note(
                task_id,
                place,
                found,
                claimed.entry.channel_id,
                keep=ctx.configuration.media.keep,
                remember=REMEMBERED,
            )
            _count(ctx, found)
        files.append(found)
    return _written(ctx, claimed, stored, files)


def _with_media(provider: object) -> HasMedia | None:
    return provider if isinstance(provider, HasMedia) else None


async def _one(
    ctx: WorkerContext, claimed: TaskClaim, provider: HasMedia | None, url: str, name: str | None
) -> Uploaded:
    """Raises a SendError after which it is tried again. `name`: of one that came along; what a provider says is a URL
    names no file that is kept here.
    """
    async with ctx.files.room("consumers"):
        try:
            data, kind = await vetted(ctx, claimed, provider, url, name)
            return await _uploaded(ctx, claimed, data, kind, name or f"file.{kind.extension}")
        except Withheld as withheld:
            return Uploaded(withheld=withheld.why)


async def vetted(
    ctx: WorkerContext, claimed: TaskClaim, provider: HasMedia | None, url: str, name: str | None
) -> tuple[bytes, FileType]:
    """A file that the agent may have. Raises Withheld, or a SendError after which it is tried again."""
    data = await (_fetched(ctx, claimed, provider, url) if name is None else _kept(ctx, claimed, url))
    kind = TEXT if name and url.startswith(BLOB) and url.endswith(ORIGINAL) else type_of(data[:ENOUGH])
    if kind is not TEXT and kind.mimetype not in ctx.configuration.media.types:
        raise Withheld("wrong type")
    await _scan(ctx, claimed, data)
    return data, kind


def note_of(why: str) -> str:
    """What the agent reads in place of a file."""
    return f"[A file was withheld: {SENTENCES[why]}.]"


async def _uploaded(ctx: WorkerContext, claimed: TaskClaim, data: bytes, kind: FileType, name: str) -> Uploaded:
    """Raises Withheld where the platform does not take it, or a SendError while that may pass."""
    channel_id = claimed.entry.channel_id
    platform = ctx.platforms.of(channel_id)
    try:
        media = await platform.upload(channel_id, name, kind.mimetype, data, claimed.entry.trace_id)
    except OutcomeUnknown as error:  # a file that nothing names does no harm
        raise Deferred(f"media {error.code}") from None
    except (Refused, Unreadable, AccountFault) as error:
        log.error("media_upload_refused", outcome=error.outcome, code=error.code)
        if error.page:
            ctx.metrics.faults.labels(f"media_{error.outcome}", platform.name).inc()
        if isinstance(error, AccountFault) and _age(claimed) < TRIED_FOR:
            raise Deferred(f"media {error.code}") from None
        raise Withheld("refused") from None
    return Uploaded(media.id, media.url, name, kind.mimetype, len(data))


def _age(claimed: TaskClaim) -> float:
    return time.time() - (claimed.entry.accepted_at or 0) / 1000


async def _kept(ctx: WorkerContext, claimed: TaskClaim, url: str) -> bytes:
    try:
        data = await ctx.ledger.blobs.get(url.removeprefix(BLOB))
    except OSError as error:
        log.warning("blob_not_read", error=type(error).__name__, attempt=claimed.entry.attempts)
        if _age(claimed) > TRIED_FOR:
            raise Withheld("unreachable") from None
        raise Deferred("blob not read") from None
    if data is None:
        raise Withheld("expired")
    if len(data) > ctx.configuration.media.most:
        raise Withheld("too large")
    return data


async def _fetched(ctx: WorkerContext, claimed: TaskClaim, provider: HasMedia | None, url: str) -> bytes:
    if provider is None:
        raise Withheld("wrong host")
    try:
        return await ctx.files.fetch(provider, url)
    except (SendError, TimeoutError) as error:
        code = error.code if isinstance(error, SendError) else "timeout"
        if isinstance(error, AccountFault):
            ctx.metrics.faults.labels("media_login", getattr(provider, "name", "")).inc()
        log.warning("media_not_fetched", code=code, attempt=claimed.entry.attempts)
        if isinstance(error, Refused) or _age(claimed) > TRIED_FOR:
            raise Withheld("unreachable") from None
        raise Deferred(f"media {code}") from None


async def _scan(ctx: WorkerContext, claimed: TaskClaim, data: bytes) -> None:
    """Raises Withheld, or Deferred while the scanner is away and the message is held."""
    scanner, scan = ctx.files.scanner(), ctx.configuration.media.scan
    if scanner is None or scan is None:
        return
    try:
        infected = await scanner.infected(data)
    except ScannerAway as away:
        ctx.metrics.faults.labels("scanner_away", "scan").inc()
        log.error("scanner_away", why=str(away), unavailable=scan.unavailable)
        if scan.unavailable == "pass":
            return
        if _age(claimed) > scan.hold:
            raise Withheld("not scanned") from None
        raise Deferred("scanner away") from None
    if infected:
        raise Withheld("infected")


def _count(ctx: WorkerContext, found: Uploaded) -> None:
    outcome = found.withheld.replace(" ", "_") or "uploaded"
    ctx.metrics.media.labels("in", outcome).inc()
    log.info("media_in", outcome=outcome, type=found.mimetype or None, bytes=found.size or None)


def _written(ctx: WorkerContext, claimed: TaskClaim, stored: Mapping[str, Any], files: Sequence[Uploaded]) -> ForAgent:
    text = stored["text"]
    uploaded = [file for file in files if not file.withheld]
    notes = [note_of(file.withheld) for file in files if file.withheld]
    carrying = None if stored.get("item") else ctx.platforms.of(claimed.entry.channel_id).carrying(uploaded)
    if carrying is not None:
        lines = [*([] if is_blank(text) else [text]), *notes]
        return ForAgent("\n".join(lines), carrying)
    until = (claimed.entry.accepted_at or 0) / 1000 + ctx.configuration.media.link_life
    links = [ctx.files.links.url(claimed.entry.channel_id, file.media_id, until) for file in uploaded]
    return ForAgent(text_for_the_agent(text, links, notes))


def text_for_the_agent(text: str, media: Sequence[str], notes: Sequence[str] = ()) -> str:
    """What a consumer wrote, and where the files are that came with it; "" where nothing can be seen."""
    links = [url for url in media if url]
    if not is_blank(text):
        return "\n".join([text, *links, *notes])
    if len(links) == 1:
        return "\n".join([f"The consumer sent a file: {links[0]}", *notes])
    several = [f"The consumer sent {len(links)} files:", *links] if links else []
    return "\n".join([*several, *notes])
