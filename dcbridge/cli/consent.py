"""`dcbridge consent`: who must not be written to. Numbers are read, and never stored or shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, TextIO

import orjson
import typer

from dcbridge.cli.terminal import CANNOT_ASK, ConfigOption, JsonOption, at_the_ledger, out, print_json, say_error, typed
from dcbridge.config.models import Configuration
from dcbridge.ledger.consent import BYS, NOW, OTHER_KEY, ConsumerTokens, OptOut, OtherKey, is_token
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.providers.phone import is_dialable
from dcbridge.settings.problems import did_you_mean
from dcbridge.settings.process import Settings

app = typer.Typer(
    help="Consumers who opted out: show, add, lift, export, import, sync.", no_args_is_help=True, rich_markup_mode=None
)

NumberArgument = Annotated[
    str, typer.Argument(metavar="NUMBER", help='A number in any spelling. "-" reads it from standard input.')
]
ChannelOption = Annotated[
    str | None, typer.Option(help="Only what counts for this channel. Default: every channel of bridge.yaml.")
]
IMPORTED = 1000  # lines that are written at once
LONGEST = 4096  # characters of a line


@app.command()
def show(
    number: NumberArgument, channel: ChannelOption = None, as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Show whether a consumer opted out. Exit code 1 if not."""
    raise _run(config, lambda session, tokens: _show(session, tokens, typed(number), channel, as_json))


@app.command()
def add(number: NumberArgument, channel: ChannelOption = None, config: ConfigOption = None) -> None:
    """Opt a consumer out who said so by telephone, by letter, to an agent."""
    raise _run(config, lambda session, tokens: _change(session, tokens, typed(number), channel, stop=True))


@app.command()
def lift(number: NumberArgument, channel: ChannelOption = None, config: ConfigOption = None) -> None:
    """End an opt-out, where the consumer agreed to get messages again.

    A provider that keeps opt-outs itself goes on refusing until the consumer writes START.
    """
    raise _run(config, lambda session, tokens: _change(session, tokens, typed(number), channel, stop=False))


@app.command("export")
def export_all(config: ConfigOption = None) -> None:
    """Print every opt-out as a line of JSON. There are no numbers in it, only tokens made with DCBRIDGE_TOKEN_KEY."""
    raise _run(config, _export)


@app.command("import")
def import_all(
    file: Annotated[typer.FileText, typer.Argument(help='What export printed. "-" reads standard input.')],
    config: ConfigOption = None,
) -> None:
    """Add the opt-outs of an export. Those that are known stay.

    The export was made with the same DCBRIDGE_TOKEN_KEY.
    """
    raise _run(config, lambda session, tokens: _import(session, tokens, file))


