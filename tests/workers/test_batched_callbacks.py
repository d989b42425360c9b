"""A callback of several events, one of which cannot be read: the others count, and that one is a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from dcbridge.errors import UnreadableEvent
from dcbridge.ledger.reports.books import read
from dcbridge.messages import Address, ConsumerMessage, DeliveryUpdate, UpdateStatus
from dcbridge.providers.base import Callback, Unread
from dcbridge.providers.callback import pack, unpack
from dcbridge.replay import Replay
from tests.workers.far_side import CONSUMER, NUMBER, FarSide
from tests.workers.test_reconciler_and_inbound import letters, read_one
from workers import callbacks, outbound


class Batches:
    """An adapter whose callbacks have an event a line: "delivered <ref>", "from <number> to <number>", or nonsense."""

    def __init__(self, account: Any) -> None:
        self._account = account

    def __getattr__(self, name: str) -> Any:
        return getattr(self._account, name)

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        found = [self._event(line) for line in callback.body.split(b"\n")]
        if all(isinstance(one, Unread) for one in found):
            raise UnreadableEvent("no event")
        return found

    def _event(self, line: bytes) -> ConsumerMessage | DeliveryUpdate | Unread:
        match line.decode().split():
            case ["delivered", ref]:
                return DeliveryUpdate("twilio", "SM1", UpdateStatus.DELIVERED, ref=ref)
            case ["from", sender, "to", number]:
                return ConsumerMessage("twilio", f"in-{sender}", Address(sender), Address(number), "Hello")
            case _:
                return Unread("no such event", line)


@pytest.fixture
def batches(side: FarSide) -> FarSide:
    providers: dict[str, Any] = side.context.providers
    providers["twilio"] = Batches(providers["twilio"])
    return side


def body(*lines: str) -> bytes:
    return pack("twilio", Callback("status", "POST", "u", b"", {}, "\n".join(lines).encode()))


async def sent(side: FarSide, message_id: str) -> str:
    ref = await side.accept(message_id, to=f"1650466{message_id[2:]:>04}")
    await outbound.send(side.context, ref)
    return ref


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_the_good_ones_count_wherever_the_bad_one_stands(side: FarSide, place: int) -> None:
    ref = await sent(side, "m-1")
    providers: dict[str, Any] = side.context.providers
    providers["twilio"] = Batches(providers["twilio"])
    lines = [f"delivered {ref}", f"from {CONSUMER} to {NUMBER}"]
    lines.insert(place, "what is this?")
    assert (await read_one(side, body(*lines))).state == "done"
    assert (await side.entry(ref)).state == "delivered"
    assert (await read(side.redis)).tasks["consumer"] == 1
    assert await letters(side) == [("delivery update", "no such event")]
    assert side.counted("dcbridge_errors_total", kind="callback_unreadable", name="twilio") == 1
    found = side.context.ledger.dead_letters
    [letter] = await found.ids()
    assert unpack(await found.raw(letter) or b"")[1].body == b"what is this?"


async def test_a_replay_of_the_bad_one_does_not_apply_the_others_again(batches: FarSide) -> None:
    await read_one(batches, body("what is this?", f"from {CONSUMER} to {NUMBER}"))
    found = batches.context.ledger.dead_letters
    [letter] = [one async for one in found.read(await found.ids()) if one]
    replayed = await Replay(batches.context.ledger, batches.context.configuration).one(letter)
    assert replayed.done
    await callbacks.read_callback(batches.context, replayed.name)
    assert (await read(batches.redis)).counts["consumer_accepted"] == 1
    assert [what for what, _ in await letters(batches)] == ["callback"]  # it still cannot be read, and stands alone


async def test_a_message_for_a_number_of_nobodys_does_not_take_the_others_with_it(batches: FarSide) -> None:
    lines = [f"from {CONSUMER} to +19999999999", f"from {CONSUMER}1 to {NUMBER}"]
    assert (await read_one(batches, body(*lines))).state == "done"
    assert (await read(batches.redis)).tasks["consumer"] == 1
    assert await letters(batches) == [("delivery update", "no channel has this address")]


async def test_where_nothing_can_be_read_the_callback_itself_is_the_letter(batches: FarSide) -> None:
    assert (await read_one(batches, body("what?", "and this?"))).state == "dead"
    assert await letters(batches) == [("callback", "no event")]
    assert (await read_one(batches, body(f"from {CONSUMER} to +19999999999"), "b-2")).state == "dead"


async def test_the_updates_of_a_callback_share_calls_of_the_script(batches: FarSide) -> None:
    """One by one, a callback of hundreds would take a worker for seconds."""
    refs = [await batches.accept(f"m-{number}", to=f"1650466{number:04}") for number in range(150)]
    before = await calls(batches)
    assert (await read_one(batches, body(*(f"delivered {ref}" for ref in refs)))).state == "done"
    assert await calls(batches) - before < 30
    assert {(await batches.entry(ref)).part_status(0) for ref in refs} == {"delivered"}


async def calls(side: FarSide) -> int:
    """Scripts that Redis has run."""
    stats: dict[str, dict[str, int]] = await side.redis.info("commandstats")
    return sum(one["calls"] for name, one in stats.items() if name in ("cmdstat_evalsha", "cmdstat_eval"))


async def test_callbacks_of_many_updates_at_once_share_their_requests_to_redis(batches: FarSide) -> None:
    """Each by itself would use up the connections, and the worker would wait for its own."""
    refs = [await sent(batches, f"m-{number}") for number in range(3)]
    unknown = [f"{number:024x}" for number in range(60)]
    lines = [f"delivered {ref}" for ref in [*unknown[:30], *refs, *unknown[30:]]]
    most = await batches.redis.config_get("maxclients")
    await batches.redis.config_set("maxclients", 30)
    try:
        await asyncio.gather(*(read_one(batches, body(*lines, f"{number}?"), f"b-{number}") for number in range(12)))
    finally:
        await batches.redis.config_set("maxclients", most["maxclients"] or 10_000)
    assert [(await batches.entry(ref)).state for ref in refs] == ["delivered"] * 3
    found = await letters(batches)
    assert sorted(set(found)) == [("delivery update", "512 unknown message"), ("delivery update", "no such event")]
