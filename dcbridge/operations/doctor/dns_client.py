"""Questions to a name server: bounded in time and number, each asked once.

Needs dnspython: pip install 'dcbridge[doctor]'. What comes back was written by others, and may be anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, Protocol

from dcbridge.settings.process import Settings

PATIENCE = 3.0  # seconds for one question
QUESTIONS = 120  # of one domain
MOST_ROWS = 100  # of one answer
MISSING = "dnspython is not installed: pip install 'dcbridge[doctor]'"

Kind = Literal["TXT", "MX", "A", "AAAA"]
Status = Literal["found", "nothing", "no such name", "failed"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`rows`: of TXT the bytes of its strings in one, of MX "10 mail.example.com", else addresses."""

    status: Status
    rows: tuple[bytes, ...] = ()

    @property
    def void(self) -> bool:
        """As RFC 7208, 4.6.4 counts it."""
        return self.status in ("nothing", "no such name")


class TooManyQuestions(Exception):
    """One domain's records lead on and on."""


class Names(Protocol):
    async def ask(self, name: str, kind: Kind) -> Answer:
        """Raises TooManyQuestions."""


def available() -> bool:
    return find_spec("dns") is not None


class NameServer:
    """The system's name servers, or the one of DCBRIDGE_NAME_SERVER. One of these for each domain."""

    def __init__(self, settings: Settings, patience: float = PATIENCE) -> None:
        from dns.asyncresolver import Resolver

        server = settings.name_server
        self._resolver, self._patience = Resolver(configure=not server), patience
        if server:
            host, port = server.rsplit(":", 1)
            self._resolver.nameservers, self._resolver.port = [host.strip("[]")], int(port)
        self._known: dict[tuple[str, Kind], Answer] = {}

    async def ask(self, name: str, kind: Kind) -> Answer:
        key = (name.lower().rstrip("."), kind)
        if key not in self._known:
            if len(self._known) >= QUESTIONS:
                raise TooManyQuestions
            self._known[key] = await self._asked(*key)
        return self._known[key]

    async def _asked(self, name: str, kind: Kind) -> Answer:
        from dns.exception import DNSException
        from dns.resolver import NXDOMAIN

        try:
            found = await self._resolver.resolve(
                f"{name}.", kind, raise_on_no_answer=False, lifetime=self._patience, search=False
            )
            rows = tuple(_row(one, kind) for one in list(found.rrset or ())[:MOST_ROWS])
        except NXDOMAIN:
            return Answer("no such name")
        except (DNSException, OSError, ValueError):
            return Answer("failed")
        return Answer("found" if rows else "nothing", rows)


def _row(record: object, kind: Kind) -> bytes:
    if kind == "TXT":
        strings: Sequence[bytes] = record.strings  # type: ignore[attr-defined]  # of dns.rdtypes.ANY.TXT
        return b"".join(strings)
    return str(record).encode("utf-8", "replace")
