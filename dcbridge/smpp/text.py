"""Texts as SMPP carries them: the alphabet of a data_coding, and the header of a piece of a long message.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf     5.2.19 (data_coding), 5.3.2.22 (sar_*)
3GPP TS 23.040, 9.2.3.24 (the header)

Which alphabet data_coding 0 is, is the SMSC's to say: GSM-7 with one septet a byte, or Latin-1.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Literal

from dcbridge import gsm7
from dcbridge.smpp.pdu import UDH, Message, Tag

Alphabet = Literal["gsm7", "latin1"]
DEFAULT, ASCII, BINARY, LATIN1, UCS2 = 0x00, 0x01, 0x02, 0x03, 0x08
_CONCATENATION, _CONCATENATION_16 = 0x00, 0x08  # elements of the header


def decode(raw: bytes, coding: int, default: Alphabet) -> str | None:
    """None for what is no text. A half of a UTF-16 pair stays: the next piece may bring the other half."""
    coding = _of_class(coding)
    if coding == UCS2:
        return raw[: len(raw) & ~1].decode("utf-16-be", "surrogatepass")
    if coding == DEFAULT:
        return gsm7.decode(raw) if default == "gsm7" else raw.decode("latin-1")
    if coding in (ASCII, LATIN1):
        return raw.decode("latin-1")
    return None


def _of_class(coding: int) -> int:
    """The alphabet of a data_coding that says a message class or waiting indication as well (TS 23.038, 4 and 5)."""
    if coding & 0xF0 == 0xF0:  # message class
        return BINARY if coding & 0x04 else DEFAULT
    if coding & 0xF0 in (0x10, 0x20, 0x30):  # general, with a class
        return {0x00: DEFAULT, 0x04: BINARY, 0x08: UCS2}.get(coding & 0x0C, BINARY)
    if coding & 0xF0 in (0xC0, 0xD0, 0xE0):  # something waits, as a voice mail does
        return UCS2 if coding & 0xF0 == 0xE0 else DEFAULT
    return coding


def header(reference: int, count: int, number: int, *, wide: bool) -> bytes:
    """Of piece `number` (from 1) of `count`, with a reference of 8 bits or 16."""
    if wide:
        return struct.pack("!BBBHBB", 6, _CONCATENATION_16, 4, reference & 0xFFFF, count, number)
    return bytes((5, _CONCATENATION, 3, reference & 0xFF, count, number))


def parameters(reference: int, count: int, number: int) -> Mapping[int, bytes]:
    """The same as optional parameters."""
    return {
        Tag.SAR_MSG_REF_NUM: struct.pack("!H", reference & 0xFFFF),
        Tag.SAR_TOTAL_SEGMENTS: bytes((count,)),
        Tag.SAR_SEGMENT_SEQNUM: bytes((number,)),
    }


def opened(message: Message) -> tuple[bytes, tuple[str, int, int] | None]:
    """The text without its header, and (reference, number, count) of a piece. What is no header stays in the text."""
    raw = message.parameters.get(Tag.MESSAGE_PAYLOAD, b"") if not message.text else message.text
    found = _sar(message.parameters)
    if not message.esm_class & UDH or not raw or raw[0] >= len(raw):
        return raw, found
    size = raw[0]
    return raw[1 + size :], _concatenation(raw[1 : 1 + size]) or found


def _concatenation(elements: bytes) -> tuple[str, int, int] | None:
    while len(elements) >= 2:
        kind, size = elements[0], elements[1]
        value, elements = elements[2 : 2 + size], elements[2 + size :]
        if kind == _CONCATENATION and len(value) == size == 3:
            return f"8-{value[0]}", value[2], value[1]
        if kind == _CONCATENATION_16 and len(value) == size == 4:
            return f"16-{int.from_bytes(value[:2])}", value[3], value[2]
    return None


def _sar(values: Mapping[int, bytes]) -> tuple[str, int, int] | None:
    reference, count, number = (
        values.get(tag, b"") for tag in (Tag.SAR_MSG_REF_NUM, Tag.SAR_TOTAL_SEGMENTS, Tag.SAR_SEGMENT_SEQNUM)
    )
    if len(reference) != 2 or len(count) != 1 or len(number) != 1:
        return None
    return f"sar-{int.from_bytes(reference)}", number[0], count[0]
