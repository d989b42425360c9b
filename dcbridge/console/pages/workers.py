"""Services, workers and queues; drain of a worker or of the whole installation, until it is safe to stop."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console import stops
from dcbridge.console.access import action, form_of, page
from dcbridge.console.answers import Fields, back_to, notice
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.overview import Worker
from dcbridge.operations import controls
from dcbridge.operations.controls import UnknownName

NOTICES = {
    "drained": "This installation is drained: nothing new is sent. Watch what is under way until it is safe to stop.",
    "resumed": "The drain is over. What waited is sent.",
    "worker-drained": "The worker takes no more jobs. Watch its jobs until it has none.",
    "worker-resumed": "The worker takes jobs again.",
    "nothing": "Nothing was in force.",
}


def states(one: Worker, drained: bool) -> list[tuple[str, str]]:
    """The worst first."""
    found = []
    if one.silent:
        found.append(("bad", "no heartbeat"))
    if drained:
        found.append(("warn", "drained, safe to stop" if not one.in_flight else "drained"))
    if not one.obeys:
        found.append(("warn", "older version: knows no pauses"))
    return found or [("good", "ok")]


async def _show(
    request: Request,
    context: ConsoleContext,
    status: int = 200,
    *,
    errors: Mapping[str, str] | None = None,
    of: str = "",
    given: Mapping[str, str] | None = None,
) -> Response:
    ledger = context.ledger
    now = await overview.read(ledger.redis, context.configuration.providers)
    stopped = {one.target.name: one for one in now.controls if one.target.what == What.WORKER}
    drained = next((one for one in now.controls if one.target.what == What.ALL), None)
    services = await ledger.services.all()
    return render(
        request,
        "workers.html",
        status,
        title="Workers",
        notice=notice(request, NOTICES),
        now=now.at,
        workers=[(one, states(one, one.name in stopped), stopped.get(one.name)) for one in now.workers],
        services=services,
        queues=now.queues,
        uncovered=now.uncovered,
        suspended=now.suspended,
        drained=drained,
        under_way=await controls.under_way(ledger) if drained else None,
        versions=sorted(
            {one.version for one in now.workers if not one.silent} | {one.version for one in services if not one.silent}
        ),
        lasts=stops.LASTS,
        errors=Fields(errors or {}),
        of=of,
        given=Fields(given or {}),
    )


@page("/workers", Role.VIEWER)
async def worker_list(request: Request, context: ConsoleContext, _person: Person) -> Response:
    return await _show(request, context)


@action("/workers/drain", Role.ADMIN, "drain", recorded=False)
async def drain(request: Request, context: ConsoleContext, person: Person) -> Response:
    """The whole installation."""
    return await _begin(request, context, person, Target(What.ALL), "all", "drained")


@action("/workers/resume", Role.OPERATOR, "resume", recorded=False)
async def resume(request: Request, context: ConsoleContext, person: Person) -> Response:
    was = await stops.end(context, person, Target(What.ALL), stops.reason(form_of(request)))
    return back_to("workers", done="resumed" if was else "nothing")


@action("/workers/{worker}/drain", Role.ADMIN, "drain", recorded=False)
async def drain_worker(request: Request, context: ConsoleContext, person: Person) -> Response:
    try:
        name = (await controls.worker(context.ledger, request.path_params["worker"])).name
    except UnknownName:
        raise HTTPException(404) from None
    return await _begin(request, context, person, Target(What.WORKER, name), name, "worker-drained")


@action("/workers/{worker}/resume", Role.OPERATOR, "resume", recorded=False)
async def resume_worker(request: Request, context: ConsoleContext, person: Person) -> Response:
    target = Target(What.WORKER, request.path_params["worker"])
    was = await stops.end(context, person, target, stops.reason(form_of(request)))
    return back_to("workers", done="worker-resumed" if was else "nothing")


async def _begin(
    request: Request, context: ConsoleContext, person: Person, target: Target, of: str, done: str
) -> Response:
    form = form_of(request)
    asked_for, errors = stops.read(form, await controls.now(context.ledger))
    if errors:
        return await _show(request, context, 422, errors=errors, of=of, given=form)
    await stops.begin(context, person, target, asked_for)
    return back_to("workers", done=done)


ROUTES = [worker_list, drain, resume, drain_worker, resume_worker]
