"""Protocol data units of SMPP 3.4: a header of 16 bytes, then fields in a fixed order, then optional parameters.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf     4 (units), 5 (fields)

Reading is tolerant of what says nothing (a few bytes behind the last parameter, parameters that are not known) and
strict where something would be read wrongly: whatever is cut off, or longer than its field may be, is BadPdu.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

HEADER = 16
LONGEST = 1 << 16  # bytes of one unit; the largest that makes sense is a text of 64 KiB, which no SMS is
LAST_SEQUENCE = 0x7FFFFFFF
VERSION = 0x34
_HEAD = struct.Struct("!IIII")
_PARAMETER = struct.Struct("!HH")


class BadPdu(ValueError):
    """Bytes that are no unit. The message is a fixed text."""


class Command(IntEnum):
    """Ids of the units that are known here; a response has the highest bit set."""

    GENERIC_NACK = 0x80000000
    SUBMIT_SM = 0x00000004
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM = 0x00000005
    DELIVER_SM_RESP = 0x80000005
    UNBIND = 0x00000006
    UNBIND_RESP = 0x80000006
    BIND_TRANSCEIVER = 0x00000009
    BIND_TRANSCEIVER_RESP = 0x80000009
    ENQUIRE_LINK = 0x00000015
    ENQUIRE_LINK_RESP = 0x80000015


class Tag(IntEnum):
    """Optional parameters that are read or written."""

    RECEIPTED_MESSAGE_ID = 0x001E
    SAR_MSG_REF_NUM = 0x020C
    SAR_TOTAL_SEGMENTS = 0x020E
    SAR_SEGMENT_SEQNUM = 0x020F
    MESSAGE_PAYLOAD = 0x0424
    MESSAGE_STATE = 0x0427


OK, INVALID_LENGTH, INVALID_COMMAND, TEMPORARY = 0x00, 0x02, 0x03, 0x64

UDH = 0x40  # in esm_class: the text begins with a header
RECEIPT = 0x04  # in esm_class: what a message has come to
TYPE = 0x3C  # of esm_class: which sort of message


@dataclass(frozen=True, slots=True)
class Header:
    """What each unit begins with."""

    length: int
    command: int
    status: int
    sequence: int

    @property
    def is_response(self) -> bool:
        return self.command & 0x80000000 != 0


@dataclass(frozen=True, slots=True)
class Bind:
    """A session's first unit."""

    system_id: str
    password: str = field(repr=False)
    system_type: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """The fields of submit_sm and deliver_sm. `text` is the short message, its header included, not yet decoded."""

    source: str = field(repr=False)
    destination: str = field(repr=False)
    text: bytes = field(repr=False)
    source_ton: int = 0
    source_npi: int = 0
    destination_ton: int = 0
    destination_npi: int = 0
    service_type: str = ""
    esm_class: int = 0
    protocol_id: int = 0
    priority: int = 0
    schedule: str = ""
    validity: str = ""
    registered_delivery: int = 0
    replace_if_present: int = 0
    data_coding: int = 0
    default_message: int = 0
    parameters: Mapping[int, bytes] = field(default_factory=dict, repr=False)


def unit(command: int, sequence: int, body: bytes = b"", status: int = OK) -> bytes:
    """A whole unit."""
    return _HEAD.pack(HEADER + len(body), command, status, sequence) + body


def read_header(raw: bytes) -> Header:
    """Of the first 16 bytes. Raises BadPdu for a length that no unit has."""
    header = Header(*_HEAD.unpack_from(raw))
    if not HEADER <= header.length <= LONGEST:
        raise BadPdu("a length that no unit has")
    return header


def write_bind(bind: Bind) -> bytes:
    """The body of bind_transceiver. Raises BadPdu for what is too long."""
    words = _c_string(bind.system_id, 16) + _c_string(bind.password, 9) + _c_string(bind.system_type, 13)
    return words + bytes((VERSION, 0, 0)) + b"\0"


def write_message(message: Message) -> bytes:
    """The body of submit_sm or deliver_sm. Raises BadPdu for what is too long."""
    m = message
    if len(m.text) > 254:
        raise BadPdu("a short message has 254 bytes at most")
    numbers = (m.esm_class, m.protocol_id, m.priority)
    after = (m.registered_delivery, m.replace_if_present, m.data_coding, m.default_message, len(m.text))
    return b"".join(
        (
            _c_string(m.service_type, 6),
            bytes((m.source_ton, m.source_npi)),
            _c_string(m.source, 21),
            bytes((m.destination_ton, m.destination_npi)),
            _c_string(m.destination, 21),
            bytes(numbers),
            _c_string(m.schedule, 17),
            _c_string(m.validity, 17),
            bytes(after),
            m.text,
            *(_PARAMETER.pack(tag, len(value)) + value for tag, value in m.parameters.items()),
        )
    )


def read_message(body: bytes) -> Message:
    """The fields of submit_sm or deliver_sm. Raises BadPdu."""
    read = _Reader(body)
    service = read.c_string(6)
    source_ton, source_npi = read.number(), read.number()
    source = read.c_string(21)
    destination_ton, destination_npi = read.number(), read.number()
    destination = read.c_string(21)
    esm, protocol, priority = read.number(), read.number(), read.number()
    schedule, validity = read.c_string(17), read.c_string(17)
    registered, replace, coding, default = read.number(), read.number(), read.number(), read.number()
    text = read.take(read.number())
    return Message(
        source=source,
        destination=destination,
        text=text,
        source_ton=source_ton,
        source_npi=source_npi,
        destination_ton=destination_ton,
        destination_npi=destination_npi,
        service_type=service,
        esm_class=esm,
        protocol_id=protocol,
        priority=priority,
        schedule=schedule,
        validity=validity,
        registered_delivery=registered,
        replace_if_present=replace,
        data_coding=coding,
        default_message=default,
        parameters=read.parameters(),
    )


def read_message_id(body: bytes) -> str:
    """Of submit_sm_resp; "" where there is none, as with an error. Raises BadPdu."""
    return _Reader(body).c_string(65) if body else ""


def _c_string(value: str, size: int) -> bytes:
    """With its zero, in `size` bytes at most."""
    written = value.encode("latin-1", "replace")
    if len(written) >= size or b"\0" in written:
        raise BadPdu(f"a field of {size - 1} characters is too long")
    return written + b"\0"


class _Reader:
    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0

    def number(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        found = self._body[self._at : self._at + size]
        if len(found) < size:
            raise BadPdu("it is cut off")
        self._at += size
        return found

    def c_string(self, size: int) -> str:
        """Up to its zero, which has to be within `size` bytes."""
        end = self._body.find(b"\0", self._at, self._at + size)
        if end < 0:
            raise BadPdu("a text without an end, or too long")
        found = self._body[self._at : end].decode("latin-1")
        self._at = end + 1
        return found

    def parameters(self) -> dict[int, bytes]:
        """The last of each tag. Fewer than four bytes behind them say nothing."""
        found: dict[int, bytes] = {}
        while len(self._body) - self._at >= 4:
            tag, size = _PARAMETER.unpack(self.take(4))
            found[tag] = self.take(size)
        return found
