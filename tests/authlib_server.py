"""Authlib's server of tokens, for one client and one user, to judge our requests for tokens by."""

from __future__ import annotations

from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, grants  # type: ignore[import-untyped]
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload  # type: ignore[import-untyped]
from authlib.oauth2.rfc6750 import BearerTokenGenerator  # type: ignore[import-untyped]


class _Client(ClientMixin):  # type: ignore[misc]  # authlib has no types
    def __init__(self, client_id: str, secret: str) -> None:
        self.client_id, self._secret = client_id, secret

    def get_client_id(self) -> str:
        return self.client_id

    def check_client_secret(self, secret: str) -> bool:
        return secret == self._secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("client_credentials", "password", "refresh_token")

    def get_allowed_scope(self, scope: str) -> str:
        return scope


class _Password(grants.ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc]
    def authenticate_user(self, username: str, password: str) -> str | None:
        return username if (username, password) == ("bridge", "the-password") else None


class _Refresh(grants.RefreshTokenGrant):  # type: ignore[misc]
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> _Credential | None:
        return _Credential() if self.server.given.get(refresh_token) else None

    def authenticate_user(self, credential: _Credential) -> str:
        return "bridge"

    def revoke_old_credential(self, credential: _Credential) -> None:
        return None


class _Credential:
    def check_client(self, client: _Client) -> bool:
        return True

    def get_scope(self) -> str:
        return "*"


class Server(AuthorizationServer):  # type: ignore[misc]
    """`given`: the refresh tokens."""

    def __init__(self, client_id: str, secret: str) -> None:
        super().__init__()
        self._client = _Client(client_id, secret)
        self.given: dict[str, bool] = {}
        self.register_token_generator(
            "default", BearerTokenGenerator(lambda **_: "an-access-token", lambda **_: f"refresh-{len(self.given)}")
        )
        for grant in (grants.ClientCredentialsGrant, _Password, _Refresh):
            self.register_grant(grant)

    def query_client(self, client_id: str) -> _Client | None:
        return self._client if client_id == self._client.client_id else None

    def save_token(self, token: dict[str, Any], request: OAuth2Request) -> None:
        if "refresh_token" in token:
            self.given[token["refresh_token"]] = True

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        return None

    def handle_response(self, status: int, body: object, headers: object) -> tuple[int, object]:
        return status, body

    def answer(self, method: str, uri: str, headers: dict[str, str], form: dict[str, str]) -> tuple[int, Any]:
        """Status and JSON. It believes in https only, and in header names as they are usually written."""
        named = {name.title(): value for name, value in headers.items()}
        request = OAuth2Request(method, uri.replace("http://", "https://"), headers=named)
        request.payload, request._body = BasicOAuth2Payload(form), form  # as the adapters for frameworks do
        found: tuple[int, Any] = self.create_token_response(request)
        return found
