"""Delivery reports as living mail systems write them; no I/O, and nothing of ours but the words.

RFC 3464   message/delivery-status              RFC 6533   message/global-delivery-status, addresses beyond ASCII
RFC 3461   xtext and the envelope id            QSBMF      qmail's notices: "Hi. This is the qmail-send program"

Whoever brings a report has shown the callback secret, and what it is about is named by our own envelope id. So a report
is read in any shape in which its fields can be found: in any container, inside a gateway's wrapper, encoded, without
blank lines or indentation, with its groups in any order. What says nothing of a recipient's fate is no report.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dcbridge.errors import UnreadableEvent
from dcbridge.providers.mime_parts import LONGEST_VALUE, Entity, entity_of, field_of, lines_of, parts_of, text_of

MOST_OUTCOMES = 200  # recipients of one report that are looked at
MOST_GROUPS = 1000
MOST_LINES = 20_000  # of the text with the fields

_STATUS_KINDS = ("message/delivery-status", "message/global-delivery-status")
_RETURNED_KINDS = (
    *("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers"),
    *("message/global-headers", "text/rfc822-header", "message/rfc822-header"),
)
_RECIPIENTS = ("original-recipient", "final-recipient")
_ONCE = (*_RECIPIENTS, "action", "status")  # again: the next recipient's
_ABOUT_A_RECIPIENT = frozenset((*_ONCE, "diagnostic-code"))
_ENVELOPE_IDS = ("original-envelope-id", "x-original-envelope-id")
_MESSAGE_IDS = ("original-message-id", "x-original-message-id")

_LINE_START = rb"(?:\A|(?<=\n)|(?<=\r)(?!\n))"
_STATUS_LINE = re.compile(
    _LINE_START + rb"[ \t>]*content-type[ \t]*:[ \t]*message/(?:global-)?delivery-status", re.IGNORECASE
)
_NEXT_PART = re.compile(_LINE_START + rb"[ \t>]*--")
_QUOTED = re.compile(r"(?m)^[ \t]*>+ ?")
_LOOSE_FIELD = re.compile(
    r"(?mi)^[ \t>]*(?:reporting-mta|original-envelope-id|final-recipient|original-recipient|action)[ \t]*:"
)
_COPY_BELOW = re.compile(r"(?mi)^[ \t]*-{2,}+[^\r\n]{0,40}?\b(?:copy|original message|below this line)\b")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,240}>", re.ASCII)
_MESSAGE_ID_LINE = re.compile(r"(?mi)^[> \t]*message-id(?>[ \t]*):(?>[ \t]*)(?>\r?\n)?[ \t]*(<[!-;=?-~]{1,240}>)")
_COMMENT = re.compile(r"\([^()]*\)")
_XTEXT = re.compile(r"\+([0-9A-F]{2})", re.ASCII)
_UNICODE_ESCAPE = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}", re.ASCII)  # RFC 6533, 3
_MAILBOX = re.compile(r"[^\s<>,;:()]{1,256}@[^\s<>,;:()]{1,256}")
_DELAY = re.compile(r"\bdelay|\bwarning\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report says of one recipient, in its own words. `recipients`: as it was addressed first, then finally."""

    action: str
    status: str
    diagnostic: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is about, and how it ended. `message_ids` in the order in which they are worth looking at."""

    envelope_ids: tuple[str, ...]
    message_ids: tuple[str, ...]
    outcomes: tuple[Outcome, ...]


def read_report(raw: bytes) -> Report:
    """Raises UnreadableEvent for what says nothing of any recipient."""
    parts = parts_of(raw)
    saw_status = False
    for text in _status_texts(raw, parts):
        saw_status = True
        groups = _groups(text)
        if outcomes := _outcomes(groups):
            return Report(_envelope_ids(groups), _message_ids(parts, groups), outcomes)
    for outcomes in (_from_loose_fields(parts), _from_qmail(parts), _from_failed_recipients(parts)):
        if outcomes:
            return Report(_loose_envelope_ids(parts), _message_ids(parts, []), outcomes)
    raise UnreadableEvent("no recipient in the report" if saw_status else "not a delivery report")


def own_message_id(raw: bytes) -> str:
    """The Message-ID of the report itself; "" where it has none."""
    found = _MESSAGE_ID.search(entity_of(raw.lstrip(b"\r\n\t ")).head.get("message-id", ""))
    return found[0] if found else ""


# ---------------------------------------------------------------- where the fields are


def _status_texts(raw: bytes, parts: Sequence[Entity]) -> Iterator[str]:
    """Each text that claims to be a delivery status: of its parts, then wherever its Content-Type line stands."""
    for part in parts:
        if part.kind in _STATUS_KINDS:
            yield part.text()
            if part.head.get("content-transfer-encoding"):
                yield text_of(part.body, part.charset)  # it says that it is encoded, and is not
    for found in _STATUS_LINE.finditer(raw):
        following = _NEXT_PART.search(raw, found.end())
        piece = raw[found.start() : following.start() if following else len(raw)]
        quoted = re.match(rb"[ \t]*>", piece)
        plain = _QUOTED.sub("", text_of(piece)).encode("utf-8", "replace") if quoted else piece.lstrip(b" \t")
        yield entity_of(plain).text()
        break  # the first one; more of them in one mail are copies of each other


def _groups(text: str) -> list[dict[str, str]]:
    """Groups of fields: apart by blank lines, or where a field comes that a recipient has once."""
    if text.lstrip("\r\n")[:1] in (" ", "\t"):
        text = textwrap.dedent("\n".join(lines_of(text)))
    groups: list[dict[str, list[str]]] = [{}]
    current: list[str] = []
    for line in lines_of(text)[:MOST_LINES]:
        if len(groups) > MOST_GROUPS:
            break
        if not line.strip():
            groups += [{}] if groups[-1] else []
            current = []
            continue
        found = None if line[0] in " \t" else field_of(line)
        if found is None:  # a continuation, whether or not it is indented
            current.append(line.strip())
            continue
        name, value = found
        if _begins_another(groups[-1], name, value):
            groups.append({})
        current = [value]
        groups[-1].setdefault(name, current)
    joined = [{name: " ".join(values)[:LONGEST_VALUE] for name, values in group.items()} for group in groups]
    return _merged(joined)


def _begins_another(group: dict[str, list[str]], name: str, value: str) -> bool:
    """Whether this field is the next recipient's, though no blank line stands before it."""
    if name not in _ONCE:
        return False
    if name in group:
        if next(reversed(group)) == name and group[name] == [value]:
            return False  # the same line twice
        return group[name] != [value] or (name == "action" and any(one in group for one in _RECIPIENTS))
    if name not in _RECIPIENTS or "action" not in group:
        return False
    before = [one for one in group if one == "action" or one in _RECIPIENTS]
    return before[0] != "action"


