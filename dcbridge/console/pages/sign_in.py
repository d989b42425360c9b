"""The page to sign in at, and what it leads to. It is shown to everybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlencode

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dcbridge.console import guard
from dcbridge.console.access import Role, action, form_of
from dcbridge.console.context import ConsoleContext, Person
from dcbridge.console.rendering import render
from dcbridge.console.sign_in import sessions, tokens
from dcbridge.console.sign_in.limits import HOUR, Attempts
from dcbridge.console.sign_in.oidc import CALLBACK, Provider, SignInRefused
from dcbridge.console.sign_in.onwards import onwards

log = structlog.get_logger()

_UNDER_WAY = "dcbridge-sign-in"  # the cookie between here and the provider
_LONGEST = 200  # characters of a cookie, and of a token that is typed


@dataclass(frozen=True, slots=True)
class _SignIn:
    """Of one process. Refusals are counted, and not more than a few an hour are recorded: the record holds a bounded
    number of lines, and nobody who cannot sign in may push the others out.
    """

    context: ConsoleContext
    provider: Provider | None
    attempts: Attempts = field(default_factory=Attempts)
    records: Attempts = field(default_factory=lambda: Attempts(each=10, total=10, every=HOUR))
    looks: Attempts = field(default_factory=lambda: Attempts(each=20, total=60))  # that may ask the provider

    async def page(self, request: Request) -> Response:
        return self._shown(request, onwards(request.query_params.get("next", "/")))

    def _shown(
        self, request: Request, then: str, status: int = 200, problem: str = "", wrong_token: str = ""
    ) -> Response:
        console = self.context.configuration.console
        return render(
            request,
            "sign_in.html",
            status,
            onwards=then,
            oidc="/sign-in/oidc?" + urlencode({"next": then}) if self.provider else "",
            tokens=bool(console and console.tokens),
            proxy=bool(console and console.proxy),
            title="Sign in",
            problem=problem,
            wrong_token=wrong_token,
        )

    async def by_token(self, request: Request) -> Response:
        """The form of the page. No session is there yet that could seal it: the browser says where it is from."""
        console = self.context.configuration.console
        if console is None or not console.tokens:
            raise HTTPException(404)
        self._count(request)
        request.state.form = await guard.read_form(request)
        told = "origin" in request.headers or "sec-fetch-site" in request.headers
        if not told or not guard.comes_from_here(request, self.context):
            raise HTTPException(403)
        then = onwards(form_of(request).get("next", "/"))
        text = form_of(request).get("token", "").strip()[:_LONGEST]
        found = await tokens.check(self.context.ledger.console, text)
        if found is None:
            await self._refused("token", "unknown or over")
            return self._shown(request, then, 403, wrong_token="There is no such token, or it is over.")  # noqa: S106
        return await self._in(request, found[0], then, found[1].id)

    async def to_provider(self, request: Request) -> Response:
        self._count(request)
        if self.provider is None:
            raise HTTPException(404)
        then = onwards(request.query_params.get("next", "/"))
        try:
            url, secret = await self.provider.start(then)
        except SignInRefused as error:
            return await self._not_in(request, then, error)
        answer = RedirectResponse(url, 303)
        sessions.set_cookie(answer, self.context.configuration.console, secret, _UNDER_WAY)
        return answer

    async def from_provider(self, request: Request) -> Response:
        self._count(request)
        if self.provider is None:
            raise HTTPException(404)
        console = self.context.configuration.console
        secret = request.cookies.get(sessions.cookie_name(console, _UNDER_WAY), "")[:_LONGEST]
        try:
            person, then = await self.provider.finish(request.query_params, secret)
        except SignInRefused as error:
            return await self._not_in(request, "/", error)
        answer = await self._in(request, person, then)
        sessions.set_cookie(answer, console, "", _UNDER_WAY)
        return answer

    async def _in(self, request: Request, person: Person, then: str, token: str = "") -> Response:
        answer = RedirectResponse(then, 303)
        await sessions.begin(request, answer, self.context, person, token)
        log.info("console_sign_in", how=person.how, role=str(person.role))
        return answer

    async def _not_in(self, request: Request, then: str, error: SignInRefused) -> Response:
        await self._refused("oidc", str(error))
        return self._shown(request, then, 403, f"Sign-in was refused: {error}.")

    async def _refused(self, how: str, why: str) -> None:
        log.warning("console_sign_in_refused", how=how, why=why)
        if self.records.may(""):
            await self.context.ledger.controls.note("", "console.sign-in", how, "", f"refused: {why}")

    def _count(self, request: Request) -> None:
        if not self.attempts.may(_peer(request)):
            raise HTTPException(429)

    async def out(self, request: Request) -> Response:
        """What is shown after sign-out; a provider keeps a session of its own."""
        leads = ""
        if self.provider is not None and self.looks.may(_peer(request)):
            try:
                end = (await self.provider.metadata()).end_session
            except SignInRefused:
                end = ""
            words = {"client_id": self.provider.oidc.client_id, "post_logout_redirect_uri": self.provider.public_url}
            leads = end + ("&" if "?" in end else "?") + urlencode(words) if end else ""
        return render(request, "signed_out.html", title="You are signed out", provider=leads)


def _peer(request: Request) -> str:
    return request.client.host if request.client else ""


@action("/sign-out", Role.VIEWER, "console.sign-out", recorded=False)
async def sign_out(request: Request, context: ConsoleContext, person: Person) -> Response:
    """Ends the session of this browser."""
    if key := request.state.signed_in.session:
        await context.ledger.console.end(key)
        await context.ledger.controls.note(person.name, "console.sign-out", person.how, "", "done")
    answer = RedirectResponse("/signed-out", 303)
    sessions.set_cookie(answer, context.configuration.console, "")
    return answer


def open_routes(context: ConsoleContext) -> list[Route]:
    """What needs no sign-in."""
    console = context.configuration.console
    provider = None
    if console is not None and console.oidc is not None and console.public_url is not None:
        provider = Provider(console.oidc, console.public_url, context.ledger.console)
    here = _SignIn(context, provider)
    handlers = (
        ("GET", "/sign-in", here.page),
        ("POST", "/sign-in", here.by_token),
        ("GET", "/sign-in/oidc", here.to_provider),
        ("GET", CALLBACK, here.from_provider),
        ("GET", "/signed-out", here.out),
    )
    return [Route(path, guard.guarded(handler, path), methods=[method]) for method, path, handler in handlers]


ROUTES = [sign_out]
