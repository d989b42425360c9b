"""Channels: each with its configuration, limits and what waits; pause, hold for review, and a test message."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.config.models import Channel, Configuration
from dcbridge.console import stops
from dcbridge.console.access import action, form_of, page, record
from dcbridge.console.answers import Fields, asked, back_to, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.errors import Refused
from dcbridge.ledger.consent import ConsumerTokens
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.reports import books as ledger_books
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.books import ChannelBooks
from dcbridge.ledger.reports.overview import Overview
from dcbridge.messages import own_books
from dcbridge.operations import controls
from dcbridge.operations.loaded import lines
from dcbridge.own_messages import queue
from dcbridge.providers.phone import to_e164

SHOWN = 500  # channels of the list
LATE = 60.0  # seconds that a receipt may be owed
HELD = 50  # messages for review that are shown
TEXT = 459  # characters of a test message: three SMS
_ONCE = re.compile(r"[0-9a-f]{16}")
NOTICES = {
    "paused": "The channel is paused. Webhooks are accepted as before.",
    "resumed": "The pause is over. What waited is sent in its order.",
    "held": "Messages of this channel are held for review from now on.",
    "released": "The hold is over. What waited is sent.",
    "let-go": "The messages that were ticked are released.",
    "rejected": "The messages that were ticked have ended as Failed, with reason 500.",
    "nothing": "Nothing was in force.",
}
REFUSED = {
    "not_configured": "The channel sends no messages of dcbridge's own: set own_messages of it in bridge.yaml.",
    "empty": "The text is empty.",
    "too_long": "The text needs more than 3 SMS.",
    "country": "Such numbers get no message of dcbridge's own: see countries of own_messages.",
    "opted_out": "The consumer with this number has opted out.",
    "day_cap": "This number has had as many messages as a_day of own_messages allows.",
    "hour_cap": "The channel has sent as many messages as an_hour of own_messages allows.",
    "repeated": "This number has had this text as often as repeats of own_messages allows: change the text.",
    "other_content": "This form was sent before, with another text: reload the page.",
}


# ---------------------------------------------------------------- the list


@dataclass(frozen=True, slots=True)
class Row:
    """One channel. `states`: of what is worth a word, each a kind of badge and the words."""

    id: str
    type: str
    providers: Sequence[str]
    states: Sequence[tuple[str, str]]
    in_flight: int
    oldest_age: float
    receipts: int
    pace: str
    configured: bool


def rows(configuration: Configuration, now: Overview, books: Sequence[ChannelBooks]) -> list[Row]:
    """All channels, those that need a look first."""
    known = {one.channel_id: one for one in books}
    names = [*configuration.channels, *(name for name in known if name not in configuration.channels)]
    found = [_row(name, configuration.channel(name), known.get(name), now) for name in names if "/" not in name]
    return sorted(found, key=lambda row: (row.states[0][0] == "good", -row.oldest_age, row.id))


def _row(name: str, channel: Channel | None, its: ChannelBooks | None, now: Overview) -> Row:
    return Row(
        id=name,
        type=channel.type if channel else "",
        providers=channel.providers if channel else (),
        states=states(name, channel, its, now),
        in_flight=its.in_flight if its else 0,
        oldest_age=its.oldest_age if its else 0.0,
        receipts=its.receipts_waiting if its else 0,
        pace=pace_words(now.paces.get(name)),
        configured=channel is not None,
    )


def states(name: str, channel: Channel | None, its: ChannelBooks | None, now: Overview) -> list[tuple[str, str]]:
    """The worst first."""
    found = []
    if channel is None and its and its.in_flight:
        found.append(("bad", "not in bridge.yaml"))
    elif channel is None:
        found.append(("off", "not in bridge.yaml"))
    elif name in now.unconfigured:
        found.append(("bad", "no worker knows it"))
    if its and its.difference:
        found.append(("bad", "the books do not balance"))
    mine = {one.name: one for one in now.providers if channel and one.name in channel.providers}
    if mine and all(one.open for one in mine.values()):
        found.append(("bad", "breaker open"))
    elif any(one.open for one in mine.values()):
        found.append(("warn", "one provider's breaker is open"))
    about = {one.target: one for one in now.controls}
    if Target(What.ALL) in about:
        found.append(("warn", "drained"))
    if Target(What.CHANNEL, name) in about:
        found.append(("warn", "paused"))
    if held := about.get(Target(What.HOLD, name)):
        found.append(("warn", f"held, {held.waiting:,} to review"))
    if mine and all(one.stopped or one.paused_for for one in mine.values()):
        found.append(("warn", "provider paused"))
    if its and its.oldest_receipt_age > LATE:
        found.append(("warn", "receipts are late"))
    if quiet := now.quiet.get(name):
        found.append(("wait", f"{quiet.messages:,} in quiet hours"))
    return found or [("good", "ok")]


def pace_words(pace: overview.Pace | None) -> str:
    """ "2 a second, burst 2, 1 of 4 in flight, 18 waiting"."""
    if pace is None:
        return "no limit"
    words = [f"{pace.per_second:g} a second, burst {pace.burst}"] * bool(pace.per_second)
    words += [f"{pace.in_flight:,} of {pace.cap:,} in flight"] * bool(pace.cap)
    words += [f"{pace.held:,} waiting"] * bool(pace.held)
    words += [f"booked {pace.booked_ahead:.3g} s ahead"] * (pace.booked_ahead >= 1)
    return ", ".join(words) or "no limit"


@page("/channels", Role.VIEWER)
async def channel_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    configuration, redis = context.configuration, context.ledger.redis
    now = await overview.read(redis, configuration.providers, by_worker=False)
    books = await ledger_books.read(redis)
    found = rows(configuration, now, books.channels)
    wanted = asked(request.query_params, "q").casefold()
    chosen = [row for row in found if wanted in f"{row.id} {row.type} {' '.join(row.providers)}".casefold()]
    return render(
        request,
        "channels.html",
        title="Channels",
        rows=chosen[:SHOWN],
        all=len(found),
        more=len(chosen) > SHOWN,
        q=wanted,
    )


# ---------------------------------------------------------------- one


def _channel(request: Request, context: ConsoleContext) -> tuple[str, Channel]:
    """Raises HTTPException 404."""
    name = request.path_params["channel"]
    channel = context.configuration.channel(name)
    if channel is None:
        raise HTTPException(404)
    return name, channel


async def _show(
    request: Request,
    context: ConsoleContext,
    status: int = 200,
    *,
    errors: Mapping[str, str] | None = None,
    of: str = "",
    given: Mapping[str, str] | None = None,
) -> Response:
    """`errors`: by field, of the form `of`; `given`: what stood in it."""
    name, channel = _channel(request, context)
    configuration, ledger = context.configuration, context.ledger
    now = await overview.read(ledger.redis, configuration.providers, by_worker=False)
    books = {one.channel_id: one for one in (await ledger_books.read(ledger.redis)).channels}
    held = await ledger.controls.held(name, HELD)
    endpoint = configuration.endpoint_of(name)
    return render(
        request,
        "channel.html",
        status,
        title=f"Channel {name}",
        notice=notice(request, NOTICES),
        id=name,
        channel=channel,
        now=now.at,
        states=states(name, channel, books.get(name), now),
        books=books.get(name),
        own=books.get(own_books(name)),
        pace=pace_words(now.paces.get(name)),
        providers=[one for one in now.providers if one.name in channel.providers],
        stopped=Fields(stops.in_force(now.controls, Target(What.CHANNEL, name), Target(What.HOLD, name))),
        drained=next((one for one in now.controls if one.target.what == What.ALL), None),
        held=list(zip(held, await ledger.messages.entries(held), strict=True)),
        lines=lines(channel),
        endpoint=endpoint,
        endpoint_lines=lines(configuration.endpoints[endpoint]),
        can_test=name in configuration.own_channels and channel.type == "sms",
        no_key=context.settings.token_key_is_random,
        lasts=stops.LASTS,
        once=secrets.token_hex(8),
        errors=Fields(errors or {}),
        of=of,
        given=Fields(given or {}),
    )


@page("/channels/{channel}", Role.VIEWER)
async def one_channel(request: Request, context: ConsoleContext, _person: Person) -> Response:
    return await _show(request, context)


async def _begin(request: Request, context: ConsoleContext, person: Person, what: What, done: str) -> Response:
    name, _ = _channel(request, context)
    form = form_of(request)
    asked_for, errors = stops.read(form, await controls.now(context.ledger))
    if errors:
        return await _show(request, context, 422, errors=errors, of=what.value, given=form)
    await stops.begin(context, person, Target(what, name), asked_for)
    return back_to("channels", name, done=done)


async def _end(request: Request, context: ConsoleContext, person: Person, what: What, done: str) -> Response:
    name = request.path_params["channel"]
    was = await stops.end(context, person, Target(what, name), stops.reason(form_of(request)))
    return back_to("channels", name, done=done if was else "nothing")


@action("/channels/{channel}/pause", Role.OPERATOR, "pause", recorded=False)
async def pause(request: Request, context: ConsoleContext, person: Person) -> Response:
    return await _begin(request, context, person, What.CHANNEL, "paused")


@action("/channels/{channel}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    return await _end(request, context, person, What.CHANNEL, "resumed")


@action("/channels/{channel}/hold", Role.OPERATOR, "hold", recorded=False)
async def hold(request: Request, context: ConsoleContext, person: Person) -> Response:
    return await _begin(request, context, person, What.HOLD, "held")


@action("/channels/{channel}/end-hold", Role.OPERATOR, "resume", recorded=False)
async def end_hold(request: Request, context: ConsoleContext, person: Person) -> Response:
    return await _end(request, context, person, What.HOLD, "released")


@action("/channels/{channel}/review", Role.OPERATOR, "release", recorded=False)
async def review(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Release or reject those that are ticked; only such as wait for the review of this channel."""
    name, _ = _channel(request, context)
    form = form_of(request)
    waiting = set(await context.ledger.controls.held(name, HELD * 10))
    refs = [ref for ref in dict.fromkeys(form.getlist("ref")) if ref in waiting]
    because = stops.reason(form)
    if not refs or not because:
        errors = ({} if refs else {"ref": "Tick messages first; others may have been reviewed meanwhile."}) | (
            {} if because else {"why": stops.NO_REASON}
        )
        return await _show(request, context, 422, errors=errors, of="review")
    by = stops.who(person, because)
    of = refs[0] if len(refs) == 1 else f"channel {name}"
    if form.get("how") == "reject":
        await controls.cancel(context.ledger, refs, of, by, rejected=True)
        return back_to("channels", name, done="rejected")
    await controls.release(context.ledger, refs, of, by)
    return back_to("channels", name, done="let-go")


