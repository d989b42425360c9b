"""Links to files at Digital Channels: what they lead to is sealed into them, so that nobody can make or change one.

/m/<token>, where the token is AES-GCM over the channel, the id of the file and the end of its life. The nonce is an
HMAC of what is sealed: the same file, channel and end give the same link, whoever makes it and whenever.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

PATH = "/m/"
LONGEST = 400  # characters of a token
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{20,{LONGEST}}}", re.ASCII)
_NONCE, _TAG, _CHANNEL = 12, 16, 6
_HEAD = struct.Struct(f">BI{_CHANNEL}s")
_UUID, _TEXT = 1, 2  # how the id is written


class NoLink(Exception):
    """Not a link of ours, or of a channel that is not configured any more."""


class Expired(Exception):
    """It was one."""


@dataclass(frozen=True, slots=True)
class Linked:
    """What a link leads to; `until` in seconds since 1970."""

    channel_id: str
    media_id: str
    until: int


class Links:
    """The links of one installation. `key`: the same in all of its processes."""

    def __init__(self, key: bytes, public_url: str, channels: Iterable[str]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._seal = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"dcbridge link").digest())
        self._nonces = hashlib.blake2b(key, digest_size=32, person=b"dcbridge nonce").digest()
        self._public_url = public_url.rstrip("/")
        self._channels = {_digest(channel_id): channel_id for channel_id in channels}

    def url(self, channel_id: str, media_id: str, until: float) -> str:
        """Where a file is read until then. Raises ValueError for an id that is too long for a link."""
        try:
            known = uuid.UUID(media_id)
            kind, written = (_UUID, known.bytes) if str(known) == media_id else (_TEXT, media_id.encode())
        except ValueError:
            kind, written = _TEXT, media_id.encode()
        plain = _HEAD.pack(kind, int(until), _digest(channel_id)) + written
        nonce = hmac.digest(self._nonces, plain, hashlib.sha256)[:_NONCE]
        token = base64.urlsafe_b64encode(nonce + self._seal.encrypt(nonce, plain, None)).rstrip(b"=").decode()
        if len(token) > LONGEST:
            raise ValueError("the id of the file is too long")
        return f"{self._public_url}{PATH}{token}"

    def open(self, token: str, now: float) -> Linked:
        """What a link leads to. Raises NoLink, Expired. It costs a stranger more than it costs us."""
        from cryptography.exceptions import InvalidTag

        if not _TOKEN.fullmatch(token):
            raise NoLink
        try:
            sealed = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != token:
                raise NoLink  # the last letter has bits that mean nothing
            plain = self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
            kind, until, digest = _HEAD.unpack_from(plain)
            rest = plain[_HEAD.size :]
            media_id = str(uuid.UUID(bytes=rest)) if kind == _UUID else rest.decode()
        except (InvalidTag, ValueError, binascii.Error, struct.error):
            raise NoLink from None
        if digest not in self._channels:
            raise NoLink
        if until < now:
            raise Expired
        return Linked(self._channels[digest], media_id, until)


def cached_as(channel_id: str, media_id: str) -> str:
    """The id of the blob that holds an agent's file for a while."""
    return "g-" + hashlib.blake2b(f"{channel_id}\0{media_id}".encode(), digest_size=20).hexdigest()


def _digest(channel_id: str) -> bytes:
    return hashlib.blake2b(channel_id.encode("utf-8", "surrogatepass"), digest_size=_CHANNEL).digest()
