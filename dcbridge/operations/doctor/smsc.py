"""Whether an SMSC lets us in: bind and unbind once. What arrives meanwhile stays with the SMSC."""

from __future__ import annotations

from collections.abc import Sequence

from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.providers.smpp import Smpp
from dcbridge.settings.process import Settings
from dcbridge.smpp.pdu import TEMPORARY
from dcbridge.transport.smpp import Arrivals, Session


def accounts(configuration: Configuration) -> list[Smpp]:
    return [one for one in configuration.build_providers().values() if isinstance(one, Smpp)]


async def refused(settings: Settings, provider: Smpp) -> str:
    """Why the bind did not work; "" where it did."""
    try:
        session = await Session.open(
            provider.session,
            Arrivals(_leave, _nothing, _ignore),
            window=1,
            connect_timeout=settings.connect_timeout,
            timeout=settings.read_timeout,
        )
    except SendError as error:
        return f"{error.outcome.replace('_', ' ')}: {error.code}"
    await session.close()
    return ""


async def check(settings: Settings, configuration: Configuration, name: str) -> Sequence[Finding]:
    at = About(f"providers.{name}")
    for provider in accounts(configuration):
        if provider.name == name:
            why = await refused(settings, provider)
            fix = "check system_id and password, and how many sessions the SMSC allows"
            return [at.error(f"the SMSC did not let us in ({why})", fix) if why else at.ok("bound, and unbound")]
    return []


async def _leave(_unit: bytes) -> int:
    return TEMPORARY


async def _nothing(_units: Sequence[bytes]) -> None:
    return


def _ignore(_what: str) -> None:
    return
