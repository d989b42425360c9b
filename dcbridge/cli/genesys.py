"""`dcbridge genesys` and `dcbridge shapes`: sign in, look whether tokens work, and what the interfaces answered."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from dcbridge.cli.terminal import CANNOT_ASK, ConfigOption, at_the_ledger, out, print_json, say_error
from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.genesys import authentication
from dcbridge.genesys.authentication import Credentials, WrongRedirect
from dcbridge.operations.session import Session
from dcbridge.printable import printable
from dcbridge.settings.process import Settings

app = typer.Typer(
    help="Genesys' interfaces beside Digital Channels: sign in, check.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def login(config: ConfigOption = None) -> None:
    """Sign in once with a browser, for the grant authorization_code.

    Prints an address. Open it, sign in, and paste the address that the browser ends at; the page there may be an
    error. Afterwards every process uses and renews the token.
    """
    raise _run(config, _login)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Get a token, and ask Genesys whose it is. Exit code 1 if that does not work, 2 if no login is configured.

    At Genesys Cloud, also read each channel's integration, and check that its webhook leads here.
    """
    raise check_logins(config)


@app.command()
def probe(
    address: Annotated[str, typer.Argument(help="Mailbox that the email is from: one of your own.")],
    config: ConfigOption = None,
) -> None:
    """Submit one test email to Secure Email, and print its code.

    The email is written as genesys.secure_email says; the code belongs into its `verified`.
    Look at each field of the email in Genesys before you write the code into bridge.yaml: a field that Genesys does not
    know may be dropped without a word. Exit code 1 if Genesys did not take the email.
    """
    from dcbridge.cli import secure_email_probe

    raise secure_email_probe.run(config, address)


def show_shapes(config: Any, operation: str | None, as_json: bool, forget: bool) -> typer.Exit:
    """What `dcbridge shapes` does."""

    async def work(session: Session) -> int:
        shapes = session.ledger.shapes
        if forget:
            await shapes.forget()
            out.print("Forgotten.")
            return 0
        found = {name: paths for name, paths in (await shapes.all()).items() if operation in (None, name)}
        if as_json:
            print_json(found)
        elif not found:
            out.print("No interface has answered anything yet.")
        else:
            for name, paths in found.items():
                out.print(printable(name), markup=False)
                for path, types in paths.items():
                    out.print(f"  {printable(path)}: {printable(types)}", markup=False)
        return 0

    return at_the_ledger(config, work)


# ---------------------------------------------------------------- the work


def key_is_missing(settings: Settings, configuration: Configuration) -> str:
    """What is wrong where tokens are to be shared and their key is another in each process; else ""."""
    auth = configuration.genesys.auth if configuration.genesys else None
    whose = "genesys.auth" if auth else "genesys_cloud" if configuration.genesys_cloud else ""
    if not whose or not settings.token_key_is_random:
        return ""
    return (
        f"DCBRIDGE_TOKEN_KEY: is not set, and the tokens of {whose} are encrypted with it; set the same value in"
        " every process"
    )


def check_logins(config: Any) -> typer.Exit:
    """What `dcbridge genesys check` does: for each interface and organization that has a login."""

    async def work(session: Session) -> int:
        configuration = session.configuration
        credentials = configuration.genesys.credentials() if configuration.genesys else None
        if missing := key_is_missing(session.settings, configuration):
            say_error(missing)
            return CANNOT_ASK
        if credentials is None and not configuration.genesys_cloud:
            say_error("neither genesys.auth nor genesys_cloud is set in bridge.yaml: there is no login to check")
            return CANNOT_ASK
        codes = [await _check(session, credentials)] if credentials else []
        if configuration.genesys_cloud:
            codes.append(await _check_cloud(session))
        return max(codes)

    return at_the_ledger(config, work)


