"""What commands that run until they are stopped have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dcbridge.cli.terminal import refused
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import Settings


@contextmanager
def process(settings: Settings) -> Iterator[None]:
    """It logs, and refuses a configuration that cannot work."""
    from dcbridge.runtime import logs

    logs.configure(settings.log_format, settings.log_level, once=True)
    sys.excepthook = logs.log_uncaught
    try:
        yield
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
