"""`dcbridge status`: what runs, what waits and why, on one screen that answers "is anything wrong?"."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from dcbridge.cli.status_screen import Watching, print_screen
from dcbridge.cli.terminal import print_json, say_error
from dcbridge.ledger.reports import search
from dcbridge.operations import status as report
from dcbridge.operations.session import Session, explain_redis_error
from dcbridge.operations.status import Wanted, look


async def show(session: Session, wanted: Wanted, as_json: bool) -> int:
    """Print one look; 1 when something is wrong, or for a name that nobody knows."""
    if not await _known(session, wanted):
        return 1
    status = await look(session, wanted)
    if as_json:
        print_json(report.as_json(status))
    else:
        print_screen(status)
    return 1 if status.problems else 0


async def watch(session: Session, wanted: Wanted, as_json: bool, every: float) -> int:
    """Look again and again until Ctrl-C; a Redis that is away is told of and waited for."""
    if not await _known(session, wanted):
        return 1
    with Watching(enabled=not as_json) as watching:
        while True:
            try:
                status = await look(session, wanted)
            except (RedisError, OSError) as error:
                words = explain_redis_error(session.settings, error)
                if as_json:
                    say_error(words)
                else:
                    watching.lost(words)
            else:
                if as_json:
                    print_json(report.as_json(status))
                else:
                    watching.show(status)
            await asyncio.sleep(every)


async def _known(session: Session, wanted: Wanted) -> bool:
    """False, and said so, for a channel or a provider that is neither configured nor ever was heard of."""
    configuration = session.configuration
    if wanted.provider is not None and wanted.provider not in configuration.providers:
        known = ", ".join(sorted(configuration.providers)) or "none"
        say_error(f"there is no provider {wanted.provider} in bridge.yaml; known: {known}")
        return False
    if wanted.channel is None or wanted.channel in configuration.channels:
        return True
    if wanted.channel in await search.channels(session.ledger.redis):
        return True
    say_error(f"there is no channel {wanted.channel}")
    return False


# ---------------------------------------------------------------- one look
