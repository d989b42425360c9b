"""What the commands have in common: two consoles, the configuration, the ledger, and how they put things."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from redis.exceptions import RedisError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from dcbridge.cli.remote import Remote, RemoteError, chosen, local_only, unreadable
from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.ledger.layout import WrongLayout
from dcbridge.operations.session import Session, explain_redis_error
from dcbridge.printable import printable, printable_lines, safe_json
from dcbridge.settings.problems import ConfigurationError, did_you_mean
from dcbridge.settings.process import Settings, read_settings
from dcbridge.store.connection import connect
from dcbridge.store.durability import Durable

NO = 1  # something is wrong, or what was named is not there: the answer is no
CANNOT_ASK = 2  # the command or the configuration is wrong
REDIS_AWAY = 3  # Redis cannot be reached, or refuses
INTERRUPTED = 130

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # of times that are typed: seconds of the letter behind a number


class SafeConsole(Console):
    """What is printed may hold what others wrote: no control character of it gets through."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable_lines(segment.text), segment.style)


# Into a pipe nothing is folded to a screen that is not there: an id must come out in one piece.
PIPE_WIDTH = 400
out = SafeConsole(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
err = SafeConsole(highlight=False, soft_wrap=True, stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Path of bridge.yaml. Default: DCBRIDGE_CONFIG, then ./bridge.yaml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_all(config: Path | None, *, warnings: bool = True) -> tuple[Settings, Configuration]:
    """Settings and bridge.yaml, or every problem of both on standard error and exit code 2."""
    environ = dict(os.environ)
    if config is not None:
        environ["DCBRIDGE_CONFIG"] = str(config)
    problems: list[str] = []
    settings = configuration = None
    try:
        settings, noticed = read_settings(environ)
        for warning in noticed if warnings else ():
            err.print(f"warning: {warning}", style="yellow", markup=False)
    except ConfigurationError as error:
        problems += map(str, error.problems)
    try:
        configuration = load(settings.config if settings else environ.get("DCBRIDGE_CONFIG", "bridge.yaml"), environ)
        for warning in configuration.warnings if warnings else ():
            err.print(f"warning: {warning}", style="yellow", markup=False)
    except ConfigurationError as error:
        problems += map(str, error.problems)
    if settings is None or configuration is None:
        raise refused(problems)
    return settings, configuration


def refused(problems: list[str]) -> typer.Exit:
    """Say every problem on standard error; exit code 2."""
    for problem in problems:
        err.print(f"error: {problem}", style="red", markup=False)
    err.print(f"{len(problems)} problem{'s' * (len(problems) != 1)} to fix.", markup=False)
    return typer.Exit(CANNOT_ASK)


def at_the_ledger(
    config: Path | None,
    work: Callable[[Session], Awaitable[int]],
    *,
    waits: bool = False,
    asks: bool = True,
    remotely: Callable[[Remote], int] | None = None,
) -> typer.Exit:
    """Run one command's work; its exit code, 3 when Redis cannot be reached.

    `remotely`: the same, asked of a console, where `--url` names one.

    With `waits` the work goes on until Ctrl-C, which is no failure then, and deals itself with a Redis that is away.
    Without `asks` the work begins whatever Redis says.
    """
    try:
        if (there := chosen()) is not None:
            return typer.Exit(_asked(there, remotely) if remotely else local_only())
    except RemoteError as error:
        say_error(str(error))
        return typer.Exit(error.code)
    settings, configuration = read_all(config, warnings=False)  # `check` and the processes themselves tell of them

    async def run() -> int:
        redis = connect(settings)
        ledger = Ledger.of(settings, redis, Durable(settings))
        try:
            with suppress(*(RedisError, OSError) if waits else ()):
                if asks:
                    await ledger.layout.require()
            return await work(Session(settings, configuration, ledger))
        except WrongLayout as error:
            say_error(str(error))
            return CANNOT_ASK
        except BrokenPipeError:  # of our own output (`… | head -1`): redis-py has its own word for a lost connection
            raise
        except (RedisError, OSError) as error:
            say_error(explain_redis_error(settings, error))
            return REDIS_AWAY
        finally:
            await redis.aclose()

    try:
        return typer.Exit(asyncio.run(run()))
    except KeyboardInterrupt:
        return typer.Exit(0 if waits else INTERRUPTED)


def _asked(there: Remote, remotely: Callable[[Remote], int]) -> int:
    """Raises RemoteError, also for an answer that has other fields than a console's."""
    try:
        return remotely(there)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise unreadable() from None


def say_error(words: str) -> None:
    err.print(f"error: {printable(words)}", style="red", markup=False)


def say_warning(words: str) -> None:
    err.print(f"warning: {printable(words)}", style="yellow", markup=False)


def progress() -> Progress:
    """A bar on standard error, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, transient=True, disable=not err.is_terminal)


def print_block(block: RenderableType) -> None:
    """A table or several. Where that is no terminal, as wide as it is and without blanks at the end of a line."""
    if out.is_terminal:
        out.print(block, soft_wrap=False)
        return
    with out.capture() as written:
        out.print(block, crop=False, width=1000)
    for line in written.get().splitlines():
        typer.echo(line.rstrip())


def print_json(value: object) -> None:
    """One line of JSON: no wrapping, no colour, and nothing that a terminal would act on."""
    typer.echo(safe_json(orjson.dumps(value).decode()))


def typed(given: str) -> str:
    """What was given, or for "-" the first line of standard input: it stays out of the shell's history."""
    return sys.stdin.readline().strip() if given == "-" else given


def parse_time(text: str, option: str = "--since") -> float:
    """Seconds since 1970 of "2h" (ago) or an ISO time, which is UTC unless it says otherwise."""
    if found := re.fullmatch(r"([0-9]{1,9})([smhd])", text):
        return time.time() - int(found[1]) * UNITS[found[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} should be 90s, 30m, 2h, 7d or an ISO time, and is {text!r}") from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def read_rate(text: str) -> float:
    """How many a second; 0 for as fast as can be."""
    if not text:
        return 0.0
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?(/s)?", text) or not float(text.removesuffix("/s")):
        raise typer.BadParameter(f"--rate should be a number a second, such as 5 or 0.5/s, and is {text!r}")
    return float(text.removesuffix("/s"))


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """ "there is no subscriber cmr; known: crm, lake; did you mean "crm"?" """
    there = sorted(known)
    near = did_you_mean(name, there)
    return f"there is no {what} {name}; known: {', '.join(there) or 'none'}" + (f"; {near}" if near else "")
