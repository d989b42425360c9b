"""Consumers' mail as companies post it: taken out of forms, JSON and notifications, in whatever form it comes."""

from __future__ import annotations

import base64
import hmac
import time
from urllib.parse import quote_plus

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.errors import BadSignature, UnreadableEvent
from dcbridge.mail.reader import name_of, read
from dcbridge.providers.base import BringsMail, Callback, PostedMail
from dcbridge.providers.multipart import boundary_of, fields_of, written
from sandbox.wires.mail_base import as_form
from tests.providers.test_email_companies import KINDS_HERE, SECRET, provider

RAW = (
    b"From: Ana <ana@example.com>\r\nTo: care@company.com\r\nSubject: Order 17\r\nMessage-ID: <1@example.com>\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n--x\r\n"
)
ANA, CARE = "ana@example.com", "care@company.com"
MAIL = [PostedMail(RAW, ANA, (CARE,))]


def posted(body: bytes, kind: str = "application/json", secret: str = "") -> Callback:
    url = "https://bridge.example.com/callbacks/acme/inbound"
    return Callback("inbound", "POST", url, b"", {"content-type": (kind,)}, body, secret)


def sendgrid(**fields: bytes) -> Callback:
    envelope = orjson.dumps({"to": [CARE], "from": ANA})
    kind, body = as_form({"to": b"x", "envelope": envelope, "email": RAW, **fields})
    return posted(body, kind)


def mailgun(*, form: bool = False, **fields: bytes) -> Callback:
    moment = str(int(time.time())).encode()
    signature = hmac.digest(b"sign", moment + b"t" * 50, "sha256").hex().encode()
    said = {"recipient": CARE.encode(), "sender": ANA.encode(), "body-mime": RAW, "timestamp": moment,
            "token": b"t" * 50, "signature": signature, **fields}  # fmt: skip
    if form:
        body = "&".join(f"{name}={quote_plus(value)}" for name, value in said.items()).encode()
        return posted(body, "application/x-www-form-urlencoded", "mime")
    kind, body = as_form(said)
    return posted(body, kind, "mime")


def postmark(**fields: object) -> Callback:
    said = {"OriginalRecipient": CARE, "RawEmail": RAW.decode("latin-1"), "Headers": [
        {"Name": "Return-Path", "Value": f"<{ANA}>"}], **fields}  # fmt: skip
    return posted(orjson.dumps(said))


def ses(**fields: object) -> Callback:
    event = {"notificationType": "Received", "content": base64.b64encode(RAW).decode(), "mail": {"source": ANA},
             "receipt": {"recipients": [CARE], "action": {"encoding": "BASE64"}}, **fields}  # fmt: skip
    said = {"Type": "Notification", "MessageId": "n", "Message": orjson.dumps(event).decode()}
    return posted(orjson.dumps(said))


def test_the_mail_of_each_company_byte_for_byte() -> None:
    assert provider("sendgrid").mails(sendgrid()) == MAIL
    assert provider("mailgun").mails(mailgun()) == MAIL
    assert provider("mailgun").mails(mailgun(form=True)) == MAIL
    assert provider("ses").mails(ses()) == MAIL
    [mail] = provider("postmark").mails(postmark())
    assert (mail.sender, mail.recipients, mail.raw.decode()) == (ANA, (CARE,), RAW.decode("latin-1"))
    assert isinstance(provider("sendgrid"), BringsMail)
    assert [kind for kind in KINDS_HERE if not provider(kind).can.mail] == ["azure-email"]


def test_a_confirmation_of_sns_is_no_mail() -> None:
    assert provider("ses").mails(posted(orjson.dumps({"Type": "SubscriptionConfirmation", "Token": "x"}))) is None
    text = {"Type": "Notification", "Message": "Successfully validated SNS topic for Amazon SES event publishing."}
    assert list(provider("ses").mails(posted(orjson.dumps(text)))) == []


