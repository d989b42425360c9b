"""What a job works with, built once a process and handed in; nothing is made at import.

Under dcbridge's own worker all jobs share one set, with its pools of connections. Under the stock
`rq worker`, where each job gets an event loop of its own, a job builds a set and closes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import structlog
from redis.asyncio import Redis

from dcbridge.config import quiet_hours
from dcbridge.config.consent import ConsentWord, plain_word
from dcbridge.config.inbound import domains
from dcbridge.config.loader import load
from dcbridge.config.models import Channel, Configuration
from dcbridge.genesys.operations import Client
from dcbridge.interfaces import Interfaces, MailTokens
from dcbridge.ledger import Ledger
from dcbridge.ledger.consent import OTHER_KEY, ConsumerTokens, OtherKey
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.patience import Patience
from dcbridge.mail.reply_tokens import ReplyTokens
from dcbridge.mail.unsubscribe import UnsubscribeLinks
from dcbridge.platforms import Platforms
from dcbridge.providers.base import Provider, StatusLookup
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError, Problem
from dcbridge.settings.process import Settings, read_settings
from dcbridge.store.connection import connect
from dcbridge.transport.accounts import Accounts
from dcbridge.transport.s3 import bucket_of
from dcbridge.transport.sender import Sender
from workers.binds import Binds
from workers.enrichment import Enricher
from workers.files import Files
from workers.letters import LettersOf
from workers.payloads import Payloads
from workers.sinks import Sinks

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """One process' tools."""

    settings: Settings
    configuration: Configuration
    redis: Redis
    ledger: Ledger
    sinks: Sinks
    payloads: Payloads
    sender: Sender
    accounts: Accounts
    platforms: Platforms
    files: Files
    providers: dict[str, Provider]
    tokens: Tokens
    consumer_tokens: ConsumerTokens
    consent_words: Mapping[str, ConsentWord]
    metrics: Metrics
    binds: Binds
    reply_tokens: ReplyTokens
    openings: quiet_hours.Openings = field(default_factory=quiet_hours.Openings)
    unsubscribe_links: UnsubscribeLinks | None = None  # where a channel has them
    interfaces: Interfaces | None = None  # where bridge.yaml has `genesys`
    enricher: Enricher | None = None  # where it has `genesys.enrichment`, and that is verified
    mail_domains: frozenset[str] = frozenset()  # of the mailboxes of our channels

    def channel(self, channel_id: str) -> Channel | None:
        return self.configuration.channel(channel_id)

    def addressed(self, provider: str, number: str) -> tuple[str, Channel] | None:
        """The channel that a consumer wrote to, with its id; None where there is none."""
        channel_id = self.configuration.channel_of(provider, number)
        channel = None if channel_id is None else self.channel(channel_id)
        return None if channel_id is None or channel is None else (channel_id, channel)

    def provider_of(self, channel: Channel, entry: MessageEntry) -> Provider | None:
        """The one that the ledger has chosen for a message, or the channel's only one. None where another process knows
        a provider that is not in the bridge.yaml of this one.
        """
        if entry.provider in self.providers:
            return self.providers[entry.provider]
        known = not entry.provider or len(channel.providers) == 1
        return self.providers.get(channel.provider) if known else None

    def status_lookup(self, channel: Channel | None, provider: str = "") -> StatusLookup | None:
        """How a message's provider is asked what became of it; None where nobody can be asked."""
        name = provider if provider in self.providers else channel.provider if channel else ""
        known = self.providers.get(name) if channel else None
        return known.status_lookup if known else None

    def look_after(self, channel: Channel, provider: str = "") -> float:
        """Seconds after which a message that was sent is looked at: to ask about it, or because nobody ever said."""
        if self.status_lookup(channel, provider) is None:
            return channel.confirm_within
        return min(channel.ask_after, channel.confirm_within)

    async def change(self, configuration: Configuration) -> None:
        """From now on its subscribers."""
        self.sinks.change(configuration.subscribers)
        await self.announce()

    async def announce(self) -> None:
        """What the configuration says of limits, and of the subscribers of this moment; and the ledger's layout."""
        now = self.configuration.with_subscribers(self.sinks.subscribers)
        await self.ledger.layout.raise_it()
        if now.consent_scopes:
            try:
                await self.ledger.consent.require_key(self.consumer_tokens.fingerprint)
            except OtherKey:
                raise ConfigurationError([Problem("DCBRIDGE_TOKEN_KEY", 0, OTHER_KEY)]) from None
        await self.ledger.pacing.announce(now.limits())
        await self.ledger.heard.listen(now.providers)
        await self.ledger.quiet.announce(now.quiet_fingerprints())
        if now.own_channels:
            await self.ledger.own.tidy()
        await self.ledger.quiet.announce_holds(now.holds())
        for provider in await self.ledger.pauses.bound(now.longest_pauses()):
            log.warning("pause_cut", provider=provider, seconds=round(now.longest_pauses()[provider]))
        await self.ledger.subscribers.announce(
            {name: one.keep_backlog if one.on else 0.0 for name, one in now.subscribers.items()}
        )

    def consent_word(self, text: str) -> ConsentWord | None:
        """What a consumer asks for with this message, where it is such a word and nothing else."""
        return self.consent_words.get(plain_word(text))

    def claim_may_be_lost(self, since: float) -> bool:
        """Whether it is long since a claim was asked for (`since` by time.monotonic()), asked before anything is sent.

        A process that stood still (a paused machine, no memory, no CPU) may have been given up, and what it holds been
        sent by another. It has to claim again, with the same token, before it sends.
        """
        return time.monotonic() - since > self.settings.worker_silence / 2


