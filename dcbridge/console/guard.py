"""What stands before every handler: who asks, whether that role may, whether the form is theirs; then the record."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl, quote, urlsplit

import orjson
import structlog
from redis.exceptions import RedisError
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dcbridge.console.access import Rule
from dcbridge.console.context import ConsoleContext, SignedIn
from dcbridge.console.problems import Refusal, problem
from dcbridge.console.rendering import render
from dcbridge.printable import printable

log = structlog.get_logger()

Open = Callable[[Request], Awaitable[Response]]

FORM_LIMIT = 256 << 10  # bytes
FIELDS = 1000  # of a form
WORDS = 200  # characters of one field of the record
CSRF = "csrf_token"  # name of the form's field

_SAID = {
    400: ("The request cannot be read", "Go back, and try again."),
    401: ("You are not signed in", "Sign in, and try again."),
    403: ("You may not do this", "It needs another role, or the form is out of date: go back, reload it, try again."),
    404: ("There is no such page", "What you look for may have been removed, or its retention has ended."),
    405: ("This page cannot be asked in that way", "Go back, and try again."),
    413: ("The form is too large", "Go back, and enter less."),
    421: ("The console is not known under that host", "Add it to DCBRIDGE_CONSOLE_HOSTS."),
    429: ("Too many requests", "Wait a minute, and try again."),
    503: ("Redis cannot be reached", "Nothing was changed as far as the console knows. Try again in a moment."),
}


def is_api(path: str) -> bool:
    return path.startswith("/api/")


def error_page(request: Request, status: int, words: str = "", fields: Mapping[str, str] | None = None) -> Response:
    """Says what to do, and nothing of what was inside. `words`: ours, for whoever is to mend it."""
    if is_api(request.url.path):
        title, _ = _SAID.get(status, ("Something went wrong", ""))
        return problem(status, words or title, fields)
    title, then = _SAID.get(status, ("Something went wrong", "The log of the console has the reason."))
    return render(request, "error.html", status, code=status, title=title, then=words or then)


def endpoint(rule: Rule, context: ConsoleContext) -> Open:
    """The handler of one rule, for a route of Starlette."""

    async def answer(request: Request) -> Response:
        return await _answer(rule, context, request)

    return guarded(answer, rule.path)


def guarded(handler: Open, path: str) -> Open:
    """What goes wrong in a handler is told as a page, and nothing of what was inside."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except HTTPException as error:
            words = error.detail if isinstance(error, Refusal) or error.status_code in (400, 409, 422) else ""
            return error_page(request, error.status_code, words, getattr(error, "fields", None))
        except (RedisError, OSError):
            log.warning("console_redis_away", exc_info=True)
            return error_page(request, 503)
        except Exception:
            log.error("console_failed", path=path, exc_info=True)
            return error_page(request, 500)

    return answer


async def _answer(rule: Rule, context: ConsoleContext, request: Request) -> Response:
    signed_in = await who(context, request)
    if signed_in is None:
        to_page = rule.method == "GET" and not is_api(rule.path)
        return _to_sign_in(request) if to_page else error_page(request, 401)
    request.state.signed_in = signed_in
    if signed_in.person.role < rule.role:
        raise HTTPException(403)
    if rule.method == "GET":
        return await rule(request, context, signed_in.person)
    if is_api(rule.path):  # no page of another site can send JSON with a cookie: it would have to ask first
        request.state.body = await read_json(request)
    else:
        request.state.form = await read_form(request)
    if not comes_from_here(request, context) or not (is_api(rule.path) or _is_of_session(request, signed_in)):
        raise HTTPException(403)
    return await _act(rule, context, request, signed_in)


async def who(context: ConsoleContext, request: Request) -> SignedIn | None:
    """Who asks, by the first way that knows."""
    for way in context.ways:
        if found := await way.who(request):
            return found
    return None


def _to_sign_in(request: Request) -> Response:
    query = f"?{request.url.query}" if request.url.query else ""
    wanted = "" if request.url.path == "/" else f"?next={quote(request.url.path + query, safe='')}"
    return RedirectResponse(f"/sign-in{wanted}", 303)


# ---------------------------------------------------------------- forms


async def read_form(request: Request) -> ImmutableMultiDict[str, str]:
    """Bounded in bytes and fields. Raises HTTPException."""
    if _kind(request) not in ("application/x-www-form-urlencoded", ""):
        raise HTTPException(400)
    body = await _whole(request)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError:
        raise HTTPException(400) from None
    return ImmutableMultiDict(pairs)


async def read_json(request: Request) -> object:
    """The body of an operation. Raises HTTPException."""
    if _kind(request) != "application/json":
        raise Refusal(415, "the body should be application/json")
    body = await _whole(request)
    try:
        return orjson.loads(body or b"{}")
    except ValueError:
        raise Refusal(400, "the body is no JSON") from None


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _whole(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_LIMIT:
            raise HTTPException(413)
    return bytes(body)


def comes_from_here(request: Request, context: ConsoleContext) -> bool:
    """What a browser says about the page that posts; what says nothing is no browser of these ten years."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    origin = request.headers.get("origin")
    if origin is None:
        return True
    console = context.configuration.console
    public = str(console.public_url) if console and console.public_url else ""
    try:
        parts, ours = urlsplit(origin), urlsplit(public)
    except ValueError:
        return False
    if public and (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc):
        return True
    return parts.scheme in ("http", "https") and parts.netloc == request.headers.get("host", "")


def _is_of_session(request: Request, signed_in: SignedIn) -> bool:
    shown = request.state.form.get(CSRF, "")
    return bool(signed_in.csrf) and hmac.compare_digest(shown.encode(), signed_in.csrf.encode())


# ---------------------------------------------------------------- the record


async def _act(rule: Rule, context: ConsoleContext, request: Request, signed_in: SignedIn) -> Response:
    """What is written down comes before what is answered: nothing that is hidden is shown without it."""
    try:
        answer = await rule(request, context, signed_in.person)
    except Exception:
        await note(rule, context, request, signed_in, "failed")
        raise
    await note(rule, context, request, signed_in, "done" if answer.status_code < 400 else "refused")
    return answer


async def note(rule: Rule, context: ConsoleContext, request: Request, signed_in: SignedIn, result: str) -> None:
    """One line of the record."""
    if not rule.recorded:
        return
    said = {
        "what": " ".join(map(str, request.path_params.values())),
        "why": _why(request),
        "result": result,
        **getattr(request.state, "record", {}),
    }
    what, why, result = (printable(said[name])[:WORDS] for name in ("what", "why", "result"))
    await context.ledger.controls.note(signed_in.person.name, rule.action, what, why, result)


def _why(request: Request) -> str:
    given = getattr(request.state, "form", None) or getattr(request.state, "body", None)
    return str(given.get("why") or "") if isinstance(given, Mapping) else ""
