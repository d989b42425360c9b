"""All secrets by which others sign what they send: of endpoints, channels, interactions and triggers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import SecretStr

from dcbridge.config.models import Configuration
from dcbridge.events.sinks.signing import key_of


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """`at`: as the service names where it is used: an endpoint, "interactions/<name>" or "trigger/<name>"."""

    at: str
    channel_id: str  # "" where it is not of one channel alone
    place: int  # among the live ones, or the retired ones, of the same; from 1
    of: int  # live ones
    retired: bool
    value: bytes = field(repr=False)


def signing_secrets(configuration: Configuration) -> list[SigningSecret]:
    """Live ones before retired ones."""
    found: list[SigningSecret] = []
    for name, endpoint in configuration.endpoints.items():
        found += _of(name, "", _bytes(endpoint.secrets), _bytes(endpoint.retired_secrets))
    for channel_id, channel in configuration.channels.items():
        at = configuration.endpoint_of(channel_id)
        found += _of(at, channel_id, _bytes(channel.secrets or ()), _bytes(channel.retired_secrets))
    for name, interactions in configuration.interactions.items():
        found += _of(f"interactions/{name}", "", _bytes(interactions.secrets), _bytes(interactions.retired_secrets))
    for name, trigger in configuration.triggers.items():
        found += _of(f"trigger/{name}", "", [key_of(one) for one in trigger.secrets], [])
    return found


def _of(at: str, channel_id: str, live: list[bytes], retired: list[bytes]) -> Iterator[SigningSecret]:
    for is_retired, values in ((False, live), (True, retired)):
        for place, value in enumerate(values, 1):
            yield SigningSecret(at, channel_id, place, len(live), is_retired, value)


def _bytes(secrets: Iterable[SecretStr]) -> list[bytes]:
    return [secret.get_secret_value().encode() for secret in secrets]
