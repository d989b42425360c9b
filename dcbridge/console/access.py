"""Who may do what: roles, the decorators of handlers, and the table that they fill.

    @page("/messages", Role.VIEWER)
    async def messages(request: Request, context: ConsoleContext, person: Person) -> Response: ...

    @action("/messages/{ref}/cancel", Role.OPERATOR, "message.cancel")
    async def cancel(request: Request, context: ConsoleContext, person: Person) -> Response: ...

    ROUTES = [messages, cancel]

A handler of an action finds the fields of its form with `form_of(request)`. Its CSRF token was checked already, and a
line of the record follows from its answer (guard.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.context import ConsoleContext, Person, Role

__all__ = ["TABLE", "Handler", "Person", "Role", "Rule", "action", "enter", "form_of", "page", "record"]

Handler = Callable[[Request, ConsoleContext, Person], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: a handler, and who may call it."""

    method: str
    path: str
    role: Role
    action: str  # as the record names it; "" for what only reads
    recorded: bool  # by guard.py; False where what the handler calls writes the record itself
    handler: Handler

    async def __call__(self, request: Request, context: ConsoleContext, person: Person) -> Response:
        return await self.handler(request, context, person)


# Method and path -> the rule: everything that the console answers to somebody who has signed in.
TABLE: dict[tuple[str, str], Rule] = {}


def enter(rule: Rule) -> Rule:
    """Raises ValueError where another one is there."""
    if TABLE.setdefault((rule.method, rule.path), rule) is not rule:
        raise ValueError(f"{rule.method} {rule.path} has two handlers")
    return rule


def page(path: str, role: Role) -> Callable[[Handler], Rule]:
    """A handler of GET, which changes nothing."""
    return lambda handler: enter(Rule("GET", path, role, "", False, handler))


def action(path: str, role: Role, name: str, *, recorded: bool = True) -> Callable[[Handler], Rule]:
    """A handler of POST. `name`: of the record. `recorded=False`: what it calls writes the record itself."""
    return lambda handler: enter(Rule("POST", path, role, name, recorded, handler))


def form_of(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of the form that was posted; empty for GET."""
    found: ImmutableMultiDict[str, str] = getattr(request.state, "form", ImmutableMultiDict())
    return found


def record(request: Request, *, what: str = "", why: str = "", result: str = "") -> None:
    """What the line of the record is to say, where that differs from the path, the field `why` and the status."""
    said = {"what": what, "why": why, "result": result}
    request.state.record = getattr(request.state, "record", {}) | {name: word for name, word in said.items() if word}
