"""A mail server that keeps what it takes, refuses magic mailboxes, and reports delivery as an MTA would.

Extensions: 8BITMIME, SIZE, SMTPUTF8, DSN (RFC 3461), AUTH and STARTTLS where configured.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import defaultdict
from typing import Any, cast

import aiohttp
import httpx
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from sandbox.delivery_report import Outcome, read_envid, read_notify, read_orcpt, read_ret, write
from sandbox.mailbox import Mail, Recipient
from sandbox.world import World

WHO = "Mail server"
SIZE_LIMIT = 10 * 1024 * 1024
REFUSED_AT_RCPT = {
    "bounce": "550 5.1.1 The mailbox does not exist",
    "policy": "554 5.7.1 Refused by policy",
}
REFUSED_TWICE = {
    "full": "452 4.2.2 The mailbox is full",
    "greylist": "451 4.7.1 Greylisted, try again later",
}
_PARAMETERS = re.compile(r"(?P<path>.*>|[^\s<>]+)(?P<parameters>(\s+\S+)*)\s*")


class _Mailing(Envelope):
    """An envelope with what RFC 3461 adds to it."""

    def __init__(self) -> None:
        super().__init__()
        self.envelope_id = ""
        self.returned = ""
        self.recipients: list[Recipient] = []


class _Session(SMTP):
    """One connection: takes the DSN parameters off MAIL and RCPT before aiosmtpd, which knows none, sees them."""

    envelope: _Mailing

    def __init__(self, server: MailServer, loop: asyncio.AbstractEventLoop) -> None:
        # aiosmtpd keeps these limits on the class and clears them with every connection.
        self.command_size_limits = defaultdict(lambda: SMTP.command_size_limit)
        config = server.world.config
        super().__init__(
            server,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname="mail.sandbox.invalid",
            ident="dcbridge sandbox",
            tls_context=config.smtp_tls,
            auth_require_tls=config.smtp_tls is not None,
            authenticator=server.authenticate,
            loop=loop,
        )
        self.command_size_limits.update(MAIL=512 + 100, RCPT=512 + 500)
        self.server = server
        self.asked: dict[str, str] = {}

    def _create_envelope(self) -> _Mailing:
        return _Mailing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server.sessions.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.server.sessions.discard(self)
        super().connection_lost(error)

    async def check_auth_needed(self, caller_method: str) -> bool:
        if self.server.world.config.smtp_username is None or (self.session and self.session.authenticated):
            return False
        await self.push("530 5.7.0 Authentication required")
        return True

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802  # aiosmtpd finds commands by these names
        try:
            rest, asked = _take_parameters(arg, ("RET", "ENVID"))
            asked["RET"] = read_ret(asked.get("RET", ""))
            asked["ENVID"] = read_envid(asked.get("ENVID", ""))
        except ValueError as wrong:
            await self.push(f"501 5.5.4 {wrong}")
            return
        self.asked = asked
        await super().smtp_MAIL(rest)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        try:
            rest, asked = _take_parameters(arg, ("NOTIFY", "ORCPT"))
            if "NOTIFY" in asked:
                read_notify(asked["NOTIFY"])
            if "ORCPT" in asked:
                asked["ORCPT"] = read_orcpt(asked["ORCPT"])
        except ValueError as wrong:
            await self.push(f"501 5.5.4 {wrong}")
            return
        self.asked = asked
        await super().smtp_RCPT(rest)


class MailServer:
    """aiosmtpd's handler: `start` and `stop` open and close the port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sessions: set[_Session] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd warns of itself at every login
        loop = asyncio.get_running_loop()
        config = self.world.config
        self._server = await loop.create_server(lambda: _Session(self, loop), config.smtp_host, config.smtp_port)
        self.world.smtp_port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for session in list(self.sessions):
            _abort(session)
        await self._server.wait_closed()

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, kind: str, data: Any) -> AuthResult:
        config = self.world.config
        right = LoginPassword((config.smtp_username or "").encode(), (config.smtp_password or "").encode())
        return AuthResult(success=data == right and config.smtp_username is not None, handled=False)

    async def handle_EHLO(  # noqa: N802  # aiosmtpd finds its hooks by these names
        self, server: _Session, session: Session, envelope: _Mailing, hostname: str, lines: list[str]
    ) -> list[str]:
        session.host_name = hostname
        if self.world.config.smtp_username is None:
            lines = [line for line in lines if not line.startswith("250-AUTH")]
        return [*lines[:-1], "250-DSN", lines[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: _Session, session: Session, envelope: _Mailing, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        envelope.envelope_id = server.asked["ENVID"]
        envelope.returned = server.asked["RET"]
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: _Session, session: Session, envelope: _Mailing, address: str, options: list[str]
    ) -> str:
        local = address.rpartition("@")[0].lower()
        refusal = REFUSED_AT_RCPT.get(local)
        if local in REFUSED_TWICE:
            self.world.tries[address] += 1
            if self.world.tries[address] <= 2:
                refusal = REFUSED_TWICE[local]
            else:
                self.world.tries[address] = 0
        if address == self.world.switches.mail.refuse:
            refusal = REFUSED_AT_RCPT["policy"]
        if refusal is not None:
            self._note(f"RCPT {address}", time.perf_counter(), refusal, b"")
            return refusal
        envelope.rcpt_tos.append(address)
        notify = server.asked.get("NOTIFY")
        asked = read_notify(notify) if notify else ()
        envelope.recipients.append(Recipient(address, asked, server.asked.get("ORCPT", "")))
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802
        self, server: _Session, session: Session, envelope: _Mailing
    ) -> str:
        started = time.perf_counter()
        raw = envelope.original_content or b""
        path = "DATA " + ", ".join(envelope.rcpt_tos)
        locals_ = {address.rpartition("@")[0].lower() for address in envelope.rcpt_tos}
        delay = self.world.switches.mail.delay + (self.world.config.slow_answer if "slow" in locals_ else 0)
        if delay:
            await asyncio.sleep(delay)
        if "drop" in locals_:
            self._note(path, started, "", raw)
            _abort(server)
            await asyncio.sleep(1)  # connection_lost cancels this coroutine
        if "toobig" in locals_:
            answer = "552 5.3.4 The message is too big"
            self._note(path, started, answer, raw)
            return answer
        mail = Mail(
            self.world.next_seq(),
            time.time(),
            "" if envelope.mail_from == "<>" else envelope.mail_from or "",
            envelope.recipients,
            raw,
            envelope.envelope_id,
            envelope.returned,
            envelope.smtp_utf8,
            bool(session.authenticated),
            session.ssl is not None,
        )
        self.world.mails.append(mail)
        self.world.counts["mails"] += 1
        self.world.tell("mail", mail)
        self.world.spawn(self._report(mail))
        answer = f"250 2.0.0 OK queued as {mail.seq}"
        self._note(path, started, answer, raw)
        return answer

    async def _report(self, mail: Mail) -> None:
        """Deliver or bounce each recipient's copy, and report to the bridge what NOTIFY asked for."""
        world = self.world
        if world.config.status_delay:
            await asyncio.sleep(world.config.status_delay)
        delivered, failed = [], []
        for recipient in mail.recipients:
            later = recipient.address.rpartition("@")[0].lower() == "later-bounce"
            recipient.status = "failed" if later else "delivered"
            if later and (not recipient.notify or "FAILURE" in recipient.notify):
                said = "550 5.1.1 The mailbox does not exist"
                failed.append(Outcome(recipient.address, recipient.original, "failed", "5.1.1", said))
            elif not later and "SUCCESS" in recipient.notify:
                delivered.append(Outcome(recipient.address, recipient.original, "delivered", "2.0.0"))
        world.tell("mail", mail)
        for outcomes in (delivered, failed):
            if outcomes and mail.mail_from and world.switches.mail.reports:
                full = mail.returned == "FULL" or (not mail.returned and outcomes is failed)
                report = write(mail.mail_from, mail.envelope_id, mail.raw, full, mail.at, outcomes)
                mail.reports.append(await self._post(report))
                world.tell("mail", mail)

    async def _post(self, report: bytes) -> int:
        config = self.world.config
        path = f"/callbacks/{config.mail_provider}/status"
        headers = {"Content-Type": "message/rfc822", "Authorization": f"Bearer {config.mail_callback_secret}"}
        status = 0
        for attempt in range(config.callback_tries):
            if attempt:
                await asyncio.sleep(0.5 * attempt)
            started = time.perf_counter()
            status, answered = 0, b""
            try:
                response = await self.world.client.post(config.bridge_url + path, content=report, headers=headers)
                status, answered = response.status_code, response.content
            except (TimeoutError, httpx.HTTPError, aiohttp.ClientError, OSError):
                pass
            self.world.exchange(WHO, False, "POST", path, started, status, report, answered, "bearer token")
            if 200 <= status < 300:
                return status
        if 400 <= status < 500:
            self.world.violation(WHO, "a delivery report with the right token is taken", f"answered {status}")
        return status

    def _note(self, path: str, started: float, answer: str, raw: bytes) -> None:
        status = int(answer[:3]) if answer else 0
        self.world.exchange(WHO, True, "SMTP", path, started, status, raw, answer.encode())


def _take_parameters(arg: str | None, names: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """The command without the named parameters, and those. Raises ValueError for one without value or given twice."""
    head, colon, tail = (arg or "").partition(":")
    found = _PARAMETERS.fullmatch(tail.strip())
    if not colon or found is None:
        return arg, {}
    kept, taken = [], {}
    for parameter in found["parameters"].split():
        name, _, value = parameter.partition("=")
        if name.upper() not in names:
            kept.append(parameter)
        elif not value or name.upper() in taken:
            raise ValueError(f"{name.upper()} is given once, with a value")
        else:
            taken[name.upper()] = value
    return f"{head}:{' '.join([found['path'], *kept])}", taken


def _abort(session: SMTP) -> None:
    """Cast and not asked: uvloop's transports do not descend from asyncio's."""
    if session.transport is not None:
        cast(asyncio.WriteTransport, session.transport).abort()
