"""Who may use the console: the ways to sign in, and which role follows from what a company's own sign-in says."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dcbridge.settings.problems import Path, refuse
from dcbridge.settings.types import HeaderSecret, Model, PublicUrl, Secret

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Groups = Annotated[tuple[Group, ...], Field(max_length=100)]
Claim = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,100}$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,100}$")]  # scope-token of RFC 6749
Algorithm = Annotated[str, StringConstraints(pattern=r"^(RS|ES|PS)(256|384|512)$|^EdDSA$|^Ed25519$")]

HOUR = 3600.0


def _network(value: str) -> str:
    try:
        ip_network(value)
    except ValueError:
        raise ValueError("should be an IP address or a network, such as 10.0.0.0/8") from None
    return value


Network = Annotated[str, AfterValidator(_network)]


class Roles(Model):
    """Which groups have which role. Who is in several has the highest; who is in none may not sign in."""

    viewer: Groups = Field((), description="Groups that may look, and see nothing of what is hidden.")
    operator: Groups = Field((), description="Groups that may also act on messages, and reveal what is hidden.")
    admin: Groups = Field((), description="Groups that may do everything.")

    @model_validator(mode="after")
    def _some(self) -> Roles:
        if not (self.viewer or self.operator or self.admin):
            refuse((("viewer",), "should name a group, or operator or admin should: else no one may sign in"))
        return self


class Oidc(Model):
    """Sign-in at a provider of OpenID Connect."""

    issuer: PublicUrl = Field(
        description="URL of the provider, as its documents and tokens write it, without a slash at its end; https, or"
        " http on localhost."
    )
    client_id: Annotated[str, StringConstraints(pattern=r"^[ -~]{1,256}$")] = Field(
        description="Id of the console at the provider."
    )
    client_secret: Secret | None = Field(None, description="Its secret; none for a public client.")
    scopes: Annotated[tuple[Scope, ...], Field(max_length=20)] = Field(
        ("openid", "profile", "email"), description="Scopes that are asked for; `openid` has to be among them."
    )
    name_claim: Claim = Field("email", description="Claim of the ID token that names a person in the record.")
    groups_claim: Claim = Field("groups", description="Claim of the ID token that lists a person's groups.")
    roles: Roles = Field(description="Which groups have which role.")
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1, max_length=10)] = Field(
        ("RS256", "ES256"), description="Algorithms by which an ID token may be signed."
    )
    clock_skew: Annotated[float, Field(ge=0, le=300)] = Field(
        30.0, description="Seconds by which the provider's clock may be wrong."
    )

    @model_validator(mode="after")
    def _sense(self) -> Oidc:
        if "openid" not in self.scopes:
            refuse((("scopes",), "should have openid among them"))
        return self


class TrustedProxy(Model):
    """An authenticating proxy in front of the console, which says in headers who asks."""

    user_header: HeaderName = Field("X-Forwarded-User", description="Header that names the person.")
    groups_header: HeaderName = Field(
        "X-Forwarded-Groups", description="Header that lists the person's groups, separated by commas."
    )
    roles: Roles = Field(description="Which groups have which role.")
    secret_header: HeaderName = Field("X-Console-Secret", description="Header in which the proxy shows `secret`.")
    secret: HeaderSecret | None = Field(
        None, description="Secret that only the proxy knows, of 24 characters or more; it sets it in each request."
    )
    peers: Annotated[tuple[Network, ...], Field(max_length=50)] = Field(
        (), description="Addresses or networks from which the proxy connects; from any other its headers count nothing."
    )

    @model_validator(mode="after")
    def _sense(self) -> TrustedProxy:
        complaints: list[tuple[Path, str]] = []
        if self.secret is None and not self.peers:
            complaints.append((("secret",), "is missing, or peers is: else anybody could write the headers"))
        if self.secret is not None and len(self.secret.get_secret_value()) < 24:
            complaints.append((("secret",), "should have at least 24 characters"))
        if any(ip_network(one).prefixlen == 0 for one in self.peers) and self.secret is None:
            complaints.append((("peers",), "should not be every address, without a secret"))
        refuse(*complaints)
        return self


class Console(Model):
    """The console is off until one of `oidc`, `proxy` and `tokens` is set."""

    public_url: PublicUrl | None = Field(
        None, description="URL under which browsers reach the console; required by oidc. https, or http on localhost."
    )
    oidc: Oidc | None = Field(None, description="Sign-in at a provider of OpenID Connect.")
    proxy: TrustedProxy | None = Field(None, description="Sign-in by an authenticating proxy in front of the console.")
    tokens: bool = Field(
        False, description="Whether tokens of `dcbridge console token create` may sign in, and ask the API."
    )
    idle_timeout: Annotated[float, Field(ge=60, le=24 * HOUR)] = Field(
        HOUR / 2, description="Seconds without a request after which a person has to sign in again."
    )
    session_timeout: Annotated[float, Field(ge=60, le=7 * 24 * HOUR)] = Field(
        12 * HOUR, description="Seconds after which a person has to sign in again in any case."
    )

    @model_validator(mode="after")
    def _sense(self) -> Console:
        if self.oidc is not None and self.public_url is None:
            refuse((("public_url",), "is missing: oidc sends people back to it"))
        return self

    @property
    def is_on(self) -> bool:
        return self.oidc is not None or self.proxy is not None or self.tokens
