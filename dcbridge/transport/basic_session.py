"""A session with HTTP basic authentication and a CSRF token, as Genesys' Web Services has it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterable

import httpx

from dcbridge.genesys.web_services import csrf_of
from dcbridge.transport.session_sender import SessionSender


class BasicSession(SessionSender):
    """For one login at one address."""

    def __init__(self, username: str, password: str, *, longest: float, connect_timeout: float) -> None:
        super().__init__(longest=longest, connect_timeout=connect_timeout)
        self._login = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
        self._csrf: tuple[str, str] | None = None

    async def http(self, request: httpx.Request, body: AsyncIterable[bytes] | None = None) -> httpx.Response:
        """As that of a SessionSender. The token that the last answer gave is sent with all but GET."""
        request.headers["Authorization"] = self._login
        if self._csrf is not None and request.method != "GET":
            request.headers[self._csrf[0]] = self._csrf[1]
        answer = await super().http(request, body)
        self._csrf = csrf_of(answer.headers) or self._csrf
        return answer

    def forget(self) -> None:
        """The session that there was: its cookies and its token."""
        self.cookies.forget()
        self._csrf = None
