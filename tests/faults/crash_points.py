"""The points at which a process is made to fail, and the launcher that makes it fail there.

    python -m tests.faults.crash_points --at "before claim" --do KILL -- worker

wraps the functions at the points, and then runs `dcbridge worker`, the product's own main, unchanged. At the n-th
pass of the point the process kills itself. With `--harness SOCKET` it takes its orders from there, one after the
other; at the point it says so, waits for a word, and then dies or goes on. Whatever it sends to an outside world,
and whatever it has noted of that, it writes to a file (`--witness`): after a kill nobody else could tell.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal
from urllib.parse import parse_qs

import httpx
import structlog

from dcbridge.providers.callback import unpack
from dcbridge.smpp import pdu

Call = tuple[Any, ...]  # the arguments of a wrapped call, `self` first
WORKER, SERVICE = "worker", "service"
KILL, TERM, STALL, CLASH, REPLY, REPLIES, RESTART = "KILL", "TERM", "STALL", "CLASH", "REPLY", "REPLIES", "RESTART"
FAULTS = {
    KILL: "SIGKILL",
    TERM: "SIGTERM",
    STALL: "stalled, and back when all is done",
    CLASH: "stalled, and back while another sends",
    REPLY: "Redis reply lost",
    REPLIES: "lost, and again when repeated",
    RESTART: "Redis restart",
}


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the code. `subject` says whom a pass is about, "" for a pass that does not count.

    `kind` is what the subject names: an agent message by its "ref", its "text", its RQ "job" or, at the "webhook", its
    messageId; receipts by their "channel", "message ids" or "refs"; a "task"; a callback as it arrives ("callback").
    `reply` is a word of the command whose reply gets lost; without it that is whatever command is the next.
    """

    name: str
    part: str
    at: str
    edge: Literal["before", "during", "after"]
    kind: str
    subject: Callable[[Call, Any], str]
    reply: str = ""
    nth: int = 2
    world: str = ""  # what the outside worlds have to do: see crash_cell.WORLDS
    alone: bool = False  # one message first, the others when the fault has happened
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    routes: bool = False  # its channel has two providers, and opt-outs are kept
    consent: str = ""  # a consumer writes "STOP", or the provider "refuses" a message for one who did
    smpp: Literal["", "consumers", "reports"] = ""  # consumers write over SMPP; agents as well, and it reports on them
    clash: bool = False  # nothing is sent yet, and another one may be sending when the process wakes up
    says: str = ""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is tried here. Losing two replies in a row is for points whose command is known; only a worker that
        stalls is taken over by another.
        """
        left_out = {*self.without} if self.clash else {*self.without, CLASH}
        left_out |= {REPLIES} if not self.reply else set()
        left_out |= {STALL} if self.part != WORKER else set()
        return self.only or tuple(fault for fault in FAULTS if fault not in left_out)


def _first(call: Call, _result: Any) -> str:
    return str(call[1])


def _ours(call: Call, result: Any) -> str:
    return str(call[1]) if result.ours else ""


def _switched(call: Call, result: Any) -> str:
    return str(call[1]) if result == "retry" else ""


def _task_of(job: str) -> Callable[[Call, Any], str]:
    """A task that was claimed, when it is one of this job."""

    def subject(call: Call, result: Any) -> str:
        return str(call[1]) if result.ours and result.entry.job == job else ""

    return subject


def _text(call: Call, _result: Any = None) -> str:
    """The text of an SMS that is on its way to the provider; "" for any other request."""
    request = call[1]
    if not isinstance(request, httpx.Request) or request.method != "POST":
        return ""
    return parse_qs(request.content.decode("ascii", "replace")).get("Body", [""])[0]


def _job(call: Call, _result: Any) -> str:
    """The id that was popped from the queue of messages, before it is entered as started."""
    popped = call[3].decode()
    return popped if popped.startswith("send-") else ""


def _jobs(_call: Call, result: Any) -> str:
    return next((job.decode() for job, _queue, _data in result or () if job.startswith(b"send-")), "")


def _decision(call: Call, _result: Any) -> str:
    return str(call[1].id)


def _question(call: Call, _result: Any) -> str:
    return str(call[0].ref)


def _refs(call: Call, _result: Any) -> str:
    return " ".join(call[2])


def _message_ids(call: Call, _result: Any) -> str:
    return " ".join(receipt.message_id for receipt in call[2])


def _message_id(call: Call, _result: Any) -> str:
    return str(call[1][0].message_id)


def _arrival(*, is_report: bool) -> Callable[[Call, Any], str]:
    """What comes in an SMPP session: reports, or what consumers write."""

    def subject(call: Call, _result: Any) -> str:
        task, unit = call[5], unpack(call[5].payload)[1].body
        kind = pdu.read_message(unit[pdu.HEADER :]).esm_class & pdu.TYPE
        return str(task.id) if (kind == pdu.RECEIPT) == is_report else ""

    return subject


def _inbound(call: Call, _result: Any) -> str:
    """A consumer's SMS as it arrives. Status callbacks have no lane, and do not count."""
    return str(call[1].id) if call[1].lane else ""


