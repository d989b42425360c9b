"""Whether organizations of Genesys Cloud give a token, and know each channel's integration and its webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from dcbridge.cli.terminal import out, say_error
from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.json_values import a_text
from dcbridge.open_messaging import OpenMessaging
from dcbridge.operations.session import Session
from dcbridge.printable import printable


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was looked at, in words."""

    what: str
    words: str
    good: bool = True


async def check(session: Session) -> int:
    """Print each; 1 where one of them is wrong."""
    worst = 0
    async for one in _found(session):
        if one.good:
            out.print(printable(f"ok: {one.what}: {one.words}"), markup=False)
        else:
            say_error(printable(f"{one.what}: {one.words}"))
            worst = 1
    return worst


async def _found(session: Session) -> AsyncIterator[Found]:
    from dcbridge.platforms import Platforms
    from dcbridge.runtime.metrics import Metrics
    from dcbridge.transport.sender import Sender

    configuration = session.configuration
    async with Sender() as sender:
        platforms = Platforms(configuration, session.settings, sender, session.ledger, Metrics(), quiet=True)
        try:
            for name in configuration.genesys_cloud:
                what = f"genesys_cloud.{name}"
                try:
                    await platforms.token(name).token()
                except SendError as error:
                    yield Found(what, f"no token: {error.code or error.outcome}", good=False)
                    continue
                yield Found(what, "the client got a token")
                for channel_id in configuration.channels:
                    if configuration.organization_of(channel_id) == name:
                        yield await _integration(platforms.organization(name), configuration, channel_id)
        finally:
            await platforms.close()


async def _integration(organization: OpenMessaging, configuration: Configuration, channel_id: str) -> Found:
    what = f"channels.{channel_id}"
    try:
        reading = await organization.integration(channel_id)
    except SendError as error:
        return Found(what, f"no answer: {error.code or error.outcome}", good=False)
    if reading.http == 403:
        return Found(what, "not looked at: the client may not read integrations (messaging:integration:view)")
    if reading.http == 404:
        return Found(what, "Genesys Cloud has no such integration", good=False)
    if not reading.good:
        return Found(what, f"the integration could not be read: {reading.words}", good=False)
    ours = f"{configuration.public_url}/webhooks/open-messaging/{configuration.endpoint_of(channel_id)}"
    if a_text(reading.whole.get("outboundNotificationWebhookUrl")).rstrip("/") != ours:
        return Found(what, f"the integration posts to another address than {ours}", good=False)
    return Found(what, "the integration posts here")
