"""How new messages are indexed for a search (index.lua); `reports/index.py` searches."""

from __future__ import annotations

from dataclasses import dataclass, field

from dcbridge.address_tokens import address_token
from dcbridge.settings.process import DAY, Settings

MARGIN = 2 * DAY  # seconds beyond the retention for which a day's lists are kept: the day itself, and one to end in


@dataclass(frozen=True, slots=True)
class Index:
    """`keep`: seconds for which a day's lists are kept, 0 where nothing is indexed. `key`: of the digests of addresses,
    b"" where no message is found by one.
    """

    keep: float = 0.0
    key: bytes = field(default=b"", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Index:
        """As the settings say. A key that each process makes up for itself would find nothing."""
        if not settings.search_index:
            return cls()
        key = b"" if settings.token_key_is_random else settings.token_key.get_secret_value().encode()
        return cls(settings.retention_days * DAY + MARGIN, key)

    @property
    def keep_ms(self) -> int:
        return int(self.keep * 1000)

    def consumer(self, address: str) -> str:
        """What stands for an address; "" where none is indexed."""
        return address_token(self.key, address) if self.keep and self.key and address else ""
