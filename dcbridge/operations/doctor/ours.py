"""What belongs to the installation itself: Redis, the journal's folder, the bucket, and Digital Channels' media."""

from __future__ import annotations

from collections.abc import Sequence

from dcbridge.config.models import Configuration
from dcbridge.operations.doctor.bucket import check_bucket
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.doctor.journal import journal_problems, journal_warnings
from dcbridge.operations.doctor.redis import check_redis
from dcbridge.settings.process import Settings
from dcbridge.store.connection import NOTES, redis_warnings


async def redis(settings: Settings) -> Sequence[Finding]:
    at = About("redis")
    said = await check_redis(settings)
    notes = [*redis_warnings(settings), *(one for one in said if one in NOTES)]
    wrong = [one for one in said if one not in NOTES]
    found = [at.error(one) for one in wrong] + [at.warning(one) for one in notes]
    return found if wrong else [*found, at.ok("Redis is writable, and its data survives")]


async def journal(settings: Settings) -> Sequence[Finding]:
    at = About("journal")
    wrong, notes = journal_problems(settings), journal_warnings(settings)
    found = [at.error(one) for one in wrong] + [at.warning(one) for one in notes]
    return found or [at.ok("its folder can be written")]


async def bucket(settings: Settings) -> Sequence[Finding]:
    at = About("bucket")
    return [at.error(one) for one in await check_bucket(settings)] or [at.ok("an object was written, read and deleted")]


async def media(settings: Settings, configuration: Configuration) -> Sequence[Finding]:
    """One pixel is uploaded, read and deleted, in the ways that are configured and in others."""
    from dcbridge.operations.doctor.media import try_media

    at = About("digital_channels")
    tried = [one async for one in try_media(settings, configuration)]
    found = []
    for setting in dict.fromkeys(one.setting for one in tried):
        mine = next((one for one in tried if one.setting == setting and one.is_set), None)
        other = next((one.value for one in tried if one.setting == setting and one.works), "")
        if mine is None or mine.works:
            found.append(at.ok(f"{setting}: files are taken as configured"))
        else:
            fix = f"set {setting} to {other}" if other else "see docs/media.md"
            found.append(at.error(f"{setting}: {mine.value} does not work ({mine.why})", fix))
    return found
