"""From which of its numbers a channel sends, by the consumer and the country; and templates that a country asks for.

A choice is made of values alone. What is remembered of a conversation is the mark of a number, eight hexadecimal
digits: the number that the consumer wrote to, or that was sent from before.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

from phonenumbers import SUPPORTED_REGIONS
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dcbridge.errors import Refused
from dcbridge.messages import Reason
from dcbridge.providers import ANY_SENDERS
from dcbridge.providers.base import Template
from dcbridge.providers.mailboxes import own_mailbox
from dcbridge.providers.phone import address_key, country_of, own_number, to_e164
from dcbridge.settings.types import Model, Name, Region

OTHERS = "others"
MOST_GAPS = 20  # of one template
_GAP = re.compile(r"\{#([A-Za-z]{1,20})#\}", re.ASCII)
_LONGEST_GAP = {"var": 30}  # characters; those of other kinds, such as url, may have more
_LONGEST = 100

# Why a number was chosen, as an entry has it.
Why = Literal["wrote", "country", "kept", "pool"]
LETTERS: Mapping[Why, str] = {"wrote": "w", "country": "c", "kept": "k", "pool": "p"}


def _destination(value: str) -> str:
    if value != OTHERS and value not in SUPPORTED_REGIONS:
        raise ValueError(f"should be a country in two capital letters, such as US, or {OTHERS}")
    return value


Destination = Annotated[str, AfterValidator(_destination)]
_DltId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{1,64}$")]


class Sender(Model):
    """One number of a channel that has several."""

    number: str = Field(min_length=1, description="The number, or what else the provider can send from.")
    provider: Name | None = Field(
        None,
        description="The provider that has it, where the channel has several.",
        json_schema_extra={"default": "all providers of the channel"},
    )
    countries: tuple[Region, ...] = Field(
        (),
        description="Countries, in two letters, that it is for; consumers elsewhere get it only if they wrote to it.",
        json_schema_extra={"default": "those that no other number of the channel is for"},
    )
    weight: int = Field(1, ge=1, le=1000, description="Its share of consumers, beside the weights of the others.")


class TextTemplate(Model):
    """A text that is registered with a country's operators."""

    id: _DltId = Field(description="Its id.")
    text: str = Field(
        min_length=1, max_length=2000, description="The text as it is registered, with {#var#} where something varies."
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if len(_GAP.findall(self.text)) > MOST_GAPS:
            raise ValueError(f"text may have {MOST_GAPS} gaps at most")
        return self


class Country(Model):
    """What counts for messages to one country."""

    sender: str | None = Field(
        None, min_length=1, description="Number or name that they are sent from, unless the consumer wrote to another."
    )
    always: bool = Field(False, description="Send from it to consumers who wrote to another number as well.")
    refuse: bool = Field(False, description="Send none: they fail with reason 350.")
    entity_id: _DltId | None = Field(
        None, description="Id of the sending company with the country's operators (India: DLT principal entity)."
    )
    templates: tuple[TextTemplate, ...] = Field(
        (), max_length=500, description="Registered texts; a message that is none of them fails with reason 350."
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.templates and self.entity_id is None:
            raise ValueError("entity_id is needed beside templates")
        if self.entity_id and not self.templates:
            raise ValueError("templates are needed beside entity_id")
        if self.always and self.sender is None:
            raise ValueError("always is for a sender, and there is none")
        if self.refuse and (self.sender or self.templates):
            raise ValueError("refuse stands beside what to send: keep one of the two")
        return self


@dataclass(frozen=True, slots=True)
class Choice:
    """What a message is sent from. `number`: None where it is what Digital Channels names."""

    number: str | None
    why: Why | None = None  # None: there was nothing to choose
    mark: str = ""  # of a number of the pool
    template: Template | None = None

    @property
    def words(self) -> str:
        """As the ledger is given it; "" where there was nothing to choose."""
        if self.why is None or self.number is None:
            return ""
        return f"{LETTERS[self.why]} {self.mark or '-'} {self.number}"


def choose(
    senders: Sequence[Sender],
    by_country: Mapping[str, Country],
    *,
    usual: str | None,
    provider: str,
    to: str,
    region: str | None,
    kept: str,
    text: str,
) -> Choice:
    """From what a message goes. `usual`: the number of a channel that has no pool; `kept`: what is remembered of the
    conversation, "w" or "s" and a mark. Raises Refused (350).
    """
    number = _number(to, region)
    country = country_of(number) if number else None
    rule = by_country.get(country or "") or (by_country.get(OTHERS) if country else None)
    if rule and rule.refuse:
        raise Refused(f"country {country} is refused", reason=Reason.NOT_ALLOWED)
    template = _template(rule, country, text) if rule else None
    pool = {mark_of(one.number): one for one in senders if one.provider in (None, provider)}
    letter, mark = kept[:1], kept[1:]
    if letter == "w" and mark in pool and not (rule and rule.always):
        return Choice(pool[mark].number, "wrote", mark, template)
    if rule and rule.sender:
        return Choice(rule.sender, "country", "", template)
    if not senders:
        return Choice(usual, template=template)
    fit = _fitting(pool, country)
    if not fit:
        raise Refused(f"no sender for country {country or 'unknown'}", reason=Reason.NOT_ALLOWED)
    if letter in ("s", "w") and mark in fit:
        return Choice(fit[mark].number, "kept", mark, template)
    best = max(fit, key=lambda one: _score(number or to, one, fit[one].weight))
    return Choice(fit[best].number, "pool", best, template)


def mark_of(number: str) -> str:
    """By which a conversation's number is remembered."""
    return hashlib.blake2b(address_key(number).encode(errors="replace"), digest_size=4).hexdigest()


def fits(template: str, text: str) -> bool:
    """Whether a text is the template with its gaps filled. Gaps are few and short, so the time is bounded."""
    pieces = _GAP.split(template)
    if not text.startswith(pieces[0]):
        return False
    places = {len(pieces[0])}
    for kind, literal in zip(pieces[1::2], pieces[2::2], strict=True):
        most = _LONGEST_GAP.get(kind.lower(), _LONGEST)
        places = {
            at + len(literal)
            for at in {at for place in places for at in range(place, min(place + most, len(text)) + 1)}
            if text.startswith(literal, at)
        }
    return len(text) in places


def spelled(channel: Mapping[str, Any], number: Any) -> Any:
    """A channel's own address as it is sent from; as it is where it cannot be, which `config.checks` refuses."""
    region = channel.get("default_region")
    if not isinstance(number, str) or not number:
        return number
    try:
        if channel.get("type") == "email":
            return own_mailbox(number)
        return own_number(number, region if isinstance(region, str) else None, ANY_SENDERS)
    except ValueError:
        return number


def all_spelled(channel: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a channel, with each number in one spelling."""
    changed: dict[str, Any] = {}
    numbers, senders, countries = channel.get("numbers"), channel.get("senders"), channel.get("by_country")
    if "number" in channel:
        changed["number"] = spelled(channel, channel["number"])
    if isinstance(numbers, Mapping):
        changed["numbers"] = {name: spelled(channel, number) for name, number in numbers.items()}
    if isinstance(senders, Sequence) and not isinstance(senders, str):
        changed["senders"] = tuple(_with(channel, one, "number") for one in senders)
    if isinstance(countries, Mapping):
        changed["by_country"] = {name: _with(channel, rule, "sender") for name, rule in countries.items()}
    return {**channel, **changed}


def _with(channel: Mapping[str, Any], value: Any, field: str) -> Any:
    if not isinstance(value, Mapping) or field not in value:
        return value
    return {**value, field: spelled(channel, value[field])}


def _number(to: str, region: str | None) -> str:
    """E.164, or "" for what is no number."""
    try:
        return to_e164(to, region)
    except Refused:
        return ""


def _template(rule: Country, country: str | None, text: str) -> Template | None:
    if not rule.templates or rule.entity_id is None:
        return None
    for one in rule.templates:
        if fits(one.text, text.strip()):
            return Template(rule.entity_id, one.id)
    raise Refused(f"text fits no template of country {country}", reason=Reason.NOT_ALLOWED)


def _fitting(pool: Mapping[str, Sender], country: str | None) -> dict[str, Sender]:
    """The numbers for a country; where none is for it, those that are for no country in particular."""
    own = {mark: one for mark, one in pool.items() if country and country in one.countries}
    return own or {mark: one for mark, one in pool.items() if not one.countries}


@lru_cache(maxsize=8192)
def _score(consumer: str, mark: str, weight: int) -> float:
    """Rendezvous hashing: each consumer has an order of all numbers, and one that is added or taken away changes the
    first of few.
    """
    digest = hashlib.blake2b(f"{consumer} {mark}".encode(errors="replace"), digest_size=8).digest()
    return -weight / math.log((int.from_bytes(digest) + 1) / (2**64 + 1))
