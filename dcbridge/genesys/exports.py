"""What Genesys' User Data Management exports: interactions as JSON Lines, plain or in a zip, read one line at a time.

The names of the fields differ in case between versions of its schema (IXNID, ixnId), so case says nothing. An
interaction is one message, or a conversation with a list of them: beside its fields, in `structuredText` or in
`allAttributes`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from dcbridge.json_values import an_object, json_value

LONGEST_LINE = 8 << 20  # bytes
MOST_BYTES = 16 << 30  # of one file when it is unpacked, of all files of one zip
MOST_MEMBERS = 1000  # of one zip
LONGEST_ID = 200
_LATEST = 4_102_444_800.0  # 2100: a time beyond it is a mistake
_NAMED = ("messageid", "id", "externalid")
_NOT_UNPACKED = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class BadExport(Exception):
    """The file is not what it should be: where, and which field, without its value."""

    def __init__(self, place: str, field: str, what: str) -> None:
        super().__init__(f"{place}: {field}: {what}" if field else f"{place}: {what}")


@dataclass(frozen=True, slots=True)
class KeptMessage:
    """One message that Genesys kept. `place`: where it stands in the export; `at` in seconds since 1970."""

    place: str
    interaction: str
    ids: tuple[str, ...]  # what it may be called: one of them is the id that both sides know
    channel: str  # "" where the export does not say
    at: float | None


def messages(path: Path, most: int = MOST_BYTES) -> Iterator[KeptMessage | BadExport]:
    """Of one file, in its order; a line that cannot be read comes as its problem. Raises OSError, and BadExport where
    the rest cannot be read either. `most`: bytes of it, unpacked.
    """
    for place, line in _lines(path, most):
        if line.strip():
            try:
                yield from _of_line(place, line)
            except BadExport as problem:
                yield problem


def _lines(path: Path, most: int) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        begin = file.read(4)
        file.seek(0)
        if begin[:1] == b"\x30" or begin.startswith(b"----"):  # DER or PEM of an encrypted container
            raise BadExport(path.name, "", "is encrypted: decrypt it with the key of your certificate first")
        if begin != b"PK\x03\x04":
            yield from _numbered(path.name, file, most)
            return
        try:
            with zipfile.ZipFile(file) as packed:
                yield from _unpacked(path.name, packed, most)
        except _NOT_UNPACKED as error:
            raise BadExport(path.name, "", f"cannot be unpacked ({type(error).__name__})") from None


def _unpacked(name: str, packed: zipfile.ZipFile, most: int) -> Iterator[tuple[str, bytes]]:
    members = [one for one in packed.infolist() if not one.is_dir()]
    if len(members) > MOST_MEMBERS:
        raise BadExport(name, "", f"holds more than {MOST_MEMBERS} files")
    left = most
    for number, member in enumerate(members, 1):
        if member.flag_bits & 1:
            raise BadExport(name, "", "is encrypted: decrypt it first")
        if member.compress_type not in _PACKED:  # LZMA takes as much memory as the file says
            raise BadExport(name, "", "is packed in another way than Deflate: pack it anew")
        with packed.open(member) as inside:
            for place, line in _numbered(f"{name}[{number}]", inside, left):
                left -= len(line)
                yield place, line


def _numbered(name: str, file: IO[bytes], most: int) -> Iterator[tuple[str, bytes]]:
    number, whole = 0, 0
    while line := file.readline(LONGEST_LINE + 1):
        number, whole = number + 1, whole + len(line)
        if len(line) > LONGEST_LINE:
            raise BadExport(f"{name}:{number}", "", f"is longer than {LONGEST_LINE >> 20} MiB")
        if whole > most:
            raise BadExport(f"{name}:{number}", "", f"the file is longer than {MOST_BYTES >> 30} GiB, unpacked")
        yield f"{name}:{number}", line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _of_line(place: str, line: bytes) -> Iterator[KeptMessage]:
    value = json_value(line)
    if not isinstance(value, dict):
        raise BadExport(place, "", "should be one JSON object")
    record = _folded(value)
    interaction = _text(record.get("ixnid"))
    if not interaction:
        raise BadExport(place, "ixnId", "should be a text of at most 200 characters")
    channel, at = _channel(record), _time(place, "startDate", record.get("startdate"))
    found = 0
    for one in _listed(record):
        message = _folded(one)
        ids = _ids(message, _NAMED)
        own_time = next((name for name in ("date", "timestamp", "startdate") if name in message), "")
        when = _time(place, f"messages.{own_time}", message[own_time]) if own_time else at
        found += 1
        yield KeptMessage(place, interaction, ids, _channel(message) or channel, when)
    if not found:
        yield KeptMessage(place, interaction, _ids(record, ("externalid", "messageid", "ixnid")), channel, at)


def _listed(record: Mapping[str, object]) -> list[dict[str, object]]:
    """The messages of a conversation; [] for an interaction that is one message."""
    places: list[object] = [record, record.get("allattributes"), record.get("structuredtext")]
    for one in places:
        value = json_value(one.encode(errors="replace")) if isinstance(one, str) else one
        if isinstance(value, dict):
            value = _folded(value).get("messages")
        if isinstance(value, list) and (listed := [one for one in value if isinstance(one, dict)]):
            return listed
    return []


def _folded(value: Mapping[str, object]) -> dict[str, object]:
    return {name.casefold(): one for name, one in value.items()}


def _ids(record: Mapping[str, object], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found for name in names if (found := _text(record.get(name)))))


def _channel(record: Mapping[str, object]) -> str:
    for place in (record, _folded(an_object(record.get("allattributes")))):
        for name in ("channelid", "channel"):
            value = place.get(name)
            if found := _text(value.get("id") if isinstance(value, dict) else value):
                return found
    return ""


def _text(value: object) -> str:
    """An id; a number is one as well. "" for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 1 << 64 else ""
    return value if isinstance(value, str) and len(value) <= LONGEST_ID else ""


def _time(place: str, field: str, value: object) -> float | None:
    """Seconds since 1970, of an ISO time, which is UTC unless it says otherwise, or of milliseconds; None for none."""
    if value is None or value == "":
        return None
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000
        else:
            seconds = -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= _LATEST:
        raise BadExport(place, field, "should be a time, such as 2026-11-26T10:00:00Z")
    return seconds
