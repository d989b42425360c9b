"""Verbs and their headers: what Python sends to Redis is what stands above each verb in the Lua files."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import Ledger, NewPiece, NewTask
from dcbridge.ledger.blobs import SMALL, BlobRoom
from dcbridge.ledger.consent import OptOut
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.deliveries import Failure
from dcbridge.ledger.events import NewEvent
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.lua import FILES, HERE, LATER, ledger_script, verbs
from dcbridge.ledger.services import Service
from dcbridge.ledger.signals import Lead, NewSignal
from dcbridge.ledger.signatures import Refusals
from dcbridge.ledger.uploads import Due, Uploaded
from dcbridge.ledger.vault import Vault
from dcbridge.ledger.verbs import Verb, read_verbs, with_places
from dcbridge.ledger.work_items import DueItem
from dcbridge.messages import MessageStatus, UpdateStatus
from tests.ledger.ledger_bench import CHANNEL, KEEP, new_message, new_own

REF, TASK = new_message().ref, NewTask("c-1", "consumer", "", b"{}")
EVENT, CRM = f"evt_{1:024x}", "crm"
DELIVERY = f"{EVENT}-{CRM}"
FAILED = Failure("500", None, "sick", True, 1, 1.0, 1.0, 0.0)
VAULT = Vault(b"0123456789abcdef")


def lead_of(ledger: Ledger) -> Lead:
    """The same one each time."""
    lead = ledger.signals.lead("some")
    lead.token = "the-lead"
    return lead


REPORTED = MessageStatus("SM", UpdateStatus.SENT)
OWN = new_own()


class Recording(Redis):
    """Redis, and each verb that was sent to it with its arguments."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent: list[list[Any]] = []

    async def evalsha(self, sha: str, numkeys: int, *arguments: Any) -> Any:
        at, answers = 1, await super().evalsha(sha, numkeys, *arguments)
        while at < len(arguments):
            self.sent.append(list(arguments[at + 1 : at + 1 + arguments[at]]))
            at += 1 + arguments[at]
        return answers


