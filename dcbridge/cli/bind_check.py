"""`dcbridge check --bind`: does each SMSC of bridge.yaml let us in?"""

from __future__ import annotations

from collections.abc import Sequence

from dcbridge.cli.terminal import err, out
from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.providers.smpp import Smpp
from dcbridge.settings.process import Settings
from dcbridge.smpp.pdu import TEMPORARY
from dcbridge.transport.smpp import Arrivals, Session


async def report(settings: Settings, configuration: Configuration) -> int:
    """Bind and unbind once for each account; the exit code. What arrives meanwhile stays with the SMSC."""
    accounts = [one for one in configuration.build_providers().values() if isinstance(one, Smpp)]
    if not accounts:
        err.print("error: there is no provider of kind smpp", style="red", markup=False)
        return 1
    code = 0
    for provider in accounts:
        try:
            session = await Session.open(
                provider.session,
                Arrivals(_leave, _nothing, _ignore),
                window=1,
                connect_timeout=settings.connect_timeout,
                timeout=settings.read_timeout,
            )
        except SendError as error:
            what = f"{provider.name}: {error.outcome.replace('_', ' ')}: {error.code}"
            err.print(f"error: {what}", style="red", markup=False)
            code = 1
            continue
        await session.close()
        out.print(f"ok: {provider.name}: bound, and unbound", markup=False)
    return code


async def _leave(_unit: bytes) -> int:
    return TEMPORARY


async def _nothing(_units: Sequence[bytes]) -> None:
    return


def _ignore(_what: str) -> None:
    return
