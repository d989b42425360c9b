"""`dcbridge check --bind`: does each SMSC of bridge.yaml let us in?"""

from __future__ import annotations

from dcbridge.cli.terminal import err, out
from dcbridge.config.models import Configuration
from dcbridge.operations.doctor.smsc import accounts, refused
from dcbridge.settings.process import Settings


async def report(settings: Settings, configuration: Configuration) -> int:
    """Bind and unbind once for each account; the exit code."""
    found = accounts(configuration)
    if not found:
        err.print("error: there is no provider of kind smpp", style="red", markup=False)
        return 1
    code = 0
    for provider in found:
        if why := await refused(settings, provider):
            err.print(f"error: {provider.name}: {why}", style="red", markup=False)
            code = 1
        else:
            out.print(f"ok: {provider.name}: bound, and unbound", markup=False)
    return code
