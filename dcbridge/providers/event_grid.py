"""Azure's Event Grid: its events in either schema, and the handshake that a subscription begins with.

https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-event-grid-events-schema
https://learn.microsoft.com/en-us/azure/event-grid/end-point-validation-cloud-events-schema

Event Grid signs nothing: each callback carries our secret in its path. A handshake is a POST in its own schema, OPTIONS
with CloudEvents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from dcbridge.providers.base import Callback, CallbackAnswer
from dcbridge.providers.http_words import a_list, a_text, an_object, json_value

VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"
_ECHO = re.compile(r"[0-9A-Za-z.-]{1,200}", re.ASCII)  # a validation code, or a host


def events(callback: Callback) -> Sequence[object]:
    """A list in Event Grid's schema, a list or a single one as CloudEvents."""
    said = json_value(callback.body)
    return [said] if isinstance(said, dict) and said else a_list(said)


def type_of(event: object) -> str:
    said = an_object(event)
    return a_text(said.get("eventType")) or a_text(said.get("type"))


def data_of(event: object) -> dict[str, object]:
    """By names in small letters: "MessageId" in older events, "messageId" in others, "Tag" beside "messageId"."""
    return {name.lower(): value for name, value in an_object(an_object(event).get("data")).items()}


def response(callback: Callback) -> CallbackAnswer:
    """Of a handshake what it asks for."""
    origin = callback.header("webhook-request-origin")
    if callback.method == "OPTIONS":
        right = _ECHO.fullmatch(origin)
        allowed = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"} if right else {}
        return CallbackAnswer(200, headers=allowed)
    for event in events(callback):
        asked = a_text(an_object(an_object(event).get("data")).get("validationCode"))
        if an_object(event).get("eventType") == VALIDATION and _ECHO.fullmatch(asked):
            return CallbackAnswer(200, orjson.dumps({"validationResponse": asked}), "application/json")
    return CallbackAnswer(200)
