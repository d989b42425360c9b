"""Links to unsubscribe with one click (RFC 8058): whose they are, and of which channel, is sealed into them.

/u/<token>, where the token is AES-GCM over the channel and what stands for the consumer; no address is in it. The nonce
is an HMAC of what is sealed: the same consumer and channel give the same link, on every attempt. It does not expire.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PATH = "/u/"
ONE_CLICK = "List-Unsubscribe=One-Click"
_NONCE, _CHANNEL, _CONSUMER = 12, 6, 16  # bytes
_TOKEN = re.compile(r"[A-Za-z0-9_-]{67}", re.ASCII)  # 50 bytes: nonce, channel, consumer, 16 of the tag


class NoLink(Exception):
    """Not a link of ours, or of a channel that is not configured any more."""


@dataclass(frozen=True, slots=True)
class Unsubscription:
    """Who unsubscribes, as `ConsumerTokens` writes a consumer, and from which channel."""

    channel_id: str
    consumer: str


class UnsubscribeLinks:
    """The links of one installation. `key`: the same in all of its processes."""

    def __init__(self, key: bytes, public_url: str, channels: Iterable[str]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._seal = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"dcbridge unsub").digest())
        self._nonces = hashlib.blake2b(key, digest_size=32, person=b"dcbridge unsubn").digest()
        self._public_url = public_url.rstrip("/")
        self._channels = {_digest(channel_id): channel_id for channel_id in channels}

    def url(self, channel_id: str, consumer: str) -> str:
        """`consumer`: 32 hex digits."""
        plain = _digest(channel_id) + bytes.fromhex(consumer)
        nonce = hmac.digest(self._nonces, plain, "sha256")[:_NONCE]
        token = base64.urlsafe_b64encode(nonce + self._seal.encrypt(nonce, plain, None)).rstrip(b"=").decode()
        return f"{self._public_url}{PATH}{token}"

    def open(self, token: str) -> Unsubscription:
        """Raises NoLink."""
        from cryptography.exceptions import InvalidTag

        if not _TOKEN.fullmatch(token):
            raise NoLink
        try:
            sealed = base64.urlsafe_b64decode(token + "=")
            plain = self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (InvalidTag, binascii.Error, ValueError):
            raise NoLink from None
        if plain[:_CHANNEL] not in self._channels:
            raise NoLink
        return Unsubscription(self._channels[plain[:_CHANNEL]], plain[_CHANNEL:].hex())


def fields_of(url: str) -> Iterator[tuple[str, str]]:
    """The header fields of an email with this link; none without one."""
    if url:
        yield "List-Unsubscribe", f"<{url}>"
        yield "List-Unsubscribe-Post", ONE_CLICK


def _digest(channel_id: str) -> bytes:
    return hashlib.blake2b(channel_id.encode("utf-8", "surrogatepass"), digest_size=_CHANNEL).digest()
