"""The ledger against a model that fits on a page: whatever happens in whatever order, they agree.

The model knows states and lanes and nothing of Redis. Hypothesis picks what happens next; at the end
a patient worker and the sweep bring every message to its end, so nothing is ever stuck.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import lane_of
from dcbridge.ledger.reports.books import TERMINAL, read
from dcbridge.messages import MessageStatus, UpdateStatus
from tests.ledger.ledger_bench import Bench, new_message
from tests.ledger.machines import LedgerMachine

CHANNELS, CONSUMERS, TOKENS = ("sms-1", "sms-2"), ("a", "b"), ("t-1", "t-2", "t-3")
ANSWERS = ("found", "absent", "unclear", "failed")
FLYING = ("accepted", "sending", "retry", "unknown")


@dataclass
class Entry:
    """What the model knows of one message."""

    ref: str
    channel: str
    lane: str
    parts: int
    state: str = "accepted"
    token: str = ""
    done: int = 0  # parts that are taken
    told: dict[int, str] = field(default_factory=dict)
    first: bool = False  # was claimed at least once
    not_yet: bool = False  # a retry whose time has not come
    due: bool = False  # a lease, a grace or a wait for confirmation that is over

    @property
    def over(self) -> bool:
        return self.state in TERMINAL


class Machine(LedgerMachine):
    """One run."""

    @initialize()
    def start(self) -> None:
        self.open()
        self.bench = Bench(self.redis)
        self.entries: list[Entry] = []
        self.lanes: dict[str, list[Entry]] = {}
        self.ends: dict[str, str] = {}

    # ------------------------------------------------------------ the model

    def leave(self, e: Entry, state: str) -> str:
        e.state, e.token = state, ""
        if e in self.lanes[e.lane]:
            self.lanes[e.lane].remove(e)
        return state

    def part_taken(self, e: Entry, delivered: bool = False) -> str:
        e.done += 1
        e.token = ""
        if e.done < e.parts:
            e.state = "accepted"
            return "next"
        if delivered or all(e.told.get(n) == "delivered" for n in range(e.parts)):
            return self.leave(e, "delivered")
        e.due = False
        return self.leave(e, "sent")

    def ours(self, e: Entry, token: str) -> bool:
        return e.state == "sending" and e.token == token

    def meanwhile(self, e: Entry) -> str | None:
        return self.part_taken(e) if e.done in e.told else None

    # ------------------------------------------------------------ what can happen

    @rule(channel=st.sampled_from(CHANNELS), consumer=st.sampled_from(CONSUMERS), parts=st.integers(1, 2))
    def accept(self, channel: str, consumer: str, parts: int) -> None:
        copy = new_message(f"m-{len(self.entries)}", channel_id=channel, to_id=consumer, time_to_live=1e6)
        assert self.do(self.bench.ledger.messages.accept([copy, copy])) == [True, False]
        e = Entry(copy.ref, channel, lane_of(channel, consumer), parts)
        self.entries.append(e)
        self.lanes.setdefault(e.lane, []).append(e)

    @precondition(lambda self: self.entries)
    @rule(pick=st.integers(0, 99), token=st.sampled_from(TOKENS))
    def claim(self, pick: int, token: str) -> None:
        self.claim_this(self.entries[pick % len(self.entries)], token)

    @rule(token=st.sampled_from(TOKENS))
    def run_a_job(self, token: str) -> None:
        ref = self.do(self.bench.pop_job())
        for e in self.entries:
            if e.ref == ref:
                self.claim_this(e, token)

    def claim_this(self, e: Entry, token: str) -> None:
        if e.state == "sending":
            expected = "go" if e.token == token else "busy"
            if expected == "go":  # claimed again: its lease begins anew
                e.due = False
        elif e.state in ("accepted", "retry"):
            expected = "go" if self.lanes[e.lane][0] is e else "not its turn"
            if expected == "go" and e.state == "retry" and e.not_yet:
                expected = "not yet"
            if expected == "go":
                e.state, e.token, e.first, e.due = "sending", token, True, False
        else:
            expected = e.state
        assert self.do(self.bench.ledger.messages.claim(e.ref, token, 60.0)).why == expected
        if expected == "go" and e.parts > 1 and e.done == 0:
            self.do(self.bench.ledger.messages.parts(e.ref, token, e.parts))

    @precondition(lambda self: self.entries)
    @rule(
        pick=st.integers(0, 99),
        token=st.sampled_from(TOKENS),
        end=st.sampled_from(["taken", "taken", "instant", "retry", "fail", "unknown"]),
    )
    def a_send_ends(self, pick: int, token: str, end: str) -> None:
        flying = [e for e in self.entries if e.state == "sending"] or self.entries
        self.end_this(flying[pick % len(flying)], token, end)

    def end_this(self, e: Entry, token: str, end: str) -> None:
        part, last, known = e.done, e.done + 1 == e.parts, None
        if end in ("taken", "instant") and not self.ours(e, token) and e.state in ("sending", "unknown", "retry"):
            expected = self.told(e, part, "delivered" if end == "instant" and last else "sent")  # a late answer
        elif not self.ours(e, token):
            expected = "stale"
        elif end in ("taken", "instant"):
            expected = self.part_taken(e, delivered=end == "instant" and last)
        elif (known := self.meanwhile(e)) is not None:
            expected = known
        elif end == "fail":
            expected = self.leave(e, "failed")
        else:
            e.state, e.token, e.not_yet, e.due = end, "", True, False
            expected = end
        ledger = self.bench.ledger
        said: dict[str, Callable[[], Awaitable[str]]] = {
            "taken": lambda: self.bench.taken(e.ref, token, part, e.parts),
            "instant": lambda: self.bench.taken(e.ref, token, part, e.parts, delivered=last),
            "retry": lambda: self.bench.retry(e.ref, token, 5.0, 0.0),
            "fail": lambda: ledger.messages.fail(e.ref, token, 500, "x"),
            "unknown": lambda: ledger.messages.unknown(e.ref, token, 30.0, "timeout"),
        }
        assert self.do(said[end]()) == expected
        assert self.do(said[end]()) in ("stale", "repeated")  # and again, as after a lost answer

    @precondition(lambda self: self.entries)
    @rule(
        pick=st.integers(0, 99),
        part=st.integers(0, 1),
        status=st.sampled_from(["sent", "sent", "delivered", "delivered", "failed", "removed"]),
    )
    def an_update_comes(self, pick: int, part: int, status: str) -> None:
        e = self.entries[pick % len(self.entries)]
        if part >= e.parts or not e.first:
            return  # nobody reports a part that was never sent
        assert self.do(self.bench.update(e.ref, status, part)) == self.told(e, part, status)

    def told(self, e: Entry, part: int, status: str) -> str:
        if e.over:
            return "late"
        if e.told.get(part) in (status, "delivered"):
            return "repeated"
        if part > e.done:
            return "gone"
        e.told[part] = status
        if status in ("failed", "removed"):
            return self.leave(e, status)
        if part == e.done and e.state == "sending":
            return "parked"
        if part == e.done and e.state != "sent":
            return self.part_taken(e)
        if e.state == "sent" and all(e.told.get(n) == "delivered" for n in range(e.parts)):
            return self.leave(e, "delivered")
        return "noted"

    @rule(seconds=st.sampled_from([6.0, 40.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        """Longer than a retry; than a retry and a grace; than those and a lease and a confirmation."""
        self.do(self.bench.pass_time(seconds))
        for e in self.entries:
            e.not_yet = False
            limit = {"unknown": 30.0, "sending": 60.0, "sent": 100.0}.get(e.state)
            e.due = e.due or (limit is not None and seconds > limit)

    @rule(policy=st.sampled_from(["resend", "fail", *ANSWERS]))
    def sweep(self, policy: str) -> None:
        found = {d.id: d.state for d in self.do(self.bench.sweep())}
        waiting = {e.ref for e in self.entries if e.due and e.state in ("sending", "unknown", "sent")}
        assert waiting <= found.keys()
        for e in self.entries:
            if e.ref in found:
                e.due = True  # a short wait that had added up
                assert found[e.ref] == e.state
                self.decide(e, policy)

    def decide(self, e: Entry, policy: str) -> None:
        ledger = self.bench.ledger
        if e.state == "sending":
            known = self.meanwhile(e)
            if known is None:
                e.state, e.token, e.due = "unknown", "", False
            assert self.do(ledger.messages.unknown(e.ref, "", 30.0, "lease ended")) == (known or "unknown")
        elif policy in ANSWERS:
            self.ask_about(e, policy)
        elif e.state == "unknown":
            if policy == "fail":
                expected = self.leave(e, "failed")
            else:
                e.state, e.not_yet = "retry", False
                expected = "retry"
            assert self.do(ledger.messages.settle(e.ref, policy, 1000)) == expected
        else:
            assert self.do(ledger.messages.confirm_over(e.ref, "", "")) == self.leave(e, "unconfirmed")

    def ask_about(self, e: Entry, answer: str) -> None:
        """Its provider is asked instead, and somebody else asks at the same time."""
        ledger, unknown, part = self.bench.ledger, e.state == "unknown", e.done
        self.do(self.bench.drop_jobs())
        assert self.do(ledger.lookups.ask(e.ref, 1e9)) == "asking"
        assert self.do(self.bench.pop_job("inbound")) == e.ref
        assert self.do(ledger.lookups.claim(e.ref, "q", 15.0)).ours
        assert self.do(ledger.lookups.claim(e.ref, "another", 15.0)).why == "busy"
        e.due = False
        if answer == "failed":
            expected = "again"
        elif not unknown:
            expected = self.leave(e, "unconfirmed")
        elif answer == "found":
            e.told[e.done] = "sent"
            expected = self.part_taken(e)
        else:
            e.state, e.not_yet = "retry", False
            expected = "retry"
        known = MessageStatus(f"SM{part}", UpdateStatus.SENT)

        def said() -> str:
            if answer == "failed":
                return self.do(ledger.lookups.again(e.ref, "q", 5.0, 1))
            if not unknown:
                return self.do(ledger.messages.confirm_over(e.ref, "", "", token="q"))
            if answer == "found":
                found = ledger.lookups.found(
                    e.ref, "q", part, e.parts, "acme", known, [f"{e.ref} {part}"], delivered=False, confirm_within=100.0
                )
                return self.do(found)
            if answer == "absent":
                return self.do(ledger.lookups.not_there(e.ref, "q", 1e9))
            return self.do(ledger.messages.settle(e.ref, "resend", 1000, "q"))

        assert said() == expected
        assert said() == "stale"

    @rule()
    def jobs_are_lost(self) -> None:
        self.do(self.bench.drop_jobs())

    # ------------------------------------------------------------ what always holds

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "runner"):
            return
        for e in self.entries:
            assert self.do(self.bench.state(e.ref)) == e.state
            assert self.ends.setdefault(e.ref, e.state) == e.state if e.over else True  # an end never changes
        for lane, members in self.lanes.items():
            assert sum(e.state == "sending" for e in members) <= 1
            assert all(e.state == "accepted" and not e.first for e in members[1:])
            assert all(e.state in FLYING for e in members), lane
        lanes = {f"dcb:lane:{lane}": [f"m:{e.ref}" for e in members] for lane, members in self.lanes.items() if members}
        assert self.do(self.bench.lanes()) == lanes

    @invariant()
    def the_books_balance(self) -> None:
        if not hasattr(self, "runner"):
            return
        books = self.do(read(self.redis))
        for c in books.channels:
            mine = [e for e in self.entries if e.channel == c.channel_id]
            assert (c.accepted, c.difference) == (len(mine), 0)
            assert c.in_flight == sum(not e.over for e in mine)

    def bring_to_an_end(self) -> None:
        """Time, sweeps and a worker that is always answered: every message ends, in a handful of rounds."""
        for _ in range(6 * len(self.entries) + 6):
            if all(e.over for e in self.entries):
                break
            self.time_passes(120.0)
            self.sweep("resend")
            while (ref := self.do(self.bench.pop_job())) is not None:
                e = next(e for e in self.entries if e.ref == ref)
                self.claim_this(e, "last")
                if self.ours(e, "last"):
                    self.end_this(e, "last", "instant")
            self.they_agree()
        assert [e.state for e in self.entries if not e.over] == []
        assert self.do(self.bench.keys("dcb:lane:*")) == []
        assert self.do(self.bench.keys("dcb:p:*")) == []
        receipts: Any = [
            o.message_id for channel in CHANNELS for o in self.do(self.bench.ledger.receipts.take(channel, 999, 0.0))
        ]
        assert len(receipts) == len(set(receipts)) == sum(e.state != "unconfirmed" for e in self.entries)


def test_the_ledger_does_what_the_model_does(redis_server: EmbeddedRedis) -> None:
    Machine.url = redis_server.url
    examples = settings().max_examples // 6  # each is forty verbs: 16, and with HYPOTHESIS_PROFILE=thorough 166
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=40))
