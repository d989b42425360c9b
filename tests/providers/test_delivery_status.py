"""Delivery reports in the shapes in which living mail systems write them. All are made up; none was received."""

from __future__ import annotations

import base64
import contextlib
import quopri
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.errors import UnreadableEvent
from dcbridge.providers.base import Callback
from dcbridge.providers.delivery_status import Outcome, read_report
from dcbridge.providers.smtp import Smtp, SmtpFields

REF = "0123456789abcdef01234567"
ABOUT = f"Reporting-MTA: dns; mx.example\r\nOriginal-Envelope-Id: {REF}\r\nArrival-Date: Thu, 26 Nov 2026 02:00 +0\r\n"
ANA = (
    "Final-Recipient: rfc822; ana@example.com\r\nAction: failed\r\n"
    "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 no\r\n"
)
FIELDS = f"{ABOUT}\r\n{ANA}"
RETURNED = (
    f"--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <{REF}@company.com>\r\nSubject: Hi\r\n\r\n"
    "Action: delivered\r\nFinal-Recipient: rfc822; eve@example.com\r\n"
)
TOP = "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered\r\nMessage-ID: <r1@mx.example>\r\nMIME-Version: 1.0\r\n"
REPORT = 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n'


def mail(
    fields: str = FIELDS, *, top: str = TOP + REPORT, kind: str = "message/delivery-status", more: str = ""
) -> str:
    return (
        f"{top}\r\nThis is a MIME-encapsulated message.\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        f"--b\r\nContent-Type: {kind}\r\n{more}\r\n{fields}\r\n{RETURNED}\r\n--b--\r\n"
    )


def encoded(how: str, fields: str = FIELDS, charset: str = "utf-8", kind: str = "message/delivery-status") -> str:
    raw = fields.encode(charset)
    text = base64.encodebytes(raw) if how == "base64" else quopri.encodestring(raw)
    return mail(text.decode(), kind=kind, more=f"Content-Transfer-Encoding: {how}\r\n")


def within(inner: str, kind: str, head: str = "") -> str:
    """The whole mail inside another one."""
    return (
        f"{TOP}Content-Type: {kind}; boundary=outer\r\n\r\n--outer\r\nContent-Type: text/plain\r\n\r\n[External]\r\n"
        f"--outer\r\n{head}{inner}\r\n--outer--\r\n"
    )


def in_capitals(text: str) -> str:
    fields = (line.partition(":") for line in text.split("\r\n"))
    return "\r\n".join(name.upper() + colon + value for name, colon, value in fields)


def quoted(text: str, mark: str = "> ") -> str:
    return "".join(f"{mark}{line}\r\n" for line in text.split("\r\n"))


