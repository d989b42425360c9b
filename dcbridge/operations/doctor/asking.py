"""Asking a company's API about our own account: requests that read, and answers that may be anything."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from dcbridge.errors import SendError, Undecodable
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.providers.http_words import json_object
from dcbridge.transport.sender import Sender


@dataclass(frozen=True, slots=True)
class Said:
    """`http` 0: nobody answered, and `why` says how that went."""

    http: int
    whole: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.http < 300


@dataclass(frozen=True, slots=True)
class Company:
    """One account's API, with its login."""

    sender: Sender
    headers: Mapping[str, str] = field(repr=False)

    async def get(self, url: str, query: Mapping[str, str] | None = None) -> Said:
        return await self._ask(httpx.Request("GET", url, params=query, headers=self.headers))

    async def post_nothing(self, url: str) -> Said:
        """An empty form, where that is how settings are read."""
        headers = {**self.headers, "Content-Type": "application/x-www-form-urlencoded"}
        return await self._ask(httpx.Request("POST", url, headers=headers, content=b""))

    async def _ask(self, request: httpx.Request) -> Said:
        try:
            answer = await self.sender.http(request)
        except Undecodable:
            return Said(0, why="its answer cannot be read")
        except SendError as error:
            return Said(0, why=error.code or error.outcome.replace("_", " "))
        return Said(answer.status_code, json_object(answer.content))


def basic(user: str, password: str) -> dict[str, str]:
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {login}", "Accept": "application/json"}


def not_read(said: Said, what: str, about: About, login: str) -> Finding:
    """Why `what` could not be read. `login`: the fields of bridge.yaml that it was asked with."""
    if said.http == 0:
        return about.error(
            f"{what} could not be read: {said.why}", "check that the company's API is reachable from here"
        )
    if said.http == 401:
        return about.error(f"{what} could not be read: the login was refused (HTTP 401)", f"check {login}")
    if said.http == 403:
        return about.note(f"{what} could not be read: this login may not (HTTP 403)", "look at it in their console")
    if said.http == 429:
        return about.note(f"{what} was not read: the company asks to wait (HTTP 429)", "run the doctor again later")
    return about.warning(f"{what} could not be read (HTTP {said.http})", "look at it in their console")


def rows_of(whole: Mapping[str, Any], name: str, most: int = 1000) -> Sequence[Mapping[str, Any]]:
    """A list of objects; others are left out."""
    value = whole.get(name)
    return [one for one in value[:most] if isinstance(one, dict)] if isinstance(value, list) else []
