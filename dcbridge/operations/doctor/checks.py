"""Which checks an installation has: those of its channels, or of one channel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from dcbridge.config.models import Channel, Configuration
from dcbridge.messages import Address
from dcbridge.operations.doctor import cloud, dkim, dns_client, mail_domain, ours, public_address
from dcbridge.operations.doctor.examine import WITHIN, Check, examine
from dcbridge.operations.doctor.finding import About, Finding
from dcbridge.operations.doctor.numbers import numbers_at
from dcbridge.operations.session import Session
from dcbridge.providers.base import Fields
from dcbridge.providers.mail_message import mailbox_of
from dcbridge.settings.process import Settings
from dcbridge.settings.types import is_loopback
from dcbridge.transport.sender import Sender

PATIENCE = WITHIN - 1.0  # seconds for a server, so that its check can still say so


@dataclass(frozen=True, slots=True)
class Wanted:
    """`deep`: also what leaves a trace elsewhere. `selectors`: of DKIM keys, in place of the usual ones."""

    channel: str | None = None
    deep: bool = False
    selectors: tuple[str, ...] = ()


@asynccontextmanager
async def a_sender() -> AsyncIterator[Sender]:
    """For the checks alone: each of its requests ends before the check has to."""
    async with Sender(connect_timeout=5.0, read_timeout=PATIENCE, whole_timeout=PATIENCE, connections=50) as opened:
        yield opened


def checks_of(session: Session, sender: Sender, wanted: Wanted) -> list[Check]:
    """In the order in which a person reads them: our own things, the outside, the companies, the DNS."""
    return [*_own(session, sender, wanted), *_companies(session, sender, wanted), *_domains(session, wanted)]


def _own(session: Session, sender: Sender, wanted: Wanted) -> Iterator[Check]:
    settings, configuration = session.settings, session.configuration
    if wanted.channel is None:
        yield Check("redis", partial(ours.redis, settings))
        yield Check("journal", partial(ours.journal, settings))
        if settings.blob_bucket:
            yield Check("bucket", partial(ours.bucket, settings))
        if wanted.deep and any(configuration.organization_of(name) is None for name in configuration.channels):
            yield Check("digital_channels", partial(ours.media, settings, configuration))
    yield Check("public_url", partial(public_address.check, sender, configuration))
    for name in configuration.genesys_cloud:
        if wanted.channel is None or configuration.organization_of(wanted.channel) == name:
            yield Check(f"genesys_cloud.{name}", partial(cloud.check, session, name, wanted.channel))


def _companies(session: Session, sender: Sender, wanted: Wanted) -> Iterator[Check]:
    configuration = session.configuration
    for name, account in configuration.providers.items():
        used = any(name in one.providers for _, one in _channels(configuration, wanted.channel))
        if wanted.channel is not None and not used:
            continue
        run = _company(session, sender, wanted, name, account.kind, account.fields)
        if run is not None:
            yield Check(f"providers.{name}", run)
    for channel_id, channel in _channels(configuration, wanted.channel):
        for name, mailbox in channel.inbound.imap.items() if channel.inbound else ():
            from dcbridge.operations.doctor import mailbox as imap

            about = About(f"channels.{channel_id}.inbound.imap.{name}")
            yield Check(about.name, partial(imap.check, mailbox, PATIENCE, about))


def _company(
    session: Session, sender: Sender, wanted: Wanted, name: str, kind: str, fields: Fields
) -> Callable[[], Awaitable[Iterable[Finding]]] | None:
    """How an account is looked at; None for a kind whose settings no API tells."""
    from dcbridge.providers.smtp import SmtpFields
    from dcbridge.providers.telnyx import TelnyxFields
    from dcbridge.providers.twilio import TwilioFields
    from dcbridge.providers.vonage import VonageFields

    common = sender, name
    rest = session.configuration.public_url, numbers_at(session.configuration, name, wanted.channel)
    if isinstance(fields, TwilioFields):
        from dcbridge.operations.doctor.twilio import Twilio

        return Twilio(*common, fields, *rest).check
    if isinstance(fields, TelnyxFields):
        from dcbridge.operations.doctor.telnyx import Telnyx

        return Telnyx(*common, fields, *rest).check
    if isinstance(fields, VonageFields):
        from dcbridge.operations.doctor.vonage import Vonage

        return Vonage(*common, fields, *rest, deep=wanted.deep).check
    if isinstance(fields, SmtpFields):
        from dcbridge.operations.doctor import mail_server

        return partial(mail_server.check, fields, PATIENCE, About(f"providers.{name}"))
    if kind == "smpp" and wanted.deep:
        from dcbridge.operations.doctor import smsc

        return partial(smsc.check, session.settings, session.configuration, name)
    return None


def _domains(session: Session, wanted: Wanted) -> Iterator[Check]:
    """Each domain once, with the domain that its bounces go to."""
    seen: set[tuple[str, str]] = set()
    for domain, envelope, kind in sending_domains(session.configuration, wanted.channel):
        if (domain, envelope) in seen:
            continue
        seen.add((domain, envelope))
        yield Check(f"domain {domain}", partial(_domain, session.settings, wanted, domain, envelope, kind))


async def _domain(settings: Settings, wanted: Wanted, domain: str, envelope: str, kind: str) -> Sequence[Finding]:
    about = About(f"domain {domain}")
    if not dns_client.available():
        return [about.note(f"the DNS was not looked at: {dns_client.MISSING}")]
    names, selectors = dns_client.NameServer(settings), wanted.selectors or dkim.USUAL.get(kind, dkim.USUAL["smtp"])
    return await mail_domain.check(names, domain, envelope, selectors, about, named=bool(wanted.selectors))


def sending_domains(configuration: Configuration, channel_id: str | None = None) -> Iterator[tuple[str, str, str]]:
    """(domain of the From address, of the envelope sender, kind) of each email channel at each of its providers.

    Companies other than a mail server of one's own send from an envelope of theirs: for them it is "".
    """
    for one, channel in _channels(configuration, channel_id):
        for name in channel.providers if channel.type == "email" else ():
            account = configuration.providers.get(name)
            if account is None or is_loopback(f"http://{getattr(account.fields, 'host', '') or 'x'}"):
                continue  # a mail server on this computer is for trials
            domain = _domain_of(channel.number_at(name) or one)
            if not domain:
                continue
            envelope = _domain_of(getattr(account.fields, "mail_from", None) or "") or domain
            yield domain, envelope if account.kind == "smtp" else "", account.kind


def _domain_of(written: str) -> str:
    """In ASCII, as the DNS has it; of a channel id that is a domain, that one. "" for neither."""
    mailbox = mailbox_of(Address(written if "@" in written else f"postmaster@{written}"))
    domain = mailbox.domain.lower() if mailbox else ""
    return domain if "." in domain and not domain.startswith("[") else ""


def _channels(configuration: Configuration, channel_id: str | None) -> Iterable[tuple[str, Channel]]:
    return [(name, one) for name, one in configuration.channels.items() if channel_id in (None, name)]


async def examined(session: Session, wanted: Wanted) -> AsyncIterator[Sequence[Finding]]:
    """What each check finds, in their order."""
    if wanted.channel is None and session.configuration.warnings:
        yield [About("bridge.yaml").warning(str(one)) for one in session.configuration.warnings]
    async with a_sender() as sender:
        async for findings in examine(checks_of(session, sender, wanted)):
            yield findings