SHAPES: dict[str, str] = {
    "as the RFC draws it": mail(),
    "multipart/mixed": mail(top=f'{TOP}Content-Type: multipart/mixed; boundary="b"\r\n'),
    "no quotes, another case": mail(top=f"{TOP}CONTENT-TYPE: Multipart/Report; Boundary=b\r\n"),
    "the boundary on a line of its own": mail(top=f"{TOP}Content-Type: multipart/report;\r\n\tboundary=b\r\n"),
    "a declared boundary that is not used": mail(top=TOP + REPORT.replace('"b"', '"c"')),
    "no boundary declared": mail(top=f"{TOP}Content-Type: multipart/report\r\n"),
    "no Content-Type at all": mail(top=TOP),
    "indented boundaries": mail().replace("\r\n--b", "\r\n --b"),
    "no last boundary": mail().replace("--b--", ""),
    "cut off behind the fields": mail().partition(RETURNED)[0],
    "an empty first line": "\r\n" + mail(),
    "the envelope line of a mailbox file": "From MAILER-DAEMON Thu Nov 26 02:00:00 2026\r\n" + mail(),
    "parameters at the part": mail(kind='message/delivery-status; charset=UFT-8; name="status.txt"'),
    "as an attachment": mail(more="Content-Disposition: attachment\r\nContent-Description: Report\r\n"),
    "RFC 6533": mail(kind="message/global-delivery-status"),
    "RFC 6533, encoded": encoded("base64", kind="message/global-delivery-status"),
    "LF only": mail().replace("\r\n", "\n"),
    "CR only": mail().replace("\r\n", "\r"),
    "no blank line between the groups": mail(ABOUT + ANA),
    "two blank lines between the groups": mail(f"{ABOUT}\r\n\r\n{ANA}"),
    "blank lines of blanks": mail(f"{ABOUT} \t\r\n{ANA}"),
    "an empty line before the fields": mail("\r\n" + FIELDS),
    "a blank line within the recipient's group": mail(FIELDS.replace("Status:", "\r\nStatus:")),
    "the recipient apart from the action": mail(FIELDS.replace("Action:", "\r\nAction:")),
    "the recipient's group first": mail(f"{ANA}\r\n{ABOUT}"),
    "the recipient's fields backwards": mail(f"{ABOUT}\r\n" + "".join(reversed(ANA.splitlines(keepends=True)))),
    "all fields in one group, the recipient last": mail("".join(reversed((ABOUT + ANA).splitlines(keepends=True)))),
    "blanks before the colons": mail(FIELDS.replace(":", " :", 20)),
    "no blank behind the colons": mail(FIELDS.replace(": ", ":")),
    "names in capitals": mail(in_capitals(FIELDS)),
    "a folded diagnostic": mail(FIELDS.replace("5.1.1 no", "5.1.1\r\n\tno such\r\n user")),
    "a folded diagnostic without indentation": mail(
        FIELDS.replace("5.1.1 no", "5.1.1\r\n550-mx [192.0.2.1]:25 says\r\n550 no")
    ),
    "a folded envelope id": mail(FIELDS.replace("Envelope-Id: ", "Envelope-Id:\r\n ")),
    "all lines indented": mail("".join(f"    {line}\r\n" if line else "\r\n" for line in FIELDS.split("\r\n"))),
    "a comment after each value": mail(
        FIELDS.replace("failed", "failed (for good)").replace("s: 5.1.1", "s: 5.1.1 (bad)")
    ),
    "a recipient in brackets": mail(FIELDS.replace("rfc822; ana@example.com", "rfc822;<ana@example.com>")),
    "a recipient without a type": mail(FIELDS.replace("rfc822; ana@example.com", "<ana@example.com>")),
    "a type of its own": mail(FIELDS.replace("rfc822; ", "rfc/822;")),
    "the same group twice": mail(f"{FIELDS}\r\n{ANA}"),
    "the same field twice": mail(FIELDS.replace("Action: failed\r\n", "Action: failed\r\nAction: failed\r\n")),
    "fields of its own": mail(FIELDS.replace("Action:", "X-Supplementary-Info: <x>\r\nAction:")),
    "a line that is no field": mail("DISPLAY FORMAT = x\r\n" + FIELDS),
    "base64": encoded("base64"),
    "quoted-printable": encoded("quoted-printable"),
    "base64 in UTF-16": encoded("base64", charset="utf-16"),
    "base64 in UTF-16 without a mark": encoded("base64", charset="utf-16-le"),
    "base64 of UTF-8 with a mark": encoded("base64", charset="utf-8-sig"),
    "base64 that says so and is not": mail(more="Content-Transfer-Encoding: base64\r\n"),
    "quoted-printable that says so and is not": mail(more="Content-Transfer-Encoding: quoted-printable\r\n"),
    "8bit in Latin-1": mail(FIELDS.replace("5.1.1 no", "5.1.1 größe"), more="Content-Transfer-Encoding: 8bit\r\n"),
    "inside a gateway's multipart/mixed": within(REPORT + mail(top=""), "multipart/mixed"),
    "inside multipart/signed": within(REPORT + mail(top=""), 'multipart/signed; protocol="application/pgp-signature"'),
    "inside multipart/related": within(REPORT + mail(top=""), "multipart/related"),
    "forwarded as message/rfc822": within(f"\r\n{mail()}", "multipart/mixed", "Content-Type: message/rfc822\r\n"),
    "forwarded twice": within(
        "\r\n" + within(f"\r\n{mail()}", "multipart/mixed", "Content-Type: message/rfc822\r\n"),
        "multipart/mixed",
        "Content-Type: message/rfc822\r\n",
    ),
    "forwarded in base64": within(
        f"\r\n{base64.encodebytes(mail().encode()).decode()}",
        "multipart/mixed",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n",
    ),
    "forwarded alone": f"{TOP}Content-Type: message/rfc822\r\n\r\n{mail()}",
    "forwarded in the text": f"{TOP}Content-Type: text/plain; charset=iso-2022-jp\r\n\r\nSee:\r\n--------\r\n{mail()}",
    "forwarded in the text, quoted": f"{TOP}Content-Type: text/plain\r\n\r\nSee below.\r\n{quoted(mail())}",
    "the fields in the plain text": f"{TOP}Content-Type: text/plain\r\n\r\nIt failed.\r\n\r\n{FIELDS}\r\n-- \r\n",
    "the fields in the plain text, quoted": f"{TOP}\r\nYour mail failed.\r\n\r\n{quoted(FIELDS)}\r\n",
    "the returned message before the fields": mail().replace(
        "--b\r\nContent-Type: message", f"{RETURNED}\r\n--b\r\nContent-Type: message", 1
    ),
}  # fmt: skip