_DOING: ContextVar[str] = ContextVar("doing", default="")  # the task that the running coroutine has claimed


def _doing(_call: Call, _result: Any = None) -> str:
    return _DOING.get()


def _only(kind: str) -> Callable[[Call, Any], str]:
    """A task whose id begins so."""
    return lambda call, _result: str(call[1]) if str(call[1]).startswith(kind) else ""


def _heard(call: Call, _result: Any = None) -> str:
    """The callback whose STOP is kept."""
    return _DOING.get() if call[4] == "keyword" else ""


def _learnt(call: Call, _result: Any = None) -> str:
    """The message that the provider refused for an opt-out."""
    return str(structlog.contextvars.get_contextvars().get("message", "")) if call[4] == "provider" else ""


_MESSAGES = "dcbridge.ledger.messages:Messages."
_LEDGER_RECEIPTS = "dcbridge.ledger.receipts:Receipts."
_TASKS = "dcbridge.ledger.tasks:Tasks."
_SEND = "dcbridge.transport.sender:Sender.send"
_TAKE = "workers.worker:RelayWorker._take"
_ARRIVE = "dcbridge.ledger.sessions:Sessions.arrive"
_INBOX = "service.journal.inbox:Inbox.put"
_RECEIPTS = "dcbridge.digital_channels:DigitalChannels.post_receipts"
_POST = "dcbridge.digital_channels:DigitalChannels.post_consumer_message"
_OPT_OUT = "dcbridge.ledger.consent:Consent.stop"
_UPLOAD = "dcbridge.ledger.uploads:Uploads.note"

