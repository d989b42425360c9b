"""The contract of a wire: how one company is spoken to, and how it speaks to the bridge.

A wire translates and checks; it sends nothing. What happens to a message (statuses, test numbers, delays, switches) is
decided in `sandbox.sms_company`, in the words of `sandbox.magic`; a wire says them in the words of its company.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import Request
from starlette.routing import Route

from sandbox.records import SentByConsumer, Sms

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")


class RefusedError(Exception):
    """A message, or another request, that is not accepted. `http` and `code` are Twilio's, as in `sandbox.magic`."""

    def __init__(self, http: int, code: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.http = http
        self.code = code
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message that passed every check of a wire; numbers are E.164."""

    to: str
    sender: str
    text: str
    segments: int
    callback_url: str = ""
    reference: str = ""  # of the bridge, which its company sends back
    service_sid: str = ""
    status: str = "queued"
    media: tuple[str, ...] = ()  # URLs of files, which the company fetches


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the company to the bridge. `tries`: how often it is sent until it is answered 2XX."""

    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    tries: int = 1


class Wire(Protocol):
    who: str  # in the list of requests and on the page
    login: str  # what a request of the bridge shows, for the list of requests
    proof: str  # what shows that a callback is the company's
    keeps_opt_outs: bool  # True: the company itself refuses a message to a consumer who wrote STOP
    reports_later: Collection[int]  # codes of refusals that this company reports of a message that it took
    carries_media: bool  # files of consumers and agents
    send_path: str
    more_send_paths: Sequence[str]  # others at which it takes messages
    send_methods: Sequence[str]

    def new_id(self) -> str:
        """An id as this company makes it, for a message in either direction."""

    def routes(self) -> Sequence[Route]:
        """What the company has beside `send_path`: lists, single messages."""

    def listed(self, request: Request, body: bytes) -> Reply | None:
        """The answer to a request at `send_path` that asks for a list; None: it is none, but a message."""

    def submitted(self, request: Request, body: bytes) -> Submitted:
        """The message of a request, checked more strictly than by the company. Raises RefusedError."""

    def error(self, code: int) -> str:
        """The company's word for the reason of a failure; `code` is Twilio's, as in `sandbox.magic`."""

    def taken(self, sms: Sms) -> Reply:
        """The answer to a message that is accepted."""

    def refused(self, refused: RefusedError) -> Reply:
        """The answer to one that is not."""

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        """The callbacks about one status; none where nobody asked for one."""

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        """The callback about a message of a consumer; several where the company tells a long one in pieces."""

    def wrong_answer(self, body: bytes) -> str:
        """The rule that the body of a 200 to `write` breaks, or ""."""


class PlainWire:
    """What most companies have in common."""

    keeps_opt_outs = False
    reports_later: Collection[int] = ()
    carries_media = False
    more_send_paths: Sequence[str] = ()
    send_methods: Sequence[str] = ("POST",)

    def routes(self) -> Sequence[Route]:
        return ()

    def listed(self, request: Request, body: bytes) -> Reply | None:
        return None

    def wrong_answer(self, body: bytes) -> str:
        return "a callback is answered without a body" if body else ""
