"""A reference in an address of ours: which email of ours a mail answers, whatever its sender and its headers are.

    care+r<token>@company.com     Reply-To        r<token>@company.com     where all mail of the domain comes to us
    care+b<token>@company.com     the envelope's sender, to which mail systems report

A token is our reference of the email, the day until which it counts, and a digest of both that only the holder of
DCBRIDGE_TOKEN_KEY can make; in base32, since mail systems do not keep capitals. It says nothing about anybody. The
mailbox that the email went to is kept by the ledger, sealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from typing import Literal

from dcbridge.settings.process import DAY

LONGEST_LOCAL = 64  # octets before the @; RFC 5321, 4.5.3.1.1
LONGEST = 41  # octets of a token with the letter before it
_REF = re.compile(r"([0-9a-f]{24})(?:-([0-9]{1,6}))?", re.ASCII)
_TOKEN = re.compile(r"([rb])([a-z2-7]{36}|[a-z2-7]{40})", re.ASCII)
_MAC, _NONCE = 8, 12

Kind = Literal["r", "b"]  # of a Reply-To, of an envelope's sender


class ReplyTokens:
    """Those of one installation. `keys`: the first one makes them, the others are of before a rotation."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [hashlib.blake2b(key, digest_size=32, person=b"dcbridge reply").digest() for key in keys if key]

    def mailbox(self, kind: Kind, ref: str, until: float, base: str, *, whole_local_part: bool = False) -> str:
        """An address of `base` that carries a token; `base` itself where it has no room for one. `until` in seconds
        since 1970; the token counts for the rest of that day.
        """
        local, _, domain = base.rpartition("@")
        token = self._token(kind, ref, until)
        with_token = token if whole_local_part else f"{local.partition('+')[0]}+{token}"
        return f"{with_token}@{domain}" if token and len(with_token.encode()) <= LONGEST_LOCAL else base

    def ref_of(self, mailbox: str, now: float) -> str:
        """What an address refers to; "" where it has no token, a forged one, or one whose time is over."""
        local = mailbox.strip().lower().rpartition("@")[0]
        found = _TOKEN.fullmatch(local.rpartition("+")[2])
        if found is None:
            return ""
        try:
            raw = base64.b32decode(found[2].upper() + "=" * (-len(found[2]) % 8))
        except (binascii.Error, ValueError):
            return ""
        said, mac = raw[:-_MAC], raw[-_MAC:]
        if not any(hmac.compare_digest(mac, _mac(key, found[1], said)) for key in self._keys):
            return ""
        if int.from_bytes(said[12:14], "big") < int(now // DAY):
            return ""
        index = int.from_bytes(said[14:], "big")
        return said[:12].hex() + (f"-{index}" if index else "")

    def seal(self, ref: str, mailbox: str) -> bytes:
        """The mailbox that an email went to, as the ledger keeps it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._keys[0]).encrypt(nonce, mailbox.encode("utf-8", "replace"), ref.encode())

    def open(self, ref: str, sealed: bytes) -> str:
        """ "" for what was sealed with a key that is not known, or is damaged."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        for key in self._keys:
            try:
                return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], ref.encode()).decode()
            except (InvalidTag, ValueError):
                continue
        return ""

    def _token(self, kind: Kind, ref: str, until: float) -> str:
        found = _REF.fullmatch(ref)
        if found is None:
            return ""
        index = int(found[2] or 0)
        said = bytes.fromhex(found[1]) + int(until // DAY).to_bytes(2, "big")
        said += index.to_bytes(3, "big") if index else b""
        return kind + base64.b32encode(said + _mac(self._keys[0], kind, said)).rstrip(b"=").decode().lower()


def _mac(key: bytes, kind: str, said: bytes) -> bytes:
    return hmac.digest(key, kind.encode() + said, "sha256")[:_MAC]
