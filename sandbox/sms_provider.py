"""An SMS provider that speaks Twilio's wire, stricter than Twilio: unknown and repeated fields are refused.

https://www.twilio.com/docs/messaging/api/message-resource
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from sandbox.connection import reset, wait_for_disconnect
from sandbox.magic import BEHAVIOURS, DELIVERED, Behaviour, Refusal
from sandbox.records import Sms
from sandbox.sms_callbacks import Callbacks
from sandbox.sms_text import measure
from sandbox.world import World

WHO = "SMS provider"
API_VERSION = "2010-04-01"
LONGEST_BODY = 1600
FIELDS = frozenset(
    (
        "To",
        "From",
        "MessagingServiceSid",
        "Body",
        "MediaUrl",
        "StatusCallback",
        "ApplicationSid",
        "ValidityPeriod",
        "SmartEncoded",
        "SendAsMms",
        "ShortenUrls",
        "ScheduleType",
        "SendAt",
        "ContentSid",
        "ContentVariables",
        "RiskCheck",
        "MaxPrice",
        "ProvideFeedback",
        "Attempt",
        "ForceDelivery",
        "ContentRetention",
        "AddressRetention",
        "PersistentAction",
    )
)
REPEATABLE = frozenset(("MediaUrl", "PersistentAction"))
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")


class RefusedError(Exception):
    """An answer other than 201: HTTP status, Twilio's code, its sentence."""

    def __init__(self, http: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.http = http
        self.code = code
        self.message = message
        self.retry_after = retry_after


class SmsProvider:
    def __init__(self, world: World, callbacks: Callbacks) -> None:
        self.world = world
        self.callbacks = callbacks
        account = f"{world.config.twilio_account_sid}:{world.config.twilio_auth_token}".encode()
        self._authorization = b"Basic " + base64.b64encode(account)

    async def send(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await request.body()
        self.world.counts["sms.requests"] += 1
        switch = self.world.switches.sms
        if switch.delay:
            await asyncio.sleep(switch.delay)
        try:
            self._caller(request)
            fields = read_form(request.headers.get("content-type", ""), body)
            segments = check_fields(fields)
            behaviour = self._behaviour(fields["To"])
            self._refuse(behaviour.refusal, fields["To"])
            if behaviour.answer == "lost":
                self._note(request, started, 0, body, b"")
                await reset(request)
                return Response(status_code=500)
            sms = self._take(fields, segments)
        except RefusedError as refused:
            return self._refusal(request, started, body, refused)
        answer = orjson.dumps(resource(self.world, sms))
        if behaviour.answer == "slow":
            await asyncio.sleep(self.world.config.slow_answer)
        elif behaviour.answer == "early":
            await self.callbacks.tell(sms, behaviour.statuses[-1], behaviour.error_code)
            behaviour = replace(behaviour, statuses=())
        if behaviour.statuses:
            self.world.spawn(self.callbacks.follow(sms, behaviour))
        if behaviour.answer == "reset":
            self._note(request, started, 0, body, b"")
            await reset(request)
            return Response(status_code=500)
        self._note(request, started, 201, body, answer)
        return Response(answer, 201, media_type="application/json")

    async def search(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            self._caller(request)
            await self._in_the_mood(request)
            found = self._search(request.query_params)
        except RefusedError as refused:
            return self._refusal(request, started, b"", refused)
        size = int(request.query_params.get("PageSize", "50"))
        page = int(request.query_params.get("Page", "0"))
        shown = found[page * size : (page + 1) * size]
        path = f"/{API_VERSION}/Accounts/{self.world.config.twilio_account_sid}/Messages.json"
        query = [(name, value) for name, value in request.query_params.multi_items() if name[:4] != "Page"]
        query.append(("PageSize", str(size)))
        token = f"PA{shown[-1].sid}" if shown else ""
        following = urlencode([*query, ("Page", page + 1), ("PageToken", token)])
        more = f"{path}?{following}" if (page + 1) * size < len(found) else None
        answer = orjson.dumps(
            {
                "messages": [resource(self.world, sms) for sms in shown],
                "page": page,
                "page_size": size,
                "start": page * size,
                "end": page * size + max(len(shown) - 1, 0),
                "uri": f"{path}?{urlencode(request.query_params.multi_items())}",
                "first_page_uri": f"{path}?{urlencode([*query, ('Page', 0)])}",
                "previous_page_uri": f"{path}?{urlencode([*query, ('Page', page - 1)])}" if page else None,
                "next_page_uri": more,
            }
        )
        self._note(request, started, 200, b"", answer)
        return Response(answer, media_type="application/json")

    async def one(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            self._caller(request)
            await self._in_the_mood(request)
            if request.url.query:
                raise RefusedError(400, 20001, "One message takes no parameters")
            sms = self._known(request.path_params["sid"])
        except RefusedError as refused:
            return self._refusal(request, started, b"", refused)
        answer = orjson.dumps(resource(self.world, sms))
        self._note(request, started, 200, b"", answer)
        return Response(answer, media_type="application/json")

    def _caller(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            raise RefusedError(401, 20003, "Authenticate")
        if request.path_params["account"] != self.world.config.twilio_account_sid:
            raise RefusedError(404, 20404, "The requested resource was not found")

    async def _in_the_mood(self, request: Request) -> None:
        """Answer a question as the switch says."""
        match self.world.switches.sms.questions:
            case "429":
                raise RefusedError(429, 20429, "Too Many Requests", self.world.config.retry_after)
            case "500":
                raise RefusedError(500, 20500, "Internal Server Error")
            case "silent":
                await wait_for_disconnect(request)

    def _known(self, sid: str) -> Sms:
        sms = self.world.sms.get(sid)
        if sms is None:
            raise RefusedError(404, 20404, "The requested resource was not found")
        return sms

    def _behaviour(self, to: str) -> Behaviour:
        magic = BEHAVIOURS.get(to)
        if magic is not None:
            return magic
        switch, chance = self.world.switches.sms, self.world.switches.random.random
        statuses = tuple(switch.statuses)
        if switch.p_429 and chance() < switch.p_429:
            return Behaviour(refusal=Refusal(429, 20429, "Too Many Requests", retry_after=True))
        if switch.p_500 and chance() < switch.p_500:
            return Behaviour(refusal=Refusal(500, 20500, "Internal Server Error"))
        if switch.p_reset and chance() < switch.p_reset:
            return Behaviour(statuses, answer="reset" if chance() < 0.5 else "lost")
        if switch.p_lost and chance() < switch.p_lost:
            return Behaviour(answer="lost")
        if switch.p_slow and chance() < switch.p_slow:
            return Behaviour(statuses, answer="slow")
        if switch.p_early and chance() < switch.p_early:
            return Behaviour(statuses or DELIVERED, answer="early")
        if switch.p_duplicate and chance() < switch.p_duplicate:
            statuses = tuple(status for status in statuses for _ in range(2))
        if switch.p_reversed and chance() < switch.p_reversed:
            statuses = statuses[::-1]
        return Behaviour(statuses)

    def _refuse(self, refusal: Refusal | None, to: str) -> None:
        if refusal is None:
            return
        if refusal.tries is not None:
            self.world.tries[to] += 1
            if self.world.tries[to] > refusal.tries:
                self.world.tries[to] = 0
                return
        wait = self.world.config.retry_after if refusal.retry_after else None
        raise RefusedError(refusal.http, refusal.code, refusal.message, wait)

    def _take(self, fields: Mapping[str, str], segments: int) -> Sms:
        sender, service = fields.get("From", ""), fields.get("MessagingServiceSid", "")
        sms = Sms(
            self.world.next_seq(),
            time.time(),
            "SM" + uuid.uuid4().hex,
            fields["To"],
            sender,
            service,
            fields.get("Body", ""),
            segments,
            fields.get("StatusCallback", ""),
            "queued" if sender else "accepted",
        )
        self.world.keep_sms(sms)
        return sms

    def _search(self, query: QueryParams) -> list[Sms]:
        """Newest first. A filter by DateSent finds no message that was not handed on yet: it has no such date."""
        for name in query:
            if name not in ("To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"):
                raise RefusedError(400, 20001, f"Unknown parameter {name}")
            if len(query.getlist(name)) > 1:
                raise RefusedError(400, 20001, f"Parameter {name} is given twice")
        try:
            exact, before, after = (_day(query.get(name)) for name in ("DateSent", "DateSent<", "DateSent>"))
            size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
        except ValueError as wrong:
            raise RefusedError(400, 20001, str(wrong)) from wrong
        if not 1 <= size <= 1000 or page < 0:
            raise RefusedError(400, 20001, "PageSize is 1 to 1000, Page 0 or more")
        if page and not query.get("PageToken", "").startswith("PASM"):
            raise RefusedError(400, 20001, "A page after the first is asked for by its next_page_uri")
        listed_until = time.time() - self.world.switches.sms.list_lag
        pool = self.world.sms_by_number.get(query["To"], deque()) if "To" in query else self.world.sms.values()
        return [
            sms
            for sms in reversed(pool)
            if sms.at <= listed_until
            and ("From" not in query or sms.sender == query["From"])
            and (exact is None or (sms.handed_on and exact <= sms.at < exact + 86400))
            and (before is None or (sms.handed_on and sms.at <= before))
            and (after is None or (sms.handed_on and sms.at >= after))
        ]

    def _refusal(self, request: Request, started: float, body: bytes, refused: RefusedError) -> Response:
        self.world.counts[f"sms.refused.{refused.code}"] += 1
        answer = orjson.dumps(
            {
                "code": refused.code,
                "message": refused.message,
                "more_info": f"https://www.twilio.com/docs/errors/{refused.code}",
                "status": refused.http,
            }
        )
        self._note(request, started, refused.http, body, answer)
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else None
        return Response(answer, refused.http, headers, media_type="application/json")

    def _note(self, request: Request, started: float, status: int, body: bytes, answer: bytes) -> None:
        check = "" if status == 401 else "account and token"
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.world.exchange(WHO, True, request.method, path, started, status, body, answer, check)


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The form's fields; of a repeatable field the first value. Raises RefusedError 20001."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise RefusedError(400, 20001, "The body is application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict") if body else []
    except (UnicodeDecodeError, ValueError) as wrong:
        raise RefusedError(400, 20001, "The body is a percent-encoded UTF-8 form") from wrong
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name not in FIELDS:
            raise RefusedError(400, 20001, f"Unknown parameter {name}")
        if name in fields and name not in REPEATABLE:
            raise RefusedError(400, 20001, f"Parameter {name} is given twice")
        fields.setdefault(name, value)
    return fields


def check_fields(fields: Mapping[str, str]) -> int:
    """The number of segments. Raises RefusedError with the code that Twilio documents for the fault."""
    if not fields.get("To"):
        raise RefusedError(400, 21604, "A 'To' phone number is required.")
    if not E164.fullmatch(fields["To"]):
        raise RefusedError(400, 21211, f"Invalid 'To' Phone Number: {fields['To']}")
    if not fields.get("From") and not fields.get("MessagingServiceSid"):
        raise RefusedError(400, 21603, "A 'From' phone number is required.")
    if fields.get("From") and not SENDER.fullmatch(fields["From"]):
        raise RefusedError(400, 21212, f"Invalid 'From' Phone Number: {fields['From']}")
    if fields.get("MessagingServiceSid") and not re.fullmatch(r"MG[0-9a-f]{32}", fields["MessagingServiceSid"]):
        raise RefusedError(400, 21701, "Invalid Messaging Service SID")
    body = fields.get("Body", "")
    if not body and "MediaUrl" not in fields and "ContentSid" not in fields:
        raise RefusedError(400, 21602, "Message body is required.")
    units, segments = measure(body)
    if units > LONGEST_BODY:
        raise RefusedError(400, 21617, "The concatenated message body exceeds the 1600 character limit")
    callback = fields.get("StatusCallback")
    if callback is not None and not is_callback_url(callback):
        raise RefusedError(400, 21609, f"The StatusCallback URL {callback} is not a valid URL.")
    period = fields.get("ValidityPeriod")
    if period is not None and not (period.isascii() and period.isdigit() and 1 <= int(period) <= 36000):
        raise RefusedError(400, 20001, "ValidityPeriod is 1 to 36000")
    return segments


def is_callback_url(url: str) -> bool:
    """Absolute http or https, and no underscore in the host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in str(parts.hostname)
    except ValueError:
        return False


def resource(world: World, sms: Sms) -> dict[str, object]:
    """Twilio's Message resource."""
    account = world.config.twilio_account_sid
    uri = f"/{API_VERSION}/Accounts/{account}/Messages/{sms.sid}"
    return {
        "account_sid": account,
        "api_version": API_VERSION,
        "body": sms.body,
        "date_created": _date(int(sms.at)),
        "date_sent": _date(int(sms.at)) if sms.handed_on else None,
        "date_updated": _date(int(sms.updated or sms.at)),
        "direction": "outbound-api",
        "error_code": sms.error_code,
        "error_message": None,
        "from": sms.sender or None,
        "messaging_service_sid": sms.service_sid or None,
        "num_media": "0",
        "num_segments": str(sms.segments),
        "price": None,
        "price_unit": "USD",
        "sid": sms.sid,
        "status": sms.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": sms.to,
        "uri": f"{uri}.json",
    }


@lru_cache(maxsize=64)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _day(text: str | None) -> float | None:
    """Seconds since 1970 of "2026-11-21" or "2026-11-21T10:00:00Z"."""
    if text is None:
        return None
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
