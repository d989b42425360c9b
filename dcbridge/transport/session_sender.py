"""A sender for interfaces that keep a session: it has cookies, and waits for answers that are held back."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from http.cookies import CookieError, SimpleCookie

import httpx

from dcbridge.transport.sender import Sender

MOST_COOKIES = 20
LONGEST_COOKIE = 4096  # bytes of a name and its value


class Cookies:
    """Those of one interface, which has one address: neither domains nor paths are asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    @property
    def header(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self._kept.items())

    def keep(self, lines: Iterable[str]) -> None:
        """Each Set-Cookie of an answer. Of too many, the oldest are forgotten."""
        for line in lines:
            try:
                found = SimpleCookie(line) if len(line) <= 2 * LONGEST_COOKIE else {}
            except CookieError:
                continue
            for name, morsel in found.items():
                self._kept.pop(name, None)
                value = morsel.coded_value
                sendable = value.isascii() and value.isprintable() and len(name) + len(value) <= LONGEST_COOKIE
                if sendable and not _is_over(morsel["max-age"]):
                    self._kept[name] = value
        for name in [*self._kept][:-MOST_COOKIES]:
            del self._kept[name]

    def forget(self) -> None:
        self._kept.clear()


def _is_over(max_age: str) -> bool:
    return max_age.startswith("-") or max_age == "0"


class SessionSender(Sender):
    """For one interface at one address. `longest`: seconds that an answer may be held back."""

    def __init__(self, *, longest: float, connect_timeout: float, guarded: int = 1 << 20) -> None:
        super().__init__(
            connect_timeout=connect_timeout,
            read_timeout=longest,
            whole_timeout=longest + connect_timeout,
            connections=4,
            answer_limit=guarded,
        )
        self.cookies = Cookies()

    async def http(self, request: httpx.Request, body: AsyncIterable[bytes] | None = None) -> httpx.Response:
        """As that of a Sender, with the cookies of the session."""
        request.headers.pop("Cookie", None)  # of a first try
        if header := self.cookies.header:
            request.headers["Cookie"] = header
        answer = await super().http(request, body)
        self.cookies.keep(answer.headers.get_list("Set-Cookie"))
        return answer
