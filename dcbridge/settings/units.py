"""What the number of a setting counts, as its description begins; for the words in which a wrong one is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FACTORS: dict[str, dict[str, float]] = {
    "seconds": {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800},
    "hours": {"m": 1 / 60, "h": 1, "d": 24},
    "days": {"h": 1 / 24, "d": 1, "w": 7},
    "bytes": {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30},
}
_SPELLINGS = {
    "milliseconds": "ms", "millisecond": "ms", "seconds": "s", "second": "s", "secs": "s", "sec": "s",
    "minutes": "m", "minute": "m", "mins": "m", "min": "m", "hours": "h", "hour": "h", "hrs": "h", "hr": "h",
    "days": "d", "day": "d", "weeks": "w", "week": "w",
    "bytes": "b", "byte": "b", "kb": "k", "kib": "k", "ki": "k", "mb": "m", "mib": "m", "mi": "m",
    "gb": "g", "gib": "g", "gi": "g",
}  # fmt: skip
_WITH_UNIT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]{1,12})", re.ASCII | re.IGNORECASE)
_DIGITS_APART = re.compile(r"[0-9]{1,3}([ ,'’_\u00a0\u202f][0-9]{3})+", re.ASCII)
_NUMERALS = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(fif|six)teen|(twen|thir|for|fif|six)ty"
    r"|(a |one )?(hundred|thousand)",
    re.IGNORECASE,
)
_UNITS = re.compile(r"(messages a second|events a second|port|[a-z]+)\b", re.IGNORECASE)
_EXAMPLES = {
    "seconds": "30", "hours": "24", "days": "7", "bytes": "1048576", "messages": "100", "messages a second": "10",
    "events": "100", "events a second": "10", "times": "3", "failures": "5", "requests": "10",
    "conversations": "5", "receipts": "100", "connections": "1000", "replicas": "1", "processes": "2",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """Seconds, bytes, messages …; "" where a number counts nothing that has a name."""

    name: str

    def wanted(self, number: str) -> str:
        """As in: a whole number of bytes, such as 1048576."""
        if self.name == "port":
            return "the number of a port, 1 to 65535"
        return f"{number} of {self.name}, such as {_EXAMPLES[self.name]}" if self.name else number

    def amount(self, number: float) -> str:
        """As in: 1 second, 2 seconds, 10 messages a second."""
        if self.name in ("", "port"):
            return f"{number:.15g}"
        noun, _, rest = self.name.partition(" ")
        noun = noun.removesuffix("es" if noun.endswith("sses") else "s") if number == 1 else noun
        return " ".join(filter(None, (f"{number:.15g}", noun, rest)))

    def hint(self, value: object) -> str:
        """How a number is written that was meant, or "". Shows what was read of it only where all of it was read."""
        if not isinstance(value, str):
            return ""
        written = value.strip()
        counts = f"the number of {self.name}" if self.name and self.name != "port" else "the number"
        found = _WITH_UNIT.fullmatch(written)
        factors = _FACTORS.get(self.name, {})
        if not self.name and (share := re.fullmatch(r"([0-9]{1,3}) ?%", written, re.ASCII)):
            return f"write {int(share[1]) / 100:g}, the share of 1"
        if found and (word := found[2].lower()) and (short := _SPELLINGS.get(word, word)) in factors:
            return f"write {float(found[1]) * factors[short]:.12g}, {counts} without its unit"
        if re.fullmatch(r"0[xob][0-9a-f]{1,16}|[0-9.]{1,9}e\+?[0-9]{1,3}", written, re.IGNORECASE | re.ASCII):
            return "write it in decimal digits"
        if re.fullmatch(r"[0-9]{1,3}(:[0-9]{2}){1,2}|P?T?([0-9.]{1,9} ?[a-z]{1,7} ?){1,4}", written, re.I | re.ASCII):
            return f"write {counts} alone, with no unit and no colon"
        if _DIGITS_APART.fullmatch(written):
            return "write the digits alone, with nothing between them"
        if _NUMERALS.fullmatch(written):
            return "write it in digits"
        if re.fullmatch(r"[0-9.]{1,9} ?(%|/ ?[a-z]{1,9})", written, re.IGNORECASE | re.ASCII):
            return f"write {counts} alone"
        return ""


def unit_of(description: str) -> Unit:
    """The unit that the description of a setting begins with."""
    found = _UNITS.match(description)
    name = found[0].lower() if found else ""
    return Unit(name if name in (*_EXAMPLES, "port") else "")
