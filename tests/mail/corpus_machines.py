"""Mail of machines: automatic answers, lists, and the bounces of mail systems."""

from __future__ import annotations

from collections.abc import Iterator

from dcbridge.mail.reader import Kind
from tests.mail.writing import Row, mail, multipart, part, plain


def automatic() -> Iterator[Row]:
    away = "I am away until Monday."
    rows: list[tuple[str, list[str], str]] = [
        ("RFC 3834", ["Auto-Submitted: auto-replied"], "Re: x"),
        ("generated", ["Auto-Submitted: auto-generated (failure)"], "x"),
        ("Exchange", ["X-Auto-Response-Suppress: All", "Auto-Submitted: auto-generated"], "Automatic reply: x"),
        ("Exchange, without the field of the standard", ["X-Auto-Response-Suppress: DR, OOF, AutoReply"], "x"),
        ("Gmail's responder", ["Precedence: bulk", "X-Autoreply: yes"], "Re: x"),
        ("vacation(1)", ["Precedence: bulk"], "away from my mail"),
        ("cPanel", ["X-Autorespond: x"], "Re: x"),
        ("Precedence: auto_reply", ["Precedence: auto_reply"], "Re: x"),
        ("a newsletter", ["List-Unsubscribe: <https://l.example/u>", "List-Id: <n.l.example>"], "News"),
        ("a mailing list", ["List-Id: Talk <talk.lists.example.org>", "Precedence: list"], "[talk] x"),
        ("Precedence: junk", ["Precedence: junk"], "x"),
        ("German subject", [], "Automatische Antwort: Ihre Bestellung"),
        ("German subject, absent", [], "Abwesenheitsnotiz: Ihre Bestellung"),
        ("French subject", [], "Réponse automatique : votre commande"),
        ("Spanish subject", [], "Respuesta automática: su pedido"),
        ("Italian subject", [], "Risposta automatica: ordine"),
        ("Portuguese subject", [], "Resposta automática: pedido"),
        ("Dutch subject", [], "Automatisch antwoord: bestelling"),
        ("Swedish subject", [], "Autosvar: order"),
        ("Polish subject", [], "Odpowiedź automatyczna: zamówienie"),
        ("Russian subject", [], "Автоответ: заказ"),
        ("Turkish subject", [], "Otomatik Yanıt: sipariş"),
        ("Japanese subject", [], "自動応答: ご注文"),
        ("Chinese subject", [], "自动答复: 订单"),
        ("Return-Path: <>", ["Return-Path: <>", "Auto-Submitted: auto-replied"], "Re: x"),
    ]
    for name, fields, subject in rows:
        yield Row(f"automatic: {name}", plain(away, *fields, subject=subject), away, kind=Kind.AUTOMATIC)
    yield Row("a person who says no", plain("Hello", "Auto-Submitted: no"), "Hello")
    yield Row(
        "a person who writes of a vacation", plain("Hello", subject="My vacation and your out of office"), "Hello"
    )
    yield Row(
        "our own mail", plain("Hello", "Message-ID: <0123456789abcdef01234567@company.com>"), "Hello", kind=Kind.LOOP
    )
    yield Row(
        "the same id at another domain", plain("Hello", "Message-ID: <0123456789abcdef01234567@other.example>"), "Hello"
    )


_STATUS = (
    "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; ana@example.org\nAction: failed\nStatus: 5.1.1\n"
)
_RETURNED = "Message-ID: <0123456789abcdef01234567@company.com>\nSubject: Your order 17\nTo: ana@example.org\n\nHello"


def bounces() -> Iterator[Row]:
    report = 'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b1"'
    daemons = [
        ("Postfix", "MAILER-DAEMON@mx.example.org (Mail Delivery System)", "Undelivered Mail Returned to Sender"),
        (
            "Sendmail",
            "Mail Delivery Subsystem <MAILER-DAEMON@mx.example.org>",
            "Returned mail: see transcript for details",
        ),
        ("Exchange", "postmaster@example.org", "Undeliverable: Your order 17"),
        ("Microsoft 365", "postmaster@example.onmicrosoft.com", "Undeliverable: Your order 17"),
        ("Gmail", "Mail Delivery Subsystem <mailer-daemon@googlemail.com>", "Delivery Status Notification (Failure)"),
        ("Amazon SES", "MAILER-DAEMON@amazonses.com", "Delivery Status Notification (Failure)"),
        ("OpenSMTPD", "Mailer Daemon <MAILER-DAEMON@mx.example.org>", "Delivery status notification: error"),
        (
            "Oracle Messaging Server",
            "Internet Mail Delivery <postmaster@example.org>",
            "Delivery Notification: Delivery has failed",
        ),
    ]
    body = (
        "".join(
            f"--=_b1\n{one}\n"
            for one in (
                part("text/plain", "It failed."),
                part("message/delivery-status", _STATUS),
                part("message/rfc822", _RETURNED),
            )
        )
        + "--=_b1--\n"
    )
    for name, sender, subject in daemons:
        yield Row(
            f"bounce: {name}",
            mail(body, report, f"From: {sender}", "Auto-Submitted: auto-replied", subject=subject),
            "It failed.",
            kind=Kind.BOUNCE,
            files=("file-1.status", "message.eml"),
            envelope_from="",
        )
    qmail = (
        "Hi. This is the qmail-send program at example.org.\n\n<ana@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\n"
        + _RETURNED
    )
    yield Row(
        "bounce: qmail",
        plain(qmail, "From: MAILER-DAEMON@example.org", subject="failure notice"),
        qmail,
        kind=Kind.BOUNCE,
        envelope_from="",
    )
    exim = "This message was created automatically by mail delivery software.\n\n  ana@example.org\n    host mx [1.2.3.4]: 550 5.1.1 no such user"
    yield Row(
        "bounce: Exim",
        plain(
            exim,
            "From: Mail Delivery System <Mailer-Daemon@example.org>",
            "X-Failed-Recipients: ana@example.org",
            "Auto-Submitted: auto-replied",
            subject="Mail delivery failed: returning message to sender",
        ),
        exim,
        kind=Kind.BOUNCE,
        envelope_from="",
    )
    yield Row(
        "bounce: a gateway in plain text",
        plain("Recipient unknown.", "From: postmaster@gateway.example", subject="Nondeliverable mail"),
        "Recipient unknown.",
        kind=Kind.BOUNCE,
    )
    yield Row(
        "bounce: nobody in the envelope",
        plain("Your mail was not delivered.", subject="Mail status"),
        "Your mail was not delivered.",
        kind=Kind.BOUNCE,
        envelope_from="",
    )
    read = multipart(
        "report",
        part("text/plain", "It was read."),
        part("message/disposition-notification", "Disposition: manual-action/MDN-sent-manually; displayed"),
        fields=(),
    )
    yield Row("a note that it was read", read, "It was read.", kind=Kind.BOUNCE, files=("file-1.notification",))
