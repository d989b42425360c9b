"""Every mail of the corpus: its text, its kind, and what else stands in it."""

from __future__ import annotations

from collections import Counter

import pytest

from dcbridge.mail import shingles
from dcbridge.mail.authentication import dmarc
from dcbridge.mail.charsets import decode, known
from dcbridge.mail.head import read_head
from dcbridge.mail.mime import parameters
from dcbridge.mail.quotes import reply_of
from dcbridge.mail.reader import Kind, name_of, read
from tests.mail.corpus import faults, rows
from tests.mail.corpus_replies import ATTRIBUTIONS, HEADERS
from tests.mail.writing import Row, mail, plain

ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_mail_of_the_corpus(row: Row) -> None:
    assert list(faults(row)) == []


def test_the_corpus_is_as_wide_as_it_says() -> None:
    names, kinds = [row.name for row in ROWS], Counter(row.kind for row in ROWS)
    assert len(set(names)) == len(names) >= 250
    assert kinds[Kind.BOUNCE] >= 12
    assert kinds[Kind.AUTOMATIC] >= 20
    assert len(ATTRIBUTIONS) + len(HEADERS) >= 40
    assert len({language.partition(",")[0] for language, _, _ in ATTRIBUTIONS}) >= 20


SENT = "Dear Ana, your parcel number seventeen will be brought to your door on Tuesday in the morning. Kind regards"


@pytest.mark.parametrize(
    "quoted",
    [
        SENT,
        SENT.upper(),
        "\n".join(SENT.split(" ")),  # a client that folds as it likes
        f"| {SENT}",
        f"<<{SENT}>>",
    ],
)
def test_what_we_sent_ends_the_reply(quoted: str) -> None:
    """No mark, no attribution, no language that is known: our own words are enough."""
    text = f"Jah, palun.\n\nSaatja: Firma, reede\n\n{quoted}\n"
    assert reply_of(text, "Re: 17", shingles.of_text(SENT)) == "Jah, palun.\n\nSaatja: Firma, reede"
    assert reply_of(text, "Re: 17") == text.strip()
    assert reply_of(quoted, "Re: 17", shingles.of_text(SENT)) == quoted.strip(), "nothing would remain"


def test_shingles_are_few_and_say_nothing() -> None:
    found = shingles.of_text(SENT * 50)
    assert len(found) == shingles.MOST
    assert max(found) < 1 << 48
    assert shingles.of_text("four words are few") == []


@pytest.mark.parametrize(
    ("trusted", "fields", "verdict"),
    [
        ("mx.company.com", ["mx.company.com; spf=pass; dmarc=fail (p=none) header.from=example.org"], "fail"),
        ("mx.company.com", ["mx.company.com 1; dmarc=pass header.from=example.org"], "pass"),
        ("mx.company.com", ["MX.company.com; dkim=pass"], "none"),
        ("mx.company.com", ["evil.example; dmarc=pass", "mx.company.com; dmarc=fail"], "fail"),
        ("mx.company.com", ["mx.company.com; dmarc=fail", "mx.company.com; dmarc=pass"], "fail"),
        ("mx.company.com", ["mx.company.com; dkim=pass", "mx.company.com; dmarc=fail"], "fail"),
        ("mx.company.com", ["mx.company.com; dkim=pass", "evil.example; dmarc=fail"], "none"),
        ("mx.company.com", ["mx.company.com (a; dmarc=pass (b; dmarc=pass) c); dmarc=fail"], "fail"),
        ("mx.company.com", ["evil.example; dmarc=fail"], "none"),
        ("mx.company.com", [], "none"),
        ("", ["mx.company.com; dmarc=pass"], "none"),
    ],
)
def test_only_the_trusted_system_says_who_wrote(trusted: str, fields: list[str], verdict: str) -> None:
    raw = b"".join(f"Authentication-Results: {one}\r\n".encode() for one in fields) + plain("Hello")
    assert dmarc(read_head(raw), trusted) == verdict
    assert read(raw, trusted=trusted).dmarc == verdict


def test_what_tells_a_mail_from_others() -> None:
    assert name_of(plain("Hello")) == name_of(b"Received: by x\r\nReturn-Path: <a@b>\r\n" + plain("Hello"))
    assert name_of(plain("Hello")) == name_of(plain("Hello") + b"\r\n")
    others = [
        plain("Hello!"),
        plain("Hello", "Message-ID: <b@x>"),
        plain("Hello", "Date: Fri, 27 Nov 2026 12:00:00 +0100"),
        plain("Hello", "From: b@example.org"),
        plain("Hello", subject="other"),
    ]
    assert len({name_of(plain("Hello")), *map(name_of, others)}) == 6


def test_what_it_answers_the_nearest_first() -> None:
    found = read(plain("x", "In-Reply-To: <c@x>", "References: <a@x> <b@x>\r\n <c@x>"))
    assert found.in_reply_to == ("c@x", "b@x", "a@x")


def test_what_is_too_much_is_cut_and_said() -> None:
    found = read(plain("word " * 40_000))
    assert len(found.whole) == 100_000
    assert found.cut == ("text",)
    many = "".join(f"--b\nContent-Type: image/png; name={n}.png\n\nx\n" for n in range(30))
    found = read(mail("--b\n\nx\n" * 1500 + "--b--\n", "Content-Type: multipart/mixed; boundary=b"))
    assert found.cut == ("parts",)
    assert found.whole.count("x") == 999
    found = read(mail(many + "--b--\n", "Content-Type: multipart/mixed; boundary=b"))
    assert len(found.files) == 20
    assert found.cut == ("files",)


@pytest.mark.parametrize(
    "label", ["hex", "rot13", "zlib", "bz2", "idna", "punycode", "unicode_escape", "base64", "undefined"]
)
def test_a_codec_that_is_no_charset_is_none(label: str) -> None:
    assert known(label) == ""


@pytest.mark.parametrize(
    "label", ["", "utf-8", "gb2312", "iso-2022-jp", "utf-16", "utf-7", "cp037", "x" * 10_000, "\x00"]
)
def test_any_bytes_are_a_text(label: str) -> None:
    every = bytes(range(256)) * 3
    assert len(decode(every, label)) >= 100
    decode(every, label).encode("utf-8", "surrogatepass")


def test_parameters_of_a_field() -> None:
    assert parameters('a; x="a\\"b"; Y=2; z*0="one"; z*1*=%20two; x=second') == {"x": 'a"b', "y": "2", "z": "one two"}
