"""Sign-in at a provider of OpenID Connect: authorization code with PKCE.

https://openid.net/specs/openid-connect-core-1_0.html, 3.1, and OpenID Connect Discovery 1.0, read November 2026. Tokens
are verified by joserfc, of Authlib's author; Authlib's client would send by itself, around dcbridge/transport.
What comes from the provider is bounded in bytes and time, and all it names has to be https, as the provider itself;
http counts for a provider on this computer alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from dcbridge.config.console import Oidc
from dcbridge.console.context import Person
from dcbridge.console.sign_in.proxy import role_of
from dcbridge.errors import SendError
from dcbridge.ledger.console import ConsoleStore
from dcbridge.printable import printable
from dcbridge.settings.types import is_loopback
from dcbridge.transport.sender import Sender

CALLBACK = "/sign-in/oidc/callback"
ANSWER_LIMIT = 256 << 10  # bytes
LONGEST = 200  # characters of a name
MOST_KEYS = 100
MOST_GROUPS = 1000
FRESH, AGAIN = 3600.0, 60.0  # seconds that metadata and keys count; that must pass before an unknown key is asked for
_LATEST = 1e11  # no time of a token is beyond it


class SignInRefused(Exception):
    """Why, in words for the log and for whoever set it up; nothing of what the provider said."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Of a provider, as far as it is used."""

    issuer: str
    authorization: str
    token: str
    keys: str
    end_session: str
    basic: bool  # the client shows its secret in a header


