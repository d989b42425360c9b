"""How the sandbox is told to misbehave: POST /sandbox/control."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from typing import Any

MODES = ("ok", "500", "silent", "slow", "late", "refuse_batch", "refuse_text", "lost_answer")
QUESTIONS = ("ok", "429", "500", "silent")
GENESYS_MODES = ("ok", "500", "silent", "lost_answer", "refuse_fields")
CLOUD_MODES = ("ok", "500", "429", "401", "silent", "lost_answer", "refuse_text")
ENGAGEMENT_MODES = ("ok", "400", "403", "500", "silent", "slow", "lost_answer", "not_json", "no_id")
SLOT_KEYS = ("iso", "ms", "alternate")
BOOLEANS = ("callbacks", "reports", "immediate", "scheduled", "office", "lists")
SUBSCRIBER_MODES = ("well", "slow", "failing", "throttling", "dead", "gone")
MODES_OF = {
    "subscriber": SUBSCRIBER_MODES, "genesys": GENESYS_MODES, "cloud": CLOUD_MODES, "engagement": ENGAGEMENT_MODES,
}  # fmt: skip


@dataclass(slots=True)
class ModeSwitch:
    """`mode` holds for `count` requests (None: until changed)."""

    mode: str = "ok"
    count: int | None = None

    def take(self) -> str:
        """The mode for the request at hand; counts it."""
        mode = self.mode
        if mode != "ok" and _is_last(self):
            self.mode = "ok"
        return mode


@dataclass(slots=True)
class DigitalChannelsSwitch(ModeSwitch):
    """`mode` holds for `count` requests to /channels/<id>/messages (None: until changed).

    500 refuses; silent never answers; slow applies and answers after `delay` seconds; late applies at once
    and answers after `delay`; refuse_batch answers 400 to more than one message in a request, refuse_text to
    what a consumer writes; lost_answer applies the request and resets the connection.
    `ids` is the shape of the answer's ids: strings, objects or alternate (both are documented).
    `emails`: whether a consumer's message of type Email is taken, or refused (refuse).
    """

    delay: float = 0.0
    ids: str = "alternate"
    emails: str = "take"


@dataclass(slots=True)
class SmsSwitch:
    """`delay` seconds before every answer to a send; probabilities (0–1) of faults for numbers that are not magic.

    `questions` is how requests for the list and for one message are answered: ok, 429, 500 or silent; `list_lag`,
    seconds until a message that was taken is in the list. p_lost resets the connection and forgets the message.
    `off`: providers whose account is refused with 401; `only`: the one that the probabilities are for, "" for all.
    """

    off: list[str] = field(default_factory=list)
    only: str = ""

    delay: float = 0.0
    questions: str = "ok"
    list_lag: float = 0.0
    callbacks: bool = True
    status_delay: float | None = None  # None: the config's
    statuses: list[str] = field(default_factory=lambda: ["queued", "sent", "delivered"])
    p_slow: float = 0.0
    p_429: float = 0.0
    p_500: float = 0.0
    p_reset: float = 0.0
    p_lost: float = 0.0
    p_early: float = 0.0
    p_duplicate: float = 0.0
    p_reversed: float = 0.0
    seed: int = 1


@dataclass(slots=True)
class MailSwitch:
    """`delay` seconds before DATA is answered; `reports` off sends no delivery reports.

    `refuse` is a mailbox that is refused as the magic "policy" is, with 554 5.7.1.
    """

    delay: float = 0.0
    reports: bool = True
    refuse: str = ""


@dataclass(slots=True)
class SubscriberSwitch:
    """slow answers after `delay` seconds, failing 500, throttling 429, gone 410; dead hangs up without an answer."""

    mode: str = "well"
    delay: float = 8.0


@dataclass(slots=True)
class GenesysSwitch(ModeSwitch):
    """Interfaces beside Digital Channels. `mode`: ok, 500, silent, lost_answer or refuse_fields, for `count` requests
    (None: until changed); `token_life` in seconds, of tokens that are given from now on. An export lacks the oldest
    `omitted` messages, and has `invented` ones that the bridge never saw. `lists`: whether a list of secure emails
    shows their data.
    """

    token_life: float = 43199.0
    omitted: int = 0
    invented: int = 0
    lists: bool = True


POLLS = ("ok", "unknown_client", "401", "drip", "drop", "none")


@dataclass(slots=True)
class StatisticsSwitch:
    """Statistics and their notifications. A connect is held for `held` seconds; `interval`: until the next one.

    `polls` is what becomes of `count` connects (None: until changed): ok, unknown_client, 401, drip (a byte a second),
    drop (no answer), none (no client is wanted any more). `events_on`: which answer carries events, connect or
    subscribe. `payload`: nested in {"name", "topic", "data"} with {"value": 5}, or flat.
    """

    held: float = 20.0
    interval: float = 0.0
    polls: str = "ok"
    count: int | None = None
    events_on: str = "connect"
    payload: str = "nested"

    def take_poll(self) -> str:
        """For the connect at hand; counts it."""
        mode = self.polls
        if mode != "ok" and _is_last(self):
            self.polls = "ok"
        return mode


def _is_last(switch: ModeSwitch | StatisticsSwitch) -> bool:
    """Counts a request; whether it is the last that its mode is for."""
    if switch.count is None:
        return False
    switch.count -= 1
    if switch.count > 0:
        return False
    switch.count = None
    return True


@dataclass(slots=True)
class CloudSwitch(ModeSwitch):
    """Genesys Cloud. `mode`: ok, 500, 429, 401, silent, lost_answer or refuse_text, for `count` requests (None: until
    changed); `token_life` in seconds, of tokens that are given from now on; `retry_after` is what 429 asks for.
    """

    token_life: float = 86399.0
    retry_after: int = 1


@dataclass(slots=True)
class EngagementSwitch(ModeSwitch):
    """The Engagement API. `mode` holds for `count` requests (None: until changed) of the operation `only` ("": all of
    them): ok, 400, 403, 500, silent, slow (answers after `delay`), lost_answer, not_json or no_id.

    `wait` in seconds, -1 where it is not known; `immediate` and `scheduled`: what the queue offers; `office`: whether
    it is open; `capacity` of a slot; `step`: seconds of each state of a call; `slot_keys`: how a 429 names slots.
    """

    only: str = ""
    delay: float = 3.0
    wait: float = 240.0
    immediate: bool = True
    scheduled: bool = True
    office: bool = True
    capacity: int = 2
    step: float = 20.0
    slot_keys: str = "alternate"

    def take_for(self, operation: str) -> str:
        """The mode for the request at hand; counts it, where the mode is for this operation."""
        return self.take() if self.only in ("", operation) else "ok"


class Switches:
    def __init__(self) -> None:
        self.digital_channels = DigitalChannelsSwitch()
        self.sms = SmsSwitch()
        self.mail = MailSwitch()
        self.subscriber = SubscriberSwitch()
        self.genesys = GenesysSwitch()
        self.statistics = StatisticsSwitch()
        self.cloud = CloudSwitch()
        self.engagement = EngagementSwitch()
        self.random = random.Random(self.sms.seed)

    def turn(self, wanted: dict[str, Any]) -> None:
        """Set the named switches, leave the others. Raises ValueError naming the first that is wrong."""
        groups = self._groups()
        for name, values in wanted.items():
            if name not in groups or not isinstance(values, dict):
                raise ValueError(f"{name}: expected an object named one of {', '.join(groups)}")
            for key, value in values.items():
                _check(name, groups[name], key, value)
        for name, values in wanted.items():
            for key, value in values.items():
                setattr(groups[name], key, value)
        if "seed" in wanted.get("sms", {}):
            self.random.seed(self.sms.seed)

    def view(self) -> object:
        return self._groups()

    def _groups(self) -> dict[str, Any]:
        return {
            "digital_channels": self.digital_channels,
            "sms": self.sms,
            "mail": self.mail,
            "subscriber": self.subscriber,
            "genesys": self.genesys,
            "statistics": self.statistics,
            "cloud": self.cloud,
            "engagement": self.engagement,
        }


def _check(name: str, group: object, key: str, value: object) -> None:
    known = [field.name for field in fields(group)]  # type: ignore[arg-type]  # the groups are dataclasses
    if key not in known:
        raise ValueError(f"{name}.{key}: unknown; one of {', '.join(known)}")
    if key == "mode":
        allowed = value in MODES_OF.get(name, MODES)
    elif key == "polls":
        allowed = value in POLLS
    elif key == "events_on":
        allowed = value in ("connect", "subscribe")
    elif key == "payload":
        allowed = value in ("nested", "flat")
    elif key == "slot_keys":
        allowed = value in SLOT_KEYS
    elif name == "engagement" and key == "wait":
        allowed = isinstance(value, int | float) and value >= -1
    elif key == "questions":
        allowed = value in QUESTIONS
    elif key == "ids":
        allowed = value in ("strings", "objects", "alternate")
    elif key == "emails":
        allowed = value in ("take", "refuse")
    elif key in ("statuses", "off"):
        allowed = isinstance(value, list) and all(isinstance(status, str) for status in value)
    elif key in ("refuse", "only"):
        allowed = isinstance(value, str)
    elif key in BOOLEANS:
        allowed = isinstance(value, bool)
    elif key in ("count", "status_delay") and value is None:
        allowed = True
    elif key in ("count", "seed", "omitted", "invented"):
        allowed = isinstance(value, int)
    else:
        allowed = isinstance(value, int | float) and value >= 0
    if not allowed or (isinstance(value, bool) and key not in BOOLEANS):
        raise ValueError(f"{name}.{key}: {value!r} is not allowed")
