"""What the page of one message is made from: a bounded number of commands, however much is remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcbridge.console.views.standing import Seen, Standing, standing
from dcbridge.ledger import Ledger
from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.fields import MessageEntry, State, TaskEntry
from dcbridge.ledger.reports import conversations, search
from dcbridge.operations import controls
from dcbridge.operations.damage import sound
from dcbridge.operations.lives import Life, lives_of
from dcbridge.operations.session import Session

NEAR = 5  # neighbours in its conversation that are shown before and behind it
WAITS = (State.ACCEPTED, State.RETRY, State.SENDING, State.UNKNOWN)  # in its lane


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One member of a lane. `kind`: "message" or "task"; `place`: how many are before it."""

    id: str
    kind: str
    state: str
    accepted_at: float
    place: int
    is_this: bool


@dataclass(frozen=True, slots=True)
class MessageLook:
    """One look at one message."""

    ref: str
    entry: MessageEntry
    life: Life
    standing: Standing
    provider: str
    now: float
    stopping: Sequence[Control] = ()
    neighbours: Sequence[Neighbour] = ()
    before: int = 0
    behind: int = 0
    letters: Sequence[str] = ()

    @property
    def ended(self) -> bool:
        return self.entry.state not in (*WAITS, State.SENT)

    @property
    def who(self) -> str:
        """What stands for its consumer, while that is known."""
        return self.entry.consumer or str(self.life.facts.get("consumer") or "")

    @property
    def is_held(self) -> bool:
        """For review of its channel."""
        return any(one.target.what == What.HOLD for one in self.stopping)

    @property
    def conversation_is_paused(self) -> bool:
        return any(one.target.what == What.CONVERSATION for one in self.stopping)


async def look_at(session: Session, ref: str) -> MessageLook | None:
    """None where no message has this reference."""
    redis, ledger = session.ledger.redis, session.ledger
    lives = await lives_of(session, [f"m:{ref}"])
    if not lives:
        return None
    entry, _ = sound(await ledger.messages.entry(ref))
    channel = session.configuration.channel(entry.channel_id)
    provider = entry.provider or (channel.provider if channel else "")
    place = await search.place_of(redis, ref, entry, provider)
    now = await controls.now(ledger)
    stopping = await controls.stopping(ledger, entry, provider)
    provider_of = {entry.channel_id: provider}
    waits = first = None
    neighbours: list[Neighbour] = []
    before = place.in_lane or 0
    behind = 0
    if entry.state in WAITS:
        waits = await conversations.head_of(redis, now, f"m:{ref}", 1, provider_of)
        if place.in_lane is not None and entry.lane:
            members = await search.around(redis, entry.lane, before, NEAR)
            neighbours = await neighbours_of(ledger, members, max(0, before - NEAR), ref)
            behind = max(0, await search.length(redis, entry.lane) - before - 1)
        if before:
            for head in await search.in_lane(redis, entry.lane, 1):
                first = await conversations.head_of(redis, now, head, before + 1, provider_of)
    seen = Seen(
        entry, now, provider, waits, before, first, stopping, place.due, place.receipt_due,
        (place.breaker_why or b"").decode(errors="replace"),
    )  # fmt: skip
    return MessageLook(
        ref, entry, lives[0], standing(seen), provider, now, stopping, neighbours, before, behind,
        await search.dead_letters(redis, [f"m-{ref}", f"r-{ref}"]),
    )  # fmt: skip


async def neighbours_of(ledger: Ledger, members: Sequence[str], first: int, ref: str = "") -> list[Neighbour]:
    """Members of one lane, in order; `first` is the place of the first of them."""
    entries = await entries_of(ledger, members)
    return [
        Neighbour(
            id=member[2:],
            kind="message" if member.startswith("m:") else "task",
            state=entries[member].state,
            accepted_at=entries[member].accepted_at / 1000,
            place=first + n,
            is_this=member == f"m:{ref}",
        )
        for n, member in enumerate(members)
        if entries[member]
    ]


async def entries_of(ledger: Ledger, members: Sequence[str]) -> Mapping[str, MessageEntry | TaskEntry]:
    """Each of "m:<ref>" and "t:<id>", without numbers that cannot be read: two round trips."""
    refs = [one[2:] for one in members if one.startswith("m:")]
    ids = [one[2:] for one in members if one.startswith("t:")]
    messages = zip(refs, await ledger.messages.entries(refs), strict=True)
    tasks = zip(ids, await ledger.tasks.entries(ids), strict=True)
    found: dict[str, MessageEntry | TaskEntry] = {f"m:{ref}": sound(entry)[0] for ref, entry in messages}
    return found | {f"t:{task}": sound(entry)[0] for task, entry in tasks}
