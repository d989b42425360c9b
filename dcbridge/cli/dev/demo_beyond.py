"""What dcbridge does beside the documented flows, played through the same processes; what came of it is checked."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from pydantic import SecretStr

from dcbridge.cli.dev.demo import CONSUMER
from dcbridge.cli.dev.own_messages import ADDRESS, BUSY, DISPOSED, HOURS, MISSED
from dcbridge.events.sinks.signing import key_of, signature

PATIENCE = 20.0  # seconds
LANDLINE, CALLER, OTHER = "+15005550001", "+16504661150", "+16504661151"


@dataclass(slots=True)
class Stage:
    """The sandbox and the bridge, and what was found so far."""

    sandbox: str
    bridge: str
    trigger_secret: bytes
    integration: str  # of Open Messaging
    client: httpx.Client
    done: int = 0
    wrong: list[str] = field(default_factory=list)

    def consumer_writes(self, text: str) -> None:
        told = {"from": "+" + CONSUMER, "text": text, "wait": True}
        self.client.post(f"{self.sandbox}/sandbox/consumer/sms", json=told).raise_for_status()

    def asks(self, path: str, **what: object) -> Any:
        """Something of the sandbox."""
        return self.client.post(f"{self.sandbox}/sandbox/{path}", json=what).raise_for_status().json()

    def has(self, path: str) -> Any:
        """What the sandbox shows."""
        return self.client.get(f"{self.sandbox}/sandbox/{path}").json()

    def texts(self, to: str = "") -> list[str]:
        """What the consumers' phones got, or one of them."""
        return [one["body"] for one in self.has("sms") if not to or one["to"] == to]

    def seen(self) -> list[str]:
        """What the agent saw."""
        state: dict[str, Any] = self.client.get(f"{self.sandbox}/sandbox/state").json()
        return [one["text"] for one in state["seen"]]

    def calls(self, call_id: str, **values: str) -> httpx.Response:
        """A call of the trigger, signed as a system outside signs it."""
        body, now = orjson.dumps({"id": call_id, "to": "+" + CONSUMER, "vars": values}), int(time.time())
        message_id = f"msg_{secrets.token_hex(8)}"
        signed = signature([self.trigger_secret], message_id, now, body)
        headers = {"webhook-id": message_id, "webhook-timestamp": str(now), "webhook-signature": signed}
        return self.client.post(f"{self.bridge}/triggers/textback", content=body, headers=headers)

    def counts(self) -> dict[str, int]:
        """What the sandbox counted."""
        found: dict[str, int] = self.client.get(f"{self.sandbox}/sandbox/counts").json()
        return found

    def turns(self, path: str, **what: object) -> Callable[[], bool]:
        """Turn something of the statistics; whether dcbridge has heard of it: it has connected for the next events."""
        before = self.counts().get("cometd.connects", 0)
        self.client.post(f"{self.sandbox}/sandbox/{path}", json=what).raise_for_status()
        return lambda: self.counts().get("cometd.connects", 0) > before

    def step(self, title: str, *, is_so: Callable[[], bool], soon: bool = True) -> None:
        """`soon`: it is waited for; else it has to be so at once."""
        self.done += 1
        print(title)
        until = time.monotonic() + (PATIENCE if soon else 0.0)
        while not (good := is_so()) and time.monotonic() < until:
            time.sleep(0.1)
        print("  ✓\n" if good else "  ✗ it is not so\n", flush=True)
        if not good:
            self.wrong.append(title)


def play(sandbox: str, bridge: str, trigger_secret: str, integration: str) -> int:
    """Play all stories; 0 only when all of each came as it should."""
    print("\nBeside the documents: messages of dcbridge's own\n")
    with httpx.Client(trust_env=False, timeout=15.0) as client:
        stage = Stage(sandbox, bridge, key_of(SecretStr(trigger_secret)), integration, client)
        for story in STORIES:
            story(stage)
    if stage.wrong:
        print(f"{len(stage.wrong)} of {stage.done} steps did not come as they should.")
        return 1
    print(f"All {stage.done} steps beside the documents came as they should.")
    return 0


def _keywords(stage: Stage) -> None:
    stage.consumer_writes("HOURS")
    stage.step("A consumer writes HOURS, and is answered", is_so=lambda: HOURS in stage.texts())
    stage.step("The agent sees it all the same", is_so=lambda: "HOURS" in stage.seen())
    stage.consumer_writes("Address?")
    stage.step("Another writes ADDRESS, and is answered", is_so=lambda: ADDRESS in stage.texts())
    stage.consumer_writes("Thank you")
    stage.step("What is written next reaches the agent", is_so=lambda: "Thank you" in stage.seen())
    stage.step("What stopped at the answer does not", is_so=lambda: "Address?" not in stage.seen(), soon=False)