@app.command("sync")
def sync_all(
    provider: Annotated[
        str | None, typer.Option(help="Only the list of this provider. Default: of every one that has a list.")
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Add what is missing here. Without it nothing is written.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Compare the opt-outs with the lists of providers that have one.

    These are aws-sms and telnyx. It shows counts, and never a number.

    Exit code 1 if some are missing here, or a list could not be read.
    """
    from dcbridge.cli.consent_sync import sync  # what sends requests takes long to load

    raise _run(config, lambda session, tokens: sync(session, tokens, provider, apply=apply, as_json=as_json))


# ---------------------------------------------------------------- the work


def key_is_missing(settings: Settings, configuration: Configuration) -> str:
    """What is wrong where opt-outs are to be kept and the key of their tokens is another in each process; else ""."""
    scopes = configuration.consent_scopes
    if not scopes or not settings.token_key_is_random:
        return ""
    return (
        f"DCBRIDGE_TOKEN_KEY: is not set, and the opt-outs of channel {next(iter(scopes))} are kept by it; set the same"
        " value in every process, or consent.enforce to never"
    )


def _run(config: Any, work: Callable[[Session, ConsumerTokens], Awaitable[int]]) -> typer.Exit:
    async def run(session: Session) -> int:
        if missing := key_is_missing(session.settings, session.configuration):
            say_error(missing)
            return CANNOT_ASK
        if not session.configuration.consent_scopes:
            say_error(
                "dcbridge keeps no opt-outs: consent.enforce leaves those of every channel to its provider; ask there,"
                " or set it to always"
            )
            return CANNOT_ASK
        tokens = ConsumerTokens(session.settings.token_key.get_secret_value().encode())
        try:
            await session.ledger.consent.require_key(tokens.fingerprint)
        except OtherKey:
            say_error(f"DCBRIDGE_TOKEN_KEY: {OTHER_KEY}")
            return CANNOT_ASK
        return await work(session, tokens)

    return at_the_ledger(config, run)


def _places(
    session: Session, tokens: ConsumerTokens, number: str, channel: str | None
) -> dict[str, tuple[str, str]] | None:
    """Scope -> (token, a channel of it). None, and said, for what is no number, and a channel whose opt-outs are not
    kept.
    """
    configuration = session.configuration
    scopes = configuration.consent_scopes
    if channel is not None and not _is_kept(configuration, channel):
        return None
    found: dict[str, tuple[str, str]] = {}
    for channel_id, scope in scopes.items():
        if channel in (None, channel_id):
            key = configuration.consumer_key(channel_id, number)
            if is_dialable(key):
                found.setdefault(scope, (tokens.of(key), channel_id))
    if not found:
        say_error("what was given is not a telephone number; write it with its country code, such as +16504661149")
        return None
    return found


def _is_kept(configuration: Configuration, channel: str) -> bool:
    scopes = configuration.consent_scopes
    if channel in scopes:
        return True
    if channel not in configuration.channels:
        near = did_you_mean(channel, configuration.channels)
        kept = ", ".join([*scopes][:10]) + (" …" if len(scopes) > 10 else "")
        say_error(f"there is no channel {channel}; {near or f'dcbridge keeps opt-outs for {kept}'}")
    elif configuration.channels[channel].type != "sms":
        say_error(f"channel {channel} is for email; opt-outs are of sms channels")
    else:
        say_error(
            f"the opt-outs of channel {channel} are left to its provider; ask there, or set consent.enforce to always"
        )
    return False


async def _show(session: Session, tokens: ConsumerTokens, number: str, channel: str | None, as_json: bool) -> int:
    places = _places(session, tokens, number, channel)
    if places is None:
        return CANNOT_ASK
    asked = [await session.ledger.consent.find(scope, token) for scope, (token, _) in places.items()]
    found = [one for one in asked if one is not None]
    if as_json:
        for one in found:
            print_json(_facts(one))
    elif not found:
        out.print("No opt-out.")
        if channel is None and (others := _left_to_providers(session)):
            out.print(f"Channels whose providers keep opt-outs: {', '.join(others)}.", markup=False)
    else:
        for one in found:
            proof = f", {one.proof}" if one.proof else ""
            out.print(f"{one.scope}: opted out {utc(one.at.timestamp())}, by {one.by}{proof}", markup=False)
    return 0 if found else 1


def _left_to_providers(session: Session) -> list[str]:
    """The sms channels whose opt-outs are not kept here; at most ten."""
    configuration = session.configuration
    kept = configuration.consent_scopes
    found = [name for name, one in configuration.channels.items() if one.type == "sms" and name not in kept]
    return found if len(found) <= 10 else [*found[:10], "…"]


_SAID = {
    (True, "stopped"): "opted out",
    (True, "same"): "had opted out before; nothing was changed",
    (True, "late"): "the consumer has written START in this moment; nothing was changed",
    (False, "started"): "opt-out lifted",
    (False, "same"): "there was no opt-out; nothing was changed",
    (False, "late"): "the consumer has written STOP in this moment; nothing was changed",
}


async def _change(session: Session, tokens: ConsumerTokens, number: str, channel: str | None, *, stop: bool) -> int:
    places = _places(session, tokens, number, channel)
    if places is None:
        return CANNOT_ASK
    consent = session.ledger.consent
    for scope, (token, channel_id) in places.items():
        if stop:
            said = await consent.stop(scope, token, NOW, "operator", channel=channel_id)
        else:
            said = await consent.start(scope, token, NOW, "operator", channel=channel_id)
        out.print(f"{scope}: {_SAID[stop, said]}", markup=False)
    return 0


def _facts(one: OptOut) -> dict[str, str]:
    return {
        "scope": one.scope,
        "consumer": one.token,
        "at": one.at.isoformat(timespec="milliseconds"),
        "by": one.by,
        "proof": one.proof,
    }


async def _export(session: Session, tokens: ConsumerTokens) -> int:
    print_json({"opt_outs": 1, "key": tokens.fingerprint})
    async for one in session.ledger.consent.all():
        print_json(_facts(one))
    return 0


async def _import(session: Session, tokens: ConsumerTokens, file: TextIO) -> int:
    lines = _lines(file)
    head = next(lines, None)
    if not isinstance(head, dict) or head.get("opt_outs") != 1:
        say_error("line 1: is not the beginning of an export; give the whole output of dcbridge consent export")
        return CANNOT_ASK
    if head.get("key") != tokens.fingerprint:
        say_error(
            "the export was made with another DCBRIDGE_TOKEN_KEY: its tokens would stop nobody here; take the numbers"
            " from where they came from, and run dcbridge consent add for each"
        )
        return CANNOT_ASK
    opt_outs = []
    for number, line in enumerate(lines, 2):
        read = _opt_out(line)
        if read is None:
            say_error(f"line {number}: is not an opt-out; nothing was imported; leave it out, or export again")
            return CANNOT_ASK
        opt_outs.append(read)
    fresh = 0
    for start in range(0, len(opt_outs), IMPORTED):
        fresh += await session.ledger.consent.put(opt_outs[start : start + IMPORTED])
    out.print(f"{len(opt_outs):,} read, {fresh:,} added.")
    return 0


def _lines(file: TextIO) -> Iterator[Any]:
    """Each line as a value; None where it is none."""
    while line := file.readline(LONGEST):
        if not line.strip():
            continue
        try:
            yield orjson.loads(line)
        except ValueError:
            yield None


def _opt_out(line: Any) -> OptOut | None:
    try:
        at = datetime.fromisoformat(line["at"]).astimezone(UTC)
        texts = [line[name] for name in ("scope", "consumer", "by", "proof")]
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    if not all(isinstance(text, str) and text.isprintable() and len(text) <= 200 for text in texts):
        return None
    scope, token, by, proof = texts
    if not scope or not is_token(token) or at.timestamp() < 0 or (by and by not in BYS):
        return None
    return OptOut(scope, token, at, by, proof)
