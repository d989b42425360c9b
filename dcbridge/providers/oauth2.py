"""Logins by OAuth 2.0: of an account that gets a token for a client id and a secret (RFC 6749, 4.4), and of mailboxes,
whose tokens all processes share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from pydantic import Field, SecretStr, field_validator

from dcbridge import oauth2
from dcbridge.providers.base import Fields, Token
from dcbridge.settings.types import CompanyUrl, Secret, is_loopback


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


class OAuth2Fields(Fields):
    """How the token of a mailbox is got: by a refresh token, else by the client's own credentials."""

    token_url: CompanyUrl = Field(
        description="URL that gives tokens: https://oauth2.googleapis.com/token, or"
        " https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token."
    )
    client_id: str = Field(min_length=1, max_length=500, description="Id of the client that is registered there.")
    client_secret: Secret | None = Field(None, description="Secret of the client; a public client has none.")
    refresh_token: Secret | None = Field(
        None,
        description="Refresh token of the mailbox's user; a newer one that is given is kept in Redis, encrypted."
        " Without it, the client speaks for itself (client credentials).",
    )
    scope: str = Field(
        "",
        pattern=r"^[!#-\[\]-~ ]*$",
        max_length=2000,
        description="What the token is for, as the company writes it; several with a space between.",
    )

    @field_validator("token_url")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        if value.startswith("http://") and not is_loopback(value):
            raise ValueError("should begin with https://: a secret does not travel in the clear")
        return value

    def credentials(self) -> oauth2.MailCredentials:
        """Who asks for tokens."""
        return oauth2.MailCredentials(
            token_url=self.token_url,
            client_id=self.client_id,
            client_secret=_shown(self.client_secret),
            refresh_token=_shown(self.refresh_token),
            scope=self.scope,
        )


def _shown(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""
