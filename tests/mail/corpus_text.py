"""Mails whose letters, encodings and structure are the difficulty."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from tests.mail.writing import Row, encoded, html, inner, mail, multipart, part, plain

_CHARSETS = [
    ("utf-8", "utf-8", "Grüße aus Köln, привет, 你好 🎉"),
    ("UTF8", "utf-8", "Grüße, 你好"),
    ("us-ascii", "utf-8", "labelled as ASCII, and is not: é €"),
    ("iso-8859-1", "cp1252", "It’s “fine” – 5 € please"),
    ("iso-8859-1", "utf-8", "UTF-8 below a Latin-1 label: Müller"),
    ("iso-8859-15", "iso8859_15", "5 € für Žan"),
    ("windows-1252", "cp1252", "naïve café … ok"),
    ("iso-8859-2", "iso8859_2", "Zażółć gęślą jaźń"),
    ("windows-1250", "cp1250", "Příliš žluťoučký kůň"),
    ("windows-1251", "cp1251", "Съешь ещё этих мягких булок"),
    ("koi8-r", "koi8_r", "Съешь ещё этих мягких булок"),
    ("koi8-u", "koi8_u", "Щастя, здоров’я і ґанок".replace("’", "'")),
    ("iso-8859-5", "iso8859_5", "Привет, мир"),
    ("iso-8859-7", "iso8859_7", "Καλημέρα σας"),
    ("windows-1253", "cp1253", "Καλημέρα σας"),
    ("iso-8859-8-i", "iso8859_8", "שלום וברכה"),
    ("windows-1255", "cp1255", "שלום וברכה"),
    ("windows-1256", "cp1256", "السلام عليكم"),
    ("iso-8859-9", "cp1254", "Iğdır’da şükür".replace("’", "'")),
    ("windows-1257", "cp1257", "Ačiū, labas vakaras"),
    ("windows-1258", "cp1258", "Xin chao ban"),
    ("tis-620", "cp874", "สวัสดีครับ"),
    ("gb2312", "gb18030", "您好，镕基，我的订单在哪里？"),
    ("gbk", "gbk", "您好，谢谢"),
    ("gb18030", "gb18030", "您好 😀"),
    ("big5", "big5hkscs", "您好，謝謝，請問訂單"),
    ("iso-2022-jp", "iso2022_jp", "こんにちは、注文の件です"),
    ("shift_jis", "cp932", "①こんにちは、髙橋です"),
    ("euc-jp", "euc_jp", "こんにちは"),
    ("ks_c_5601-1987", "cp949", "안녕하세요 똠방각하"),
    ("euc-kr", "euc_kr", "안녕하세요"),
    ("cp-850", "cp850", "Grüße aus DOS"),
    ("x-unknown", "utf-8", "unknown label, known letters: ß"),
    ("ansi_x3.110-1983", "cp1252", "naïve"),
    ("macintosh", "mac_roman", "Größe vom Mac"),
    ("utf-16", "utf-16", "with a byte order mark: ä"),
    ("utf-7", "utf-7", "Grüße +"),
    ("unicode", "utf-8", "called unicode, and is UTF-8: ä"),
    (None, "utf-8", "no label at all: ä €"),
    (None, "cp1252", "Schöne Grüße, größtenteils zufrieden"),
    ("zlib", "utf-8", "a codec that is no charset: ä"),
    ("", "cp1251", "Здравствуйте, когда придёт мой заказ? Спасибо большое за ответ."),
]


def charsets() -> Iterator[Row]:
    hows = ("8bit", "base64", "quoted-printable")
    for number, (label, codec, text) in enumerate(_CHARSETS):
        how = hows[number % 3] if codec != "utf-16" else "base64"
        yield Row(f"charset {label} as {codec}, {how}", encoded(text, codec, label, how), text)


def headers() -> Iterator[Row]:
    rows: list[tuple[str, str, str]] = [
        ("encoded word, Q", "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("a letter cut in two", "=?utf-8?b?4oI=?= =?utf-8?b?rA==?=", "€"),
        ("underscores", "=?iso-8859-1?Q?caf=E9_ole?= done", "café ole done"),
        ("a word within a word", "Re: x=?utf-8?q?=C3=A4?=y", "Re: xäy"),
        ("unknown charset in a word", "=?x-none?q?caf=C3=A9?=", "café"),
        ("base64 that lacks its end", "=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
        ("not a word", "a =?b?= c =?utf-8?x?y?= d", "a =?b?= c =?utf-8?x?y?= d"),
        ("bare UTF-8", "Größe", "Größe"),
        ("ISO-2022-JP", "=?ISO-2022-JP?B?GyRCQ21KOBsoQg==?=", "注文"),
        ("language in a word", "=?utf-8*de?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
    ]
    for name, written, read in rows:
        yield Row(f"subject: {name}", plain("hello", subject=written), "hello", subject=read)
    senders: list[tuple[str, str, tuple[str, str]]] = [
        ("comma in quotes", '"Ruiz, Ana" <ana@example.org>', ("ana@example.org", "Ruiz, Ana")),
        ("name in a comment", "ana@example.org (Ana Ruiz)", ("ana@example.org", "Ana Ruiz")),
        ("encoded name", "=?utf-8?q?J=C3=BCrgen?= <j@example.org>", ("j@example.org", "Jürgen")),
        ("no brackets", "Ana Ruiz ana@example.org", ("ana@example.org", "")),
        ("an open bracket", "Ana <ana@example.org", ("ana@example.org", "Ana")),
        ("address as its own name", '"ana@example.org" <ana@example.org>', ("ana@example.org", "")),
        (
            "another address as the name",
            '"boss@company.com" <ana@example.org>',
            ("ana@example.org", "boss@company.com"),
        ),
        ("escaped quotes", r'"Ana \"R\" Ruiz" <ana@example.org>', ("ana@example.org", 'Ana "R" Ruiz')),
        ("single quotes", "'Ana' <ana@example.org>", ("ana@example.org", "Ana")),
        ("international address", "<ána@exämple.org>", ("ána@exämple.org", "")),
    ]
    for name, written, mailbox in senders:
        yield Row(f"sender: {name}", plain("hello", f"From: {written}"), "hello", sender=mailbox)


def structures() -> Iterator[Row]:
    said, pdf = part("text/plain; charset=utf-8", "Hello, see above."), b"%PDF-1.4"
    page = part("text/html; charset=utf-8", "<p>Hello, see <b>above</b>.</p>")
    yield Row("alternative: the plain text", multipart("alternative", said, page), "Hello, see above.")
    yield Row(
        "alternative: an empty plain text",
        multipart("alternative", part("text/plain", "\n \n"), page),
        "Hello, see above.",
    )
    yield Row(
        "a file behind the text",
        multipart("mixed", said, part('application/pdf; name="map.pdf"', pdf)),
        "Hello, see above.",
        files=("map.pdf",),
    )
    yield Row(
        "a text as a file",
        multipart("mixed", said, part("text/plain", "file", 'Content-Disposition: attachment; filename="n.txt"')),
        "Hello, see above.",
        files=("n.txt",),
    )
    yield Row(
        "file names of RFC 2231",
        multipart(
            "mixed",
            said,
            part(
                "application/pdf",
                pdf,
                "Content-Disposition: attachment; filename*0*=UTF-8''%E2%82%AC;\n filename*1=\" rates.pdf\"",
            ),
        ),
        "Hello, see above.",
        files=("€ rates.pdf",),
    )
    yield Row(
        "a file name as an encoded word",
        multipart("mixed", said, part('application/pdf; name="=?utf-8?q?Gr=C3=B6=C3=9Fe=2Epdf?="', pdf)),
        "Hello, see above.",
        files=("Größe.pdf",),
    )
    yield Row(
        "a folder in a file name",
        multipart(
            "mixed",
            said,
            part("application/pdf", pdf, r'Content-Disposition: attachment; filename="../..\\etc/passwd"'),
        ),
        "Hello, see above.",
        files=("passwd",),
    )
    picture = part("image/png", b"\x89PNG", "Content-ID: <p1>", "Content-Disposition: inline; filename=p.png")
    yield Row(
        "related within alternative",
        multipart("alternative", said, inner("related", page, picture)),
        "Hello, see above.",
        files=("p.png",),
    )
    yield Row(
        "text on both sides of a picture",
        multipart("mixed", said, picture, part("text/plain", "Bye.")),
        "Hello, see above.\n\nBye.",
        files=("p.png",),
    )
    yield Row(
        "signed",
        multipart("signed", said, part("application/pgp-signature; name=s.asc", "x")),
        "Hello, see above.",
        files=("s.asc",),
    )
    yield Row(
        "a mail within the mail",
        multipart("mixed", said, part("message/rfc822", "Subject: old\n\nold text")),
        "Hello, see above.",
        files=("message.eml",),
    )
    yield Row(
        "nothing but a file",
        mail("QUFB", "Content-Type: application/pdf; name=a.pdf", "Content-Transfer-Encoding: base64"),
        "",
        files=("a.pdf",),
    )
    yield Row(
        "an invitation",
        multipart("mixed", said, part("text/calendar; method=REQUEST; name=i.ics", "BEGIN:VCALENDAR")),
        "Hello, see above.",
        files=("i.ics",),
    )
    flowed = "This is a paragraph that \nflows on.\n\nAnd another."
    yield Row(
        "format=flowed",
        mail(flowed, "Content-Type: text/plain; format=flowed"),
        "This is a paragraph that flows on.\n\nAnd another.",
    )
    yield Row(
        "format=flowed with delsp",
        mail("Donau \ndampf", "Content-Type: text/plain; format=flowed; delsp=yes"),
        "Donaudampf",
    )
    yield Row(
        "base64 text",
        mail(
            base64.encodebytes("Hallo, wie geht’s?".encode()),
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
        ),
        "Hallo, wie geht’s?",
    )


def pages() -> Iterator[Row]:
    rows = [
        (
            "a link",
            '<p>See <a href="https://a.example/x?y=1&amp;z">our page</a>.</p>',
            "See our page <https://a.example/x?y=1&z>.",
        ),
        ("a link that is its own text", '<a href="https://a.example/">https://a.example</a>', "https://a.example"),
        ("a script in a link", '<a href="javascript:alert(1)">click</a>', "click"),
        ("entities", "<p>5 &euro; &lt; 6 &amp; more&nbsp;x &#128512;</p>", "5 € < 6 & more x 😀"),
        ("scripts and styles", "<style>p{}</style><script>if (a<b) c()</script><p>text</p>", "text"),
        ("a list", "<p>Two:</p><ul><li>one</li><li>two</li></ul>", "Two:\n\n* one\n* two"),
        ("a table", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td><td>d</td></tr></table>", "a b\nc d"),
        ("preformatted", "<pre>a\n  b</pre>", "a\n  b"),
        ("a comment", "<!-- no --><p>yes</p><!--[if mso]>no<![endif]-->", "yes"),
        ("hidden text", '<div style="display:none">preview</div><p>text</p>', "text"),
        ("an image with a name", '<p>x <img alt="our logo" src="cid:a"></p>', "x [our logo]"),
        ("a sign of less than", "<p>1 < 2 and 3 > 2</p>", "1 < 2 and 3 > 2"),
        ("unclosed elements", "<div><p>one<p>two<div>three", "one\n\ntwo\nthree"),
        ("a head that never ends", "<html><head><title>t</title><body>text", "text"),
        ("a style that never ends", "<style>p{ <p>text", "p{\n\ntext"),
        ("no HTML at all", "just text & more", "just text & more"),
        ("everything hidden", '<div style="display:none">all of it</div>', "all of it"),
        ("a > in an attribute", '<a title="a > b" href="https://a.example/x">here</a>', "here <https://a.example/x>"),
    ]
    for name, written, read in rows:
        yield Row(f"html: {name}", html(written), read)


def malformed() -> Iterator[Row]:
    yield Row("empty", b"", "")
    yield Row("line ends only", b"\r\n\r\n\r\n", "")
    yield Row("no header", b"\r\njust a text", "just a text")
    yield Row("no body", mail("").rstrip(), "")
    yield Row("LF line ends", mail("Hello\nyou", crlf=False), "Hello\nyou")
    yield Row("CR line ends", mail("Hello\nyou", crlf=False).replace(b"\n", b"\r"), "Hello\nyou")
    yield Row("an envelope line above", b"From ana@example.org Thu Nov 26\r\n" + plain("Hello"), "Hello")
    yield Row("no Content-Type", mail("Hello ä"), "Hello ä")
    yield Row("Content-Type: text", mail("Hello", "Content-Type: text"), "Hello")
    yield Row("Content-Type: HTML", mail("<p>Hello</p>", "Content-Type: html"), "Hello")
    yield Row("an unknown encoding", mail("Hello", "Content-Transfer-Encoding: 9bit"), "Hello")
    yield Row(
        "base64 that is none",
        mail("Hello there", "Content-Transfer-Encoding: base64").replace(b"Hello there", b"SGVsbG8=\r\n\r\nnote"),
        "Hello",
        subject="Re: Your order 17",
    )
    yield Row("broken base64", mail("SGVs*bG8g!d29y bGQ", "Content-Transfer-Encoding: base64"), "Hello world")
    yield Row(
        "broken quoted-printable",
        mail(
            "Hello =zz =E4 =",
            "Content-Type: text/plain; charset=iso-8859-1",
            "Content-Transfer-Encoding: quoted-printable",
        ),
        "Hello =zz ä",
    )
    yield Row(
        "a boundary that is nowhere",
        mail("--other\n\nHello\n--other--\n", 'Content-Type: multipart/mixed; boundary="none"'),
        "Hello",
    )
    yield Row(
        "a multipart without a boundary",
        mail("--x\nContent-Type: text/plain\n\nHello\n--x--\n", "Content-Type: multipart/mixed"),
        "Hello",
    )
    yield Row("a multipart that is text", mail("Hello", 'Content-Type: multipart/mixed; boundary="b"'), "Hello")
    yield Row(
        "no closing boundary",
        mail(
            "--b\n\nHello\n--b\nContent-Type: image/png; name=a.png\n\nx", "Content-Type: multipart/mixed; boundary=b"
        ),
        "Hello",
        files=("a.png",),
    )
    yield Row("a zero byte", mail(b"Hel\x00lo"), "Hello")
    yield Row(
        "a lone surrogate",
        mail(
            "SABpANjYIQA=", "Content-Type: text/plain; charset=utf-16-le", "Content-Transfer-Encoding: base64"
        ).replace(b"SABpANjYIQA=", base64.b64encode("Hi".encode("utf-16-le") + b"\x00\xd8" + "!".encode("utf-16-le"))),
        "HiØ!",
    )
    yield Row(
        "a cut letter at the end", encoded("x" * 200, "utf-8", "utf-8").rstrip() + "ä".encode()[:1], "x" * 200 + "Ã"
    )
    yield Row(
        "a field without a colon", b"From: a@example.org\r\nnonsense\r\nSubject: s\r\n\r\nHello", "Hello", subject="s"
    )
    yield Row("a date that is none", plain("Hello", "Date: 99 Foo 99999 99:99"), "Hello")
    yield Row("no sender", plain("Hello", "From: "), "Hello")
    yield Row("two subjects", b"Subject: one\r\nSubject: two\r\n\r\nHello", "Hello", subject="one")
    yield Row("a folded subject", plain("Hello", subject="one\n two\n\tthree"), "Hello", subject="one two three")
    yield Row(
        "a letter of Word",
        html(
            '<html xmlns:o="x"><body><p class="MsoNormal"><span>Hello<o:p></o:p></span></p><p class="MsoNormal"><o:p>&nbsp;</o:p></p><p class="MsoNormal">Bye</p></body></html>'
        ),
        "Hello\n\nBye",
    )
