"""`dcbridge check`: the configuration and Redis, before anything runs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from dcbridge.cli import genesys
from dcbridge.cli.keys import missing_keys
from dcbridge.cli.terminal import ConfigOption, err, out, read_all, refused
from dcbridge.config.models import Configuration
from dcbridge.settings.process import Settings


def _check_others(
    settings: Settings, configuration: Configuration, config: Any, *, media: bool, bind: bool, login: bool
) -> int:
    """Those that are asked for; the worst exit code."""
    codes = [0]
    if media:
        from dcbridge.cli.media_check import report

        codes.append(asyncio.run(report(settings, configuration)))
    if bind:
        from dcbridge.cli.bind_check import report as report_binds

        codes.append(asyncio.run(report_binds(settings, configuration)))
    if login:
        codes.append(genesys.check_logins(config).exit_code)
    return max(codes)


def check(
    config: ConfigOption = None,
    media: Annotated[
        bool, typer.Option("--media", help="Upload, read and delete one pixel at Digital Channels instead.")
    ] = False,
    bind: Annotated[bool, typer.Option("--bind", help="Bind and unbind once at each SMSC instead.")] = False,
    login: Annotated[
        bool, typer.Option("--login", help="Log in at Genesys instead, as `dcbridge genesys check` does.")
    ] = False,
) -> None:
    """Check bridge.yaml, the environment variables, the journal folder, the bucket and Redis.

    With --media: upload one pixel for the first channel, read it and delete it, signed in each way that there is.
    Exit code 1 if the ways that are configured do not work.
    With --login: get a token of each login at Genesys, and look whether it is taken.
    With --bind: bind and unbind once at each SMSC; one that allows no more sessions than the workers hold refuses that.

    Exit code 0: all is well; 1: Redis is away or could lose messages; 2: the configuration is wrong.
    Nothing is changed, except for test keys in Redis and a test object in the bucket, which are deleted or expire.
    """
    from dcbridge.operations.doctor.journal import journal_problems, journal_warnings
    from dcbridge.operations.doctor.redis import check_redis
    from dcbridge.store.connection import NOTES, redis_warnings

    settings, configuration = read_all(config)
    if missing := missing_keys(settings, configuration):
        raise refused(missing)
    counted = [
        (len(configuration.endpoints), "endpoint"),
        (len(configuration.channels), "channel"),
        (len(configuration.providers), "provider"),
        (len(configuration.subscribers), "subscriber"),
    ]
    words = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counted)
    out.print(f"ok: {settings.config}: {words}", markup=False)
    if media or bind or login:
        raise typer.Exit(_check_others(settings, configuration, config, media=media, bind=bind, login=login))
    of_redis = asyncio.run(check_redis(settings))
    notes = [*redis_warnings(settings), *(one for one in of_redis if one in NOTES)]
    for warning in [*(f"redis: {one}" for one in notes), *journal_warnings(settings)]:
        err.print(f"warning: {warning}", style="yellow", markup=False)
    problems = [*journal_problems(settings), *(f"redis: {one}" for one in of_redis if one not in NOTES)]
    if settings.blob_bucket:
        from dcbridge.operations.doctor.bucket import check_bucket

        problems += [f"bucket: {one}" for one in asyncio.run(check_bucket(settings))]
    for problem in problems:
        err.print(f"error: {problem}", style="red", markup=False)
    if problems:
        raise typer.Exit(1)
    safe = "append-only file on, fsync on every write, no eviction"
    if settings.blob_bucket:
        out.print("ok: bucket: an object was written, read and deleted", markup=False)
    out.print(f"ok: {settings.redis_place}: writable, {'every command allowed' if of_redis else safe}", markup=False)