@pytest.mark.parametrize(
    "said",
    [
        ("sendgrid", sendgrid(envelope=b"{}")), ("sendgrid", sendgrid(envelope=b"[" * 9999)),
        ("sendgrid", posted(b"", "multipart/form-data")), ("mailgun", mailgun(recipient=b"nobody")),
        ("mailgun", posted(b"", "text/plain")), ("postmark", posted(b"[]")), ("postmark", posted(b"\xff")),
        ("ses", ses(content="no base64!")), ("ses", ses(receipt=7)), ("ses", ses(content="")),
    ],
    ids=lambda said: said[0],
)  # fmt: skip
def test_what_is_no_mail_is_said_to_be_none(said: tuple[str, Callback]) -> None:
    with pytest.raises(UnreadableEvent):
        provider(said[0]).mails(said[1])


def test_mailguns_signature_of_a_route() -> None:
    for form in (False, True):
        assert provider("mailgun").verify(mailgun(form=form)) == "t" * 50
        for damaged in (mailgun(form=form, token=b"u" * 50), mailgun(form=form, signature=b"0" * 64)):
            with pytest.raises(BadSignature):
                provider("mailgun").verify(damaged)
    with pytest.raises(BadSignature):
        provider("sendgrid").verify(sendgrid())
    provider("sendgrid", callback_secret=SECRET).verify(
        Callback("inbound", "POST", "", b"", {}, sendgrid().body, SECRET)
    )


def test_postmarks_mail_without_its_bytes_is_written_again_the_same_each_time() -> None:
    said = {
        "RawEmail": "", "From": "Ana <ana@example.com>", "To": CARE, "Subject": "Order\r\nBcc: x@y", "MessageID": "m-1",
        "TextBody": "Grüße \ud800", "HtmlBody": "<p>Grüße</p>", "Date": "Thu, 26 Nov 2026 12:00:00 +0000",
        "Headers": [{"Name": "In-Reply-To", "Value": "<ours@company.com>"}, {"Name": "Bad\nName", "Value": "x"},
                    {"Name": "Content-Type", "Value": "text/evil"}],
        "Attachments": [{"Name": "map\r\n.png", "ContentType": "image/png", "Content": "iVBORw=="},
                        {"Name": "", "ContentType": "multipart/mixed", "Data": "eA=="}],
    }  # fmt: skip
    body = orjson.dumps({name: value for name, value in said.items() if name != "TextBody"})[:-1]
    body += b',"TextBody":"Gr\xc3\xbc\xc3\x9fe"}'
    first, again = (
        provider("postmark").mails(
            posted(orjson.dumps({**orjson.loads(body), "OriginalRecipient": CARE}))
        )[0].raw for _ in range(2)
    )  # fmt: skip
    assert first == again
    assert name_of(first) == name_of(again)
    mail = read(first)
    assert mail.sender is not None
    assert (mail.sender.id, mail.whole, mail.in_reply_to) == (ANA, "Grüße", ("ours@company.com",))
    assert [(file.kind, file.part.content()) for file in mail.files] == [
        ("image/png", b"\x89PNG"), ("application/octet-stream", b"x"),
    ]  # fmt: skip
    assert b"\nBcc" not in first


HEADERS = [
    ("From", "Ana <ana@example.com>"), ("To", CARE), ("Subject", "Order 17"), ("In-Reply-To", "<ours@company.com>"),
    ("Message-ID", "<7@example.com>"), ("Content-Type", "multipart/mixed; boundary=x"), ("X", "a\r\n b"),
]  # fmt: skip
PICTURE = b"\x89PNG\r\n--x\r\n"


def with_files(fields: dict[str, bytes], name: str) -> tuple[str, bytes]:
    """A form with a picture in it."""
    kind, body = as_form(fields)
    line = body[: body.find(b"\r\n")]
    head = f'Content-Disposition: form-data; name="{name}"; filename="map.png"\r\nContent-Type: image/png\r\n\r\n'
    return kind, body.removesuffix(b"--\r\n") + b"\r\n" + head.encode() + PICTURE + b"\r\n" + line + b"--\r\n"