# One call for each way in which Python speaks to the script, in an order in which each finds what it is about.
CALLS: tuple[Callable[[Ledger], Awaitable[Any]], ...] = (
    lambda it: it.tokens.ask(VAULT, "t", "owner", 1.0),
    lambda it: it.tokens.failed("t", "owner", 1.0),
    lambda it: it.tokens.put(VAULT, "t", "access", 1.0, 1.0, "refresh"),
    lambda it: it.tokens.drop("t", b"access"),
    lambda it: it.shapes.note("openmedia.create", [("data", "object")]),
    lambda it: lead_of(it).hold(15.0),
    lambda it: it.signals.watch(lead_of(it), ["a", "b"]),
    lambda it: it.signals.put(lead_of(it), [NewSignal("a", 1.5, 1.0, 1.0, 0.5), NewSignal("b", None)]),
    lambda it: it.signals.available(lead_of(it), ()),
    lambda it: it.signals.unavailable(lead_of(it), "service", ["a"]),
    lambda it: it.signals.read("a", "b"),
    lambda it: lead_of(it).end(),
    lambda it: it.layout.raise_it(),
    lambda it: it.leases.heartbeat(),
    lambda it: it.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0", "another": "acme 0 0 0 0 0 0"}),
    lambda it: it.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0"}),
    lambda it: it.messages.accept([new_message(), new_message("m-2")]),
    lambda it: it.messages.claim(REF, "t", 60.0),
    lambda it: it.messages.parts(REF, "t", 2),
    lambda it: it.messages.submitted(REF, "t", 0, 1, "SM", delivered=False, confirm_within=1.0),
    lambda it: it.messages.retry(REF, "t", 1.0, lane_limit=1.0, reason=310, code="c"),
    lambda it: it.messages.fail(REF, "t", 500, "x"),
    lambda it: it.messages.unknown(REF, "t", 1.0, "timeout"),
    lambda it: it.messages.settle(REF, "fail"),
    lambda it: it.messages.confirm_over(REF, "", ""),
    lambda it: it.messages.update(REF, 0, "delivered", "SM", "", "", 1.0),
    lambda it: it.own.put(OWN),
    lambda it: it.own.again("r-2", REF, "own/c", "own-2", "to", b"{}", "trace", 60.0, "again"),
    lambda it: it.own.tidy(),
    lambda it: it.bookings.wish("k"),
    lambda it: it.own.admit("textback", 1),
    lambda it: it.unconfigured.strand(REF, "t"),
    lambda it: it.unconfigured.give_up("nobody"),
    lambda it: it.unconfigured.remember(["nobody", "another"], "main"),
    lambda it: it.lookups.ask(REF, 1.0),
    lambda it: it.lookups.claim(REF, "t", 60.0),
    lambda it: it.lookups.answered(REF, "t", 0, "found", "acme", "sent"),
    lambda it: it.lookups.again(REF, "t", 1.0),
    lambda it: it.lookups.found(REF, "t", 0, 1, "acme", REPORTED, ["SM", "MM"], delivered=False, confirm_within=1.0),
    lambda it: it.lookups.not_there(REF, "t", 1.0),
    lambda it: it.pacing.record_failure("acme", REF, "c", at_once=False, threshold=9, first=1.0, most=2.0),
    lambda it: it.pacing.record_success("acme", REF),
    lambda it: it.pauses.begin("acme", 100.0),
    lambda it: it.pauses.bound({"acme": 50.0}),
    lambda it: it.pauses.end("acme"),
    lambda it: it.receipts.take(CHANNEL, 1, 1.0),
    lambda it: it.receipts.hold(CHANNEL, [REF], 1.0),
    lambda it: it.receipts.again(CHANNEL, {REF: 1.0}),
    lambda it: it.receipts.refused(CHANNEL, REF, "404", b"raw"),
    lambda it: it.dead_letters.owe_receipt(f"r-{REF}", REF, "from", "to"),
    lambda it: it.receipts.done(CHANNEL, [REF, "another"]),
    lambda it: it.tasks.put([TASK, NewTask("b-1", "callback", "lane", b"{}")]),
    lambda it: it.tasks.put_piece(NewPiece("c-2", "set", 1, 2, CHANNEL, "lane", b"{", ""), 1.0, 1.0),
    lambda it: it.tasks.claim("c-1", "t", 60.0),
    lambda it: it.tasks.retry("c-1", "t", 1.0, "c"),
    lambda it: it.tasks.dead("c-1", "t", "c", b"raw", 1.0),
    lambda it: it.tasks.done("b-1", "t", 1.0, ids="id-1 id-2"),
    lambda it: it.subscribers.announce({CRM: 100.0}),
    lambda it: it.events.put_batch("one", "main", "trace", b"{}"),
    lambda it: it.events.take("t", 10.0, 5),
    lambda it: it.events.put([NewEvent(EVENT, 1, "i", "s", b"{}", {CRM: "lane"})], ["1-1"]),
    lambda it: it.events.dead_letter("1-1", "i-1", "c", b"raw"),
    lambda it: it.pauses.end("subscribers/crm"),
    lambda it: it.deliveries.failed(DELIVERY, "t", FAILED),
    lambda it: it.deliveries.delivered(DELIVERY),
    lambda it: it.deliveries.replay(CRM, {EVENT: "lane"}),
    lambda it: it.subscribers.disable(CRM, "operator"),
    lambda it: it.subscribers.enable(CRM),
    lambda it: it.events.sweep(),
    lambda it: it.dead_letters.add("l-1", Kind.CALLBACK, CHANNEL, "c", b"raw"),
    lambda it: it.dead_letters.put_task("l-1", NewTask("b-2", "callback", "", b"{}")),
    lambda it: it.dead_letters.add("l-2", Kind.AGENT_MESSAGE, CHANNEL, "c", b"raw"),
    lambda it: it.dead_letters.accept("l-2", [new_message("m-3")]),
    lambda it: it.dead_letters.again("t-c-1", TASK),
    lambda it: it.dead_letters.put_batch("l-3", "two", "main", "trace", b"{}"),
    lambda it: it.dead_letters.put_delivery("l-4", EVENT, CRM, "lane", b"1 1 {}"),
    lambda it: it.dead_letters.drop(["l-5", "l-6"]),
    lambda it: it.pacing.may_speak("genesys/engagement", "b-1", 60.0),
    lambda it: it.bookings.ask("b-1", "key", b"{}", 60.0),
    lambda it: it.bookings.begin("b-1", "t", "key", 0, 60.0),
    lambda it: it.bookings.end("b-1", "key", "booked", 60.0, "id", NewTask("w-1", "watch", "", b"{}")),
    lambda it: it.bookings.over("key", "id"),
    lambda it: it.bookings.unask("key"),
    lambda it: it.requests.slot("genesys/engagement", 2.5, 1, 10.0),
    lambda it: it.requests.begin("b-1", "t"),
    lambda it: it.requests.free("b-1", "t"),
    lambda it: it.work_items.opened("l-1", 1, CRM),
    lambda it: it.work_items.due(5, 60.0),
    lambda it: it.work_items.seen(DueItem("l-1", 1, CRM), "gone"),
    lambda it: it.script.record("aside", f"m:{REF}", "why", ""),  # as read_claim and Receipts.take do
    lambda it: it.asides.put_back(f"m:{REF}"),
    lambda it: it.asides.drop([f"m:{REF}", "t:c-1"]),
    lambda it: it.consent.stop("brand", "token", 1, "keyword", "SM1"),
    lambda it: it.consent.start("brand", "token", 2, "keyword"),
    lambda it: it.consent.put([OptOut("brand", "token", datetime.now(UTC), "keyword", "")]),
    lambda it: it.consent.found([OptOut("brand", "token", datetime.now(UTC), "provider", "")], dry=True),
    lambda it: it.consent.require_key("fingerprint"),
    lambda it: it.quiet.announce({CHANNEL: "f1"}),
    lambda it: it.quiet.hold(REF, "t", 2e9, 1e9, fingerprint="f1", how="wait", detail="quiet hours"),
    lambda it: it.quiet.announce_holds({CHANNEL: "f1 sales-wait 5 60000"}),
    lambda it: it.quiet.hold_while(REF, "t", fingerprint="f1", detail="statistic"),
    lambda it: it.quiet.consumer_wrote("lane", 60.0),
    lambda it: it.blobs.put(b"small", keep=60.0, task="c-1"),
    lambda it: it.blobs.put(bytes(SMALL + 1), keep=0.0, blob_id="large"),
    lambda it: it.blobs.sweep(),
    lambda it: it.blobs.delete("large", "another"),
    lambda it: it.uploads.note("c-1", 0, Uploaded("media"), CHANNEL, keep=0.001, remember=60.0),
    lambda it: it.uploads.due(),
    lambda it: it.mailboxes.hold("channel/main", "one", 15.0),
    lambda it: it.mailboxes.note("channel/main", "one", contact=1.0),
    lambda it: it.mailboxes.stored("channel/main", 7, 1),
    lambda it: it.mailboxes.release("channel/main", "one"),
    lambda it: it.threads.add("thread", "1@example.org", [1, 2]),
    lambda it: it.threads.mails_of("thread", "c-1", 60.0),
    lambda it: it.uploads.refused(Due(CHANNEL, "media"), 60.0),
    lambda it: it.uploads.deleted([Due(CHANNEL, "media")]),
    lambda it: it.routes.stick(CHANNEL, "lane", "acme"),
    lambda it: it.routes.unstick("lane"),
    lambda it: it.routes.steer("acme", "drain", 60.0, "ann", "why"),
    lambda it: it.routes.clear("acme"),
    lambda it: it.routes.drill("acme", 0.01, 60.0, "ann", "why"),
    lambda it: it.routes.end_drill("acme"),
    lambda it: it.controls.begin(Target(What.CHANNEL, CHANNEL), lasts=60.0, by="ann", why="why"),
    lambda it: it.controls.end(Target(What.CHANNEL, CHANNEL), by="ann"),
    lambda it: it.controls.cancel([REF, "another"]),
    lambda it: it.controls.retry([REF], with_unknown=True),
    lambda it: it.controls.release([REF]),
    lambda it: it.controls.note("ann", "cancel", "all", "why", "1 cancelled"),
    lambda it: it.sweep.run(),
    lambda it: it.services.here(Service("host-1", "0.1.0", 1.0)),
    lambda it: it.services.here(Service("host-1", "0.1.0", 1.0), {("main", "a1f3"): 1.0, ("main", "b2e4"): 0.0}),
    lambda it: it.signatures.report("host-1", 1, [Refusals("main", "missing", 2, 1.0, 2.0)]),
    lambda it: it.sessions.hold("acme", 1, 1.0, up=True),
    lambda it: it.sessions.release("acme"),
    lambda it: it.sessions.ended("acme", "session"),
    lambda it: it.sessions.arrive("acme", 10.0, "digest", "session", TASK),
    lambda it: it.sessions.read("session", ["digest"]),
    lambda it: it.sessions.pass_on(REF, "t", "acme"),
    lambda it: it.leases.release(),
)


