"""Dead letters: what could not be read or delivered. Their raw bytes are shown to who may reveal what is hidden."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from dcbridge.console.access import record
from dcbridge.console.api.messages import Id, Why
from dcbridge.console.api.operation import ROOT, Answer, Call, Fields, acts, reads
from dcbridge.console.api.times import When, moment_of
from dcbridge.console.context import Role
from dcbridge.console.problems import Refusal
from dcbridge.ledger.dead_letters import DeadLetters, Selection
from dcbridge.ledger.fields import Kind
from dcbridge.operations.dead_letters import Chosen, as_json, drop_all, matching, replay_all

MOST = 1000  # letters of one request
LOOKED = 10_000  # that one page looks at for those that match
_KINDS = {kind.option: str(kind) for kind in Kind}


class Letter(Answer):
    id: str
    what: str
    channel: str
    reason: str
    at: str
    bytes: int


class LettersQuery(Fields):
    what: Annotated[str, Field(max_length=50)] = ""
    channel: Annotated[str, Field(max_length=200)] = ""
    reason: Annotated[str, Field(max_length=200)] = ""
    since: When | None = None
    cursor: Annotated[str, Field(max_length=1024)] = ""
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class LettersAnswer(Answer):
    dead_letters: list[Letter]
    cursor: str = Field(description="For the next page; empty at the end. A page may be short, or empty, before it.")


def _selection(what: str, channel: str, reason: str, since: float | None) -> Selection:
    if what and what not in _KINDS:
        raise Refusal(422, "some fields are wrong", {"what": f"should be one of {', '.join(_KINDS)}"})
    return Selection(_KINDS[what] if what else "", channel, reason, since)


@reads(f"{ROOT}/dead-letters", Role.VIEWER, LettersAnswer, "Dead letters, the newest first.", LettersQuery)
async def letters(call: Call) -> Mapping[str, Any]:
    query, ledger = call.query, call.context.ledger
    selection = _selection(query.what, query.channel, query.reason, moment_of(query.since))
    ids = await ledger.dead_letters.ids(selection.since, newest_first=True)
    if query.cursor:
        if query.cursor not in ids:
            raise Refusal(422, "some fields are wrong", {"cursor": "is over: begin again without it"})
        ids = ids[ids.index(query.cursor) + 1 :]
    found, cursor = await page_of(ledger.dead_letters, ids, selection, query.limit)
    return {"dead_letters": found, "cursor": cursor}


async def page_of(
    letters: DeadLetters, ids: Sequence[str], selection: Selection, limit: int, most: int = LOOKED
) -> tuple[list[dict[str, Any]], str]:
    """At most `limit` of these that are selected, and the cursor of those behind them; `most` are looked at."""
    found: list[dict[str, Any]] = []
    async for letter in matching(letters, ids[:most], selection):
        if len(found) == limit:
            return found, found[-1]["id"]
        found.append(as_json(letter))
    return found, ids[most - 1] if len(ids) > most else ""


class RawAnswer(Letter):
    raw: str = Field(description="Its raw bytes in base64. They may hold texts, numbers and addresses.")


async def _one(call: Call) -> dict[str, Any]:
    async for letter in call.context.ledger.dead_letters.read([call.path["id"]]):
        if letter is not None:
            return as_json(letter)
    raise Refusal(404, "there is no such dead letter")


@reads(f"{ROOT}/dead-letters/{{id}}", Role.VIEWER, Letter, "One dead letter, without its raw bytes.")
async def letter(call: Call) -> Mapping[str, Any]:
    return await _one(call)


class Reasoned(Fields):
    why: Why = ""


@acts(
    f"{ROOT}/dead-letters/{{id}}/reveal", Role.OPERATOR, "reveal", RawAnswer,
    "One dead letter with its raw bytes. The record says who looked.", Reasoned, recorded=True,
)  # fmt: skip
async def reveal(call: Call) -> Mapping[str, Any]:
    found = await _one(call)
    raw = await call.context.ledger.dead_letters.raw(call.path["id"]) or b""
    return found | {"raw": base64.b64encode(raw).decode()}


class Some(Fields):
    """Letters by `ids`, or those that fit all that is given; `all` for every one."""

    ids: Annotated[tuple[Id, ...], Field(max_length=MOST)] = ()
    what: Annotated[str, Field(max_length=50)] = ""
    channel: Annotated[str, Field(max_length=200)] = ""
    reason: Annotated[str, Field(max_length=200)] = ""
    since: When | None = None
    all: bool = False
    dry_run: bool = Field(False, description="Say what would be done, and change nothing.")
    why: Why = ""


class SomeAnswer(Answer):
    """What became of each. `more`: whether others fit that this request left out: ask again."""

    results: list[dict[str, Any]]
    more: bool


async def _chosen(call: Call) -> tuple[Chosen, list[str], bool]:
    """Those of this request, and whether there are others."""
    body = call.body
    selection = _selection(body.what, body.channel, body.reason, moment_of(body.since))
    if sum([bool(body.ids), selection != Selection(), body.all]) != 1:
        why = "give ids, or fields that select, or all; these exclude each other"
        raise Refusal(422, why, {"ids": why})
    chosen = Chosen(tuple(body.ids), selection)
    ids = await chosen.ids_of(call.context.ledger.dead_letters)
    if not body.ids:
        ids = [one.id async for one in matching(call.context.ledger.dead_letters, ids, selection)]
    return chosen, ids[:MOST], len(ids) > MOST


@acts(
    f"{ROOT}/dead-letters/replay", Role.OPERATOR, "dead-letter.replay", SomeAnswer,
    "Process dead letters again, up to 1,000 in one request.", Some, recorded=True,
)  # fmt: skip
async def replay(call: Call) -> Mapping[str, Any]:
    chosen, ids, more = await _chosen(call)
    results = []
    async for name, fate in replay_all(call.context.session(), chosen, ids, dry_run=call.body.dry_run):
        results.append({"id": name, "done": fate.done, "says": fate.says, "name": fate.name})
    done = sum(bool(one["done"]) for one in results)
    _say(call, f"{'would replay' if call.body.dry_run else 'replayed'} {done} of {len(results)}", ids)
    return {"results": results, "more": more}


@acts(
    f"{ROOT}/dead-letters/drop", Role.ADMIN, "dead-letter.drop", SomeAnswer,
    "Delete dead letters with their raw bytes, up to 1,000 in one request.", Some, recorded=True,
)  # fmt: skip
async def drop(call: Call) -> Mapping[str, Any]:
    _, ids, more = await _chosen(call)
    dropped = await drop_all(call.context.session(), ids, dry_run=call.body.dry_run)
    _say(call, f"{'would drop' if call.body.dry_run else 'dropped'} {dropped}", ids)
    return {"results": [{"id": one, "done": True, "says": "dropped"} for one in ids[:dropped]], "more": more}


def _say(call: Call, result: str, ids: list[str]) -> None:
    record(call.request, what=ids[0] if len(ids) == 1 else f"{len(ids)} dead letters", result=result)


ROUTES = [letters, letter, reveal, replay, drop]
