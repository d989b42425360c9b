"""One account at a company, how fast it is spoken to, and how patiently: the models of bridge.yaml for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializeAsAny, model_validator

from dcbridge.providers import KINDS
from dcbridge.providers.base import Fields
from dcbridge.settings.problems import did_you_mean, kind_is_missing, other, refuse, shape
from dcbridge.settings.process import DAY
from dcbridge.settings.types import Model, SomeSeconds


class Pace(Model):
    """How fast messages leave. Those that wait for their turn hold no worker."""

    per_second: float = Field(0.0, ge=0, allow_inf_nan=False, description="Messages a second; 0 is no limit.")
    burst: int = Field(1, ge=1, description="Messages that may be sent at once after an idle time.")
    in_flight: int = Field(0, ge=0, description="Requests in flight at one time; 0 is no limit.")


class Breaker(Model):
    """When to stop speaking to a provider that cannot be reached or does not know us, and when to try again."""

    failures: int = Field(
        5,
        ge=1,
        description="Conversations that have to fail, however often each is tried, until nothing is sent any more;"
        " a refused account: one.",
    )
    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share that these have to be of the messages that the account carried during the last ten seconds,"
        " above 0 and up to 1.",
    )
    first: SomeSeconds = Field(5.0, description="Seconds until one message is tried again.")
    most: SomeSeconds = Field(60.0, description="Seconds between two such tries at most.")


class ProviderAccount(Model):
    """One account at one company: its kind, and the fields of that kind."""

    kind: str
    pace: Pace = Field(Pace(), description="Limits of the whole account, shared by all workers.")
    longest_pause: SomeSeconds = Field(
        3600.0, le=DAY, description="Seconds that a Retry-After of this account is kept to at most, whatever it says."
    )
    fields: SerializeAsAny[Fields]

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """The file has the fields beside `kind`; what they are is the kind's to say."""
        if not isinstance(value, Mapping):
            return value
        kind = value.get("kind")
        if not isinstance(kind, str):
            refuse(
                (("kind",), f"should be a text, and is {shape(kind)}" if "kind" in value else kind_is_missing(value))
            )
            return value
        if kind not in KINDS:
            near = did_you_mean(kind, KINDS)
            words = ", ".join(sorted(KINDS))
            refuse((("kind",), f"should be one of {words}, and is {other(kind)}" + (f"; {near}" if near else "")))
        ours = {key: value[key] for key in ("pace", "longest_pause") if key in value}
        fields = {key: item for key, item in value.items() if key not in ("kind", *ours)}
        if KINDS[kind].can.window and isinstance(pace := ours.get("pace", {}), Mapping):
            ours["pace"] = {"in_flight": KINDS[kind].can.window, **pace}
        return {"kind": kind, **ours, "fields": KINDS[kind].fields_model.model_validate(fields)}


class Retry(Model):
    """How long to wait before the next attempt: first, first·factor, first·factor² … and never more than most."""

    first: SomeSeconds = Field(1.0, description="Seconds before the second attempt.")
    factor: float = Field(2.0, ge=1, le=10, description="Each wait is multiplied by this to give the next.")
    most: SomeSeconds = Field(300.0, description="Seconds of the longest wait.")
    jitter: float = Field(0.5, ge=0, le=1, description="Random share of a wait, 0 to 1.")
