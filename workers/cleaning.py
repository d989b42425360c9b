"""Deletes files whose time is over: those in the folder, and consumers' at the platform.

Beside the sweep and never in it: a folder or a platform that hangs must not cost this worker its heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from redis.exceptions import RedisError

from dcbridge.errors import AccountFault, Refused, SendError
from dcbridge.ledger.blobs import FEW as FEW_FILES
from dcbridge.ledger.uploads import FEW as FEW_UPLOADS
from dcbridge.ledger.uploads import Due
from dcbridge.settings.process import DAY
from workers.context import WorkerContext

log = structlog.get_logger()

_Look = Callable[[WorkerContext], Awaitable[bool]]

GIVE_UP = 7 * DAY  # seconds for which a deletion may be refused; then the file stays where it is
EVERY = 1.0  # seconds between two looks, where a look finds little


async def keep_cleaning(ctx: WorkerContext) -> None:
    """Clean until cancelled: the two side by side, so that neither waits for the other."""
    await asyncio.gather(_keep(ctx, delete_files), _keep(ctx, delete_uploads))


async def _keep(ctx: WorkerContext, look: _Look) -> None:
    while True:
        more = False
        try:
            more = await look(ctx)
        except (RedisError, OSError) as error:
            log.warning("cleaning_postponed", error=type(error).__name__)
        except Exception:
            log.error("cleaning_internal_error", exc_info=True)
        await asyncio.sleep(0 if more else EVERY)


async def delete_files(ctx: WorkerContext) -> bool:
    """Those of the folder; whether there may be more. A folder that is away for a while keeps its files."""
    try:
        return await ctx.ledger.blobs.sweep() == FEW_FILES
    except RedisError:
        raise
    except OSError as error:
        log.warning("blobs_not_deleted", error=type(error).__name__)
        return False


async def delete_uploads(ctx: WorkerContext) -> bool:
    """Consumers' files at their platforms; whether there may be more. One that is not deleted comes again."""
    due = await ctx.ledger.uploads.due()
    return await _delete(ctx, due) and len(due) == FEW_UPLOADS


async def _delete(ctx: WorkerContext, due: Sequence[Due]) -> bool:
    """False where the platform is to be left alone for a while."""
    refused_channels = dict[str, str]()  # and why
    for file in due:
        if file.channel_id in refused_channels:
            await _refused(ctx, file, refused_channels[file.channel_id])
            continue
        try:
            await ctx.platforms.of(file.channel_id).delete(file.channel_id, file.media_id)
        except Refused as error:  # it is not there any more, or never to be deleted
            log.info("media_not_deleted", channel=file.channel_id, code=error.code)
        except AccountFault as error:  # of this channel: it has another secret by now, say
            log.warning("media_not_deleted", channel=file.channel_id, outcome=error.outcome, code=error.code)
            refused_channels[file.channel_id] = error.code
            await _refused(ctx, file, error.code)
            continue
        except SendError as error:
            log.warning("media_not_deleted", channel=file.channel_id, outcome=error.outcome, code=error.code)
            return False
        ctx.metrics.media.labels("in", "deleted").inc()
        await ctx.ledger.uploads.deleted([file])
    return True


async def _refused(ctx: WorkerContext, file: Due, code: str) -> None:
    """As of a channel that is removed, or has another secret by now: it comes again, and one day no more."""
    if await ctx.ledger.uploads.refused(file, GIVE_UP):
        log.error("media_left", channel=file.channel_id, code=code, media=file.media_id)
        ctx.metrics.media.labels("in", "left").inc()
