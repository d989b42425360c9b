"""Everything that happened so far, and who is watching.

Counts and logs are bounded: things that tests count are kept up to `KEPT`, the wire up to `EXCHANGES`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from sandbox.config import SandboxConfig
from sandbox.mailbox import Mail, WrittenMail
from sandbox.records import (
    AgentMessage,
    BookedCall,
    Exchange,
    HeardEvent,
    Interaction,
    Record,
    SecureMail,
    SeenByAgent,
    SentByConsumer,
    Sms,
    Violation,
    WorkItem,
)
from sandbox.switches import Switches

KEPT = 200_000
KEPT_MAILS = 20_000
KEPT_WRITTEN = 500  # mails of consumers, with their files
EXCHANGES = 400
WAITING = 2_000  # events a watcher may lag behind before the oldest are dropped

log = logging.getLogger("sandbox")


class Watcher:
    """One open page: what it has not been told yet, newest version of each record once."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[tuple[str, int], Record] = OrderedDict()
        self.ready = asyncio.Event()
        self.closed = False
        self.emptied = False  # everything told so far is void

    def tell(self, kind: str, record: Record) -> None:
        self.waiting[(kind, record.seq)] = record
        if len(self.waiting) > WAITING:
            self.waiting.popitem(last=False)
        self.ready.set()

    def take(self) -> list[tuple[str, Record]]:
        taken = [(kind, record) for (kind, _), record in self.waiting.items()]
        self.waiting.clear()
        self.ready.clear()
        return taken

    def forget(self) -> None:
        self.waiting.clear()
        self.emptied = True
        self.ready.set()

    def close(self) -> None:
        self.closed = True
        self.ready.set()


