"""The GSM 7-bit default alphabet and its extension (3GPP TS 23.038, 6.2.1), a character as one byte or two."""

from __future__ import annotations

# Row by row as in TS 23.038, 6.2.1; at 0x1B is the escape, which is not a character.
DEFAULT = (
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
ESCAPE = 0x1B
EXTENSION = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65,
}  # fmt: skip
_CODES = {char: bytes((code,)) for code, char in enumerate(DEFAULT) if code != ESCAPE} | {
    char: bytes((ESCAPE, code)) for char, code in EXTENSION.items()
}
_EXTENDED = {code: char for char, code in EXTENSION.items()}


def encode(text: str) -> bytes:
    """One byte for each septet. Raises KeyError for a character of neither table."""
    return b"".join([_CODES[char] for char in text])


def decode(raw: bytes) -> str:
    """A text of any bytes. A code that the extension does not have is read from the default table (6.2.1.1)."""
    found, escaped = [], False
    for byte in raw:
        if escaped:
            found.append(_EXTENDED.get(byte) or (DEFAULT[byte] if byte < 0x80 and byte != ESCAPE else " "))
            escaped = False
        elif byte == ESCAPE:
            escaped = True
        else:
            found.append(DEFAULT[byte] if byte < 0x80 else "�")
    return "".join(found)
