"""SMTP, the way out: the message as another parser reads it, and every reply of a server."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from email import policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser, Parser
from email.utils import getaddresses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dcbridge.errors import AccountFault, Deferred, Refused, SendError, Throttled
from dcbridge.messages import Address, AgentMessage, Content, Reason, message_ref
from dcbridge.providers import KINDS, build
from dcbridge.providers.base import MailAnswer, MailRequest, MailStep, Turn
from dcbridge.providers.smtp import Smtp, SmtpFields

ANA, BOB = Address("ana@example.com", "Ana Ruiz"), Address("bob@example.org")
BASE = message_ref("company.com", "5f0c")


def smtp(**fields: object) -> Smtp:
    return Smtp("post", SmtpFields.model_validate({"host": "mail.example.com", **fields}), "https://bridge.example.com")


def message(**changes: Any) -> AgentMessage:
    whole: dict[str, Any] = {
        "channel_id": "company.com",
        "message_id": "5f0c",
        "sender": Address("care@company.com", "Care, Inc."),
        "to": ANA,
        "recipients": (ANA, BOB),
        "type": "Email",
        "subject": "Your order",
        "contents": (Content("text", "Hello.\n.\nBye."), Content("html", "<p>Hello.</p>")),
    }
    return AgentMessage(**(whole | changes))


AT = 1_700_000_000.0


def request(said: AgentMessage, **fields: object) -> MailRequest:
    provider = smtp(**fields)
    [part] = provider.parts(said)
    return provider.build_request(Turn(said, part, AT))


def read(written: MailRequest) -> EmailMessage:
    parsed = Parser(policy=policy.default).parsestr(written.content.decode())
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def test_the_same_turn_gives_the_same_bytes() -> None:
    first, second, other = request(message()), request(message()), request(message(subject="Another"))
    assert second.content == first.content
    assert other.content != first.content
    text = message(contents=(Content("text", read(first).get_boundary() or ""), Content("html", "x")))
    assert [part.get_content_type() for part in read(request(text)).iter_parts()] == ["text/plain", "text/html"]


def text_of(part: EmailMessage) -> str:
    content = part.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def test_the_whole_message() -> None:
    written = request(message(reply_to=Address("team@company.com", "The team")), callback_secret="s")
    mail = read(written)
    assert mail["From"] == '"Care, Inc." <care@company.com>'
    assert mail["To"] == "Ana Ruiz <ana@example.com>, bob@example.org"
    assert mail["Reply-To"] == "The team <team@company.com>"
    assert mail["Subject"] == "Your order"
    assert mail["Message-ID"] == f"<{BASE}@company.com>"
    assert mail["Date"].datetime == datetime.fromtimestamp(AT, UTC)
    assert not [name for name in mail if name.startswith(("X-", "Auto-"))]
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    body = mail.get_body(("plain",))
    assert isinstance(body, EmailMessage)
    assert text_of(body) == "Hello.\n.\nBye.\n"
    assert (written.mail_from, written.rcpt_to) == ("care@company.com", "ana@example.com")
    assert written.envelope_id == BASE
    assert written.ask_dsn


def test_copies_differ_in_envelope_only() -> None:
    first, second = request(message()), request(message(to=BOB, index=1))
    assert (first.envelope_id, second.envelope_id) == (BASE, f"{BASE}-1")
    assert (first.rcpt_to, second.rcpt_to) == ("ana@example.com", "bob@example.org")
    assert read(first)["Message-ID"] == read(second)["Message-ID"]
    assert read(first)["To"] == read(second)["To"]
    assert first.provider_id != second.provider_id
    assert first.provider_id == request(message()).provider_id


@pytest.mark.parametrize(
    ("contents", "kind", "text"),
    [
        ((Content("text", "a"),), "text/plain", "a\n"),
        ((Content("html", "<b>a</b>"),), "text/html", "<b>a</b>\n"),
        ((Content("TEXT", "a"), Content("text", "b")), "text/plain", "a\nb\n"),
        ((Content("text", "  "), Content("html", "<b>"), Content("pdf", "x")), "text/html", "<b>\n"),
        ((Content("text", "a\r\nb\rc\n"),), "text/plain", "a\nb\nc\n"),
        ((Content("text", "日本語" * 400),), "text/plain", "日本語" * 400 + "\n"),
        ((Content("text", "x" * 5000),), "text/plain", "x" * 5000 + "\n"),
        ((Content("text", "a\x00\x0cb"),), "text/plain", "a\x00\x0cb\n"),
        ((Content("text", "a\ud83db"),), "text/plain", "a\ufffdb\n"),
    ],
)
def test_bodies(contents: tuple[Content, ...], kind: str, text: str) -> None:
    written = request(message(contents=contents))
    mail = read(written)
    assert mail.get_content_type() == kind
    assert text_of(mail) == text
    assert written.content.isascii()
    assert max(map(len, written.content.split(b"\r\n"))) <= 78
    assert b"\x00" not in written.content


def test_a_message_with_a_text_and_no_contents_is_sent_as_text() -> None:
    assert text_of(read(request(message(contents=(), text="short")))) == "short\n"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "Text", "text": "hi"}, Reason.UNSUPPORTED),
        ({"contents": (Content("pdf", "x"),)}, Reason.UNSUPPORTED),
        ({"contents": ()}, Reason.INVALID_STRUCTURE),
        ({"contents": (Content("text", " \n"),)}, Reason.INVALID_STRUCTURE),
        ({"sender": Address("company.com")}, Reason.INVALID_STRUCTURE),
        ({"reply_to": Address("company.com")}, Reason.INVALID_STRUCTURE),
    ],
)
def test_what_cannot_be_sent_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        request(message(**changes))
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("", "ana@example.com"),
        ("ana", "ana@example.com"),
        ("ana@", "ana@a"),
        ("@example.com", "a@example.com"),
        ("ana@@example.com", "ana@example.com"),
        ("ana@example..com", "ana@example.com"),
        ("ana.@example.com", "ana.a@example.com"),
        ("a na@example.com", "a.na@example.com"),
        ("ana@example.com>", "ana@example.com"),
        ("ana@example.com\r\nRCPT TO:<eve@example.com>", "ana@example.com"),
        ("ana@exam\u2028ple.com", "ana@example.com"),
        ('"ana"@example.com', "ana@example.com"),
        ("ana@[192.0.2.1]", "ana@192.0.2.1"),
        ("ana@example.com,eve@example.com", "ana@example.com"),
        ("ana\x00@example.com", "ana@example.com"),
        ("ana@xn--\u00e9.com", "ana@\u00e9.com"),
        ("a" * 243 + "@example.com", "a" * 242 + "@example.com"),
    ],
)
def test_an_address_that_is_none_is_refused_without_being_quoted(wrong: str, right: str) -> None:
    with pytest.raises(Refused) as refused:
        request(message(to=Address(wrong), recipients=(Address(wrong),)))
    assert refused.value.reason is Reason.INVALID_DESTINATION
    assert str(refused.value) == "no recipient address"
    assert request(message(to=Address(right), recipients=(Address(right),))).rcpt_to.endswith(right[-4:])


@pytest.mark.parametrize(
    ("address", "rcpt_to", "ascii_only"),
    [
        ("ana@bücher.example", "ana@xn--bcher-kva.example", True),
        ("ana@BÜCHER.example", "ana@xn--bcher-kva.example", True),
        ("ana@straße.example", "ana@xn--strae-oqa.example", True),  # not strasse.example, which is somebody else's
        ("josé@example.com", "josé@example.com", False),
        ("josé@bücher.example", "josé@xn--bcher-kva.example", False),
    ],
)
def test_letters_beyond_ascii(address: str, rcpt_to: str, ascii_only: bool) -> None:
    to = Address(address, "José 日本")
    written = request(message(to=to, recipients=(to,)))
    assert written.rcpt_to == rcpt_to
    assert written.content.isascii() is ascii_only
    [shown] = read(written)["To"].addresses
    assert (shown.display_name, shown.addr_spec) == ("José 日本", rcpt_to)


JOSE, TEAM = Address("josé@example.com", "José Ruiz"), Address("équipe@company.com", "The team")


@pytest.mark.parametrize(
    ("changes", "ascii_only"),
    [
        ({}, True),
        ({"recipients": (ANA, JOSE)}, True),
        ({"recipients": (JOSE, ANA)}, True),
        ({"reply_to": TEAM}, True),
        ({"recipients": (ANA, Address("ana@bücher.example"))}, True),
        ({"to": JOSE, "recipients": (ANA, JOSE)}, False),
        ({"to": JOSE, "recipients": (JOSE,), "reply_to": TEAM}, False),
        ({"sender": TEAM}, False),  # From has to be true
    ],
)
def test_smtputf8_is_needed_only_where_this_copy_needs_it(changes: dict[str, Any], ascii_only: bool) -> None:
    written = request(message(**changes))
    assert (written.content.isascii() and written.mail_from.isascii() and written.rcpt_to.isascii()) is ascii_only


def test_another_recipients_mailbox_beyond_ascii_is_shown_and_cannot_be_written_to() -> None:
    nameless = Address("日本@example.jp")
    mail = read(request(message(recipients=(ANA, JOSE, nameless, BOB))))
    assert [address.addr_spec for address in mail["To"].addresses] == ["ana@example.com", "bob@example.org"]
    groups = [(group.display_name, len(group.addresses)) for group in mail["To"].groups]
    shown = [(None, 1), ("José Ruiz josé@example.com", 0), ("日本@example.jp", 0), (None, 1)]
    assert groups == shown
    whole = read(request(message(to=JOSE, recipients=(ANA, JOSE), index=1)))
    assert [address.addr_spec for address in whole["To"].addresses] == ["ana@example.com", "josé@example.com"]


def test_a_reply_to_that_an_ascii_recipient_cannot_write_to_is_left_out() -> None:
    assert read(request(message(reply_to=TEAM)))["Reply-To"] is None
    assert (
        read(request(message(reply_to=TEAM, to=JOSE, recipients=(JOSE,))))["Reply-To"]
        == "The team <équipe@company.com>"
    )
    ascii_domain = read(request(message(reply_to=Address("team@bücher.example"))))["Reply-To"]
    assert ascii_domain == "team@xn--bcher-kva.example"


def test_copies_in_ascii_and_beyond_it_are_one_message() -> None:
    people = (ANA, JOSE)
    first, second = request(message(recipients=people)), request(message(to=JOSE, recipients=people, index=1))
    assert read(first)["Message-ID"] == read(second)["Message-ID"]


def test_another_recipient_that_is_no_address_does_not_stop_this_copy() -> None:
    assert read(request(message(recipients=(ANA, Address("nobody")))))["To"] == "Ana Ruiz <ana@example.com>"


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\r\n\r\n", "\u2028", "\x0b", "\x85", "\x00"])
def test_no_line_end_opens_a_header(end: str) -> None:
    evil = f"Hi{end}Bcc: eve@example.com"
    mail = read(
        request(message(subject=evil, to=Address("ana@example.com", evil), recipients=(Address(ANA.id, evil),)))
    )
    assert "Bcc" not in mail
    assert mail["Subject"] == "Hi Bcc: eve@example.com"
    assert [address.addr_spec for address in mail["To"].addresses] == ["ana@example.com"]


SCRIPTS = [
    "Grüße aus Köln an alle, die auf ihre Bestellung warten müssen, mit Dank für die Geduld und viel Freude damit",
    "Ваш заказ отправлен и будет доставлен завтра между девятью и двенадцатью часами утра по вашему адресу",
    "ご注文の商品は本日発送されました。明日の午前中にお届けする予定ですので、今しばらくお待ちくださいませ。",
    "تم شحن طلبك وسيتم تسليمه غدا بين الساعة التاسعة والثانية عشرة صباحا إلى عنوانك المسجل لدينا وشكرا",
    "आपका ऑर्डर भेज दिया गया है और कल सुबह नौ से बारह बजे के बीच आपके पते पर पहुंचा दिया जाएगा धन्यवाद",
    "สินค้าของคุณถูกจัดส่งแล้วและจะถึงในวันพรุ่งนี้ระหว่างเก้าโมงเช้าถึงเที่ยงวันตามที่อยู่ที่ลงทะเบียนไว้",
    "👩‍👩‍👧‍👦 family 👍🏽 and flags 🇪🇺🇯🇵 in one line, again and again 👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
    "=?utf-8?q?already?= looks encoded",
    "x" * 250,
]
LONG = "a" * 60 + "@" + "b" * 60 + ".example"


def lines_with_words(written: MailRequest) -> list[bytes]:
    head = written.content.partition(b"\r\n\r\n")[0]
    return [line for line in head.split(b"\r\n") if b"=?" in line]


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_line_with_an_encoded_word_is_longer_than_76(script: str) -> None:
    for shift in range(24):  # so that each character stands at a fold once
        said = "-" * shift + script
        to = Address("ana@example.com", said)
        others = (to, Address(LONG, said), Address("josé@example.com", said), BOB)
        sender = Address("care@company.com", said)
        written = request(message(subject=said, sender=sender, to=to, recipients=others, reply_to=others[1]))
        lines = lines_with_words(written)
        assert len(lines) > 4
        assert max(map(len, lines)) <= 76
        for word in re.findall(rb"=\?[^?]+\?.\?[^?]*\?=", b"\n".join(lines)):
            assert len(word) <= 75
            base64.b64decode(word.split(b"?")[3]).decode()  # no character is cut in two
        mail = BytesParser(policy=policy.compat32).parsebytes(written.content)
        assert decoded(mail["Subject"]) == seen(said)
        [(name, address)] = getaddresses([mail["From"].replace("\r\n", "")])
        assert (decoded(name), address) == (seen(said), "care@company.com")
        modern = read(written)
        assert [one.addr_spec for one in modern["To"].addresses] == ["ana@example.com", LONG, "bob@example.org"]
        assert [one.addr_spec for one in modern["Reply-To"].addresses] == [LONG]


words = st.text(st.characters() | st.sampled_from('",;<>@()[]\\ \r\n=?_äж漢é😀\u0301'), max_size=150)


def seen(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).split())


def decoded(value: str) -> str:
    return seen(str(make_header(decode_header(value.replace("\r\n", "")))))


@given(words, words)
def test_any_subject_and_name_arrive_as_they_were(subject: str, name: str) -> None:
    to = Address("ana@example.com", name)
    written = request(message(subject=subject, sender=Address("care@company.com", name), to=to, recipients=(to, BOB)))
    head = written.content.partition(b"\r\n\r\n")[0]
    assert written.content.isascii()
    assert max(map(len, head.split(b"\r\n"))) < 998
    assert max(map(len, lines_with_words(written)), default=0) <= 76
    assert b"\n" not in head.replace(b"\r\n", b"")
    mail = BytesParser(policy=policy.compat32).parsebytes(written.content)
    assert mail.keys()[:5] == ["From", "To", "Subject", "Date", "Message-ID"]
    assert sorted(mail.keys()[5:]) == ["Content-Type", "MIME-Version"]
    assert decoded(mail["Subject"]) == seen(subject)
    shown = getaddresses([mail["To"].replace("\r\n", "")])
    assert [(decoded(shown_name), address) for shown_name, address in shown] == [(seen(name), ANA.id), ("", BOB.id)]


REPLIES: list[tuple[MailStep, int, str, type[SendError], Reason]] = [
    ("rcpt", 550, "5.1.1 no such user", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 550, "5.1.10 null MX", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 553, "5.1.3 bad syntax", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 550, "5.2.1 disabled", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 552, "5.2.2 full", Refused, Reason.GENERAL),
    ("data", 552, "5.2.3 too big", Refused, Reason.UNSUPPORTED),
    ("mail", 552, "5.3.4 too big", Refused, Reason.UNSUPPORTED),
    ("data", 554, "5.6.0 conversion", Refused, Reason.UNSUPPORTED),
    ("data", 550, "5.7.26 DMARC", Refused, Reason.NOT_ALLOWED),
    ("mail", 550, "5.1.8 who are you", Refused, Reason.NOT_ALLOWED),
    ("rcpt", 555, "5.5.4 parameters", Refused, Reason.INVALID_STRUCTURE),
    ("data", 554, "5.4.7 expired", Refused, Reason.EXPIRED),
    ("rcpt", 550, "no such user", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 551, "user not local", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 552, "full", Refused, Reason.GENERAL),
    ("rcpt", 553, "name not allowed", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 554, "no", Refused, Reason.GENERAL),
    ("rcpt", 550, "4.1.1 of another class", Refused, Reason.INVALID_DESTINATION),
    ("mail", 550, "sender rejected", Refused, Reason.NOT_ALLOWED),
    ("mail", 552, "too big", Refused, Reason.UNSUPPORTED),
    ("data", 550, "spam", Refused, Reason.NOT_ALLOWED),
    ("data", 554, "spam", Refused, Reason.NOT_ALLOWED),
    ("data", 599, "", Refused, Reason.GENERAL),
    ("mail", 501, "syntax", Refused, Reason.INVALID_STRUCTURE),
    ("mail", 530, "5.7.0 log in first", AccountFault, Reason.GENERAL),
    ("auth", 535, "5.7.8 wrong", AccountFault, Reason.GENERAL),
    ("auth", 504, "", AccountFault, Reason.GENERAL),
    ("rcpt", 550, "5.7.8 log in", AccountFault, Reason.GENERAL),
    ("connect", 554, "no service for you", AccountFault, Reason.GENERAL),
    ("connect", 421, "4.3.2 shutting down", Deferred, Reason.GENERAL),
    ("auth", 454, "4.7.0 later", Throttled, Reason.RATE_LIMIT),
    ("rcpt", 450, "4.7.1 greylisted", Throttled, Reason.RATE_LIMIT),
    ("rcpt", 450, "4.2.1 too quickly", Throttled, Reason.RATE_LIMIT),
    ("rcpt", 452, "4.2.2 full", Deferred, Reason.GENERAL),
    ("data", 451, "try later", Deferred, Reason.GENERAL),
    ("data", 451, "4.4.7 expired", Deferred, Reason.EXPIRED),
    ("data", 250, "no 354", Deferred, Reason.GENERAL),
    # Codes of the big hosts.
    ("rcpt", 550, "5.4.1 Recipient address rejected: Access denied", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 550, "5.4.4 host not found", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 550, "5.4.310 no such domain", Refused, Reason.INVALID_DESTINATION),
    ("rcpt", 550, "5.5.0 mailbox unavailable", Refused, Reason.INVALID_DESTINATION),
    ("mail", 550, "5.5.0 command", Refused, Reason.INVALID_STRUCTURE),
    ("data", 554, "5.5.0 command", Refused, Reason.INVALID_STRUCTURE),
    ("rcpt", 550, "5.5.4 parameters", Refused, Reason.INVALID_STRUCTURE),
    ("rcpt", 550, "5.7.1 relay", Refused, Reason.NOT_ALLOWED),
    ("rcpt", 550, "#5.1.0 Address rejected.", Refused, Reason.INVALID_DESTINATION),
    # A limit of a day or an hour is over some time.
    ("data", 550, "5.4.5 Daily user sending limit exceeded", Deferred, Reason.RATE_LIMIT),
    ("rcpt", 550, "5.4.5 Daily user sending limit exceeded", Deferred, Reason.RATE_LIMIT),
    ("rcpt", 554, "5.1.90 recipient limit", Deferred, Reason.RATE_LIMIT),
    ("rcpt", 550, "5.2.121 recipient's limit of the hour", Deferred, Reason.RATE_LIMIT),
    ("data", 550, "5.7.233 tenant's limit", Deferred, Reason.RATE_LIMIT),
    ("data", 554, "5.4.6 loop", Refused, Reason.GENERAL),
    # A rate that is named in words alone.
    ("data", 454, "Throttling failure: Maximum sending rate exceeded.", Throttled, Reason.RATE_LIMIT),
    ("data", 454, "Throttling failure: Daily message quota exceeded.", Throttled, Reason.RATE_LIMIT),
    ("mail", 421, "4.3.2 too many concurrent connections", Throttled, Reason.RATE_LIMIT),
    ("rcpt", 450, "rate limit exceeded", Throttled, Reason.RATE_LIMIT),
    ("rcpt", 452, "4.2.2 over quota", Deferred, Reason.GENERAL),
    ("data", 454, "TLS not available", Deferred, Reason.GENERAL),
]


@pytest.mark.parametrize(("step", "code", "text", "error", "reason"), REPLIES)
def test_what_follows_from_a_reply(
    step: MailStep, code: int, text: str, error: type[SendError], reason: Reason
) -> None:
    with pytest.raises(SendError) as raised:
        smtp().parse_response(MailAnswer(step, code, text))
    assert type(raised.value) is error
    assert raised.value.reason is reason
    assert re.fullmatch(r"\d{3}( \d\.\d{1,3}\.\d{1,3})?", str(raised.value))


def test_taken_names_the_copy() -> None:
    assert smtp().parse_response(MailAnswer("done", 250, "2.0.0 queued", True, "id")).provider_id == "id"


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),  # a report that nobody can bring us is not waited for
        ({"callback_secret": "s"}, True),
        ({"callback_secret": ["s", "t"]}, True),
        ({"callback_secret": "s", "dsn": "never"}, False),
    ],
)
def test_reports_are_asked_for_where_they_can_arrive(fields: dict[str, object], asked: bool) -> None:
    assert request(message(), **fields).ask_dsn is asked


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"host": "a b"}, {"host": "ab"}),
        ({"port": 0}, {"port": 1}),
        ({"security": "ssl"}, {"security": "tls"}),
        ({"username": "u", "security": "none"}, {"username": "u", "security": "tls"}),
        ({"mail_from": "bounces"}, {"mail_from": "bounces@company.com"}),
        ({"local_hostname": "a b"}, {"local_hostname": "a-b"}),
        ({"callback_secret": ""}, {"callback_secret": "s"}),
        ({"callback_secret": ["s", ""]}, {"callback_secret": ["s"]}),
        ({"timeout": 0}, {"timeout": 1}),
    ],
)
def test_fields_that_cannot_be_right_are_refused(wrong: dict[str, object], right: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        smtp(**wrong)
    assert smtp(**right)


def test_an_envelope_sender_of_its_own() -> None:
    written = request(message(), mail_from="bounces@bücher.example")
    assert written.mail_from == "bounces@xn--bcher-kva.example"
    assert read(written)["From"].addresses[0].addr_spec == "care@company.com"


def test_every_field_is_described_and_nothing_private_prints() -> None:
    assert all(field.description and field.description.endswith(".") for field in SmtpFields.model_fields.values())
    written = request(message(), username="u", password="hidden", callback_secret="hidden")
    assert "hidden" not in repr(smtp(password="hidden", callback_secret="hidden")._fields)
    for private in ("hidden", "ana@example.com", "Your order", "care@company.com"):
        assert private not in repr(written)
    assert "ana@" not in repr(MailAnswer("rcpt", 550, "ana@example.com unknown"))


def test_the_table_of_providers_builds_each_kind() -> None:
    assert {"smtp", "twilio"} <= set(KINDS)  # all of them: test_every_kind
    built = build("post", "smtp", SmtpFields(host="mail.example.com"), "https://bridge.example.com")
    assert (built.name, built.kind, built.can.channel_types) == ("post", "smtp", frozenset({"email"}))
    fields = KINDS["twilio"].fields_model.model_validate({"account_sid": "AC1", "auth_token": "x"})
    assert build("sms", "twilio", fields, "https://bridge.example.com").kind == "twilio"
