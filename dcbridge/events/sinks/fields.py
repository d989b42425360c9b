"""What the sinks' fields in bridge.yaml have in common: patience, TLS, and words made of an event."""

from __future__ import annotations

import re
import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from dcbridge.errors import AccountFault
from dcbridge.events.sinks.base import Event
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Model, SomeSeconds

PLACES = ("endpoint", "media", "subtype", "event")


class SinkFields(Model, ABC):
    """What a sink of any kind needs."""

    kind: str = Field(description="Which sink.")
    timeout: SomeSeconds = Field(15.0, description="Seconds for one attempt, connecting included.")

    only: ClassVar[tuple[str, ...]] = ()  # events that it understands, where it does not take any
    in_order: ClassVar[bool] = False  # whether it needs those of one dead letter one after the other
    example: ClassVar[Mapping[str, object]]  # fields that suffice: on the reference page, and tested for every kind

    @classmethod
    @abstractmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Do these entries of bridge.yaml name one place? Raises what reading a malformed one raises."""

    @classmethod
    def _both(cls, name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Any, Any]:
        """A field of both, with its default where it is left out."""
        default = cls.model_fields[name].default
        return one.get(name, default), other.get(name, default)

    @classmethod
    def _equal(cls, name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        first, second = cls._both(name, one, other)
        return bool(first == second)

    @property
    @abstractmethod
    def place(self) -> str:
        """Where events go, fit to be shown: no user, no path that could hold a token, no query."""


class TlsFields(SinkFields):
    """A sink that may speak TLS, perhaps with a certificate of our own."""

    ca_file: str | None = Field(
        None, min_length=1, description="PEM file of the authorities to trust; without it, those of the system."
    )
    client_certificate: str | None = Field(
        None, min_length=1, description="PEM file of the client certificate, if the other side asks for one."
    )
    client_key: str | None = Field(
        None, min_length=1, description="PEM file of its key, if it is not in the same file."
    )

    def tls(self) -> ssl.SSLContext:
        """The certificate and the name of the other side are checked. Raises AccountFault for unusable files."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.client_certificate:
                context.load_cert_chain(self.client_certificate, self.client_key)
        except OSError:  # ssl.SSLError is one
            raise AccountFault("tls files") from None
        return context

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if self.client_key and not self.client_certificate:
            refuse((("client_key",), "has no client_certificate that it could belong to"))
        return self


def _template(value: str) -> str:
    wrong = next((name for name in re.findall(r"\{([^{}]*)\}", value) if name not in PLACES), None)
    if wrong is not None or re.sub(r"\{[^{}]*\}", "", value).count("{") or re.search(r"[\s\x00-\x1f]", value):
        words = ", ".join(f"{{{place}}}" for place in PLACES)
        raise ValueError(f"should be one word in which {words} may stand, and no other braces")
    return value


Template = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_template)]


def filled(template: str, event: Event) -> str:
    """The template with words of the event; whatever is not a letter, a digit, "-" or "_" becomes "_"."""
    words = {"endpoint": event.endpoint, "media": event.media, "subtype": event.subtype, "event": event.name}
    for place, word in words.items():
        template = template.replace(f"{{{place}}}", re.sub(r"[^A-Za-z0-9_-]", "_", word) or "none")
    return template


def server_url(value: str, schemes: tuple[str, ...], example: str) -> str:
    """A URL of a server. Raises ValueError, whose words hold nothing of it."""
    try:
        parts = urlsplit(value)
        whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or parts.scheme not in schemes or re.search(r"\s", value):
        raise ValueError(f"should be a whole URL, such as {example}")
    return value


def shown(url: SecretStr | str) -> str:
    """scheme://host:port and nothing else."""
    parts = urlsplit(url.get_secret_value() if isinstance(url, SecretStr) else url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
