"""SMTP, the way in: delivery reports (RFC 3464) that are posted to the status callback."""

from __future__ import annotations

import base64
import re
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.errors import BadSignature, UnreadableEvent
from dcbridge.messages import Address, AgentMessage, Content, DeliveryUpdate, Reason, Suppression, UpdateStatus
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.smtp import Smtp, SmtpFields

REF = "0123456789abcdef01234567-2"


def smtp(*secrets: str) -> Smtp:
    fields = SmtpFields.model_validate({"host": "mail.example.com", "callback_secret": list(secrets)})
    return Smtp("post", fields, "https://bridge.example.com")


def callback(body: bytes = b"", *authorization: str, kind: Literal["status", "inbound"] = "status") -> Callback:
    headers = {"authorization": authorization} if authorization else {}
    return Callback(kind, "POST", "https://bridge.example.com/callbacks/post/status", b"", headers, body)


def block(**fields: str) -> str:
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())


def report(
    *recipients: str,
    envelope_id: str = REF,
    returned: str = "",
    returned_type: str = "text/rfc822-headers",
    own_id: str = "<r1@mail.example.com>",
) -> bytes:
    message = block(
        Reporting_MTA="dns; mail.example.com", **({"Original_Envelope_Id": envelope_id} if envelope_id else {})
    )
    third = f"--b\r\nContent-Type: {returned_type}\r\n\r\n{returned}\r\n" if returned else ""
    return (
        block(From="MAILER-DAEMON@mail.example.com", To="care@company.com", Subject="Report")
        + (block(Message_ID=own_id) if own_id else "")
        + "MIME-Version: 1.0\r\n"
        + 'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="b"\r\n\r\n'
        + "--b\r\nContent-Type: text/plain\r\n\r\nI could not deliver your message.\r\n"
        + "--b\r\nContent-Type: message/delivery-status\r\n\r\n"
        + "\r\n".join([message, *recipients])
        + f"\r\n{third}--b--\r\n"
    ).encode()


def recipient(action: str = "failed", status: str = "5.1.1", diagnostic: str = "", **more: str) -> str:
    fields = {"Final_Recipient": "rfc822; ana@example.com", **more, "Action": action, "Status": status}
    return block(**fields, **({"Diagnostic_Code": diagnostic} if diagnostic else {}))


def basic(password: str, user: str = "any") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("wrong", "right", "kind"),
    [
        ((), ("Bearer s3cret",), "missing"),
        (("Bearer s3creT",), ("Bearer s3cret",), "no secret matches"),
        (("Bearer s3cre",), ("bearer  s3cret ",), "no secret matches"),
        (("Bearer ",), ("Bearer old",), "no secret matches"),
        (("Digest s3cret",), ("Bearer s3cret",), "no secret matches"),
        ((basic("s3creT"),), (basic("s3cret"),), "no secret matches"),
        (("Basic !!!",), (basic("s3cret", user=""),), "no secret matches"),
        (("Basic é",), (basic("old"),), "no secret matches"),
        (("Bearer s3cret", "Bearer s3cret"), ("Bearer s3cret",), "more than one Authorization"),
    ],
)
def test_the_callback_secret(wrong: tuple[str, ...], right: tuple[str, ...], kind: str) -> None:
    provider = smtp("s3cret", "old")
    provider.verify(callback(b"", *right))
    with pytest.raises(BadSignature) as refused:
        provider.verify(callback(b"", *wrong))
    assert refused.value.kind == kind


def test_without_a_secret_nobody_is_believed() -> None:
    with pytest.raises(BadSignature, match="no callback secret is configured"):
        smtp().verify(callback(b"", "Bearer "))
    smtp("s").verify(callback(b"", "Bearer s"))


