"""Tokens of `dcbridge console token create`: shown at the page to sign in, or in each request to the API."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from starlette.requests import Request

from dcbridge.console.context import Person, Role, SignedIn
from dcbridge.ledger.console import TOKEN, ConsoleStore, Token, digest

_FORM = re.compile(rf"{TOKEN}_([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}", re.ASCII)


async def check(store: ConsoleStore, text: str) -> tuple[Person, Token] | None:
    """Whose it is; None for one that there is not, or that is over."""
    found = _FORM.fullmatch(text)
    token = await store.token(found[1]) if found else None
    if token is None or not hmac.compare_digest(digest(text), token.digest):
        return None
    try:
        return Person(token.name, Role.of(token.role), "token"), token
    except ValueError:  # of a newer version
        return None


@dataclass(frozen=True, slots=True)
class Bearer:
    """The way of programs: `Authorization: Bearer dcbc_…`. They have no forms."""

    store: ConsoleStore

    async def who(self, request: Request) -> SignedIn | None:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = await check(self.store, text.strip())
        return SignedIn(found[0], "") if found else None
