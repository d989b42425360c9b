"""docs/configuration.md, written from the models.

python -m dcbridge.config.reference > docs/configuration.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dcbridge.config.models import Breaker, Channel, Configuration, DigitalChannels, Endpoint, Pace, Retry
from dcbridge.events.sinks import KINDS as SINKS
from dcbridge.events.sinks import EventPace, Schedule, Subscriber
from dcbridge.providers import KINDS
from dcbridge.settings.process import PREFIX, Settings

EXAMPLE = """\
public_url: https://bridge.example.com       # what providers call and sign

digital_channels:
  base_url: https://digital.example.com/nexus/v3
  contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11   # x-ccid
  api_key: ${DIGITAL_CHANNELS_API_KEY}       # from the environment

endpoints:                                   # POST /webhooks/messages/{name}
  main:
    secrets:
      - file:/run/secrets/app_secret         # from a mounted file; the first one signs
    retired_secrets:
      - ${OLD_APP_SECRET}

interactions:                                # POST /webhooks/interactions/{name}
  events:
    secrets: ["${INTERACTIONS_SECRET}"]

providers:
  twilio:                                    # callbacks: /callbacks/twilio/status and /callbacks/twilio/inbound
    kind: twilio
    account_sid: AC00000000000000000000000000000000
    auth_token: ${TWILIO_AUTH_TOKEN}
  mail:
    kind: smtp
    host: smtp.example.com
    username: bridge
    password: ${SMTP_PASSWORD}

channels:
  0123456789:                                # the channel id of Digital Channels; the zero stays
    type: sms
    provider: twilio
    number: "+15557650123"                   # in quotes; what consumers write to
    default_region: US                       # whose numbers may be written without a country code
    outcome_unknown: fail                    # rather lose one than send one twice
  company.com:
    type: email
    provider: mail
    time_to_live: 86400                      # a day

subscribers:                                 # of interaction events
  crm:
    sink:
      kind: http
      url: https://crm.example.com/hooks/dcbridge
      secrets: ["${CRM_SIGNING_SECRET}"]     # whsec_…
    events: [STARTED, FINISHED]

retry:
  first: 1
  factor: 2
  most: 300
"""

_INTRODUCTION = """\
# Configuration

What the bridge carries, and for whom, is in one file, `bridge.yaml`. How a process runs is in environment variables.
`dcbridge check` reads both and tells everything that is wrong, with its line.

This page is written by `python -m dcbridge.config.reference > docs/configuration.md`.
"""

_RULES = """\
## bridge.yaml

* Every value is read as text and then as what its field asks for: the channel id `0123456789` keeps its zero, and `no`
  is a word until a field wants true or false.
* `${NAME}` anywhere in a value is taken from the environment; a variable that is not set is an error. `$${` stands for
  the two characters `${`. Inside `[ ]` it stands in quotes: `["${NAME}"]`.
* `file:/run/secrets/name` is the content of that file without the line ends at its end. A relative path begins where
  bridge.yaml is.
* A key written twice is an error, and so is one that nobody knows.
* Beside the fields of its kind a provider has `pace`, and `longest_pause`: seconds (3600 unless given, a day at most)
  that a Retry-After of this account is kept to at most, whatever it says.
* An app secret (`secrets` and `retired_secrets` of endpoints, interactions and channels) has at least 16 characters;
  where `public_url` is this computer itself a shorter one is a warning. A subscriber's signing secret has 24 to 64
  bytes. Of what a provider gave you, and of `callback_secret`, no length is asked.
"""

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", Configuration),
    ("digital_channels", DigitalChannels),
    ("endpoints.*name* and interactions.*name*", Endpoint),
    ("channels.*id*", Channel),
    ("retry and channels.*id*.retry", Retry),
    ("pace of providers.*name* and channels.*id*", Pace),
    ("breaker", Breaker),
    ("subscribers.*name*", Subscriber),
    ("subscribers.*name*.retry", Schedule),
    ("subscribers.*name*.pace", EventPace),
)


def markdown() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _RULES, f"### Example\n\n```yaml\n{EXAMPLE}```\n"]
    parts += [f"### {title}\n\n{_table(model)}" for title, model in _SECTIONS]
    for kind, adapter in sorted(KINDS.items()):
        carries = " and ".join(sorted(adapter.channel_types))
        kind_row = f"| `kind` | `{kind}` | required | This kind of provider; it carries {carries}. |"
        parts.append(f"### providers.*name* of kind {kind}\n\n{_table(adapter.fields_model, first=kind_row)}")
    for kind, fields in SINKS.items():
        parts.append(f"### subscribers.*name*.sink of kind {kind}\n\n{_table(fields)}")
    variables = _table(Settings, prefix=PREFIX)
    parts.append(
        "## Environment variables\n\nIn a pod set `enableServiceLinks: false`: for a Service called `dcbridge-public`"
        f" Kubernetes would set `DCBRIDGE_PUBLIC_PORT` to a URL.\n\n{variables}"
    )
    return "\n".join(parts)


def _table(model: type[BaseModel], prefix: str = "", first: str = "") -> str:
    rows = [first] if first else []
    for name, field in model.model_fields.items():
        shown = f"{prefix}{name.upper()}" if prefix else name
        sentence = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{shown}` | {_type(field)} | {_default(field)} | {sentence} |")
    return "\n".join(["| name | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _type(field: FieldInfo) -> str:
    words = _words(field.annotation)
    limits = ", ".join(_limits(field))
    unit = next((unit for unit in ("seconds", "days", "bytes") if _begins_with(field, unit)), "")
    return " ".join(filter(None, [unit or words, f"({limits})" if limits else ""]))


def _begins_with(field: FieldInfo, unit: str) -> bool:
    return (field.description or "").lower().startswith(unit + " ") and field.annotation in (int, float)


def _limits(field: FieldInfo) -> Iterator[str]:
    """The bounds of a number; they may stand in an Annotated of their own."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for item in field.metadata:
        for part in item.metadata if isinstance(item, FieldInfo) else [item]:
            for word, sign in signs.items():
                bound = getattr(part, word, None)
                if isinstance(bound, (int, float)):
                    yield f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"


def _words(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(args[0])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in args)
    if origin in (Union, UnionType):
        return " or ".join(_words(arg) for arg in args if arg is not NoneType)
    if origin in (list, tuple):
        return f"list of {_words(args[0])}s"
    if origin is dict:
        return f"{_words(args[1])}s by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return {str: "text", SecretStr: "secret", int: "whole number", float: "number", bool: "true or false"}.get(
        annotation, getattr(annotation, "__name__", "value")
    )


def _default(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "default" in extra:
        return str(extra["default"])
    if field.is_required():
        return "required"
    value = field.get_default()
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or (isinstance(value, (str, tuple, dict)) and not value):
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, tuple):
        return ", ".join(f"`{_number(one)}`" for one in value)
    return f"`{_number(value)}`"


def _number(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.stdout.write(markdown())
