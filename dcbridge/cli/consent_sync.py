"""`dcbridge consent sync`: compares the opt-outs that are kept here with the lists of those providers that have one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import httpx

from dcbridge.cli.terminal import CANNOT_ASK, NO, out, print_json, say_error
from dcbridge.config.models import Configuration
from dcbridge.errors import Deferred, OutcomeUnknown, SendError, Throttled, Unreachable
from dcbridge.ledger.consent import ConsumerTokens, OptOut
from dcbridge.operations.session import Session
from dcbridge.providers.base import Provider
from dcbridge.providers.opt_outs import ListedOptOut, OptOutList, OptOutPage
from dcbridge.providers.phone import is_dialable
from dcbridge.settings.problems import did_you_mean
from dcbridge.transport.accounts import Accounts
from dcbridge.transport.sender import Sender

MOST = 1_000_000  # rows of one list
TRIES = 6  # of one page
WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds


@dataclass(slots=True)
class Compared:
    """One provider's list beside ours. No number, and no token."""

    provider: str
    listed: int = 0
    known: int = 0  # here
    missing: int = 0  # here; added, unless nothing is to be written
    started: int = 0  # the consumer has written START to us since
    unusable: int = 0  # rows without a number, or of a sender that is none of our channels
    only_here: int = 0
    added: bool = False


class Broken(Exception):
    """A list that does not end."""


async def sync(session: Session, tokens: ConsumerTokens, provider: str | None, *, apply: bool, as_json: bool) -> int:
    """1 where opt-outs are missing here and were not added, or a provider could not be asked."""
    configuration, settings = session.configuration, session.settings
    scopes = scopes_of(configuration)
    if provider is not None and provider not in scopes:
        if provider in configuration.providers:
            say_error(f"dcbridge keeps no opt-outs for a channel of provider {provider}; set consent.enforce to always")
            return CANNOT_ASK
        near = did_you_mean(provider, configuration.providers)
        say_error(f"there is no provider {provider}" + (f"; {near}" if near else ""))
        return CANNOT_ASK
    code, built = 0, configuration.build_providers()
    async with Sender(connect_timeout=settings.connect_timeout, read_timeout=settings.read_timeout) as sender:
        accounts = Accounts(sender)
        try:
            for name in scopes if provider is None else (provider,):
                code = max(code, await _one(session, tokens, built[name], accounts, scopes[name], apply, as_json))
        finally:
            await accounts.close()
    return code


async def _one(
    session: Session,
    tokens: ConsumerTokens,
    provider: Provider,
    accounts: Accounts,
    scopes: Mapping[str, str],
    apply: bool,
    as_json: bool,
) -> int:
    if provider.opt_out_list is None:
        if not as_json:
            out.print(f"{provider.name}: {provider.kind} has no list that can be asked for", markup=False)
        return 0
    found = Compared(provider.name, added=apply)
    try:
        await _compare(session, tokens, provider, accounts, scopes, found)
    except SendError as error:
        what = " ".join(filter(None, (error.outcome, error.code)))
        say_error(f"{provider.name}: its list could not be read: {what}; what was read before it counts, run it again")
        return NO
    except Broken as error:
        say_error(f"{provider.name}: its list could not be read: {error}")
        return NO
    if as_json:
        print_json(asdict(found))
    else:
        out.print(_words(found), markup=False)
    return NO if found.missing and not apply else 0


async def _compare(
    session: Session,
    tokens: ConsumerTokens,
    provider: Provider,
    accounts: Accounts,
    scopes: Mapping[str, str],
    found: Compared,
) -> None:
    theirs: set[tuple[str, bytes]] = set()
    async for rows in _pages(provider, accounts):
        found.listed += len(rows)
        if found.listed > MOST:
            raise Broken(f"it has more than {MOST:,} rows")
        fresh = []
        for row in rows:
            places = _places(session.configuration, tokens, provider.name, scopes, row)
            found.unusable += not places
            for scope, token in places.items():
                if (scope, bytes.fromhex(token)) not in theirs:
                    theirs.add((scope, bytes.fromhex(token)))
                    at = datetime.fromtimestamp(row.at, UTC) if row.at else datetime.now(UTC)
                    fresh.append(OptOut(scope, token, at, "provider", f"list:{provider.name}"))
        missing, started = await session.ledger.consent.found(fresh, dry=not found.added)
        found.missing += missing
        found.started += started
        found.known += len(fresh) - missing - started
    for scope in set(scopes.values()):
        async for token in session.ledger.consent.tokens(scope):
            found.only_here += (scope, _bytes(token)) not in theirs


def _places(
    configuration: Configuration, tokens: ConsumerTokens, provider: str, scopes: Mapping[str, str], row: ListedOptOut
) -> dict[str, str]:
    """Scope -> token, for the channel whose number it is about, or for all that the provider serves."""
    channels = list(scopes)
    if row.sender:
        channel = configuration.channel_of(provider, row.sender)
        channels = [channel] if channel is not None and channel in scopes else []
    found: dict[str, str] = {}
    for channel in channels:
        key = configuration.consumer_key(channel, row.number)
        if is_dialable(key):
            found.setdefault(scopes[channel], tokens.of(key))
    return found


async def _pages(provider: Provider, accounts: Accounts) -> AsyncIterator[Sequence[ListedOptOut]]:
    listing, page, seen = provider.opt_out_list, "", set[str]()
    assert listing is not None
    while True:
        answer = await _page(provider, listing, accounts, page)
        yield answer.rows
        page = answer.following
        if not page:
            return
        if page in seen:
            raise Broken("a page names one that was read before")
        seen.add(page)


async def _page(provider: Provider, listing: OptOutList, accounts: Accounts, page: str) -> OptOutPage:
    for attempt in range(TRIES):
        try:
            answer = await accounts.send(provider, listing.page_request(page))
            assert isinstance(answer, httpx.Response)
            return listing.parse_page(answer)
        except SendError as error:
            passes = isinstance(error, Throttled | Unreachable | OutcomeUnknown | Deferred)
            if not passes or attempt == TRIES - 1:
                raise
            await asyncio.sleep(min(LONGEST_WAIT, max(error.retry_after or 0.0, WAIT * 2**attempt)))
    raise AssertionError


def scopes_of(configuration: Configuration) -> dict[str, dict[str, str]]:
    """Provider -> channel -> what an opt-out there counts for, of the channels whose opt-outs are kept here."""
    found: dict[str, dict[str, str]] = {}
    for channel, scope in configuration.consent_scopes.items():
        for provider in configuration.channels[channel].providers:
            found.setdefault(provider, {})[channel] = scope
    return found


def _words(one: Compared) -> str:
    added = f"{one.missing:,} added" if one.added else f"{one.missing:,} are missing here"
    words = [f"{one.listed:,} listed", f"{one.known:,} known here", added]
    words += [f"{one.started:,} left out: START was heard since"] if one.started else []
    words += [f"{one.unusable:,} of other senders or without a number"] if one.unusable else []
    words += [f"{one.only_here:,} kept here are not in the list"] if one.only_here else []
    more = "; add them with --apply" if one.missing and not one.added else ""
    return f"{one.provider}: {', '.join(words)}{more}"


def _bytes(token: str) -> bytes:
    try:
        return bytes.fromhex(token)
    except ValueError:
        return b""
