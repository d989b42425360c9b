"""The models of bridge.yaml: what is carried, for whom, by which provider, and how patiently.

`dcbridge.config.loader` reads the file into them. Secrets do not print.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, SecretStr, StringConstraints, model_validator

from dcbridge.config.accounts import Breaker, Pace, ProviderAccount, Retry
from dcbridge.config.answers import MOST_RULES, AnswerRule
from dcbridge.config.booking import OnFailed
from dcbridge.config.consent import Consent
from dcbridge.config.console import Console
from dcbridge.config.digital_channels import DigitalChannels as DigitalChannels
from dcbridge.config.digital_channels import nowhere
from dcbridge.config.genesys import Genesys
from dcbridge.config.genesys_cloud import OPEN_MESSAGING, Organization, PlatformName, endpoints_left, written_at
from dcbridge.config.inbound import Inbound, base_of, mailboxes
from dcbridge.config.media import ChannelMedia, Media
from dcbridge.config.own_messages import OwnMessages
from dcbridge.config.quiet_hours import QuietHours, fingerprints
from dcbridge.config.routing import Slow, Switch, with_both
from dcbridge.config.senders import Country, Destination, Sender, all_spelled
from dcbridge.config.statistics import HoldWhile
from dcbridge.config.suppress import Suppress
from dcbridge.config.triggers import Trigger
from dcbridge.config.windows import ahead, written
from dcbridge.events.sinks import Subscriber
from dcbridge.messages import own_books
from dcbridge.providers import KINDS, build
from dcbridge.providers.base import Provider
from dcbridge.providers.lookup import keepers
from dcbridge.providers.phone import address_key, consumer_id
from dcbridge.settings.problems import Path, Problem, refuse
from dcbridge.settings.types import (
    Model,
    Name,
    PublicUrl,
    Region,
    Seconds,
    Secret,
    Secrets,
    SomeSeconds,
    Uuid,
)

ChannelId = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f/]+$", max_length=200)]


class Endpoint(Model):
    """One address that Digital Channels posts to; its name ends the webhook's URL."""

    secrets: Secrets = Field(
        description="App secrets that are accepted; the first one signs the requests of dcbridge.",
    )
    retired_secrets: tuple[Secret, ...] = Field(
        (), description="Secrets that are refused, and reported as retired when a request is still signed with one."
    )


def _confirmed_for_sms(data: dict[str, Any]) -> Literal["taken", "confirmed"]:
    return "taken" if data.get("type") == "email" else "confirmed"


