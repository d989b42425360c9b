"""Tokens by RFC 6749: a request for one, with the Basic login of 2.3.1, and what is answered.

What goes wrong here says nothing about a message: none is under way. So nothing is OutcomeUnknown or Unreadable.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from dcbridge import retry_after
from dcbridge.errors import AccountFault, SendError, Throttled, Unreachable
from dcbridge.json_values import a_text, code, json_object
from dcbridge.messages import Reason

USUAL, LONGEST = 300.0, 86400.0  # seconds of a token whose answer names no time, or one that is too long
_TOKEN = re.compile(r"[!-~]{1,8192}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Granted:
    """What a server of tokens gave; `refresh` is "" where it gave none. `seconds` from now."""

    access: str = field(repr=False)
    seconds: float
    refresh: str = field(default="", repr=False)


def grant_request(
    url: httpx.URL | str,
    client_id: str,
    client_secret: str,
    form: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> httpx.Request:
    """Ask for a token. A client without a secret names itself in the form."""
    named = dict(form)
    sent = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    if client_secret:
        pair = f"{client_id}:{client_secret}".encode()  # not quoted: the companies quote neither
        sent["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    else:
        named["client_id"] = client_id
    return httpx.Request("POST", url, headers=sent, content=urlencode(named).encode())


@dataclass(frozen=True, slots=True)
class MailCredentials:
    """Who asks for the tokens of a mailbox. Without a refresh token, the client speaks for itself.

    Id and secret stand in the form, as Google and Microsoft write it in their pages.
    """

    token_url: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    scope: str = ""

    @property
    def grant(self) -> str:
        return "refresh_token" if self.refresh_token else "client_credentials"

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells its tokens from those of others."""
        return self.token_url, self.grant, self.client_id, self.scope, self.refresh_token

    def by_refresh(self, token: str) -> httpx.Request:
        """A new token for a refresh token."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": token})

    def first(self) -> httpx.Request | None:
        """A token from what is configured alone."""
        return self.by_refresh(self.refresh_token) if self.refresh_token else self._ask({"grant_type": self.grant})

    def _ask(self, form: Mapping[str, str]) -> httpx.Request:
        secret = {"client_secret": self.client_secret} if self.client_secret else {}
        scope = {"scope": self.scope} if self.scope else {}
        return grant_request(self.token_url, self.client_id, "", {**form, **secret, **scope})


def xoauth2(username: str, token: str) -> bytes:
    """What SASL's XOAUTH2 sends, before base64.

    https://developers.google.com/workspace/gmail/imap/xoauth2-protocol (2026-11)
    """
    return f"user={username}\1auth=Bearer {token}\1\1".encode()


def read_grant(answer: httpx.Response) -> Granted:
    """Raises Throttled, Unreachable or AccountFault; its code begins with "login: "."""
    said = json_object(answer.content)
    token, kind = a_text(said.get("access_token")), a_text(said.get("token_type"))
    if not answer.is_success:
        raise _error(answer, code(said.get("error")))
    if not _TOKEN.fullmatch(token) or kind.lower() not in ("bearer", ""):
        raise AccountFault("login: no bearer token in the answer")
    refresh = a_text(said.get("refresh_token"))
    return Granted(token, _seconds(said.get("expires_in")), refresh if _TOKEN.fullmatch(refresh) else "")


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