def smtp() -> Smtp:
    fields = SmtpFields.model_validate({"host": "mail.example.com", "callback_secret": ["s"]})
    return Smtp("post", fields, "https://bridge.example.com")


def read(raw: bytes) -> list[tuple[str, int, str]]:
    updates = smtp().parse_callback(Callback("status", "POST", "u", b"", {}, raw))
    return [(update.status.value, int(update.reason or 0), update.ref) for update in updates]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_report_of_this_shape_is_read(shape: str) -> None:
    assert read(SHAPES[shape].encode("latin-1")) == [("failed", 530, REF)]


def two(first: str, second: str, between: str = "\r\n") -> tuple[Outcome, ...]:
    return read_report(mail(f"{ABOUT}\r\n{first}{between}{second}").encode()).outcomes


BOB = ANA.replace("ana@", "bob@").replace("failed", "delivered").replace("5.1.1", "2.0.0")


@pytest.mark.parametrize("between", ["\r\n", "", "\r\n\r\n", " \r\n"])
@pytest.mark.parametrize(
    "order",
    [
        lambda group: group,
        lambda group: "".join(reversed(group.splitlines(keepends=True))),
        lambda group: (
            group.replace("Final-Recipient", "Original-Recipient") + "Final-Recipient: rfc822; box@example.net\r\n"
        ),
        lambda group: (
            "Original-Recipient: rfc822;" + ("ana" if "ana@" in group else "bob") + "@example.com\r\n" + group
        ),
    ],
    ids=["usual", "recipient last", "original first, final last", "original, then final"],
)
def test_two_recipients_keep_what_is_said_of_each(order: Callable[[str], str], between: str) -> None:
    ana, bob = two(order(ANA), order(BOB), between)
    assert (ana.recipients[0], ana.action, ana.status) == ("ana@example.com", "failed", "5.1.1")
    assert (bob.recipients[0], bob.action, bob.status) == ("bob@example.com", "delivered", "2.0.0")


@pytest.mark.parametrize(
    ("field", "recipient"),
    [
        ("Final-Recipient: utf-8; josé@example.com", "josé@example.com"),
        (r"Final-Recipient: utf-8; jos\x{E9}@example.com", "josé@example.com"),
        (r"Final-Recipient: UTF-8;jos\x{00e9}@example.com", "josé@example.com"),
        (r"Original-Recipient: utf-8;jos\x{E9}+2Bx@example.com", "josé+x@example.com"),
        ("Original-Recipient: utf-8;jos+C3+A9@example.com", "josé@example.com"),
        (r"Original-Recipient: utf-8;\x{65E5}\x{1F600}@example.com", "日😀@example.com"),
        (r"Final-Recipient: utf-8; a\x{D800}\x{110000}@example.com", "a\ufffd\ufffd@example.com"),
        ("Original-Recipient: rfc822;an+61@example.com", "ana@example.com"),
        ("Final-Recipient: rfc822; an+61@example.com", "an+61@example.com"),
    ],
)
def test_addresses_beyond_ascii_and_xtext(field: str, recipient: str) -> None:
    raw = mail(f"{ABOUT}\r\n{field}\r\nAction: failed\r\nStatus: 5.1.1\r\n", kind="message/global-delivery-status")
    [outcome] = read_report(raw.encode()).outcomes
    assert outcome.recipients == (recipient,)


