"""Which of our messages a delivery update is about, where it does not carry our own reference back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dcbridge.ledger.fields import MessageEntry
from dcbridge.messages import DeliveryUpdate
from dcbridge.providers.lookup import keepers
from dcbridge.providers.phone import same_address
from workers.context import WorkerContext

UNKNOWN = "512 unknown message"
WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)  # seconds; an update may come before the answer to its request is written


async def located(ctx: WorkerContext, updates: Sequence[DeliveryUpdate]) -> list[DeliveryUpdate]:
    """The updates of one callback with our reference, where the provider's id or a mail's Message-ID leads to it."""
    ids = list({one.provider_id for one in updates if not one.ref and not one.first_ref and one.provider_id})
    keeper = keepers(ctx.providers).get(updates[0].provider) if ids else None
    whose = await ctx.ledger.lookups.whose(keeper, ids) if keeper is not None else {}
    return [await _located(ctx, one, whose) for one in updates]


async def _located(ctx: WorkerContext, update: DeliveryUpdate, whose: Mapping[str, str]) -> DeliveryUpdate:
    if update.ref:
        return update
    if update.first_ref:
        return replace(update, ref=await _copy(ctx, update))
    ref, _, part = whose.get(update.provider_id, "").partition(" ")
    return replace(update, ref=ref, part=int(part)) if ref and part.isdigit() else update


def may_be_known_soon(ctx: WorkerContext, update: DeliveryUpdate) -> bool:
    """Whether its id is of the kind that is written down with the answer to a request."""
    return not update.ref and bool(update.provider_id) and update.provider in keepers(ctx.providers)


def why_unknown(update: DeliveryUpdate) -> str:
    """For the dead letter."""
    if update.ref:
        return UNKNOWN
    if update.first_ref:
        return f"{UNKNOWN}: the Message-ID is ours, and no copy of the email fits the recipient"
    if update.provider_id:
        return f"{UNKNOWN}: it carries no reference of ours, and the provider's id belongs to no message that is known"
    return f"{UNKNOWN}: it carries no reference of ours and no id"


async def _copy(ctx: WorkerContext, update: DeliveryUpdate) -> str:
    """The copy of an email that went to the update's recipient; of an email to one person that one, whoever it was
    told on to. "" where there is none, or it was sent through another account.
    """
    account = ctx.providers[update.provider].account
    found = await ctx.ledger.lookups.copies(update.first_ref)
    copies = {ref: copy for ref, copy in found.items() if _account_of(ctx, copy) == account}
    for ref, copy in copies.items():
        if copy.provider_id(0) == update.provider_id:
            return ref
    for recipient in update.recipients:
        for ref, copy in copies.items():
            if same_address(copy.to_id, recipient):
                return ref
    return next(iter(copies)) if len(copies) == len(found) == 1 else ""


def _account_of(ctx: WorkerContext, copy: MessageEntry) -> str | None:
    channel = ctx.channel(copy.channel_id)
    provider = ctx.provider_of(channel, copy) if channel else None
    return provider.account if provider else None


def says_so(ctx: WorkerContext, update: DeliveryUpdate, entry: MessageEntry) -> str:
    """The provider whose word an update is, of two with one account the message's."""
    theirs, its = ctx.providers.get(update.provider), ctx.providers.get(entry.booked_by)
    return its.name if theirs and its and theirs.account == its.account else update.provider
