"""What every SMS company asks for: a text in parts, a sender, a recipient; and what a consumer's message must have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Self

import httpx
from pydantic import Field, field_validator, model_validator

from dcbridge.errors import Refused, UnreadableEvent
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Reason
from dcbridge.providers import phone, segmentation
from dcbridge.providers.base import Fields, Part
from dcbridge.settings.types import Region, is_loopback

LONGEST_MEDIA_URL = 4096  # characters
NAMED_BY_OPERATOR = "dcbridge.named"  # of a request: its host stands in bridge.yaml, and may be inside a network
WITH_LOGIN = "dcbridge.login"  # of a request: its host is to be shown the account's login, where that is kept elsewhere
MOST_ADDRESS = 320  # characters of an end of a message; no number and no mailbox is longer


class SmsFields(Fields):
    """What an account at any SMS company may have in bridge.yaml."""

    senders: ClassVar[phone.Senders] = phone.Senders()  # what this company sends from, besides numbers

    from_number: str | None = Field(
        None,
        min_length=1,
        description="Sender for every message; without it, the sender that Digital Channels names.",
    )
    default_region: Region | None = Field(
        None,
        description="Country, in two letters, of numbers written without a country code, where the channel has none.",
    )

    @model_validator(mode="after")
    def _from_in_one_spelling(self) -> Self:
        if self.from_number is None:
            return self
        try:
            own = phone.own_number(self.from_number, self.default_region, self.senders)
        except ValueError as error:
            raise ValueError(f"from_number {error}") from None
        return self if own == self.from_number else self.model_copy(update={"from_number": own})

    def doubts(self) -> Iterator[tuple[str, str]]:
        for name in ("base_url", "token_url", "sns_url"):
            url = getattr(self, name, None) or ""
            if url.startswith("http://") and not is_loopback(url):
                yield name, "is http: messages and the login travel unencrypted; write https://"

    def sender(self, message: AgentMessage) -> str:
        """From whom this message goes, a number as E.164. Raises Refused (520)."""
        region = message.region or self.default_region
        sender = self.from_number or phone.sender_id(message.sender.id, region, self.senders.prefixes)
        if not sender:
            raise Refused("no sender", reason=Reason.INVALID_STRUCTURE)
        return sender

    def recipient(self, message: AgentMessage) -> str:
        """To whom, a number as E.164. Raises Refused (530)."""
        return phone.recipient(message.to.id, message.region or self.default_region, self.senders.prefixes)


class MmsFields(SmsFields):
    """What an account may have besides, where consumers send files."""

    usual_media_hosts: ClassVar[tuple[str, ...]] = ()  # beside the one that requests go to
    login_hosts: ClassVar[tuple[str, ...]] = ()  # of them, those that ask for the account's login

    media_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts from which files of consumers are fetched, besides those of the company; .example.com is"
        " every host below example.com.",
    )

    @field_validator("media_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not re.fullmatch(r"\.?([a-z0-9_-]+\.)*[a-z][a-z0-9-]*", one.lower()):
                raise ValueError("should be names of hosts, such as media.example.com or .example.com")
        return tuple(one.lower() for one in value)

    def media_request(self, url: str, own: httpx.URL, login: Mapping[str, str]) -> httpx.Request | None:
        """As `base.HasMedia`. `own`: where requests of this account go to, which is shown the login."""
        try:
            found = httpx.URL(url)
        except (httpx.InvalidURL, TypeError):
            return None
        host = found.host.lower().rstrip(".")
        if len(url) > LONGEST_MEDIA_URL or found.userinfo or not host:
            return None
        if (found.scheme, host, found.port) == (own.scheme, own.host, own.port):
            return httpx.Request("GET", found, headers=login, extensions={NAMED_BY_OPERATOR: True, WITH_LOGIN: True})
        if found.scheme != "https" or not _is_one(host, (*self.usual_media_hosts, *self.media_hosts)):
            return None
        shown = found.port is None and _is_one(host, self.login_hosts)
        named = {NAMED_BY_OPERATOR: host in self.media_hosts, WITH_LOGIN: shown}
        return httpx.Request("GET", found, headers=login if shown else {}, extensions=named)


def _is_one(host: str, of: Sequence[str]) -> bool:
    """ ".example.com" is every host below example.com."""
    return any(host.endswith(one) if one.startswith(".") else host == one for one in of)


def text_parts(message: AgentMessage, limit: int) -> Sequence[Part]:
    """The text in parts of `limit` units at most. Raises Refused (510, 520) for what has neither text nor files."""
    # A type that we do not know is carried by its text, which Genesys says always accompanies it.
    if message.type == "Email" or (message.type != "Text" and not message.text and not message.media):
        raise Refused("not a text message", reason=Reason.UNSUPPORTED)
    if message.media and not message.text.strip():
        return [Part(0, 1, "")]
    if not message.text.strip():
        raise Refused("empty text", reason=Reason.INVALID_STRUCTURE)
    pieces = segmentation.split(message.text, limit)
    return [Part(number, len(pieces), piece) for number, piece in enumerate(pieces)]


def sms_parts(message: AgentMessage, sms: int) -> Sequence[Part]:
    """The text in parts of `sms` SMS at most, for a company that cuts each into SMS itself. Raises as text_parts."""
    return text_parts(message, segmentation.room(sms, gsm7=segmentation.is_gsm7(message.text)))


def consumer_message(
    provider: str, fields: SmsFields, provider_id: str, sender: str, to: str, text: str, media: tuple[str, ...] = ()
) -> ConsumerMessage:
    """What a consumer wrote, of values as the company gave them. Raises UnreadableEvent."""
    for name, value in (("From", sender), ("To", to)):
        if not phone.plain(value):
            raise UnreadableEvent(f"no {name}")
        if len(value) > MOST_ADDRESS:
            raise UnreadableEvent(f"{name} is longer than {MOST_ADDRESS} characters")
    return ConsumerMessage(
        provider=provider,
        provider_id=provider_id,
        sender=Address(phone.consumer_id(sender, fields.default_region)),
        to=Address(to),
        text=text,
        media_urls=media,
    )
