"""Encryption of what is stored: AES-GCM with a key made from DCBRIDGE_TOKEN_KEY."""

from __future__ import annotations

import hashlib
import hmac
import os

_NONCE = 12


class Vault:
    """Encrypts what is stored. `key`: DCBRIDGE_TOKEN_KEY, the same in every process."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._seal = AESGCM(hashlib.blake2b(key, digest_size=32, person=b"dcbridge tokens").digest())
        self._names = hashlib.blake2b(key, digest_size=32, person=b"dcbridge logins").digest()

    def name(self, *parts: str) -> str:
        """What the token of these credentials is called in Redis; none of them can be read from it."""
        return hmac.digest(self._names, "\0".join(parts).encode("utf-8", "surrogatepass"), "sha256").hex()[:32]

    def lock(self, text: str, about: str) -> bytes:
        """`about`: what it is; the same has to be said to open it."""
        nonce = os.urandom(_NONCE)
        return nonce + self._seal.encrypt(nonce, text.encode(), about.encode())

    def open(self, stored: bytes, about: str) -> str:
        """ "" for what was stored with another key, or is damaged."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._seal.decrypt(stored[:_NONCE], stored[_NONCE:], about.encode()).decode()
        except (InvalidTag, ValueError):
            return ""
