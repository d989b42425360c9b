"""Providers: each account with its breaker, pauses, pace and configuration; pause, drain and prefer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.config.accounts import ProviderAccount
from dcbridge.config.models import Configuration
from dcbridge.console import stops
from dcbridge.console.access import action, form_of, page, record
from dcbridge.console.answers import Fields, back_to, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.pages.channels import pace_words
from dcbridge.console.rendering import render
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.overview import Overview, Provider
from dcbridge.operations import controls
from dcbridge.operations.loaded import lines
from dcbridge.operations.wording import format_age

MOST_ORDER = 30 * 86400.0  # seconds
NOTICES = {
    "paused": "The provider is paused. Messages wait in their order.",
    "resumed": "The pause is over. What waited is sent.",
    "nothing": "It was not paused.",
    "drain": "Nothing new is sent through it while another provider is available.",
    "prefer": "New conversations go through it first.",
    "cleared": "The order is over.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One account, and why it is not spoken to."""

    name: str
    kind: str
    states: list[tuple[str, str]]
    channels: list[str]
    parked: int
    oldest: float
    pace: str


def rows(configuration: Configuration, now: Overview) -> list[Row]:
    """Those that need a look first."""
    found = []
    for one in now.providers:
        if one.name.startswith("subscribers/"):
            continue
        account = configuration.providers.get(one.name)
        found.append(
            Row(
                name=one.name,
                kind=account.kind if account else "",
                states=states(one, account, now),
                channels=channels_of(configuration, one.name),
                parked=one.parked,
                oldest=one.oldest_parked_age,
                pace=pace_words(one.pace),
            )
        )
    return sorted(found, key=lambda row: (row.states[0][0] == "good", row.name))


def channels_of(configuration: Configuration, name: str) -> list[str]:
    return [one for one, channel in configuration.channels.items() if name in channel.providers]


def states(one: Provider, account: ProviderAccount | None, now: Overview) -> list[tuple[str, str]]:
    """The worst first."""
    found = []
    if account is None:
        found.append(("off", "not in bridge.yaml"))
    if one.open:
        found.append(("bad", f"breaker open: {one.why}" if one.why else "breaker open"))
    if one.stopped:
        found.append(("warn", "paused"))
    elif one.paused_for:
        found.append(("warn", f"asked to wait for {format_age(one.paused_for)}"))
    if any(stop.target.what == What.ALL for stop in now.controls):
        found.append(("warn", "drained"))
    if one.speed.slow_since is not None:
        found.append(("warn", "delivery updates are late"))
    if one.order:
        found.append(("wait", {"drain": "is drained", "prefer": "is preferred"}.get(one.order.how, one.order.how)))
    if one.openings and not one.open:
        times = f"{one.openings} times " * (one.openings > 1)
        found.append(("warn", f"breaker opened {times}in the last hour"))
    return found or [("good", "ok")]


@page("/providers", Role.VIEWER)
async def provider_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    configuration = context.configuration
    now = await overview.read(context.ledger.redis, configuration.providers, by_worker=False)
    return render(request, "providers.html", title="Providers", rows=rows(configuration, now))


def _account(request: Request, context: ConsoleContext) -> tuple[str, ProviderAccount]:
    """Raises HTTPException 404."""
    name = request.path_params["provider"]
    account = context.configuration.providers.get(name)
    if account is None:
        raise HTTPException(404)
    return name, account


async def _show(
    request: Request,
    context: ConsoleContext,
    status: int = 200,
    *,
    errors: Mapping[str, str] | None = None,
    of: str = "",
    given: Mapping[str, str] | None = None,
) -> Response:
    name, account = _account(request, context)
    configuration = context.configuration
    now = await overview.read(context.ledger.redis, configuration.providers, by_worker=False)
    one = next(found for found in now.providers if found.name == name)
    channels = channels_of(configuration, name)
    return render(
        request,
        "provider.html",
        status,
        title=f"Provider {name}",
        notice=notice(request, NOTICES),
        name=name,
        kind=account.kind,
        one=one,
        now=now.at,
        states=states(one, account, now),
        pace=pace_words(one.pace),
        channels=channels,
        beside=any(len(configuration.channels[channel].providers) > 1 for channel in channels),
        stopped=Fields(stops.in_force(now.controls, Target(What.PROVIDER, name))),
        lines=lines(account),
        lasts=stops.LASTS,
        errors=Fields(errors or {}),
        of=of,
        given=Fields(given or {}),
    )


@page("/providers/{provider}", Role.VIEWER)
async def one_provider(request: Request, context: ConsoleContext, _person: Person) -> Response:
    return await _show(request, context)


@action("/providers/{provider}/pause", Role.OPERATOR, "pause", recorded=False)
async def pause(request: Request, context: ConsoleContext, person: Person) -> Response:
    name, _ = _account(request, context)
    form = form_of(request)
    asked_for, errors = stops.read(form, await controls.now(context.ledger))
    if errors:
        return await _show(request, context, 422, errors=errors, of="pause", given=form)
    await stops.begin(context, person, Target(What.PROVIDER, name), asked_for)
    return back_to("providers", name, done="paused")


@action("/providers/{provider}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Also a pause that the provider asked for."""
    name, _ = _account(request, context)
    was = await stops.end(context, person, Target(What.PROVIDER, name), stops.reason(form_of(request)))
    return back_to("providers", name, done="resumed" if was else "nothing")


@action("/providers/{provider}/steer", Role.OPERATOR, "provider.steer")
async def steer(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Drain or prefer it, for a time; messages go through another provider of the channel meanwhile."""
    name, _ = _account(request, context)
    form = form_of(request)
    asked_for, errors = stops.read(form, await controls.now(context.ledger))
    how = form.get("how", "")
    if how not in ("drain", "prefer"):
        errors["how"] = "should be drain or prefer"
    if errors:
        record(request, result="refused: the form")
        return await _show(request, context, 422, errors=errors, of="steer", given=form)
    by = stops.who(person, asked_for.why)
    seconds = asked_for.lasts or MOST_ORDER
    await context.ledger.routes.steer(name, "drain" if how == "drain" else "prefer", seconds, by.by, by.why)
    record(request, what=f"provider {name}", result=how)
    return back_to("providers", name, done=how)


@action("/providers/{provider}/clear", Role.OPERATOR, "provider.clear")
async def clear(request: Request, context: ConsoleContext, _person: Person) -> Response:
    name, _ = _account(request, context)
    was = await context.ledger.routes.clear(name)
    record(request, what=f"provider {name}", result="cleared" if was else "there was no order")
    return back_to("providers", name, done="cleared")


ROUTES = [provider_list, one_provider, pause, resume, steer, clear]