# ---------------------------------------------------------------- a test message


@action("/channels/{channel}/test", Role.OPERATOR, "test.message")
async def try_message(request: Request, context: ConsoleContext, person: Person) -> Response:
    """A message of dcbridge's own: consent, quiet hours, paces and caps apply; then its trace. Once for each form."""
    name, channel = _channel(request, context)
    form = form_of(request)
    number, text, once = (form.get(field, "").strip() for field in ("number", "text", "once"))
    errors = {}
    try:
        address = to_e164(number, channel.default_region).removeprefix("+")
    except Refused:
        address = ""
        errors["number"] = "should be a phone number with its country code, such as +16504661149"
    if not text or len(text) > TEXT:
        errors["text"] = f"should be a text of at most {TEXT} characters"
    if context.settings.token_key_is_random:
        errors["text"] = "DCBRIDGE_TOKEN_KEY is not set in this process"
    if not _ONCE.fullmatch(once):
        errors["text"] = "the form is out of date: reload the page"
    if errors:
        record(request, result="refused: the form")
        return await _show(request, context, 422, errors=errors, of="test", given=form)
    said = await queue(
        context.ledger,
        context.configuration,
        ConsumerTokens(context.settings.token_key.get_secret_value().encode()),
        channel=name,
        consumer=address,
        text=text,
        cause=f"console test {once}",
        trace=secrets.token_hex(16),
        content_mark=once,
    )
    context.metrics.own_messages.labels(name, said.reason or said.outcome).inc()
    record(request, result=f"{said.outcome} {said.reason or said.ref}")
    if not said.sent:
        return await _show(request, context, 422, errors={"text": REFUSED[said.reason]}, of="test", given=form)
    return back_to("messages", said.ref)


ROUTES = [channel_list, one_channel, pause, resume, hold, end_hold, review, try_message]
