"""What a consumer wrote, without what her client quotes below or above it: only ever where something remains.

A quote begins where the first line stands that is ours (`dcbridge.mail.shingles`: any language, any client); else where
a client says so (`dcbridge.mail.quote_words`); else with its "> ". What stands between two quotes is an answer to the
first one, and both are kept.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice, pairwise

from dcbridge.mail import shingles
from dcbridge.mail.quote_words import (
    FORWARD_SUBJECT,
    FORWARDED,
    MARKER,
    PHONE_SIGNATURE,
    RULE,
    SIGNATURE,
    begins_header_block,
    is_attribution,
)

MOST_LINES = 5000  # that are looked at; what stands behind them goes with a quote that goes on to the end, or is kept
_MOST_INTRODUCTIONS = 200  # lines with a colon at their end that may be one
_SIGNATURE_LINES = 12  # the longest signature that is cut


def reply_of(text: str, subject: str = "", ours: Collection[int] = ()) -> str:
    """The new text of a mail; all of it where nothing new is found, or where it hands on somebody else's mail."""
    if FORWARD_SUBJECT.match(subject):
        return text.strip()
    lines = text.split("\n")
    lines, rest = lines[:MOST_LINES], lines[MOST_LINES:]
    end = _quote_to_the_end(lines, ours)
    kept = _without_quotes(lines[:end])
    if end == len(lines):
        kept += rest
    said = _without_signature(kept)
    for some in (said, kept):
        if is_said(some):
            return "\n".join(some).strip()
    return text.strip()


def is_said(lines: list[str]) -> bool:
    """Whether anything of it is more than white space and marks."""
    return any(char.isalnum() or ord(char) > 0x2000 for line in lines for char in line.lstrip("> ")[:200])


def _without_quotes(lines: list[str]) -> list[str]:
    quoted = _quoted(lines)
    blocks = _runs(quoted)
    if not blocks:
        return lines
    first, last = blocks[0], blocks[-1]
    if any(FORWARDED.search(line) for line in lines[first[0] : first[0] + 3]):
        return lines
    behind = lines[last[1] :]
    before = lines[: first[0]]
    between = [line for one, two in pairwise(blocks) for line in lines[one[1] : two[0]]]
    if is_said(between):  # answers among what they answer
        return lines if is_said(behind) else lines[: last[0]]
    return [*before, *([""] if is_said(before) and is_said(behind) else []), *behind]


def _quote_to_the_end(lines: list[str], ours: Collection[int]) -> int:
    """Where what is quoted begins that has no marks of its own and goes on to the end; the end where there is none."""
    introductions = _introductions(lines)
    found = shingles.first_line(lines, ours) if ours else None
    if found is not None and not lines[found].startswith(">") and is_said(lines[:found]):
        return _with_introduction(lines, found, introductions)
    for at, line in enumerate(lines):
        if line.startswith(">"):
            continue
        if MARKER.fullmatch(line[:200]) and FORWARDED.search(line):
            return len(lines)
        if begins_header_block(lines[at : at + 9]):
            return _before_rule(lines, at)
        if at in introductions and not _answers_follow(lines, at + introductions[at]):
            return at
    return len(lines)


def _answers_follow(lines: list[str], at: int) -> bool:
    """Whether "> " lines come behind an attribution: then these are the quote."""
    following = next((line for line in lines[at : at + 4] if line.strip()), "")
    return following.startswith(">")


def _with_introduction(lines: list[str], at: int, introductions: dict[int, int]) -> int:
    """The attribution or the header block above a line of ours belongs to the quote."""
    for begin in range(max(at - 12, 0), at):
        if begin in introductions or begins_header_block(lines[begin : begin + 9]):
            return _before_rule(lines, begin)
    return at


def _before_rule(lines: list[str], at: int) -> int:
    """A line of dashes, or "-----Original Message-----", above a header block."""
    for back in range(at - 1, max(at - 4, -1), -1):
        if RULE.fullmatch(lines[back][:200]) or MARKER.fullmatch(lines[back][:200]):
            return back
        if lines[back].strip():
            break
    return at


def _introductions(lines: list[str]) -> dict[int, int]:
    """First line of each attribution, and how many lines it has: the fewest that make one, for above is the reply."""
    found: dict[int, int] = {}
    ends = (at for at, line in enumerate(lines) if line.rstrip().endswith((":", "：")) and len(line) <= 400)
    for last in islice(ends, _MOST_INTRODUCTIONS):
        joined = ""
        for first in range(last, max(last - 4, -1), -1):
            if not lines[first].strip():
                break
            joined = f"{lines[first].strip('> ')} {joined}".strip()
            if is_attribution(joined):
                found[first] = last - first + 1
                break
    return found


def _quoted(lines: list[str]) -> list[bool]:
    """Of each line, whether it is part of a quote with marks, the lines that introduce it included."""
    quoted = [line.startswith(">") for line in lines]
    for at, size in _introductions(lines).items():
        if _answers_follow(lines, at + size):
            quoted[at : at + size] = [True] * size
    for at in range(1, len(lines) - 1):  # a blank line within a quote
        if not lines[at].strip() and quoted[at - 1] and any(quoted[at + 1 : at + 3]):
            quoted[at] = True
    return quoted


def _runs(quoted: list[bool]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for at, is_quoted in enumerate(quoted):
        if is_quoted and found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        elif is_quoted:
            found.append((at, at + 1))
    return found


def _without_signature(lines: list[str]) -> list[str]:
    """Without what stands below "-- ", and without the word of a phone."""
    end = len(lines)
    for at in range(len(lines) - 1, max(len(lines) - _SIGNATURE_LINES - 2, -1), -1):
        if SIGNATURE.fullmatch(lines[at]):
            end = at
            break
    while end and (not lines[end - 1].strip() or PHONE_SIGNATURE.fullmatch(lines[end - 1].strip()[:200])):
        end -= 1
    return lines[:end]
