"""Which platform a channel is at. The one place that asks."""

from __future__ import annotations

from functools import cached_property

from dcbridge.config.models import Configuration
from dcbridge.digital_channels import DigitalChannels
from dcbridge.interfaces import SharedToken
from dcbridge.ledger import Ledger
from dcbridge.ledger.vault import Vault
from dcbridge.media.links import Links
from dcbridge.open_messaging import OpenMessaging
from dcbridge.platform import Platform
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.transport.sender import Sender


class Platforms:
    """The platforms of one configuration, for one event loop. Nobody is spoken to before there is something to say."""

    def __init__(
        self,
        configuration: Configuration,
        settings: Settings,
        sender: Sender,
        ledger: Ledger,
        metrics: Metrics,
        *,
        quiet: bool = False,
    ) -> None:
        """`quiet`: a command says in its own words what a worker logs."""
        self._configuration, self._settings, self._sender = configuration, settings, sender
        self._ledger, self._metrics, self._quiet = ledger, metrics, quiet
        self._digital_channels = DigitalChannels(configuration, sender)
        self._organizations: dict[str, OpenMessaging] = {}
        self._tokens: dict[str, SharedToken] = {}
        self._others: dict[Sender, Platforms] = {}

    def of(self, channel_id: str, endpoint: str = "") -> Platform:
        """Where a channel is; one that is not configured, as the endpoint it came to."""
        organization = self._configuration.organization_of(channel_id, endpoint)
        return self._digital_channels if organization is None else self.organization(organization)

    def organization(self, name: str) -> OpenMessaging:
        """One of `genesys_cloud`. Raises KeyError for an unknown one."""
        if name not in self._organizations:
            organization = self._configuration.genesys_cloud[name]
            self._organizations[name] = OpenMessaging(
                organization, self.token(name), self._sender, self._ledger, self._metrics, self.links,
                self._configuration.media.link_life,
            )  # fmt: skip
        return self._organizations[name]

    def token(self, name: str) -> SharedToken:
        """The token of one organization's client, the same for all processes."""
        if name not in self._tokens:
            credentials = self._configuration.genesys_cloud[name].credentials()
            vault = Vault(self._key)
            self._tokens[name] = SharedToken(
                credentials, self._ledger, vault, self._sender, self._metrics, quiet=self._quiet
            )
        return self._tokens[name]

    def sending_by(self, sender: Sender) -> Platforms:
        """The same ones, by other connections, with the same tokens."""
        if sender not in self._others:
            made = Platforms(
                self._configuration, self._settings, sender, self._ledger, self._metrics, quiet=self._quiet
            )
            made._tokens = self._tokens
            self._others[sender] = made
        return self._others[sender]

    @cached_property
    def links(self) -> Links:
        """To files that are kept here, or read at a platform."""
        return Links(self._key, self._configuration.public_url, self._configuration.channels)

    @property
    def _key(self) -> bytes:
        return self._settings.token_key.get_secret_value().encode()

    async def close(self) -> None:
        for token in self._tokens.values():
            await token.close()
