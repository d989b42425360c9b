"""A token for a client id and a secret: RFC 6749, 4.4, by the Basic login of 2.3.1.

What goes wrong here says nothing about a message: none is under way. So nothing is OutcomeUnknown or Unreadable.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

import httpx

from dcbridge import retry_after
from dcbridge.errors import AccountFault, SendError, Throttled, Unreachable
from dcbridge.messages import Reason
from dcbridge.providers.base import Token
from dcbridge.providers.http_words import a_text, code, json_object

USUAL, LONGEST = 300.0, 86400.0  # seconds of a token whose answer names no time, or one that is too long
_TOKEN = re.compile(r"[!-~]{1,8192}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """One client at one server of tokens."""

    url: httpx.URL
    client_id: str
    client_secret: str = field(repr=False)

    def token_request(self) -> httpx.Request:
        pair = f"{self.client_id}:{self.client_secret}".encode()  # not quoted: the companies quote neither
        headers = {
            "Authorization": f"Basic {base64.b64encode(pair).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return httpx.Request("POST", self.url, headers=headers, content=b"grant_type=client_credentials")

    def read_token(self, answer: httpx.Response) -> Token:
        said = json_object(answer.content)
        token, kind = a_text(said.get("access_token")), a_text(said.get("token_type"))
        if not answer.is_success:
            raise _error(answer, code(said.get("error")))
        if not _TOKEN.fullmatch(token) or kind.lower() not in ("bearer", ""):
            raise AccountFault("login: no bearer token in the answer")
        return Token(token, _seconds(said.get("expires_in")))


def _seconds(value: object) -> float:
    """How long it is good for. A number of any form is bounded on both sides."""
    if isinstance(value, float):  # "3600.0"; what is endless or none is as good as not said
        value = str(int(value)) if 0 <= value < LONGEST else ""
    written = a_text(value)
    return min(float(written), LONGEST) if _SECONDS.fullmatch(written) else USUAL


def _error(answer: httpx.Response, word: str) -> SendError:
    status = answer.status_code
    why = f"login: {word or f'HTTP {status}'}"
    if status == 429:
        wait = retry_after.longest(answer.headers.get_list("Retry-After"))
        return Throttled(why, reason=Reason.RATE_LIMIT, retry_after=wait)
    return Unreachable(why) if status >= 500 or status == 408 else AccountFault(why)
