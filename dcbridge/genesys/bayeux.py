"""Bayeux, the protocol of CometD, by long polling: what a client says, and what it is answered. No I/O.

    handshake -> clientId     subscribe a topic     connect: held until there are events, again and again     disconnect

https://docs.cometd.org/current8/reference/#_bayeux. Genesys' interfaces that notify speak it, and events may ride on
any answer, that of a subscribe included. An answer's `advice` says how to go on; what it leaves out holds on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from dcbridge.json_values import a_text, an_object, is_deeper, json_value

MOST_BYTES = 1 << 20  # of one answer
MOST_MESSAGES = 1000  # of one answer
DEEPEST = 24  # levels of one answer
LONGEST_ID = 200  # characters of a clientId
LONGEST_TIMEOUT = 120.0  # seconds that a connect is held at most, whatever the server says
LONGEST_INTERVAL = 60.0  # seconds between two connects at most
WANTED = 60.0  # seconds that we ask for

_UNKNOWN = ("402", "403")  # "402::session_unknown", "402::Unknown client", "403::…"


class Unreadable(ValueError):
    """No answer of Bayeux, or one beyond the bounds."""


class Reconnect(StrEnum):
    RETRY = "retry"
    HANDSHAKE = "handshake"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Advice:
    """Times in seconds."""

    reconnect: Reconnect = Reconnect.RETRY
    interval: float = 0.0
    timeout: float = WANTED

    def then(self, told: Mapping[str, object]) -> Advice:
        """With what a newer one says, as far as it makes sense."""
        word = told.get("reconnect")
        return Advice(
            Reconnect(word) if isinstance(word, str) and word in tuple(Reconnect) else self.reconnect,
            _seconds(told.get("interval"), LONGEST_INTERVAL, self.interval),
            _seconds(told.get("timeout"), LONGEST_TIMEOUT, self.timeout),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody has published to a topic."""

    topic: str
    data: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to one message of ours."""

    channel: str
    successful: bool
    client_id: str = field(default="", repr=False)
    error: str = ""  # its number alone
    subscription: str = ""
    advice: Mapping[str, object] = field(default_factory=dict)

    @property
    def unknown_client(self) -> bool:
        return not self.successful and self.error in _UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """All of one HTTP answer, each kind in its order."""

    said: tuple[Said, ...] = ()
    events: tuple[Event, ...] = ()

    def to(self, channel: str) -> Said | None:
        """The last one about this channel."""
        return next((one for one in reversed(self.said) if one.channel == channel), None)


def read(body: bytes) -> Answer:
    """Raises Unreadable."""
    if len(body) > MOST_BYTES:
        raise Unreadable("too long")
    value = json_value(body)
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list) or (not messages and body.strip() != b"[]"):
        raise Unreadable("no list of messages")
    if len(messages) > MOST_MESSAGES:
        raise Unreadable("too many messages")
    if is_deeper(messages, DEEPEST):
        raise Unreadable("nested too deeply")
    said, events = [], []
    for one in messages:
        message = an_object(one)
        channel = message.get("channel")
        if not isinstance(channel, str):
            raise Unreadable("a message without a channel")
        if channel.startswith("/meta/"):
            said.append(_said(channel, message))
        elif "data" in message:
            events.append(Event(channel, message["data"]))
    return Answer(tuple(said), tuple(events))


def _said(channel: str, message: Mapping[str, object]) -> Said:
    client_id, subscription = message.get("clientId"), message.get("subscription")
    first, _, _ = a_text(message.get("error")).partition(":")
    return Said(
        channel,
        message.get("successful") is True,
        client_id if isinstance(client_id, str) and 0 < len(client_id) <= LONGEST_ID else "",
        first if first.isascii() and first.isdecimal() and len(first) == 3 else "",
        subscription if isinstance(subscription, str) else "",
        an_object(message.get("advice")),
    )


def _seconds(value: object, most: float, otherwise: float) -> float:
    """Of ms as a server writes them."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return otherwise
    return most if value > most * 1000 else value / 1000


class Session:
    """A client's side of one session: what it says next, and what follows from an answer."""

    def __init__(self) -> None:
        self.client_id, self.advice = "", Advice()
        self._said = 0

    def handshake(self) -> bytes:
        """Forgets the session that there was."""
        self.client_id, self.advice = "", Advice()
        wanted = {"timeout": int(WANTED * 1000), "interval": 0}
        return self._message(
            "handshake",
            version="1.0",
            minimumVersion="1.0",
            supportedConnectionTypes=["long-polling"],
            advice=wanted,
        )

    def subscribe(self, topic: str) -> bytes:
        return self._message("subscribe", subscription=topic)

    def connect(self, *, at_once: bool = False) -> bytes:
        """`at_once`: it is answered without being held, as the first one is."""
        more: dict[str, object] = {"advice": {"timeout": 0}} if at_once else {}
        return self._message("connect", connectionType="long-polling", **more)

    def disconnect(self) -> bytes:
        return self._message("disconnect")

    def heard(self, answer: Answer) -> None:
        """Keep what it says of how to go on. The session is over where the server does not know it any more."""
        for one in answer.said:
            self.advice = self.advice.then(one.advice)
            if one.channel == "/meta/handshake" and one.successful:
                self.client_id = one.client_id
            elif one.unknown_client:
                self.client_id = ""
        if self.advice.reconnect is not Reconnect.RETRY:
            self.client_id = ""

    def _message(self, channel: str, **more: object) -> bytes:
        self._said += 1
        message: dict[str, object] = {"id": str(self._said), "channel": f"/meta/{channel}", **more}
        if self.client_id:
            message["clientId"] = self.client_id
        return orjson.dumps([message])
