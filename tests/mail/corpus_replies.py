"""Replies as clients write them: quoted below, above and in between, in many languages."""

from __future__ import annotations

from collections.abc import Iterator

from tests.mail.writing import Row, html, multipart, part, plain

_OURS = "Dear Ana,\nyour parcel comes on Tuesday.\nKind regards, Company"
_QUOTED = "".join(f"> {line}\n" for line in _OURS.split("\n"))
_PAGE = "<div>Dear Ana,</div><div>your parcel comes on Tuesday.</div>"

# Attribution lines as Gmail, Apple Mail and Thunderbird write them, and "yes please" by a speaker of the language.
ATTRIBUTIONS = [
    ("English", "Yes please.", "On Wed, 25 Nov 2026 at 10:00, Company <care@company.com> wrote:"),
    (
        "English, two lines",
        "Yes please.",
        "On Wed, Nov 25, 2026 at 10:00 AM Company Customer Care Team <\ncare@company.com> wrote:",
    ),
    ("English, Thunderbird", "Yes please.", "On 25.11.26 10:00, Company wrote:"),
    ("German", "Ja, gerne.", "Am Mi., 25. Nov. 2026 um 10:00 Uhr schrieb Company <care@company.com>:"),
    ("German, Thunderbird", "Ja, gerne.", "Am 25.11.26 um 10:00 schrieb Company:"),
    ("French", "Oui, merci.", "Le mer. 25 nov. 2026 à 10:00, Company <care@company.com> a écrit :"),
    ("French, Thunderbird", "Oui, merci.", "Le 25/11/2026 à 10:00, Company a écrit :"),
    ("Spanish", "Sí, gracias.", "El mié, 25 nov 2026 a las 10:00, Company (<care@company.com>) escribió:"),
    ("Italian", "Sì, grazie.", "Il giorno mer 25 nov 2026 alle ore 10:00 Company <care@company.com> ha scritto:"),
    ("Portuguese", "Sim, obrigado.", "Em qua., 25 de nov. de 2026 às 10:00, Company <care@company.com> escreveu:"),
    ("Dutch", "Ja graag.", "Op wo 25 nov 2026 om 10:00 schreef Company <care@company.com>:"),
    ("Swedish", "Ja tack.", "Den ons 25 nov. 2026 kl 10:00 skrev Company <care@company.com>:"),
    ("Norwegian", "Ja takk.", "ons. 25. nov. 2026 kl. 10:00 skrev Company <care@company.com>:"),
    ("Danish", "Ja tak.", "Den ons. 25. nov. 2026 kl. 10.00 skrev Company <care@company.com>:"),
    ("Finnish", "Kyllä kiitos.", "ke 25. marrask. 2026 klo 10.00 Company (care@company.com) kirjoitti:"),
    ("Polish", "Tak, poproszę.", "śr., 25 lis 2026 o 10:00 Company <care@company.com> napisał(a):"),
    ("Czech", "Ano, prosím.", "st 25. 11. 2026 v 10:00 odesílatel Company <care@company.com> napsal:"),
    ("Russian", "Да, спасибо.", "ср, 25 нояб. 2026 г. в 10:00, Company <care@company.com>:"),
    ("Russian, mail.ru", "Да, спасибо.", "Среда, 25 ноября 2026, 10:00 +03:00 от Company пишет:"),
    ("Ukrainian", "Так, дякую.", "ср, 25 лист. 2026 р. о 10:00 Company <care@company.com> пише:"),
    ("Hungarian", "Igen, köszönöm.", "Company <care@company.com> ezt írta (időpont: 2026. nov. 25., Sze, 10:00):"),
    ("Romanian", "Da, mulțumesc.", "În mie., 25 nov. 2026 la 10:00, Company <care@company.com> a scris:"),
    ("Greek", "Ναι, ευχαριστώ.", "Στις Τετ 25 Νοε 2026 στις 10:00 π.μ., ο χρήστης Company <care@company.com> έγραψε:"),
    ("Turkish", "Evet, teşekkürler.", "Company <care@company.com>, 25 Kas 2026 Çar, 10:00 tarihinde şunu yazdı:"),
    ("Hebrew", "כן, תודה.", "‫בתאריך יום ד׳, 25 בנוב׳ 2026 ב-10:00 מאת Company <care@company.com>:"),
    (
        "Arabic",
        "نعم، شكرا.",
        "في الأربعاء، 25 نوفمبر 2026 في 10:00 ص تمت كتابة ما يلي بواسطة Company <care@company.com>:",
    ),
    ("Chinese", "好的，谢谢。", "Company <care@company.com> 于2026年11月25日周三 10:00写道："),
    ("Japanese", "はい、お願いします。", "2026年11月25日(水) 10:00 Company <care@company.com>:"),
    ("Korean", "네, 감사합니다.", "2026년 11월 25일 (수) 오전 10:00, Company <care@company.com>님이 작성:"),
]

