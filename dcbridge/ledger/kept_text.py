"""The text of an agent's message, kept for a while, encrypted, so that it can be sent again after its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import orjson

from dcbridge.ledger.vault import Vault
from dcbridge.settings.process import Settings

HOUR = 3600.0

LARGEST = 65_536  # bytes of a message that is kept


@dataclass(frozen=True, slots=True)
class KeptText:
    """`keep`: seconds from its acceptance for which a message is kept; 0: none is. `keys`: the first of them
    encrypts, the others are still read.
    """

    keep: float = 0.0
    keys: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, settings: Settings) -> KeptText:
        return cls(settings.keep_text * HOUR, settings.reply_keys) if settings.keep_text else cls()

    @property
    def keep_ms(self) -> int:
        return int(self.keep * 1000)

    def seal(self, ref: str, to_id: str, payload: bytes) -> bytes:
        """b"" where it is not kept."""
        if not self.keep_ms or len(payload) > LARGEST:
            return b""
        written = orjson.dumps([to_id, payload.decode("utf-8", "replace")])
        return _vault(self.keys[0]).lock(written.decode(), _about(ref))

    def open(self, ref: str, sealed: bytes) -> tuple[str, bytes] | None:
        """(the recipient's id, the payload); None for what was kept under another key, or is damaged."""
        for key in self.keys:
            if text := _vault(key).open(sealed, _about(ref)):
                to_id, payload = orjson.loads(text)
                return to_id, payload.encode()
        return None


@lru_cache(maxsize=8)
def _vault(key: bytes) -> Vault:
    return Vault(key)


def _about(ref: str) -> str:
    return f"text {ref}"
