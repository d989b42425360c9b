"""Messages: the life of one, and what is done to those that were not sent yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from dcbridge.console.api.operation import ROOT, Answer, Call, Fields, acts, reads
from dcbridge.console.api.times import When, moment_of
from dcbridge.console.context import Role
from dcbridge.console.problems import Refusal
from dcbridge.ledger.controls import AT_ONCE
from dcbridge.ledger.fields import State
from dcbridge.ledger.reports import index
from dcbridge.ledger.reports import search as reports
from dcbridge.operations import controls, find
from dcbridge.operations import send_again as again
from dcbridge.operations.controls import OPEN, WAITING, Filter, UnknownName, Who
from dcbridge.operations.lives import as_json, lives, lives_of
from dcbridge.operations.wording import utc
from dcbridge.printable import printable

Why = Annotated[str, Field(max_length=200, description="The reason, for status, trace and the record.")]
Id = Annotated[str, Field(min_length=1, max_length=1024)]
MOST = 10_000  # messages that one request changes
_STATES = {"waiting": WAITING, **{state.value: (state,) for state in OPEN}}


# ---------------------------------------------------------------- those that match


class MessagesQuery(Fields):
    channel: Annotated[str, Field(max_length=200)] = ""
    provider: Annotated[str, Field(max_length=64)] = ""
    state: State | None = None
    accepted_after: When | None = None
    accepted_before: When | None = None
    cursor: Annotated[str, Field(max_length=100)] = ""
    limit: Annotated[int, Field(ge=1, le=index.LIMIT)] = 50


class Listed(Answer):
    ref: str
    message: str
    channel: str
    provider: str = Field(description="Empty for that of its channel.")
    state: str
    accepted: str


class MessagesAnswer(Answer):
    messages: list[Listed]
    cursor: str = Field(description="For the next page; empty at the end. A page may be short, or empty, before it.")
    looked: int


@reads(
    f"{ROOT}/messages",
    Role.VIEWER,
    MessagesAnswer,
    "Messages that match all that is given, the newest first.",
    MessagesQuery,
)
async def listed(call: Call) -> Mapping[str, Any]:
    query, ledger = call.query, call.context.ledger
    wanted = index.Query(
        query.channel,
        query.provider,
        query.state or "",
        after=moment_of(query.accepted_after),
        before=moment_of(query.accepted_before),
    )
    try:
        page = await index.find(ledger.redis, wanted, query.cursor, query.limit)
    except ValueError as error:
        raise Refusal(422, "some fields are wrong", {"cursor": str(error)}) from None
    rows = []
    for start in range(0, len(page.refs), AT_ONCE):
        some = page.refs[start : start + AT_ONCE]
        for ref, entry in zip(some, await ledger.messages.entries(some), strict=True):
            rows.append(
                {
                    "ref": ref,
                    "message": entry.message_id,
                    "channel": entry.channel_id,
                    "provider": entry.provider,
                    "state": entry.state,
                    "accepted": utc(entry.accepted_at / 1000),
                }
            )
    return {"messages": rows, "cursor": page.cursor, "looked": page.looked}


# ---------------------------------------------------------------- one message


class TraceQuery(Fields):
    channel: Annotated[str, Field(max_length=200)] | None = None


class Hop(Answer):
    at: str
    seconds_since_accepted: float
    what: str


class Life(Answer):
    """What it is and where it stands, and its hops. Never a text, a number or an address."""

    parts: list[dict[str, Any]]
    older_hops_forgotten: bool
    hops: list[Hop]


class TraceAnswer(Answer):
    id: str
    found: list[Life]
    dead_letters: list[str]


@reads(
    f"{ROOT}/messages/{{id}}", Role.VIEWER, TraceAnswer,
    "The life of a message, by its reference, its messageId, or an id from the logs.", TraceQuery,
)  # fmt: skip
async def trace(call: Call) -> Mapping[str, Any]:
    given = call.path["id"]
    if find.is_address(given):
        raise Refusal(400, "a number or an address does not belong into a URL: POST it to messages/search")
    session = call.context.session()
    found = await lives(session, given, call.query.channel)
    letters = [] if found else await _letters(call, given)
    if not found and not letters:
        raise Refusal(404, "no message or task has this id")
    return {"id": given, "found": [as_json(one) for one in found], "dead_letters": letters}


async def _letters(call: Call, given: str) -> list[str]:
    return await reports.dead_letters(call.context.ledger.redis, [f"{kind}-{given}" for kind in "wmrtui"] + [given])


class SearchBody(Fields):
    id: Id = Field(description="Anything that names messages: an id, a number, a mailbox. It is not logged.")
    channel: Annotated[str, Field(max_length=200)] | None = None


@acts(
    f"{ROOT}/messages/search", Role.VIEWER, "message.search", TraceAnswer,
    "The same; a number or a mailbox finds what waits in its conversations.", SearchBody,
)  # fmt: skip
async def search(call: Call) -> Mapping[str, Any]:
    session, given, channel = call.context.session(), call.body.id, call.body.channel
    if find.is_address(given):
        call.context.count_search(call.person)
    found = await lives(session, given, channel)
    if not found and find.is_address(given):
        found = await lives_of(session, await find.waiting_for(session, given, channel))
    letters = [] if found else await _letters(call, given)
    named = "" if find.is_address(given) else given
    return {"id": named, "found": [as_json(one) for one in found], "dead_letters": letters}


# ---------------------------------------------------------------- many


class Many(Fields):
    """Messages by `ids`, or those in flight that fit all that is given; `all` for every one."""

    ids: Annotated[tuple[Id, ...], Field(max_length=1000)] = ()
    channel: Annotated[str, Field(max_length=200)] = ""
    provider: Annotated[str, Field(max_length=64)] = ""
    state: Literal["", "waiting", "accepted", "retry", "unknown", "sending"] = ""
    accepted_after: When | None = None
    accepted_before: When | None = None
    all: bool = False
    dry_run: bool = Field(False, description="Count them, and change nothing.")
    why: Why = ""
    limit: Annotated[int, Field(ge=1, le=MOST)] = Field(MOST, description="At most so many in this request.")


class Retried(Many):
    with_unknown: bool = Field(False, description="Send again what may have been sent already: some may arrive twice.")


class ManyAnswer(Answer):
    """`matching`: how many fit, by channel and state. `results`: what became of them, by a word."""

    matching: list[dict[str, Any]]
    results: dict[str, int]
    more: bool = Field(description="Whether others fit that `limit` left out: ask again.")


Act = Callable[[Sequence[str], str, Who], Awaitable[Counter[str]]]


def _filter(body: Many) -> Filter:
    states = _STATES[body.state] if body.state else OPEN
    return Filter(body.channel, body.provider, states, moment_of(body.accepted_after), moment_of(body.accepted_before))


async def _do(call: Call, chosen: Filter, act: Act) -> Mapping[str, Any]:
    body = call.body
    channel = "" if body.ids else body.channel  # which may say on which channel a messageId is
    selects = any((channel, body.provider, body.state, body.accepted_after, body.accepted_before))
    ways = [bool(body.ids), selects, body.all]
    if sum(ways) != 1:
        why = "give ids, or fields that select, or all; these exclude each other"
        raise Refusal(422, why, {"ids": why})
    try:
        refs = await _refs(call, chosen)
    except UnknownName as error:
        raise Refusal(404, printable(str(error)), {"ids" if body.ids else "channel": "is not known"}) from None
    some = dict(list(refs.items())[: body.limit])
    counted = sorted(Counter(some.values()).items())
    matching = [{"channel": channel, "state": state, "count": count} for (channel, state), count in counted]
    results: Counter[str] = Counter()
    if some and not body.dry_run:
        of = " ".join(body.ids)[: controls.WORDS] if body.ids else str(chosen)
        who = Who(call.person.name[: controls.WORDS], printable(body.why)[: controls.WORDS])
        results = await act(list(some), printable(of), who)
    return {"matching": matching, "results": dict(results), "more": len(refs) > len(some)}


async def _refs(call: Call, chosen: Filter) -> Mapping[str, tuple[str, str]]:
    context, ids = call.context, call.body.ids
    if not ids:
        if chosen.before is None:  # what comes from now on was not seen by the person who asked
            chosen = replace(chosen, before=await controls.now(context.ledger))
        return await controls.find(context.ledger, context.configuration, chosen)
    found: dict[str, tuple[str, str]] = {}
    for one in ids:
        refs = await controls.refs_of(context.ledger, context.configuration, one, chosen.channel)
        for start in range(0, len(refs), AT_ONCE):
            some = refs[start : start + AT_ONCE]
            entries = await context.ledger.messages.entries(some)
            found |= {ref: (entry.channel_id, entry.state) for ref, entry in zip(some, entries, strict=True)}
    return found


@acts(
    f"{ROOT}/messages/cancel", Role.OPERATOR, "cancel", ManyAnswer,
    "Cancel messages that were not sent yet: agents see Failed with reason 500.", Many,
)  # fmt: skip
async def cancel(call: Call) -> Mapping[str, Any]:
    ledger = call.context.ledger
    return await _do(call, _filter(call.body), lambda refs, of, who: controls.cancel(ledger, refs, of, who))


@acts(
    f"{ROOT}/messages/retry", Role.OPERATOR, "retry", ManyAnswer,
    "Make the next attempt now, for messages that wait after a failed one.", Retried,
)  # fmt: skip
async def retry(call: Call) -> Mapping[str, Any]:
    ledger, unknown = call.context.ledger, call.body.with_unknown
    states = (State.RETRY, State.UNKNOWN) if unknown else (State.RETRY,)
    return await _do(
        call,
        replace(_filter(call.body), states=states),
        lambda refs, of, who: controls.retry(ledger, refs, of, who, with_unknown=unknown),
    )


@acts(f"{ROOT}/messages/release", Role.OPERATOR, "release", ManyAnswer, "Send messages that are held for review.", Many)
async def release(call: Call) -> Mapping[str, Any]:
    ledger = call.context.ledger
    chosen = replace(_filter(call.body), states=WAITING)
    return await _do(call, chosen, lambda refs, of, who: controls.release(ledger, refs, of, who))


@acts(
    f"{ROOT}/messages/reject", Role.OPERATOR, "reject", ManyAnswer,
    "Fail messages that are held for review: agents see Failed with reason 500.", Many,
)  # fmt: skip
async def reject(call: Call) -> Mapping[str, Any]:
    ledger = call.context.ledger
    chosen = replace(_filter(call.body), states=WAITING)
    return await _do(call, chosen, lambda refs, of, who: controls.cancel(ledger, refs, of, who, rejected=True))


# ---------------------------------------------------------------- once more


class AgainBody(Fields):
    key: Annotated[str, Field(min_length=1, max_length=200)] = Field(
        description="Of this decision: the same key sends once, however often it is asked. Give a new random one."
    )
    why: Why = ""


class AgainAnswer(Answer):
    outcome: Literal["new", "again"] = Field(description="again: this key has sent it before.")
    ref: str = Field(description="The new message.")


@acts(
    f"{ROOT}/messages/{{ref}}/send-again", Role.OPERATOR, "send again", AgainAnswer,
    "Send a message that has ended once more, as a new one; 409 where that cannot be done.", AgainBody,
)  # fmt: skip
async def send_again(call: Call) -> Mapping[str, Any]:
    context, body = call.context, call.body
    who = Who(call.person.name[: controls.WORDS], printable(body.why)[: controls.WORDS])
    try:
        answer = await again.send_again(context.ledger, context.configuration, call.path["ref"], who, body.key)
    except UnknownName as error:
        raise Refusal(404, str(error)) from None
    if answer.outcome == "refused":
        raise Refusal(409, f"not sent again: {answer.words}")
    return {"outcome": answer.outcome, "ref": answer.ref}


ROUTES = [listed, trace, search, cancel, retry, release, reject, send_again]