@asynccontextmanager
async def open_context(
    settings: Settings, configuration: Configuration, metrics: Metrics | None = None, worker: str = ""
) -> AsyncIterator[WorkerContext]:
    """Build a set for the running event loop, and close it. `worker`: the name under which it claims."""
    metrics = metrics or Metrics()
    async with AsyncExitStack() as stack:
        redis = connect(settings)
        stack.push_async_callback(redis.aclose)
        sender = await stack.enter_async_context(
            Sender(
                connect_timeout=settings.connect_timeout,
                write_timeout=settings.write_timeout,
                read_timeout=settings.read_timeout,
                pool_timeout=settings.pool_timeout,
                connections=settings.concurrency + 50,
            )
        )
        bucket = bucket_of(settings)
        if bucket is not None:
            stack.push_async_callback(bucket.close)
        patience = Patience(refused=settings.lease)
        ledger = Ledger.of(settings, redis, worker=worker, patience=patience, store=bucket)
        providers = configuration.build_providers()
        mail_tokens = MailTokens(settings, ledger, sender, metrics)
        stack.push_async_callback(mail_tokens.close)
        for provider in providers.values():
            if provider.shared_login is not None:
                mail_tokens.of(provider.shared_login)  # a key that is missing is found now
        accounts = Accounts(sender, shared=mail_tokens.of)
        stack.push_async_callback(accounts.close)
        platforms = Platforms(configuration, settings, sender, ledger, metrics)
        stack.push_async_callback(platforms.close)
        interfaces = None
        if configuration.genesys is not None:
            interfaces = Interfaces.of(configuration.genesys, settings, sender, ledger, metrics)
            stack.push_async_callback(interfaces.close)

        def client(key: str, connections: Sender) -> Client:
            return Interfaces(key, None, connections, ledger, metrics)

        sinks = Sinks(configuration.subscribers, configuration.public_url, LettersOf(ledger, providers), client)
        stack.push_async_callback(sinks.close)
        yield WorkerContext(
            settings=settings,
            configuration=configuration,
            redis=redis,
            ledger=ledger,
            sinks=sinks,
            payloads=Payloads(ledger),
            sender=sender,
            accounts=accounts,
            platforms=platforms,
            files=Files(settings, configuration, ledger, metrics, accounts, platforms, stack),
            providers=providers,
            tokens=Tokens(settings.token_key.get_secret_value().encode()),
            consumer_tokens=ConsumerTokens(settings.token_key.get_secret_value().encode()),
            consent_words=configuration.consent.words(),
            metrics=metrics,
            binds=Binds(settings, ledger, sender, providers, configuration.windows(), metrics),
            reply_tokens=ReplyTokens(settings.reply_keys),
            unsubscribe_links=_unsubscribe_links(settings, configuration),
            interfaces=interfaces,
            enricher=_enricher(configuration, interfaces, ledger, metrics),
            mail_domains=domains(configuration.channels),
        )


def _enricher(
    configuration: Configuration, interfaces: Interfaces | None, ledger: Ledger, metrics: Metrics
) -> Enricher | None:
    genesys = configuration.genesys
    if genesys is None or interfaces is None or genesys.enrichment is None or not genesys.enrichment.verified:
        return None
    where = genesys.enrichment
    return Enricher(where, genesys.url(where.base_url, "/nexus/v3"), interfaces, ledger, metrics)


def _unsubscribe_links(settings: Settings, configuration: Configuration) -> UnsubscribeLinks | None:
    if not any(one.suppress and one.suppress.link for one in configuration.channels.values()):
        return None
    key = settings.token_key.get_secret_value().encode()
    return UnsubscribeLinks(key, configuration.public_url, configuration.channels)


_SHARED: ContextVar[WorkerContext] = ContextVar("context")


def install(context: WorkerContext) -> None:
    """Give this context to every job started from the running context."""
    _SHARED.set(context)


@asynccontextmanager
async def context() -> AsyncIterator[WorkerContext]:
    """The shared set, or one of the job's own from the environment."""
    shared = _SHARED.get(None)
    if shared is not None:
        yield shared
        return
    settings, _warnings = read_settings(os.environ)
    async with open_context(settings, load(settings.config, os.environ)) as own:
        yield own
