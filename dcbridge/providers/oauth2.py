"""The login of a provider's account: a token for a client id and a secret (RFC 6749, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from dcbridge import oauth2
from dcbridge.providers.base import Token


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """One client at one server of tokens."""

    url: httpx.URL
    client_id: str
    client_secret: str = field(repr=False)

    def token_request(self) -> httpx.Request:
        form = {"grant_type": "client_credentials"}
        return oauth2.grant_request(self.url, self.client_id, self.client_secret, form)

    def read_token(self, answer: httpx.Response) -> Token:
        granted = oauth2.read_grant(answer)
        return Token(granted.access, granted.seconds)