POINTS = (
    Point("job popped", WORKER, _TAKE, "before", "job", _job, nth=1, alone=True, reply="outbound",
          says="its id is out of the queue and in no registry"),
    Point("job taken", WORKER, _TAKE, "after", "job", _jobs, clash=True,
          says="in RQ's started registry, and not yet run"),
    Point("before claim", WORKER, _MESSAGES + "claim", "before", "ref", _first, reply="claim", clash=True),
    Point("after claim", WORKER, _MESSAGES + "claim", "after", "ref", _ours, clash=True,
          says="the provider is not spoken to yet"),
    Point("before the parts are told", WORKER, _MESSAGES + "parts", "before", "ref", _first, nth=1, reply="parts",
          clash=True, says="of a message in two parts, claimed"),
    # A worker that stalls between its last look at the clock and the first byte sends late, whatever it does.
    Point("before the request", WORKER, _SEND, "before", "text", _text, without=(STALL,),
          says="built, and no byte written"),
    Point("request on the wire", WORKER, _SEND, "during", "text", _text, world="slow",
          says="the provider has it and has not answered"),
    Point("on the wire, silent provider", WORKER, _SEND, "during", "text", _text, nth=1, world="silent",
          alone=True, only=(KILL,), says="no callback ever comes, and it has to be asked"),
    Point("answer received", WORKER, _SEND, "after", "text", _text, says="in memory alone"),
    Point("answer received, silent provider", WORKER, _SEND, "after", "text", _text, nth=1, world="silent",
          alone=True, only=(KILL,), says="no callback ever comes, and it has to be asked"),
    Point("before finish", WORKER, _MESSAGES + "submitted", "before", "ref", _first, reply="submitted",
          says="the lane has not moved"),
    Point("after finish", WORKER, _MESSAGES + "submitted", "after", "ref", _first,
          says="the lane has moved, the next message has its job"),
    Point("receipt queued", WORKER, _LEDGER_RECEIPTS + "take", "before", "channel", _first, nth=1,
          reply="receipts_take", says="its job runs and has taken none yet"),
    Point("receipt on the wire", WORKER, _RECEIPTS, "during", "message ids", _message_ids, nth=1, world="late",
          says="Digital Channels has it and has not answered"),
    Point("receipt posted, not noted", WORKER, _LEDGER_RECEIPTS + "done", "before", "refs", _refs, nth=1,
          reply="receipts_done"),
    Point("found, not decided", WORKER, "workers.reconciler:_decide", "before", "ref", _decision, nth=1,
          world="reset", alone=True, reply="lookup", says="the reconciler half done"),
    Point("provider asked, not followed", WORKER, "workers.lookups:_follow", "before", "ref", _question, nth=1,
          world="reset", alone=True, reply="lookup_not_there",
          says="the provider never saw it, and nobody wrote that down"),
    Point("callback claimed", WORKER, _TASKS + "claim", "after", "task", _task_of("callback")),
    Point("callback applied, not noted", WORKER, _TASKS + "done", "before", "task", _only("b-"),
          reply="task_done"),
    Point("consumer's message claimed", WORKER, _TASKS + "claim", "after", "task", _task_of("consumer"),
          clash=True),
    Point("picture uploaded, not noted", WORKER, _UPLOAD, "before", "task", _first, reply="upload_note",
          says="at Digital Channels, and its message is not posted"),
    Point("picture noted, message not posted", WORKER, _UPLOAD, "after", "task", _first, clash=True),
    Point("consumer's message on the wire", WORKER, _POST, "during", "task", _doing, world="late",
          says="Digital Channels has it and has not answered"),
    Point("consumer's message not noted", WORKER, _TASKS + "done", "before", "task", _only("c-"),
          reply="task_done", says="posted and answered"),
    Point("service: before write", SERVICE, _MESSAGES + "accept", "before", "webhook", _message_id, reply="accept"),
    Point("service: written, not answered", SERVICE, _MESSAGES + "accept", "after", "webhook", _message_id),
    Point("service: callback before write", SERVICE, _INBOX, "before", "callback", _inbound, reply="task_put"),
    Point("service: callback not answered", SERVICE, _INBOX, "after", "callback", _inbound, says="and written"),
    Point("chosen, not sent", WORKER, _MESSAGES + "claim", "after", "ref", _ours, routes=True, clash=True,
          says="one of two providers, and neither is spoken to yet"),
    Point("refused, not switched", WORKER, _MESSAGES + "retry", "before", "ref", _first, nth=1, routes=True,
          world="off", reply="retry", says="the first of two providers refused the account"),
    Point("switched, not sent", WORKER, _MESSAGES + "retry", "after", "ref", _switched, nth=1, routes=True,
          world="off", says="the first of two providers refused the account, and the second is not spoken to yet"),
    Point("STOP kept, not confirmed", WORKER, _OPT_OUT, "after", "task", _heard, nth=1, routes=True, consent="STOP",
          only=(KILL, TERM, STALL, REPLY, RESTART), says="its callback is not done, and the answer not queued"),
    Point("opt-out learnt, not noted", WORKER, _OPT_OUT, "before", "ref", _learnt, nth=1, routes=True,
          consent="refuses", only=(KILL, TERM, STALL, REPLY, RESTART), says="by the code of a refused message"),
    # An SMSC waits for the answer of the session in which it said something: nobody takes over from one that stalls.
    Point("deliver_sm before write", WORKER, _ARRIVE, "before", "callback", _arrival(is_report=False), reply="arrive",
          smpp="consumers", without=(STALL,)),
    Point("deliver_sm not acknowledged", WORKER, _ARRIVE, "after", "callback", _arrival(is_report=False),
          smpp="consumers", without=(STALL,), says="stored, and the SMSC has no answer"),
    Point("report not acknowledged", WORKER, _ARRIVE, "after", "report", _arrival(is_report=True), nth=1, alone=True,
          world="reported", smpp="reports", without=(STALL,), says="stored, and the SMSC has no answer"),
)  # fmt: skip

# What a witness has to tell of: every effect in the outside worlds, and every note of one.
WATCHED: dict[str, tuple[str, Callable[[Call, Any], str]]] = {
    "receipts": (_RECEIPTS, _message_ids),
    "receipts noted": (_LEDGER_RECEIPTS + "done", _refs),
    "posted": (_POST, _doing),
    "posted noted": (_TASKS + "done", _only("c-")),
}


