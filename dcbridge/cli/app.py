"""`dcbridge`: one command for whoever runs the bridge."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dcbridge.cli import aside, dead, events, subscribers
from dcbridge.cli.terminal import ConfigOption, JsonOption, at_the_ledger, err, out, read_all, refused, typed
from dcbridge.ledger.jobs import QUEUES
from dcbridge.printable import printable
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings

app = typer.Typer(
    name="dcbridge",
    help="Carries messages between Genesys Digital Channels and SMS and email providers, and loses none.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dcbridge {version('dcbridge')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Carries messages between Genesys Digital Channels and SMS and email providers, and loses none."""


app.add_typer(dead.app, name="dead")
app.add_typer(aside.app, name="aside", short_help="What this version cannot read: list, show, back, drop.")
app.add_typer(events.app, name="events")
app.add_typer(subscribers.app, name="subscribers")


def main() -> None:
    """The entry point of the `dcbridge` command."""
    app()


@app.command(short_help="Run everything on this computer, both worlds included.")
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
    from dcbridge.cli.dev.extras import missing_for_dev
    from dcbridge.cli.dev.processes import Ports
    from dcbridge.cli.dev.run import run

    if missing := missing_for_dev():
        err.print(f"error: {missing}", style="red", markup=False)
        raise typer.Exit(2)
    ports = Ports(public=port, operator=operator_port, worker=worker_port, page=page_port, mail=mail_port)
    raise typer.Exit(run(folder, ports))


@app.command(short_help="Play the documented flows and compare each step.")
def demo() -> None:
    """Play the documented SMS and email flows through real processes, and compare each step with the document."""
    from dcbridge.cli.dev.extras import missing_for_dev
    from dcbridge.cli.dev.run import run_demo

    if missing := missing_for_dev():
        err.print(f"error: {missing}", style="red", markup=False)
        raise typer.Exit(2)
    raise typer.Exit(run_demo())


@app.command(short_help="Run the service: webhooks and callbacks.")
def serve(config: ConfigOption = None) -> None:
    """Run the service: webhooks and callbacks on the public port, health and metrics on the operator port."""
    from dcbridge.runtime import logs
    from service.main import run

    settings, configuration = read_all(config)
    logs.configure(settings.log_format, settings.log_level, once=True)
    sys.excepthook = logs.log_uncaught
    try:
        run(settings, configuration)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None


def _known_queues(queues: list[str] | None) -> list[str]:
    for name in queues or ():
        if name not in QUEUES:
            raise typer.BadParameter(f"there is no queue {printable(name)}; there are {', '.join(QUEUES)}")
    return list(dict.fromkeys(queues or QUEUES))


@app.command(short_help="Run a worker: send, post receipts, read callbacks.")
def worker(
    queues: Annotated[
        list[str] | None,
        typer.Argument(help="Queues in the order to look at; all of them if none.", callback=_known_queues),
    ] = None,
    config: ConfigOption = None,
    burst: Annotated[bool, typer.Option(help="Stop when nothing is left to do.")] = False,
) -> None:
    """Run a worker: send messages, post receipts, read callbacks, deliver events."""
    from dcbridge.runtime import logs
    from workers.main import run

    settings, configuration = read_all(config)
    logs.configure(settings.log_format, settings.log_level, once=True)
    sys.excepthook = logs.log_uncaught
    try:
        code = run(settings, configuration, queues or QUEUES, burst=burst)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
    raise typer.Exit(code)


@app.command(short_help="Is the configuration right, and is Redis safe?")
def check(config: ConfigOption = None) -> None:
    """Check the configuration, the providers' settings, the journal, and that Redis is there and safe.

    Nothing is made but a key in Redis that ends by itself, and others that are deleted again.
    """
    from dcbridge.cli.check import check_redis
    from dcbridge.cli.journal_check import journal_problems, journal_warnings
    from dcbridge.store.connection import NOTES, redis_warnings

    settings, configuration = read_all(config)
    counted = [
        (len(configuration.endpoints), "endpoint"),
        (len(configuration.channels), "channel"),
        (len(configuration.providers), "provider"),
        (len(configuration.subscribers), "subscriber"),
    ]
    words = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counted)
    out.print(f"ok: {settings.config}: {words}", markup=False)
    of_redis = asyncio.run(check_redis(settings))
    notes = [*redis_warnings(settings), *(one for one in of_redis if one in NOTES)]
    for warning in [*(f"redis: {one}" for one in notes), *journal_warnings(settings)]:
        err.print(f"warning: {warning}", style="yellow", markup=False)
    problems = [*journal_problems(settings), *(f"redis: {one}" for one in of_redis if one not in NOTES)]
    for problem in problems:
        err.print(f"error: {problem}", style="red", markup=False)
    if problems:
        raise typer.Exit(1)
    safe = "append-only, fsynced on every write, evicts nothing"
    out.print(f"ok: {settings.redis_place}: written, {'every command allowed' if of_redis else safe}", markup=False)


