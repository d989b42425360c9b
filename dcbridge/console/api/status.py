"""The state of the installation, as `dcbridge status --json` prints it, and the record of what was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from dcbridge.console.api.operation import ROOT, Answer, Call, Fields, reads
from dcbridge.console.api.times import When, moment_of
from dcbridge.console.context import Role
from dcbridge.console.problems import Refusal
from dcbridge.ledger.reports import search
from dcbridge.operations.status import Wanted, as_json, look
from dcbridge.operations.wording import utc


class StatusQuery(Fields):
    channel: Annotated[str, Field(max_length=200)] | None = None
    provider: Annotated[str, Field(max_length=64)] | None = None
    heads: Annotated[int, Field(ge=0, le=200)] = 10


class Finding(Answer):
    key: str
    severity: str
    says: str
    command: str
    page: str


class StatusAnswer(Answer):
    """The exit code of `dcbridge status` is 1 where `problems` is not empty."""

    at: str
    redis: str
    problems: list[str]
    findings: list[Finding]
    providers: list[dict[str, Any]]
    channels: list[dict[str, Any]]
    workers: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    controls: list[dict[str, Any]]


async def _status(call: Call) -> Mapping[str, Any]:
    query, configuration = call.query, call.context.configuration
    if query.provider is not None and query.provider not in configuration.providers:
        raise Refusal(404, "there is no such provider", {"provider": "is not in bridge.yaml"})
    known = query.channel is None or query.channel in configuration.channels
    if not known and query.channel not in await search.channels(call.context.ledger.redis):
        raise Refusal(404, "there is no such channel", {"channel": "is not in bridge.yaml, and was never written to"})
    found = await look(call.context.session(), Wanted(query.channel, query.provider, query.heads))
    return as_json(found)


_SUMMARY = "Problems first; then providers, channels, workers, queues and waiting conversations."
status = reads(f"{ROOT}/status", Role.VIEWER, StatusAnswer, _SUMMARY, StatusQuery)(_status)
status_of_any_version = reads("/api/status", Role.VIEWER, StatusAnswer, _SUMMARY, StatusQuery)(_status)


# ---------------------------------------------------------------- the record


class AuditQuery(Fields):
    since: When | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 50


class Action(Answer):
    at: str
    by: str
    action: str
    what: str
    why: str
    result: str


class AuditAnswer(Answer):
    actions: list[Action]


@reads(f"{ROOT}/audit", Role.VIEWER, AuditAnswer, "Who did what, when and why; the newest first.", AuditQuery)
async def audit(call: Call) -> Mapping[str, Any]:
    since = moment_of(call.query.since) or 0.0
    found = await call.context.ledger.controls.audit(call.query.limit, since)
    return {"actions": [{**asdict(one), "at": utc(one.at)} for one in found]}


ROUTES = [status, status_of_any_version, audit]
