"""`dcbridge doctor`: what of an installation is wrong, looked at live, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from dcbridge.cli.terminal import (
    NO,
    ConfigOption,
    JsonOption,
    at_the_ledger,
    err,
    no_such,
    out,
    print_json,
    say_error,
)
from dcbridge.operations.doctor.dkim import is_selector
from dcbridge.operations.doctor.finding import Finding, Severity
from dcbridge.operations.session import Session
from dcbridge.printable import printable

MOST_SELECTORS = 10
_STYLES = {Severity.OK: "green", Severity.NOTE: "", Severity.WARNING: "yellow", Severity.ERROR: "red"}


def doctor(
    channel: Annotated[str | None, typer.Option(help="Only what concerns this channel.")] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Also what leaves a trace elsewhere: bind at each SMSC, upload and delete a pixel at Digital Channels,"
            " post an empty form for Vonage's settings.",
        ),
    ] = False,
    selector: Annotated[
        list[str] | None, typer.Option(help="Selector of a DKIM key; may be repeated. Default: the usual ones.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and errors only.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare bridge.yaml with Redis, the public address, the companies' own settings, mail servers and the DNS.

    Nothing is changed and no message is sent. Each check takes 10 seconds at most; all of them run side by side.
    Exit code 0: nothing is wrong; 1: there is an error; 2: the configuration is wrong. No secret is shown.
    """
    selectors = tuple(selector or ())
    if len(selectors) > MOST_SELECTORS or not all(map(is_selector, selectors)):
        raise typer.BadParameter(
            f"should be at most {MOST_SELECTORS} selectors, such as selector1", param_hint="--selector"
        )

    async def work(session: Session) -> int:
        from dcbridge.operations.doctor.checks import Wanted, examined

        if channel is not None and session.configuration.channel(channel) is None:
            say_error(no_such("channel", channel, session.configuration.channels))
            return NO
        counted = dict.fromkeys(Severity, 0)
        async for findings in examined(session, Wanted(channel, deep, selectors)):
            for one in findings:
                counted[one.severity] += 1
                if not quiet or one.severity >= Severity.WARNING:
                    _show(one, as_json)
        if not as_json:
            wrong, look = counted[Severity.ERROR], counted[Severity.WARNING]
            words = f"{wrong} error{'s' * (wrong != 1)}, {look} warning{'s' * (look != 1)}"
            (err if wrong else out).print(words if wrong or look else "Nothing is wrong.", markup=False)
        return NO if counted[Severity.ERROR] else 0

    raise at_the_ledger(config, work, asks=False)


def _show(one: Finding, as_json: bool) -> None:
    if as_json:
        print_json(one.view())
        return
    style = _STYLES[one.severity] or None
    out.print(printable(f"{one.severity.word}: {one.about}: {one.words}"), style=style, markup=False)
    if one.fix:
        out.print(printable(f"    {one.fix[0].upper()}{one.fix[1:]}."), markup=False)
    if one.paste:
        out.print(printable(f"    paste: {one.paste}"), markup=False)
    if one.where:
        out.print(printable(f"    where: {one.where}"), markup=False)
