"""`dcbridge`: the command for operators."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dcbridge.cli import (
    aside,
    check,
    consent,
    console,
    controls,
    dead,
    doctor,
    events,
    genesys,
    init,
    keys,
    messages,
    provider,
    reconcile,
    send,
    send_again,
    subscribers,
    trigger,
)
from dcbridge.cli.process import process
from dcbridge.cli.remote import OPTIONS
from dcbridge.cli.terminal import ConfigOption, JsonOption, at_the_ledger, err, out, read_all, refused, typed
from dcbridge.ledger.jobs import QUEUES
from dcbridge.printable import printable
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings

app = typer.Typer(
    name="dcbridge",
    help="Carry messages between Genesys Digital Channels and SMS and email providers.",
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
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar="DCBRIDGE_URL",
            help="Ask the console at this URL instead of Redis: status, trace, pause, resume, hold, release, reject,"
            " cancel, retry, dead, audit.",
        ),
    ] = "",
    token: Annotated[
        str, typer.Option("--token", envvar="DCBRIDGE_TOKEN", help="Token of dcbridge console token create.")
    ] = "",
) -> None:
    """Carry messages between Genesys Digital Channels and SMS and email providers."""
    OPTIONS.set((url, token))


app.add_typer(dead.app, name="dead", short_help="Dead letters: list, show, replay, drop.")
app.add_typer(aside.app, name="aside", short_help="Entries that this version cannot read: list, show, back, drop.")
app.add_typer(consent.app, name="consent", short_help="Consumers who opted out: show, add, lift, export, import, sync.")
app.add_typer(console.app, name="console", short_help="Pages and an API for people on duty: serve, token, sessions.")
app.add_typer(events.app, name="events")
app.add_typer(provider.app, name="provider", short_help="Several providers of one channel: list, drain, prefer, clear.")
app.add_typer(subscribers.app, name="subscribers")
app.add_typer(genesys.app, name="genesys")


def main() -> None:
    """The entry point of the `dcbridge` command."""
    app()


@app.command(short_help="Run everything on this computer, with a sandbox.")
def dev(
    folder: Annotated[Path, typer.Option(help="Folder for the data, the secrets and bridge.yaml.")] = Path(".dcbridge"),
    port: Annotated[int, typer.Option(help="Public port: webhooks and callbacks.")] = 8080,
    operator_port: Annotated[int, typer.Option(help="Operator port of the service: health and metrics.")] = 8081,
    worker_port: Annotated[int, typer.Option(help="Operator port of the worker.")] = 8082,
    page_port: Annotated[
        int, typer.Option(help="Port of the sandbox: its page, Digital Channels and the SMS provider.")
    ] = 8090,
    mail_port: Annotated[int, typer.Option(help="Port of the sandbox's mail server.")] = 8025,
    mail_in_port: Annotated[int, typer.Option(help="Port for consumers' mail, by LMTP.")] = 8024,
    mail_in_operator_port: Annotated[int, typer.Option(help="Operator port of mail-in.")] = 8083,
    console_port: Annotated[int, typer.Option(help="Port of the console.")] = 8091,
    companies: Annotated[
        str,
        typer.Option(
            "--with",
            help="Companies beside Twilio and the mail server, separated by commas:"
            " africastalking, aws-sms, azure-email, azure-sms, bandwidth, clickatell, http, infobip, mailgun,"
            " messagebird, plivo, postmark, sendgrid, ses, sinch, smpp, telnyx, vonage."
            " open-messaging adds a channel of Genesys Cloud."
            " They stay in bridge.yaml.",
        ),
    ] = "",
    spare: Annotated[
        str, typer.Option(metavar="<company>", help="An SMS company that takes over when Twilio is not available.")
    ] = "",
) -> None:
    """Run everything on this computer: Redis, the service, a worker, mail-in, the console, and a sandbox.

    The sandbox simulates Digital Channels, SMS companies and a mail server. Ctrl-C stops everything.
    """
    from dcbridge.cli.dev.cloud import NAME as OPEN_MESSAGING
    from dcbridge.cli.dev.companies import COMPANIES
    from dcbridge.cli.dev.extras import missing_for_dev
    from dcbridge.cli.dev.processes import Ports
    from dcbridge.cli.dev.run import run

    if missing := missing_for_dev():
        err.print(f"error: {missing}", style="red", markup=False)
        raise typer.Exit(2)
    ports = Ports(
        public=port,
        operator=operator_port,
        worker=worker_port,
        page=page_port,
        mail=mail_port,
        mail_in=mail_in_port,
        mail_operator=mail_in_operator_port,
        console=console_port,
    )
    kinds = [one.strip() for one in companies.split(",") if one.strip()]
    for option, chosen in (("--with", kinds), ("--spare", [spare.strip()] if spare else [])):
        names = [*COMPANIES, *([OPEN_MESSAGING] if option == "--with" else [])]
        if unknown := [one for one in chosen if one not in names]:
            known = ", ".join(names)
            raise typer.BadParameter(f"there is no {printable(unknown[0])}; choose from {known}", param_hint=option)
    raise typer.Exit(run(folder, ports, kinds, spare.strip()))


@app.command(short_help="Run the documented flows and compare each step.")
def demo() -> None:
    """Run the documented SMS and email flows through real processes, and compare each step with the document."""
    from dcbridge.cli.dev.extras import missing_for_dev
    from dcbridge.cli.dev.run import run_demo

    if missing := missing_for_dev():
        err.print(f"error: {missing}", style="red", markup=False)
        raise typer.Exit(2)
    raise typer.Exit(run_demo())


@app.command(short_help="Run the service: webhooks and callbacks.")
def serve(config: ConfigOption = None) -> None:
    """Run the service: webhooks and callbacks on the public port, health and metrics on the operator port.

    SIGTERM or Ctrl-C stops it.
    """
    from service.main import run

    settings, configuration = read_all(config)
    of_serve = (keys.link_key_is_missing, keys.own_key_is_missing)
    if missing := [what for of in of_serve if (what := of(settings, configuration))]:
        raise refused(missing)
    with process(settings):
        run(settings, configuration)


@app.command("mail-in", short_help="Take mail for email channels, by LMTP or SMTP.")
def mail_in(config: ConfigOption = None) -> None:
    """Take mail for the mailboxes of email channels, by LMTP or SMTP, from a mail system of yours.

    A mail is answered 250 when it is stored. Workers read it and post it to Digital Channels. SIGTERM or Ctrl-C stops
    the process.
    """
    from service.mail.main import run

    settings, configuration = read_all(config)
    if missing := keys.reply_key_is_missing(settings, configuration):
        raise refused([missing])
    with process(settings):
        run(settings, configuration)


def _known_queues(queues: list[str] | None) -> list[str]:
    for name in queues or ():
        if name not in QUEUES:
            raise typer.BadParameter(f"there is no queue {printable(name)}; use one of {', '.join(QUEUES)}")
    return list(dict.fromkeys(queues or QUEUES))


@app.command(short_help="Run a worker: send, post receipts, process callbacks.")
def worker(
    queues: Annotated[
        list[str] | None,
        typer.Argument(help="Queues to serve, in order of priority. Default: all.", callback=_known_queues),
    ] = None,
    config: ConfigOption = None,
    burst: Annotated[bool, typer.Option(help="Exit when no work is left.")] = False,
) -> None:
    """Run a worker: send messages, post receipts, process callbacks, deliver events.

    All queues together must be served by the running workers: receipts, inbound, outbound, events.
    SIGTERM or Ctrl-C stops it.
    """
    from workers.main import run

    settings, configuration = read_all(config)
    if missing := keys.missing_keys(settings, configuration):
        raise refused(missing)
    with process(settings):
        code = run(settings, configuration, queues or QUEUES, burst=burst)
    raise typer.Exit(code)


@app.command(short_help="Show which URL to enter at Genesys and at each company.")
def addresses(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show which address to enter at Digital Channels and at each company.

    <callback_secret> stands for the value in bridge.yaml, which is not shown.
    """
    from dcbridge.cli.addresses import show

    show(read_all(config, warnings=False)[1], as_json)


