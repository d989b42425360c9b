"""`dcbridge aside`: what this version cannot read, because a newer one wrote it or it is damaged."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import ConfigOption, JsonOption, at_the_ledger, out, print_block, print_json, say_error
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.printable import printable

app = typer.Typer(
    help="Entries that this version cannot read and has set aside: list, show, back, drop.", no_args_is_help=True
)
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Id from `dcbridge aside list`.")]


@app.command(name="list")
def list_(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """List the entries that are set aside, why and since when. Exit code 1 if there are any."""

    async def work(session: Session) -> int:
        found = [one async for one in session.ledger.asides.all()]
        if as_json:
            print_json([asdict(one) | {"at": utc(one.at)} for one in found])
            return 1 if found else 0
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("id", "channel", "since", "why"):
            table.add_column(name, overflow="fold")
        for one in found:
            table.add_row(*(Text(printable(cell)) for cell in (one.id, one.channel_id, utc(one.at), one.why)))
        if found:
            print_block(table)
        else:
            out.print("Nothing is set aside.")
        return 1 if found else 0

    raise at_the_ledger(config, work)


@app.command()
def show(
    member: Annotated[str, typer.Argument(metavar="ID", help="Id from `dcbridge aside list`.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show the fields of an entry and their lengths, not their values. Exit code 1 if it does not exist."""

    async def work(session: Session) -> int:
        fields = await session.ledger.asides.fields(member)
        if fields is None:
            say_error(f"nothing is stored for {member}")
            return 1
        if as_json:
            print_json(fields)
            return 0
        for name, said in fields.items():
            out.print(f"{printable(name)}: {printable(said)}", markup=False)
        return 0

    raise at_the_ledger(config, work)


@app.command()
def back(ids: Ids, config: ConfigOption = None) -> None:
    """Put entries back, once a version runs that can read them. Exit code 1 if one still cannot be read."""

    async def work(session: Session) -> int:
        asides, left = session.ledger.asides, 0
        for one in ids:
            answer = await asides.put_back(one)
            if answer == "back":
                out.print(f"{printable(one)}: put back", markup=False)
            else:
                left += 1
                say_error(f"{one}: {answer}")
        return 1 if left else 0

    raise at_the_ledger(config, work)


@app.command()
def drop(ids: Ids, config: ConfigOption = None) -> None:
    """Delete entries. An agent message then counts as failed, and the agent gets no receipt.

    Exit code 1 if one of them does not exist.
    """

    async def work(session: Session) -> int:
        forgotten = await session.ledger.asides.drop(ids)
        out.print(f"{forgotten} deleted.")
        if forgotten == len(set(ids)):
            return 0
        say_error("the others are not set aside: see `dcbridge aside list`")
        return 1

    raise at_the_ledger(config, work)
