"""`dcbridge`: one command for whoever runs the bridge."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from bridge.problems import ConfigurationError
from bridge.settings import read_settings
from dcbridge import dead
from dcbridge.terminal import ConfigOption, JsonOption, at_the_ledger, err, out, read_all, refused

app = typer.Typer(
    name="dcbridge",
    help="Carries messages between Genesys Digital Channels and SMS and email providers, and loses none.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(dead.app, name="dead")


def main() -> None:
    """The entry point of the `dcbridge` command."""
    app()


@app.command()
def dev(
    folder: Annotated[Path, typer.Option(help="Where the data, the secrets and bridge.yaml are kept.")] = Path(
        ".dcbridge"
    ),
    port: Annotated[int, typer.Option(help="Port of the bridge's public listener.")] = 8080,
    operator_port: Annotated[int, typer.Option(help="Port of the bridge's operator listener.")] = 8081,
    worker_port: Annotated[int, typer.Option(help="Port of the worker's operator listener.")] = 8082,
    page_port: Annotated[int, typer.Option(help="Port of the page, and of both pretended worlds.")] = 8090,
    mail_port: Annotated[int, typer.Option(help="Port of the pretended mail server.")] = 8025,
) -> None:
    """Run everything on this computer: Redis, both outside worlds, the service and a worker."""
    from dcbridge.dev import run
    from dcbridge.parts import Ports

    ports = Ports(public=port, operator=operator_port, worker=worker_port, page=page_port, mail=mail_port)
    raise typer.Exit(run(folder, ports))


@app.command()
def demo() -> None:
    """Play the documented SMS and email flows through real processes, and compare each step with the document."""
    from dcbridge.dev import run_demo

    raise typer.Exit(run_demo())


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the service: webhooks and callbacks on the public port, health and metrics on the operator port."""
    from bridge import logs
    from service.main import run

    settings, configuration = read_all(config)
    logs.configure(settings.log_format, settings.log_level)
    sys.excepthook = logs.log_uncaught
    try:
        run(settings, configuration)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None


@app.command()
def worker(
    queues: Annotated[
        list[str] | None, typer.Argument(help="Queues in the order to look at; all of them if none.")
    ] = None,
    config: ConfigOption = None,
    burst: Annotated[bool, typer.Option(help="Stop when nothing is left to do.")] = False,
) -> None:
    """Run a worker: send messages, post receipts, read callbacks."""
    from bridge import logs
    from workers.main import run

    settings, configuration = read_all(config)
    logs.configure(settings.log_format, settings.log_level)
    sys.excepthook = logs.log_uncaught
    try:
        code = run(settings, configuration, queues or [], burst=burst)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
    raise typer.Exit(code)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check the configuration, the providers' settings, the journal, and that Redis is there and safe."""
    from bridge.redis_connection import worth_knowing
    from dcbridge.check import journal_problems, redis_problems

    settings, configuration = read_all(config)
    counted = [
        (len(configuration.endpoints), "endpoint"),
        (len(configuration.channels), "channel"),
        (len(configuration.providers), "provider"),
    ]
    words = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counted)
    out.print(f"ok: {settings.config}: {words}", markup=False)
    for warning in worth_knowing(settings):
        err.print(f"warning: redis: {warning}", style="yellow", markup=False)
    problems = [*journal_problems(settings), *(f"redis: {p}" for p in asyncio.run(redis_problems(settings)))]
    for problem in problems:
        err.print(f"error: {problem}", style="red", markup=False)
    if problems:
        raise typer.Exit(1)
    out.print(f"ok: {settings.redis_place}: written, append-only, fsynced on every write, evicts nothing", markup=False)


@app.command()
def token(
    address: Annotated[str, typer.Argument(help="A number or a mailbox, in any spelling.")],
) -> None:
    """The stand-in for an address in the logs (needs DCBRIDGE_TOKEN_KEY, the same as the bridge's)."""
    from bridge.logs import Tokens

    try:
        settings, _ = read_settings(os.environ)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
    if settings.token_key_is_random:
        raise refused(["DCBRIDGE_TOKEN_KEY: is not set; take the value that the bridge runs with"])
    out.print(Tokens(settings.token_key.get_secret_value().encode()).of(address), markup=False)


@app.command()
def books(
    limit: Annotated[int, typer.Option(min=1, help="Messages out of place that are shown at most.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show whether every accepted message is accounted for; exit code 1 and the messages when one is not."""
    from dcbridge.books import show

    raise at_the_ledger(config, lambda desk: show(desk, limit, as_json))


@app.command()
def trace(
    given: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A messageId of Digital Channels, or an id from the logs: 24 hex digits, with -n for the n-th further"
            " recipient, or a task, b-… or c-….",
        ),
    ],
    channel: Annotated[
        str | None, typer.Option(help="Channel of a messageId; without it, every channel is looked at.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the life of one message hop by hop: times, attempts, the provider's answers; exit code 1 if nobody knows it.

    Nothing private is shown: no text, no subject, no number, no address.
    """
    from dcbridge.trace import show

    raise at_the_ledger(config, lambda desk: show(desk, given, channel, as_json))
