"""What a file is, by its first bytes: what its sender says of it counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ENOUGH = 64  # bytes of a file that are looked at


@dataclass(frozen=True, slots=True)
class FileType:
    """`extension` without a dot."""

    mimetype: str
    extension: str


def _is(*begins: bytes) -> Callable[[bytes], bool]:
    return lambda first: first.startswith(begins)


def _boxed(*brands: bytes) -> Callable[[bytes], bool]:
    """ISO 14496-12: a length, "ftyp", a brand."""
    return lambda first: first[4:8] == b"ftyp" and first[8:12].startswith(brands)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda first: first[:4] == b"RIFF" and first[8:12] == form


def _vcard(first: bytes) -> bool:
    return first.removeprefix(b"\xef\xbb\xbf").lstrip()[:11].upper() == b"BEGIN:VCARD"


# The first that fits counts. No type in which a browser or an office program runs anything.
_KNOWN: tuple[tuple[FileType, Callable[[bytes], bool]], ...] = (
    (FileType("image/jpeg", "jpg"), _is(b"\xff\xd8\xff")),
    (FileType("image/png", "png"), _is(b"\x89PNG\r\n\x1a\n")),
    (FileType("image/gif", "gif"), _is(b"GIF87a", b"GIF89a")),
    (FileType("image/webp", "webp"), _riff(b"WEBP")),
    (FileType("image/heic", "heic"), _boxed(b"heic", b"heix", b"mif1", b"msf1")),
    (FileType("video/3gpp", "3gp"), _boxed(b"3gp", b"3g2")),
    (FileType("audio/mp4", "m4a"), _boxed(b"M4A", b"M4B")),
    (FileType("video/quicktime", "mov"), _boxed(b"qt  ")),
    (FileType("video/mp4", "mp4"), _boxed(b"mp4", b"isom", b"iso", b"avc1", b"M4V", b"MSNV")),
    (FileType("audio/wav", "wav"), _riff(b"WAVE")),
    (FileType("audio/ogg", "ogg"), _is(b"OggS")),
    (FileType("audio/amr", "amr"), _is(b"#!AMR")),
    (FileType("audio/mpeg", "mp3"), _is(b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2")),
    (FileType("application/pdf", "pdf"), _is(b"%PDF-")),
    (FileType("text/vcard", "vcf"), _vcard),
)
KNOWN = tuple(found.mimetype for found, _ in _KNOWN)
UNKNOWN = FileType("application/octet-stream", "bin")


def type_of(first: bytes) -> FileType:
    """What a file is that begins so; UNKNOWN for anything that is not in the table."""
    return next((found for found, fits in _KNOWN if fits(first)), UNKNOWN)
