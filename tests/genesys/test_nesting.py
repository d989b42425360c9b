"""One element that is nested too deeply, and its neighbours, in every shape of a webhook."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pytest

from dcbridge.events import event as events
from dcbridge.genesys import nesting, payloads
from dcbridge.messages import Reason

GOOD = b'{"channel":{"messageId":"%s","id":"c","type":"sms","from":{"id":"c"},"to":{"id":"+1"}},"text":"hi","x":%s}'
ENTITY = b'{"event":"STARTED","entity":{"id":"%s","mediaType":"sms","x":%s}}'
MESSAGES: dict[str, Callable[[bytes], bytes]] = {
    "list": lambda items: b"[" + items + b"]",
    "messages": lambda items: b'{"messages":[' + items + b"]}",
    "beside messages": lambda items: b'{"a":' + lists(3000) + b',"messages":[' + items + b"]}",
    "a mark of order": lambda items: b"\xef\xbb\xbf [" + items + b"]",
    "UTF-16": lambda items: (b"[" + items + b"]").decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass"),
}


def lists(depth: int, inner: bytes = b"") -> bytes:
    return b"[" * depth + inner + b"]" * depth


def objects(depth: int, inner: bytes = b"0") -> bytes:
    return b'{"a":' * depth + inner + b"}" * depth


DEEP = {
    "1,100 lists": lists(1100),
    "2,000 lists": lists(2000),
    "100,000 lists": lists(100_000),
    "2,000 objects": objects(2000),
    "lists and objects": b'[{"a":' * 1500 + b"0" + b"}]" * 1500,
    "wide where it is deep": lists(1500, b",".join([b"[]"] * 2000)),
    "deep after deep": b"[" + b",".join([lists(1500)] * 5) + b"]",
    "a surrogate in it": lists(700, b'"\\ud83d"'),
    "a large number in it": lists(1100, b"1" + b"0" * 400),
    "brackets in texts": lists(1100, rb'"]]]\"]]}", "\\", "[[["'),
    "spaces": b"[ \n" * 1500 + b"] " * 1500,
}
CARRIED = {
    "300 lists": lists(300), "900 lists": lists(900), "950 lists": lists(950), "980 lists": lists(980),
    "1,000 lists": lists(1000), "1,015 lists": lists(1015), "900 objects": objects(900),
    "a text of brackets": b'"' + b"[" * 3000 + b'"', "a text like a mark": b'"0123456789abcdef:0"',
}  # fmt: skip


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("shape", MESSAGES)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_message_that_is_too_deep_fails_by_itself(deep: str, shape: str, place: int) -> None:
    items = [GOOD % (b"m-%d" % n, b"1") for n in range(2)]
    items.insert(place, GOOD % (b"bad", DEEP[deep]))
    body = MESSAGES[shape](b" , ".join(items))
    found = payloads.read_webhook(body, "main", "trace")
    bad = found.pop(place)
    assert [(one.message_id, one.problem, len(one.copies)) for one in found] == [("m-0", None, 1), ("m-1", None, 1)]
    for one in found:
        assert payloads.read_stored(one.payload, 0, one.message_id, "trace") == one.copies[0]
    assert bad.problem == payloads.Problem(Reason.INVALID_STRUCTURE, "nested too deeply")
    assert (bad.message_id, bad.channel_id, bad.copies[0].to.id) == ("bad", "c", "+1")  # so the agent hears of it
    assert re.sub(rb"\s", b"", DEEP[deep]) in re.sub(rb"\s", b"", bad.raw)  # and nothing is lost
    assert payloads.read_stored(bad.payload, 0, "bad", "trace") == bad.copies[0]
    assert payloads.channels_named(body) == {"c"}


@pytest.mark.parametrize("piece", CARRIED)
@pytest.mark.parametrize(
    "beside", [b"1", lists(3000), b'"\\ud83d"', b"1" + b"0" * 400], ids=["1", "deep", "half", "huge"]
)
def test_a_message_that_can_be_carried_alone_is_carried_beside_any_other(piece: str, beside: bytes) -> None:
    good = GOOD % (b"m-0", CARRIED[piece])
    other = GOOD % (b"m-1", beside)
    [alone] = payloads.read_webhook(good, "main")
    for body, place in ((b"[" + good + b"," + other + b"]", 0), (b"[" + other + b"," + good + b"]", 1)):
        one = payloads.read_webhook(body, "main")[place]
        assert one.problem is alone.problem is None
        assert one.payload == alone.payload
        assert payloads.read_stored(one.payload, 0, "m-0") == one.copies[0]


def test_two_bad_ones_of_one_webhook_are_two_and_those_without_a_channel_are_told_apart() -> None:
    items = [GOOD % (b"m-0", b"1"), GOOD % (b"m-1", lists(2000)), lists(3000), lists(4000), GOOD % (b"m-2", b"1")]
    found = payloads.read_webhook(b"[" + b",".join(items) + b"]", "main")
    assert [one.problem is None for one in found] == [True, False, False, False, True]
    assert len({one.message_id for one in found}) == 5
    assert [one.raw for one in found[2:4]] == items[2:4]
    assert found == payloads.read_webhook(b"[" + b",".join(items) + b"]", "main")  # ids are the same each time


@pytest.mark.parametrize("depth", [1100, 2000, 100_000])
def test_a_lone_message_that_is_too_deep_is_the_body(depth: int) -> None:
    for body in (GOOD % (b"m", lists(depth)), b"[" + GOOD % (b"m", lists(depth)) + b"]"):
        with pytest.raises(payloads.NotJson):
            payloads.read_webhook(body, "main")
        assert payloads.channels_named(body) == {None}


@pytest.mark.parametrize("tail", [b"", b"[" * 2000, b"}", b"]]", lists(2000)[:-1], b'"', b"]" * 2000 + b"[" * 2000])
def test_what_is_no_json_has_no_elements(tail: bytes) -> None:
    body = b"[" + GOOD % (b"m-0", b"1") + b"," + GOOD % (b"m-1", lists(2000)) + b"," + tail
    for read in (payloads.read_webhook, lambda body, _: payloads.read_interactions(body)):
        with pytest.raises(payloads.NotJson):
            read(body, "main")
    assert payloads.channels_named(body) == {None}


@pytest.mark.parametrize("deep", DEEP)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_entity_that_is_too_deep_fails_by_itself(deep: str, place: int) -> None:
    entities = [ENTITY % (b"i-%d" % n, b"1") for n in range(2)]
    entities.insert(place, ENTITY % (b"bad", DEEP[deep]))
    body = b'{"operationId":"o","data":{"entities":[' + b",".join(entities) + b"]}}"
    operation, told = payloads.read_interactions(body)
    assert (operation, [one.name for one in told]) == ("o", ["STARTED"] * 3)
    kept, nameless = events.split("main", body, datetime.now(UTC))
    assert nameless == []
    bad = kept.pop(place)
    assert [one.event.fields["x"] for one in kept] == [1, 1]
    assert [one.event.interaction for one in (*kept, bad)] == ["i-0", "i-1", "bad"]
    for one in kept:
        events.for_ledger(one, {})
    with pytest.raises(payloads.NotJson, match="nested too deeply"):  # its batch becomes a dead letter
        events.for_ledger(bad, {})


@pytest.mark.parametrize("where", [b'"a":%s,"data":{%s}', b'"data":{"b":%s,%s}'])
def test_what_is_deep_beside_the_entities_is_nobodys(where: bytes) -> None:
    body = b'{"operationId":"o",' + where % (lists(3000), b'"entities":[' + ENTITY % (b"i", b"1") + b"]") + b"}"
    kept, _ = events.split("main", body, datetime.now(UTC))
    assert [one.event.interaction for one in kept] == ["i"]
    events.for_ledger(kept[0], {})


@pytest.mark.parametrize("depth", [10, 300, 900, 950, 1000, 3000])
def test_an_entity_with_neither_id_nor_event_keeps_its_bytes_at_any_depth(depth: int) -> None:
    entity = b'{"event":"","entity":{"x":' + lists(depth) + b"}}"
    body = b'{"operationId":"o","data":{"entities":[' + entity + b"," + ENTITY % (b"i", b"1") + b"]}}"
    [kept], [nameless] = events.split("main", body, datetime.now(UTC))
    assert kept.event.interaction == "i"
    assert entity in nameless.raw


@pytest.mark.parametrize("depth", [0, 1, 14, 15, 16, 17, 18, 200])
@pytest.mark.parametrize("inner", [b"", b'"a]"', b"[],[]", b'{"a":[1,{}]}', rb'"\"", "\\", "\\\""'])
def test_what_was_cut_is_put_together_again(depth: int, inner: bytes) -> None:
    body = objects(depth // 2, lists(depth - depth // 2, b"[" + inner + b"]"))
    cut = nesting.Cut(body.decode(), lambda part: orjson.loads(part))
    item, raw = cut.apart(cut.value)
    assert raw == b""
    assert item == json.loads(body)
    assert nesting.write(item) == orjson.dumps(item)


@pytest.mark.parametrize(
    "unit",
    [b"[", b'{"a":', b'[{"a":', b"[],", b'"', b'\\"', b'"\\', b'"a",', b"]", b"]["],
    ids=lambda unit: unit.decode(),
)
def test_it_is_linear(unit: bytes) -> None:
    def seconds(count: int) -> float:
        body = b"[" + lists(1100) + b"," + unit * count
        found = []
        for _ in range(3):
            began = time.process_time()
            with pytest.raises(payloads.NotJson):
                payloads.read_webhook(body, "main")
            found.append(time.process_time() - began)
        return min(found)

    assert seconds(160_000) < 30 * seconds(20_000) + 0.05  # eightfold: linear is 8, quadratic 64


def test_many_that_are_deep_are_linear_too() -> None:
    def seconds(count: int) -> float:
        items = b",".join(GOOD % (b"m-%d" % n, objects(1200 // (count // 100))) for n in range(count))
        body = b"[" + GOOD % (b"bad", lists(2000)) + b"," + items + b"]"
        began = time.process_time()
        assert [one.problem for one in payloads.read_webhook(body, "main")][1:] == [
            None if count > 100 else payloads.TOO_DEEP
        ] * count
        return time.process_time() - began

    assert seconds(400) < 12 * seconds(100) + 0.05