ROWS = [
    ("delivered", "2.0.0", "", UpdateStatus.DELIVERED, None, "2.0.0"),
    ("Delivered", "2.1.5 (ok)", "", UpdateStatus.DELIVERED, None, "2.1.5"),
    ("relayed", "2.0.0", "", UpdateStatus.SENT, None, "2.0.0"),
    ("expanded", "2.0.0", "", UpdateStatus.SENT, None, "2.0.0"),
    ("delayed", "4.4.1", "", UpdateStatus.SENT, None, "4.4.1"),
    ("invented", "5.0.0", "", UpdateStatus.SENT, None, "5.0.0"),
    ("failed", "5.1.1", "", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "5.1.1"),
    ("failed", "5.1.10", "", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "5.1.10"),
    ("failed", "5.2.2", "", UpdateStatus.FAILED, Reason.GENERAL, "5.2.2"),
    ("failed", "4.4.7", "", UpdateStatus.FAILED, Reason.EXPIRED, "4.4.7"),
    *(
        ("failed", status, diagnostic, UpdateStatus.FAILED, reason, code)
        for status, diagnostic, reason, code in (
            # The remote server's own code, not what the reporter made of it.
            ("5.1.1", "smtp; 552 5.2.2 Over quota", Reason.GENERAL, "5.2.2"),
            ("5.2.2", "smtp;550-5.1.1 no such\r\n 550 5.1.1 user", Reason.INVALID_DESTINATION, "5.1.1"),
            ("5.0.350", "smtp;550 5.0.350 Remote server said -> 550 5.7.1 no", Reason.NOT_ALLOWED, "5.7.1"),
            ("5.0.0", "smtp; 550 #5.1.0 Address rejected.", Reason.INVALID_DESTINATION, "5.1.0"),
            ("5.0.0", "550 5.1.1 without a type", Reason.INVALID_DESTINATION, "5.1.1"),
            ("5.3.0", "X-Postfix; host mx[192.0.2.1] said: 550 5.7.1 no", Reason.NOT_ALLOWED, "5.7.1"),
            ("5.0.0", "smtp; host mx.example: 550 unknown", Reason.INVALID_DESTINATION, "550"),
            ("5.0.0", "smtp; said by 5.1.1.7 and 192.5.1.1", Reason.GENERAL, "5.0.0"),
            ("5.2.0", "smtp; 550 : User unknown", Reason.INVALID_DESTINATION, "5.2.0"),
            ("5.2.2", "smtp; 550 mailbox full", Reason.GENERAL, "5.2.2"),
            # Unknown mailboxes and domains at the big hosts.
            ("5.4.4", "X-Postfix; Host or domain name not found.", Reason.INVALID_DESTINATION, "5.4.4"),
            ("5.4.1", "smtp; 550 5.4.1 Access denied.", Reason.INVALID_DESTINATION, "5.4.1"),
            ("5.5.0", "smtp; 550 5.5.0 mailbox unavailable", Reason.INVALID_DESTINATION, "5.5.0"),
            ("5.5.0", "", Reason.INVALID_DESTINATION, "5.5.0"),
            ("5.5.0", "smtp; 503 Improper sequence", Reason.INVALID_STRUCTURE, "5.5.0"),
            ("5.5.2", "", Reason.INVALID_STRUCTURE, "5.5.2"),
            ("5.4.310", "smtp; 550 5.4.310 DNS domain does not exist", Reason.INVALID_DESTINATION, "5.4.310"),
            ("5.4.316", "smtp; 550 5.4.316 Message expired", Reason.EXPIRED, "5.4.316"),
            ("5.4.6", "smtp; 554 5.4.6 loop", Reason.GENERAL, "5.4.6"),
            ("5.4.5", "smtp; 550 5.4.5 Daily limit", Reason.RATE_LIMIT, "5.4.5"),
            # "Not now", until the reporter gave up.
            ("4.7.1", "", Reason.EXPIRED, "4.7.1"),
            ("4.0.0", "", Reason.EXPIRED, "4.0.0"),
            ("5.0.0", "smtp; 451 4.7.1 greylisted", Reason.EXPIRED, "4.7.1"),
            ("5.0.0", "smtp; 421 too busy", Reason.EXPIRED, "421"),
            ("5.4.1", "smtp; 421 too busy", Reason.EXPIRED, "5.4.1"),
            ("4.4.1", "smtp; 550 unknown", Reason.INVALID_DESTINATION, "550"),
            ("4.4.7", "smtp; 550 5.1.1 unknown", Reason.INVALID_DESTINATION, "5.1.1"),
        )
    ),
    ("expired", "", "Connection timed out", UpdateStatus.FAILED, Reason.EXPIRED, ""),
    ("Failed (mailbox unknown)", "5.1.1", "", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "5.1.1"),
    ("DELAYED", "4.2.2", "", UpdateStatus.SENT, None, "4.2.2"),
    ("relayed (to system that does not report)", "2.0.0", "", UpdateStatus.SENT, None, "2.0.0"),
    ("failed", "550 5.1.1", "", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "5.1.1"),
    ("failed", "5.4.7", "", UpdateStatus.FAILED, Reason.EXPIRED, "5.4.7"),
    ("failed", "5.7.1", "", UpdateStatus.FAILED, Reason.NOT_ALLOWED, "5.7.1"),
    ("failed", "5.3.4", "", UpdateStatus.FAILED, Reason.UNSUPPORTED, "5.3.4"),
    ("failed", "5.6.1", "", UpdateStatus.FAILED, Reason.UNSUPPORTED, "5.6.1"),
    ("failed", "5.0.0", "smtp; 550 5.1.1 ana", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "5.1.1"),
    ("failed", "5.0.0", "smtp; 550-5.7.1 no", UpdateStatus.FAILED, Reason.NOT_ALLOWED, "5.7.1"),
    ("failed", "5.0.0", "smtp; 550 unknown", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "550"),
    ("failed", "5.0.0", "x-unix; 550 unknown", UpdateStatus.FAILED, Reason.GENERAL, "5.0.0"),
    ("failed", "nonsense", "", UpdateStatus.FAILED, Reason.GENERAL, ""),
]


