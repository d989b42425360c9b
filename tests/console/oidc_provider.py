"""A provider of OpenID Connect made of Authlib's server: codes, PKCE, clients' secrets and ID tokens are Authlib's."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, grants  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]
from authlib.oauth2.rfc6750 import BearerTokenGenerator  # type: ignore[import-untyped]
from authlib.oauth2.rfc7636 import CodeChallenge  # type: ignore[import-untyped]
from authlib.oidc.core.grants import OpenIDCode  # type: ignore[import-untyped]
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "console", "secret-of-the-console"
RSA = RSAKey.generate_key(2048, {"use": "sig", "kid": "first"})
EC = ECKey.generate_key("P-256", {"use": "sig", "kid": "second"})
Claims = dict[str, Any]


@dataclass(slots=True)
class Signs:
    """How ID tokens are made: by default as they should be."""

    key: Any = field(default_factory=lambda: RSA)
    algorithm: str = "RS256"
    claims: Callable[[Claims], Claims] = lambda claims: claims
    published: Callable[[], list[dict[str, Any]]] = lambda: [RSA.as_dict(private=False)]
    discovery: Callable[[Claims], Claims] = lambda found: found
    asked: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Code:
    code: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> None:
        return None

    get_acr = get_amr = get_auth_time


class _Client(ClientMixin):  # type: ignore[misc]  # authlib has no types
    def __init__(self, redirect_uri: str) -> None:
        self.client_id, self._redirect_uri = CLIENT, redirect_uri

    def get_client_id(self) -> str:
        return self.client_id

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self._redirect_uri

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return bool(response_type == "code")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"

    def get_allowed_scope(self, scope: str) -> str:
        return scope


class _Grant(grants.AuthorizationCodeGrant):  # type: ignore[misc]
    def save_authorization_code(self, code: str, request: OAuth2Request) -> None:
        data = request.payload.data
        names = ("redirect_uri", "scope", "nonce", "code_challenge", "code_challenge_method")
        self.server.codes[code] = _Code(code, *(data[name] for name in names))

    def query_authorization_code(self, code: str, client: _Client) -> _Code | None:
        found: _Code | None = self.server.codes.get(code)
        return found

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        del self.server.codes[authorization_code.code]

    def authenticate_user(self, authorization_code: _Code) -> Claims:
        person: Claims = self.server.person
        return person


class _IdTokens(OpenIDCode):  # type: ignore[misc]
    def __init__(self, server: Provider) -> None:
        super().__init__(require_nonce=True)
        self._server = server

    def exists_nonce(self, nonce: str, request: OAuth2Request) -> bool:
        return False

    def resolve_client_private_key(self, client: _Client) -> RSAKey:
        return RSA

    def get_client_claims(self, client: _Client) -> Claims:
        return {"iss": self._server.issuer, "aud": [CLIENT]}

    def generate_user_info(self, user: Claims, scope: str) -> Claims:
        return user

    def encode_id_token(self, token: Claims, request: OAuth2Request) -> str:
        """Authlib's, whose claims and signature a test may bend."""
        good: str = super().encode_id_token(token, request)
        signs = self._server.signs
        claims = signs.claims(dict(jwt.decode(good, RSA).claims))
        header = {"alg": signs.algorithm, "kid": getattr(signs.key, "kid", None) or "first"}
        if isinstance(signs.key, bytes):
            return _by_hand(header, claims, signs.key)
        return jwt.encode(header, claims, signs.key, algorithms=[signs.algorithm])


def _by_hand(header: Claims, claims: Claims, key: bytes) -> str:
    """What no library makes any more: signed by a public key as if it were a shared secret, or not at all."""
    begun = ".".join(_base64(orjson.dumps(part)) for part in (header, claims))
    return f"{begun}.{_base64(hmac.digest(key, begun.encode(), 'sha256') if key else b'')}"


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


class Provider(AuthorizationServer):  # type: ignore[misc]
    """Everybody is `person`, who always agrees."""

    def __init__(self, redirect_uri: str, person: Claims) -> None:
        super().__init__()
        self.issuer, self.person, self.signs = "", person, Signs()
        self.codes: dict[str, _Code] = {}
        self._client = _Client(redirect_uri)
        self.register_token_generator("default", BearerTokenGenerator(lambda **_: secrets.token_hex(8)))
        self.register_grant(_Grant, [_IdTokens(self), CodeChallenge(required=True)])

    def query_client(self, client_id: str) -> _Client | None:
        return self._client if client_id == CLIENT else None

    def save_token(self, token: Claims, request: OAuth2Request) -> None:
        return None

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        return None

    def handle_response(self, status: int, body: Any, headers: list[tuple[str, str]]) -> Response:
        content = body.encode() if isinstance(body, str) else orjson.dumps(body)
        return Response(content, status, dict(headers))

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/jwks", self._jwks),
            ]
        )

    async def _discovery(self, _request: Request) -> Response:
        self.signs.asked.append("discovery")
        at = self.issuer
        found = {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks",
            "end_session_endpoint": f"{at}/logout",
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        return JSONResponse(self.signs.discovery(found))

    async def _jwks(self, _request: Request) -> Response:
        self.signs.asked.append("jwks")
        return JSONResponse({"keys": self.signs.published()})

    async def _authorize(self, request: Request) -> Response:
        asked = self._asked(request, dict(request.query_params))
        found: Response = self.create_authorization_response(asked, self.person, self.get_consent_grant(asked))
        return RedirectResponse(found.headers["location"], 302)

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        found: Response = self.create_token_response(self._asked(request, form))
        return found

    def _asked(self, request: Request, values: dict[str, str]) -> OAuth2Request:
        """Authlib believes in https only, and in header names as they are usually written."""
        named = {name.title(): value for name, value in request.headers.items()}
        made = OAuth2Request(request.method, str(request.url).replace("http://", "https://"), headers=named)
        made.payload, made._body = BasicOAuth2Payload(values), values
        return made
