"""Twilio's words for what became of a message, and what follows from them: on answers and on callbacks alike.

https://www.twilio.com/docs/messaging/api/message-resource#message-status-values
https://www.twilio.com/docs/api/errors
"""

from __future__ import annotations

import re

import httpx

from dcbridge.errors import AccountFault, Refused, RouteRefused, SendError, Throttled
from dcbridge.messages import Reason, UpdateStatus
from dcbridge.providers import http_words
from dcbridge.providers.http_words import Codes, codes, json_object

_STATUSES = {
    "accepted": UpdateStatus.SENT,
    "scheduled": UpdateStatus.SENT,
    "queued": UpdateStatus.SENT,
    "sending": UpdateStatus.SENT,
    "sent": UpdateStatus.SENT,
    "delivered": UpdateStatus.DELIVERED,
    "read": UpdateStatus.DELIVERED,
    "undelivered": UpdateStatus.FAILED,
    "failed": UpdateStatus.FAILED,
    "partially_delivered": UpdateStatus.FAILED,
    "canceled": UpdateStatus.REMOVED,
}


# https://www.twilio.com/docs/api/errors: what follows from a code, and what the agent is told.
# On a status callback only the reason counts. A code that is not here: Refused, 500.
_CODES: Codes = {
    **codes(Throttled, Reason.RATE_LIMIT, "429 20429 14107 21611 30001 30017 63018"),
    # 20404: of what the URL names only the account can be missing.
    **codes(AccountFault, Reason.GENERAL, "20003 20005 20403 20404 30002"),
    **codes(Refused, Reason.RATE_LIMIT, "30022 30023 30027 63017 63038"),
    **codes(Refused, Reason.EXPIRED, "30036"),
    **codes(
        Refused,
        Reason.NOT_ALLOWED,
        "21610 30004 30007 30010 30018 63033",
    ),
    # A sender or a country that this account may not use.
    **codes(RouteRefused, Reason.NOT_ALLOWED, "21212 21408 21606 21607 21608 21703 30024 30032 30034"),
    **codes(RouteRefused, Reason.INVALID_DESTINATION, "21612"),  # not from this sender
    **codes(
        Refused,
        Reason.INVALID_DESTINATION,
        "21211 21214 21217 21604 21614 30005 30006 63024",
    ),
    **codes(
        Refused,
        Reason.INVALID_STRUCTURE,
        "21602 21603 21609 21617 21620 21623 21624 21656 30012 30013 30400",
    ),
    **codes(Refused, Reason.UNSUPPORTED, "11751 12300 21621 21622 30011 30019 63005 63034"),
    **codes(Refused, Reason.GENERAL, "30003 30008 30009 30410"),
    **dict.fromkeys(map(str, range(11200, 11238)), (Refused, Reason.GENERAL)),
}
# Ids of messages: Twilio's; and those of others: theirs, a UUID (SignalWire), or a word that does not begin as one of
# these.
_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
ANY_SID = re.compile(
    rf"[A-Z]{{2}}[0-9a-f]{{32}}|{_UUID}|(?![A-Z]{{2}}[0-9a-f]{{32}}|{_UUID})[0-9A-Za-z][0-9A-Za-z_-]{{0,63}}", re.ASCII
)
_CODE = re.compile(r"[0-9]{1,6}", re.ASCII)


def status_of(status: str, code: str) -> tuple[UpdateStatus, Reason | None, str]:
    """What a status and its error code say of a message: our status, the reason where it failed, the code to show."""
    known = _STATUSES.get(status.lower(), UpdateStatus.SENT)
    code = code if _CODE.fullmatch(code) and code != "0" else ""
    reason = _CODES.get(code, (Refused, Reason.GENERAL))[1] if known is UpdateStatus.FAILED else None
    return known, reason, code


def error_of(answer: httpx.Response) -> SendError:
    """What an answer other than 2xx means for what was asked."""
    code = str(json_object(answer.content).get("code", ""))
    return http_words.error_of(answer, code if _CODE.fullmatch(code) else "", _CODES)
