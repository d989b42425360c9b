"""What Twilio shows of an account's own settings: the account, its numbers, its applications, its messaging services.

https://www.twilio.com/docs/iam/api/account
https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource
https://www.twilio.com/docs/messaging/api/service-resource

They can be changed as at Twilio: POST to a number or to a service. A consumer's message goes to the address that the
number has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.wires.base import RefusedError

NUMBER_SID, SERVICE_SID = "PN" + "5" * 32, "MG" + "7" * 32
_CHANGEABLE = {"SmsUrl": "sms_url", "SmsMethod": "sms_method", "SmsApplicationSid": "sms_application_sid"}
_OF_SERVICE = {
    "InboundRequestUrl": "inbound_request_url", "StatusCallback": "status_callback",
    "UseInboundWebhookOnNumber": "use_inbound_webhook_on_number",
}  # fmt: skip
Answer = Callable[[Request], Awaitable[object]]


class Settings:
    """Of one account. `below`: what stands before every path; `inbound`: where the number posts to at first."""

    def __init__(self, sid: str, number: str, below: str, inbound: str, callback_base: str) -> None:
        self._sid, self._below, self._base = sid, below, f"{below}/2010-04-01/Accounts/{{account}}"
        self.number: dict[str, object] = {
            "sid": NUMBER_SID, "account_sid": sid, "phone_number": number, "friendly_name": number,
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
            "sms_url": inbound, "sms_method": "POST", "sms_application_sid": "", "status_callback": "",
            "sms_fallback_url": "", "api_version": "2010-04-01", "status": "in-use",
        }  # fmt: skip
        self.service: dict[str, object] = {
            "sid": SERVICE_SID, "account_sid": sid, "friendly_name": "Sandbox", "inbound_request_url": None,
            "inbound_method": "POST", "fallback_url": None, "status_callback": f"{callback_base}/status",
            "sticky_sender": True, "use_inbound_webhook_on_number": True, "usecase": "undeclared",
        }  # fmt: skip
        self.account: dict[str, object] = {"sid": sid, "friendly_name": "Sandbox", "status": "active", "type": "Full"}

    @property
    def inbound(self) -> str:
        """Where a consumer's message goes to."""
        return str(self.number["sms_url"])

    def routes(self, answering: Callable[[Answer], Callable[[Request], Awaitable[Response]]]) -> Sequence[Route]:
        """`answering` adds the login, the list of requests and what is refused."""
        services = f"{self._below}/v1/Services/{{service}}"
        number = f"{self._base}/IncomingPhoneNumbers/{NUMBER_SID}.json"
        pools = ("PhoneNumbers", "ShortCodes", "AlphaSenders")
        return [
            Route(f"{self._base}.json", answering(self._account), methods=["GET"]),
            Route(f"{self._base}/IncomingPhoneNumbers.json", answering(self._numbers), methods=["GET"]),
            Route(number, answering(self._one_number), methods=["GET", "POST"]),
            Route(f"{self._base}/SMS/ShortCodes.json", answering(self._short_codes), methods=["GET"]),
            Route(services, answering(self._one_service), methods=["GET", "POST"]),
            *(Route(f"{services}/{one}", answering(self._pool), methods=["GET"]) for one in pools),
        ]

    async def _account(self, request: Request) -> object:
        return self.account

    async def _numbers(self, request: Request) -> object:
        known = ("PhoneNumber", "FriendlyName", "Beta", "Origin", "PageSize", "Page", "PageToken")
        wanted = _query(request, known).get("PhoneNumber", "")
        rows = [self.number] if wanted in str(self.number["phone_number"]) else []
        return {"incoming_phone_numbers": rows, "page": 0, "page_size": 50, "next_page_uri": None}

    async def _one_number(self, request: Request) -> object:
        self.number |= await _changes(request, _CHANGEABLE)
        return self.number

    async def _short_codes(self, request: Request) -> object:
        _query(request, ("ShortCode", "FriendlyName", "PageSize", "Page", "PageToken"))
        return {"short_codes": [], "page": 0, "page_size": 50, "next_page_uri": None}

    async def _one_service(self, request: Request) -> object:
        self._known(request)
        changes = await _changes(request, _OF_SERVICE)
        if "use_inbound_webhook_on_number" in changes:
            changes |= {"use_inbound_webhook_on_number": changes["use_inbound_webhook_on_number"] == "true"}
        self.service |= changes
        return self.service

    async def _pool(self, request: Request) -> object:
        self._known(request)
        _query(request, ("PageSize", "Page", "PageToken"))
        key = {"PhoneNumbers": "phone_numbers", "ShortCodes": "short_codes"}.get(
            request.url.path.rsplit("/", 1)[1], "alpha_senders"
        )
        number = {"sid": NUMBER_SID, "service_sid": SERVICE_SID, "phone_number": self.number["phone_number"]}
        rows = [number] if key == "phone_numbers" else []
        return {key: rows, "meta": {"key": key, "page": 0, "page_size": 50, "next_page_url": None}}

    def _known(self, request: Request) -> None:
        if request.path_params["service"] != SERVICE_SID:
            raise RefusedError(404, 20404, "The requested resource was not found")


def _query(request: Request, known: Sequence[str]) -> Mapping[str, str]:
    for name, _ in request.query_params.multi_items():
        if name not in known or len(request.query_params.getlist(name)) > 1:
            raise RefusedError(400, 20001, f"Unknown or repeated parameter {name}")
    return dict(request.query_params)


async def _changes(request: Request, known: Mapping[str, str]) -> dict[str, object]:
    """Of a POST, what it changes."""
    if request.method == "GET":
        _query(request, ())
        return {}
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise RefusedError(400, 20001, "The body is application/x-www-form-urlencoded")
    pairs = parse_qsl((await request.body()).decode(), keep_blank_values=True)
    if wrong := [name for name, _ in pairs if name not in known]:
        raise RefusedError(400, 20001, f"Unknown parameter {wrong[0]}")
    return {known[name]: value for name, value in pairs}
