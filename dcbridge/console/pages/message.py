"""The page of one message: where it stands in a sentence, its life, its neighbours, and what may be done to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from dcbridge.console.access import Person, Role, action, form_of, page, record
from dcbridge.console.context import ConsoleContext
from dcbridge.console.reading import MessageLook, look_at
from dcbridge.console.rendering import render
from dcbridge.console.views.timeline import steps
from dcbridge.genesys.payloads import read_stored
from dcbridge.ledger.controls import Control, Target, What
from dcbridge.ledger.fields import State
from dcbridge.messages import AgentMessage
from dcbridge.operations import controls
from dcbridge.operations import send_again as again
from dcbridge.operations.controls import UnknownName, Who
from dcbridge.operations.lives import as_json

# What an action answered -> a sentence; of the address only a word of these is shown.
SAID: dict[str, str] = {
    "cancelled": "The message is cancelled: the agent sees Failed, reason 500.",
    "again": "That was done before.",
    "under way": "Its request is under way or its outcome is not known: it is not ended, and it is not sent again.",
    "sent": "It was sent already. Nothing was changed.",
    "ended": "It has ended already. Nothing was changed.",
    "gone": "It is not stored any more.",
    "woken": "Its next attempt is made now.",
    "on its way": "It is on its way to a worker already.",
    "in line": "It waits for a limit or a pause, which holds as before.",
    "released": "It is released.",
    "rejected": "It is rejected: the agent sees Failed, reason 500.",
    "resumed": "What stopped it is resumed. Refresh in a moment to see where it is.",
    "not stopped": "That was not stopped any more.",
    "paused": "Its conversation is paused.",
    "sent again": "This is the new message. It waits in its conversation, and no agent gets a receipt for it.",
    "repeated": "This form has sent it before: this is its message. Nothing more was sent.",
    **{why: f"It was not sent again: {words}." for why, words in again.WORDS.items()},
    "full": "Too many pauses are in force. Resume one of them first.",
    "other": "Its state does not allow that. Nothing was changed.",
}


@dataclass(frozen=True, slots=True)
class Offer:
    """An action that its state allows. `path` behind /messages/{ref}/."""

    path: str
    label: str
    sentence: str
    danger: bool = False
    fields: Mapping[str, str] | None = None
    sure: str = ""  # what has to be ticked

    def of_form(self) -> dict[str, object]:
        return {
            "path": self.path,
            "label": self.label,
            "sentence": self.sentence,
            "danger": self.danger,
            "fields": list((self.fields or {}).items()),
            "sure": self.sure,
        }


def offers(look: MessageLook) -> list[Offer]:
    """What its state allows, the useful first."""
    found: list[Offer] = []
    state = look.entry.state
    if look.is_held:
        found.append(Offer("release", "Release it", "It is sent in its turn; the review of its channel goes on."))
        found.append(Offer("reject", "Reject it", "It ends as Failed, reason 500. This cannot be undone.", True))
    if state == State.RETRY:
        found.append(Offer("retry", "Retry now", "The next attempt is made now. Limits, breakers and pauses hold."))
    if state == State.UNKNOWN:
        found.append(
            Offer(
                "retry", "Send it again now", "The provider may have it already: the consumer may get it twice.", True,
                {"unknown": "1"},
            )
        )  # fmt: skip
    if state in controls.OPEN:
        found.append(
            Offer(
                "cancel",
                "Cancel it",
                "The agent sees Failed, reason 500; its text is deleted. This cannot be undone.",
                True,
            )
        )
        if look.entry.lane and not look.conversation_is_paused:
            found.append(
                Offer(
                    "pause-conversation", "Pause its conversation",
                    "Nothing of this conversation is sent until it is resumed; the time to live goes on.",
                )
            )  # fmt: skip
    return found


def _once_more() -> Offer:
    """Of a message that has ended. The key is of this form: the form sends once, however often it is posted."""
    return Offer(
        "send-again",
        "Send it again",
        "A new message to the same consumer. It waits in its conversation; opt-outs, quiet hours, limits and pauses"
        " hold for it. The receipt of this one stays as it was posted.",
        True,
        {"key": secrets.token_hex(16)},
        "The consumer may get it a second time",
    )


# ---------------------------------------------------------------- reading


@page("/messages/{ref}", Role.VIEWER)
async def message(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """One message."""
    return await _page(request, context)


@page("/messages/{ref}/trace.json", Role.VIEWER)
async def trace(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """As `dcbridge trace --json` prints it."""
    look = await _look(request, context)
    return JSONResponse(as_json(look.life))


async def _page(request: Request, context: ConsoleContext, errors: Mapping[str, str] | None = None) -> Response:
    look = await _look(request, context)
    done = request.query_params.get("done", "")
    actions, why_not = offers(look), ""
    if look.ended:
        refused = await again.why_not(context.ledger, context.configuration, look.ref, look.entry)
        actions, why_not = (actions, again.WORDS[refused]) if refused else ([*actions, _once_more()], "")
    return render(
        request,
        "message.html",
        422 if errors else 200,
        title=f"Message {look.ref}",
        look=look,
        steps=steps(look.life.hops, len(look.life.parts)),
        facts=_facts(look),
        actions=[one.of_form() for one in actions],
        not_again=why_not,
        names={one.target.key: _name(one) for one in look.stopping},
        errors=errors or {},
        content_is_kept=bool(look.entry.to_id),
        notice=SAID.get(done, ""),
        notice_kind="good"
        if done in ("cancelled", "woken", "released", "rejected", "resumed", "paused", "sent again")
        else "warn",
    )


async def _look(request: Request, context: ConsoleContext) -> MessageLook:
    look = await look_at(context.session(), request.path_params["ref"][:100])
    if look is None:
        raise HTTPException(404)
    return look


_LABELS = {
    "channel": "Channel",
    "provider": "Provider",
    "sent from": "Sent from",
    "message id": "messageId",
    "trace id": "Trace id",
    "consumer": "Consumer token",
    "what": "What",
    "caused by": "Caused by",
    "attempts": "Attempts",
    "last code": "Last code",
    "outcome was unknown": "Outcome unknown",
    "doubled": "Doubled",
    "cost": "Cost",
    "damaged": "Damaged fields",
}


def _facts(look: MessageLook) -> list[tuple[str, str, str]]:
    """Label, value and link of each; what the page says elsewhere is left out."""
    found = []
    cause, _, repeats = look.entry.cause.partition(" ")
    links = {"channel": f"/channels/{look.entry.channel_id}", "provider": f"/providers/{look.provider}"}
    if cause == "again":
        links["caused by"] = f"/messages/{repeats}"
    for name, label in _LABELS.items():
        value = look.life.facts.get(name)
        if value in (None, "", [], 0):
            continue
        words = ", ".join(value) if isinstance(value, list) else str(value)
        found.append((label, words, links.get(name, "")))
    if not look.entry.provider and look.provider:
        found.insert(1, ("Provider", look.provider, links["provider"]))
    return found


def _name(control: Control) -> str:
    match control.target.what:
        case What.CONVERSATION:
            return "the conversation"
        case What.ALL:
            return "the installation"
        case _:
            return str(control.target)


# ---------------------------------------------------------------- acting


@action("/messages/{ref}/cancel", Role.OPERATOR, "cancel", recorded=False)
async def cancel(request: Request, context: ConsoleContext, person: Person) -> Response:
    """End one that waits."""
    return await _act(request, context, person, "cancel")


@action("/messages/{ref}/reject", Role.OPERATOR, "reject", recorded=False)
async def reject(request: Request, context: ConsoleContext, person: Person) -> Response:
    """End one that is held for review."""
    return await _act(request, context, person, "reject")


@action("/messages/{ref}/release", Role.OPERATOR, "release", recorded=False)
async def release(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Let one go that is held for review."""
    return await _act(request, context, person, "release")