@pytest.mark.parametrize(("action", "status", "diagnostic", "update", "reason", "detail"), ROWS)
def test_a_report_is_read(
    action: str, status: str, diagnostic: str, update: UpdateStatus, reason: Reason | None, detail: str
) -> None:
    body = report(recipient(action, status, diagnostic))
    gone: Suppression | None = "bounce" if reason is Reason.INVALID_DESTINATION else None
    [said] = smtp().parse_callback(callback(body))
    assert said == DeliveryUpdate("post", "", update, REF, 0, reason, detail, suppress=gone)


def test_each_recipient_of_a_report_is_an_update() -> None:
    updates = smtp().parse_callback(callback(report(recipient("delivered", "2.0.0"), recipient("failed", "5.1.1"))))
    assert [update.status for update in updates] == [UpdateStatus.DELIVERED, UpdateStatus.FAILED]


@pytest.mark.parametrize(
    ("envelope_id", "ref"),
    [
        (REF, REF),
        (REF.replace("-", "+2D"), REF),
        (f"<{REF}>", REF),
        (f"[{REF}]", REF),
        (f"({REF})", REF),
        (f'"{REF}"', REF),
        (f"{REF} (ours)", REF),
        (REF.upper(), REF),
        ("a b", ""),
        ("", ""),
        ("x" * 65, ""),
        ("+ZZ", ""),
        ("0NFC009FLKOUVMA0@mx.example", ""),  # another system's own
        (REF + "9" * 40, ""),
    ],
)
def test_the_envelope_id_is_our_reference(envelope_id: str, ref: str) -> None:
    [update] = smtp().parse_callback(callback(report(recipient(), envelope_id=envelope_id)))
    assert update.ref == ref


@pytest.mark.parametrize("returned_type", ["text/rfc822-headers", "message/rfc822"])
@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, True),
        ({"Original_Recipient": "rfc822;ana@example.com"}, True),
        ({"Original_Recipient": "rfc822;Ana@Example.com", "Final_Recipient": "rfc822; box17@mx.example.net"}, True),
        ({"Original_Recipient": "rfc822;an+61@example.com"}, True),  # xtext, as ORCPT was given
        ({"Final_Recipient": "rfc822; bob@example.com"}, False),
    ],
)
def test_without_an_envelope_id_message_id_and_recipient_name_the_copy(
    more: dict[str, str], found: bool, returned_type: str
) -> None:
    to = Address("ana@example.com")
    said = AgentMessage(
        "company.com", "5f0c", Address("care@company.com"), to, (to,), "Email", contents=(Content("text", "x"),)
    )
    sent = smtp().build_request(Turn(said, smtp().parts(said)[0], 0.0))
    head = sent.content.partition(b"\r\n\r\n")[0].decode() + "\r\n"
    body = report(recipient(**more), envelope_id="", returned=head, returned_type=returned_type)
    [update] = smtp().parse_callback(callback(body))
    assert update.ref == ""
    assert (update.provider_id == sent.provider_id) is found


GOOD = report(recipient())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Subject: hello\r\n\r\nI am on holiday.",
        GOOD.replace(b"message/delivery-status", b"message/disposition-notification"),
        GOOD.replace(b"Action: failed\r\n", b""),
        report(),
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(3000)),
    ],
    ids=["empty", "other mail", "read receipt", "no action", "no recipient", "nested"],
)
def test_what_is_no_report_says_so(body: bytes) -> None:
    assert smtp().parse_callback(callback(GOOD))
    assert smtp().event_id(callback(body))
    with pytest.raises(UnreadableEvent):
        smtp().parse_callback(callback(body))


def test_inbound_mail_is_not_supported() -> None:
    with pytest.raises(UnreadableEvent, match="inbound mail is not supported"):
        smtp().parse_callback(callback(GOOD, kind="inbound"))


def test_the_event_is_named_by_the_reports_own_message_id() -> None:
    assert smtp().event_id(callback(GOOD)) == "<r1@mail.example.com>"
    unnamed = report(recipient(), own_id="")
    assert re.fullmatch(r"[0-9a-f]{32}", smtp().event_id(callback(unnamed)))
    assert smtp().event_id(callback(unnamed)) == smtp().event_id(callback(unnamed))
    assert smtp().event_id(callback(unnamed)) != smtp().event_id(callback(unnamed + b" "))


@given(st.binary(max_size=80), st.integers(0, len(GOOD)), st.integers(0, 60))
def test_no_body_raises_anything_else(noise: bytes, place: int, dropped: int) -> None:
    seen = callback(GOOD[:place] + noise + GOOD[place + dropped :])
    assert smtp().event_id(seen)
    try:
        updates = smtp().parse_callback(seen)
    except UnreadableEvent:
        return
    assert all(re.fullmatch(r"[0-9.]*", update.detail) for update in updates)


def test_the_answer_is_empty() -> None:
    answer = smtp().callback_response(callback())
    assert (answer.status, answer.body) == (200, b"")
