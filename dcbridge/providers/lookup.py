"""What a provider's list says of one message of unknown outcome: it has it, it certainly has not, or that is not known.

A request was written, and no answer was read. The provider may have taken the message and given it an id that we never
saw. Its list holds our sender, the recipient, the text and the time, and mostly nothing of our own; so a row is ours
by elimination:

* **A row that belongs to another message is not ours.** Of each id that we were ever told we keep whose it is, for
  `ledger.KNOWN` seconds. Two messages with the same words to the same number cannot be mixed up as long as the other
  one's id is known, however close in time they are.
* **What is left and has our text is ours**, if there are no more such rows than requests of ours went out without an
  answer. Which of several is which does not matter: they carry the same words to the same person, and all of them
  become ours, so that no later message finds one of them again. The one that got furthest speaks for all.
* **More such rows than requests**: somebody else writes the same words from the same sender, or another channel is
  doing so at this moment. Nobody can tell.
* **A row that is nobody's and has another text** may be ours after all: companies rewrite texts (smart encoding, short
  links, a trial's preface). Nobody can tell.
* **Nothing is left**, and the list was read to its end: it is certainly not there. To send it again cannot double it. A
  list that was given up half way proves nothing.

"Certainly" holds for a list that has caught up: whoever asks waits `StatusLookup.lag` seconds before he believes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcbridge.messages import MessageStatus, UpdateStatus
from dcbridge.providers.base import ListedMessage, Provider


@dataclass(frozen=True, slots=True)
class Found:
    """It has it. `reported` speaks for all `ids`, which are ours from now on."""

    reported: MessageStatus
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotThere:
    """It certainly has not."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """`why` in a few fixed words, for the log."""

    why: str


Verdict = Found | NotThere | CannotTell

_FURTHEST = (UpdateStatus.FAILED, UpdateStatus.REMOVED, UpdateStatus.SENT, UpdateStatus.DELIVERED)


def name_of(ref: str, part: int) -> str:
    """How the ledger says whose a provider's id is."""
    return f"{ref} {part}"


def keepers(providers: Mapping[str, Provider]) -> dict[str, str]:
    """Provider -> the one under whose name the ids of its account are kept, for accounts whose ids are needed at all.

    They are where the account can be asked, whose list holds what all of its providers sent, those as well that are
    never asked themselves; and where a callback may name a message by its id alone.
    """
    accounts = {one.account for one in providers.values() if one.status_lookup is not None or one.can.named_by_id}
    return {
        name: min(other for other, its in providers.items() if its.account == one.account)
        for name, one in providers.items()
        if one.account in accounts
    }


def judge(
    rows: Sequence[ListedMessage], whose: Mapping[str, str], mine: str, requests: int, *, complete: bool
) -> Verdict:
    """What the rows mean for the part that is named `mine`, of which `requests` went out without an answer.

    `whose`: provider id -> `name_of`, where it is known. `complete`: the list was read to its end.
    """
    free = {row.reported.provider_id: row for row in rows if whose.get(row.reported.provider_id, mine) == mine}
    ours = [row.reported for row in free.values() if row.same]
    if ours and len(ours) <= requests:
        best = max(ours, key=lambda reported: _FURTHEST.index(reported.status))
        return Found(best, (best.provider_id, *(reported.provider_id for reported in ours if reported is not best)))
    if ours:
        return CannotTell("several with this text")
    if free:
        return CannotTell("one with another text")
    return NotThere() if complete else CannotTell("the list is too long")
