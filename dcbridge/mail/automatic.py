"""Mail that no person wrote just now: answers of machines, lists, bounces, and our own mail that comes back.

RFC 3834   Auto-Submitted        RFC 2919   List-Id        RFC 3464   reports of delivery
"""

from __future__ import annotations

import re
from collections.abc import Collection

from dcbridge.mail.head import Head

MOST_HOPS = 50
_OUR_ID = re.compile(r"[0-9a-f]{24}", re.ASCII)  # as every Message-ID of ours begins
_BULK = frozenset(("bulk", "junk", "list", "auto_reply", "auto-reply"))
_SUPPRESSED = re.compile(r"\b(?:all|oof|autoreply)\b", re.IGNORECASE)
_DAEMON = re.compile(
    r"(?:mailer-daemon|postmaster|mail-daemon|mdaemon|mail\.?delivery\.?(?:sub)?system|bounce[sd]?|dsn)(?:[+=-].*)?@",
    re.IGNORECASE,
)
_REPORTED = re.compile(r"multipart/report\b", re.IGNORECASE)
_AUTO_HEADERS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-mail-autoreply")
# What programs write into a subject of an automatic answer, in the languages of their users. Only at its beginning.
_AUTO_SUBJECT = re.compile(
    r"\s*\W{0,3}(?:auto(?:matic|mated)?[ -:]{0,3}(?:reply|response|respond|antwort)|out of (?:the )?office|"
    r"on (?:vacation|holiday)|"
    r"away from (?:my|the) (?:office|desk|mail)|vacation (?:reply|notice)|autoresponder|"
    r"automatische antwort|abwesenheit|abwesend|ich bin (?:nicht im büro|im urlaub)|"
    r"r[ée]ponse automatique|absence du bureau|absent du bureau|"
    r"respuesta autom[áa]tica|fuera de (?:la )?oficina|ausencia de la oficina|"
    r"risposta automatica|fuori (?:ufficio|sede)|assente dall|"
    r"resposta autom[áa]tica|fora do escrit[óo]rio|ausente do escrit|"
    r"automatisch antwoord|afwezig|niet op kantoor|"
    r"autosvar|automatiskt svar|fr[åa]nvar|automatisk svar|ikke til stede|ikke på kontoret|"
    r"odpowied[źz] automatyczna|autoodpowied|nieobecno|"
    r"automatick[áa] odpov[ěe]|mimo kancel|"
    r"автоответ|автоматический ответ|автоматична відповідь|нет на месте|"
    r"automaattinen vastaus|poissa toimistosta|poissaolo|"
    r"otomatik yan[ıi]t|ofis d[ıi][şs][ıi]nda|"
    r"automatikus v[áa]lasz|h[áa]zon k[íi]v|r[ăa]spuns automat|αυτόματη απάντηση|εκτός γραφείου|"
    r"自動応答|自動返信|不在|自动答复|自动回复|自動回覆|不在办公室|자동 회신|부재중|"
    r"תשובה אוטומטית|מענה אוטומטי|رد تلقائي|خارج المكتب)",
    re.IGNORECASE,
)


def loop(head: Head, own_domains: Collection[str]) -> str:
    """Why this is a mail of our own that came back; "" where it is none."""
    for one in head.ids("message-id"):
        ref, _, domain = one.partition("@")
        if _OUR_ID.fullmatch(ref) and domain.lower() in own_domains:
            return "sent by dcbridge"
    return "too many hops" if len(head.all("received")) > MOST_HOPS else ""


def bounce(head: Head, kind: str, envelope_from: str | None) -> str:
    """Why this comes from a mail system and says what became of one of ours; "" where it does not."""
    if kind == "multipart/report" or _REPORTED.match(head.get("content-type")):
        report = head.get("content-type").lower()
        return "disposition notification" if "disposition-notification" in report else "report"
    if "x-failed-recipients" in head:
        return "failed recipients"
    sender = head.addresses("from")[:1]
    if sender and _DAEMON.match(sender[0].id) and not _is_bulk(head):
        return "from a mail system"
    if envelope_from == "" and not automatic_header(head) and not _AUTO_SUBJECT.match(head.words("subject")):
        return "no sender in the envelope"
    return ""


def automatic(head: Head, envelope_from: str | None) -> str:
    """Why a machine wrote this; "" where a person may have."""
    if why := automatic_header(head):
        return why
    if "list-id" in head or "list-post" in head:
        return "list"
    if _is_bulk(head):
        return "bulk"
    if _AUTO_SUBJECT.match(head.words("subject")):
        return "subject of an automatic answer"
    if envelope_from == "" or head.get("return-path").strip() == "<>":
        return "no sender in the envelope"
    return ""


def automatic_header(head: Head) -> str:
    """The field that says so; "" for none."""
    said = head.get("auto-submitted").partition(";")[0].partition("(")[0].strip().lower()
    if said and said != "no":
        return "auto-submitted"
    if any(name in head for name in _AUTO_HEADERS):
        return "autoreply"
    if _SUPPRESSED.search(head.get("x-auto-response-suppress")):
        return "x-auto-response-suppress"
    return "precedence" if head.get("precedence").strip().lower() in ("auto_reply", "auto-reply") else ""


def _is_bulk(head: Head) -> bool:
    return head.get("precedence").strip().lower() in _BULK or "list-unsubscribe" in head
