"""A session in a cookie: its secret is random, new at each sign-in, and Redis has its digest alone."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from dcbridge.config.console import Console
from dcbridge.console.context import ConsoleContext, Person, Role, SignedIn
from dcbridge.ledger.console import ConsoleStore
from dcbridge.settings.process import Settings

NAME = "dcbridge-console"
LONGEST = 100  # characters of a cookie that is looked up


def form_token(settings: Settings, of: str) -> str:
    """What the forms of one session, or of one person, have to show."""
    key = hmac.new(settings.token_key.get_secret_value().encode(), b"console forms", sha256).digest()
    return hmac.new(key, of.encode(), sha256).hexdigest()


def is_https(console: Console | None) -> bool:
    return bool(console and console.public_url and console.public_url.startswith("https://"))


def cookie_name(console: Console | None, name: str = NAME) -> str:
    """By https one that no other host of the domain, and no page without TLS, can set."""
    return f"__Host-{name}" if is_https(console) else name


def set_cookie(answer: Response, console: Console | None, value: str, name: str = NAME) -> None:
    """For this browser session; how long it counts is kept in Redis. "" removes it."""
    answer.set_cookie(
        cookie_name(console, name),
        value,
        max_age=None if value else 0,
        path="/",
        secure=is_https(console),
        httponly=True,
        samesite="lax",
    )


@dataclass(frozen=True, slots=True)
class Sessions:
    """The way of whoever has signed in before."""

    settings: Settings
    console: Console
    store: ConsoleStore

    async def who(self, request: Request) -> SignedIn | None:
        secret = request.cookies.get(cookie_name(self.console), "")
        if not secret or len(secret) > LONGEST or not secret.isascii():
            return None
        found = await self.store.session(secret, self.console.idle_timeout)
        if found is None or not self._is_on(found.how):
            return None
        try:
            person = Person(found.name, Role.of(found.role), found.how)
        except ValueError:  # of a newer version
            return None
        return SignedIn(person, form_token(self.settings, found.key), found.key)

    def _is_on(self, how: str) -> bool:
        """Whether people may sign in that way still."""
        return {"token": self.console.tokens, "oidc": self.console.oidc is not None}.get(how, False)


async def begin(request: Request, answer: Response, context: ConsoleContext, person: Person, token: str = "") -> None:
    """Sign somebody in: a new session, and that of this browser before it has ended."""
    console = context.configuration.console
    if console is None:
        raise ValueError("there is no sign-in without a console")
    if before := request.cookies.get(cookie_name(console), "")[:LONGEST]:
        found = await context.ledger.console.session(before, console.idle_timeout)
        if found is not None:
            await context.ledger.console.end(found.key)
    secret = await context.ledger.console.begin(
        person.name,
        str(person.role),
        person.how,
        lasts=console.session_timeout,
        idle=console.idle_timeout,
        token=token,
    )
    set_cookie(answer, console, secret)
    await context.ledger.controls.note(person.name, "console.sign-in", person.how, "", f"as {person.role}")
