"""The ledger: what Redis remembers of every message, and the only code that moves it.

One aggregate, one file: messages, lookups, receipts, tasks, events, deliveries … Every transition is one atomic script
(the .lua files beside them), and all of them share one `Script`, so that what happens at one moment is written at once.
Each verb may be repeated blindly, since a reply can be lost.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import Self

from redis.asyncio import Redis

from dcbridge.ledger.asides import Asides
from dcbridge.ledger.blobs import BlobRoom, Blobs, BlobStore
from dcbridge.ledger.bookings import Bookings
from dcbridge.ledger.calls import Calls
from dcbridge.ledger.consent import Consent
from dcbridge.ledger.console import ConsoleStore
from dcbridge.ledger.controls import Controls
from dcbridge.ledger.dead_letters import DeadLetters
from dcbridge.ledger.deliveries import Deliveries
from dcbridge.ledger.digests import Digests
from dcbridge.ledger.entries import Claimed, Decision, MessageClaim, OwedReceipt, Swept, TaskClaim
from dcbridge.ledger.events import Events
from dcbridge.ledger.heard import Heard
from dcbridge.ledger.index import Index
from dcbridge.ledger.kept_text import KeptText
from dcbridge.ledger.layout import Layout
from dcbridge.ledger.leases import Leases, Worker
from dcbridge.ledger.lookups import Lookups
from dcbridge.ledger.lua import ledger_script
from dcbridge.ledger.mailboxes import Mailboxes
from dcbridge.ledger.messages import Messages, NewMessage, lane_of
from dcbridge.ledger.nights import Nights
from dcbridge.ledger.own import Own
from dcbridge.ledger.pacing import Pacing
from dcbridge.ledger.patience import Patience
from dcbridge.ledger.pauses import Pauses
from dcbridge.ledger.quiet import Quiet
from dcbridge.ledger.receipts import Receipts
from dcbridge.ledger.refusals import Refusals
from dcbridge.ledger.requests import Requests
from dcbridge.ledger.routes import Routes
from dcbridge.ledger.runs import Runs
from dcbridge.ledger.script import Retention, Script, ms
from dcbridge.ledger.services import Services
from dcbridge.ledger.sessions import Sessions
from dcbridge.ledger.shapes import Shapes
from dcbridge.ledger.signals import Signals
from dcbridge.ledger.signatures import Signatures
from dcbridge.ledger.subscribers import Subscribers
from dcbridge.ledger.sweep import Sweep
from dcbridge.ledger.tasks import NewPiece, NewTask, Tasks
from dcbridge.ledger.threads import Threads
from dcbridge.ledger.tokens import Tokens
from dcbridge.ledger.unconfigured import Unconfigured
from dcbridge.ledger.uploads import Uploads
from dcbridge.ledger.work_items import WorkItems
from dcbridge.settings.process import DAY, Settings
from dcbridge.store.durability import Durable

__all__ = [
    "Claimed",
    "Decision",
    "Ledger",
    "MessageClaim",
    "NewMessage",
    "NewPiece",
    "NewTask",
    "OwedReceipt",
    "Swept",
    "TaskClaim",
    "lane_of",
]


class Ledger:
    """All aggregates on one Redis.

    `keep`, `keep_dead`, `keep_events`: seconds for which finished entries, dead letters and events are kept. After
    `partner_within` a missing STARTED or FINISHED is a gap. `durable`: see Batch. `worker`: a name for the claims of
    this process; without one a claim ends with its lease alone. `silence`: seconds without a heartbeat after which a
    worker counts as dead. `room`: for files; `store`: for
    large ones, in place of its folder. `index`: for a search; without one, nothing is
    indexed. `text`: for what may be sent again.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        keep: float,
        keep_dead: float,
        keep_events: float = 7 * DAY,
        partner_within: float = 7 * DAY,
        durable: Durable | None = None,
        worker: str = "",
        silence: float = 10.0,
        patience: Patience | None = None,
        room: BlobRoom | None = None,
        store: BlobStore | None = None,
        index: Index | None = None,
        text: KeptText | None = None,
    ) -> None:
        self.redis = redis
        self._room, self._store = room or BlobRoom(), store
        self._keep = Retention(
            ms(keep), ms(keep_dead), ms(keep_events), ms(partner_within), index or Index(), text or KeptText()
        )
        self._worker = Worker(worker, ms(silence))
        self._open(Script(redis, ledger_script(), durable, patience))

    def _open(self, script: Script) -> None:
        keep, worker = self._keep, self._worker
        self.script = script
        self.asides = Asides(script)
        self.blobs = Blobs(script, self._room, self._store)
        self.bookings = Bookings(script)
        self.calls = Calls(script)
        self.consent = Consent(script)
        self.console = ConsoleStore(script)
        self.controls = Controls(script)
        self.dead_letters = DeadLetters(script, keep)
        self.digests = Digests(script)
        self.events = Events(script, keep)
        self.heard = Heard(script)
        self.layout = Layout(script)
        self.leases = Leases(script, worker)
        self.lookups = Lookups(script, keep)
        self.mailboxes = Mailboxes(script)
        self.messages = Messages(script, keep)
        self.nights = Nights(script)
        self.own = Own(script, keep)
        self.pacing = Pacing(script, worker.name)
        self.pauses = Pauses(script)
        self.quiet = Quiet(script, keep)
        self.receipts = Receipts(script, keep)
        self.requests = Requests(script)
        self.refusals = Refusals(script)
        self.routes = Routes(script)
        self.runs = Runs(script)
        self.services = Services(script)
        self.sessions = Sessions(script, worker)
        self.shapes = Shapes(script)
        self.signals = Signals(script)
        self.signatures = Signatures(script)
        self.subscribers = Subscribers(script)
        self.sweep = Sweep(script, keep, worker)
        self.tasks = Tasks(script, keep)
        self.tokens = Tokens(script)
        self.unconfigured = Unconfigured(script, keep)
        self.threads = Threads(script)
        self.uploads = Uploads(script)
        self.work_items = WorkItems(script)
        self.deliveries = Deliveries(script, keep, self.tasks)

    @classmethod
    def of(
        cls,
        settings: Settings,
        redis: Redis,
        durable: Durable | None = None,
        worker: str = "",
        patience: Patience | None = None,
        store: BlobStore | None = None,
    ) -> Self:
        """The ledger of a process, kept as long as its settings say."""
        return cls(
            redis,
            keep=settings.retention_days * DAY,
            keep_dead=settings.dead_letter_days * DAY,
            keep_events=settings.event_days * DAY,
            partner_within=settings.event_partner_days * DAY,
            durable=durable,
            worker=worker,
            silence=settings.worker_silence,
            patience=patience,
            room=BlobRoom(settings.blob_memory, settings.blob_folder, settings.blob_folder_limit),
            store=store,
            index=Index.of(settings),
            text=KeptText.of(settings),
        )

    @cached_property
    def once(self) -> Self:
        """The same ledger, whose verbs are tried once: for whoever comes again by itself, as a sweep does."""
        same = copy(self)
        same._open(self.script.once())
        return same
