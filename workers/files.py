"""Files on their way through a worker: a few at a time, so that two hundred at once cost no more than a few."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import httpx
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.errors import AccountFault, Deferred, Refused, SendError, Undecodable
from dcbridge.ledger import Ledger
from dcbridge.ledger.blobs import NoRoom
from dcbridge.media.file_types import ENOUGH, FileType, type_of
from dcbridge.media.links import cached_as
from dcbridge.platforms import Platforms
from dcbridge.providers.base import HasMedia
from dcbridge.providers.sms_fields import NAMED_BY_OPERATOR, WITH_LOGIN
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import DAY, Settings
from dcbridge.transport.accounts import Accounts
from dcbridge.transport.scanning import Clamd, HttpScanner, Scanner
from dcbridge.transport.sender import Sender, Streamed
from dcbridge.transport.ssrf import Guard
from dcbridge.transport.tls import client_context

TOGETHER = 12  # files that are in memory at once
FOR_AGENTS = 4  # of them: consumers' files that come slowly hold up no file of an agent's
MAILS = 3  # that are read at once: each with all that is in it, whatever DCBRIDGE_MAIL_LIMIT lets in
SMALL_MAIL = 1 << 20  # bytes up to which a mail is one of many that are read at once
SMALL_MAILS = 24
FETCH_SECONDS = 10.0
KEPT_SECONDS = 3.0  # that a file of an agent's may take from where it is kept, or to there
CACHED = DAY  # seconds for which an agent's file is kept
HOSTS = 100  # of providers, whose connections are kept apart
KNOWN = 1000  # files whose size and type are remembered


class Withheld(Exception):
    """A consumer's file does not reach the agent; `why` is a key of `media_in.SENTENCES`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file without its bytes."""

    size: int
    type: FileType


