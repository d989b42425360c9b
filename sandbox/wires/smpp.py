"""SMPP 3.4: what the sandbox's SMSC asks of a submit_sm, and what it delivers.

Responses have decimal ids, and receipts the same in hexadecimal, as many SMSCs do.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

from starlette.requests import Request

from sandbox.config import Account
from sandbox.records import SentByConsumer, Sms
from sandbox.sms_text import GSM7_TWO, is_gsm7, pieces
from sandbox.smsc import WrongUnit, deliver, read_submit
from sandbox.wires.base import Call, PlainWire, RefusedError, Reply, Submitted
from sandbox.world import World

STATUSES = {"delivered": "DELIVRD", "undelivered": "UNDELIV", "failed": "UNDELIV", "canceled": "DELETED"}
ERRORS = {30005: "005", 30007: "007", 30008: "008"}  # err of a receipt
CODES = {21610: 0x0411, 21211: 0x0B, 20429: 0x58, 20500: 0x08, 20003: 0x0E}  # command_status
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)
_RELATIVE = re.compile(r"0000[0-9]{8}000R|", re.ASCII)
ROOM = {0: 160, 3: 140, 8: 140}  # octets of one SMS
_TABLE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_SECOND = dict(zip("\f^{}\\[~]|€", (0x0A, 0x14, 0x28, 0x29, 0x2F, 0x3C, 0x3D, 0x3E, 0x40, 0x65), strict=True))


def encode(text: str) -> bytes:
    """In GSM-7, one septet a byte."""
    return b"".join(bytes((0x1B, _SECOND[one])) if one in GSM7_TWO else bytes((_TABLE.index(one),)) for one in text)


def decode(raw: bytes, coding: int) -> str:
    """Raises WrongUnit."""
    if coding == 8:
        return raw.decode("utf-16-be")
    if coding == 3:
        return raw.decode("latin-1")
    text = "".join(_TABLE[byte] for byte in raw if byte < 0x80)
    if len(text) != len(raw):
        raise WrongUnit(0x01, "GSM-7 has no eighth bit")
    for char, code in _SECOND.items():
        text = text.replace("\x1b" + _TABLE[code], char)
    return text


class SmppWire(PlainWire):
    who = "SMSC"
    login, proof = "bound", "in the session"
    send_path = "/smpp/none"

    def __init__(self, world: World, name: str, account: Account) -> None:
        self.world, self.name, self.account = world, name, account
        self.system = (account.secrets["system_id"], account.secrets["password"])
        self.port = int(account.secrets.get("port", "0"))
        self._written: set[str] = set()

    def new_id(self) -> str:
        return str(secrets.randbelow(10**12) + 10**12)

    def submitted(self, request: Request, body: bytes) -> Submitted:
        raise RefusedError(404, 3, "SMPP is not HTTP")

    def message(self, body: bytes) -> Submitted:
        """A submit_sm. Raises RefusedError, or WrongUnit for one that breaks a rule."""
        unit = read_submit(body)
        ton, npi, sender = unit.source
        wanted = (1, 1) if len(sender) > 8 and sender.isdigit() else (3, 0) if sender.isdigit() else (5, 0)
        if not sender or (ton, npi) != wanted:
            raise WrongUnit(0x48, "TON and NPI fit the sender")
        if unit.destination[:2] != (1, 1):
            raise WrongUnit(0x50, "TON and NPI of a number are 1")
        if not _NUMBER.fullmatch(unit.destination[2]):
            raise RefusedError(0, 21211, "Invalid destination")
        if unit.coding not in ROOM or not _RELATIVE.fullmatch(unit.validity):
            raise WrongUnit(0x62, "data_coding and validity_period are such as exist")
        raw, room = unit.text, ROOM[unit.coding]
        if unit.esm_class == 0x40:
            if raw[:3] != b"\x05\x00\x03" or not 1 <= raw[5] <= raw[4]:
                raise WrongUnit(0x43, "a piece has a header of six bytes")
            raw, room = raw[6:], room - (7 if unit.coding == 0 else 6)
        elif unit.esm_class:
            raise WrongUnit(0x43, "esm_class is 0, or says that there is a header")
        if not 0 < len(raw) <= room:
            raise WrongUnit(0x01, "an SMS has 140 octets")
        reports = "smpp:" if unit.registered == 1 else ""
        return Submitted(f"+{unit.destination[2]}", sender, decode(raw, unit.coding), 1, reports)

    def error(self, code: int) -> str:
        return ERRORS.get(code, "099")

    def taken(self, sms: Sms) -> Reply:
        return Reply(0, sms.sid.encode())

    def refused(self, refused: RefusedError) -> Reply:
        return Reply(CODES.get(refused.code, 0x45), b"")

    def tell(self, sms: Sms, status: str, error_code: int | None) -> Sequence[Call]:
        if not sms.callback_url or status not in STATUSES:
            return ()
        moment = time.strftime("%y%m%d%H%M", time.gmtime())
        ok = status == "delivered"
        text = (
            f"id:{int(sms.sid):x} sub:001 dlvrd:{int(ok):03} submit date:{moment} done date:{moment}"
            f" stat:{STATUSES[status]} err:{self.error(error_code) if error_code else '000'} text:"
        )
        return [Call("smpp://deliver_sm", deliver(sms.to[1:], sms.sender, text.encode(), esm_class=4), method="SMPP")]

    def write(self, sent: SentByConsumer) -> Sequence[Call]:
        """One that was written before is delivered again in another session, as if the answer had never been read."""
        texts, gsm7 = pieces(sent.text), is_gsm7(sent.text)
        headers = {"again": "1"} if sent.sid in self._written else {}
        self._written.add(sent.sid)
        calls = []
        for number, text in enumerate(texts, 1):
            head = bytes((5, 0, 3, sent.seq % 256, len(texts), number)) if len(texts) > 1 else b""
            raw = head + (encode(text) if gsm7 else text.encode("utf-16-be"))
            body = deliver(
                sent.sender[1:], sent.to.removeprefix("+"), raw, coding=0 if gsm7 else 8, esm_class=0x40 if head else 0
            )
            calls.append(Call("smpp://deliver_sm", body, headers, method="SMPP"))
        return calls[::-1]
