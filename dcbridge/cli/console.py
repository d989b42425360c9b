"""`dcbridge console`: run the console, and who may use it by a token."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.controls import who_acts
from dcbridge.cli.process import process
from dcbridge.cli.terminal import (
    NO,
    UNITS,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    err,
    out,
    print_block,
    print_json,
    read_all,
    refused,
    say_error,
)
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.printable import printable

app = typer.Typer(no_args_is_help=True, help="The console: run it, its tokens, its sessions.", rich_markup_mode=None)
token_app = typer.Typer(no_args_is_help=True, help="Tokens for the console and its API.", rich_markup_mode=None)
sessions_app = typer.Typer(no_args_is_help=True, help="Who has signed in at the console.", rich_markup_mode=None)
app.add_typer(token_app, name="token", short_help="Tokens for the console and its API: create, list, revoke.")
app.add_typer(sessions_app, name="sessions", short_help="Who has signed in: list, revoke.")

_NEEDED = ("jinja2", "joserfc")
_ROLES = ("viewer", "operator", "admin")
LONGEST = 366 * 86400.0  # seconds that a token may count
ByOption = Annotated[str, typer.Option("--by", help="Who does it. Default: the user of this computer.")]


def missing_for_console(needed: Sequence[str] = _NEEDED) -> str:
    """One line for whoever has to install something; nothing when all is there."""
    missing = [name for name in needed if find_spec(name) is None]
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
        typer.Option("--dev", help="On this computer only: everybody who reaches the port is an admin."),
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


# ---------------------------------------------------------------- tokens


def _role(value: str) -> str:
    if value not in _ROLES:
        raise typer.BadParameter("should be viewer, operator or admin", param_hint="--role")
    return value


@token_app.command(short_help="Make a token, and show it once.")
def create(
    name: Annotated[str, typer.Argument(help="Who or what uses it; the record names its actions by this.")],
    role: Annotated[str, typer.Option(help="viewer, operator or admin.", callback=_role)] = "viewer",
    expires: Annotated[str, typer.Option(help="How long it is valid: 12h, 30d, 52w; at most 366 days.")] = "90d",
    by: ByOption = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token for the console and its API, and show it this once. Redis keeps only a digest of it.

    It is accepted if `tokens` of `console` is true in bridge.yaml.
    """
    lasts = _lasts(expires)
    name = printable(name.strip())[:100]
    if not name:
        raise typer.BadParameter("should not be empty", param_hint="NAME")

    async def work(session: Session) -> int:
        who = who_acts(by, "")
        made = await session.ledger.console.make_token(name, role, lasts, who.by)
        if made is None:
            say_error("there are 1,000 tokens; revoke some of them first, see dcbridge console token list")
            return NO
        await session.ledger.controls.note(who.by, "console.token", made[0].id, "", f"made for {name}, {role}")
        if as_json:
            until = utc(made[0].until) if made[0].until else None
            print_json({"id": made[0].id, "name": name, "role": role, "until": until, "token": made[1]})
            return 0
        out.print(made[1], markup=False)
        if not (session.configuration.console and session.configuration.console.tokens):
            err.print(
                "warning: tokens are not accepted yet: set tokens: true below console in bridge.yaml", style="yellow"
            )
        return 0

    raise at_the_ledger(config, work)


def _lasts(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,6})([smhdw])", text, re.ASCII)
    seconds = int(found[1]) * (UNITS | {"w": 7 * UNITS["d"]})[found[2]] if found else 0
    if not 60 <= seconds <= LONGEST:
        raise typer.BadParameter("should be 12h, 30d or 52w; a minute to 366 days", param_hint="--expires")
    return float(seconds)


@token_app.command("list", short_help="Show the tokens, without their secrets.")
def list_tokens(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show id, name, role and end of each token."""

    async def work(session: Session) -> int:
        found = await session.ledger.console.tokens()
        rows = [
            {
                "id": one.id,
                "name": one.name,
                "role": one.role,
                "made": utc(one.made),
                "until": utc(one.until) if one.until else None,
                "by": one.by,
            }
            for one in found
        ]
        return _show(rows, "There are no tokens; dcbridge console token create makes one.", as_json=as_json)

    raise at_the_ledger(config, work)


@token_app.command(short_help="End a token, and the sessions that it began.")
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As dcbridge console token list shows it.")],
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """End a token at once, and the sessions that it began."""

    async def work(session: Session) -> int:
        if not await session.ledger.console.revoke_token(identity):
            say_error("there is no such token; dcbridge console token list shows them")
            return NO
        who = who_acts(by, "")
        await session.ledger.controls.note(who.by, "console.token", printable(identity)[:100], "", "revoked")
        out.print("The token is revoked, and so are the sessions that it began.")
        return 0

    raise at_the_ledger(config, work)


# ---------------------------------------------------------------- sessions


@sessions_app.command("list", short_help="Show who has signed in.")
def list_sessions(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show name, role and end of each session."""

    async def work(session: Session) -> int:
        rows = [
            {
                "id": one.key[:12],
                "name": one.name,
                "role": one.role,
                "how": one.how,
                "began": utc(one.began),
                "until": utc(one.until),
            }
            for one in await session.ledger.console.sessions()
        ]
        return _show(rows, "Nobody has signed in.", as_json=as_json)

    raise at_the_ledger(config, work)


@sessions_app.command("revoke", short_help="End the sessions of a person, or one of them.")
def revoke_sessions(
    named: Annotated[str, typer.Argument(metavar="NAME", help='A person, the id of one session, or "all".')],
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """End sessions at once: of a person, of one id, or all. A provider of OpenID Connect may sign them in again."""

    async def work(session: Session) -> int:
        every = await session.ledger.console.sessions()
        found = [one for one in every if named in ("all", one.name, one.key[:12])]
        ended = sum([await session.ledger.console.end(one.key) for one in found])
        if not ended:
            say_error("there is no such session; dcbridge console sessions list shows them")
            return NO
        who = who_acts(by, "")
        await session.ledger.controls.note(who.by, "console.sessions", printable(named)[:100], "", f"{ended} ended")
        out.print(f"{ended} {'session' if ended == 1 else 'sessions'} ended.")
        return 0

    raise at_the_ledger(config, work)


def _show(rows: Sequence[Mapping[str, str | None]], nothing: str, *, as_json: bool) -> int:
    if as_json:
        for row in rows:
            print_json(row)
        return 0
    if not rows:
        out.print(nothing)
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(value or "-")) for value in row.values()))
    print_block(table)
    return 0