def _run(config: Any, work: Callable[[Session, Credentials], Awaitable[int]]) -> typer.Exit:
    async def run(session: Session) -> int:
        genesys = session.configuration.genesys
        credentials = genesys.credentials() if genesys else None
        if missing := key_is_missing(session.settings, session.configuration):
            say_error(missing)
            return CANNOT_ASK
        if credentials is None:
            say_error("genesys.auth is not set in bridge.yaml")
            return CANNOT_ASK
        return await work(session, credentials)

    return at_the_ledger(config, run)


@asynccontextmanager
async def _interfaces(session: Session, credentials: Credentials) -> AsyncIterator[tuple[Any, Any]]:
    """The shared token, and what sends."""
    from dcbridge.interfaces import Interfaces, SharedToken
    from dcbridge.ledger.vault import Vault
    from dcbridge.runtime.metrics import Metrics
    from dcbridge.transport.sender import Sender

    vault, metrics = Vault(session.settings.token_key.get_secret_value().encode()), Metrics()
    async with Sender() as sender:
        token = SharedToken(credentials, session.ledger, vault, sender, metrics, quiet=True)
        interfaces = Interfaces(credentials.key, token, sender, session.ledger, metrics)
        try:
            yield token, interfaces
        finally:
            await interfaces.close()


async def _login(session: Session, credentials: Credentials) -> int:
    from dcbridge.oauth2 import read_grant
    from dcbridge.transport.sender import Sender

    if credentials.grant != "authorization_code":
        say_error(f"genesys.auth.grant is {credentials.grant}, which needs no login; try `dcbridge genesys check`")
        return CANNOT_ASK
    state = authentication.new_state()
    out.print("Open this address, sign in, and paste the address that the browser ends at:", markup=False)
    typer.echo(credentials.sign_in(state))
    try:
        code = authentication.read_redirect(sys.stdin.readline(), credentials, state)
    except WrongRedirect as wrong:
        say_error(f"what was pasted {wrong}")
        return 1
    try:
        async with Sender() as sender, _interfaces(session, credentials) as (token, _):
            granted = read_grant(await sender.http(credentials.by_code(code)))
            await token.keep(granted)
    except SendError as error:
        say_error(f"Genesys gave no token: {error.code or error.outcome}")
        return 1
    if not granted.refresh:
        out.print("Signed in. There is no refresh token: sign in again when this one has ended.", markup=False)
        return 0
    out.print("Signed in. The workers use and renew this login from now on.", markup=False)
    return 0


async def _check_cloud(session: Session) -> int:
    """Print what each organization of Genesys Cloud says; 1 where one of them is wrong."""
    from dcbridge.operations.doctor import cloud
    from dcbridge.operations.doctor.finding import Severity

    code = 0
    async for one in cloud.look(session, tuple(session.configuration.genesys_cloud)):
        if one.severity is Severity.ERROR:
            say_error(printable(f"{one.about}: {one.words}"))
            code = 1
        else:
            out.print(printable(f"ok: {one.about}: {one.words}"), markup=False)
    return code


async def _check(session: Session, credentials: Credentials) -> int:
    from dcbridge.interfaces import Operation

    try:
        async with _interfaces(session, credentials) as (token, interfaces):
            request = credentials.userinfo(await token.token())
            reading = await interfaces.send(Operation("authentication", "userinfo", bearer=True), request)
    except SendError as error:
        say_error(f"no token: {error.code or error.outcome}")
        return 1
    if not reading.good:
        say_error(f"the token was refused: {reading.words}")
        return 1
    theirs, ours = authentication.contact_center_of(reading), session.configuration.digital_channels.contact_center_id
    if theirs and theirs.lower() != ours.lower():
        say_error("the token is of another contact centre than digital_channels.contact_center_id")
        return 1
    out.print("ok: the token works" + ("" if theirs else "; Genesys did not say of which contact centre it is"))
    return 0


ShapesArgument = Annotated[
    str | None, typer.Argument(metavar="OPERATION", help="Only this one, such as openmedia.create.")
]
