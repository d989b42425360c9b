"""How long an SMS is: GSM-7 septets where the whole text is GSM-7, else UTF-16 code units."""

from __future__ import annotations

GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM7_TWO = frozenset("\f^{}\\[~]|€")
_GSM7_ALL = GSM7 | GSM7_TWO


def is_gsm7(text: str) -> bool:
    """Whether all of a text fits the GSM 7-bit alphabet and its extension."""
    return _GSM7_ALL.issuperset(text)


def pieces(text: str) -> list[str]:
    """A text as a phone sends it: one SMS, or pieces that leave room for a header."""
    _, count = measure(text)
    if count == 1:
        return [text]
    room, found = 153 if is_gsm7(text) else 67, [""]
    for character in text:
        if measure(found[-1] + character)[0] > room:
            found.append("")
        found[-1] += character
    return found


def measure(text: str) -> tuple[int, int]:
    """Length in units, and how many segments it takes (160/153 septets, 70/67 code units)."""
    if is_gsm7(text):
        units = len(text) + sum(text.count(character) for character in GSM7_TWO)
        single, part = 160, 153
    else:
        units = len(text.encode("utf-16-le", "surrogatepass")) // 2
        single, part = 70, 67
    return units, 1 if units <= single else -(-units // part)
