"""What every handler of the console works with, and who a person is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request

from dcbridge.config.models import Configuration
from dcbridge.console.sign_in.limits import Attempts
from dcbridge.ledger import Ledger
from dcbridge.operations.session import Session
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings

SEARCHES = 30  # in a minute, of one person who may reveal nothing


class Role(IntEnum):
    """Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @classmethod
    def of(cls, word: str) -> Role:
        """Raises ValueError for one that there is not."""
        try:
            return cls[word.upper()]
        except KeyError:
            raise ValueError("should be viewer, operator or admin") from None

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `how`: oidc, proxy, token or dev."""

    name: str
    role: Role
    how: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person, and what their forms have to show. `session`: its key; "" where each request says who it is."""

    person: Person
    csrf: str
    session: str = ""


class Way(Protocol):
    """One way to sign in."""

    async def who(self, request: Request) -> SignedIn | None:
        """None where the request does not say so in this way."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleContext:
    """Of one process. `loaded`: bridge.yaml as it counts now."""

    settings: Settings
    ledger: Ledger
    metrics: Metrics
    loaded: Callable[[], Configuration]
    ways: tuple[Way, ...] = ()
    searches: Attempts = field(default_factory=lambda: Attempts(each=SEARCHES, total=20 * SEARCHES))

    @property
    def configuration(self) -> Configuration:
        return self.loaded()

    def count_search(self, person: Person) -> None:
        """One by what somebody has in hand. Raises HTTPException: who may reveal none could try all numbers, and an id
        without an index costs a look at many keys.
        """
        if person.role < Role.OPERATOR and not self.searches.may_be_of(person.name):
            raise HTTPException(429)

    def session(self) -> Session:
        """What dcbridge/operations works with."""
        return Session(self.settings, self.configuration, self.ledger)
