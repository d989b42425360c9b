"""A small load around one crash, and what became of every message of it, told by those who cannot be fooled.

The provider and Digital Channels (the sandbox) tell what reached them; the witness tells what a process that was
killed or given up had posted and not noted, which is the one window in which a repetition is allowed.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import RedisError

from dcbridge.cli.dev.companies import COMPANIES
from dcbridge.ledger.reports.books import Books
from dcbridge.providers.segmentation import split
from tests.faults.crash_stack import CONFIRMED, CONFIRMS, CrashStack
from tests.stack import SMS, until

CONVERSATIONS, EACH = 4, 3  # agent messages
CONSUMERS, WRITE = 2, 2  # consumers' messages
PICTURE = {
    "type": "image/png",
    "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==",
}
OPTED_OUT = "15005550004"  # whom the sandbox's Twilio refuses to send to
WAIT = 60.0  # seconds for the bridge to take one message, restarts included


@dataclass
class Findings:
    """What became of the load. Everything but the first block is 0 or empty when the promises hold."""

    messages: int = 0  # that agents wrote
    accepted: int = 0
    sends: int = 0  # that the provider took, one for each part
    posted_twice_unknown: int = 0  # a consumer's message, likewise
    receipts_repeated_unknown: int = 0  # the same words again, since the first post was not noted
    counts: dict[str, int] = field(default_factory=dict)  # the ledger's, since the load began

    never_sent: int = 0
    unknown: int = 0  # outcomes, where every process lived
    doubled: int = 0
    misordered: int = 0
    not_one_receipt: int = 0
    receipts_repeated: int = 0
    agent_never_saw: int = 0
    agent_saw_twice: int = 0
    agent_misordered: int = 0
    not_accepted: int = 0
    not_terminal: int = 0  # accepted, less those that are delivered
    books_difference: int = 0  # the greatest at any look, first to last
    in_flight: int = 0
    violations: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        zero = (
            "never_sent", "unknown", "doubled", "misordered", "not_one_receipt", "receipts_repeated", "agent_never_saw",
            "agent_saw_twice", "agent_misordered", "not_accepted", "not_terminal", "books_difference", "in_flight",
        )  # fmt: skip
        found = [f"{name.replace('_', ' ')}: {getattr(self, name)}" for name in zero if getattr(self, name)]
        return found + self.violations


class Load:
    """Some conversations at once, each message of one written when the one before it was taken."""

    def __init__(self, stack: CrashStack, consent: str = "") -> None:
        """`consent` as of a Point. `texts` and `pieces` by messageId: what the agent wrote, and the parts in which the
        provider gets it.
        """
        self.stack, self._consent = stack, consent
        self.stopped = OPTED_OUT if consent == "refuses" else stack.new_number()
        self.refused = stack.new_id()
        self.agents = {
            stack.new_number(): [stack.new_id() for _ in range(EACH)] for _conversation in range(CONVERSATIONS)
        }
        # Amid the last conversation, in two parts, which are the same at each provider that is there.
        long = "" if stack.routes or stack.smpp else [*self.agents.values()][-1][1]
        self.texts = {one: _text(one, long=one == long) for ids in self.agents.values() for one in ids}
        self.pieces = {one: split(text) for one, text in self.texts.items()}
        self.consumers = {
            "+" + stack.new_number(): [f"consumer {stack.new_id()}" for _ in range(WRITE)] for _ in range(CONSUMERS)
        }
        self._before = stack.books()
        self._witnessed = stack.witness.stat().st_size if stack.witness.exists() else 0
        self._alone = 0  # messages of the first conversation that were written alone
        self._threads: list[threading.Thread] = []
        self._failed: list[str] = []
        self._worst = 0
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    # ------------------------------------------------------------ writing

    def write(self, *, only_first: bool = False, but_first: bool = False) -> None:
        """Start writing, in threads. `only_first`: one message and no more, the next one of the first conversation;
        `but_first`: all others.
        """
        for at, (number, ids) in enumerate(self.agents.items()):
            chosen = ids
            if at == 0 and (only_first or but_first):
                chosen = ids[self._alone :]
            if at == 0 and only_first:
                chosen, self._alone = chosen[:1], self._alone + 1
            if not only_first or at == 0:
                self._start(self._agent, number, chosen)
        if not only_first:
            for number, texts in self.consumers.items():
                self._start(self._consumer, number, texts)
            if self._consent:
                self._start(self._stop)

    def can_try_again(self) -> bool:
        """Whether the message that was written alone has ended, and the first conversation has one more."""
        ids = next(iter(self.agents.values()))
        written = ids[: self._alone]
        return self._alone < len(ids) and all(self._statuses(one) == ["Delivered"] for one in written)

    def _start(self, work: Any, *arguments: object) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except Exception as error:
                self._failed.append(f"the load: {type(error).__name__}: {error}")

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def _post(self, path: str, body: dict[str, object]) -> Any:
        url = f"http://127.0.0.1:{self.stack.ports.page}/sandbox/{path}"
        answer = self.stack.client.post(url, json={**body, "wait": True}, timeout=WAIT)
        return answer.json()

    def _agent(self, number: str, ids: list[str]) -> None:
        for one in ids:
            asked: dict[str, object] = {
                "channel": self.stack.channel,
                "to": number,
                "text": self.texts[one],
                "messageId": one,
            }
            made = self._post("agent/sms", asked)
            assert made["state"] == "accepted", made

    def _consumer(self, number: str, texts: list[str]) -> None:
        for text in texts:
            picture = {"file": PICTURE} if text == texts[0] and not self.stack.smpp else {}
            asked: dict[str, object] = {"provider": self.stack.consumers_at, "from": number, "text": text, **picture}
            made = self._post("consumer/sms", asked)
            assert made["state"] == "taken", made

    def _stop(self) -> None:
        """A consumer opts out, or the provider says that one has."""
        if self._consent == "STOP":
            made = self._post("consumer/sms", {"from": f"+{self.stopped}", "text": "STOP", "provider": CONFIRMS})
            assert made["state"] == "taken", made
        else:
            made = self._post("agent/sms", {"to": self.stopped, "text": "refused", "messageId": self.refused})
            assert made["state"] == "accepted", made

    def look_at_consent(self) -> list[str]:
        """After all else: who opted out is written to no more, and was answered once."""
        if not self._consent:
            return []
        stack, wrong = self.stack, list[str]()
        channel = COMPANIES[CONFIRMS].channel if self._consent == "STOP" else SMS
        asked, late = stack.recorded("counts")["sms.requests"], stack.new_id()
        self._post("agent/sms", {"to": self.stopped, "text": "too late", "messageId": late, "channel": channel})
        until(lambda: self._statuses(late), "a message to who opted out has ended", WAIT)
        if self._statuses(late) != ["Failed"]:
            wrong.append(f"after an opt-out a message was {self._statuses(late)}")
        if stack.recorded("counts")["sms.requests"] != asked:
            wrong.append("after an opt-out the provider was asked to send")
        said = [sms["body"] for sms in stack.recorded("sms") if sms["to"] == f"+{self.stopped}"]
        if said != ([CONFIRMED] if self._consent == "STOP" else []):
            wrong.append(f"a consumer who opted out got {len(said)} messages")
        if self._consent == "refuses" and self._statuses(self.refused) != ["Failed"]:
            wrong.append(f"a message that was refused is {self._statuses(self.refused)}")
        return wrong

    def _statuses(self, message_id: str) -> list[str]:
        mine = [one for one in self.stack.recorded("agent") if one["message_id"] == message_id]
        return [receipt["status"] for one in mine for receipt in one["receipts"].values()]

    def _watch(self) -> None:
        """The books have to balance at every moment, also in the middle of a crash."""
        while not self._over.wait(0.5):
            try:
                self._worst = max(self._worst, self.stack.books().difference)
            except (RedisError, OSError):
                continue  # Redis is being restarted

    def end(self) -> None:
        """Nothing is written any more, and nobody looks."""
        self._over.set()
        self._watcher.join()

    def settle(self) -> list[str]:
        """Wait until all is written and nothing is in flight; what went wrong, in words."""
        for thread in self._threads:
            thread.join(WAIT)
        try:
            until(self._rests, "nothing is in flight", WAIT, pause=0.2)
        except AssertionError:
            self._failed.append("not in time: nothing is in flight")
        self.end()
        return self._failed

    def _rests(self) -> bool:
        books = self.stack.books()
        owed = sum(channel.receipts_waiting for channel in books.channels)
        return not (books.in_flight or owed or sum(books.tasks.values()))

    # ------------------------------------------------------------ what became of it

    def ref_of(self, text: str) -> str:
        return next(self._ref(one) for one, pieces in self.pieces.items() if text in pieces)

    @property
    def alone_ref(self) -> str:
        """Of the message that was written alone, the last one of them."""
        return self._ref([*self.texts][max(0, self._alone - 1)])

    def _ref(self, message_id: str) -> str:
        return self.stack.ref(message_id, self.stack.channel)

    def witnessed(self) -> list[dict[str, Any]]:
        with self.stack.witness.open("rb") as lines:
            lines.seek(self._witnessed)
            return [json.loads(line) for line in lines]

    def look(self, lost: int = 0, at: float = 0.0, *, sure: bool = False) -> Findings:
        """`lost`: the id of a process that was killed or given up, if one was; what it did after `at`, by time.time(),
        is not excused. `sure`: no outcome can be unknown. Nothing is sent twice: the provider tells, or can be asked.
        """
        stack, found = self.stack, Findings(messages=len(self.texts))
        unknown = Unknown(self.witnessed(), lost, at)
        state = stack.state()
        by_text: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for sms in state["sms"]:
            by_text[sms["body"]].append(sms)
        found.sends = sum(map(len, by_text.values()))
        for piece in (piece for pieces in self.pieces.values() for piece in pieces):
            times = len(by_text[piece])
            found.never_sent += not times
            found.doubled += times > 1
        for number, ids in self.agents.items():
            sent = [sms["body"] for sms in state["sms"] if sms["to"] == "+" + number]
            found.misordered += _without_repeats(sent) != [piece for one in ids for piece in self.pieces[one]]
        self._receipts(state, unknown, found)
        self._consumed(state, unknown, found)
        self._balance(stack.books(), found)
        found.unknown = found.counts.get("unknown", 0) if sure else 0
        found.violations = [f"{v['who']}: {v['rule']}: {v['detail']}" for v in state["violations"]]
        found.violations += [f"unseen: {one['message_id']}" for one in state["agent"] if one["state"] == "unseen"]
        return found

    def _receipts(self, state: dict[str, Any], unknown: Unknown, found: Findings) -> None:
        mine = {message["message_id"]: message for message in state["agent"]}
        for one in self.texts:
            receipts = list(mine[one]["receipts"].values()) if one in mine else []
            found.not_one_receipt += [receipt["status"] for receipt in receipts] != ["Delivered"]
            again = sum(receipt["repeated"] for receipt in receipts)
            if again == 1 and unknown.receipt(one, self._ref(one)):
                found.receipts_repeated_unknown += 1
            else:
                found.receipts_repeated += again

    def _consumed(self, state: dict[str, Any], unknown: Unknown, found: Findings) -> None:
        seen = Counter(words(one["text"]) for one in state["seen"])
        with_a_link = {words(one["text"]) for one in state["seen"] if "/m/" in one["text"]}
        for number, texts in self.consumers.items():
            found.agent_never_saw += not self.stack.smpp and texts[0] not in with_a_link
            for text in texts:
                found.agent_never_saw += not seen[text]
                if seen[text] == 2 and unknown.posts > 0:
                    found.posted_twice_unknown += 1
                else:
                    found.agent_saw_twice += seen[text] > 1
            said = [words(one["text"]) for one in state["seen"] if one["sender"].lstrip("+") == number.lstrip("+")]
            found.agent_misordered += _without_repeats(said) != texts
        found.agent_saw_twice += max(0, found.posted_twice_unknown - unknown.posts)

    def _balance(self, books: Books, found: Findings) -> None:
        now = next((c for c in books.channels if c.channel_id == self.stack.channel), None)
        then = next((c for c in self._before.channels if c.channel_id == self.stack.channel), None)
        assert now is not None
        found.accepted = now.accepted - (then.accepted if then else 0) - (self._consent == "refuses")
        found.not_accepted = len(self.texts) - found.accepted
        found.not_terminal = found.accepted - (now.delivered - (then.delivered if then else 0))
        found.books_difference = max(self._worst, books.difference)
        found.in_flight = books.in_flight
        counted = {name: count - self._before.counts.get(name, 0) for name, count in books.counts.items()}
        found.counts = {name: count for name, count in counted.items() if count}


class Unknown:
    """What the process `lost` had posted to Digital Channels and not noted when it was lost."""

    def __init__(self, lines: Iterable[dict[str, Any]], lost: int, at: float) -> None:
        self._begun: defaultdict[str, set[str]] = defaultdict(set)
        self._noted: defaultdict[str, set[str]] = defaultdict(set)
        for line in lines:
            what, when, subject = line["what"], line["when"], str(line["subject"])
            subjects = set(subject.split()) if what.startswith("receipts") else {subject}  # several in one request
            if line["pid"] != lost or (line["at"] > at and what != "receipts"):  # a receipt may be said again
                continue
            if when == "begins" and "noted" not in what:
                self._begun[what] |= subjects
            if when == "done" and "noted" in what:
                self._noted[what] |= subjects

    def receipt(self, message_id: str, ref: str) -> bool:
        return message_id in self._begun["receipts"] and ref not in self._noted["receipts noted"]

    @property
    def posts(self) -> int:
        """How many consumers' messages were posted and not noted."""
        return len(self._begun["posted"] - self._noted["posted noted"])


def _text(message_id: str, *, long: bool) -> str:
    """Nobody else's words, in each part."""
    return f"{message_id}.0 " + ("x" * 1570 + f" {message_id}.1" if long else "")


def words(text: str) -> str:
    """Without the link to a picture."""
    return text.partition("\n")[0]


def _without_repeats(values: list[str]) -> list[str]:
    """Neighbours that are the same count as one."""
    return [value for at, value in enumerate(values) if not at or values[at - 1] != value]