class Channel(Model):
    """One Genesys channel: its provider, its secrets and its policies."""

    platform: PlatformName = Field(
        "digital_channels",
        description="Where the channel is: at Digital Channels, or an integration of Genesys Cloud's Open Messaging,"
        " whose id is the channel id.",
    )
    organization: str | None = Field(
        None,
        description="Of a channel of open_messaging, the name of its organization in genesys_cloud.",
        json_schema_extra={"default": "the only organization"},
    )
    type: Literal["sms", "email"] = Field(description="Kind of the channel.")
    provider: str = Field(description="Name of its provider; or `providers`, where it has several.")
    providers: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="Names of its providers instead of `provider`, in the order in which they are preferred.",
        json_schema_extra={"default": "the one of `provider`"},
    )
    switch: Switch = Field(Switch(), description="When one of several providers is left for another.")
    number: str | None = Field(
        None,
        min_length=1,
        description="The channel's number or mailbox at the provider.",
        json_schema_extra={"default": "the channel id"},
    )
    numbers: dict[Name, str] = Field(
        {}, description="Its number at a provider, by the provider's name, where that is not `number`."
    )
    senders: tuple[Sender, ...] = Field(
        (), max_length=200, description="Its numbers instead of `number`, where it has several: a pool."
    )
    by_country: dict[Destination, Country] = Field(
        {}, description="What counts for a country of consumers, in two letters, or for all `others`."
    )
    endpoint: str | None = Field(
        None,
        description="Name of the endpoint that its webhooks arrive at.",
        json_schema_extra={"default": "the only endpoint"},
    )
    contact_center_id: Uuid | None = Field(
        None,
        description="UUID sent as x-ccid for this channel.",
        json_schema_extra={"default": "that of digital_channels"},
    )
    secrets: Secrets | None = Field(
        None,
        description="App secrets of this channel only; the first one signs the requests of dcbridge.",
        json_schema_extra={"default": "those of the endpoint"},
    )
    retired_secrets: tuple[Secret, ...] = Field((), description="Secrets of this channel only that are refused.")
    time_to_live: SomeSeconds = Field(
        14400.0,
        description="Seconds, from acceptance, in which the provider must accept a message; then it fails with 305.",
    )
    delivered_when: Literal["taken", "confirmed"] = Field(
        default_factory=_confirmed_for_sms,
        description="When the agent sees Delivered: when the provider accepted the message (taken), or when it"
        " confirmed delivery.",
        json_schema_extra={"default": "confirmed for sms, taken for email"},
    )
    outcome_unknown: Literal["resend", "fail", "resend_elsewhere"] = Field(
        "resend",
        description="What to do when a request was sent and no response was received: send it again through the same"
        " provider, give it up, or send it again through another one, which may deliver it twice.",
    )
    resends: int = Field(
        2,
        ge=0,
        le=20,
        description="Times that a message of unknown outcome is sent again at most; after that it fails.",
    )
    unknown_grace: Seconds = Field(
        10.0, description="Seconds to wait, before outcome_unknown applies, for an update that proves it was sent."
    )
    confirm_within: SomeSeconds = Field(
        86400.0, description="Seconds to wait for a final delivery update; after that a message is unconfirmed."
    )
    ask_after: SomeSeconds = Field(
        600.0,
        description="Seconds without a final delivery update until the first status lookup, where the provider has one;"
        " then at doubling distances, and once more at the end of confirm_within.",
    )
    unconfirmed_as: Literal["none", "delivered", "failed"] = Field(
        "none", description="Which receipt an unconfirmed message gets."
    )
    attempts: int = Field(
        20,
        ge=1,
        description="Times that one message, or one part of it, is sent to the provider at most; after that it fails"
        " with the reason of the last attempt. Attempts that reached no server do not count.",
    )
    lane_limit: SomeSeconds = Field(
        900.0, description="Seconds that one message may hold up its conversation; after that it fails."
    )
    default_region: Region | None = Field(
        None, description="Country, in two letters, of numbers written without a country code."
    )
    pace: Pace = Field(Pace(), description="Limits of this channel, in addition to those of its provider.")
    media: ChannelMedia = Field(ChannelMedia(), description="Files of its agents.")
    hold_while: HoldWhile | None = Field(
        None, description="Its messages wait while a statistic of the contact centre is too high."
    )
    quiet_hours: QuietHours | None = Field(
        None, description="When the consumers of an sms channel are not written to, by their own clocks."
    )
    retry: Retry | None = Field(
        None, description="Waits between attempts; fields that are not set are those of the top-level retry."
    )

    inbound: Inbound | None = Field(
        None, description="What consumers write to an email channel; without it, their mail is not taken."
    )

    suppress: Suppress | None = Field(
        None, description="Which consumers an email channel writes to no more; without it, none is left out."
    )

    answers: tuple[AnswerRule, ...] = Field(
        (),
        max_length=MOST_RULES,
        description="Rules for an sms channel: the text that consumers get at once for certain words.",
    )
    on_failed: OnFailed | None = Field(
        None, description="What follows when an agent's message has failed; without it, only its receipt."
    )
    own_messages: OwnMessages | None = Field(
        None, description="Limits of messages of dcbridge's own; without it, the defaults below."
    )

    @model_validator(mode="before")
    @classmethod
    def _in_one_spelling(cls, value: Any) -> Any:
        """Numbers as they are sent from, for all who read them; `config.checks` refuses one that cannot be."""
        if not isinstance(value, Mapping):
            return value
        return all_spelled(with_both(value))

    def number_at(self, provider: str) -> str | None:
        """What it is called at one of its providers; None: by the channel id."""
        return self.numbers.get(provider, self.number)

    def numbers_at(self, provider: str) -> tuple[str | None, ...]:
        """All that it is called there: its pool, or the one of `number_at`."""
        pool = tuple(one.number for one in self.senders if one.provider in (None, provider))
        return pool if self.senders else (self.number_at(provider),)

    def consumer(self, given: str) -> str:
        """A consumer's number as the channel's platform writes it: by it, a conversation has its lane."""
        return written_at(self.platform, consumer_id(given, self.default_region))


