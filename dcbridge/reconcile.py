"""Both sides' books: our messages against those that Genesys kept, without I/O.

both        one of ours is one of theirs
only_ours   dcbridge accepted or posted it, and the export does not have it
only_theirs the export has it for one of our channels, and dcbridge does not know it
ambiguous   neither can be said: why stands beside it
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType

from dcbridge.genesys.exports import KeptMessage
from dcbridge.ledger.digests import Digest, begins, day_of
from dcbridge.ledger.reports.kept import OurMessage
from dcbridge.settings.process import DAY

MOST = 2_000_000  # of our messages that are compared at once: about 1 GiB
EDGE = 60.0  # seconds at both ends of the period in which the two clocks may disagree

NO_ID = "Digital Channels gave it no id that is known"
AT_THE_EDGE = "it lies at the edge of the period"
SEVERAL = "it has the ids of several of our messages"
NO_CHANNEL = "it does not say of which channel it is"
DIGEST = "its id is not kept, only a digest of it"
TOO_OLD = "it is older than what dcbridge remembers"


class TooMany(Exception):
    """More messages than are compared at once."""


@dataclass(frozen=True, slots=True)
class Line:
    """One message in one of the sets. `ref` is ours, `place` theirs."""

    kind: str = ""
    channel: str = ""
    id: str = ""
    ref: str = ""
    state: str = ""
    place: str = ""
    interaction: str = ""
    why: str = ""

    @property
    def words(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(slots=True)
class Set:
    """How many there are, and the first of them."""

    most: int
    count: int = 0
    first: list[Line] = field(default_factory=list)

    def add(self, line: Line) -> None:
        self.count += 1
        if len(self.first) < self.most:
            self.first.append(line)


@dataclass(slots=True)
class Result:
    """The four sets. `elsewhere`: messages of the export that are of no channel of ours; `outside`: of the period."""

    both: Set
    only_ours: Set
    only_theirs: Set
    ambiguous: Set
    elsewhere: int = 0
    outside: int = 0
    at_the_edge: int = 0  # of the ambiguous ones

    @property
    def differs(self) -> bool:
        """Something is missing on a side, or nobody can say whether it is. What lies at the edge does not count."""
        return bool(self.only_ours.count or self.only_theirs.count or self.ambiguous.count > self.at_the_edge)


@dataclass(slots=True)
class _Row:
    message: OurMessage
    times: int = 0  # the export has it so often


class Comparison:
    """Ours first, then theirs, one at a time; then the result."""

    def __init__(
        self,
        channels: Iterable[str],
        since: float | None,
        until: float | None,
        limit: int,
        remembered: float = 0.0,
        digests: Mapping[str, Mapping[str, Digest]] = MappingProxyType({}),
    ) -> None:
        """`channels`: ours. Messages from `since` to before `until` have to be on both sides; None: from the earliest,
        and to the latest, that the export has. Ours are known from `remembered` on. Seconds since 1970. `limit`: lines
        that are kept of each set. `digests`: of messages before `remembered`, by day and channel.
        """
        self._digests = digests
        self._channels, self._since, self._until, self._remembered = frozenset(channels), since, until, remembered
        self._earliest, self._latest = math.inf, -math.inf
        self._rows: dict[tuple[str, str], _Row] = {}
        self._by_id: dict[str, list[_Row]] = {}
        self._nameless: list[OurMessage] = []
        self._result = Result(Set(limit), Set(limit), Set(limit), Set(limit))

    def ours(self, message: OurMessage) -> None:
        """Raises TooMany. A message that was added already, as another copy or from a digest, is one."""
        if not message.id:
            self._nameless.append(message)
            return
        if (message.channel, message.id) in self._rows:
            return
        if len(self._rows) + len(self._nameless) >= MOST:
            raise TooMany
        row = self._rows[message.channel, message.id] = _Row(message)
        self._by_id.setdefault(message.id, []).append(row)
        if (digest := self._digests.get(day_of(message.at), {}).get(message.channel)) is not None:
            digest.find(message.id)  # known by more than its digest

    def theirs(self, kept: KeptMessage) -> None:
        """One message of the export."""
        if kept.at is not None:
            self._earliest, self._latest = min(self._earliest, kept.at), max(self._latest, kept.at)
        found = [row for one in kept.ids for row in self._by_id.get(one, ())]
        if kept.channel:
            found = [row for row in found if row.message.channel == kept.channel]
        if len(found) == 1:
            found[0].times += 1
        elif found:
            self._result.ambiguous.add(_of_theirs(kept, SEVERAL))
            for row in found:
                row.times += 1
        elif line := self._of_digest(kept):
            self._result.both.add(line)
        elif not kept.channel:
            self._result.ambiguous.add(_of_theirs(kept, NO_CHANNEL))
        elif kept.channel not in self._channels:
            self._result.elsewhere += 1
        else:
            self._alone(kept)

    def _alone(self, kept: KeptMessage) -> None:
        since, until = self._since or 0.0, math.inf if self._until is None else self._until
        if kept.at is None:
            self._result.only_theirs.add(_of_theirs(kept, ""))
        elif not since <= kept.at < until:
            self._result.outside += 1
        elif kept.at < self._remembered and day_of(kept.at) not in self._digests:
            self._result.ambiguous.add(_of_theirs(kept, TOO_OLD))
        elif kept.at < since + EDGE or kept.at >= until - EDGE:
            self._edge(_of_theirs(kept, AT_THE_EDGE))
        else:
            self._result.only_theirs.add(_of_theirs(kept, ""))

    def _of_digest(self, kept: KeptMessage) -> Line | None:
        """One that is of both sides, by what is kept of it here."""
        if kept.at is None or not self._digests:
            return None
        for day in dict.fromkeys(map(day_of, (kept.at, kept.at - EDGE, kept.at + EDGE))):
            of_day = self._digests.get(day, {})
            for channel in [kept.channel] if kept.channel else of_day:
                for one in kept.ids if channel in of_day else ():
                    if state := of_day[channel].find(one):
                        return Line(
                            channel=channel, id=one, state=state, place=kept.place, interaction=kept.interaction
                        )
        return None

    def _forgotten(self, since: float, until: float) -> None:
        """Ours of whole days of the period that the export does not have, and of which a digest alone is left."""
        for day, by_channel in self._digests.items():
            if since <= begins(day) < self._remembered and begins(day) + DAY <= until:
                for channel, digest in by_channel.items():
                    for mark, state in digest.unseen():
                        self._result.only_ours.add(Line(channel=channel, ref=f"#{mark}", state=state, why=DIGEST))

    def result(self) -> Result:
        """What was seen only on our side is known now."""
        since = self._earliest if self._since is None else self._since
        until = self._latest if self._until is None else self._until
        for message in self._nameless:
            if since <= message.at < until:
                self._result.ambiguous.add(_of_ours(message, NO_ID))
        for row in self._rows.values():
            message, sets = row.message, self._result
            if row.times == 1:
                sets.both.add(_of_ours(message, ""))
            elif row.times:
                sets.ambiguous.add(_of_ours(message, f"Genesys has it {row.times} times"))
            elif since + EDGE <= message.at < until - EDGE:
                sets.only_ours.add(_of_ours(message, ""))
            elif since <= message.at < until:
                self._edge(_of_ours(message, AT_THE_EDGE))
        self._forgotten(since, until)
        return self._result

    def _edge(self, line: Line) -> None:
        self._result.ambiguous.add(line)
        self._result.at_the_edge += 1


def _of_ours(one: OurMessage, why: str) -> Line:
    return Line(kind=one.kind, channel=one.channel, id=one.id, ref=one.ref, state=one.state, why=why)


def _of_theirs(kept: KeptMessage, why: str) -> Line:
    name = kept.ids[0] if kept.ids else ""
    return Line(channel=kept.channel, id=name, place=kept.place, interaction=kept.interaction, why=why)
