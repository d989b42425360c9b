"""An email as a work item of Genesys' Openmedia API, for mail that is worked on and not answered: made once, whatever
is repeated, because an item that is there already is as good as a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from dcbridge.errors import Deferred, Refused, SendError
from dcbridge.genesys import openmedia
from dcbridge.interfaces import Operation
from dcbridge.ledger import TaskClaim
from workers.context import WorkerContext

log = structlog.get_logger()

CREATE = Operation("openmedia", "create")
MOST_TEXT = 12_000  # characters in an item: no limit is documented, and the attached data of an interaction is small
CUT = "\n[the mail is longer than what is shown]"


async def make(ctx: WorkerContext, task_id: str, claimed: TaskClaim, stored: Mapping[str, Any], text: str) -> bool:
    """False where Genesys does not take this item. Raises Deferred while that may pass."""
    genesys, item = ctx.configuration.genesys, stored["item"]
    if genesys is None or ctx.interfaces is None:  # taken out of bridge.yaml since the mail was read
        return False
    data = {
        "Subject": item["subject"],
        "From": stored["from"],
        "Name": item["name"],
        "To": item["to"],
        "Text": text if len(text) <= MOST_TEXT else text[: MOST_TEXT - len(CUT)] + CUT,
        "Channel": claimed.entry.channel_id,
    }
    service = openmedia.Service(genesys.url(None, "/nexus/v3"), item["service"])
    request = service.create(
        openmedia.mail_id(task_id),
        (claimed.entry.accepted_at or 0) / 1000,
        {name: value for name, value in data.items() if value},
    )
    try:
        openmedia.created(await ctx.interfaces.send(CREATE, request, claimed.entry.trace_id))
    except Refused as error:
        log.warning("mail_item_refused", code=error.code)
        ctx.metrics.consumer_messages.labels(claimed.entry.channel_id, "item_refused").inc()
        return False
    except SendError as error:
        if error.page:
            ctx.metrics.faults.labels(error.outcome, "openmedia").inc()
        raise Deferred(f"openmedia {error.code}") from None
    return True