@dataclass(slots=True)
class _Kept:
    """What was fetched, and when."""

    metadata: Metadata | None = None
    keys: KeySet | None = None
    metadata_at: float = -math.inf
    keys_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Provider:
    """One that is configured. `public_url`: of the console."""

    oidc: Oidc
    public_url: str
    store: ConsoleStore
    _kept: _Kept = field(default_factory=_Kept)

    # ---------------------------------------------------------------- there, and back

    async def start(self, onwards: str) -> tuple[str, str]:
        """Where to send the browser, and the secret that it keeps meanwhile. Raises SignInRefused."""
        metadata = await self.metadata()
        secret, verifier, nonce = (secrets.token_urlsafe(48) for _ in range(3))
        state = _state(secret)
        await self.store.remember(state, {"verifier": verifier, "nonce": nonce, "onwards": onwards})
        asked = {
            "response_type": "code",
            "client_id": self.oidc.client_id,
            "redirect_uri": self.public_url + CALLBACK,
            "scope": " ".join(self.oidc.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _hashed(verifier),
            "code_challenge_method": "S256",
        }
        mark = "&" if "?" in metadata.authorization else "?"
        return f"{metadata.authorization}{mark}{urlencode(asked)}", secret

    async def finish(self, answered: Mapping[str, str], secret: str) -> tuple[Person, str]:
        """Who came back, and where they wanted to go. `secret`: of this browser. Raises SignInRefused."""
        state = answered.get("state", "")
        if not secret or not hmac.compare_digest(state.encode(), _state(secret).encode()):
            raise SignInRefused("this browser did not begin the sign-in")
        begun = await self.store.remembered(state)
        if begun is None:
            raise SignInRefused("the sign-in took too long, or was used before")
        metadata = await self.metadata()
        if "iss" in answered and answered["iss"] != metadata.issuer:  # RFC 9207
            raise SignInRefused("the answer is of another provider")
        if not (code := answered.get("code", "")):
            raise SignInRefused("the provider refused")
        claims = await self._claims(await self._id_token(metadata, code, begun["verifier"]), metadata)
        self._check(claims, metadata, begun["nonce"])
        return self._person(claims), begun["onwards"]

    async def _id_token(self, metadata: Metadata, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.public_url + CALLBACK,
            "code_verifier": verifier,
        }
        token = (await _ask(self._token_request(metadata, form))).get("id_token")
        if not isinstance(token, str):
            raise SignInRefused("the provider gave no ID token")
        return token

    def _token_request(self, metadata: Metadata, form: dict[str, str]) -> httpx.Request:
        """With the client's secret as RFC 6749, 2.3.1, has it: both parts are encoded as in a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = self.oidc.client_secret.get_secret_value() if self.oidc.client_secret else ""
        if secret and metadata.basic:
            pair = f"{quote_plus(self.oidc.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form = form | {"client_id": self.oidc.client_id} | ({"client_secret": secret} if secret else {})
        return httpx.Request("POST", metadata.token, headers=headers, content=urlencode(form).encode())

    # ---------------------------------------------------------------- the ID token

    async def _claims(self, token: str, metadata: Metadata) -> dict[str, Any]:
        """Signed by a key of the provider, with an algorithm that is allowed. Raises SignInRefused."""
        for again in (False, True):
            keys = await self.keys(metadata, again=again)
            try:
                claims = jwt.decode(token, keys, algorithms=list(self.oidc.algorithms)).claims
            except (JoseError, ValueError, TypeError, KeyError) as error:
                if again or not self._may_ask_again():
                    raise SignInRefused(f"the ID token cannot be verified: {type(error).__name__}") from None
                continue
            if isinstance(claims, dict):
                return claims
        raise SignInRefused("the ID token holds no claims")

    def _check(self, claims: Mapping[str, Any], metadata: Metadata, nonce: str) -> None:
        """3.1.3.7 of OpenID Connect Core. Raises SignInRefused."""
        now, skew = time.time(), self.oidc.clock_skew
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        said = claims.get("nonce")
        rows = (
            (claims.get("iss") == metadata.issuer, "is of another issuer"),
            (self.oidc.client_id in named, "is for somebody else"),
            (len(named) == 1 or "azp" in claims, "is for several, and does not say who asked for it"),
            (claims.get("azp", self.oidc.client_id) == self.oidc.client_id, "was asked for by somebody else"),
            (_time(claims.get("exp")) > now - skew, "is over"),
            (0 <= _time(claims.get("iat")) <= now + skew, "was not issued yet"),
            ("nbf" not in claims or 0 <= _time(claims["nbf"]) <= now + skew, "does not count yet"),
            (isinstance(said, str) and hmac.compare_digest(said.encode(), nonce.encode()), "is of another sign-in"),
            (isinstance(claims.get("sub"), str) and bool(claims["sub"]), "does not say whose it is"),
        )
        for good, why in rows:
            if not good:
                raise SignInRefused(f"the ID token {why}")

    def _person(self, claims: Mapping[str, Any]) -> Person:
        """Raises SignInRefused for somebody who is in no group that has a role."""
        found = _claim(claims, self.oidc.groups_claim)
        listed = found if isinstance(found, list) else [found]
        groups = [one for one in listed[:MOST_GROUPS] if isinstance(one, str)]
        role = role_of(groups, self.oidc.roles)
        if role is None:
            raise SignInRefused("the person is in no group that has a role")
        name = _claim(claims, self.oidc.name_claim)
        claimed = self.oidc.name_claim == "email" and claims.get("email_verified") is False  # by the person alone
        if not isinstance(name, str) or not name.strip() or claimed:
            name = claims["sub"]
        return Person(printable(name.strip())[:LONGEST], role, "oidc")

    # ---------------------------------------------------------------- what the provider says of itself

    async def metadata(self) -> Metadata:
        """Raises SignInRefused."""
        kept, now = self._kept, time.monotonic()
        if kept.metadata is None or now - kept.metadata_at > FRESH:
            kept.metadata = self._read(await _get(f"{self.oidc.issuer}/.well-known/openid-configuration"))
            kept.metadata_at = now
        return kept.metadata

    def _read(self, found: dict[str, Any]) -> Metadata:
        issuer = found.get("issuer")
        if not isinstance(issuer, str) or issuer.rstrip("/") != self.oidc.issuer:  # bridge.yaml has no slash there
            raise SignInRefused("the provider calls itself by another issuer")
        methods = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Metadata(
            issuer,
            self._endpoint(found, "authorization_endpoint"),
            self._endpoint(found, "token_endpoint"),
            self._endpoint(found, "jwks_uri"),
            self._endpoint(found, "end_session_endpoint") if "end_session_endpoint" in found else "",
            not isinstance(methods, list) or "client_secret_basic" in methods,
        )

    def _endpoint(self, found: Mapping[str, Any], name: str) -> str:
        url = found.get(name)
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            good = bool(parts.hostname) and parts.username is None and not parts.fragment and parts.port != 0
        except ValueError:
            good = False
        own = good and parts.scheme == "http" and is_loopback(str(url)) and is_loopback(self.oidc.issuer)
        if not good or not str(url).isprintable() or not (parts.scheme == "https" or own):
            raise SignInRefused(f"the provider's {name} is no https URL")
        return str(url)

    def _may_ask_again(self) -> bool:
        return time.monotonic() - self._kept.keys_at > AGAIN

    async def keys(self, metadata: Metadata, *, again: bool) -> KeySet:
        """Raises SignInRefused."""
        kept, now = self._kept, time.monotonic()
        if kept.keys is None or again or now - kept.keys_at > FRESH:
            found = (await _get(metadata.keys)).get("keys")
            if not isinstance(found, list) or len(found) > MOST_KEYS:
                raise SignInRefused("the provider's keys cannot be read")
            public = [one for one in found if isinstance(one, dict) and one.get("kty") != "oct"]
            signing = [one for one in public if one.get("use", "sig") == "sig"]
            try:
                kept.keys = KeySet.import_key_set({"keys": signing})
            except (JoseError, ValueError, TypeError, KeyError):
                raise SignInRefused("the provider's keys cannot be read") from None
            kept.keys_at = now
        return kept.keys


def _sender() -> Sender:
    return Sender(connect_timeout=5.0, read_timeout=10.0, whole_timeout=10.0, connections=4, answer_limit=ANSWER_LIMIT)


async def _get(url: str) -> dict[str, Any]:
    """A JSON object. Raises SignInRefused."""
    return await _ask(httpx.Request("GET", url, headers={"Accept": "application/json"}))


async def _ask(request: httpx.Request) -> dict[str, Any]:
    """The same, for any request."""
    async with _sender() as sender:
        try:
            answer = await sender.http(request)
        except SendError as error:
            raise SignInRefused(f"the provider cannot be reached: {type(error).__name__}") from None
    try:
        found = orjson.loads(answer.content) if answer.status_code == 200 else None
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise SignInRefused(f"the provider cannot be read: http {answer.status_code}")
    return found


def _state(secret: str) -> str:
    """What the provider sends back; only the browser that has the secret may come back with it."""
    return _hashed(f"state {secret}")


def _hashed(text: str) -> str:
    """As PKCE has it (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def _time(value: object) -> float:
    """Seconds since 1970; -1 for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        return -1.0
    return float(value)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """By its name, or below others: realm_access.roles."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
