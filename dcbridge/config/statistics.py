"""Statistics of the contact centre: which ones are watched, how, and for how long a value is good."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from dcbridge.genesys.statistics import Watched
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Model, Name, Seconds, SomeSeconds, Url

MOST_WATCHES = 50
MINUTE, DAY = 60.0, 86400.0

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Queue = Annotated[str, StringConstraints(pattern=r"^[^\s,\x00-\x1f][^,\x00-\x1f]*$", max_length=200)]
Mode = Literal["notifications", "peek", "engagement"]


class WatchedObject(Model):
    """Of what it is a statistic."""

    type: Text = Field(description="Type of the object at Stat Server, such as Queue, RoutePoint or Agent.")
    id: Text = Field(description="Id of the object at Stat Server.")


class Crossed(Model):
    """When `statistic.crossed` is sent."""

    above: float = Field(allow_inf_nan=False, description="A value above this one is reported to subscribers.")
    back_below: float | None = Field(
        None,
        allow_inf_nan=False,
        description="A value of this or less is reported after that: one below `above` is for a value that moves around"
        " it.",
        json_schema_extra={"default": "`above`"},
    )

    @property
    def below(self) -> float:
        return self.above if self.back_below is None else self.back_below

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.below > self.above:
            refuse((("back_below",), "is more than above"))
        return self


class Watch(Model):
    """One statistic of one object."""

    name: Text | None = Field(None, description="Name of the statistic, as your contact centre has configured it.")
    definition: dict[str, str | int | float | bool] | None = Field(
        None,
        min_length=1,
        max_length=30,
        description="Definition in Stat Server's terms, instead of `name`; only with the mode notifications.",
    )
    object: WatchedObject = Field(description="The object of the statistic: `type` and `id`.")
    crossed: Crossed | None = Field(None, description="When `statistic.crossed` is sent; without it, never.")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.name is None) == (self.definition is None):
            what = "is missing" if self.name is None else "stands beside definition: keep one of the two"
            refuse((("name",), what))
        return self

    @property
    def watched(self) -> Watched:
        return Watched(self.object.type, self.object.id, self.name or "", self.definition or {})


class Statistics(Model):
    """Which statistics are watched, by one process for all."""

    base_url: Url | None = Field(
        None,
        description="URL of the Statistics API, /statistics/v3 included.",
        json_schema_extra={"default": "`base_url` of `genesys` with /statistics/v3"},
    )
    mode: Mode = Field(
        "notifications",
        description="How values are obtained: by a subscription and CometD; by a request every `every` seconds (peek);"
        " or by requests to Engagement, which need only the API key.",
    )
    every: SomeSeconds = Field(
        30.0,
        ge=15,
        le=3600,
        description="Seconds between two requests of the modes peek and engagement, and of `waits`; 15 at least.",
    )
    fresh_for: SomeSeconds = Field(
        MINUTE,
        le=DAY,
        description="Seconds for which a value is used. An older one is in no answer, and holds nothing.",
    )
    age_by: Literal["timestamp", "received"] = Field(
        "timestamp",
        description="Since when a value is that old: since its timestamp, where it has one; or since it was received,"
        " for a Stat Server whose timestamps say when a value last changed.",
    )
    watch: dict[Name, Watch] = Field(
        {}, max_length=MOST_WATCHES, description="Statistics that are read, by names of yours."
    )
    waits: tuple[Queue, ...] = Field(
        (), max_length=MOST_WATCHES, description="Virtual queues whose estimated wait is read from Engagement."
    )

    @property
    def watched(self) -> Mapping[str, Watched]:
        return {name: one.watched for name, one in self.watch.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all values that there can be."""
        return (*self.watch, *map(wait_name, self.waits))

    @model_validator(mode="after")
    def _sense(self) -> Self:
        asked = bool(self.waits) or self.mode != "notifications"
        refuse(
            *([(("watch",), "is empty, and so is waits: nothing is watched")] if not self.names else ()),
            *(
                (("watch", name, "definition"), f"cannot be asked for with the mode {self.mode}; write a name")
                for name, one in self.watch.items()
                if one.definition and self.mode != "notifications"
            ),
            *(
                [(("fresh_for",), f"should be more than every ({self.every:g} seconds)")]
                if asked and self.fresh_for <= self.every
                else ()
            ),
        )
        return self


class HoldWhile(Model):
    """While a statistic is above a value, messages of a channel wait."""

    statistic: Name = Field(description="Name of a watch of genesys.statistics.")
    above: float = Field(allow_inf_nan=False, description="Messages wait while the value is above this one.")
    answers_within: Seconds = Field(
        3600.0,
        description="Seconds after a consumer's message in which messages to them are sent all the same; 0: never.",
    )

    def fingerprint(self, fresh_for: float) -> str:
        """Another one where something else would be decided."""
        return blake2b(f"{self.statistic} {self.above} {fresh_for}".encode(), digest_size=6).hexdigest()

    def line(self, fresh_for: float) -> str:
        """For the ledger: what is decided there while messages wait."""
        return f"{self.fingerprint(fresh_for)} {self.statistic} {self.above:.14g} {fresh_for * 1000:.0f}"


def wait_name(queue: str) -> str:
    """What the estimated wait of a virtual queue is called among the watches, none of which has a slash."""
    return f"ewt/{queue}"


def no_watch(name: str, tree: Mapping[str, Any]) -> str:
    """Why there is no statistic of this name in bridge.yaml as read; "" where there is one."""
    return _problem(name, "watch", tree)


def no_wait(queue: str, tree: Mapping[str, Any]) -> str:
    """Why there is no estimated wait of this queue; "" where there is one."""
    return _problem(queue, "waits", tree)


def _problem(name: str, field: str, tree: Mapping[str, Any]) -> str:
    found: Any = tree
    for key in ("genesys", "statistics"):
        found = found.get(key) if isinstance(found, Mapping) else None
    listed = found.get(field) if isinstance(found, Mapping) else None
    return "" if name in (listed or ()) else f"genesys.statistics.{field} does not name it"