class Configuration(Model):
    """All of bridge.yaml."""

    public_url: PublicUrl = Field(
        description="URL under which providers reach the public port, and which they sign; https, or http on localhost."
    )
    digital_channels: DigitalChannels = Field(
        default_factory=nowhere,
        description="The Genesys side.",
        json_schema_extra={"default": "required, unless all channels are of open_messaging"},
    )
    genesys_cloud: dict[Name, Organization] = Field(
        {}, description="Organizations of Genesys Cloud, by name, of channels of the platform open_messaging."
    )
    endpoints: dict[Name, Endpoint] = Field(
        min_length=1,
        description="Addresses of the messages webhook, by name: POST /webhooks/messages/{name}, or for channels of"
        " open_messaging POST /webhooks/open-messaging/{name}.",
    )
    interactions: dict[Name, Endpoint] = Field(
        {}, description="Addresses of the interactions webhook, by name: POST /webhooks/interactions/{name}."
    )
    providers: dict[Name, ProviderAccount] = Field({}, description="Accounts at SMS and email companies, by name.")
    subscribers: dict[Name, Subscriber] = Field({}, description="Receivers of interaction events, by name.")
    channels: dict[ChannelId, Channel] = Field(min_length=1, description="Channels, by Genesys channel id.")
    retry: Retry = Field(Retry(), description="Waits between attempts.")
    breaker: Breaker = Field(Breaker(), description="When dcbridge stops sending to a provider that fails.")
    slow: Slow = Field(Slow(), description="When the delivery updates of one of several providers are slow.")
    consent: Consent = Field(Consent(), description="What follows from a consumer's STOP.")
    media: Media = Field(Media(), description="Files of consumers and agents.")
    triggers: dict[Name, Trigger] = Field(
        {}, description="Texts that other systems request, by name: POST /triggers/{name}."
    )
    genesys: Genesys | None = Field(None, description="Genesys' web interfaces beside Digital Channels.")
    console: Console | None = Field(None, description="Who may use the console, and how they sign in.")

    _warnings: tuple[Problem, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is allowed and still deserves a look."""
        return self._warnings

    def with_warnings(self, warnings: tuple[Problem, ...]) -> Self:
        """The same configuration, with what was noticed while it was read."""
        copy = self.model_copy()
        copy._warnings = warnings
        return copy

    def channel(self, channel_id: str) -> Channel | None:
        """The channel, or None when bridge.yaml does not name it."""
        return self.channels.get(channel_id)

    def channel_of(self, provider: str, address: str) -> str | None:
        """The channel that this provider's number belongs to, in whatever spelling; None where no channel has it."""
        return self._channels_by_address.get((provider, address_key(address)))

    def channel_of_mailbox(self, mailbox: str) -> str | None:
        """The channel whose mail comes to this mailbox, whatever stands behind a + in it; None for no channel's."""
        return self._channels_by_mailbox.get(base_of(mailbox))

    @cached_property
    def _channels_by_mailbox(self) -> dict[str, str]:
        return mailboxes(self.channels)

    @cached_property
    def consent_scopes(self) -> dict[str, str]:
        """Channel id -> what an opt-out there counts for, of the channels whose opt-outs dcbridge keeps."""
        how = self.consent
        found = {}
        for channel_id, channel in self.channels.items():
            accounts = [self.providers.get(name) for name in channel.providers]
            theirs = all(one is not None and KINDS[one.kind].can.opt_out == "theirs" for one in accounts)
            if channel.type == "email" and channel.suppress is not None:
                found[channel_id] = "brand" if how.scope == "brand" else f"channel/{channel_id}"
            if channel.type != "sms" or how.enforce == "never" or (how.enforce == "auto" and theirs):
                continue
            first = channel.senders[0].number if channel.senders else channel.number  # one opt-out for the whole pool
            number = address_key(first or channel_id, channel.default_region)
            found[channel_id] = {"brand": "brand", "channel": f"channel/{channel_id}"}.get(
                how.scope, f"sender/{number}"
            )
        return found

    def consumer_key(self, channel_id: str, address: str) -> str:
        """One text for all spellings of a consumer's number on this channel. Raises KeyError for an unknown channel."""
        channel = self.channels[channel_id]
        account = self.providers.get(channel.provider)
        region = channel.default_region or (getattr(account.fields, "default_region", None) if account else None)
        return address_key(address, region)

    @cached_property
    def _channels_by_address(self) -> dict[tuple[str, str], str]:
        found: dict[tuple[str, str], str] = {}
        for channel_id, channel in self.channels.items():
            for provider in channel.providers:
                for number in channel.numbers_at(provider):
                    key = address_key(number or channel_id, channel.default_region)
                    found.setdefault((provider, key), channel_id)
        return found

    def endpoint_of(self, channel_id: str) -> str:
        """Name of the endpoint of a channel. Raises KeyError for an unknown channel."""
        channel = self.channels[channel_id]
        return channel.endpoint or self._usual_endpoints[channel.platform]

    @cached_property
    def _usual_endpoints(self) -> dict[str, str]:
        """By platform, that of channels which name none: the first that no channel of the other one names."""
        named = [(one.platform, one.endpoint) for one in self.channels.values()]
        return {one: names[0] for one, names in endpoints_left(self.endpoints, named).items()}

    @cached_property
    def platform_at(self) -> dict[str, PlatformName]:
        """By endpoint, the platform that posts to it: that of its channels."""
        found: dict[str, PlatformName] = dict.fromkeys(self.endpoints, "digital_channels")
        return found | {self.endpoint_of(name): channel.platform for name, channel in self.channels.items()}

    def organization_of(self, channel_id: str, endpoint: str = "") -> str | None:
        """Name of the organization of a channel of Open Messaging; None for one of Digital Channels.

        For a channel that is not configured, that of the other channels of its endpoint.
        """
        channel = self.channels.get(channel_id)
        if channel is None:
            return self._organization_at.get(endpoint, self._organization_at[""])
        if channel.platform != OPEN_MESSAGING:
            return None
        return channel.organization or next(iter(self.genesys_cloud))

    @cached_property
    def _organization_at(self) -> dict[str, str | None]:
        """By endpoint; "" for one that is not known either."""
        found = {name: self.organization_of(name) for name in self.channels}
        everywhere = None if None in found.values() else next(iter(found.values()))
        return {"": everywhere} | {self.endpoint_of(name): at for name, at in found.items()}

    def signing_secret(self, channel_id: str) -> bytes:
        """What signs our posts about a channel. Raises KeyError for an unknown channel."""
        return self.secrets_for(self.endpoint_of(channel_id), channel_id)[0]

    @cached_property
    def secrets_at(self) -> dict[str, frozenset[bytes]]:
        """By endpoint, every live secret that one of its channels or the endpoint itself has."""
        found = {name: set(_bytes(one.secrets)) for name, one in self.endpoints.items()}
        for name, channel in self.channels.items():
            found[self.endpoint_of(name)].update(_bytes(channel.secrets or ()))
        return {name: frozenset(secrets) for name, secrets in found.items()}

    @cached_property
    def retired_at(self) -> dict[str, frozenset[bytes]]:
        """As `secrets_at`, those that are refused now."""
        found = {name: set(_bytes(one.retired_secrets)) for name, one in self.endpoints.items()}
        for name, channel in self.channels.items():
            found[self.endpoint_of(name)].update(_bytes(channel.retired_secrets))
        return {name: frozenset(secrets) for name, secrets in found.items()}

    def secrets_for(self, endpoint: str, channel_id: str | None = None) -> list[bytes]:
        """Live secrets for a webhook that came to this endpoint and names this channel.

        The channel's own where it has some and belongs to this endpoint, else the endpoint's.
        Raises KeyError for an unknown endpoint.
        """
        channel = self._own(endpoint, channel_id)
        return _bytes(channel.secrets if channel and channel.secrets else self.endpoints[endpoint].secrets)

    def retired_for(self, endpoint: str, channel_id: str | None = None) -> list[bytes]:
        """Retired secrets, chosen as `secrets_for` chooses. Raises KeyError for an unknown endpoint."""
        channel = self._own(endpoint, channel_id)
        own = channel.retired_secrets if channel else ()
        return _bytes((*own, *self.endpoints[endpoint].retired_secrets))

    def ccid(self, channel_id: str) -> str:
        """The x-ccid of a channel. Raises KeyError for an unknown channel."""
        return self.channels[channel_id].contact_center_id or self.digital_channels.contact_center_id

    def build_providers(self) -> dict[str, Provider]:
        """Every account by its name, ready to use. Raises ValueError for a public URL that a provider cannot call."""
        return {
            name: build(name, account.kind, account.fields, self.public_url) for name, account in self.providers.items()
        }

    def limits(self) -> dict[str, str]:
        """Channel id -> provider, both paces, where it is kept whose an id of its account is, and its other providers,
        each of which has a line "providers/<name>"; for the ledger.

        "subscribers/<name>" is both a channel and a provider.
        """
        kept = keepers(self.build_providers())

        def account(name: str, own: Pace, confirm_within: float) -> str:
            its = self.providers[name]
            more = ahead(its.pace.in_flight, its.pace.per_second) if KINDS[its.kind].can.window else 0
            asked = f" asked {kept[name]} {confirm_within * 1000:.0f}" if name in kept else ""
            return f"{name} {written(its.pace, more)} {written(own)}{asked}"

        channels = {
            channel_id: account(one.provider, one.pace, one.confirm_within)
            + one.switch.among(one.providers, pool=bool(one.senders))
            for channel_id, one in self.channels.items()
        }
        for one in self.channels.values():  # each by itself, where a channel has a choice
            for name in one.providers if len(one.providers) > 1 else ():
                within = max(other.confirm_within for other in self.channels.values() if name in other.providers)
                channels[f"providers/{name}"] = f"{account(name, Pace(), within)} {self.slow.words}"
        channels |= {own_books(channel_id): channels[channel_id] for channel_id in self.own_channels}
        subscribers = {
            f"subscribers/{name}": f"subscribers/{name} {written(one.pace)} {written(Pace())}"
            for name, one in self.subscribers.items()
            if one.on
        }
        return channels | subscribers

    @cached_property
    def own_channels(self) -> frozenset[str]:
        """Ids of the channels on which dcbridge sends messages of its own."""
        triggered = {one.channel for one in self.triggers.values()}
        its = {name for name, one in self.channels.items() if one.answers or one.own_messages}
        parts = (self.genesys.text_back, self.genesys.secure_messages) if self.genesys else ()
        called = {one.channel for one in parts if one is not None}
        return frozenset(its | ((triggered | called) & self.channels.keys()))

    def quiet_fingerprints(self) -> dict[str, str]:
        """Of the quiet hours of each channel, by its books."""
        found = fingerprints(self.channels)
        return found | {own_books(name): found[name] for name in self.own_channels if name in found}

    def holds(self) -> dict[str, str]:
        """What the messages of each channel wait for, by its books; for the ledger."""
        if self.genesys is None or self.genesys.statistics is None:
            return {}
        fresh_for = self.genesys.statistics.fresh_for
        found = {name: one.hold_while.line(fresh_for) for name, one in self.channels.items() if one.hold_while}
        return found | {own_books(name): found[name] for name in self.own_channels if name in found}

    def windows(self) -> dict[str, int]:
        """Requests in flight at one time of each account, 0 for no limit."""
        return {name: account.pace.in_flight for name, account in self.providers.items()}

    def longest_pauses(self) -> dict[str, float]:
        """Seconds that each account's Retry-After is kept to at most; "subscribers/<name>" is one as well."""
        providers = {name: account.longest_pause for name, account in self.providers.items()}
        return providers | {f"subscribers/{name}": one.longest_pause for name, one in self.subscribers.items()}

    def with_subscribers(self, subscribers: Mapping[str, Subscriber]) -> Self:
        """The same configuration with other subscribers."""
        return self.model_copy(update={"subscribers": dict(subscribers)})

    def retry_of(self, channel_id: str) -> Retry:
        """The waits of a channel: its own words, and the bridge's for the rest. Raises KeyError if unknown."""
        own = self.channels[channel_id].retry
        return self.retry.model_copy(update=own.model_dump(exclude_unset=True)) if own else self.retry

    def _own(self, endpoint: str, channel_id: str | None) -> Channel | None:
        channel = self.channels.get(channel_id) if channel_id is not None else None
        return channel if channel and self.endpoint_of(channel_id or "") == endpoint else None

    @model_validator(mode="after")
    def _sense(self) -> Self:
        retries: dict[Path, Retry] = {("retry",): self.retry}
        retries |= {
            ("channels", name, "retry"): self.retry_of(name) for name, own in self.channels.items() if own.retry
        }
        refuse(
            *(
                (place, f"most ({retry.most:g} seconds) is less than first ({retry.first:g} seconds)")
                for place, retry in retries.items()
                if retry.most < retry.first
            )
        )
        return self


def _bytes(secrets: tuple[SecretStr, ...]) -> list[bytes]:
    return [secret.get_secret_value().encode() for secret in secrets]
