"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How bad it is. Only an error is wrong for certain."""

    OK = 0
    NOTE = 1
    WARNING = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing. `fix`: what to do. `paste`: the exact value, and `where` it belongs.

    None of them ever holds a secret, a text or a consumer's address.
    """

    about: str
    severity: Severity
    words: str
    fix: str = ""
    paste: str = ""
    where: str = ""

    def view(self) -> dict[str, str]:
        """For programs: without the fields that say nothing."""
        fields = {"fix": self.fix, "paste": self.paste, "where": self.where}
        said = {"about": self.about, "severity": self.severity.word, "words": self.words}
        return said | {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class About:
    """Makes the findings of one thing."""

    name: str

    def ok(self, words: str) -> Finding:
        return Finding(self.name, Severity.OK, words)

    def note(self, words: str, fix: str = "") -> Finding:
        return Finding(self.name, Severity.NOTE, words, fix)

    def warning(self, words: str, fix: str = "", paste: str = "", where: str = "") -> Finding:
        return Finding(self.name, Severity.WARNING, words, fix, paste, where)

    def error(self, words: str, fix: str = "", paste: str = "", where: str = "") -> Finding:
        return Finding(self.name, Severity.ERROR, words, fix, paste, where)


def worst(findings: Iterable[Finding]) -> Severity:
    return max((one.severity for one in findings), default=Severity.OK)
