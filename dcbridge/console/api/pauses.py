"""What an operator has stopped: pauses of a provider, a channel, a subscriber or a conversation, and holds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from dcbridge.console.api.messages import Why
from dcbridge.console.api.operation import ROOT, Answer, Call, Fields, acts, reads
from dcbridge.console.api.times import When, moment_of
from dcbridge.console.context import Role
from dcbridge.console.problems import Refusal
from dcbridge.ledger.controls import Target, What
from dcbridge.operations import controls
from dcbridge.operations.controls import LONGEST, UnknownName, Who, as_json
from dcbridge.operations.wording import utc
from dcbridge.printable import printable


class Named(Fields):
    what: Literal["provider", "channel", "subscriber", "conversation", "hold"] = Field(
        description="hold: the messages of a channel, for review."
    )
    name: Annotated[str, Field(min_length=1, max_length=320)] = Field(
        description="Of a conversation the reference of one of its messages; with `channel` the consumer's address."
    )
    channel: Annotated[str, Field(max_length=200)] = ""
    why: Why = ""


class Begun(Named):
    until: When | None = Field(None, description="When it ends by itself; in 30 days at most.")
    time_stands_still: bool = Field(False, description="The time to live of what waits for it is stopped meanwhile.")


class PausesAnswer(Answer):
    pauses: list[dict[str, Any]]


class BegunAnswer(Answer):
    what: str
    name: str
    until: str | None


class EndedAnswer(Answer):
    what: str
    name: str
    was_in_force: bool
    released: int


async def _target(call: Call) -> Target:
    body, context = call.body, call.context
    try:
        if body.what == What.CONVERSATION:
            return await controls.conversation(context.ledger, context.configuration, body.name, body.channel)
        return controls.target(context.configuration, What(body.what), body.name)
    except UnknownName as error:
        raise Refusal(404, printable(str(error)), {"name": "is not known"}) from None


def _who(call: Call) -> Who:
    return Who(call.person.name[: controls.WORDS], printable(call.body.why)[: controls.WORDS])


@reads(f"{ROOT}/pauses", Role.VIEWER, PausesAnswer, "Pauses, holds and drains that are in force, the oldest first.")
async def pauses(call: Call) -> Mapping[str, Any]:
    return {"pauses": [as_json(one) for one in await call.context.ledger.controls.all()]}


@acts(f"{ROOT}/pauses", Role.OPERATOR, "pause", BegunAnswer, "Begin a pause or a hold, or change it.", Begun)
async def pause(call: Call) -> Mapping[str, Any]:
    until, lasts = moment_of(call.body.until), 0.0
    if until is not None:
        lasts = until - time.time()
        if not 1.0 <= lasts <= LONGEST:
            raise Refusal(422, "some fields are wrong", {"until": "should be in the future, in 30 days at most"})
    target, who = await _target(call), _who(call)
    ends = await call.context.ledger.controls.begin(
        target, lasts=lasts, stands_still=call.body.time_stands_still, by=who.by, why=who.why
    )
    if ends is None:
        raise Refusal(409, "1,000 pauses are in force; end some of them first")
    return {"what": target.what.value, "name": target.name, "until": utc(ends) if ends else None}


@acts(
    f"{ROOT}/pauses/end",
    Role.OPERATOR,
    "resume",
    EndedAnswer,
    "End a pause or a hold.",
    Named,
)
async def resume(call: Call) -> Mapping[str, Any]:
    target = await _target(call)
    was, woken = await controls.resume(call.context.ledger, target, _who(call))
    return {"what": target.what.value, "name": target.name, "was_in_force": was, "released": woken}


ROUTES = [pauses, pause, resume]
