"""`dcbridge fail`: an operator decides that a channel will not come back."""

from __future__ import annotations

from dcbridge.cli.terminal import out, say_error
from dcbridge.ledger.reports import books, conversations
from dcbridge.operations.session import Session
from dcbridge.printable import printable


async def fail(session: Session, channel_id: str, dry_run: bool) -> int:
    """Fail what was not sent yet; 1 for a channel that is configured, or that nobody ever heard of."""
    shown = printable(channel_id)
    if channel_id in session.configuration.channels:
        say_error(f"channel {shown} is in bridge.yaml, so its messages are sent; remove it there first")
        return 1
    found = [one for one in (await books.read(session.ledger.redis)).channels if one.channel_id == channel_id]
    if not found:
        say_error(f"there is no channel {shown}")
        return 1
    if dry_run:
        states = await conversations.states_of(session.ledger.redis, {channel_id: found[0].in_flight})
        waiting = sum(states[channel_id].get(state, 0) for state in ("accepted", "retry"))
        about = "" if found[0].in_flight <= conversations.READ else "about "
        out.print(f"would fail {about}{_messages(waiting)} of channel {shown}", markup=False)
        return 0
    ended = await session.ledger.unconfigured.give_up(channel_id)
    if ended is None:
        say_error(f"a running worker has channel {shown} in its configuration: restart the workers first")
        return 1
    words = f"failed {_messages(ended)} of channel {shown} with 500; messages that were already sent are not changed"
    out.print(words, markup=False)
    return 0


def _messages(count: int) -> str:
    return f"{count} message{'s' * (count != 1)}"
