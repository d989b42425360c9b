"""Several providers against a model: whatever fails in whatever order, what one may have is sent through no other.

The model knows of each message through which provider it went, and whether that one may have it. It does not know which
one is chosen: any that may be is right. The books of each provider have to add up after every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger.reports.books import TERMINAL
from tests.ledger.machines import LedgerMachine
from tests.ledger.route_bench import RouteBench, balanced

PROVIDERS = ("a", "b", "c")
CONSUMERS = ("x", "y", "z")
PICK = st.integers(0, 99)
SWITCHES = ("unreachable", "throttled", "account", "")
LEFT = ("breaker", "drain", "prefer another")


@dataclass
class Sent:
    """What the model knows of one message."""

    ref: str
    at: str = ""  # the provider of its last claim
    may_have: str = ""  # the one that may have it: no answer, and nobody has said that it has not
    has: str = ""  # the one that has taken it
    token: str = ""


class RouteMachine(LedgerMachine):
    """One run."""

    @initialize()
    def start(self) -> None:
        self.open()
        self.bench = RouteBench(self.redis)
        self.do(self.bench.several(*PROVIDERS, after=0.0))
        self.sent: list[Sent] = []
        self.elsewhere = 0

    def one(self, pick: int) -> Sent | None:
        return self.sent[pick % len(self.sent)] if self.sent else None

    def claimed(self, pick: int) -> Sent | None:
        held = [one for one in self.sent if one.token]
        return held[pick % len(held)] if held else None

    @rule(consumer=st.sampled_from(CONSUMERS))
    def accept(self, consumer: str) -> None:
        ref = self.do(self.bench.put(f"m-{len(self.sent)}", to_id=consumer, time_to_live=1e6))
        self.sent.append(Sent(ref))

    @rule(pick=PICK)
    def claim(self, pick: int) -> None:
        one = self.one(pick)
        if one is None or one.token:
            return
        claimed = self.do(self.bench.ledger.messages.claim(one.ref, "mine", 60.0))
        if not claimed.ours:
            return
        provider = claimed.entry.provider
        assert provider in PROVIDERS
        assert one.may_have in ("", provider), "it may be sent twice"
        assert not one.has, "it was sent twice"
        one.at, one.token = provider, "mine"

    @rule(pick=PICK)
    def taken(self, pick: int) -> None:
        one = self.claimed(pick)
        if one is None:
            return
        state = self.do(self.bench.takes(one.ref, one.at))
        assert state in ("sent", "delivered")
        one.token, one.has, one.may_have = "", one.at, ""

    @rule(pick=PICK, switch=st.sampled_from(SWITCHES))
    def not_taken(self, pick: int, switch: str) -> None:
        one = self.claimed(pick)
        if one is None:
            return
        self.do(self.bench.fails(one.ref, switch, delay=1.0))
        one.token = ""

    @rule(pick=PICK, switch=st.sampled_from(["route", ""]))
    def refused(self, pick: int, switch: str) -> None:
        one = self.claimed(pick)
        if one is None:
            return
        self.do(self.bench.ledger.messages.fail(one.ref, "mine", 350, "x", switch))
        one.token = ""

    @rule(pick=PICK, policy=st.sampled_from(["resend", "resend", "fail", "resend_elsewhere", "not there"]))
    def no_answer(self, pick: int, policy: str) -> None:
        one = self.claimed(pick)
        if one is None:
            return
        ledger = self.bench.ledger
        state = self.do(ledger.messages.unknown(one.ref, "mine", 1.0, "timeout"))
        one.token = ""
        if state != "unknown":
            return
        one.may_have = one.at
        self.do(self.bench.pass_time(2))
        if policy == "not there":
            self.do(self.bench.drop_jobs())
            assert self.do(ledger.lookups.ask(one.ref, 1e9)) == "asking"
            if self.do(ledger.lookups.claim(one.ref, "q", 15.0)).ours:
                assert self.do(ledger.lookups.not_there(one.ref, "q", 1e9)) == "retry"
                one.may_have = ""
            return
        self.do(ledger.messages.settle(one.ref, policy, 1000))
        if policy == "resend_elsewhere":
            self.elsewhere += 1
            one.may_have = ""  # by what the operator wants

    @rule(pick=PICK, left=st.sampled_from(LEFT), back=st.booleans())
    def sent_again_when_its_provider_is_left(self, pick: int, left: str, back: bool) -> None:
        """What random steps seldom reach: no answer, it shall be sent again, and now another provider is better."""
        at = self.fresh(pick)
        self.claim(at)
        one = self.sent[at]
        if not one.token:
            return
        state = self.do(self.bench.ledger.messages.unknown(one.ref, "mine", 1.0, "timeout"))
        one.token = ""
        if state != "unknown":
            return
        one.may_have = one.at
        self.leave(one.at, left)
        self.do(self.bench.pass_time(2))
        assert self.do(self.bench.ledger.messages.settle(one.ref, "resend", 1000)) == "retry"
        self.claim(at)
        if back and not one.token:
            self.come_back(one.at)
            self.claim(at)

    @rule(pick=PICK, switch=st.sampled_from(SWITCHES[:3]))
    def sent_through_another(self, pick: int, switch: str) -> None:
        """It certainly was not taken: it leaves the books of its provider for those of another."""
        at = self.fresh(pick)
        self.claim(at)
        one = self.sent[at]
        if one.token:
            self.do(self.bench.fails(one.ref, switch, delay=1.0))
            one.token = ""
            self.do(self.bench.pass_time(2))
            self.claim(at)

    def fresh(self, pick: int) -> int:
        """Where one stands that may be claimed."""
        if all(one.token or one.has for one in self.sent):
            self.accept(CONSUMERS[pick % len(CONSUMERS)])
        fresh = [at for at, one in enumerate(self.sent) if not one.token and not one.has]
        return fresh[pick % len(fresh)]

    def leave(self, provider: str, how: str) -> None:
        if how == "breaker":
            self.breaker(provider, opens=True)
        elif how == "drain":
            self.steer(provider, "drain")
        else:
            self.steer(PROVIDERS[PROVIDERS.index(provider) - 1], "prefer")

    def come_back(self, provider: str) -> None:
        self.breaker(provider, opens=False)
        self.steer(provider, "clear")

    @rule(pick=PICK, provider=st.sampled_from(PROVIDERS), status=st.sampled_from(["sent", "delivered", "failed"]))
    def says(self, pick: int, provider: str, status: str) -> None:
        """Only the one that it went to last: what others may say has rows of its own."""
        one = self.one(pick)
        if one is None or not one.at or provider != one.at:
            return
        result = self.do(self.bench.says(provider, one.ref, status))
        if result in ("sent", "delivered", "failed"):
            one.token, one.has, one.may_have = "", provider, ""

    @rule(provider=st.sampled_from(PROVIDERS), opens=st.booleans())
    def breaker(self, provider: str, opens: bool) -> None:
        self.do(self.bench.open_breaker(provider) if opens else self.bench.close_breaker(provider))

    @rule(provider=st.sampled_from(PROVIDERS), how=st.sampled_from(["drain", "prefer", "clear"]))
    def steer(self, provider: str, how: str) -> None:
        routes = self.bench.ledger.routes
        if how == "clear":
            self.do(routes.clear(provider))
        else:
            self.do(routes.steer(provider, "drain" if how == "drain" else "prefer", 1000.0, "ann", ""))

    @rule(seconds=st.sampled_from([1.5, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(self.bench.pass_time(seconds))
        self.do(self.bench.sweep())

    @invariant()
    def the_books_of_each_add_up(self) -> None:
        if hasattr(self, "runner") and self.sent:
            self.do(balanced(self.bench))
            assert self.do(self.bench.counts("doubled", "doubled_possible"))[0] == 0

    def bring_to_an_end(self) -> None:
        """Every provider is back, time passes, and each is taken: nobody waits for nothing."""
        for provider in PROVIDERS:
            self.do(self.bench.close_breaker(provider))
            self.do(self.bench.ledger.routes.clear(provider))
        for _ in range(8 * len(self.sent) + 8):
            states = [self.do(self.bench.state(one.ref)) for one in self.sent]
            if all(state in (*TERMINAL, "sent") for state in states):
                break
            for held in [one for one in self.sent if one.token]:
                self.do(self.bench.takes(held.ref, held.at))
                held.token = ""
            self.do(self.bench.pass_time(61.0))
            for found in self.do(self.bench.sweep()):
                if found.state == "unknown":
                    self.do(self.bench.ledger.messages.settle(found.id, "resend", 1000))
            while (ref := self.do(self.bench.pop_job())) is not None:
                claimed = self.do(self.bench.ledger.messages.claim(ref, "last", 60.0))
                if claimed.ours:
                    self.do(self.bench.takes(ref, claimed.entry.provider, "last"))
        ends = {one.ref: self.do(self.bench.state(one.ref)) for one in self.sent}
        assert [end for end in ends.values() if end not in (*TERMINAL, "sent")] == []
        if self.sent:
            self.do(balanced(self.bench))


def test_nothing_goes_through_two_providers(redis_server: EmbeddedRedis) -> None:
    RouteMachine.url = redis_server.url
    examples = settings().max_examples // 5
    run_state_machine_as_test(RouteMachine, settings=settings(max_examples=examples, stateful_step_count=25))
