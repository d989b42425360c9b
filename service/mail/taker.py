"""A mail that has arrived: which channel's it is, and the blob and the task that hold it before it counts as taken."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict

import structlog
from redis.exceptions import RedisError

from dcbridge.config.inbound import token_domains
from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.ledger.blobs import NoRoom
from dcbridge.mail.reader import name_of
from dcbridge.mail.reply_tokens import ReplyTokens
from dcbridge.mail_intake import MailEnvelope, store
from dcbridge.providers.callback import mail_task_id
from dcbridge.runtime.logs import info_line
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import DAY, Settings
from service.mail.session import NO_ROOM

log = structlog.get_logger()

STORED_WITHIN = 30.0  # seconds; a mail system waits for minutes
MOST_SENDERS = 10_000  # whose mails are counted at one time
AGAIN = "451 4.3.0 not stored; send it again"


class LedgerTaker:
    """For one process."""

    def __init__(self, settings: Settings, configuration: Configuration, ledger: Ledger, metrics: Metrics) -> None:
        self._configuration, self._ledger, self._metrics = configuration, ledger, metrics
        self._keep = settings.dead_letter_days * DAY
        self._rates = Rates()
        self._tokens, self._token_domains = ReplyTokens(settings.reply_keys), token_domains(configuration.channels)

    def _channel_of(self, mailbox: str) -> str | None:
        """Of one of its mailboxes, or of a reference that stands in place of one."""
        found = self._configuration.channel_of_mailbox(mailbox)
        if found is None and (channel_id := self._token_domains.get(mailbox.rpartition("@")[2].lower())):
            return channel_id if self._tokens.ref_of(mailbox, time.time()) else None
        return found

    def refusal(self, mailbox: str, sender: str) -> str:
        """What to answer a recipient; "" where its mail is taken."""
        channel_id = self._channel_of(mailbox)
        channel = self._configuration.channels[channel_id] if channel_id is not None else None
        if channel is None or channel.inbound is None or channel_id is None:
            self._metrics.mails.labels("(unknown)", "unknown mailbox").inc()
            return "550 5.1.1 no such mailbox here"
        inbound = channel.inbound
        if self._rates.over(channel_id, inbound.per_minute) or self._rates.over(
            f"{channel_id}\0{sender.lower()}", inbound.per_sender
        ):
            self._metrics.mails.labels(channel_id, "too many").inc()
            return "451 4.7.1 too many mails at once; send it again"
        return ""

    async def take(self, raw: bytes, sender: str | None, mailboxes: list[str]) -> list[str]:
        """Store a mail once for each channel; an answer for each recipient."""
        channels = [self._channel_of(mailbox) or "" for mailbox in mailboxes]
        name = await asyncio.to_thread(name_of, raw)
        first = dict(zip(reversed(channels), reversed(mailboxes), strict=True))
        answers = {
            channel_id: await self._stored(raw, MailEnvelope(channel_id, sender, to=first[channel_id]), name)
            for channel_id in dict.fromkeys(channels)
        }
        return [answers[channel_id] for channel_id in channels]

    async def _stored(self, raw: bytes, envelope: MailEnvelope, name: str) -> str:
        channel_id = envelope.channel_id
        began, trace = time.monotonic(), uuid.uuid4().hex
        task_id = mail_task_id(channel_id, name)
        word: str
        try:
            async with asyncio.timeout(STORED_WITHIN):
                word = (await store(self._ledger, raw, envelope, keep=self._keep, name=name, trace=trace)).outcome
        except NoRoom:
            answer, word = NO_ROOM, "no room"
        except (RedisError, OSError, TimeoutError) as error:
            answer, word = AGAIN, "unavailable"
            log.warning("mail_not_stored", channel=channel_id, error=type(error).__name__)
        except Exception:
            answer, word = AGAIN, "bug"
            log.error("mail_internal_error", channel=channel_id, exc_info=True)
        else:
            answer = f"250 2.0.0 stored as {task_id}"
        self._metrics.mails.labels(channel_id, word).inc()
        ms = round((time.monotonic() - began) * 1000, 1)
        info_line("mail", trace=trace, channel=channel_id, message=task_id, outcome=word, bytes=len(raw), ms=ms)
        return answer


class Rates:
    """Mails of the current minute, by channel and by sender. Of too many senders the oldest are forgotten."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()  # (minute, mails in it)

    def over(self, name: str, most: int) -> bool:
        """Count one; whether that is more than a minute may have."""
        minute = int(time.monotonic() // 60)
        began, count = self._counts.pop(name, (minute, 0))
        count = count + 1 if began == minute else 1
        self._counts[name] = (minute, count)
        if len(self._counts) > MOST_SENDERS:
            self._counts.popitem(last=False)
        return count > most
