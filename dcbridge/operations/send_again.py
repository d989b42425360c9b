"""A message that has ended, sent once more as a new one: the trace of each names the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import MessageEntry
from dcbridge.messages import message_ref, own_books
from dcbridge.operations.controls import UnknownName, Who
from dcbridge.own_messages import own_id

SETTING = "DCBRIDGE_KEEP_TEXT"

Refusal = Literal["", "not ended", "own", "not configured", "not kept", "over"]
WORDS: dict[Refusal, str] = {
    "not ended": "it has not ended: dcbridge retry makes its next attempt now",
    "own": "no agent wrote it: call its trigger again, or send the message again that it repeats",
    "not configured": "its channel is not in bridge.yaml any more",
    "not kept": f"its text is not kept: set {SETTING} to the hours for which a message can be sent again",
    "over": f"its text is not kept any more, or never was: {SETTING} says for how many hours one of up to 64 KiB is",
}


@dataclass(frozen=True, slots=True)
class Again:
    """`ref`: of the new message. `outcome`: "new", "again" where this key has sent it before, else "refused"."""

    outcome: Literal["new", "again", "refused"]
    ref: str = ""
    why: Refusal = ""

    @property
    def words(self) -> str:
        """Why it was refused, for a person."""
        return WORDS.get(self.why, "")


async def send_again(ledger: Ledger, configuration: Configuration, ref: str, who: Who, key: str) -> Again:
    """Once for each `key`, which stands for one decision: a click, or a call of the command. Raises UnknownName for a
    message that is not remembered.

    It waits in its conversation, and consent, quiet hours and limits hold as for any other. Its books are those of
    dcbridge's own messages: no agent gets a receipt for it, and the first message's stays as it was posted.
    """
    entry = await ledger.messages.entry(ref)
    if not entry:
        raise UnknownName("no message has this reference")
    answer = await _answer(ledger, configuration, ref, key)
    await ledger.controls.note(who.by, "send again", ref, who.why, answer.ref or f"refused: {answer.why}")
    return answer


async def why_not(ledger: Ledger, configuration: Configuration, ref: str, entry: MessageEntry) -> Refusal:
    """What `send_again` would say now, "" where it would send. `entry`: of this message."""
    if entry.is_own:
        return "own"
    if configuration.channel(entry.channel_id) is None:
        return "not configured"
    if not entry.ended_at:
        return "not ended"
    return "" if await ledger.own.kept(ref) else _not_kept(ledger)


def _not_kept(ledger: Ledger) -> Refusal:
    return "over" if ledger.own.keeps_text else "not kept"


async def _answer(ledger: Ledger, configuration: Configuration, ref: str, key: str) -> Again:
    entry = await ledger.messages.entry(ref)
    channel = configuration.channel(entry.channel_id)
    if entry.is_own:
        return Again("refused", why="own")
    if channel is None:
        return Again("refused", why="not configured")
    index = int(ref.partition("-")[2] or "0")  # which recipient of the payload it is
    message_id = own_id(f"again {ref} {key}")
    new = message_ref(entry.channel_id, message_id, index)
    if await ledger.messages.entry(new):
        return Again("again", new)
    kept = await ledger.own.kept(ref)
    if kept is None:
        return Again("refused", why=_not_kept(ledger) if entry.ended_at else "not ended")
    to_id, payload = kept
    outcome = await ledger.own.again(
        new,
        ref,
        own_books(entry.channel_id),
        message_id,
        to_id,
        payload,
        entry.trace_id,
        channel.time_to_live,
        f"again {ref}",
    )
    if outcome == "gone":
        raise UnknownName("no message has this reference")
    if outcome == "not ended":
        return Again("refused", why="not ended")
    return Again("again" if outcome == "again" else "new", new)