class Gate:
    """What the process is to do at which point, and the line to whoever tells it."""

    def __init__(self, witness: str = "", harness: str = "") -> None:
        self.point, self.left, self.do = "", 0, ""
        self._file = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if witness else None
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None
        self._line: socket.socket | None = None
        if harness:
            self._line = socket.socket(socket.AF_UNIX)
            self._line.connect(harness)
            threading.Thread(target=self._listen, args=(self._line,), daemon=True).start()

    def arm(self, point: str, nth: int, do: str) -> None:
        self.left, self.do, self.point = nth, do, point

    async def passes(self, point: Point, subject: str) -> None:
        if point.name != self.point or not subject:
            return
        self.left -= 1
        if self.left:
            return
        self.point = ""
        told = {"reached": point.name, "subject": subject, "pid": os.getpid()}
        if self._line is not None:
            loop = asyncio.get_running_loop()
            go = loop.create_future()
            self._waiting = (loop, go)
            self._say(told)
            await go
        else:
            sys.stderr.write(json.dumps(told) + "\n")
        if self.do == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.do == TERM:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)  # the loop hears of it while this coroutine is still at the point

    def tell(self, what: str, when: str, subject: str) -> None:
        """A line of the witness: one write, which outlives the process."""
        if self._file is not None and subject:
            line = {"at": time.time(), "pid": os.getpid(), "what": what, "when": when, "subject": subject}
            os.write(self._file, json.dumps(line).encode() + b"\n")

    def _say(self, what: dict[str, Any]) -> None:
        assert self._line is not None
        self._line.sendall(json.dumps(what).encode() + b"\n")

    def _listen(self, line: socket.socket) -> None:
        """Orders, in a thread of its own: the event loop belongs to the product."""
        self._say({"here": os.getpid()})
        for text in line.makefile("r"):
            order = json.loads(text)
            if "go" in order:
                assert self._waiting is not None
                loop, go = self._waiting
                loop.call_soon_threadsafe(go.set_result, None)
            else:
                self.arm(order["point"], order["nth"], order["do"])
                self._say({"armed": order["point"]})


def owner_of(at: str) -> tuple[Any, str]:
    """The module or class that holds a function, and its name there."""
    module, _, path = at.partition(":")
    *classes, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for one in classes:
        owner = getattr(owner, one)
    return owner, name


def _wrap(at: str, around: Callable[[Callable[..., Awaitable[Any]], Call, dict[str, Any]], Awaitable[Any]]) -> None:
    owner, name = owner_of(at)
    original = getattr(owner, name)

    @wraps(original)
    async def wrapped(*call: Any, **named: Any) -> Any:
        return await around(original, call, named)

    setattr(owner, name, wrapped)


def install(gate: Gate) -> None:
    """Wrap what the points and the witness name. What no longer exists raises AttributeError."""
    watch(gate)
    for point in POINTS:
        guard(gate, point)


def watch(gate: Gate) -> None:
    """Let the witness tell of what the process does outside, and of what it has noted."""
    for what, (at, subject) in WATCHED.items():
        _watch(gate, what, at, subject)
    _wrap(_TASKS + "claim", _remember)


async def _remember(original: Callable[..., Awaitable[Any]], call: Call, named: dict[str, Any]) -> Any:
    _DOING.set(str(call[1]))
    return await original(*call, **named)


def _watch(gate: Gate, what: str, at: str, subject: Callable[[Call, Any], str]) -> None:
    async def around(original: Callable[..., Awaitable[Any]], call: Call, named: dict[str, Any]) -> Any:
        name = subject(call, None)
        gate.tell(what, "begins", name)
        try:
            result = await original(*call, **named)
        except Exception:
            gate.tell(what, "fails", name)
            raise
        gate.tell(what, "stale" if result == "stale" else "done", name)
        return result

    _wrap(at, around)


def guard(gate: Gate, point: Point) -> None:
    async def before(original: Callable[..., Awaitable[Any]], call: Call, named: dict[str, Any]) -> Any:
        await gate.passes(point, point.subject(call, None))
        return await original(*call, **named)

    async def during(original: Callable[..., Awaitable[Any]], call: Call, named: dict[str, Any]) -> Any:
        if gate.point != point.name:
            return await original(*call, **named)
        under_way = asyncio.ensure_future(original(*call, **named))
        await gate.passes(point, point.subject(call, None))
        return await under_way

    async def after(original: Callable[..., Awaitable[Any]], call: Call, named: dict[str, Any]) -> Any:
        result = await original(*call, **named)
        await gate.passes(point, point.subject(call, result))
        return result

    _wrap(point.at, {"before": before, "during": during, "after": after}[point.edge])


def main(arguments: Sequence[str]) -> None:
    """Wrap, then run the product's own main with what stands behind the `--`."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--at", default="", help="the point")
    options.add_argument("--do", default=KILL, choices=(KILL, TERM))
    options.add_argument("--nth", type=int, default=1, help="at which pass")
    options.add_argument("--harness", default="", help="a Unix socket to take orders from")
    options.add_argument("--witness", default="", help="a file to write outside effects to")
    options.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="for this process alone")
    options.add_argument("command", nargs="+", help="serve or worker, and their arguments")
    asked = options.parse_args(arguments)
    gate = Gate(asked.witness, asked.harness)
    if asked.at:
        gate.arm(asked.at, asked.nth, asked.do)
    os.environ.update(one.split("=", 1) for one in asked.set)
    install(gate)

    from dcbridge.cli.app import main as product

    sys.argv = ["dcbridge", *asked.command]
    product()


if __name__ == "__main__":
    main(sys.argv[1:])
