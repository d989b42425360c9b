"""A mail as the text that an agent reads: marks, subject, what is new in it, and which files came along."""

from __future__ import annotations

from collections.abc import Sequence

from dcbridge.mail.reader import Kind, Mail

NOT_VERIFIED = "[sender not verified]"
AUTOMATIC = "[automatic mail]"


def marks_of(mail: Mail, *, unverified: bool, written_from: str = "") -> list[str]:
    """What an agent should know before reading. `unverified`: whether mail that fails DMARC is marked. `written_from`:
    the mailbox of who wrote, where the conversation is another's.
    """
    return [
        *([f"[written from {written_from}]"] if written_from else []),
        *([NOT_VERIFIED] if unverified and mail.dmarc == "fail" else []),
        *([AUTOMATIC] if mail.kind is Kind.AUTOMATIC else []),
    ]


def text_for_agent(mail: Mail, marks: Sequence[str] = (), *, subject: bool = True, original: bool = False) -> str:
    """Everything in one text; "" where there is nothing to read. `subject`: whether that stands in the text too.
    `original`: whether a file with the whole text comes last.
    """
    said = mail.reply
    files = [f"[file: {one.name}, {_size(one.size)}]" for one in mail.files]
    cut = ["[the mail is longer than what is shown]"] if mail.cut else []
    if original:
        cut.append("[what was left out is in original.txt]")
    pieces = ["\n".join([*marks, mail.subject if subject else ""]).strip(), said, "\n".join([*files, *cut])]
    return "\n\n".join(piece for piece in pieces if piece.strip())


def _size(size: int) -> str:
    """As people write it."""
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.0f} kB" if size < 10**6 else f"{size / 10**6:.1f} MB"
