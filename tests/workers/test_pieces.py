"""A consumer's long SMS that the company tells piece by piece: the agent reads one message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from dcbridge.config.consent import Consent
from dcbridge.ledger import NewTask
from dcbridge.messages import Address, ConsumerMessage, DeliveryUpdate, piece_of
from dcbridge.providers.base import Callback, Provider
from dcbridge.providers.callback import pack, unpack
from dcbridge.providers.twilio import Twilio, TwilioFields
from dcbridge.settings.process import DAY
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, NUMBER, FarSide, hang_up, saying
from workers import callbacks, consumer_messages
from workers.reconciler import sweep

WAIT = 120.0


class InPieces(Twilio):
    """Tells one piece in a callback: "<number>/<count> <text>"."""

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        [message] = super().parse_callback(callback)
        assert isinstance(message, ConsumerMessage)
        numbers, _, text = message.text.partition(" ")
        number, _, count = numbers.partition("/")
        text = text.encode().decode("unicode_escape")
        return [replace(message, text=text, to=Address(NUMBER), piece=piece_of("7", int(number), int(count)))]


def callback(number: int, count: int, text: str) -> bytes:
    form = f"MessageSid=SM{number}{count}&From=%2B{CONSUMER}&To=%2B15557650123&Body={number}/{count}+{text}"
    headers = {"content-type": ("application/x-www-form-urlencoded",)}
    return pack("twilio", Callback("inbound", "POST", "http://127.0.0.1/", b"", headers, form.encode()))


@pytest.fixture
def pieces(side: FarSide) -> FarSide:
    """Opt-outs are kept here, so that a STOP would count."""
    how = Consent(enforce="always")
    configuration = side.context.configuration.model_copy(update={"consent": how})
    fields = configuration.providers["twilio"].fields
    in_pieces = cast(Provider, InPieces("twilio", cast(TwilioFields, fields), "http://127.0.0.1"))
    providers = {**side.context.providers, "twilio": in_pieces}
    side.context = replace(side.context, configuration=configuration, providers=providers, consent_words=how.words())
    return side


async def read(side: FarSide, name: str, payload: bytes) -> None:
    await side.context.ledger.tasks.put([NewTask(name, "callback", "", payload, "trace")])
    await callbacks.read_callback(side.context, name)


async def posted(side: FarSide) -> list[str]:
    """What the agent has seen when all that is queued has been done."""
    while (job := await Bench(side.redis).pop_job("inbound")) is not None:
        if job.startswith("c-"):
            await consumer_messages.post_consumer_message(side.context, job)
    said: list[list[dict[str, Any]]] = side.agents.messages
    return [message["text"] for [message] in said]


@pytest.mark.parametrize("more", [0, 1200], ids=["one of one", "too long for a piece"])
async def test_half_a_letter_in_a_message_of_its_own_is_no_fault_of_ours(pieces: FarSide, more: int) -> None:
    await read(pieces, "b-1", callback(1, 2 if more else 1, "half\\ud83d" + "a" * more))
    assert await posted(pieces) == ["half\ufffd" + "a" * more]


async def test_the_agent_reads_one_message(pieces: FarSide) -> None:
    await read(pieces, "b-2", callback(2, 3, "second "))
    await read(pieces, "b-1", callback(1, 3, "first "))
    assert await posted(pieces) == []
    await read(pieces, "b-2 again", callback(2, 3, "second "))
    await asyncio.gather(
        read(pieces, "b-3", callback(3, 3, "third")), read(pieces, "b-3 at another worker", callback(3, 3, "third"))
    )
    assert await posted(pieces) == ["first second third"]


async def test_a_piece_that_never_comes_is_noted(pieces: FarSide) -> None:
    await read(pieces, "b-1", callback(1, 3, "first "))
    await read(pieces, "b-3", callback(3, 3, "third"))
    assert await posted(pieces) == []
    await Bench(pieces.redis).pass_time(WAIT + 1)
    await sweep(pieces.context)
    assert await posted(pieces) == ["first […]third\n[1 part of 3 of this message did not arrive.]"]
    await read(pieces, "b-2", callback(2, 3, "second"))
    await Bench(pieces.redis).pass_time(WAIT + 1)
    await sweep(pieces.context)
    assert (await posted(pieces))[1:] == ["[…]second[…]\n[2 parts of 3 of this message did not arrive.]"]
    assert await pieces.redis.zcard("dcb:dead") == 0


@pytest.mark.parametrize(("last", "text"), [(r"\ude00!", "Hi \U0001f600!"), ("!", "Hi �!")])
async def test_a_character_may_begin_in_one_piece_and_end_in_the_next(pieces: FarSide, last: str, text: str) -> None:
    await read(pieces, "b-1", callback(1, 2, r"Hi \ud83d"))
    await read(pieces, "b-2", callback(2, 2, last))
    assert await posted(pieces) == [text]


async def test_a_worker_that_dies_after_a_piece_is_stored_doubles_nothing(pieces: FarSide) -> None:
    """The callback is read again, by another worker."""
    await read(pieces, "b-1", callback(1, 2, "first "))
    await pieces.context.ledger.tasks.put([NewTask("b-2", "callback", "", callback(2, 2, "second"), "")])
    claimed = await pieces.context.ledger.tasks.claim("b-2", "dead", 60.0)
    name, said = unpack(claimed.entry.payload)
    _, found, _ = callbacks._tasks(pieces.context, name, pieces.context.providers[name].parse_callback(said), "")
    await pieces.context.ledger.tasks.put_piece(found[0], WAIT, DAY)
    await Bench(pieces.redis).pass_time(61)
    await sweep(pieces.context)
    await callbacks.read_callback(pieces.context, "b-2")
    assert await posted(pieces) == ["first second"]


async def test_a_stop_word_counts_in_a_whole_message_alone(pieces: FarSide) -> None:
    await read(pieces, "b-1", callback(1, 2, "STOP"))
    await read(pieces, "b-2", callback(2, 2, " sending me blue ones"))
    assert await posted(pieces) == ["STOP sending me blue ones"]
    assert await pieces.redis.keys("dcb:stop*") == []
    await read(pieces, "b-3", callback(1, 1, "STOP"))
    assert await pieces.redis.keys("dcb:stop*") != []


async def test_what_digital_channels_refuses_is_a_dead_letter_of_the_whole_text(pieces: FarSide) -> None:
    pieces.agents.replies = [saying(404, {"status": {"code": 404}})]
    await read(pieces, "b-1", callback(1, 3, "first "))
    await read(pieces, "b-2", callback(2, 3, "second "))
    await Bench(pieces.redis).pass_time(WAIT + 1)
    await sweep(pieces.context)
    await posted(pieces)
    [letter] = await pieces.context.ledger.dead_letters.ids()
    assert "first second […]" in (await pieces.context.ledger.dead_letters.raw(letter) or b"").decode()


async def test_it_is_tried_again_whole(pieces: FarSide) -> None:
    pieces.agents.replies = [saying(503), hang_up]
    await read(pieces, "b-1", callback(1, 2, "first "))
    await read(pieces, "b-2", callback(2, 2, "second"))
    for _ in range(3):
        await posted(pieces)
        await Bench(pieces.redis).pass_time(31)
        await sweep(pieces.context)
    assert {text for [message] in pieces.agents.messages for text in [message["text"]]} == {"first second"}