# The four lines that Outlook writes above what it quotes.
HEADERS = [
    (
        "English",
        "Yes please.",
        "From: {f}\nSent: Wednesday, November 25, 2026 10:00 AM\nTo: {t}\nSubject: Your order 17",
    ),
    ("German", "Ja, gerne.", "Von: {f}\nGesendet: Mittwoch, 25. November 2026 10:00\nAn: {t}\nBetreff: Your order 17"),
    ("French", "Oui, merci.", "De : {f}\nEnvoyé : mercredi 25 novembre 2026 10:00\nÀ : {t}\nObjet : Your order 17"),
    (
        "Spanish",
        "Sí, gracias.",
        "De: {f}\nEnviado el: miércoles, 25 de noviembre de 2026 10:00\nPara: {t}\nAsunto: Your order 17",
    ),
    ("Italian", "Sì, grazie.", "Da: {f}\nInviato: mercoledì 25 novembre 2026 10:00\nA: {t}\nOggetto: Your order 17"),
    (
        "Portuguese",
        "Sim, obrigado.",
        "De: {f}\nEnviada em: quarta-feira, 25 de novembro de 2026 10:00\nPara: {t}\nAssunto: Your order 17",
    ),
    ("Dutch", "Ja graag.", "Van: {f}\nVerzonden: woensdag 25 november 2026 10:00\nAan: {t}\nOnderwerp: Your order 17"),
    ("Swedish", "Ja tack.", "Från: {f}\nSkickat: den 25 november 2026 10:00\nTill: {t}\nÄmne: Your order 17"),
    ("Danish", "Ja tak.", "Fra: {f}\nSendt: 25. november 2026 10:00\nTil: {t}\nEmne: Your order 17"),
    ("Polish", "Tak, poproszę.", "Od: {f}\nWysłano: środa, 25 listopada 2026 10:00\nDo: {t}\nTemat: Your order 17"),
    ("Russian", "Да, спасибо.", "От: {f}\nОтправлено: 25 ноября 2026 г. 10:00\nКому: {t}\nТема: Your order 17"),
    ("Turkish", "Evet.", "Kimden: {f}\nGönderildi: 25 Kasım 2026 Çarşamba 10:00\nKime: {t}\nKonu: Your order 17"),
    ("Chinese", "好的。", "发件人: {f}\n发送时间: 2026年11月25日 10:00\n收件人: {t}\n主题: Your order 17"),
    ("Japanese", "はい。", "差出人: {f}\n送信日時: 2026年11月25日 10:00\n宛先: {t}\n件名: Your order 17"),
]


def attributions() -> Iterator[Row]:
    for number, (language, said, line) in enumerate(ATTRIBUTIONS):
        yield Row(f"top-posted, {language}", plain(f"{said}\n\n{line}\n\n{_QUOTED}"), said)
        if number % 3 == 0:
            yield Row(f"bottom-posted, {language}", plain(f"{line}\n{_QUOTED}\n{said}\n"), said)
        elif number % 3 == 1:
            yield Row(f"quoted without marks, {language}", plain(f"{said}\n\n{line}\n\n{_OURS}\n"), said)