@pytest.fixture
async def redis(own_redis: EmbeddedRedis) -> AsyncIterator[Recording]:
    async with Recording(port=own_redis.port) as client:
        yield client


async def test_python_sends_what_the_headers_say(redis: Recording, tmp_path: Path) -> None:
    known, wrong, called = verbs(), [], set[str]()
    ledger = Ledger(redis, keep=KEEP, keep_dead=KEEP, worker="w", room=BlobRoom(folder=str(tmp_path)))
    for call in CALLS:
        await call(ledger)
    for name, *arguments in redis.sent:
        inner = [name, *arguments]
        while inner[0] == "replay":  # a dead letter's id, and the verb that puts its content back
            called.add("replay")
            inner = inner[2:]
        called.add(inner[0])
        if not known[inner[0]].takes(len(inner) - 1):
            wrong.append(f"{inner[0]} with {len(inner) - 1}")
    assert wrong == []
    assert called == known.keys()


async def test_lua_has_places_left_for_locals(redis: Recording) -> None:
    """It takes 200 at a time."""
    more = "".join(f"local one_more_{place}\n" for place in range(10))
    await redis.script_load(more + ledger_script())


HEADER = "-- @verb one ref (part count)… -> ok\n-- Says why.\nfunction verbs.one()\n  return a.ref\nend\n"