def _trigger(stage: Stage) -> None:
    text = "Ana, you called us. We call back at 16:00."
    answer = stage.calls("call-1", name="Ana", at="16:00")
    stage.step("A system outside calls the trigger: 202", is_so=lambda: answer.status_code == 202, soon=False)
    stage.step("The consumer gets its text", is_so=lambda: text in stage.texts())
    again = stage.calls("call-1", name="Ana", at="16:00")
    stage.step("The same call again is answered alike, and sends nothing", soon=False, is_so=lambda: (
        again.status_code == 202 and again.json()["outcome"] == "again" and stage.texts().count(text) == 1
    ))  # fmt: skip
    other = stage.calls("call-1", name="Ben", at="16:00")
    stage.step("Its id with other words is refused: 409", is_so=lambda: other.status_code == 409, soon=False)


def _call_me(stage: Stage) -> None:
    def waits(words: str) -> bool:
        return any(words in one for one in stage.texts())

    stage.consumer_writes("CALL ME")
    stage.step("A consumer writes CALL ME: a call is booked", is_so=lambda: waits("We call you in about 4 min."))
    stage.consumer_writes("CANCEL CALL")
    stage.step("CANCEL CALL cancels it", is_so=lambda: waits("Your call is cancelled."))
    told = {"engagement": {"immediate": False}}
    stage.client.post(f"{stage.sandbox}/sandbox/control", json=told).raise_for_status()
    stage.consumer_writes("CALL ME")
    stage.step("When the queue calls later, times are offered", is_so=lambda: waits("When may we call you? 1) "))
    stage.consumer_writes("2")
    stage.step("2 books the second", is_so=lambda: waits("We call you at "))
    called: Callable[[], Any] = lambda: stage.client.get(f"{stage.sandbox}/sandbox/calls").json()  # noqa: E731
    stage.step("Genesys has one call that lives, at a time", soon=False, is_so=lambda: (
        [bool(one["time"]) for one in called() if not one["state"]] == [True]
    ))  # fmt: skip
    stage.step("The agent sees none of this", is_so=lambda: "2" not in stage.seen(), soon=False)


def _wait(stage: Stage) -> None:
    queue = {"name": "AverageWaitingTime", "type": "Queue", "id": "VQ_Sales"}
    stage.step(
        "dcbridge subscribes to the wait of a queue", is_so=lambda: bool(stage.counts().get("statistics.subscriptions"))
    )
    heard = stage.turns("statistic", **queue, value=1500)
    stage.step("The wait rises to 25 minutes", is_so=heard)
    stage.consumer_writes("WAIT")
    stage.step("A consumer writes WAIT: it is said", is_so=lambda: "About 25 min at the moment." in stage.texts())
    stage.step("Statistics are unavailable", is_so=stage.turns("service", state="UNAVAILABLE"))
    stage.consumer_writes("Wait?")
    stage.step("WAIT is answered without a number", is_so=lambda: BUSY in stage.texts())
    stage.step("They are available again", is_so=stage.turns("service", state="AVAILABLE"))


def _failed_text(stage: Stage) -> None:
    stage.asks("control", engagement={"immediate": True})
    before = len(stage.has("calls"))
    text = "Your parcel comes on Tuesday."
    stage.asks("agent/sms", to=LANDLINE, text=text, wait=True)
    stage.step("An agent's text to a landline fails: a call is booked", is_so=lambda: (
        [one["number"] for one in stage.has("calls")[before:]] == [LANDLINE]
    ))  # fmt: skip
    stage.step("Nothing else is written to it", is_so=lambda: stage.texts(LANDLINE) == [text], soon=False)


def _text_back(stage: Stage) -> None:
    stage.asks("line/call", **{"from": CALLER}, steps=["Ringing", "Released"])
    stage.step("A caller is missed, and gets a text", is_so=lambda: stage.texts(CALLER) == [MISSED])
    stage.asks("line/call", **{"from": CALLER}, steps=["Ringing", "Released"])
    stage.asks(
        "line/call", **{"from": CALLER}, steps=["Ringing", "Established", "Released"], disposition="IssueResolved"
    )
    stage.step("Missed again soon: no second text. Answered, with a disposition: its text", is_so=lambda: (
        stage.texts(CALLER) == [MISSED, DISPOSED]
    ))  # fmt: skip


def _open_messaging(stage: Stage) -> None:
    stage.asks("consumer/sms", **{"from": OTHER}, text="Is anybody there?", provider="cloud-sms", wait=True)
    stage.step("A consumer writes to a channel of Genesys Cloud: its agent sees it", is_so=lambda: (
        "Is anybody there?" in stage.seen()
    ))  # fmt: skip
    made = stage.asks("agent/sms", to=OTHER, text="Yes, we are.", channel=stage.integration, wait=True)
    stage.step(
        "The agent answers, by a webhook signed with SHA-256", is_so=lambda: stage.texts(OTHER) == ["Yes, we are."]
    )
    stage.step("Genesys Cloud gets its receipt: Delivered", is_so=lambda: any(
        receipt["status"] == "Delivered"
        for one in stage.has("state?only=agent")["agent"]
        if one["message_id"] == made["messageId"]
        for receipt in one["receipts"].values()
    ))  # fmt: skip


STORIES: tuple[Callable[[Stage], None], ...] = (
    _keywords, _trigger, _call_me, _wait, _failed_text, _text_back, _open_messaging,
)  # fmt: skip
