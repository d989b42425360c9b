"""The contract of a provider adapter.

An adapter does no I/O. It builds a request and reads an answer (`dcbridge.transport.sender` carries both),
verifies a callback over its raw bytes and names the events in it. Each adapter file reads in the
same order: documentation, fields, word tables, request, answer, verify, events.

SMTP is not HTTP and meets the same contract with `MailRequest` and `MailAnswer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import httpx
from pydantic import BaseModel, ConfigDict

from dcbridge.messages import AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, MessageStatus
from dcbridge.oauth2 import MailCredentials
from dcbridge.providers.opt_outs import OptOutList
from dcbridge.providers.phone import Senders
from dcbridge.providers.sigv4 import SigV4Login
from dcbridge.smpp.pdu import Bind


class Fields(BaseModel):
    """What an account of this provider needs from bridge.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def doubts(self) -> Iterator[tuple[str, str]]:
        """(field, what) of each that is allowed and still deserves a look; "send.url" for a field of a field."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Part:
    """One request's worth of a message. A text that fits is one part; an email is always one."""

    number: int  # from 0
    count: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of the agent's. `url`: where the provider fetches it; `data`: its bytes, where it takes those."""

    name: str
    mimetype: str
    size: int
    url: str = field(default="", repr=False)
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Template:
    """The registered text that a message is, where its country asks for that (India: DLT)."""

    entity_id: str
    id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a message whose turn it is. The same turn gives the same request, byte for byte, on every attempt."""

    message: AgentMessage
    part: Part
    accepted_at: float  # seconds since 1970
    # When the first request for this part began that may have been taken, the same; with what makes it repeatable.
    began_at: float = 0.0
    media: tuple[MediaFile, ...] = ()  # of the message, with its first part
    thread: tuple[str, ...] = ()  # Message-IDs that an email goes on from, the oldest first, without their brackets
    return_path: str = ""  # envelope sender of an email by which a report finds it; "" for the provider's own
    template: Template | None = None
    unsubscribe: str = ""  # a link for this email's List-Unsubscribe field

    @property
    def key(self) -> str:
        """Our reference of this part, for the one field that a company sends back: `named_by` reads it."""
        return f"{self.message.ref}.{self.part.number}"


_KEY = re.compile(r"([0-9a-f]{24}(?:-[0-9]{1,6})?)\.([0-9]{1,6})", re.ASCII)


def named_by(key: str) -> tuple[str, int]:
    """Reference and part of a `Turn.key`; ("", 0) for anything else, which another system may have sent."""
    found = _KEY.fullmatch(key)
    return (found[1], int(found[2])) if found else ("", 0)


@dataclass(frozen=True, slots=True)
class Submission:
    """The provider took one part."""

    provider_id: str
    cost: Cost | None = None
    message_id: str = ""  # under which an email leaves, without its brackets, where the company says which


@dataclass(frozen=True, slots=True)
class MailRequest:
    """One SMTP transaction to one recipient; `content` is the whole message, CRLF line ends."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    username: str
    password: str = field(repr=False)
    verify_certificate: bool
    local_hostname: str | None
    mail_from: str = field(repr=False)
    rcpt_to: str = field(repr=False)
    content: bytes = field(repr=False)
    envelope_id: str  # ENVID of RFC 3461, our own reference
    ask_dsn: bool
    timeout: float  # seconds for all steps before the content, and again for the content and its answer
    provider_id: str  # names this copy to `parse_response`: the server's own queue id is free text
    token: str = field(default="", repr=False)  # of XOAUTH2, in place of the password


MailStep = Literal["connect", "auth", "mail", "rcpt", "data", "done"]


@dataclass(frozen=True, slots=True)
class MailAnswer:
    """The server's last word: the step it was said at, the reply code and text, and whether it was asked
    to report. `provider_id` is the request's.
    """

    step: MailStep
    code: int
    text: str = field(repr=False)  # may quote an address
    dsn_asked: bool = False
    provider_id: str = ""


