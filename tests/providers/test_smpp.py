"""SMPP's adapter: what goes out for what message, what each answer means, what each unit says."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from smpplib import gsm  # type: ignore[import-untyped] # it ships no types

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    Deferred,
    Refused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Piece, Reason, UpdateStatus
from dcbridge.providers.base import Callback, SmppAnswer, Turn
from dcbridge.providers.smpp import ARRIVAL, Smpp, SmppFields
from dcbridge.smpp import pdu, text
from dcbridge.smpp.pdu import Command, Message, Tag

FIELDS: dict[str, Any] = {"host": "smpp.example.com", "system_id": "acme", "password": "secret"}
LONG = "0123456789 " * 30


def smpp(**changes: Any) -> Smpp:
    return Smpp("acme", SmppFields.model_validate(FIELDS | changes), "")


def message(written: str = "Hello", to: str = "16504661149", sender: str = "12025550123") -> AgentMessage:
    return AgentMessage("c", "m", Address(sender), Address(to), (Address(to),), "Text", written)


def sent(said: AgentMessage, **changes: Any) -> list[Message]:
    """The units of a message."""
    adapter = smpp(**changes)
    return [pdu.read_message(adapter.build_request(Turn(said, part, 0.0)).body) for part in adapter.parts(said)]


def read(units: list[Message], default: text.Alphabet = "gsm7") -> str:
    """The text, as a handset puts it together."""
    opened = [text.opened(one) for one in units]
    assert [piece and piece[1:] for _, piece in opened] == (
        [None] if len(units) == 1 else [(number + 1, len(units)) for number in range(len(units))]
    )
    return "".join(
        text.decode(raw, one.data_coding, default) or "" for one, (raw, _) in zip(units, opened, strict=True)
    )


# ---------------------------------------------------------------- out


def test_what_goes_out() -> None:
    [unit] = sent(message("Grüße: 1 €"), service_type="CMT", validity_period=90061)
    assert unit == Message(
        source="12025550123", destination="16504661149", text=b"Gr\x7e\x1ee: 1 \x1b\x65", source_ton=1, source_npi=1,
        destination_ton=1, destination_npi=1, service_type="CMT", registered_delivery=1, validity="000001010101000R",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sender", "changes", "ton", "npi", "source"),
    [
        ("12025550123", {}, 1, 1, "12025550123"),
        ("+1 202-555-0123", {}, 1, 1, "12025550123"),
        ("x", {"from_number": "12345"}, 3, 0, "12345"),
        ("x", {"from_number": "ACME"}, 5, 0, "ACME"),
        ("x", {"from_number": "12345", "source_ton": 6, "source_npi": 9}, 6, 9, "12345"),
    ],
)
def test_a_sender_says_what_it_is(sender: str, changes: dict[str, Any], ton: int, npi: int, source: str) -> None:
    [unit] = sent(message(sender=sender), **changes)
    assert (unit.source_ton, unit.source_npi, unit.source) == (ton, npi, source)


@pytest.mark.parametrize("how", ["udh", "udh16", "sar"])
@pytest.mark.parametrize(
    ("written", "alphabet", "coding", "pieces", "most"),
    [
        ("a" * 160, "gsm7", 0, 1, 160),
        ("a" * 161, "gsm7", 0, 2, 153),
        ("€" * 80, "gsm7", 0, 1, 160),
        ("€" * 81, "gsm7", 0, 2, 153),
        ("ж" * 70, "gsm7", 8, 1, 140),
        ("ж" * 71, "gsm7", 8, 2, 134),
        ("😀" * 35, "gsm7", 8, 1, 140),
        ("😀" * 36, "gsm7", 8, 2, 134),
        ("é" * 140, "latin1", 3, 1, 140),
        ("é" * 141, "latin1", 3, 2, 134),
        ("€" * 70, "latin1", 8, 1, 140),
        ("a" * 400 + "ж", "gsm7", 8, 6, 134),
    ],
)
def test_a_text_takes_as_few_sms_as_it_can(
    how: str, written: str, alphabet: text.Alphabet, coding: int, pieces: int, most: int
) -> None:
    units = sent(message(written), alphabet=alphabet, long_text=how)
    assert (len(units), {unit.data_coding for unit in units}) == (pieces, {coding})
    assert all(len(text.opened(unit)[0]) <= most for unit in units)
    assert read(units, alphabet) == written


@given(
    st.text(min_size=1, max_size=600),
    st.sampled_from(["gsm7", "latin1"]),
    st.sampled_from(["udh", "udh16", "sar", "payload"]),
)
def test_any_text_arrives_as_it_was_written(written: str, alphabet: text.Alphabet, how: str) -> None:
    try:
        units = sent(message(written), alphabet=alphabet, long_text=how)
    except SendError:
        assert not written.strip()
        return
    assert read(units, alphabet) == written.encode("utf-16", "replace").decode("utf-16")
    assert len(units) == 1 or how != "payload"


def test_smpplib_sends_a_long_text_the_same_way() -> None:
    theirs, coding, esm = gsm.make_parts(LONG)
    ours = sent(message(LONG))
    assert (len(ours), ours[0].data_coding, ours[0].esm_class) == (len(theirs), coding, esm)
    assert {unit.text[:2] + unit.text[4:5] for unit in ours} == {part[:2] + part[4:5] for part in theirs}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (message("  "), Reason.INVALID_STRUCTURE),
        (message("ж" * (67 * 255 + 1)), Reason.INVALID_STRUCTURE),
        (message(to="x" * 30), Reason.INVALID_DESTINATION),
        (message(sender=" "), Reason.INVALID_STRUCTURE),
    ],
)
def test_what_cannot_be_sent_is_refused(said: AgentMessage, reason: Reason) -> None:
    with pytest.raises(Refused) as raised:
        sent(said)
    assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (0x58, Throttled, 310), (0x14, Throttled, 310), (0x08, Deferred, 500), (0x45, Deferred, 500),
        (0x64, Deferred, 500), (0x0E, AccountFault, 500), (0x04, AccountFault, 500), (0x0B, Refused, 530),
        (0x51, Refused, 530), (0x0A, Refused, 350), (0x01, Refused, 520), (0xC4, Refused, 520), (0x67, Refused, 512),
        (0x410, Refused, 500), (0x411, Refused, 350), (0xFFFFFFFF, Refused, 500),
    ],
)  # fmt: skip
def test_a_status_is_an_error(status: int, error: type[SendError], reason: int) -> None:
    with pytest.raises(error) as raised:
        smpp(reasons={"0x0411": 350}).parse_response(SmppAnswer(status, ""))
    assert type(raised.value) is error
    assert raised.value.reason == reason
    assert raised.value.code == f"0x{status:02X}"


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "é"])
def test_an_id_that_is_none_is_unreadable(given_id: str) -> None:
    with pytest.raises(Unreadable):
        smpp().parse_response(SmppAnswer(0, given_id))


@pytest.mark.parametrize(
    ("how", "in_response", "in_receipt"),
    [
        ("same", "AbC-1", "AbC-1"), ("same", "0012", "0012"), ("hex", "1234567890", "499602D2"),
        ("hex", "1234567890", "00499602d2"), ("decimal", "499602D2", "1234567890"), ("hex", "no-number", "no-number"),
    ],
)  # fmt: skip
def test_ids_are_the_same_however_they_are_written(how: str, in_response: str, in_receipt: str) -> None:
    adapter = smpp(receipt_ids=how)
    taken = adapter.parse_response(SmppAnswer(0, in_response))
    [update] = adapter.parse_callback(callback(receipt(in_receipt)))
    assert isinstance(update, DeliveryUpdate)
    assert update.provider_id == taken.provider_id


# ---------------------------------------------------------------- in


def callback(unit: Message | bytes, command: int = Command.DELIVER_SM, arrival: str = "b-1") -> Callback:
    body = unit if isinstance(unit, bytes) else pdu.unit(command, 7, pdu.write_message(unit))
    return Callback("events", "SMPP", "smpp://acme", b"", {ARRIVAL: (arrival,)}, body)


def receipt(message_id: str = "1", stat: str = "DELIVRD", err: str = "000", **changes: Any) -> Message:
    dates = "submit date:2611261200 done date:2611261201"
    written = f"id:{message_id} sub:001 dlvrd:001 {dates} stat:{stat} err:{err} text:Hello"
    given_fields: dict[str, Any] = {"source": "16504661149", "destination": "12025550123", "text": written.encode(),
                                    "esm_class": pdu.RECEIPT}  # fmt: skip
    return Message(**(given_fields | changes))


def update_of(unit: Message, **changes: Any) -> DeliveryUpdate:
    [update] = smpp(**changes).parse_callback(callback(unit))
    assert isinstance(update, DeliveryUpdate)
    return update


@pytest.mark.parametrize(
    ("stat", "number", "status", "reason"),
    [
        ("DELIVRD", 2, UpdateStatus.DELIVERED, None), ("EXPIRED", 3, UpdateStatus.FAILED, 305),
        ("DELETED", 4, UpdateStatus.REMOVED, None), ("UNDELIV", 5, UpdateStatus.FAILED, 500),
        ("ACCEPTD", 6, UpdateStatus.SENT, None), ("UNKNOWN", 7, UpdateStatus.FAILED, 500),
        ("REJECTD", 8, UpdateStatus.FAILED, 350), ("ENROUTE", 1, UpdateStatus.SENT, None),
        ("delivrd", 2, UpdateStatus.DELIVERED, None), ("WHATEVER", 1, UpdateStatus.SENT, None),
    ],
)  # fmt: skip
def test_a_receipt_says_what_became_of_it(stat: str, number: int, status: UpdateStatus, reason: int | None) -> None:
    by_text = update_of(receipt("17", stat))
    parameters = {Tag.RECEIPTED_MESSAGE_ID: b"17\0", Tag.MESSAGE_STATE: bytes((number,))}
    by_parameters = update_of(receipt("", "", text=b"", parameters=parameters))
    for update in (by_text, by_parameters):
        assert (update.provider_id, update.status, update.reason) == ("17", status, reason)
        assert (update.ref, update.detail) == ("", "")


@pytest.mark.parametrize(
    ("err", "reason", "detail"), [("005", 530, "005"), ("006", 500, "006"), ("000", 500, ""), ("0", 500, "")]
)
def test_an_err_may_have_a_reason(err: str, reason: int, detail: str) -> None:
    update = update_of(receipt("17", "UNDELIV", err), reasons={"005": 530})
    assert (update.reason, update.detail) == (reason, detail)
    assert update_of(receipt("17", "DELIVRD", "005"), reasons={"005": 530}).reason is None


@pytest.mark.parametrize(
    ("written", "message_id"),
    [
        (b"ID: 17 Stat: DELIVRD", "17"),
        (b"stat:DELIVRD id:17", "17"),
        (b"id:17 stat:DELIVRD text:id:18 stat:UNDELIV", "17"),
        (b"id:17 sub:1 dlvrd:1 submit date:20261126120000 done date:26-11-26 12:00 stat:DELIVRD err:0", "17"),
        (b"id:17 submit date:2611261200301 done date: stat:DELIVRD", "17"),
        (b"Id:17\r\nStat:DELIVRD\r\nErr:000\0", "17"),
        ("id:17 stat:DELIVRD text:Grüße".encode("latin-1"), "17"),
    ],
)
def test_a_receipt_is_read_in_whatever_order(written: bytes, message_id: str) -> None:
    update = update_of(receipt(text=written))
    assert (update.provider_id, update.status) == (message_id, UpdateStatus.DELIVERED)


@pytest.mark.parametrize("stat", ["UNDELIV", "DELETED", "ENROUTE", "DELIVRD", "REJECTD"])
def test_a_report_on_the_way_ends_nothing(stat: str) -> None:
    update = update_of(receipt("17", stat, "005", esm_class=0x20), reasons={"005": 530})
    assert (update.provider_id, update.status, update.reason) == ("17", UpdateStatus.SENT, None)


def test_a_receipt_that_does_not_say_so_is_one_by_its_parameters_alone() -> None:
    parameters = {Tag.RECEIPTED_MESSAGE_ID: b"17\0", Tag.MESSAGE_STATE: b"\x02"}
    for changes in ({"esm_class": 0}, {"esm_class": 0, "text": b""}, {"esm_class": 0x03, "text": b""}):
        assert update_of(receipt("17", **changes, parameters=parameters)).status == UpdateStatus.DELIVERED
    written = receipt("17", esm_class=0)
    for forged in (written, replace(written, parameters={Tag.MESSAGE_STATE: b"\x02"})):
        [said] = smpp().parse_callback(callback(forged))
        assert isinstance(said, ConsumerMessage)


def consumer(raw: bytes = b"Hello", coding: int = 0, esm_class: int = 0, **changes: Any) -> ConsumerMessage:
    unit = Message("16504661149", "12025550123", raw, 1, 1, 1, 1, data_coding=coding, esm_class=esm_class, **changes)
    [said] = smpp().parse_callback(callback(unit))
    assert isinstance(said, ConsumerMessage)
    return said


def test_what_a_consumer_wrote() -> None:
    assert consumer(b"Gr\x7e\x1ee") == ConsumerMessage(
        "acme", "b-1", Address("16504661149"), Address("12025550123"), "Grüße"
    )
    assert consumer("é😀".encode("utf-16-be"), 8).text == "é😀"
    assert consumer(b"\xd8\x3d", 8).text == "�"
    assert consumer(text.header(7, 3, 2, wide=False) + b"two", 0, pdu.UDH).piece == Piece("8-7", 2, 3)
    assert consumer(text.header(7, 3, 4, wide=False) + b"two", 0, pdu.UDH).piece is None
    assert consumer(b"two", parameters=text.parameters(7, 3, 2)).piece == Piece("sar-7", 2, 3)
    assert consumer(text.header(7, 2, 1, wide=True) + b"\xd8\x3d", 8, pdu.UDH).text == "\ud83d"  # joined later


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        (callback(b""), "not SMPP"),
        (callback(b"x" * 40), "not SMPP"),
        (callback(pdu.unit(Command.DELIVER_SM, 1, b"x")), "not SMPP"),
        (callback(receipt(), Command.SUBMIT_SM), "not deliver_sm"),
        (callback(receipt(text=b"id:17")), "no stat"),
        (callback(receipt(text=b"stat:DELIVRD")), "no message id"),
        (callback(receipt(esm_class=0x08)), "an acknowledgement of a handset"),
        (callback(receipt(esm_class=0, data_coding=4)), "no text"),
        (callback(receipt(esm_class=0, source="")), "no From"),
    ],
)
def test_what_cannot_be_read_says_why(unit: Callback, why: str) -> None:
    with pytest.raises(UnreadableEvent) as raised:
        smpp().parse_callback(unit)
    assert raised.value.kind == why


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_unreadable(raw: bytes, framed: bool) -> None:
    body = pdu.unit(Command.DELIVER_SM, 1, raw) if framed else raw
    with contextlib.suppress(UnreadableEvent):
        [said] = smpp().parse_callback(callback(body))
        assert isinstance(said, DeliveryUpdate) or (said.sender.id and said.to.id)


def test_nothing_over_http_is_believed() -> None:
    assert smpp().can.callbacks == {}
    with pytest.raises(BadSignature):
        smpp().verify(callback(receipt()))


# ---------------------------------------------------------------- fields


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "123456789"}, {"system_id": "x" * 16}, {"system_id": ""}, {"reasons": {"005": 531}}, {"binds": 0},
        {"validity_period": 59}, {"host": "a b"}, {"alphabet": "utf8"}, {"port": 0},
    ],
)  # fmt: skip
def test_a_field_that_smpp_has_no_room_for_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        smpp(**wrong)
    assert "123456789" not in str(raised.value)


def test_a_password_in_the_clear_deserves_a_look() -> None:
    assert [name for name, _ in SmppFields.model_validate(FIELDS).doubts()] == ["security"]
    assert list(SmppFields.model_validate(FIELDS | {"security": "tls"}).doubts()) == []
    assert list(SmppFields.model_validate(FIELDS | {"host": "127.0.0.1"}).doubts()) == []
