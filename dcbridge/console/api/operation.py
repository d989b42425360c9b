"""How an operation of the API is declared: who may, what it reads, what it answers, and a sentence for its document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import Rule, enter
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.problems import Refusal, invalid

ROOT = "/api/v1"


class Fields(BaseModel):
    """What is read: nothing else is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Answer(BaseModel):
    """What is answered. Later versions may add to it."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Nothing(Fields):
    """No query, or no body."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `query` and `body` are of the models that were declared."""

    request: Request
    context: ConsoleContext
    person: Person
    query: Any
    body: Any

    @property
    def path(self) -> Mapping[str, str]:
        found: dict[str, str] = self.request.path_params
        return found


Handler = Callable[[Call], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of it."""

    method: str
    path: str
    role: Role
    summary: str
    query: type[Fields]
    body: type[Fields]
    answer: type[Answer]


# By method and path: what the document describes.
OPERATIONS: dict[tuple[str, str], Operation] = {}


def reads(
    path: str, role: Role, answer: type[Answer], summary: str, query: type[Fields] = Nothing
) -> Callable[[Handler], Rule]:
    """An operation of GET."""
    return lambda handler: _declared(Operation("GET", path, role, summary, query, Nothing, answer), handler, "", False)


def acts(
    path: str, role: Role, name: str, answer: type[Answer], summary: str, body: type[Fields], *, recorded: bool = False
) -> Callable[[Handler], Rule]:
    """An operation of POST. `name`: of the record; `recorded`: by guard.py, and not by what the handler calls."""
    return lambda handler: _declared(
        Operation("POST", path, role, summary, Nothing, body, answer), handler, name, recorded
    )


def _declared(of: Operation, handler: Handler, name: str, recorded: bool) -> Rule:
    async def answer(request: Request, context: ConsoleContext, person: Person) -> Response:
        query = _read(of.query, _single(request))
        body = _read(of.body, getattr(request.state, "body", {}))
        found = await handler(Call(request, context, person, query, body))
        return Response(orjson.dumps(found), media_type="application/json")

    OPERATIONS[of.method, of.path] = of
    return enter(Rule(of.method, of.path, of.role, name, recorded, answer))


def _single(request: Request) -> dict[str, str]:
    found = dict(request.query_params)
    for name, _ in request.query_params.multi_items():
        if len(request.query_params.getlist(name)) > 1:
            raise Refusal(400, "a field of the query comes twice", {name[:50]: "should come once"})
    return found


def _read(model: type[Fields], values: object) -> Fields:
    """Raises Refusal, which names each field."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None
