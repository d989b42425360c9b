"""What stands for a number or a mailbox where it must not be read: a keyed digest, the same for every spelling."""

from __future__ import annotations

import hmac
import re
from functools import lru_cache

TOKEN_LENGTH = 12  # hex digits
LONGEST_ADDRESS = 320  # characters: no number and no mailbox is longer (RFC 5321, 4.5.3.1)

_NUMBER = re.compile(r"\+?[0-9 ().\-/]+")
_NOT_DIGITS = re.compile(r"[^0-9]+")


def address_token(key: bytes, address: str) -> str:
    """TOKEN_LENGTH hex digits, the same for every spelling of one number ("+1 650…", "1650…") or mailbox."""
    return _kept(key, address) if len(address) <= LONGEST_ADDRESS else _made(key, address)


def _made(key: bytes, address: str) -> str:
    plain = _plain(address).encode("utf-8", "surrogatepass")
    return hmac.digest(key, plain, "sha256").hex()[:TOKEN_LENGTH]


_kept = lru_cache(maxsize=4096)(_made)  # a conversation is several lines of the log


def _plain(address: str) -> str:
    word = address.strip().casefold()
    if len(word) <= LONGEST_ADDRESS and _NUMBER.fullmatch(word) and (digits := _NOT_DIGITS.sub("", word)):
        return digits
    return word