def header_blocks() -> Iterator[Row]:
    for language, said, block in HEADERS:
        block = block.format(f="Company <care@company.com>", t="Ana Ruiz <ana@example.org>")
        yield Row(f"Outlook, {language}", plain(f"{said}\n\n{'_' * 32}\n{block}\n\n{_OURS}"), said)
    marked = "-----Original Message-----\nFrom: Company\nSent: Wednesday\nTo: Ana\nSubject: x\n\n" + _OURS
    yield Row("Outlook 2003", plain(f"Yes please.\n\n{marked}"), "Yes please.")
    bold = "*From:* Company\n*Sent:* Wednesday\n*To:* Ana\n*Subject:* x\n\n" + _OURS
    yield Row("header block in asterisks", plain(f"Yes please.\n\n{bold}"), "Yes please.")


def clients() -> Iterator[Row]:
    wrote = (
        'On Wed, 25 Nov 2026 at 10:00, Company &lt;<a href="mailto:care@company.com">care@company.com</a>&gt; wrote:'
    )
    rows = [
        ("Gmail", f'<div dir="ltr">Yes please.</div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">{wrote}<br></div><blockquote class="gmail_quote" style="margin:0 0 0 .8ex;border-left:1px solid #ccc;padding-left:1ex">{_PAGE}</blockquote></div>'),
        ("Apple Mail", f'<html><body>Yes please.<br><div><br><blockquote type="cite"><div>On 25 Nov 2026, at 10:00, Company &lt;care@company.com&gt; wrote:</div><br>{_PAGE}</blockquote></div><br></body></html>'),
        ("iPhone", f'<html><body>Yes please.<br><br><div dir="ltr">Sent from my iPhone</div><div dir="ltr"><br><blockquote type="cite">On 25 Nov 2026, at 10:00, Company &lt;care@company.com&gt; wrote:<br><br></blockquote></div><blockquote type="cite">{_PAGE}</blockquote></body></html>'),
        ("Outlook for Windows", f'<div class="WordSection1"><p class="MsoNormal">Yes please.<o:p></o:p></p><p class="MsoNormal"><o:p>&nbsp;</o:p></p><div style="border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm"><p class="MsoNormal"><b>From:</b> Company &lt;care@company.com&gt; <br><b>Sent:</b> Wednesday, November 25, 2026 10:00 AM<br><b>To:</b> Ana Ruiz<br><b>Subject:</b> Your order 17<o:p></o:p></p></div>{_PAGE}</div>'),
        ("Outlook on the web", f'<div>Yes please.</div><div id="appendonsend"></div><hr style="display:inline-block;width:98%"><div id="divRplyFwdMsg" dir="ltr"><b>From:</b> Company<br><b>Sent:</b> Wednesday<br><b>To:</b> Ana<br><b>Subject:</b> x<div>&nbsp;</div></div>{_PAGE}'),
        ("Outlook for phones", f'<div>Yes please.</div><div id="ms-outlook-mobile-signature">Get <a href="https://aka.ms/x">Outlook for iOS</a></div><hr><div id="divRplyFwdMsg"><b>Von:</b> Company<br><b>Gesendet:</b> Mittwoch<br></div>{_PAGE}'),
        ("Thunderbird", f'<p>Yes please.</p><div class="moz-cite-prefix">On 25.11.26 10:00, Company wrote:<br></div><blockquote type="cite" cite="mid:x">{_PAGE}</blockquote>'),
        ("Yahoo", f'<div class="yahoo-style-wrap"><div>Yes please.</div></div><div id="yahoo_quoted_1" class="yahoo_quoted"><div>On Wednesday, 25 November 2026 at 10:00:00 CET, Company wrote:</div><div>{_PAGE}</div></div>'),
        ("Proton", f'<div>Yes please.</div><div class="protonmail_quote">On Wednesday, November 25th, 2026 at 10:00, Company wrote:<br><blockquote class="protonmail_quote" type="cite">{_PAGE}</blockquote></div>'),
        ("Roundcube", f'<p>Yes please.</p><p>On 2026-11-25 10:00, Company wrote:</p><blockquote type="cite" style="padding: 0 0.4em; border-left: #1010ff 2px solid">{_PAGE}</blockquote>'),
        ("Zoho", f'<div>Yes please.</div><div class="zmail_extra"><br>---- On Wed, 25 Nov 2026 10:00 <b>Company</b> wrote ----<br><blockquote>{_PAGE}</blockquote></div>'),
        ("K-9", f'<div>Yes please.</div><br><div class="gmail_quote">On November 25, 2026 10:00, Company wrote:<blockquote class="gmail_quote">{_PAGE}</blockquote></div>'),
        ("GMX", f'<div>Yes please.</div><div name="quote" class="gmx_quote" style="border-left: 2px solid #C3D9E5">{_PAGE}</div>'),
        ("a phone's signature", "<p>Yes please.</p><p>Von meinem iPhone gesendet</p>"),
    ]  # fmt: skip
    for name, written in rows:
        yield Row(f"client: {name}", html(f"{written}"), "Yes please.")
    yield Row(
        "client: Gmail, both kinds",
        multipart(
            "alternative",
            part("text/plain", f"Yes please.\n\n{ATTRIBUTIONS[0][2]}\n\n{_QUOTED}"),
            part("text/html", rows[0][1]),
        ),
        "Yes please.",
    )
    yield Row(
        "client: mutt",
        plain(f"On 2026-11-25 10:00, Company wrote:\n{_QUOTED}\nYes please.\n\n-- \nAna\n+34 600"),
        "Yes please.",
    )
    yield Row("a signature", plain("Yes please.\n\n-- \nAna Ruiz\nMadrid"), "Yes please.")
    yield Row(
        "dashes that are no signature", plain("Yes please.\n---\nor on Friday."), "Yes please.\n---\nor on Friday."
    )