QMAIL = f"""{TOP}\r
Hi. This is the qmail-send program at mx.example.\r
I'm afraid I wasn't able to deliver your message to the following addresses.\r
This is a permanent error; I've given up. Sorry it didn't work out.\r
\r
<ana@example.com>:\r
Sorry, no mailbox here by that name. (#5.1.1)\r
\r
<bob@example.com>:\r
192.0.2.1 does not like recipient.\r
Remote host said: 552 5.2.2 over quota\r
\r
--- Below this line is a copy of the message.\r
\r
Return-Path: <care@company.com>\r
Message-ID: <{REF}@company.com>\r
Subject: Hi\r
\r
<eve@example.com>:\r
"""
EXIM = f"""{TOP}X-Failed-Recipients: ana@example.com, bob@example.com\r
\r
A message that you sent could not be delivered.\r
\r
  ana@example.com\r
    SMTP error from remote mail server after RCPT TO:<ana@example.com>:\r
    host mx.example.com [192.0.2.1]: 550 5.1.1 no such user\r
  bob@example.com\r
    retry timeout exceeded\r
\r
------ This is a copy of the message, including all the headers. ------\r
\r
Message-ID: <{REF}@company.com>\r
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (QMAIL, [("ana@example.com", "failed", 530), ("bob@example.com", "failed", 500)]),
        (
            within(f"\r\n{QMAIL}", "multipart/mixed", "Content-Type: message/rfc822\r\n"),
            [("ana@example.com", "failed", 530), ("bob@example.com", "failed", 500)],
        ),
        (EXIM, [("ana@example.com", "failed", 530), ("bob@example.com", "failed", 500)]),
        (
            EXIM.replace("Undelivered", "Warning: message delayed 24 hours"),
            [("ana@example.com", "sent", 0), ("bob@example.com", "sent", 0)],
        ),
    ],
    ids=["qmail", "qmail, forwarded", "exim", "exim, a warning"],
)
def test_notices_in_plain_text(text: str, expected: list[tuple[str, str, int]]) -> None:
    updates = smtp().parse_callback(Callback("status", "POST", "u", b"", {}, text.encode()))
    assert [(one.recipients[0], one.status.value, int(one.reason or 0)) for one in updates] == expected
    assert {one.first_ref for one in updates} == {REF}


@pytest.mark.parametrize(
    "part",
    [
        f"Content-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{REF}@company.com>\r\n",
        f"Content-Type: text/rfc822-headers\r\n\r\nReceived: from\r\n b\r\nMessage-Id:\r\n <{REF}@company.com>\r\n",
        f"Content-Type: message/rfc822\r\n\r\n\r\nMESSAGE-ID: <{REF}@company.com>\r\n\r\nHi\r\n",
        f"Content-Type: message/global\r\n\r\nMessage-ID: <{REF}@company.com>\r\n\r\nHi\r\n",
        f"Content-Type: message/global-headers\r\n\r\nMessage-ID: <{REF}@company.com>\r\n",
        f"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        f"{base64.b64encode(f'Message-ID: <{REF}@company.com>'.encode()).decode()}\r\n",
        f"Content-Type: text/plain\r\n\r\nYour message:\r\n\r\n> Message-ID: <{REF}@company.com>\r\n",
    ],
)
def test_the_message_is_found_in_what_came_back(part: str) -> None:
    raw = mail(FIELDS.replace("Original-Envelope-Id", "X-Lost")).replace(RETURNED, f"--b\r\n{part}")
    [update] = smtp().parse_callback(Callback("status", "POST", "u", b"", {}, raw.encode()))
    assert (update.ref, update.first_ref, update.recipients) == ("", REF, ("ana@example.com",))


@pytest.mark.parametrize("name", ["In-Reply-To", "References"])
def test_the_message_is_found_by_the_reports_threading(name: str) -> None:
    raw = mail(
        FIELDS.replace("Original-Envelope-Id", "X-Lost"), top=f"{TOP}{name}: <x@y> <{REF}@company.com>\r\n{REPORT}"
    )
    [update] = smtp().parse_callback(Callback("status", "POST", "u", b"", {}, raw.replace(RETURNED, "").encode()))
    assert update.first_ref == REF


def test_another_systems_envelope_id_does_not_hide_the_message_id() -> None:
    [update] = smtp().parse_callback(
        Callback("status", "POST", "u", b"", {}, mail(FIELDS.replace(REF, "0022FFEE")).encode())
    )
    assert (update.ref, update.first_ref) == ("", REF)


@pytest.mark.parametrize(
    "text",
    [
        f"{TOP}\r\nI am on holiday. Action: none.\r\n",
        f"{TOP}In-Reply-To: <{REF}@company.com>\r\n\r\nThank you.\r\n",
        f"{TOP}Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nSee below.\r\n{RETURNED}--b--\r\n",
        mail(kind="message/disposition-notification"),
        mail(kind="message/feedback-report"),
        mail(ABOUT),
        mail(FIELDS.replace("Action", "Reaction")),
    ],
    ids=["holiday", "answer", "our own message alone", "read receipt", "complaint", "no recipient", "no action"],
)
def test_what_says_nothing_of_a_recipient_is_no_report(text: str) -> None:
    with pytest.raises(UnreadableEvent):
        read_report(text.encode())


def seconds(raw: bytes) -> float:
    best = float("inf")
    for _ in range(2):
        began = time.process_time()
        with contextlib.suppress(UnreadableEvent):
            read_report(raw)
        best = min(best, time.process_time() - began)
    return best


MIXED = "Content-Type: multipart/mixed"
COSTLY: dict[str, Callable[[int], str]] = {
    "groups": lambda n: mail("\r\n".join([ABOUT, *[ANA] * (n // len(ANA))])),
    "groups that differ": lambda n: mail("\r\n".join([ABOUT, *(ANA.replace("ana", f"a{i}") for i in range(n // 99))])),
    "half groups": lambda n: mail("Final-Recipient: a\r\n\r\nAction: failed\r\n\r\n" * (n // 45)),
    "fields": lambda n: mail("".join(f"X-{i}: 1\r\n" for i in range(n // 10)) + ANA),
    "one long field": lambda n: mail(FIELDS + "a" * n),
    "continuations": lambda n: mail(FIELDS + "\r\n x" * (n // 4)),
    "boundaries": lambda n: mail() + "--b\r\n" * (n // 5),
    "nesting": lambda n: "".join(f"{MIXED}; boundary={i}\r\n\r\n--{i}\r\n" for i in range(n // 48)),
    "nesting of mails": lambda n: "Content-Type: message/rfc822\r\n\r\n" * (n // 32),
    "blanks": lambda n: f"{TOP}\r\nMessage-ID: {' ' * n}",
    "blanks everywhere": lambda n: f"{TOP}\r\n" + f"message-id:{' ' * 300}\r\n" * (n // 313),
    "header blanks": lambda n: f"{TOP}X-A: {' ' * n}b\r\n{REPORT}\r\n",
    "header fields": lambda n: TOP + "".join(f"X-{i}: 1\r\n" for i in range(n // 10)),
    "empty lines": lambda n: mail(FIELDS + "\r\n" * (n // 2)),
    "dashes": lambda n: f"{TOP}\r\nAction: x\r\n{'-' * n}",
    "short dashes": lambda n: f"{TOP}\r\nAction: x\r\n" + "---- cop\r\n" * (n // 10),
    "brackets": lambda n: mail(FIELDS.replace("failed", "(" * n)),
    "digits": lambda n: mail(FIELDS.replace("5.1.1 no", "550 5." * (n // 6))),
    "failed recipients": lambda n: f"{TOP}X-Failed-Recipients: {'a@b,' * (n // 4)}\r\n\r\n{'a' * n}",
    "qmail": lambda n: f"{TOP}\r\nHi. This is the\r\n\r\n" + "<a@b>:\r\nx\r\n\r\n" * (n // 13),
    "quotes": lambda n: f"{TOP}Content-Type: text/plain; name=\"{';' * (n // 2)}\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", COSTLY)
def test_reading_takes_time_in_proportion_to_the_report(what: str) -> None:
    """Ten times as much takes about ten times as long; what grows with the square would take a hundred times."""
    small, large = (COSTLY[what](size).encode() for size in (40_000, 400_000))
    taken = seconds(large)
    assert taken < 40 * seconds(small) + 0.05
    assert taken < 2.0


@given(st.sampled_from(sorted(SHAPES)), st.binary(max_size=80), st.integers(0, 1200), st.integers(0, 60))
def test_nothing_but_unreadable_is_raised(shape: str, noise: bytes, place: int, dropped: int) -> None:
    good = SHAPES[shape].encode("latin-1")
    try:
        read(good[:place] + noise + good[place + dropped :])
    except UnreadableEvent:
        return