@dataclass(frozen=True, slots=True)
class SmppAccount:
    """Where sessions of an account lead to, and how they begin. `binds`: how many workers hold one at the same time."""

    host: str
    port: int
    tls: bool
    verify_certificate: bool
    bind: Bind
    binds: int
    enquire_every: float  # seconds


@dataclass(frozen=True, slots=True)
class SmppRequest:
    """The body of one submit_sm, and the account whose session carries it."""

    account: SmppAccount
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SmppAnswer:
    """What submit_sm_resp says. `message_id` is the SMSC's."""

    status: int
    message_id: str


Request = httpx.Request | MailRequest | SmppRequest
Answer = httpx.Response | MailAnswer | SmppAnswer


# `events`: one address for delivery updates and consumers' messages, of companies that have no more than one.
CallbackKind = Literal["status", "inbound", "events"]


@dataclass(frozen=True, slots=True)
class Callback:
    """A provider's request to us, as it arrived. `url` is the **configured** public address plus the
    path and query that were asked for, byte for byte: what the provider signed, whatever sits between. A secret in the
    path is cut off, so that it is stored nowhere.
    Header names are lower case; of a repeated header all values are kept.
    """

    kind: CallbackKind
    method: str
    url: str = field(repr=False)
    query: bytes = field(repr=False)
    headers: Mapping[str, tuple[str, ...]] = field(repr=False)
    body: bytes = field(repr=False)
    secret: str = field(default="", repr=False)  # the last segment of the path, where the address has one
    key: bytes = field(default=b"", repr=False)  # what `key_wanted` is answered with

    def header(self, name: str) -> str:
        """The single value of a header; "" when missing or sent more than once."""
        values = self.headers.get(name.lower(), ())
        return values[0] if len(values) == 1 else ""


def callback_url(public_url: str, name: str, kind: CallbackKind, secret: str = "") -> str:
    """Where this provider's callbacks come to. `public_url` is where providers reach the bridge."""
    return f"{public_url.rstrip('/')}/callbacks/{name}/{kind}" + (f"/{secret}" if secret else "")


