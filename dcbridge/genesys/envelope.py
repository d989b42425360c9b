"""What Genesys' web interfaces answer, read in each of the six forms that their reference prints.

    {"status": {"code": 0, …}, "data": …, "errors": […]}           authentication, statistics; open media
    {"referenceId": …, "status": {"code": "SUCCESS"}, …}            secure email, chat sessions
    {"status": {"code": 200, "message": …, "corrId": …}, "data": …} engagement
    {"statusCode": 0, …}                                            web services
    {"access_token": …}, {"error": …}, {"message": "Forbidden"}      tokens, and the gateway in front of all of them

The HTTP status decides first. Of what is said in words nothing is kept: it may be about a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx

from dcbridge import retry_after
from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreadable
from dcbridge.json_values import an_object, code, json_value

_GOOD = frozenset({"", "0", "1", "200", "SUCCESS"})  # 1: taken, and the rest comes later
_PARTIAL = frozenset({"2", "7"})
LONGEST_ANSWER = 1 << 20  # bytes; a longer one is not read


class Said(StrEnum):
    """What an answer of 2xx says."""

    TAKEN = "taken"
    PARTIAL = "partial"  # some of it
    REFUSED = "refused"  # with a good HTTP status


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer. `whole` is {} for what is no object; `code` is that of its envelope, "" for none."""

    http: int
    code: str
    whole: Mapping[str, object]
    data: Mapping[str, object]
    is_json: bool
    retry_after: float | None = None

    @property
    def said(self) -> Said:
        if self.code in _PARTIAL:
            return Said.PARTIAL
        return Said.TAKEN if self.code in _GOOD else Said.REFUSED

    @property
    def good(self) -> bool:
        """All of it was taken."""
        return 200 <= self.http < 300 and self.is_json and self.said is Said.TAKEN

    @property
    def words(self) -> str:
        """For a log: the status, and the code where there is one."""
        return f"http {self.http}" + (f" status {self.code}" if self.code not in ("", str(self.http)) else "")

    def error(self) -> SendError:
        """What follows, where it is not good. 404 and 409 are Refused here: each interface means its own by them."""
        if 200 <= self.http < 300:
            return Refused(self.words) if self.is_json else Unreadable(self.words)
        if self.http in (401, 403) or self.http < 200 or 300 <= self.http < 400:
            return AccountFault(self.words)
        if self.http == 429:
            return Throttled(self.words, retry_after=self.retry_after, whole_account=True)
        if self.http >= 500 or self.http == 408:
            return OutcomeUnknown(self.words, retry_after=self.retry_after)
        return Refused(self.words)


def read(answer: httpx.Response) -> Reading:
    """Any answer. No body at all is as good as an empty object."""
    body = answer.content
    value = json_value(body) if len(body) <= LONGEST_ANSWER else None
    whole = an_object(value)
    return Reading(
        http=answer.status_code,
        code=_code_of(whole),
        whole=whole,
        data=an_object(whole.get("data")),
        is_json=not body.strip() or isinstance(value, dict),
        retry_after=retry_after.longest(answer.headers.get_list("Retry-After")),
    )


def _code_of(whole: Mapping[str, object]) -> str:
    status = whole.get("status")
    if isinstance(status, dict):
        return code(status.get("code"))
    if "statusCode" in whole:
        return code(whole["statusCode"])
    if isinstance(status, int) and not isinstance(status, bool):  # {"timestamp", "status", "error", "path"}
        return code(status)
    return code(whole.get("error")) if "error" in whole else ""


def first_text(reading: Reading, *names: str) -> str:
    """The first of these fields that holds a text, under `data` and beside it; "" for none."""
    for place in (reading.data, reading.whole):
        for name in names:
            found = place.get(name)
            if isinstance(found, str) and found:
                return found
    return ""
