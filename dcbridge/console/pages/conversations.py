"""Conversations: both directions of one consumer in order, and those that wait. A keyed digest names a consumer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dcbridge.console import searching
from dcbridge.console.access import Person, Role, action, form_of, page
from dcbridge.console.context import ConsoleContext
from dcbridge.console.rendering import render
from dcbridge.console.searching import Found, NoTokenKey
from dcbridge.console.views.query import Asked, read
from dcbridge.console.views.standing import stopped
from dcbridge.console.views.timeline import steps
from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.reports.conversations import WHY
from dcbridge.operations import controls, find
from dcbridge.operations.controls import UnknownName, Who
from dcbridge.operations.lives import lives_of
from dcbridge.operations.status import Wanted, look

HEADS = 50  # conversations that wait and are shown
LONGEST = 320  # characters of a number or a mailbox
_WHO = re.compile(r"[0-9a-f]{12}(\.[0-9a-f]{12}){0,15}")
_TASK = re.compile(r"[a-z]-[0-9a-f]{24}")
SAID = {
    "paused": "The conversation is paused.",
    "resumed": "The conversation is resumed.",
    "not stopped": "It was not paused any more.",
    "full": "Too many pauses are in force. Resume one of them first.",
    "gone": "Nothing of it waits any more.",
}


@dataclass(frozen=True, slots=True)
class Lane:
    """What can be paused: the conversation on one channel. `ref`: one of its messages, by which it is named."""

    channel: str
    ref: str
    control: Control | None
    says: str


@page("/conversations", Role.VIEWER)
async def conversations(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Those that wait, the oldest first."""
    return await _list(request, context)


async def _list(request: Request, context: ConsoleContext, error: str = "") -> Response:
    status = await look(context.session(), Wanted(heads=HEADS))
    return render(
        request,
        "conversations.html",
        422 if error else 200,
        title="Conversations",
        lanes=status.lanes,
        tokens=status.tokens,
        why=WHY,
        error=error,
    )


@action("/conversations/find", Role.VIEWER, "find", recorded=False)
async def by_number(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Of a number or an address, which is not shown again."""
    given = form_of(request).get("number", "").strip()[:LONGEST]
    if not find.is_address(given):
        return await _list(request, context, "Give a number with its country code, or a mailbox.")
    context.count_search(person)
    try:
        return RedirectResponse(f"/conversations/{searching.who_is(context.session(), given)}", 303)
    except NoTokenKey:
        return await _list(request, context, "DCBRIDGE_TOKEN_KEY is not set, so numbers and addresses are not indexed.")


@page("/conversations/{who}", Role.VIEWER)
async def conversation(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Of one consumer: what was written in both directions."""
    return await _conversation(request, context)


async def _conversation(request: Request, context: ConsoleContext, errors: dict[str, str] | None = None) -> Response:
    who = request.path_params["who"]
    if not _WHO.fullmatch(who):
        raise HTTPException(404)
    now = await controls.now(context.ledger)
    asked = read({"who": who, "cursor": request.query_params.get("cursor", "")}, now)
    try:
        found = await searching.page(context.session(), asked, consumers=True)
    except ValueError:
        raise HTTPException(404) from None
    path = f"/conversations/{who}"
    return render(
        request,
        "conversation.html",
        422 if errors else 200,
        title="Conversation",
        who=who,
        rows=list(reversed(found.rows)),
        older=Asked().address(path, cursor=found.cursor) if found.cursor else "",
        newest=path if asked.cursor else "",
        lanes=await _lanes(context, found, now),
        now=now,
        errors=errors or {},
        notice=SAID.get(request.query_params.get("done", ""), ""),
    )


async def _lanes(context: ConsoleContext, found: Found, now: float) -> Sequence[Lane]:
    """What of it can be paused: one lane for each channel that it is on."""
    refs = {row.channel: row.id for row in found.rows if not row.is_task}
    entries = await context.ledger.messages.entries(list(refs.values()))
    in_force = {
        one.target.name: one for one in await context.ledger.controls.all() if one.target.what == What.CONVERSATION
    }
    lanes = []
    for (channel, ref), entry in zip(refs.items(), entries, strict=True):
        if entry.lane:
            control = in_force.get(entry.lane)
            lanes.append(Lane(channel, ref, control, stopped(control, now) if control else ""))
    return lanes


@action("/conversations/{who}/pause", Role.OPERATOR, "pause", recorded=False)
async def pause(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Stop it on one channel."""
    form = form_of(request)
    if not (why := form.get("why", "").strip()):
        return await _conversation(request, context, {form.get("ref", ""): "Give a reason: the audit records it."})
    try:
        target = await controls.conversation(context.ledger, context.configuration, form.get("ref", ""))
    except UnknownName:
        return _back(request, "gone")
    till = await context.ledger.controls.begin(target, by=person.name, why=why[: controls.WORDS])
    return _back(request, "full" if till is None else "paused")


@action("/conversations/{who}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Let it go on."""
    try:
        target = await controls.conversation(context.ledger, context.configuration, form_of(request).get("ref", ""))
    except UnknownName:
        return _back(request, "gone")
    was, _ = await controls.resume(context.ledger, target, Who(person.name))
    return _back(request, "resumed" if was else "not stopped")


def _back(request: Request, word: str) -> Response:
    who = request.path_params["who"]
    if not _WHO.fullmatch(who):
        raise HTTPException(404)
    return RedirectResponse(f"/conversations/{who}?done={word.replace(' ', '%20')}", 303)


# ---------------------------------------------------------------- what a consumer wrote


_LABELS = {
    "what": "What",
    "channel": "Channel",
    "trace id": "Trace id",
    "attempts": "Attempts",
    "last code": "Last code",
    "files": "Files",
    "damaged": "Damaged fields",
}


@page("/tasks/{id}", Role.VIEWER)
async def task(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """The life of a callback, of a consumer's message or of a mail."""
    name = request.path_params["id"]
    lives = await lives_of(context.session(), [f"t:{name}"]) if _TASK.fullmatch(name) else []
    if not lives:
        raise HTTPException(404)
    life = lives[0]
    words = {name: life.facts.get(name) for name in _LABELS}
    facts = [
        (label, ", ".join(value) if isinstance(value, list) else str(value))
        for name, label in _LABELS.items()
        if (value := words[name]) not in (None, "", [], 0)
    ]
    entry = await context.ledger.tasks.entry(name)
    return render(
        request,
        "task.html",
        title=f"{str(life.facts['what']).removeprefix('a ').capitalize()} {name}",
        life=life,
        steps=steps(life.hops, 0),
        facts=facts,
        letters=life.facts.get("dead letters") or [],
        who=entry.consumer,
    )


ROUTES = [conversations, by_number, conversation, pause, resume, task]