class _Room:
    """Places for files in memory. Who waits for one holds a job and a claim: a few may, and not for long."""

    def __init__(self, places: int, settings: Settings) -> None:
        self._places = asyncio.Semaphore(places)
        self._waiting, self._most = 0, max(places, settings.concurrency // 4)
        self._seconds = min(FETCH_SECONDS, settings.lease / 4)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """For one file. Raises Deferred where there will be none soon."""
        if self._waiting >= self._most:
            raise Deferred("media busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
        except TimeoutError:
            raise Deferred("media busy") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._places.release()


class Files:
    """The files of one worker. Made for a running event loop; nothing is connected before a file comes."""

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        ledger: Ledger,
        metrics: Metrics,
        accounts: Accounts,
        platforms: Platforms,
        stack: AsyncExitStack,
    ) -> None:
        """`stack` closes what is opened."""
        self._platforms = platforms
        self._accounts = accounts
        self._metrics = metrics
        self._stack, self._ledger, self._configuration = stack, ledger, configuration
        self._most = configuration.media.most
        places = {"consumers": TOGETHER - FOR_AGENTS, "agents": FOR_AGENTS, "mails": MAILS, "small mails": SMALL_MAILS}
        self._rooms = {whose: _Room(most, settings) for whose, most in places.items()}
        self._senders: dict[str, Sender] = {}
        self._facts: OrderedDict[str, Facts] = OrderedDict()
        self._times = (settings.connect_timeout, settings.read_timeout)
        self.links = platforms.links

    def room(self, whose: Literal["consumers", "agents", "mails", "small mails"]) -> AbstractAsyncContextManager[None]:
        """For one file in memory. Raises Deferred where there will be none soon."""
        return self._rooms[whose].place()

    # ------------------------------------------------------------ of consumers

    async def fetch(self, provider: HasMedia, url: str) -> bytes:
        """A consumer's file, from its provider. Raises Withheld, or a SendError after which it may be tried again."""
        request = provider.media_request(url)
        if request is None:
            raise Withheld("wrong host")
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                named = request.url.host if request.extensions.get(NAMED_BY_OPERATOR) else ""
                if request.extensions.get(WITH_LOGIN):
                    request = await self._accounts.authorized(provider, request)
                found = await self._fetched(request, self._sender(named))
                if isinstance(found, bytes):
                    return found
                # Without the login, and to public addresses alone: where it leads is not the operator's word.
                again = await self._fetched(
                    httpx.Request("GET", found), self._sender(named if found.host == named else "")
                )
        except AccountFault as error:
            if error.code == "http 401":
                self._accounts.refused(provider, request)
            raise (Withheld("wrong host") if error.code == "address not allowed" else error) from None
        if not isinstance(again, bytes):
            raise Withheld("wrong host")
        return again

    async def _fetched(self, request: httpx.Request, sender: Sender) -> bytes | httpx.URL:
        """The file, or where else it is. Raises as `fetch`; TimeoutError."""
        async with sender.stream(request, self._most) as answer:
            status = answer.status
            if status in (301, 302, 303, 307, 308):
                return _leads_to(request.url, answer)
            if status in (404, 410):
                raise Withheld("expired")
            if status in (401, 403):
                if "Authorization" in request.headers:
                    raise AccountFault(f"http {status}")
                raise Withheld("expired")  # as a link that was signed for a time answers after it
            if status != 200:
                raise (Deferred if status >= 500 or status in (408, 429) else Refused)(f"http {status}")
            declared = answer.headers.get("content-length", "")
            if declared.isdigit() and len(declared) < 16 and int(declared) > self._most:
                raise Withheld("too large")
            try:
                return await answer.whole()
            except Undecodable as error:
                if error.code.endswith("too long"):
                    raise Withheld("too large") from None
                raise Deferred(error.code) from None

    def _sender(self, host: str) -> Sender:
        """For one host of a provider's, which an operator wrote; "" for any public one."""
        if len(self._senders) >= HOSTS and host not in self._senders:
            host = ""
        if host not in self._senders:
            self._senders[host] = self._opened(Guard(host, [host] if host else []))
        return self._senders[host]

    def _opened(self, guard: Guard | None, timeout: float = FETCH_SECONDS) -> Sender:
        connect, _read = self._times
        sender = Sender(
            connect_timeout=min(connect, timeout),
            read_timeout=timeout,
            whole_timeout=timeout,
            connections=TOGETHER + 2,
            answer_limit=self._most,
            guard=guard,
            tls=client_context(),
        ).open()
        self._stack.push_async_callback(sender.close)
        return sender

    def scanner(self) -> Scanner | None:
        scan = self._configuration.media.scan
        if scan is None:
            return None
        if scan.clamd is not None:
            return Clamd(*scan.place, scan.timeout)
        if "the scanner" not in self._senders:  # no host has a space in its name
            self._senders["the scanner"] = self._opened(None, scan.timeout)
        token = scan.token.get_secret_value() if scan.token else ""
        return HttpScanner(scan.url or "", token, self._senders["the scanner"])

    # ------------------------------------------------------------ of agents

    async def facts(self, channel_id: str, media_id: str) -> Facts:
        """Size and type of an agent's file. Raises as `of_agent`."""
        name = cached_as(channel_id, media_id)
        if name not in self._facts:
            await self.of_agent(channel_id, media_id)
        return self._facts[name]

    async def of_agent(self, channel_id: str, media_id: str) -> bytes:
        """An agent's file, from the platform or from where it is kept meanwhile. Raises a SendError."""
        name = cached_as(channel_id, media_id)
        data = None
        with suppress(OSError, TimeoutError):  # where it is kept is away: it is read from where it came from
            async with asyncio.timeout(KEPT_SECONDS):
                data = await self._ledger.blobs.get(name)
        if data is None:
            data = await self._download(channel_id, media_id)
            with suppress(NoRoom, RedisError, OSError, TimeoutError):  # it is asked for again
                async with asyncio.timeout(KEPT_SECONDS):
                    await self._ledger.once.blobs.put(data, keep=CACHED, blob_id=name)
        self._facts[name] = Facts(len(data), type_of(data[:ENOUGH]))
        while len(self._facts) > KNOWN:
            self._facts.popitem(last=False)
        return data

    async def _download(self, channel_id: str, media_id: str) -> bytes:
        if "the platforms" not in self._senders:
            self._senders["the platforms"] = self._opened(None)
        platform = self._platforms.sending_by(self._senders["the platforms"]).of(channel_id)
        try:
            async with (
                asyncio.timeout(FETCH_SECONDS),
                platform.file(channel_id, media_id, self._most) as answer,
            ):
                return await answer.whole()
        except TimeoutError:
            raise Deferred("media timeout") from None
        except Refused:
            raise
        except SendError as error:  # of the platform: it says nothing of the provider that waits for the file
            if error.page and not isinstance(error, Undecodable):
                self._metrics.faults.labels(error.outcome, platform.name).inc()
            too_long = isinstance(error, Undecodable) and error.code.endswith("too long")
            raise (Refused if too_long else Deferred)(f"media {error.code}") from None


def _leads_to(url: httpx.URL, answer: Streamed) -> httpx.URL:
    """Raises Withheld for a redirect that is not followed."""
    try:
        found = url.join(answer.headers.get("location", ""))
    except httpx.InvalidURL:
        raise Withheld("wrong host") from None
    if not found.host or found.userinfo or found.scheme not in ("https", url.scheme):
        raise Withheld("wrong host")
    return found