@app.command(short_help="The stand-in for an address in the logs.")
def token(
    address: Annotated[
        str, typer.Argument(help='A number or a mailbox, in any spelling; "-" reads it from standard input.')
    ],
) -> None:
    """The stand-in for an address in the logs (needs DCBRIDGE_TOKEN_KEY, the same as the bridge's)."""
    from dcbridge.runtime.logs import Tokens

    try:
        settings, _ = read_settings(os.environ)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
    if settings.token_key_is_random:
        raise refused(["DCBRIDGE_TOKEN_KEY: is not set; take the value that the bridge runs with"])
    out.print(Tokens(settings.token_key.get_secret_value().encode()).of(typed(address)), markup=False)


@app.command(short_help="Is every accepted message accounted for?")
def books(
    limit: Annotated[int, typer.Option(min=1, help="Messages out of place that are shown at most.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show whether every accepted message is accounted for; exit code 1 and the messages when one is not."""
    from dcbridge.cli.books import show

    raise at_the_ledger(config, lambda session: show(session, limit, as_json))


@app.command(short_help="What runs, what waits and why; is anything wrong?")
def status(
    channel: Annotated[str | None, typer.Option(help="Only this channel, and the provider that carries it.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider, and the channels that it carries.")] = None,
    heads: Annotated[int, typer.Option(min=0, max=200, help="Conversations that wait longest, shown at most.")] = 10,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 2.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what runs, what waits and why: workers, queues, providers, channels; exit code 1 when something is wrong.

    What is wrong comes first, in words. The cost does not grow with the number of messages: where many
    are in flight, figures that would take a look at each are estimates, and say so with a ~ or "about".
    Nothing private is shown; with DCBRIDGE_TOKEN_KEY, consumers go by the tokens of the logs.
    """
    from dcbridge.cli.status import show
    from dcbridge.cli.status import watch as keep_looking
    from dcbridge.cli.status_report import Wanted

    wanted = Wanted(channel, provider, heads)
    if watch:
        raise at_the_ledger(config, lambda session: keep_looking(session, wanted, as_json, every), interrupted=0)
    raise at_the_ledger(config, lambda session: show(session, wanted, as_json))


@app.command(short_help="End a pause that a provider asked for.")
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A provider, or subscribers/ and a subscriber's name.")],
    config: ConfigOption = None,
) -> None:
    """Speak again to a provider or a subscriber that asked for a pause (Retry-After), and wake what waits for it."""
    from dcbridge.cli.resume import resume as end_pause

    raise at_the_ledger(config, lambda session: end_pause(session, name))


@app.command(short_help="Fail what waits for a channel that is not configured.")
def fail(
    channel: Annotated[str, typer.Argument(help="Id of a channel that is not in bridge.yaml any more.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Fail what was not sent yet of a channel that is not configured: the agents are told Failed with 500.

    Without this the messages wait until the channel is back in bridge.yaml, or until their time to live is over.
    """
    from dcbridge.cli.fail import fail as end

    raise at_the_ledger(config, lambda session: end(session, channel, dry_run))


@app.command(short_help="Where is my message? Its life, hop by hop.")
def trace(
    given: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A messageId of Digital Channels; an id from the logs (24 hex digits, b-… or c-…); an email's"
            " Message-ID; a provider's id of what a consumer wrote; a consumer's number or mailbox, for what waits."
            ' "-" reads it from standard input.',
        ),
    ],
    channel: Annotated[
        str | None, typer.Option(help="Channel of a messageId or an address; without it, every channel is looked at.")
    ] = None,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Look at everything that is remembered: for any id of a provider, a trace id, a token from the logs,"
            " or what was sent to an address and has ended. Takes a minute for some millions.",
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the life of one message hop by hop: times, attempts, the provider's answers; exit code 1 if nobody knows it.

    Nothing private is shown: no text, no subject, no number, no address.
    """
    from dcbridge.cli.trace import show

    named = typed(given)
    raise at_the_ledger(config, lambda session: show(session, named, channel, search, as_json))


app.add_typer(dead.app, name="dead", short_help="Dead letters: list, show, replay, drop.")
