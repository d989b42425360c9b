"""`dcbridge`: one command for whoever runs the bridge."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bridge.configuration import Configuration
from bridge.configuration_file import load
from bridge.problems import ConfigurationError
from bridge.settings import Settings, read_settings

app = typer.Typer(
    name="dcbridge",
    help="Carries messages between Genesys Digital Channels and SMS and email providers, and loses none.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="bridge.yaml; else DCBRIDGE_CONFIG, else ./bridge.yaml")
]


def main() -> None:
    """The entry point of the `dcbridge` command."""
    app()


def read_all(config: Path | None) -> tuple[Settings, Configuration]:
    """Settings and bridge.yaml, or every problem of both on standard error and exit code 2."""
    environ = dict(os.environ)
    if config is not None:
        environ["DCBRIDGE_CONFIG"] = str(config)
    problems: list[str] = []
    settings = configuration = None
    try:
        settings, warnings = read_settings(environ)
        for warning in warnings:
            err.print(f"warning: {warning}", style="yellow", markup=False)
    except ConfigurationError as error:
        problems += map(str, error.problems)
    try:
        configuration = load(settings.config if settings else environ.get("DCBRIDGE_CONFIG", "bridge.yaml"), environ)
        for warning in configuration.warnings:
            err.print(f"warning: {warning}", style="yellow", markup=False)
    except ConfigurationError as error:
        problems += map(str, error.problems)
    if settings is None or configuration is None:
        for problem in problems:
            err.print(f"error: {problem}", style="red", markup=False)
        err.print(f"{len(problems)} problem{'s' * (len(problems) != 1)}; nothing was started.", markup=False)
        raise typer.Exit(2)
    return settings, configuration


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
    run(settings, configuration)


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
    raise typer.Exit(run(settings, configuration, queues or [], burst=burst))


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check the configuration, the providers' settings, and that Redis is there and safe."""
    from dcbridge.check import redis_problems

    settings, configuration = read_all(config)
    counted = [
        (len(configuration.endpoints), "endpoint"),
        (len(configuration.channels), "channel"),
        (len(configuration.providers), "provider"),
    ]
    words = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counted)
    out.print(f"ok: {settings.config}: {words}", markup=False)
    problems = asyncio.run(redis_problems(settings))
    for problem in problems:
        err.print(f"error: redis: {problem}", style="red", markup=False)
    if problems:
        raise typer.Exit(1)
    out.print(f"ok: {settings.redis_place}: written, append-only, fsynced on every write, evicts nothing", markup=False)


@app.command()
def token(
    address: Annotated[str, typer.Argument(help="A number or a mailbox, in any spelling.")],
) -> None:
    """The stand-in for an address in the logs (needs DCBRIDGE_TOKEN_KEY, the same as the bridge's)."""
    from bridge.logs import Tokens

    settings, _ = read_settings(os.environ)
    if settings.token_key_is_random:
        err.print("error: DCBRIDGE_TOKEN_KEY is not set; take the value that the bridge runs with", style="red")
        raise typer.Exit(2)
    out.print(Tokens(settings.token_key.get_secret_value().encode()).of(address), markup=False)


@app.command()
def books(config: ConfigOption = None) -> None:
    """Show whether every accepted message is accounted for; exit code 1 when one is not."""
    from dcbridge.books import show

    settings, _configuration = read_all(config)
    raise typer.Exit(asyncio.run(show(settings, out)))
