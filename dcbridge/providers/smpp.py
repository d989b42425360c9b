"""SMPP 3.4: operators, aggregators, and whatever speaks it.

https://smpp.org/SMPP_v3_4_Issue1_2.pdf

A session carries both directions. What arrives in it is stored as a callback whose body is the unit, byte for byte,
and is read here like any other callback. An SMSC sends back no reference of ours: a receipt is found by its own id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from dcbridge import gsm7
from dcbridge.errors import BadSignature, Refused, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus, piece_of
from dcbridge.providers import segmentation
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    CallbackAnswer,
    Can,
    Part,
    SmppAccount,
    SmppAnswer,
    SmppRequest,
    Submission,
    Turn,
)
from dcbridge.providers.phone import Senders
from dcbridge.providers.smpp_codes import error_of, read_receipt
from dcbridge.providers.sms_fields import SmsFields, consumer_message, text_parts
from dcbridge.settings.types import is_loopback
from dcbridge.smpp import pdu, text
from dcbridge.smpp.pdu import BadPdu, Bind, Message, Tag

SENDERS = Senders(short_codes=True, names=True)
ARRIVAL = "x-dcbridge-arrival"  # header of a stored unit: what tells two arrivals of the same bytes apart
MOST_PIECES = 255
_PAYLOAD = 10_000  # units of a text that goes in one piece
_ROOM = {"gsm7": (160, 153), "latin1": (140, 134), "ucs2": (70, 67)}  # of one SMS, and of a piece of several
_INTERMEDIATE = 0x20  # in esm_class
_ID = re.compile(r"[!-~]{1,64}", re.ASCII)


class SmppFields(SmsFields):
    """An account at an SMSC, with SMPP 3.4."""

    senders = SENDERS

    host: str = Field(pattern=r"^[^\s/@]+$", description="Host name of the SMSC.")
    port: int = Field(2775, ge=1, le=65535, description="Port of the SMSC.")
    security: Literal["none", "tls"] = Field(
        "none", description="How the connection is encrypted: TLS from the first byte, or not at all."
    )
    verify_certificate: bool = Field(True, description="Whether the SMSC's certificate must be valid for its host.")
    system_id: str = Field(min_length=1, max_length=15, pattern=r"^[ -~]+$", description="Name of the account.")
    password: SecretStr = Field(SecretStr(""), description="Password of the account, of 8 characters at most.")
    system_type: str = Field(
        "", max_length=12, pattern=r"^[ -~]*$", description="system_type, where the SMSC asks for one."
    )
    service_type: str = Field("", max_length=5, pattern=r"^[ -~]*$", description="service_type of every message.")
    binds: int = Field(
        1,
        ge=1,
        le=100,
        description="Workers that hold a session at the same time; the others pass messages on to them.",
    )
    alphabet: Literal["gsm7", "latin1"] = Field(
        "gsm7", description="What the SMSC's default alphabet (data_coding 0) is: GSM-7, one septet a byte, or Latin-1."
    )
    long_text: Literal["udh", "udh16", "sar", "payload"] = Field(
        "udh",
        description="How a long text is sent: in pieces with a header of an 8-bit or 16-bit reference, in pieces with"
        " sar_* parameters, or whole as message_payload.",
    )
    receipt_ids: Literal["same", "hex", "decimal"] = Field(
        "same",
        description="How receipts write an id: as the response did, or in hex or decimal where that did the other.",
    )
    source_ton: int | None = Field(
        None,
        ge=0,
        le=255,
        description="TON of the sender; without it by its form: 1 a number, 3 a short code, 5 a name.",
    )
    source_npi: int | None = Field(
        None, ge=0, le=255, description="NPI of the sender; without it 1 for a number, else 0."
    )
    validity_period: int | None = Field(
        None, ge=60, le=2_592_000, description="Seconds that the SMSC may try to deliver a message, 60 to 2592000."
    )
    enquire_every: float = Field(
        30.0, ge=1, le=3600, allow_inf_nan=False, description="Seconds between two enquire_link."
    )
    reasons: dict[str, Reason] = Field(
        {},
        description="Codes of this SMSC to reasons of Digital Channels: `err` of a receipt, as in `005`, or the status"
        " of a response, as in `0x0411`.",
    )

    @field_validator("password")
    @classmethod
    def _short_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) > 8:
            raise ValueError("should have 8 characters at most: SMPP has no room for more")
        return value

    @field_validator("reasons")
    @classmethod
    def _in_one_spelling(cls, value: dict[str, Reason]) -> dict[str, Reason]:
        return {_spelling(code): reason for code, reason in value.items()}

    def doubts(self) -> Iterator[tuple[str, str]]:
        if self.security == "none" and not is_loopback(f"http://{self.host}"):
            yield "security", "is none: messages and the password travel unencrypted; write tls, or use a VPN"


def _spelling(code: str) -> str:
    found = re.fullmatch(r"0[xX]([0-9a-fA-F]{1,8})", code)
    return f"0x{int(found[1], 16):02X}" if found else code


class Smpp(Adapter):
    """One account."""

    kind = "smpp"
    fields_model = SmppFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(1, gsm7=True),
        callbacks={},
        named_by_id=True,
        window=10,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: SmppFields, public_url: str) -> None:
        """`public_url` is not used: what the SMSC says comes in the session."""
        self.name, self._fields = name, fields
        bind = Bind(fields.system_id, fields.password.get_secret_value(), fields.system_type)
        self.session = SmppAccount(
            fields.host, fields.port, fields.security == "tls", fields.verify_certificate, bind, fields.binds,
            fields.enquire_every,
        )  # fmt: skip
        self._reasons = {code: int(reason) for code, reason in fields.reasons.items()}
        self.account = f"smpp://{fields.host}:{fields.port} {fields.system_id}"

    # ------------------------------------------------------------ out

    def _alphabet(self, written: str) -> str:
        """Of a whole text: all of its pieces have the same."""
        if self._fields.alphabet == "gsm7":
            return "gsm7" if segmentation.is_gsm7(written) else "ucs2"
        return "latin1" if all(char <= "\xff" for char in written) else "ucs2"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        if self._fields.long_text == "payload":
            return text_parts(message, _PAYLOAD)
        alphabet = self._alphabet(message.text)
        single, piece = _ROOM[alphabet]
        size = segmentation.units(message.text) if alphabet == "gsm7" else len(_utf16(message.text)) // 2
        found = text_parts(message, max(segmentation.units(message.text), 2) if size <= single else piece)
        if len(found) > MOST_PIECES:
            raise Refused(f"longer than {MOST_PIECES} SMS", reason=Reason.INVALID_STRUCTURE)
        return found

    def build_request(self, turn: Turn) -> SmppRequest:
        fields, part = self._fields, turn.part
        sender, recipient = fields.sender(turn.message), fields.recipient(turn.message)
        ton, npi = (1, 1) if sender.startswith("+") else (3, 0) if sender.isdigit() else (5, 0)
        alphabet = self._alphabet(turn.message.text)
        coding, written = _written(part.text, alphabet)
        message = Message(
            source=sender.removeprefix("+"),
            destination=recipient.removeprefix("+"),
            text=written,
            source_ton=ton if fields.source_ton is None else fields.source_ton,
            source_npi=npi if fields.source_npi is None else fields.source_npi,
            destination_ton=1,
            destination_npi=1,
            service_type=fields.service_type,
            validity=_relative(fields.validity_period),
            registered_delivery=1,
            data_coding=coding,
        )
        try:
            return SmppRequest(self.session, pdu.write_message(self._as_pieces(message, turn)))
        except BadPdu as error:
            raise Refused(str(error), reason=Reason.INVALID_STRUCTURE) from None

    def _as_pieces(self, message: Message, turn: Turn) -> Message:
        how, part = self._fields.long_text, turn.part
        if how == "payload":
            return replace(message, text=b"", parameters={Tag.MESSAGE_PAYLOAD: message.text})
        if part.count == 1:
            return message
        reference = int(turn.message.ref[:4], 16)
        if how == "sar":
            return replace(message, parameters=text.parameters(reference, part.count, part.number + 1))
        head = text.header(reference, part.count, part.number + 1, wide=how == "udh16")
        return replace(message, text=head + message.text, esm_class=pdu.UDH)

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, SmppAnswer)
        if answer.status != pdu.OK:
            raise error_of(answer.status, self._reasons)
        if not _ID.fullmatch(answer.message_id):
            raise Unreadable("no message_id")
        return Submission(self._same_id(answer.message_id, is_receipt=False))

    def _same_id(self, written: str, *, is_receipt: bool) -> str:
        """An id as it is kept: decimal, where the two ways of writing differ."""
        how = self._fields.receipt_ids
        if how == "same":
            return written
        is_hex = (how == "hex") == is_receipt
        digits = r"[0-9a-fA-F]{1,32}" if is_hex else r"[0-9]{1,38}"
        return str(int(written, 16 if is_hex else 10)) if re.fullmatch(digits, written, re.ASCII) else written

    # ------------------------------------------------------------ in

    def verify(self, callback: Callback) -> str:
        raise BadSignature("SMPP has no callbacks over HTTP")

    def event_id(self, callback: Callback) -> str:
        return callback.header(ARRIVAL)

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        try:
            header = pdu.read_header(callback.body[: pdu.HEADER].ljust(pdu.HEADER, b"\0"))
            if header.command != pdu.Command.DELIVER_SM:
                raise UnreadableEvent("not deliver_sm")
            message = pdu.read_message(callback.body[pdu.HEADER : header.length])
        except BadPdu:
            raise UnreadableEvent("not SMPP") from None
        sort = message.esm_class & pdu.TYPE
        if sort == _INTERMEDIATE:  # it is still tried, whatever the state is of what was tried so far
            return [replace(self._update(message), status=UpdateStatus.SENT, reason=None)]
        if sort == pdu.RECEIPT or (not sort and _is_receipt(message)):
            return [self._update(message)]
        if sort:
            raise UnreadableEvent("an acknowledgement of a handset")
        return [self._consumer_message(callback, message)]

    def _update(self, message: Message) -> DeliveryUpdate:
        raw, _ = text.opened(message)
        named = message.parameters.get(Tag.RECEIPTED_MESSAGE_ID, b"").split(b"\0")[0].decode("latin-1")
        state = message.parameters.get(Tag.MESSAGE_STATE, b"")
        said = text.decode(raw, message.data_coding, self._fields.alphabet) or ""
        receipt = read_receipt(said, named, state[0] if len(state) == 1 else None, self._reasons)
        if not _ID.fullmatch(receipt.message_id):
            raise UnreadableEvent("no message id")
        return DeliveryUpdate(
            provider=self.name,
            provider_id=self._same_id(receipt.message_id, is_receipt=True),
            status=receipt.status,
            reason=receipt.reason,
            detail=receipt.code,
        )

    def _consumer_message(self, callback: Callback, message: Message) -> ConsumerMessage:
        raw, piece = text.opened(message)
        written = text.decode(raw, message.data_coding, self._fields.alphabet)
        if written is None:
            raise UnreadableEvent("no text")
        arrival = callback.header(ARRIVAL) or hashlib.blake2b(callback.body, digest_size=12).hexdigest()
        said = consumer_message(
            self.name,
            self._fields,
            arrival,
            message.source,
            message.destination,
            written if piece else _mended(written),
        )
        return replace(said, piece=piece_of(*piece)) if piece else said

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        return CallbackAnswer(200)


def _is_receipt(message: Message) -> bool:
    """One that does not say so. A consumer can write the text of a receipt, but not its parameters."""
    return {Tag.RECEIPTED_MESSAGE_ID, Tag.MESSAGE_STATE} <= message.parameters.keys()


def _written(piece: str, alphabet: str) -> tuple[int, bytes]:
    """data_coding and bytes."""
    if alphabet == "gsm7":
        return text.DEFAULT, gsm7.encode(piece)
    if alphabet == "latin1":
        return text.LATIN1, piece.encode("latin-1")
    return text.UCS2, _utf16(piece)


def _utf16(written: str) -> bytes:
    return written.encode("utf-16-be", "replace")


def _mended(written: str) -> str:
    """Without halves of UTF-16 pairs."""
    return written.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _relative(seconds: int | None) -> str:
    """A time from now on, as in 7.1.1.1."""
    if seconds is None:
        return ""
    days, rest = divmod(seconds, 86400)
    return f"0000{days:02}{rest // 3600:02}{rest // 60 % 60:02}{rest % 60:02}000R"
