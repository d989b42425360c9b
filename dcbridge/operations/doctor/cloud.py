"""Whether organizations of Genesys Cloud give a token, and know each channel's integration and its webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from dcbridge.config.models import Configuration
from dcbridge.errors import SendError
from dcbridge.json_values import a_text
from dcbridge.open_messaging import OpenMessaging
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.session import Session

WHERE = "Genesys Cloud, Admin, Platforms, the integration, Outbound Notification Webhook URL"


async def check(session: Session, name: str, channel_id: str | None = None) -> Sequence[Finding]:
    """One organization, and its channels or one of them."""
    return [one async for one in look(session, (name,), channel_id)]


async def look(session: Session, names: Sequence[str], channel_id: str | None = None) -> AsyncIterator[Finding]:
    """Each finding, as it is made."""
    from dcbridge.platforms import Platforms
    from dcbridge.runtime.metrics import Metrics
    from dcbridge.transport.sender import Sender

    configuration = session.configuration
    async with Sender() as sender:
        platforms = Platforms(configuration, session.settings, sender, session.ledger, Metrics(), quiet=True)
        try:
            for name in names:
                at = About(f"genesys_cloud.{name}")
                try:
                    await platforms.token(name).token()
                except SendError as error:
                    yield at.error(f"no token: {error.code or error.outcome}", "check client_id and client_secret")
                    continue
                yield at.ok("the client got a token")
                for one in configuration.channels:
                    if configuration.organization_of(one) == name and channel_id in (None, one):
                        yield await _integration(platforms.organization(name), configuration, one)
        finally:
            await platforms.close()


async def _integration(organization: OpenMessaging, configuration: Configuration, channel_id: str) -> Finding:
    at = About(f"channels.{channel_id}")
    try:
        reading = await organization.integration(channel_id)
    except SendError as error:
        return at.error(f"no answer: {error.code or error.outcome}")
    if reading.http == 403:
        return at.note("not looked at: the client may not read integrations (messaging:integration:view)")
    if reading.http == 404:
        return at.error("Genesys Cloud has no such integration", "check the channel id")
    if not reading.good:
        return at.error(f"the integration could not be read: {reading.words}")
    ours = f"{configuration.public_url}/webhooks/open-messaging/{configuration.endpoint_of(channel_id)}"
    if a_text(reading.whole.get("outboundNotificationWebhookUrl")).rstrip("/") != ours:
        return at.error(f"the integration posts to another address than {ours}", "enter the address", ours, WHERE)
    return at.ok("the integration posts here")