def parsed(name: str, **fields: bytes) -> Callback:
    """Of a webhook that is not set up to post the raw mail."""
    block = "".join(f"{key}: {value}\r\n" for key, value in HEADERS).encode()
    if name == "sendgrid":
        said = {
            "headers": block, "from": b"x@y.example", "text": "Grüße".encode("latin-1"), "html": b"<p>x</p>",
            "envelope": orjson.dumps({"to": [CARE], "from": ANA}), "charsets": b'{"text": "iso-8859-1"}',
            "attachment-info": b'{"attachment1": {"filename": "way.png", "type": "image/png"}}',
        }  # fmt: skip
        kind, body = with_files(said | fields, "attachment1")
        return posted(body, kind)
    moment = str(int(time.time())).encode()
    signature = hmac.digest(b"sign", moment + b"t" * 50, "sha256").hex().encode()
    said = {
        "recipient": CARE.encode(), "sender": ANA.encode(), "from": b"x@y.example", "body-plain": "Grüße".encode(),
        "body-html": b"<p>x</p>", "message-headers": orjson.dumps(HEADERS), "timestamp": moment, "token": b"t" * 50,
        "signature": signature, "attachment-count": b"1",
    }  # fmt: skip
    kind, body = with_files(said | fields, "attachment-1")
    return posted(body, kind)


@pytest.mark.parametrize("name", ["sendgrid", "mailgun"])
def test_a_mail_that_comes_in_parts_is_written_again_the_same_each_time(name: str) -> None:
    [first], [again] = (provider(name).mails(parsed(name)) for _ in range(2))
    assert (first.raw, first.sender, first.recipients) == (again.raw, ANA, (CARE,))
    mail = read(first.raw)
    assert mail.sender is not None
    assert (mail.sender.id, mail.sender.name, mail.subject) == (ANA, "Ana", "Order 17")
    assert (mail.whole, mail.in_reply_to, mail.message_id) == ("Grüße", ("ours@company.com",), "7@example.com")
    [file] = mail.files
    assert (file.name, file.kind, file.part.content()) == (
        "way.png" if name == "sendgrid" else "map.png", "image/png", PICTURE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sendgrid", {"headers": b"\xff:" * 9999}), ("sendgrid", {"headers": b" " * 99_999}),
        ("sendgrid", {"charsets": b"[1]", "attachment-info": b'{"attachment1": 3}'}),
        ("sendgrid", {"charsets": b'{"text": "no-such-charset"}'}), ("sendgrid", {"text": b"\xed\xa0\x80\x00"}),
        ("sendgrid", {"attachment-info": b'{"attachment1": {"filename": "a\\r\\nBcc: x", "type": "text/x; y=\\"z"}}'}),
        ("mailgun", {"message-headers": b"[[]]"}), ("mailgun", {"message-headers": b'{"a": 1}'}),
        ("mailgun", {"message-headers": b'[["Subject", 7], ["a\\nBcc", "x"], 3]'}),
        ("mailgun", {"body-html": b"\xff\x00", "subject": b"a\r\nBcc: x"}),
    ],
)  # fmt: skip
def test_a_mail_in_odd_parts_is_read(name: str, fields: dict[str, bytes]) -> None:
    [mail] = provider(name).mails(parsed(name, **fields))
    assert read(mail.raw).files[0].part.content() == PICTURE
    assert b"\nBcc" not in mail.raw
    assert name_of(mail.raw)


def test_a_form_is_read_as_it_was_written() -> None:
    kind, body = written({"a": "ü"}, ("file", "x.eml", "message/rfc822", RAW))
    assert [(one.name, one.filename, one.kind, bytes(one.value)) for one in fields_of(body, boundary_of(kind))] == [
        ("a", "", "", "ü".encode()), ("file", "x.eml", "message/rfc822", RAW),
    ]  # fmt: skip
    assert boundary_of("text/plain; boundary=x") == boundary_of("multipart/form-data") == ""


@given(body=st.binary(max_size=300), kind=st.sampled_from(["multipart/form-data; boundary=x", "application/json"]),
       cut=st.integers(0, 400))  # fmt: skip
def test_a_form_of_any_bytes_is_read(body: bytes, kind: str, cut: int) -> None:
    whole = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + body + b"\r\n--x--\r\n"
    for one in (body, whole, whole[:cut], b"--x" * 200 + body):
        for field in fields_of(one, boundary_of(kind)):
            assert len(field.value) <= len(one)
    for name in ("sendgrid", "mailgun", "postmark", "ses"):
        try:
            provider(name).mails(posted(whole[:cut], kind))
        except UnreadableEvent:
            continue


def test_a_form_of_many_fields_costs_little() -> None:
    body = b"--x\r\n" * 2_000_000
    began = time.process_time()
    assert list(fields_of(body, "x")) == []
    assert time.process_time() - began < 2
