"""Consumers' mail programs: what they write goes to `dcbridge mail-in` by LMTP, as from the company's mail system.

What a stranger wrote as HTML is shown cleaned, in a frame in which nothing runs.
"""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime, parseaddr

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.mail.clean import cleaned
from dcbridge.mail.reader import read
from sandbox.files import SHOWN
from sandbox.mail_clients import HOST, STYLES, Answer, Composed, compose
from sandbox.mailbox import Enclosed, Mail, WrittenMail, files_of, html_of
from sandbox.records import SeenByAgent
from sandbox.world import World

WHO = "Mail server"
TRIES = 10  # of a mail that is put off; seconds between them grow
_FRAME = (
    "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src 'self';"
    " style-src 'unsafe-inline'; frame-ancestors 'self'; form-action 'none'"
)
_LOOK = (
    ":root{color-scheme:light}body{margin:0;padding:12px 14px;background:#fff;color:#1b2322;"
    "font:14px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}img{max-width:100%;height:auto}"
    "blockquote{margin:0 0 0 .6em;padding-left:.8em;border-left:2px solid #d5dad6;color:#5d6a67}a{color:#0e6f61}"
)


def setting(world: World) -> object:
    """What the page has to know."""
    return {
        "on": bool(world.config.mail_in_port),
        "mailbox": world.config.mailbox,
        "styles": [{"name": one.name, "says": one.says, "expect": one.expect, "quotes": one.quotes} for one in STYLES],
    }


def found(world: World, seq: int) -> Mail | None:
    return next((mail for mail in reversed(world.mails) if mail.seq == seq), None)


def reply_address(mail: Mail) -> str:
    """Where an answer goes to."""
    message = mail.parsed()
    return parseaddr(str(message.get("reply-to") or message.get("from", "")))[1]


def write(world: World, style: str, answer: Answer) -> WrittenMail:
    """Remember a mail, which `deliver` then hands over. Raises ValueError."""
    composed = compose(style, answer)
    written = WrittenMail(
        world.next_seq(),
        time.time(),
        composed.sender,
        answer.mailbox,
        composed.to,
        composed.envelope_from,
        style,
        composed.subject,
        "" if style == "bounce" else answer.said,
        composed.text,
        composed.html,
        _stamped(composed),
        answer.answered.seq if answer.answered else 0,
    )
    world.written.append(written)
    world.counts["written"] += 1
    world.tell("written", written)
    return written


def _stamped(composed: Composed) -> bytes:
    """With what the company's mail system writes above a mail that it takes."""
    domain = composed.sender.rpartition("@")[2]
    fields = [
        f"Authentication-Results: {HOST}; dkim=none; dmarc={composed.verdict} header.from={domain}",
        f"Received: from {domain} by {HOST}; {format_datetime(localtime())}",
    ]
    return "\r\n".join([*fields, ""]).encode() + composed.raw


async def deliver(world: World, written: WrittenMail) -> None:
    """Hand it to the bridge; what is put off is tried again, as a mail system does."""
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(min(0.5 * attempt, 5.0))
        started = time.perf_counter()
        code, said = await asyncio.to_thread(_hand_over, world.config.mail_in_port, written)
        world.exchange(WHO, False, "LMTP", f"mail to {written.to}", started, code, written.raw, said.encode())
        written.state = "taken" if 200 <= code < 300 else "refused" if code >= 500 else "sending"
        written.answer = f"{code} {said}" if code else "no connection to mail-in"
        world.tell("written", written)
        if written.state != "sending":
            return
    written.state = "refused"
    world.tell("written", written)


def _hand_over(port: int, written: WrittenMail) -> tuple[int, str]:
    """The last word of mail-in; 0 for none."""
    try:
        with smtplib.LMTP("127.0.0.1", port, timeout=20) as client:
            client.ehlo_or_helo_if_needed()
            for answer in (client.mail(written.envelope_from), client.rcpt(written.to)):
                if answer[0] >= 400:
                    return answer[0], answer[1].decode("utf-8", "replace")
            code, said = client.data(written.raw)
            return code, said.decode("utf-8", "replace")
    except (OSError, smtplib.SMTPException):
        return 0, ""


def note_seen(world: World, seen: SeenByAgent) -> None:
    """Which mail it is that the agent got, and what was left out of it."""
    for written in reversed(world.written):
        begin = next((line.strip() for line in written.said.split("\n") if line.strip()), "")
        if written.seen or not begin or begin not in seen.text:
            continue
        if seen.sender.lower() in (written.sender.lower(), written.mailbox.lower()):
            whole = read(written.raw).whole.split("\n")
            shown = {line.strip() for line in seen.text.split("\n")}
            written.seen, seen.written = True, written.seq
            seen.left_out = [line for line in whole if line.strip() and line.strip() not in shown]
            world.tell("written", written)
            return


# ------------------------------------------------------------ what the page shows of a mail


def routes(world: World) -> list[Route]:
    return [*_routes("mail", lambda: world.mails), *_routes("written", lambda: world.written)]


def _routes(which: str, kept: Callable[[], Sequence[Mail | WrittenMail]]) -> list[Route]:
    under = f"/sandbox/{which}"

    def message_of(request: Request) -> EmailMessage | None:
        seq = request.path_params["seq"]
        return next((mail.parsed() for mail in reversed(kept()) if mail.seq == seq), None)

    async def page(request: Request) -> Response:
        message = message_of(request)
        if message is None:
            return Response(status_code=404)
        seq = request.path_params["seq"]
        places = {f"cid:{one.content_id}": f"{under}/{seq}/file/{one.place}" for one in files_of(message)}
        safe = cleaned(html_of(message), lambda cid: places.get(cid, ""))
        body = f'<!doctype html><meta charset="utf-8"><base target="_blank"><style>{_LOOK}</style>{safe}'
        headers = {"content-security-policy": _FRAME, "x-content-type-options": "nosniff", "cache-control": "no-store"}
        return Response(body, media_type="text/html", headers=headers)

    async def file(request: Request) -> Response:
        message, place = message_of(request), request.path_params["place"]
        wanted = [one for one in files_of(message) if one.place == place] if message else []
        return _file(wanted[0]) if wanted else Response(status_code=404)

    return [
        Route(f"{under}/{{seq:int}}/html", page, methods=["GET"]),
        Route(f"{under}/{{seq:int}}/file/{{place:int}}", file, methods=["GET"]),
    ]


def _file(one: Enclosed) -> Response:
    """A picture in its place; anything else to be saved."""
    shown = one.mimetype in SHOWN
    headers = {
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "content-disposition": "inline" if shown else "attachment",
        "cache-control": "private, max-age=3600",
    }
    return Response(one.data, headers=headers, media_type=one.mimetype if shown else "application/octet-stream")