@app.command(short_help="Show the token that stands for an address in the logs.")
def token(
    address: Annotated[
        str, typer.Argument(help='A number or a mailbox, in any spelling. "-" reads it from standard input.')
    ],
) -> None:
    """Show the token that stands for an address in the logs.

    Needs the same DCBRIDGE_TOKEN_KEY as the service and the workers.
    """
    from dcbridge.runtime.logs import Tokens

    try:
        settings, _ = read_settings(os.environ)
    except ConfigurationError as error:
        raise refused(list(map(str, error.problems))) from None
    if settings.token_key_is_random:
        raise refused(["DCBRIDGE_TOKEN_KEY: is not set; use the value of the service and the workers"])
    out.print(Tokens(settings.token_key.get_secret_value().encode()).of(typed(address)), markup=False)


@app.command(short_help="Show which fields Genesys' interfaces answer with.")
def shapes(
    operation: genesys.ShapesArgument = None,
    as_json: JsonOption = False,
    forget: Annotated[bool, typer.Option("--forget", help="Delete what was learned, and start again.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show names and JSON types of the fields that Genesys' interfaces answered with. Values are never stored."""
    raise genesys.show_shapes(config, operation, as_json, forget)


@app.command(short_help="Check that every accepted message is accounted for.")
def books(
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many messages that are out of place.")] = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Check that every accepted message is accounted for.

    accepted = delivered + removed + failed + unconfirmed + in flight, for each channel; and for each provider, where
    a channel has several. Exit code 1 if that does not hold; the messages concerned are listed.
    """
    from dcbridge.cli.books import show

    raise at_the_ledger(config, lambda session: show(session, limit, as_json))


@app.command(short_help="Show problems, what runs, and what waits for what.")
def status(
    channel: Annotated[str | None, typer.Option(help="Only this channel and its provider.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider and its channels.")] = None,
    heads: Annotated[
        int, typer.Option(min=0, max=200, help="Show at most this many of the conversations that wait longest.")
    ] = 10,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two refreshes.")] = 2.0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show problems first, then workers, queues, providers, channels and waiting conversations.

    Exit code 1 if there is a problem. The cost does not grow with the number of messages: if many are in
    flight, some figures are estimates, marked with ~ or "about". Nothing private is shown; with
    DCBRIDGE_TOKEN_KEY, consumers appear as the tokens of the logs.
    """
    from dcbridge.cli.status import show, show_remote
    from dcbridge.cli.status import watch as keep_looking
    from dcbridge.operations.status import Wanted

    wanted = Wanted(channel, provider, heads)
    if watch:
        raise at_the_ledger(config, lambda session: keep_looking(session, wanted, as_json, every), waits=True)
    raise at_the_ledger(
        config,
        lambda session: show(session, wanted, as_json),
        remotely=lambda there: show_remote(there, wanted, as_json),
    )


for _name, _command, _short in (
    ("init", init.init, "Ask a few questions, and write a bridge.yaml."),
    ("check", check.check, "Check the configuration and Redis."),
    ("doctor", doctor.doctor, "Compare bridge.yaml with the companies' settings and the DNS."),
    ("pause", controls.pause, "Stop a provider, a channel, a subscriber or a conversation."),
    ("resume", controls.resume, "End a pause or a hold, or one that a provider asked for."),
    ("hold", controls.hold, "Hold the messages of a channel for review."),
    ("release", messages.release, "Send messages that are held for review."),
    ("reject", messages.reject, "Fail messages that are held for review."),
    ("cancel", messages.cancel, "Cancel messages that were not sent yet."),
    ("retry", messages.retry, "Make the next attempt now."),
    ("send-again", send_again.send_again, "Send a message that has ended once more."),
    ("drain", controls.drain, "Send nothing more, and say when it is safe to stop."),
    ("audit", controls.audit, "Show who paused, cancelled or released what, and why."),
    ("reconcile", reconcile.reconcile, "Compare our messages with what Genesys exported."),
    ("send", send.send, "Send one test message, and show its history live."),
    ("trigger", trigger.trigger, "Call a trigger of bridge.yaml, to try it."),
):
    app.command(_name, short_help=_short)(_command)


@app.command(short_help="Send a share of new conversations through a spare provider.")
def drill(
    name: provider.NameArgument,
    share: Annotated[str | None, typer.Option(help="Share of new conversations: 1% or 0.01. Begins a drill.")] = None,
    lasts: provider.ForOption = "1h",
    end: Annotated[bool, typer.Option("--end", help="End the drill now.")] = False,
    why: provider.WhyOption = "",
    by: provider.ByOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send a share of new conversations through a spare provider, and compare what becomes of them with the others.

    Without --share and --end it shows what the last drill found.
    """
    raise at_the_ledger(
        config,
        lambda session: provider.drill(session, name, share, lasts, end=end, by=by, why=why, as_json=as_json),
    )


@app.command(short_help="Fail the messages of a channel that is not configured.")
def fail(
    channel: Annotated[str, typer.Argument(help="Id of a channel that is no longer in bridge.yaml.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Fail the unsent messages of a channel that is not configured: agents see Failed with reason 500.

    Without this, the messages wait until the channel is in bridge.yaml again, or until their time to live is over.
    """
    from dcbridge.cli.fail import fail as end

    raise at_the_ledger(config, lambda session: end(session, channel, dry_run))


@app.command(short_help="Show the history of a message.")
def trace(
    given: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A messageId of Digital Channels; an id from the logs (24 hex digits, b-…, c-… or l-…); an email's"
            " Message-ID; a provider's id of a consumer message; a consumer's number or mailbox."
            ' "-" reads it from standard input.',
        ),
    ],
    channel: Annotated[
        str | None, typer.Option(help="Channel of the messageId or the address. Default: all channels.")
    ] = None,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Search all remembered messages: for any id of a provider, a trace id, a token from the logs, or an"
            " address, also of messages that are not indexed. Takes about a minute for some millions.",
        ),
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the history of a message: times, attempts, the provider's responses, updates, the receipt.

    Exit code 1 if there is no such message. Nothing private is shown: no text, subject, number or address.
    """
    from dcbridge.cli.trace import show, show_remote

    named = typed(given)
    raise at_the_ledger(
        config,
        lambda session: show(session, named, channel, search, as_json),
        remotely=lambda there: show_remote(there, named, channel, search, as_json),
    )
