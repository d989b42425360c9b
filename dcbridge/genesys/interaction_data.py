"""What Genesys knows of one interaction, read-only and without I/O: a chat session's data, and the attached data of a
secure email (contract/interactions-webhook.txt, contract/secure-email.txt).

    chat     GET {base}/chat/sessions/{sessionId}/{interactionId}    the path of `selfUri`; its answer is not printed
    email    GET {base}/securemail/{id}/userdata                     secure_email.py

The host comes from the configuration alone: `selfUri` is what a webhook says, and begins with a placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx

from dcbridge.genesys import secure_email
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation

LONGEST_URI = 2000
_PART = "[A-Za-z0-9-]{1,64}"
_SESSION = re.compile(rf"/nexus/v3/(chat/sessions/{_PART}/{_PART})", re.ASCII)
_ENVELOPE = frozenset({"status", "statuscode", "operationid", "referenceid", "errors", "path"})


@dataclass(frozen=True, slots=True)
class Question:
    """Where what is known of an interaction is asked for. `source`: selfUri or userdata."""

    source: str
    operation: Operation
    url: str

    def request(self) -> httpx.Request:
        return httpx.Request("GET", self.url)


def question(base_url: str, media: str, interaction: str, self_uri: object, *, bearer: bool = False) -> Question | None:
    """None where there is nothing to ask. `bearer`: chat sessions want a token besides the key."""
    if media.casefold() == "email":
        url = secure_email.user_data_url(base_url, interaction)
        return Question("userdata", secure_email.USER_DATA, url) if url else None
    if not isinstance(self_uri, str) or len(self_uri) > LONGEST_URI:
        return None
    at = self_uri.rfind("/nexus/v3/")
    found = _SESSION.fullmatch(self_uri, at) if at >= 0 else None
    if found is None:
        return None
    return Question("selfUri", Operation("chat", "session", bearer=bearer), f"{base_url}/{found[1]}")


def data_of(reading: Reading) -> Mapping[str, object]:
    """All that a good answer says, under `data` or without it."""
    if reading.data:
        return reading.data
    return {name: one for name, one in reading.whole.items() if name.casefold() not in _ENVELOPE}


def chosen(data: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    """Those of these fields that are there. A full stop leads into an object: userData.segment."""
    missing = object()
    found: dict[str, object] = {}
    for name in names:
        value = data.get(name, missing)
        if value is missing:
            value = data
            for part in name.split("."):
                value = value.get(part, missing) if isinstance(value, dict) else missing
        if value is not missing:
            found[name] = value
    return found
