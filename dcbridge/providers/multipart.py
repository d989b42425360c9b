"""multipart/form-data (RFC 7578): written with one file, and read from anybody in bounded time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message

MOST_PARTS = 500
MOST_HEAD = 8192  # bytes of the header fields of one part


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form. `value` is a view of the body, which is copied nowhere."""

    name: str
    filename: str = field(repr=False)
    kind: str  # its Content-Type, lower case, without parameters
    value: memoryview = field(repr=False)

    @property
    def text(self) -> str:
        return bytes(self.value).decode("utf-8", "replace")


def written(fields: Mapping[str, str], file: tuple[str, str, str, bytes]) -> tuple[str, bytes]:
    """Content-Type and body. `file`: name of its field, of itself, its type, its bytes.

    The same arguments give the same bytes.
    """
    name, filename, kind, content = file
    digest = hashlib.blake2b(repr(sorted(fields.items())).encode() + content, digest_size=16, person=b"form")
    boundary = f"dcbridge-{digest.hexdigest()}"
    pieces: list[bytes] = []
    for key, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'
        pieces += [head.encode(), value.encode("utf-8", "replace"), b"\r\n"]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    pieces += [f"{head}Content-Type: {kind}\r\n\r\n".encode(), content, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def boundary_of(content_type: str) -> str:
    """Of a multipart/form-data; "" for any other type, or none."""
    read = Message()
    read["Content-Type"] = re.sub(r"[\r\n]", " ", content_type[:1000])
    if read.get_content_type() != "multipart/form-data":
        return ""
    boundary = read.get_param("boundary", "")
    return boundary if isinstance(boundary, str) and 0 < len(boundary) <= 200 and boundary.isascii() else ""


def fields_of(body: bytes, boundary: str) -> Iterator[Field]:
    """The fields in their order, the first 500; what is no field is skipped."""
    if not boundary:
        return
    line = b"\r\n--" + boundary.encode()
    at = body.find(line[2:])
    if at not in (0, 2) and not body[:at].endswith(b"\r\n"):
        return
    at += len(line) - 2
    view = memoryview(body)
    for _ in range(MOST_PARTS):
        if body[at : at + 2] == b"--":
            return
        begin = body.find(b"\r\n", at, at + 200) + 2
        end = body.find(line, begin - 2 if begin >= 2 else at)
        if begin < 2 or end < 0:
            return
        blank = body.find(b"\r\n\r\n", begin - 2, min(end + 2, begin + MOST_HEAD))
        if blank >= 0 and (found := _field(body[begin:blank], view[blank + 4 : max(end, blank + 4)])):
            yield found
        at = end + len(line)


def _field(head: bytes, value: memoryview) -> Field | None:
    read = Message()
    for one in head.decode("utf-8", "replace").split("\r\n"):
        name, _, rest = one.partition(":")
        if name.lower() in ("content-disposition", "content-type") and name not in read:
            read[name] = re.sub(r"[\r\n]", " ", rest.strip())
    named, filename = (read.get_param(key, "", "content-disposition") for key in ("name", "filename"))
    if not isinstance(named, str) or not named:
        return None
    kind = read.get_content_type() if "content-type" in read else ""
    return Field(named, filename if isinstance(filename, str) else "file", kind, value)
