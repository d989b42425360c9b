"""What RQ imports and runs: one function a job, each with one id. Which worker loop runs it is not its concern."""

from __future__ import annotations

from workers import (
    booking_watch,
    bookings,
    callbacks,
    confirmations,
    consumer_messages,
    deliveries,
    inbound_mail,
    lookups,
    outbound,
    secure_messages,
)
from workers import interactions as splitting
from workers import receipts as receipts_out
from workers.context import context


async def send(ref: str) -> None:
    """Hand one part of one agent message to its provider."""
    async with context() as ctx:
        await outbound.send(ctx, ref)


async def ask(ref: str) -> None:
    """Ask a provider what became of one agent message."""
    async with context() as ctx:
        await lookups.ask(ctx, ref)


async def receipts(channel_id: str) -> None:
    """Post the receipts of one channel that are due."""
    async with context() as ctx:
        await receipts_out.post(ctx, channel_id)


async def callback(task_id: str) -> None:
    """Read one provider callback."""
    async with context() as ctx:
        await callbacks.read_callback(ctx, task_id)


async def consumer(task_id: str) -> None:
    """Hand one consumer message to Digital Channels."""
    async with context() as ctx:
        await consumer_messages.post_consumer_message(ctx, task_id)


async def mail(task_id: str) -> None:
    """Read one mail."""
    async with context() as ctx:
        await inbound_mail.read_mail(ctx, task_id)


async def confirm(task_id: str) -> None:
    """Answer one STOP, START or HELP."""
    async with context() as ctx:
        await confirmations.confirm(ctx, task_id)


async def book(task_id: str) -> None:
    """Book the call that one consumer asks for, or cancel it."""
    async with context() as ctx:
        await bookings.book(ctx, task_id)


async def watch(task_id: str) -> None:
    """Ask what became of one call."""
    async with context() as ctx:
        await booking_watch.watch(ctx, task_id)


async def notice(task_id: str) -> None:
    """Tell one consumer that a secure message waits."""
    async with context() as ctx:
        await secure_messages.notice(ctx, task_id)


async def split(_: str) -> None:
    """Make events of the interaction batches that wait."""
    async with context() as ctx:
        await splitting.split(ctx)


async def deliver(delivery_id: str) -> None:
    """Deliver one event to one subscriber."""
    async with context() as ctx:
        await deliveries.deliver(ctx, delivery_id)