@action("/messages/{ref}/retry", Role.OPERATOR, "retry", recorded=False)
async def retry(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Make the next attempt of one now."""
    return await _act(request, context, person, "retry")


async def _act(request: Request, context: ConsoleContext, person: Person, what: str) -> Response:
    look = await _look(request, context)
    form = form_of(request)
    if not (why := form.get("why", "").strip()):
        return await _page(request, context, {what: "Give a reason: the audit records it."})
    who, refs, ledger = Who(person.name, why[: controls.WORDS]), [look.ref], context.ledger
    match what:
        case "cancel" | "reject":
            counts = await controls.cancel(ledger, refs, look.ref, who, rejected=what == "reject")
        case "release":
            counts = await controls.release(ledger, refs, look.ref, who)
        case _:
            counts = await controls.retry(ledger, refs, look.ref, who, with_unknown=form.get("unknown") == "1")
    word = next(iter(counts), "gone")
    word = "rejected" if what == "reject" and word == "cancelled" else "in line" if word.startswith("in line") else word
    return _back(look.ref, word)


@action("/messages/{ref}/send-again", Role.OPERATOR, "send again", recorded=False)
async def send_again(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Send one that has ended once more, as a new message, whose page is the answer."""
    look = await _look(request, context)
    form = form_of(request)
    why, key = form.get("why", "").strip(), form.get("key", "")
    if not why or not key or form.get("sure") != "1":
        missing = "Say why: it stands in the audit." if not why else "Tick that the consumer may get it a second time."
        return await _page(request, context, {"send-again": missing})
    who = Who(person.name, why[: controls.WORDS])
    try:
        answer = await again.send_again(context.ledger, context.configuration, look.ref, who, key)
    except UnknownName:
        return _back(look.ref, "gone")
    if answer.outcome == "refused":
        return _back(look.ref, answer.why)
    return _back(answer.ref, "sent again" if answer.outcome == "new" else "repeated")


@action("/messages/{ref}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    """End what stops this message: only that, whatever the form names."""
    look = await _look(request, context)
    target = Target.of(form_of(request).get("control", ""))
    if target is None or target not in [one.target for one in look.stopping]:
        return _back(look.ref, "not stopped")
    was, _ = await controls.resume(context.ledger, target, Who(person.name, f"for message {look.ref}"))
    return _back(look.ref, "resumed" if was else "not stopped")


@action("/messages/{ref}/pause-conversation", Role.OPERATOR, "pause", recorded=False)
async def pause_conversation(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Stop the conversation that it belongs to."""
    look = await _look(request, context)
    if not (why := form_of(request).get("why", "").strip()):
        return await _page(request, context, {"pause-conversation": "Give a reason: the audit records it."})
    try:
        target = await controls.conversation(context.ledger, context.configuration, look.ref)
    except UnknownName:
        return _back(look.ref, "gone")
    till = await context.ledger.controls.begin(target, by=person.name, why=why[: controls.WORDS])
    return _back(look.ref, "full" if till is None else "paused")


@action("/messages/{ref}/reveal", Role.OPERATOR, "reveal")
async def reveal(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Its numbers and its text, while the ledger keeps them. They are on this answer alone."""
    look = await _look(request, context)
    record(request, what=f"message {look.ref}: number and text")
    content, why = await _content(context, look)
    return render(
        request, "revealed.html", title=f"Content of message {look.ref}", look=look, content=content, why_not=why
    )


async def _content(context: ConsoleContext, look: MessageLook) -> tuple[AgentMessage | None, str]:
    entry = look.entry
    payload = await context.ledger.messages.payload(entry.payload_ref) if entry.payload_ref else b""
    if not payload:
        return None, "Its text is deleted: it is kept only until the message has ended."
    index = look.ref.partition("-")[2]
    try:
        read = await asyncio.to_thread(
            read_stored, payload, int(index) if index.isdecimal() else 0, entry.message_id, entry.trace_id
        )
    except ValueError:
        return None, "This version cannot read its text."
    return read, ""


def _back(ref: str, word: str) -> Response:
    return RedirectResponse(f"/messages/{ref}?done={(word if word in SAID else 'other').replace(' ', '%20')}", 303)


ROUTES = [
    message, trace, cancel, reject, release, retry, send_again, resume, pause_conversation, reveal,
]  # fmt: skip
