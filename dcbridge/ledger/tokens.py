"""Tokens of Genesys' interfaces, encrypted: one for each set of credentials, for all processes (tokens.lua)."""

from __future__ import annotations

from dataclasses import dataclass, field

from dcbridge.ledger.script import Script, ms, word
from dcbridge.ledger.vault import Vault

KEEP = 100 * 86400.0  # seconds from its last renewal for which a refresh token is kept
SETTLED = 5.0  # seconds; a younger token that is refused is not renewed again at once


@dataclass(frozen=True, slots=True)
class Stored:
    """What there is. `sealed` is the token as it lies in Redis; seconds from now; `ours`: this caller renews it."""

    access: str = field(repr=False)
    sealed: bytes = field(repr=False)
    good_for: float
    renew_in: float
    refresh: str = field(repr=False)
    ours: bool


class Tokens:
    """The tokens of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def ask(self, vault: Vault, token_id: str, owner: str, lock: float) -> Stored:
        """`owner`: who asks, and renews it for `lock` seconds if nothing else does."""
        answer = await self._script.record("token_ask", token_id, owner, ms(lock), ms(KEEP))
        sealed, good, renew, refresh, mine = answer
        access = vault.open(sealed, f"access {token_id}") if sealed else ""
        shown = vault.open(refresh, f"refresh {token_id}") if refresh else ""
        return Stored(access, sealed, good / 1000 if access else 0.0, renew / 1000, shown, bool(mine))

    async def put(
        self, vault: Vault, token_id: str, access: str, good_for: float, renew_in: float, refresh: str = ""
    ) -> bytes:
        """The token as it lies in Redis now."""
        sealed = vault.lock(access, f"access {token_id}")
        kept = vault.lock(refresh, f"refresh {token_id}") if refresh else b""
        await self._script.record("token_put", token_id, sealed, ms(good_for), ms(renew_in), kept, ms(KEEP))
        return sealed

    async def failed(self, token_id: str, owner: str, wait: float) -> None:
        """This caller could not renew it; the next one tries after `wait` seconds."""
        await self._script.record("token_failed", token_id, owner, ms(wait))

    async def drop(self, token_id: str, sealed: bytes) -> str:
        """ "dropped", "other" where it was renewed meanwhile, "young" where it was granted just now."""
        return word(await self._script.record("token_drop", token_id, sealed, ms(SETTLED)))
