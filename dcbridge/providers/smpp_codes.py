"""What an SMSC says: the status of a response, and the state in a delivery receipt.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf     5.1.3 (command_status), 5.2.28 (message_state), appendix B (receipts)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dcbridge.errors import AccountFault, Deferred, Refused, SendError, Throttled, UnreadableEvent
from dcbridge.messages import Reason, UpdateStatus

THROTTLED, QUEUE_FULL = 0x58, 0x14
_TEMPORARY = frozenset(
    (0x08, 0x45, 0x64, 0xFE)
)  # system error, submit failed, temporary at the receiver, delivery failure
_ACCOUNT = frozenset((0x04, 0x05, 0x0D, 0x0E, 0x0F))  # not bound rightly, bound already, bind, password, system_id
_REASONS = {
    **dict.fromkeys((0x0B, 0x33, 0x50, 0x51), Reason.INVALID_DESTINATION),
    **dict.fromkeys((0x0A, 0x48, 0x49, 0x53), Reason.NOT_ALLOWED),
    **dict.fromkeys(
        (0x01, 0x02, 0x03, 0x06, 0x07, 0x15, 0x42, 0x43, 0x61, 0x62, 0x63, 0xC0, 0xC1, 0xC2, 0xC3, 0xC4),
        Reason.INVALID_STRUCTURE,
    ),
    **dict.fromkeys((0x0C, 0x67), Reason.UNKNOWN_MESSAGE),
}
_STATES = {
    **dict.fromkeys(("ENROUTE", "ACCEPTD", "SCHEDLD"), (UpdateStatus.SENT, None)),
    "DELIVRD": (UpdateStatus.DELIVERED, None),
    "EXPIRED": (UpdateStatus.FAILED, Reason.EXPIRED),
    "DELETED": (UpdateStatus.REMOVED, None),
    "UNDELIV": (UpdateStatus.FAILED, Reason.GENERAL),
    "UNKNOWN": (UpdateStatus.FAILED, Reason.GENERAL),
    "REJECTD": (UpdateStatus.FAILED, Reason.NOT_ALLOWED),
}
_NUMBERS = dict(
    enumerate(("SCHEDLD", "ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD"))
)
_FIELD = re.compile(r"\b(id|stat|err):\s*([!-~]{1,64})", re.ASCII | re.IGNORECASE)


def name_of(status: int) -> str:
    """As it is written in reports and settings: 0x58."""
    return f"0x{status:02X}"


def error_of(status: int, reasons: dict[str, int]) -> SendError:
    """What a status other than 0 means. `reasons`: of statuses that an SMSC has made up."""
    code = name_of(status)
    if code in reasons:
        return Refused(code, reason=Reason(reasons[code]))
    if status in (THROTTLED, QUEUE_FULL):
        return Throttled(code)
    if status in _TEMPORARY:
        return Deferred(code)
    if status in _ACCOUNT:
        return AccountFault(code)
    return Refused(code, reason=_REASONS.get(status, Reason.GENERAL))


@dataclass(frozen=True, slots=True)
class Receipt:
    """`message_id` as the SMSC wrote it, "" for none; `code` is the network's."""

    message_id: str
    status: UpdateStatus
    reason: Reason | None
    code: str


def read_receipt(text: str, message_id: str, state: int | None, reasons: dict[str, int]) -> Receipt:
    """`message_id` and `state` of the optional parameters, which go before the text. Raises UnreadableEvent."""
    said = {name.lower(): value for name, value in reversed(_FIELD.findall(text))}  # the first of each
    word = _NUMBERS.get(state, "UNKNOWN") if state is not None else said.get("stat", "").upper()
    if not word:
        raise UnreadableEvent("no stat")
    status, reason = _STATES.get(word, (UpdateStatus.SENT, None))
    code = said.get("err", "")
    if not code.strip("0"):
        code = ""
    if reason is not None and code in reasons:
        reason = Reason(reasons[code])
    return Receipt(message_id or said.get("id", ""), status, reason, code)
