"""What happens on one phone line: a call that rang and was not answered, and how a call ended. No I/O.

A call is missed if it was seen Ringing, and then Released without having been Established. What was not seen from its
beginning is no missed call: nobody knows whether somebody answered it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from dcbridge.genesys.web_services import DIALING, ESTABLISHED, HELD, RELEASED, RINGING, Call

MOST = 1000  # calls that are remembered
CONSULT, OUTBOUND = "consult", "outbound"


@dataclass(frozen=True, slots=True)
class Missed:
    """Nobody answered. `number` without a plus; "" where there is none that can be written to."""

    uuid: str
    number: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Disposed:
    """An agent said how the call ended."""

    uuid: str
    code: str
    number: str = field(repr=False)


@dataclass(slots=True)
class _Seen:
    rang: bool = False
    answered: bool = False
    ours: bool = False  # dialled from this line, or a consultation
    released: bool = False
    number: str = ""
    code: str = ""


class PhoneLine:
    """The calls of one line."""

    def __init__(self, disposition_key: str) -> None:
        self._key = disposition_key
        self._calls: OrderedDict[str, _Seen] = OrderedDict()

    def heard(self, call: Call) -> Missed | Disposed | None:
        """What this change of a call means; None for nothing that is of use."""
        seen = self._seen(call)
        code = call.user_data.get(self._key, "")
        if call.state == RELEASED and not seen.released:
            seen.released = True
            if seen.rang and not seen.answered and not seen.ours:
                return Missed(call.uuid, seen.number)
        if code and code != seen.code:
            seen.code = code
            return Disposed(call.uuid, code, seen.number)
        return None

    def recovered(self, calls: Iterable[Call]) -> None:
        """The calls that there are, after a time in which nothing was heard. One that rang before and is gone has ended
        somehow: it is forgotten.
        """
        there = {call.uuid: call for call in calls}
        for uuid, seen in self._calls.items():
            if uuid not in there and not seen.released:
                seen.released = True
        for call in there.values():
            seen = self._seen(call)
            seen.code = call.user_data.get(self._key, seen.code)

    def _seen(self, call: Call) -> _Seen:
        seen = self._calls.get(call.uuid)
        if seen is None:
            seen = self._calls[call.uuid] = _Seen()
            if len(self._calls) > MOST:
                self._calls.popitem(last=False)
        seen.rang |= call.state == RINGING
        seen.answered |= call.state in (ESTABLISHED, HELD)
        seen.ours |= call.state == DIALING or call.kind.casefold() in (CONSULT, OUTBOUND)
        seen.number = call.number or seen.number
        return seen
