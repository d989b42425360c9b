"""Units of SMPP, against smpplib: what one writes the other reads, and damaged bytes are refused and never misread."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import smpp  # type: ignore[import-untyped] # it ships no types

from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import BadPdu, Bind, Command, Message, Tag

NUMBERS = st.integers(0, 255)
WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
MESSAGES = st.builds(
    Message,
    source=WORDS,
    destination=WORDS,
    text=st.binary(min_size=1, max_size=254),
    source_ton=NUMBERS,
    source_npi=NUMBERS,
    destination_ton=NUMBERS,
    destination_npi=NUMBERS,
    service_type=WORDS.map(lambda word: word[:5]),
    esm_class=NUMBERS,
    protocol_id=NUMBERS,
    priority=NUMBERS,
    registered_delivery=NUMBERS,
    replace_if_present=NUMBERS,
    data_coding=NUMBERS,
    default_message=NUMBERS,
    parameters=st.fixed_dictionaries(
        {}, optional={
            Tag.SAR_MSG_REF_NUM: st.binary(min_size=2, max_size=2),
            Tag.SAR_TOTAL_SEGMENTS: st.binary(min_size=1, max_size=1),
            Tag.SAR_SEGMENT_SEQNUM: st.binary(min_size=1, max_size=1),
            Tag.MESSAGE_PAYLOAD: st.binary(max_size=300),
        },
    ),
)  # fmt: skip
FIELDS = {
    "source": "source_addr", "destination": "destination_addr", "text": "short_message",
    "source_ton": "source_addr_ton", "source_npi": "source_addr_npi",
    "destination_ton": "dest_addr_ton", "destination_npi": "dest_addr_npi",
    "service_type": "service_type", "esm_class": "esm_class", "protocol_id": "protocol_id", "priority": "priority_flag",
    "registered_delivery": "registered_delivery", "replace_if_present": "replace_if_present_flag",
    "data_coding": "data_coding", "default_message": "sm_default_msg_id",
}  # fmt: skip


class Client:
    """What smpplib asks of one to number its units."""

    sequence = 0

    def next_sequence(self) -> int:
        return 7


def known_to_the_oracle(message: Message) -> dict[str, Any]:
    """The fields by its names; it writes no zero for an empty text of an address, so that there is none."""
    return {theirs: getattr(message, ours) for ours, theirs in FIELDS.items()}


@given(MESSAGES)
def test_smpplib_reads_what_is_written_here(message: Message) -> None:
    raw = pdu.unit(Command.DELIVER_SM, 7, pdu.write_message(message))
    read = smpp.parse_pdu(raw, client=Client(), allow_unknown_opt_params=True)
    said = {
        name: value.decode("latin-1") if isinstance(value, bytes) and name != "short_message" else value
        for name in FIELDS.values()
        for value in [getattr(read, name)]
    }
    assert said == known_to_the_oracle(message)
    if message.parameters.get(Tag.MESSAGE_PAYLOAD):
        assert read.message_payload == message.parameters[Tag.MESSAGE_PAYLOAD]


@given(MESSAGES)
def test_what_smpplib_writes_is_read_here(message: Message) -> None:
    made = smpp.make_pdu("submit_sm", client=Client(), **known_to_the_oracle(message))
    raw = made.generate()
    header = pdu.read_header(raw)
    assert (header.length, header.command) == (len(raw), Command.SUBMIT_SM)
    assert pdu.read_message(raw[pdu.HEADER :]) == replace(message, parameters={})


@given(MESSAGES)
def test_what_is_written_is_read_back(message: Message) -> None:
    assert pdu.read_message(pdu.write_message(message)) == message


def test_a_bind_has_its_fields_in_their_places() -> None:
    body = pdu.write_bind(Bind("name", "secret", "VMA"))
    assert body == b"name\0secret\0VMA\0\x34\0\0\0"


@pytest.mark.parametrize(
    "bind", [Bind("n" * 16, ""), Bind("n", "p" * 9), Bind("n", "p", "t" * 13), Bind("n\0", "p")], ids=range(4)
)
def test_a_bind_that_does_not_fit_is_refused(bind: Bind) -> None:
    with pytest.raises(BadPdu):
        pdu.write_bind(bind)


@given(MESSAGES, st.data())
def test_a_unit_that_is_cut_off_is_never_misread(message: Message, data: st.DataObject) -> None:
    body = pdu.write_message(message)
    cut = data.draw(st.integers(0, len(body) - 1))
    with contextlib.suppress(BadPdu):
        read = pdu.read_message(body[:cut])
        assert read.text == message.text
        assert set(read.parameters.items()) <= set(message.parameters.items())


@given(st.binary(max_size=400))
def test_any_bytes_are_a_message_or_refused(raw: bytes) -> None:
    with contextlib.suppress(BadPdu):
        message = pdu.read_message(raw)
        assert len(message.source) <= 20
        assert len(message.destination) <= 20
        assert len(message.text) <= 254
    with contextlib.suppress(BadPdu):
        assert len(pdu.read_message_id(raw)) <= 64


@pytest.mark.parametrize(
    ("length", "good"),
    [(15, False), (16, True), (pdu.LONGEST, True), (pdu.LONGEST + 1, False), (0, False), (0xFFFFFFFF, False)],
)
def test_a_length_that_no_unit_has_is_refused(length: int, good: bool) -> None:
    raw = length.to_bytes(4) + bytes(12)
    if good:
        assert pdu.read_header(raw).length == length
    else:
        with pytest.raises(BadPdu):
            pdu.read_header(raw)
