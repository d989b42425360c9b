"""What the page shows of the bridge itself: where a message is, why it waits, and both counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.sandbox.test_sandbox_page import events, until
from tests.sandbox.two_worlds import Worlds, two_worlds
from tests.stack import SMS, Stack
from tests.stack import until as until_so

CONSOLE = "http://127.0.0.1:8090"


@dataclass
class Books:
    """A bridge that can be looked into. `away`: it cannot at this moment."""

    figures: dict[str, int] = field(
        default_factory=lambda: {"accepted": 0, "delivered": 0, "failed": 0, "under_way": 0}
    )
    away: str = ""
    asked: list[Sequence[tuple[str, str]]] = field(default_factory=list)
    closed: bool = False
    console: str = CONSOLE

    async def books(self) -> Mapping[str, int]:
        if self.away:
            raise ConnectionError(self.away)
        return dict(self.figures)

    async def states(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[Mapping[str, str]]]:
        self.asked.append(pairs)
        return [[{"ref": f"ref of {name}", "state": "retry", "why": "20429"}] for _, name in pairs]

    async def close(self) -> None:
        self.closed = True


async def ask(worlds: Worlds, *messages: object) -> dict[str, Any]:
    answer: dict[str, Any] = await worlds.control("/bridge", {"messages": list(messages)})
    return answer


async def test_without_a_bridge_to_look_into_there_are_our_own_counts() -> None:
    async with two_worlds() as worlds:
        await worlds.agent_writes()
        told = await ask(worlds, ["0123456789", "m-1"])
        assert told == {"here": {"accepted": 1, "delivered": 0, "failed": 0, "seen": 0, "violations": 0}}


async def test_a_message_is_told_with_its_reference_state_and_reason() -> None:
    async with two_worlds(bridge=(books := Books())) as worlds:
        told = await ask(worlds, ["0123456789", "m-1"], ["twilio", "SM1"])
        assert told["console"] == CONSOLE
        assert told["messages"][0] == ["0123456789", "m-1", [{"ref": "ref of m-1", "state": "retry", "why": "20429"}]]
        for odd in ("m-1", [], ["a"], ["a", "b" * 400], {"a": 1}, None, 7):
            assert (await ask(worlds, odd))["messages"] == []
        await ask(worlds, *([["a", "b"]] * 500))
        assert len(books.asked[-1]) == 100
        assert (await worlds.http.post("/sandbox/bridge", json={"messages": "all"})).json()["messages"] == []
    assert books.closed


async def test_both_counts_begin_together_and_differ_where_one_side_lost_something() -> None:
    books = Books({"accepted": 100, "delivered": 90, "failed": 10, "under_way": 0})
    async with two_worlds(bridge=books) as worlds:
        same = (await ask(worlds))["counts"]
        assert {name: one["bridge"] for name, one in same.items()} == {"accepted": 0, "delivered": 0, "failed": 0}
        await worlds.agent_writes()
        books.figures |= {"accepted": 101, "under_way": 1}
        told = await ask(worlds)
        assert (told["still"], told["counts"]["accepted"]) == (False, {"here": 1, "bridge": 1})
        books.figures |= {"accepted": 101, "delivered": 91, "under_way": 0}
        told = await ask(worlds)
        assert (told["still"], told["counts"]["delivered"]) == (True, {"here": 0, "bridge": 1})


async def test_where_to_begin_is_known_when_nothing_is_under_way() -> None:
    async with two_worlds(bridge=(books := Books())) as worlds:
        await ask(worlds)
        books.figures |= {"accepted": 5, "under_way": 2}
        await worlds.control("/reset", {})
        assert (await ask(worlds))["counts"] == {}
        books.figures["under_way"] = 0
        assert (await ask(worlds))["counts"]["accepted"] == {"here": 0, "bridge": 0}


async def test_a_bridge_that_cannot_be_asked_is_said_to_be_so() -> None:
    async with two_worlds(bridge=Books(away="Redis did not answer")) as worlds:
        told = await ask(worlds, ["0123456789", "m-1"])
        assert (told["away"], told["console"]) == ("Redis did not answer", CONSOLE)
        assert "messages" not in told


async def test_a_page_that_opens_is_told_where_the_switches_stand() -> None:
    async with two_worlds() as worlds:
        await worlds.control("/control", {"subscriber": {"mode": "failing"}, "engagement": {"wait": 1200}})
        async with worlds.http.stream("GET", "/sandbox/events") as response:
            stream = events(response)
            [(_, setting), *_] = await until(stream, "ready")
            assert setting["switches"]["subscriber"] == "failing"
            assert setting["switches"]["engagement"]["wait"] == 1200
            await worlds.control("/reset", {})
            told = await until(stream, "ready")
            assert [kind for kind, _ in told] == ["reset", "setting", "ready"]
            assert told[1][1]["switches"]["subscriber"] == "well"


async def test_a_conversation_that_is_too_old_for_a_new_page_can_be_asked_for() -> None:
    async with two_worlds() as worlds:
        await worlds.agent_writes(to="16504660000", text="The oldest")
        for number in range(160):
            await worlds.agent_writes(to=f"1650466{number + 1000}")
        await worlds.control("/consumer/sms", {"from": "+16504669999", "text": "Hello", "wait": True})
        listed = (await worlds.http.get("/sandbox/conversations")).json()
        assert listed[0] == {"with": "16504669999", "email": False}
        assert listed[-1] == {"with": "16504660000", "email": False}
        assert len(listed) == 162
        found = (await worlds.http.get("/sandbox/conversation", params={"with": "+1 650 466 0000"})).json()
        assert [one["text"] for one in found["agent"]] == ["The oldest"]
        nobody: httpx.Response = await worlds.http.get("/sandbox/conversation")
        assert nobody.json() == {"agent": [], "seen": [], "sms": [], "consumer": []}


def test_a_message_that_waits_says_so_in_the_words_of_the_ledger() -> None:
    with Stack(sandbox={"look": CONSOLE}) as stack:
        message = stack.agent_writes(to=stack.new_number())
        stack.receipt(message)
        stack.control(sms={"off": ["twilio"]})
        waiting = stack.agent_writes(to=stack.new_number())

        def told() -> Any:
            found = stack.sandbox("bridge", {"messages": [[SMS, message], [SMS, waiting], [SMS, "none"]]})
            states = [copies for _, _, copies in found["messages"]]
            return (found, states) if states[1] and states[1][0]["why"] else None

        found, states = until_so(told, "it waits")
        assert found["console"] == CONSOLE
        assert (states[0][0]["ref"], states[0][0]["state"]) == (stack.ref(message), "delivered")
        assert (states[1][0]["ref"], states[1][0]["state"]) == (stack.ref(waiting), "retry")
        assert states[2] == []
        assert found["counts"]["delivered"] == {"here": 1, "bridge": 1}
