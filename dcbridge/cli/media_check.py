"""`dcbridge check --media`: print which ways to sign files Digital Channels takes."""

from __future__ import annotations

from dcbridge.cli.terminal import out
from dcbridge.config.models import Configuration
from dcbridge.operations.doctor.media import try_media
from dcbridge.settings.process import Settings


async def report(settings: Settings, configuration: Configuration) -> int:
    """Print each way, and whether it works; 0 where the ways that are configured do."""
    if all(configuration.organization_of(name) is not None for name in configuration.channels):
        out.print("no channel is at Digital Channels: nothing is uploaded there", markup=False)
        return 0
    configured = []
    async for one in try_media(settings, configuration):
        said = "ok" if one.works else one.why
        out.print(f"{one.setting}: {one.value}: {said}{' (configured)' if one.is_set else ''}", markup=False)
        configured += [one.works] if one.is_set else []
    return 0 if len(configured) == 2 and all(configured) else 1