class World:
    """The state of one sandbox, owned by one event loop."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.accounts, self.channels = config.all_accounts(), config.all_channels()
        self.smtp_port = config.smtp_port
        self.watchers: set[Watcher] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._seq = 0
        self.epoch = 0  # how often it was told to forget everything
        self.own_url = config.own_url
        self.shown: dict[str, Callable[[], object]] = {}  # switches that the page has and others keep, by name
        self.cloud_tokens: dict[str, float] = {}  # of open_messaging.py: token -> when it ends; a reset forgets none
        self._clear()

    def _clear(self) -> None:
        self.switches = Switches()
        self.counts: Counter[str] = Counter()
        self.agent: OrderedDict[tuple[str, str], AgentMessage] = OrderedDict()
        self.seen: deque[SeenByAgent] = deque(maxlen=KEPT)
        self.consumer: deque[SentByConsumer] = deque(maxlen=KEPT)
        self.sms: OrderedDict[str, Sms] = OrderedDict()
        self.sms_by_number: dict[str, deque[Sms]] = {}
        self.mails: deque[Mail] = deque(maxlen=KEPT_MAILS)
        self.written: deque[WrittenMail] = deque(maxlen=KEPT_WRITTEN)
        self.interactions: deque[Interaction] = deque(maxlen=10_000)
        self.heard: OrderedDict[str, HeardEvent] = OrderedDict()  # by webhook-id
        self.violations: deque[Violation] = deque(maxlen=10_000)
        self.exchanges: deque[Exchange] = deque(maxlen=EXCHANGES)
        self.media: OrderedDict[tuple[str, str], tuple[str, str, bytes]] = OrderedDict()
        self.files: OrderedDict[str, Any] = OrderedDict()  # of sandbox.files: what the page shows
        self.tries: Counter[str] = Counter()  # of magic addresses that change their mind
        self.items: OrderedDict[str, WorkItem] = OrderedDict()  # by externalId
        self.secure: OrderedDict[str, SecureMail] = OrderedDict()  # by secureMailId
        self.attached: OrderedDict[str, dict[str, str]] = OrderedDict()  # interaction -> its attached data
        self.calls: OrderedDict[str, BookedCall] = OrderedDict()  # callbacks, by their ids
        self.full: set[float] = set()  # times of slots that others have taken
        self.line: object | None = None  # the login of web_services.py
        self.given: object | None = None  # tokens of authentication.py
        self.floor: object | None = None  # what statistics.py says of the contact centre
        self.sessions: dict[str, object] = {}  # of cometd.py, by path
        self.cloud_messages: set[str] = set()  # of open_messaging.py: ids of consumers' messages that it has seen
        self.opted_out: set[tuple[str, str]] = set()  # provider and number of consumers who wrote STOP

    def reset(self) -> None:
        """Forget everything, stop what is under way, put every switch back."""
        for task in self.tasks:
            task.cancel()
        self.epoch += 1
        self._clear()
        for watcher in self.watchers:
            watcher.forget()

    @property
    def client(self) -> httpx.AsyncClient:
        """The one client that calls the bridge; open between start and stop."""
        assert self._client is not None, "the sandbox's lifespan has not started"
        return self._client

    @contextmanager
    def using(self, client: httpx.AsyncClient) -> Iterator[None]:
        self._client = client
        try:
            yield
        finally:
            self._client = None

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the request that asked for it; `reset` and the end of the lifespan cancel it."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the sandbox failed", exc_info=error)

    async def stop(self) -> None:
        """End the watchers' streams and everything under way."""
        self.close_watchers()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close_watchers(self) -> None:
        """End every open event stream: a server that waits for its connections would wait for ever."""
        for watcher in self.watchers:
            watcher.close()

    def tell(self, kind: str, record: Record) -> None:
        for watcher in self.watchers:
            watcher.tell(kind, record)

    def keep_agent(self, message: AgentMessage) -> None:
        self.agent[(message.channel_id, message.message_id)] = message
        if len(self.agent) > KEPT:
            self.agent.popitem(last=False)
        self.tell("agent", message)

    def keep_sms(self, sms: Sms) -> None:
        self.sms[sms.sid] = sms
        self.sms_by_number.setdefault(sms.to, deque()).append(sms)
        if len(self.sms) > KEPT:
            _, oldest = self.sms.popitem(last=False)
            self.sms_by_number[oldest.to].popleft()
        self.counts["sms"] += 1
        self.tell("sms", sms)

    def keep_heard(self, event: HeardEvent) -> None:
        self.heard[event.webhook_id] = event
        if len(self.heard) > KEPT:
            self.heard.popitem(last=False)

    def keep_item(self, item: WorkItem) -> None:
        self.items[item.external] = item
        if len(self.items) > KEPT:
            self.items.popitem(last=False)
        self.tell("item", item)

    def keep_secure(self, mail: SecureMail) -> None:
        self.secure[mail.id] = mail
        if len(self.secure) > KEPT:
            self.secure.popitem(last=False)
        self.tell("secure", mail)

    def attach(self, interaction: str, data: dict[str, str]) -> None:
        self.attached[interaction] = data
        if len(self.attached) > KEPT:
            self.attached.popitem(last=False)

    def keep_call(self, call: BookedCall) -> None:
        self.calls[call.id] = call
        if len(self.calls) > KEPT:
            self.calls.popitem(last=False)
        self.tell("call", call)

    def violation(self, who: str, rule: str, detail: str = "") -> None:
        found = Violation(self.next_seq(), time.time(), who, rule, detail)
        self.violations.append(found)
        self.counts["violations"] += 1
        self.tell("violation", found)

    def exchange(
        self,
        who: str,
        inward: bool,
        method: str,
        path: str,
        started: float,
        status: int,
        sent: bytes,
        answered: bytes,
        check: str = "",
        code: str = "",
    ) -> None:
        """Note one request and its answer. `started` is time.perf_counter() at its beginning."""
        ms = (time.perf_counter() - started) * 1000
        made = Exchange(
            self.next_seq(),
            time.time(),
            who,
            inward,
            method,
            path,
            status,
            ms,
            check,
            sent[:65536],
            answered[:65536],
            code,
        )
        self.exchanges.append(made)
        self.tell("wire", made)

    def recent(self, count: int) -> list[tuple[str, Record]]:
        """The last `count` records of each kind, oldest first: what a page that opens now should show."""
        kinds: dict[str, list[Record]] = {
            "agent": _last(self.agent, count),
            "sms": _last(self.sms, count),
            "seen": _tail(self.seen, count),
            "consumer": _tail(self.consumer, count),
            "mail": _tail(self.mails, count),
            "written": _tail(self.written, count),
            "interaction": _tail(self.interactions, count),
            "event": _last(self.heard, count),
            "item": _last(self.items, count),
            "secure": _last(self.secure, count),
            "call": _last(self.calls, count),
            "violation": _tail(self.violations, count),
            "wire": _tail(self.exchanges, count),
        }
        found = [(kind, record) for kind, records in kinds.items() for record in records]
        return sorted(found, key=lambda pair: pair[1].seq)


def _last(records: OrderedDict[Any, Any], count: int) -> list[Record]:
    return [record for _, record in zip(range(count), reversed(records.values()), strict=False)]


def _tail(records: deque[Any], count: int) -> list[Record]:
    return [record for _, record in zip(range(count), reversed(records), strict=False)]
