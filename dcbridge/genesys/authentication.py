"""Genesys' Authentication API, base path /auth/v3 (contract/authentication.txt): requests and answers, without I/O.

The reference says that only the authorization code is supported, and lists the fields of other grants. So the grant is
a setting, and only that one is tried.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode

import httpx

from dcbridge.genesys.envelope import Reading
from dcbridge.oauth2 import grant_request

Grant = Literal["client_credentials", "refresh_token", "password", "authorization_code"]
MOST_PASTED = 8192  # characters of a redirect that is pasted


class WrongRedirect(Exception):
    """What was pasted is not the answer to this login; says why, without a value of it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks for tokens, and how. `key`: the x-api-key of every request, "" for none."""

    base_url: str
    grant: Grant
    client_id: str
    client_secret: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    redirect_uri: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells its tokens from those of others."""
        return self.base_url, self.grant, self.client_id, self.username, self.refresh_token

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": "application/json", **({"x-api-key": self.key} if self.key else {})}

    def by_refresh(self, token: str) -> httpx.Request:
        """A new token for a refresh token."""
        return self._ask({"grant_type": "refresh_token", "refresh_token": token})

    def by_code(self, code: str) -> httpx.Request:
        """The first token after a login in a browser."""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect_uri}
        return self._ask(form)

    def first(self) -> httpx.Request | None:
        """A token from what is configured alone; None where that takes a login in a browser."""
        match self.grant:
            case "client_credentials":
                return self._ask({"grant_type": "client_credentials", "scope": "*"})
            case "password":
                form = {"username": self.username, "password": self.password, "scope": "*"}
                return self._ask({"grant_type": "password", **form})
            case "refresh_token":
                return self.by_refresh(self.refresh_token)
            case "authorization_code":
                return None

    def _ask(self, form: Mapping[str, str]) -> httpx.Request:
        return grant_request(f"{self.base_url}/oauth/token", self.client_id, self.client_secret, form, self.headers)

    def userinfo(self, token: str) -> httpx.Request:
        """Whose token it is."""
        headers = self.headers | {"Authorization": f"Bearer {token}"}
        return httpx.Request("GET", f"{self.base_url}/userinfo", headers=headers)

    def sign_in(self, state: str) -> str:
        """Where a person signs in with a browser."""
        query = {
            "response_type": "code", "client_id": self.client_id, "redirect_uri": self.redirect_uri, "state": state,
            "scope": "*",
        }  # fmt: skip
        return f"{self.base_url}/oauth/authorize?{urlencode(query)}"


def new_state() -> str:
    """What ties the answer of a login to its question."""
    return secrets.token_hex(16)


def read_redirect(pasted: str, credentials: Credentials, state: str) -> str:
    """The code of the address that the browser ended at. Raises WrongRedirect.

    The reference writes "…/oauthcallback&code=": an "&" in place of the "?" is read as well.
    """
    pasted = pasted.strip()
    if not 0 < len(pasted) <= MOST_PASTED:
        raise WrongRedirect("should be the whole address that the browser ended at")
    if not pasted.startswith(credentials.redirect_uri):
        raise WrongRedirect("does not begin with redirect_uri")
    rest = pasted[len(credentials.redirect_uri) :]
    if rest[:1] not in ("?", "&"):
        raise WrongRedirect("has no parameters after redirect_uri")
    try:
        found = parse_qsl(rest[1:].partition("#")[0], keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise WrongRedirect("has too many parameters") from None
    named = dict(found)
    if len(named) < len(found):
        raise WrongRedirect("has a parameter twice")
    if not secrets.compare_digest(named.get("state", "").encode("utf-8", "replace"), state.encode()):
        raise WrongRedirect("its state is not the one of this login: begin again, and paste the newest address")
    if not named.get("code"):
        raise WrongRedirect("has no code: the login was refused")
    return named["code"]


def contact_center_of(reading: Reading) -> str:
    """Of what /userinfo answers; "" where it does not say."""
    for place in (reading.whole, reading.data):
        for name in ("contactCenterId", "contact_center_id"):
            if isinstance(found := place.get(name), str):
                return found
    return ""