@pytest.mark.parametrize(
    ("count", "fits"), [(0, False), (1, True), (2, False), (3, True), (5, True), (6, False)]
)  # fmt: skip
def test_a_header_says_how_many_arguments_there_are(count: int, fits: bool) -> None:
    assert list(read_verbs(HEADER)) == [Verb("one", ("ref",), ("part", "count"))]
    assert next(read_verbs(HEADER)).takes(count) == fits


def test_names_become_places() -> None:
    body = "  for i = each.from, #ARGV, each.size do f(a.ref, each.part, each.count) end\n"
    assert with_places(HEADER.replace("  return a.ref\n", body)) == HEADER.replace(
        "  return a.ref\n", "  for i = 4, #ARGV, 2 do f(ARGV[3], ARGV[i], ARGV[i + 1]) end\n"
    )


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("a.ref", "a.token", "a.token is not in the header of one"),
        ("a.ref", "each.ref", "each.ref is not in the header of one"),
        ("-- @verb one", "-- @verb two", "the header of one is of two"),
    ],
)
def test_a_name_that_no_header_has_is_refused(before: str, after: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_places(HEADER.replace(before, after))


@pytest.mark.parametrize("spoilt", ["-- @verb one ref\n", "-- one ref -> ok\n", ""])
def test_a_verb_without_a_header_is_refused(spoilt: str) -> None:
    text = HEADER.replace("-- @verb one ref (part count)… -> ok\n", spoilt)
    with pytest.raises(ValueError, match=r"1 verbs have [01] headers, of which 0 can be read"):
        list(read_verbs(text))


@pytest.mark.parametrize("name", sorted(LATER))
def test_what_is_made_only_when_it_is_needed_is_needed_by_its_verbs_alone(name: str) -> None:
    """A function of a table that another file calls would not be there yet."""
    text = (HERE / f"{name}.lua").read_text()
    assert list(read_verbs(text))
    shared = set(re.findall(r"^function (?!verbs\.)(\w+\.\w+)\(", text, re.MULTILINE))
    others = "".join((HERE / f"{other}.lua").read_text() for other in FILES if other != name)
    used = {one for one in shared if f"{one}(" in others}
    assert used == ({"controls.sweep"} if name == "operator" else set())  # the sweep makes that one first
