"""Genesys' Web Services API for voice, base path /api/v2 (contract/web-services.txt): one login, its calls. No I/O.

    GET  /me?subresources=*     who is signed in, devices and calls; also gives the CSRF token
    POST /me                    StartContactCenterSession, EndContactCenterSession

Nothing is done to a call: SetCallDisposition is for the agent who had it, whose desktop sends it.

Every request is answered by statusCode 0 at once; what became of it comes by CometD. Call ids stand in URIs of two
forms, so that only the last segment of a URI is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import httpx
import orjson

from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.json_values import a_list, a_text, an_object

NAME = "web-services"
ME, START, END = (Operation(NAME, name) for name in ("me", "start", "end"))
CALLS, DEVICES, SERVICES = "/v2/me/calls", "/v2/me/devices", "/notifications/services"
TOPICS = (CALLS, DEVICES, SERVICES)

RINGING, DIALING, ESTABLISHED, HELD, RELEASED = "Ringing", "Dialing", "Established", "Held", "Released"
MOST_CALLS = 500  # of one answer
LONGEST = 300  # characters of an id, and of a value of user data
MOST_DATA = 100  # pairs of user data
_NUMBER = re.compile(r"\+?([1-9][0-9]{6,14})", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{1,1000}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it is now. `number`: of the other side in E.164 without the plus, "" for an extension."""

    id: str
    uuid: str
    state: str
    kind: str = ""  # Internal, Consult, Inbound, Outbound; an open list
    why: str = ""  # notificationType; "" in state recovery
    number: str = field(default="", repr=False)
    user_data: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the login."""

    id: str
    state: str
    user_state: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A service behind the API; Voice is the T-Server."""

    kind: str
    state: str  # Active, Inactive, ReadOnly, Unknown; an open list


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that failed after it was accepted. Its words are not kept."""

    call: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """Something about this call or device: its state has to be asked for. Mobile notifications say no more."""

    call: str = ""
    device: str = ""


Notification = Call | Device | Service | Failure | Changed


def read(data: object) -> Iterator[Notification]:
    """What one notification says; nothing where it is of another kind."""
    told = an_object(data)
    match told.get("messageType"):
        case "CallStateChangeMessage" if "call" in told:
            found = _call(an_object(told["call"]), _word(told.get("notificationType")))
            yield from [found] if found else []
        case "CallStateChangeMessage":
            yield Changed(call=_word(told.get("callId")))
        case "DeviceStateChangeMessage" if "devices" in told:
            yield from map(_device, a_list(told["devices"])[:MOST_CALLS])
        case "DeviceStateChangeMessage":
            yield Changed(device=_word(told.get("deviceId")))
        case "ServiceStateChangeMessage":
            service = an_object(told.get("service"))
            yield Service(_word(service.get("type")), _word(service.get("state")))
        case "ErrorMessage":
            yield Failure(last_segment(told.get("callUri")), last_segment(told.get("deviceUri")))


def calls_of(reading: Reading) -> list[Call]:
    """Of GET /me?subresources=*: the calls that there are now, wherever the answer has them."""
    for place in (reading.whole, an_object(reading.whole.get("me")), an_object(reading.whole.get("user"))):
        if isinstance(listed := place.get("calls"), list):
            return [one for item in listed[:MOST_CALLS] if (one := _call(an_object(item), ""))]
    return []


def last_segment(uri: object) -> str:
    """ "…/api/v2/me/calls/0071" and "…/api/v2/calls/0071" are one call."""
    return _word(a_text(uri).rstrip("/").rpartition("/")[2])


def _call(call: Mapping[str, object], why: str) -> Call | None:
    name = _word(call.get("id")) or last_segment(call.get("uri"))
    if not name:
        return None
    return Call(
        id=name,
        uuid=_word(call.get("callUuid")) or name,
        state=_word(call.get("state")),
        kind=_word(call.get("callType")),
        why=why,
        number=_number(call),
        user_data={
            name: value[:LONGEST]
            for name, value in [*an_object(call.get("userData")).items()][:MOST_DATA]
            if isinstance(value, str) and len(name) <= LONGEST
        },
    )


def _number(call: Mapping[str, object]) -> str:
    """Of a call between two: one of a conference has no one to be written to."""
    told = a_list(call.get("participantsInfo"))
    others = [an_object(told[0]).get("e164Number")] if len(told) == 1 else []
    if not others:
        plain = a_list(call.get("participants"))
        others = [plain[0]] if len(plain) == 1 and not told else []
    found = _NUMBER.fullmatch(a_text(others[0]).strip()) if others else None
    return found[1] if found else ""


def _device(value: object) -> Device:
    device = an_object(value)
    state = an_object(device.get("userState"))
    return Device(_word(device.get("id")), _word(device.get("deviceState")), _word(state.get("state")))


def _word(value: object) -> str:
    found = a_text(value)
    return found if len(found) <= LONGEST else ""


@dataclass(frozen=True, slots=True)
class WebServices:
    """Requests. `url`: with /api/v2, without a slash at the end."""

    url: str

    @property
    def notifications(self) -> str:
        return f"{self.url}/notifications"

    def me(self) -> httpx.Request:
        """All that is known of the login: for the CSRF token, and after a reconnect."""
        return httpx.Request("GET", f"{self.url}/me?subresources=*")

    def start(self, place: str = "", login_code: str = "", queue: str = "") -> httpx.Request:
        more = {"place": place, "loginCode": login_code, "queue": queue}
        told = {name: value for name, value in more.items() if value}
        return self._post("/me", {"operationName": "StartContactCenterSession", "channels": ["voice"], **told})

    def end(self) -> httpx.Request:
        """Signs out, and ends the HTTP session."""
        return self._post("/me", {"operationName": "EndContactCenterSession"})

    def _post(self, path: str, said: Mapping[str, object]) -> httpx.Request:
        headers = {"Content-Type": "application/json"}
        return httpx.Request("POST", f"{self.url}{path}", headers=headers, content=orjson.dumps(said))


def csrf_of(headers: httpx.Headers) -> tuple[str, str] | None:
    """The header that each POST, PUT and DELETE needs, where an answer says one. None for a name that is none, or that
    belongs to somebody else.
    """
    name, token = headers.get("X-CSRF-HEADER", ""), headers.get("X-CSRF-TOKEN", "")
    known = {"authorization", "cookie", "host", "content-length", "content-type", "transfer-encoding", "connection"}
    if not _HEADER.fullmatch(name) or not _TOKEN.fullmatch(token) or name.lower() in known:
        return None
    return name, token
