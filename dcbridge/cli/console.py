"""`dcbridge console`: run the console."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from dcbridge.cli.process import process
from dcbridge.cli.terminal import ConfigOption, read_all, refused

app = typer.Typer(no_args_is_help=True, help="The console: run it.", rich_markup_mode=None)

_NEEDED = ("jinja2", "authlib")


def missing_for_console() -> str:
    """One line for whoever has to install something; nothing when all is there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if not missing:
        return ""
    return (
        f"the console is not installed ({', '.join(missing)} missing); install the extra `console`:"
        " pip install 'dcbridge[console]'"
    )


@app.command(short_help="Run the console: pages and an API for people on duty.")
def serve(
    config: ConfigOption = None,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev", help="On this computer only: everybody who reaches the port is an admin, without sign-in."
        ),
    ] = False,
) -> None:
    """Run the console on DCBRIDGE_CONSOLE_PORT. bridge.yaml says who may sign in: `console`.

    SIGTERM or Ctrl-C stops it.
    """
    if missing := missing_for_console():
        raise refused([missing])
    from dcbridge.console.main import run

    settings, configuration = read_all(config)
    with process(settings):
        run(settings, configuration, dev=dev)