@dataclass(frozen=True, slots=True)
class Unread:
    """One event of a callback that cannot be read, while others can. `kind` is a fixed word, as of UnreadableEvent.

    `body` is that of a callback which says this event alone, so that replaying it repeats none of the others; b"" where
    there is no such thing, and the whole callback is kept.
    """

    kind: str
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """What this provider wants to hear when the callback is safely stored."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """A line of a provider's list that may be the message in question. `same`: its text is the part's."""

    reported: MessageStatus
    same: bool


@dataclass(frozen=True, slots=True)
class Page:
    """What one page of a provider's list says: the rows from our sender to this recipient since the time in question.

    `following` asks for the next page; None where this was the last. `older`: whatever is on later pages, and was
    sent on, was sent on before that time.
    """

    rows: Sequence[ListedMessage]
    following: Request | None
    older: bool = False


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What a provider carries of an agent's files."""

    files: int  # in one message
    total: int  # bytes of all of them
    types: Mapping[str, int]  # what a type begins with, "image/", to the most bytes of such a file; "" is any type
    as_data: bool = False  # it takes the bytes; else it fetches a URL

    def carry(self, files: Sequence[MediaFile]) -> bool:
        """Whether all of them can go with one message."""
        return (
            len(files) <= self.files
            and sum(file.size for file in files) <= self.total
            and all(any(f.mimetype.startswith(t) and f.size <= m for t, m in self.types.items()) for f in files)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Can:
    """What a kind of provider carries, and what it promises."""

    channel_types: frozenset[str]  # which channels it can serve: "sms", "email"
    units: int = 0  # septets or UTF-16 code units of a text in one request; 0: no limit
    # The addresses that its callbacks may come to, each with the most bytes of a body; None: DCBRIDGE_BODY_LIMIT.
    callbacks: Mapping[CallbackKind, int | None]
    secret_in_path: bool = False  # /callbacks/<name>/<kind>/<secret>, of a company that signs nothing
    # A callback may name a message by the provider's id alone: whose each id is, is then kept. An update that comes
    # before the id is known waits for it, a minute at most.
    named_by_id: bool = False
    # Seconds from the first request for a part in which a second one with the same key is not a second message.
    idempotent_for: float = 0.0
    # Of a company that posts consumers' mail to `inbound` (`BringsMail`): how many times as large as the mail its
    # request may be. 0: it brings none.
    mail: float = 0.0
    handshake: bool = False  # OPTIONS asks whether its callbacks are welcome (CloudEvents' HTTP webhook, 4)
    # Who keeps to a consumer's STOP, and answers it: the provider, or dcbridge.
    opt_out: Literal["theirs", "ours"] = "ours"
    window: int = 0  # requests in flight at one time where `pace` says nothing; 0: no limit
    opt_out_codes: frozenset[str] = frozenset()  # with which it refuses a message to a consumer who opted out
    media: MediaLimits | None = None  # None: it carries no files of agents
    templates: bool = False  # it passes on which registered text a message is


@dataclass(frozen=True, slots=True)
class Token:
    """What shows for a while who asks (RFC 6750, 2.1)."""

    value: str = field(repr=False)
    seconds: float  # from now


@runtime_checkable
class TokenLogin(Protocol):
    """How an account gets the token of its requests, which `dcbridge.transport.accounts` keeps and renews."""

    def token_request(self) -> httpx.Request:
        """Ask for a token."""

    def read_token(self, answer: httpx.Response) -> Token:
        """The answer to it. Raises Throttled, Unreachable or AccountFault: no message is under way yet."""


class SigningLogin(Protocol):
    """How a request is signed together with the moment at which it is sent."""

    def signed(self, request: httpx.Request, now: float) -> httpx.Request:
        """The request with what proves it. `now`: seconds since 1970."""


class StatusLookup(Protocol):
    """How an account is asked what became of a message. No I/O here either: it builds requests and reads answers.

    There are two questions. `status_request` names a message by the provider's own id, and `parse_status` reads
    the answer. `list_request` is for a part whose request was written and whose answer was never read: nobody has an
    id, so the provider's list is read page by page with `parse_list`, and `dcbridge.providers.lookup` decides what the
    rows mean, knowing which message each of them belongs to.

    Whatever is not an answer (429, 5xx, login) is raised as the SendError that it would be for a send.
    """

    lag: float  # seconds, from when nobody waits for the answer any more, until the list certainly has the message

    def status_request(self, provider_id: str) -> Request:
        """Ask for one message by the provider's id."""

    def parse_status(self, answer: Answer) -> MessageStatus | None:
        """The answer to `status_request`; None: the provider has no such message. Raises a SendError."""

    def list_request(self, turn: Turn) -> Request:
        """Ask for the first page of what was sent to this recipient, newest first."""

    def parse_list(self, answer: Answer, turn: Turn, age: float) -> Page:
        """One page. `age`: seconds since the first request that may have been taken was begun, by one clock; what
        the provider dates is compared with the date of its own answer, so two clocks need not agree.

        Raises a SendError; Unreadable where the answer is no list.
        """


class HasLogin(Protocol):
    """An account, as far as its login is concerned."""

    name: str

    @property
    def login(self) -> TokenLogin | SigningLogin | None:
        """As `Provider.login`."""


@runtime_checkable
class HasMedia(HasLogin, Protocol):
    """A provider whose consumers send files."""

    def media_request(self, url: str) -> httpx.Request | None:
        """The request for a consumer's file, with the account's login where its host asks for one; a login that is a
        token or a signature is added where the request is sent, if it is marked (`sms_fields.WITH_LOGIN`).

        None for a URL that is not on a host of this provider's. What the host answers is a file or one redirect.
        """


@dataclass(frozen=True, slots=True)
class MailStore:
    """A bucket in which a company puts the mails that it tells of. `url`: without a slash at the end."""

    url: str
    login: SigV4Login
    delete: bool  # what is stored here as well


@dataclass(frozen=True, slots=True)
class PostedMail:
    """A consumer's mail as a company hands it on. `sender`: MAIL FROM, None where it does not say.

    `recipients`: the mailboxes that it came to, as the envelope has them. `stored`: where it is below the provider's
    `mail_store`, as a URL writes it; `raw` is b"" then.
    """

    raw: bytes = field(repr=False)
    sender: str | None = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    stored: str = field(default="", repr=False)


@runtime_checkable
class BringsMail(Protocol):
    """A provider that posts what consumers write to our mailboxes, one request for each mail."""

    @property
    def mail_store(self) -> MailStore | None: ...

    def proven_by_head(self, head: Callback) -> bool:
        """Before the body is read, which is b"" here: whether the request shows a secret already. False where only
        its body can prove it.

        Raises BadCallback for one that is refused whatever its body says.
        """

    def mails(self, callback: Callback) -> Sequence[PostedMail] | None:
        """The mail of a verified callback; None for one that is no mail and is kept as any other.

        Raises UnreadableEvent where there is no mail in it.
        """


class Provider(Protocol):
    """One account at one company. `name` is its name in bridge.yaml."""

    name: str
    kind: str
    account: str  # the same for two providers that are one account, whose lists hold each other's messages
    can: Can
    senders: Senders  # what an sms channel's number may be
    status_lookup: StatusLookup | None  # None: it cannot be asked, and the channel's policies apply
    opt_out_list: OptOutList | None  # None: it keeps none that can be asked for
    login: TokenLogin | SigningLogin | None  # None: what `build_request` writes is all that a request shows
    shared_login: MailCredentials | None  # how the `token` of a MailRequest is got; it serves all processes

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        """How many requests this message takes. The same message always gives the same parts.

        Raises Refused (510, 520) for a message that this provider cannot carry.
        """

    def build_request(self, turn: Turn) -> Request:
        """The request for one part. Raises Refused (520, 530) where it cannot be built."""

    def parse_response(self, answer: Answer) -> Submission:
        """Read the answer. Raises a SendError for everything but "taken"."""

    def key_wanted(self, callback: Callback) -> httpx.Request | None:
        """The request for the key that has to verify it, at a host of bridge.yaml; None: no key is published.

        It is asked for once, and kept. Raises BadSignature. Anybody can have it called.
        """

    def verify(self, callback: Callback) -> str:
        """What proves the callback, where that is another for everything that is signed: a recording is known by it,
        however its bytes are read. "" where the proof is the same each time.

        Raises BadSignature, whose kind is safe to log. Anybody can have it called: what cannot be right costs nothing.
        """

    def event_id(self, callback: Callback) -> str:
        """The provider's own id of what happened, the same on redelivery; "" where there is none.

        Called after verify, where that gives no proof; never raises for a readable or an unreadable body.
        """

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        """Everything this callback says, in its order. Raises UnreadableEvent where nothing of it can be read."""

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        """The answer to a callback that is stored."""

    def follow(self, callback: Callback) -> httpx.Request | None:
        """What a callback asks to be sent, at a host of bridge.yaml; a worker sends it until it is answered 2XX."""


class Adapter:
    """What all kinds have, and what most say where the contract asks for something that few companies have."""

    kind: ClassVar[str]
    fields_model: ClassVar[type[Fields]]
    can: Can
    senders: Senders
    status_lookup: StatusLookup | None = None
    opt_out_list: OptOutList | None = None
    login: TokenLogin | SigningLogin | None = None
    shared_login: MailCredentials | None = None
    mail_store: MailStore | None = None

    def key_wanted(self, callback: Callback) -> httpx.Request | None:
        return None

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        return CallbackAnswer(200)

    def follow(self, callback: Callback) -> httpx.Request | None:
        return None
