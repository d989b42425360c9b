"""Alphabets and pieces, against smpplib's tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpplib import gsm  # type: ignore[import-untyped] # it ships no types

from dcbridge import gsm7
from dcbridge.smpp import text
from dcbridge.smpp.pdu import UDH, Message, Tag

ALL = gsm7.DEFAULT.replace("\x1b", "") + "".join(gsm7.EXTENSION)
ALL = ALL.replace("\f", "").replace("§", "")  # which smpplib does not have


@given(st.text(st.sampled_from(ALL)))
def test_gsm7_is_as_smpplib_writes_it(written: str) -> None:
    raw = gsm7.encode(written)
    assert raw == gsm.gsm_encode(written)
    assert gsm7.decode(raw) == written


@given(st.binary(max_size=200))
def test_any_bytes_are_a_text(raw: bytes) -> None:
    assert isinstance(gsm7.decode(raw), str)
    for coding in range(256):
        said = text.decode(raw, coding, "gsm7")
        assert said is None or len(said) <= len(raw)


@pytest.mark.parametrize(
    ("coding", "default", "raw", "said"),
    [
        (0, "gsm7", b"\x00\x1b\x65", "@€"),
        (0, "latin1", b"\xe9", "é"),
        (0, "gsm7", b"\x1b\x1b\x41\x80", " A�"),
        (1, "gsm7", b"@", "@"),
        (3, "gsm7", b"\xe9", "é"),
        (8, "gsm7", "é😀".encode("utf-16-be"), "é😀"),
        (8, "gsm7", b"\x00A\x00", "A"),
        (0xF0, "gsm7", b"\x00", "@"),
        (0xF4, "gsm7", b"\x00", None),
        (0x18, "gsm7", b"\x00A", "A"),
        (0x14, "gsm7", b"x", None),
        (0x1C, "gsm7", b"x", None),
        (0xC8, "gsm7", b"\x00", "@"),
        (0xD8, "gsm7", b"\x00", "@"),
        (0xE8, "gsm7", b"\x00A", "A"),
        (8, "gsm7", b"\xdc\x00\xd8\x3d", "\udc00\ud83d"),
        (2, "gsm7", b"x", None),
        (4, "gsm7", b"x", None),
        (5, "gsm7", b"x", None),
    ],
)
def test_a_data_coding_is_an_alphabet(coding: int, default: text.Alphabet, raw: bytes, said: str | None) -> None:
    assert text.decode(raw, coding, default) == said


def message(raw: bytes, esm_class: int = UDH, **parameters: bytes) -> Message:
    named = {getattr(Tag, name): value for name, value in parameters.items()}
    return Message(source="1", destination="2", text=raw, esm_class=esm_class, parameters=named)


@pytest.mark.parametrize("wide", [False, True])
@given(
    reference=st.integers(0, 0xFFFF),
    count=st.integers(2, 255),
    number=st.integers(1, 255),
    rest=st.binary(min_size=1, max_size=100),
)
def test_a_header_is_read_as_it_is_written(wide: bool, reference: int, count: int, number: int, rest: bytes) -> None:
    raw, piece = text.opened(message(text.header(reference, count, number, wide=wide) + rest))
    key = f"16-{reference}" if wide else f"8-{reference & 0xFF}"
    assert (raw, piece) == (rest, (key, number, count))
    named = Message(source="1", destination="2", text=rest, parameters=text.parameters(reference, count, number))
    assert text.opened(named) == (rest, (f"sar-{reference}", number, count))


def test_smpplib_cuts_a_text_as_it_is_put_together_here() -> None:
    pieces, _, esm = gsm.make_parts("0123456789 " * 40)
    found = [text.opened(message(raw, esm)) for raw in pieces]
    assert "".join(gsm7.decode(raw) for raw, _ in found) == "0123456789 " * 40
    assert [piece and piece[1:] for _, piece in found] == [(n + 1, len(pieces)) for n in range(len(pieces))]


@pytest.mark.parametrize(
    ("raw", "esm", "rest"),
    [
        (b"\x05\x00\x03\x07\x02\x01Hi", 0, b"\x05\x00\x03\x07\x02\x01Hi"),  # no header is announced
        (b"\x06\x05\x04\x0b\x84\x23\xf0Hi", UDH, b"Hi"),  # ports
        (b"\x05\x00\x02\x07\x02\x01Hi", UDH, b"Hi"),  # an element of another length
        (b"\x05\x00\xff\x07\x02\x01Hi", UDH, b"Hi"),
        (b"\x05Hi", UDH, b"\x05Hi"),  # longer than the text
        (b"\xff", UDH, b"\xff"),
        (b"", UDH, b""),
    ],
)
def test_what_is_no_piece_is_none(raw: bytes, esm: int, rest: bytes) -> None:
    assert text.opened(message(raw, esm)) == (rest, None)


def test_a_long_text_may_come_as_payload() -> None:
    assert text.opened(message(b"", 0, MESSAGE_PAYLOAD=b"x" * 1000)) == (b"x" * 1000, None)
