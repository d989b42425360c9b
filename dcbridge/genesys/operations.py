"""What is asked of Genesys' interfaces, by name: for metrics, the log, and what the answers look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import httpx

from dcbridge.genesys.envelope import Reading


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of an interface, such as openmedia and create."""

    interface: str
    name: str
    bearer: bool = False  # it wants a token besides the API key

    @property
    def full_name(self) -> str:
        return f"{self.interface}.{self.name}"


class Client(Protocol):
    """Sends requests to the interfaces: with the key, with a token where one is asked for."""

    async def send(self, operation: Operation, request: httpx.Request, trace_id: str = "") -> Reading:
        """The answer, whatever it says. Raises a SendError where there is none, or no token for it."""