def careful() -> Iterator[Row]:
    """Where cutting would lose what she wrote."""
    wrote = ATTRIBUTIONS[0][2]
    between = f"{wrote}\n> Tuesday or Friday?\nFriday.\n> Morning?\nYes, at 9."
    yield Row("answers in between", plain(between), between)
    yield Row("nothing but a quote", plain(f"{wrote}\n{_QUOTED}"), f"{wrote}\n{_QUOTED}".strip())
    forwarded = "See below.\n\n---------- Forwarded message ---------\nFrom: Shop <s@shop.example>\nDate: Wed, 25 Nov 2026\nSubject: Invoice\nTo: ana@example.org\n\nYour invoice."
    yield Row("forwarded by Gmail", plain(forwarded), forwarded)
    yield Row(
        "forwarded by subject",
        plain("See below.\n\nFrom: Shop\nSent: Wed\nTo: Ana\nSubject: Invoice\n\nYour invoice.", subject="FW: Invoice"),
        "See below.\n\nFrom: Shop\nSent: Wed\nTo: Ana\nSubject: Invoice\n\nYour invoice.",
    )
    colon = "My address on 25 November 2026 was:\nCalle 1\nMadrid"
    yield Row("a sentence with a colon", plain(colon), colon)
    yield Row(
        "a line that begins with On", plain("On Monday I wrote:\nnothing came."), "On Monday I wrote:\nnothing came."
    )
    yield Row("From: in a form", plain("From: Madrid\nI want to go home."), "From: Madrid\nI want to go home.")
    yield Row("an emoji alone", plain(f"👍\n\n{wrote}\n\n{_QUOTED}"), "👍")
    yield Row("one letter", plain(f"y\n\n{wrote}\n\n{_QUOTED}"), "y")
    yield Row("a signature alone", plain("-- \nAna"), "-- \nAna")
    yield Row(
        "indented by herself",
        html("<p>My order:</p><blockquote>17 apples</blockquote><p>Thanks</p>"),
        "My order:\n\n17 apples\n\nThanks",
    )
    yield Row("a greater-than sign", plain("5 > 3\n> 3 is what I meant"), "5 > 3")