def _merged(groups: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Groups that a stray blank line has cut in two are one again."""
    merged: list[dict[str, str]] = []
    for group in groups:
        about = _ABOUT_A_RECIPIENT.intersection(group)
        last = merged[-1] if merged else {}
        if about and last and not about.intersection(last) and _half(group, last):
            last |= {name: value for name, value in group.items() if name not in last}
        elif group:
            merged.append(dict(group))
    return merged


def _half(group: dict[str, str], last: dict[str, str]) -> bool:
    """Whether one of two neighbours lacks what the other has."""
    if not _ABOUT_A_RECIPIENT.intersection(last):
        return False
    named, acted = (any(one in group for one in _RECIPIENTS), "action" in group)
    if not named and not acted:
        return True
    return not any(one in last for one in _RECIPIENTS) or "action" not in last


def _outcomes(groups: Sequence[dict[str, str]]) -> tuple[Outcome, ...]:
    found = [
        Outcome(
            group["action"],
            group.get("status", ""),
            group.get("diagnostic-code", ""),
            tuple(dict.fromkeys(filter(None, (_address(group.get(name, ""), name) for name in _RECIPIENTS)))),
        )
        for group in groups
        if group.get("action")
    ]
    return tuple(dict.fromkeys(found))[:MOST_OUTCOMES]


# ---------------------------------------------------------------- what it is about


def _envelope_ids(groups: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Each spelling in which our reference may stand: bare, in brackets, with a comment behind it."""
    found: list[str] = []
    for group in groups:
        for name in _ENVELOPE_IDS:
            if value := unxtext(group.get(name, "")):
                found += [_bare(value), _bare(_COMMENT.sub(" ", value))]
    return tuple(dict.fromkeys(filter(None, found)))


def _loose_envelope_ids(parts: Sequence[Entity]) -> tuple[str, ...]:
    texts = (_QUOTED.sub("", part.text()) for part in parts if part.kind.startswith("text/") and not part.inside)
    groups = [group for text in texts if _LOOSE_FIELD.search(text) for group in _groups(_loose(text))]
    return _envelope_ids(groups)


def _message_ids(parts: Sequence[Entity], groups: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Of what came back, of what the fields or the report's own threading name, of a copy in the plain text."""
    found: list[str] = []
    for group in groups:
        found += [one for name in _MESSAGE_IDS for one in _MESSAGE_ID.findall(group.get(name, ""))]
    for part in parts:
        if part.kind in _RETURNED_KINDS:
            head = entity_of(part.decoded().lstrip(b"\r\n\t ")).head
            found += _MESSAGE_ID.findall(head.get("message-id", ""))
    for part in parts:
        found += _MESSAGE_ID.findall(f"{part.head.get('in-reply-to', '')} {part.head.get('references', '')}")
    for part in parts:
        if part.kind.startswith("text/"):
            found += _MESSAGE_ID_LINE.findall(part.text())
    return tuple(dict.fromkeys(found))


def _address(value: str, name: str) -> str:
    """The address in "rfc822; ana@example.com", whatever stands around it. The original one is xtext (RFC 3461)."""
    kind, semicolon, address = _COMMENT.sub(" ", value).partition(";")
    if not semicolon:
        kind, address = "", kind
    address = address.strip().strip("<>").strip()
    if name == "original-recipient":
        address = unxtext(address)
    return _UNICODE_ESCAPE.sub(_character, address)


def _character(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _bare(value: str) -> str:
    return value.strip(" \t<>\"'[](){}")


def unxtext(value: str) -> str:
    """Undo xtext (RFC 3461, 4); what is none stays as it is."""
    if not _XTEXT.search(value):
        return value
    raw = b"".join(
        bytes.fromhex(piece) if number % 2 else piece.encode("utf-8", "replace")
        for number, piece in enumerate(_XTEXT.split(value))
    )
    return raw.decode("utf-8", "replace")


# ---------------------------------------------------------------- reports without a part of their own


def _from_loose_fields(parts: Sequence[Entity]) -> tuple[Outcome, ...]:
    """The fields of RFC 3464 in the plain text; not in a message that came back, which may quote anything."""
    for part in parts:
        if part.kind.startswith("text/") and part.kind not in _RETURNED_KINDS and not part.inside:
            text = part.text()
            if _LOOSE_FIELD.search(text):
                groups = _groups(_loose(_QUOTED.sub("", text)))
                outcomes = _outcomes([group for group in groups if any(name in group for name in _RECIPIENTS)])
                if outcomes:
                    return outcomes
    return ()


def _loose(text: str) -> str:
    """From the first field to where the copy of the message begins."""
    text = "\n".join(lines_of(text))
    first = _LOOSE_FIELD.search(text)
    copy = _COPY_BELOW.search(text, first.end() if first else 0)
    return text[first.start() if first else 0 : copy.start() if copy else len(text)]


def _from_qmail(parts: Sequence[Entity]) -> tuple[Outcome, ...]:
    """https://cr.yp.to/proto/qsbmf.txt: paragraphs that begin with "<recipient>:", up to one that begins with "-"."""
    for part in parts:
        if not part.kind.startswith("text/"):
            continue
        text = "\n".join(lines_of(part.text())).lstrip()
        if not text.startswith("Hi. This is the"):
            continue
        found: list[Outcome] = []
        for paragraph in re.split(r"\n[ \t]*\n", text):
            if paragraph.startswith("-"):
                break
            recipient = re.match(r"<([^<>\n]{1,512})>:", paragraph)
            if recipient and len(found) < MOST_OUTCOMES:
                said = " ".join(paragraph[recipient.end() :].split())[:LONGEST_VALUE]
                found.append(Outcome("failed", "", f"smtp; {said}", (recipient[1],)))
        if found:
            return tuple(found)
    return ()


def _from_failed_recipients(parts: Sequence[Entity]) -> tuple[Outcome, ...]:
    """X-Failed-Recipients, as Exim and Gmail write it into the head of a notice in plain text."""
    for part in parts:
        named = _MAILBOX.findall(part.head.get("x-failed-recipients", ""))[:MOST_OUTCOMES]
        if not named:
            continue
        action = "delayed" if _DELAY.search(part.head.get("subject", "")) else "failed"
        text = next((one.text() for one in parts if one.kind == "text/plain" and one.body), "")
        copy = _COPY_BELOW.search(text)
        text = text[: copy.start() if copy else len(text)]
        return tuple(Outcome(action, "", f"smtp; {_said_of(one, text)}", (one,)) for one in dict.fromkeys(named))
    return ()


def _said_of(recipient: str, text: str) -> str:
    """What stands behind the recipient's address."""
    at = text.find(recipient)
    return " ".join(text[at + len(recipient) : at + LONGEST_VALUE].split()) if at >= 0 else ""
