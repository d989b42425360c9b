"""Genesys' other web interfaces: where they are, and how dcbridge shows who it is."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dcbridge.config.enrichment import Enrichment
from dcbridge.config.interface_pace import InterfacePace
from dcbridge.config.reconcile import Reconcile
from dcbridge.config.secure_email import SecureEmail
from dcbridge.config.secure_messages import SecureMessages
from dcbridge.config.statistics import Statistics
from dcbridge.config.text_back import TextBack
from dcbridge.genesys.authentication import Credentials, Grant
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import HeaderSecret, Model, Secret, Url

_NEEDS: dict[Grant, tuple[str, ...]] = {
    "client_credentials": ("client_secret",),
    "refresh_token": ("refresh_token",),
    "password": ("username", "password"),
    "authorization_code": ("redirect_uri",),
}


class Auth(Model):
    """How tokens are got. Only the grant that is set is tried."""

    base_url: Url | None = Field(
        None,
        description="URL of the Authentication API, /auth/v3 included.",
        json_schema_extra={"default": "`base_url` of `genesys` with /auth/v3"},
    )
    grant: Grant = Field(
        description="How a token is got. For authorization_code a person signs in once: `dcbridge genesys login`."
    )
    client_id: str = Field(min_length=1, max_length=200, description="Id of the client.")
    client_secret: Secret | None = Field(
        None, description="Secret of the client; a public client has none and is named in the form."
    )
    username: str | None = Field(None, min_length=1, max_length=200, description="User of the grant password.")
    password: Secret | None = Field(None, description="Password of that user.")
    refresh_token: Secret | None = Field(None, description="The first token of the grant refresh_token.")
    redirect_uri: str | None = Field(
        None,
        pattern=r"^https?://[^\s#]+$",
        max_length=1000,
        description="Address that is registered for the client; the browser ends there after a login.",
    )

    @model_validator(mode="after")
    def _of_the_grant(self) -> Self:
        of_others = {name for names in _NEEDS.values() for name in names} - {"client_secret", *_NEEDS[self.grant]}
        refuse(
            *(((name,), f"is missing: the grant {self.grant} needs it")
              for name in _NEEDS[self.grant] if getattr(self, name) is None),
            *(((name,), f"is not used by the grant {self.grant}")
              for name in sorted(of_others) if getattr(self, name) is not None),
        )  # fmt: skip
        return self


class EngagementApi(Model):
    """The Engagement API, which books calls."""

    base_url: Url | None = Field(
        None,
        description="URL of the Engagement API, /engagement/v3 included.",
        json_schema_extra={"default": "`base_url` of `genesys` with /engagement/v3"},
    )
    pace: InterfacePace = Field(InterfacePace(), description="How fast it is asked.")
    bookings_an_hour: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Calls that are booked within an hour at most, of all consumers; 0: no limit.",
    )


class Genesys(Model):
    """Genesys' web interfaces beside Digital Channels. All of it is off by default."""

    base_url: Url = Field(description="URL of the interfaces, without a path: https://gapi-use1.genesyscloud.com.")
    api_key: HeaderSecret | None = Field(None, description="Sent as x-api-key with every request.")
    auth: Auth | None = Field(None, description="Where interfaces need a token: how it is got.")
    statistics: Statistics | None = Field(None, description="Statistics that are read; without it, none.")
    enrichment: Enrichment | None = Field(
        None, description="Data of interactions that is added to their events, for subscribers with `enrich`."
    )
    engagement: EngagementApi | None = Field(None, description="The Engagement API, which books calls by text.")
    text_back: TextBack | None = Field(None, description="A phone line whose missed calls are answered by a text.")
    secure_messages: SecureMessages | None = Field(None, description="Texts that say that a secure message waits.")
    secure_email: SecureEmail | None = Field(
        None, description="How emails are submitted to Secure Email, for channels with `inbound.to: securemail`."
    )
    reconcile: Reconcile | None = Field(
        None, description="A comparison with Genesys' export, each night; it needs `auth` and `keep_message_ids`."
    )
    digest_days: int = Field(
        0,
        ge=0,
        le=400,
        description="Days for which eight bytes of each message are kept, by which `dcbridge reconcile` knows it when"
        " the ledger has forgotten it; 0: none.",
    )
    keep_message_ids: bool = Field(
        False,
        description="Whether the ids that Digital Channels gives to consumer messages are kept, for"
        " `dcbridge reconcile`.",
    )

    @model_validator(mode="after")
    def _token_for_statistics(self) -> Self:
        if (one := self.statistics) is not None and one.watch and one.mode != "engagement" and self.auth is None:
            refuse((("auth",), f"is missing: statistics with the mode {one.mode} need a token"))
        if self.reconcile is not None and (self.auth is None or not self.keep_message_ids):
            name = "auth" if self.auth is None else "keep_message_ids"
            refuse(((name,), "is missing: reconcile needs it"))
        return self

    def url(self, own: str | None, path: str) -> str:
        """Where one of them begins."""
        return own or f"{self.base_url}{path}"

    @property
    def engagement_url(self) -> str:
        """Where the Engagement API begins."""
        return self.url(self.engagement.base_url if self.engagement else None, "/engagement/v3")

    @property
    def key(self) -> str:
        return self.api_key.get_secret_value() if self.api_key else ""

    def credentials(self) -> Credentials | None:
        """What tokens are asked for with; None where none are."""
        if (auth := self.auth) is None:
            return None
        return Credentials(
            base_url=self.url(auth.base_url, "/auth/v3"),
            grant=auth.grant,
            client_id=auth.client_id,
            client_secret=auth.client_secret.get_secret_value() if auth.client_secret else "",
            key=self.key,
            username=auth.username or "",
            password=auth.password.get_secret_value() if auth.password else "",
            refresh_token=auth.refresh_token.get_secret_value() if auth.refresh_token else "",
            redirect_uri=auth.redirect_uri or "",
        )
