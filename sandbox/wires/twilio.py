"""Twilio's wire, stricter than Twilio: unknown and repeated fields are refused.

https://www.twilio.com/docs/messaging/api/message-resource
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import base64
import hmac
import re
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from urllib.parse import parse_qs, parse_qsl, urldefrag, urlencode, urlsplit

import orjson
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import Account
from sandbox.connection import wait_for_disconnect
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import measure
from sandbox.wires.base import E164, SENDER, Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.wires.replies import note
from sandbox.wires.twilio_settings import Answer, Settings
from sandbox.world import World

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
_TWIML = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?<Response\s*(/>|>\s*</Response>)\s*")


def sign(token: str, url: str, fields: Mapping[str, str]) -> str:
    """X-Twilio-Signature: base64 HMAC-SHA1 over the URL and the sorted names and values."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()


class TwilioWire(PlainWire):
    who = "Twilio"
    login, proof = "account and token", "signed"
    keeps_opt_outs = True
    carries_media = True

    def __init__(self, world: World, name: str, account: Account) -> None:
        """`account.secrets` has the account's sid and its auth token."""
        self.world, self.name, self.account = world, name, account
        self.sid, self._token = account.secrets["account_sid"], account.secrets["auth_token"]
        self._authorization = b"Basic " + base64.b64encode(f"{self.sid}:{self._token}".encode())
        below = "" if name == world.config.sms_provider else f"/{name}"  # another account of the same company
        self._path = f"{below}/{API_VERSION}/Accounts/{{account}}/Messages"
        self.send_path = f"{self._path}.json"
        ours = f"{world.config.public_url or world.config.bridge_url}/callbacks/{name}"
        self.settings = Settings(self.sid, account.number, below, f"{ours}/inbound", ours)
        self._at_first = self.settings.inbound

    def new_id(self) -> str:
        return "SM" + uuid.uuid4().hex

    def routes(self) -> Sequence[Route]:
        return [
            Route(f"{self._path}.json", self.search, methods=["GET"]),
            Route(f"{self._path}/{{sid}}.json", self.one, methods=["GET"]),
            Route(f"{self._path}/{{sid}}/Media/{{file_id}}", self.file, methods=["GET"]),
            *self.settings.routes(self._answering),
        ]

    def submitted(self, request: Request, body: bytes) -> Submitted:
        self._caller(request)
        fields = read_form(request.headers.get("content-type", ""), body)
        segments = check_fields(fields)
        sender = fields.get("From", "")
        return Submitted(
            fields["To"],
            sender,
            fields.get("Body", ""),
            segments,
            fields.get("StatusCallback", ""),
            service_sid=fields.get("MessagingServiceSid", ""),
            status="queued" if sender else "accepted",
            media=tuple(value for name, value in parse_qsl(body.decode()) if name == "MediaUrl"),
        )

    def error(self, code: int) -> str:
        return str(code)

    def taken(self, sms: Sms) -> Reply:
        return Reply(201, orjson.dumps(self._resource(sms)))

    def refused(self, refused: RefusedError) -> Reply:
        answer = {
            "code": refused.code,
            "message": refused.message,
            "more_info": f"https://www.twilio.com/docs/errors/{refused.code}",
            "status": refused.http,
        }
        headers = {"Retry-After": str(refused.retry_after)} if refused.retry_after is not None else {}
        return Reply(refused.http, orjson.dumps(answer), headers)

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        if not sms.callback_url:
            return ()
        fields = {
            "AccountSid": self.sid,
            "ApiVersion": API_VERSION,
            "From": sms.sender or self.account.number,
            "MessageSid": sms.sid,
            "MessageStatus": status,
            "SmsSid": sms.sid,
            "SmsStatus": status,
            "To": sms.to,
        }
        if sms.service_sid:
            fields["MessagingServiceSid"] = sms.service_sid
        if error_code is not None:
            fields["ErrorCode"] = str(error_code)
        return [self._call(sms.callback_url, fields)]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        fields = {
            "AccountSid": self.sid,
            "ApiVersion": API_VERSION,
            "Body": sent.text,
            "From": sent.sender,
            "MessageSid": sent.sid,
            "NumMedia": str(len(sent.files)),
            "NumSegments": str(measure(sent.text)[1]),
            "SmsMessageSid": sent.sid,
            "SmsSid": sent.sid,
            "SmsStatus": "received",
            "To": sent.to,
        }
        for number, (file_id, mimetype) in enumerate(sent.files):
            path = f"{self._path.format(account=self.sid)}/{sent.sid}/Media/{file_id}"
            fields |= {f"MediaUrl{number}": self.world.own_url + path, f"MediaContentType{number}": mimetype}
        changed = self.settings.inbound != self._at_first  # which may be a name that leads nowhere from here
        url = self.settings.inbound if changed else f"{self.world.config.bridge_url}/callbacks/{self.name}/inbound"
        return [self._call(url, fields)] if url else []

    def wrong_answer(self, body: bytes) -> str:
        right = not body.strip() or _TWIML.fullmatch(body)
        return "" if right else "an inbound callback is answered with empty TwiML or nothing"

    def _call(self, callback_url: str, fields: Mapping[str, str]) -> Call:
        """ "#rc=2" on the URL asks for two more tries."""
        url, fragment = urldefrag(callback_url)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": sign(self._token, url, fields),
            "I-Twilio-Idempotency-Token": str(uuid.uuid4()),
        }
        override = parse_qs(fragment).get("rc", [""])[0]
        return Call(url, urlencode(fields).encode(), headers, tries=1 + int(override) if override.isdigit() else 1)

    async def search(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            self._caller(request)
            await self._in_the_mood(request)
            found = self._search(request.query_params)
        except RefusedError as refused:
            return note(self.world, self, request, started, b"", self.refused(refused), refused)
        size = int(request.query_params.get("PageSize", "50"))
        page = int(request.query_params.get("Page", "0"))
        shown = found[page * size : (page + 1) * size]
        path = f"{self._path.format(account=self.sid)}.json"
        query = [(name, value) for name, value in request.query_params.multi_items() if name[:4] != "Page"]
        query.append(("PageSize", str(size)))
        token = f"PA{shown[-1].sid}" if shown else ""
        following = urlencode([*query, ("Page", page + 1), ("PageToken", token)])
        more = f"{path}?{following}" if (page + 1) * size < len(found) else None
        answer = orjson.dumps(
            {
                "messages": [self._resource(sms) for sms in shown],
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
        return note(self.world, self, request, started, b"", Reply(200, answer))

    async def one(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            self._caller(request)
            await self._in_the_mood(request)
            if request.url.query:
                raise RefusedError(400, 20001, "One message takes no parameters")
            sms = self._known(request.path_params["sid"])
        except RefusedError as refused:
            return note(self.world, self, request, started, b"", self.refused(refused), refused)
        answer = orjson.dumps(self._resource(sms))
        return note(self.world, self, request, started, b"", Reply(200, answer))

    async def file(self, request: Request) -> Response:
        """A consumer's file, for whoever has the account's login."""
        started = time.perf_counter()
        try:
            self._caller(request)
            file = self.world.files.get(request.path_params["file_id"])
            if file is None:
                raise RefusedError(404, 20404, "The requested resource was not found")
        except RefusedError as refused:
            return note(self.world, self, request, started, b"", self.refused(refused), refused)
        answer = Reply(200, b"(%d bytes)" % len(file.data))
        note(self.world, self, request, started, b"", answer)
        return Response(file.data, media_type=file.mimetype)

    def _answering(self, of: Answer) -> Callable[[Request], Awaitable[Response]]:
        """What shows a setting, with the login and the list of requests."""

        async def endpoint(request: Request) -> Response:
            started = time.perf_counter()
            try:
                self._caller(request)
                answer = Reply(200, orjson.dumps(await of(request)))
            except RefusedError as refused:
                return note(self.world, self, request, started, b"", self.refused(refused), refused)
            return note(self.world, self, request, started, await request.body(), answer)

        return endpoint

    def _caller(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._authorization):
            raise RefusedError(401, 20003, "Authenticate")
        if request.path_params.get("account", self.sid) != self.sid:
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

    def _resource(self, sms: Sms) -> dict[str, object]:
        return resource(self.sid, sms)


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
    if "MediaUrl" in fields and not is_callback_url(fields["MediaUrl"]):
        raise RefusedError(400, 21620, "Invalid media URL(s)")
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


def resource(account: str, sms: Sms) -> dict[str, object]:
    """Twilio's Message resource."""
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
