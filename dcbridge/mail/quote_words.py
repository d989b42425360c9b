"""How mail clients introduce what they quote, by language: "On … wrote:", header blocks, signatures of phones.

Each client writes these lines itself; they are collected from what clients send.
"""

from __future__ import annotations

import re

# Openers of an attribution, and the verb before its colon. Most lines have an address and a time as well, and are
# recognised by these in any language (`ATTRIBUTION_SHAPE`).
_ATTRIBUTIONS = (
    r"On\b.{3,300}\b(?:wrote|writes)",
    r"Am\b.{3,300}\b(?:schrieb|hat .{0,100}geschrieben)\b.{0,150}",
    r".{2,150}\bschrieb am\b.{3,150}",
    r"Le\b.{3,300}\ba [ée]crit",
    r"(?:El|En)\b.{3,300}\bescribi[óo]",
    r"(?:Il|In data|Alle)\b.{3,300}\b(?:ha scritto|scrive)",
    r"(?:Em|A|No dia|Às?|On)\b.{3,300}\bescreveu",
    r"Op\b.{3,300}\b(?:schreef|geschreven)\b.{0,150}",
    r"(?:Den|Fr|[a-zåäö]{3,7}\.? ?(?:den)?)\b.{3,300}\bskrev\b.{0,150}",
    r".{3,200}\bskrev den\b.{3,100}",
    r".{3,300}\b(?:napisał|napisała|napisał\(a\)|pisze)",
    r".{3,300}\b(?:napsal|napsala|napsal\(a\)|napísal)",
    r".{3,300}\b(?:пишет|написал|написала|написал\(а\)|писал\(а\)|пише|написав|написала)",
    r".{3,300}\bkirjoitti",
    r".{3,300}\b(?:yazdı|şunları yazdı|şunu yazdı)",
    r".{3,300}\b(?:ezt írta|írta)\b.{0,100}",
    r".{3,300}\ba scris",
    r".{3,300}\bέγραψε",
    r".{3,300}(?:のメール|は書きました|さんは書きました|wrote)",
    r".{3,300}(?:写道|寫道|写到)",
    r".{3,300}(?:작성|님이 작성)",
    r".{3,300}(?:כתב/ה|כתב|כתבה|מאת)",
    r".{3,300}(?:كتب|كتبت)",
)
ATTRIBUTION = re.compile(rf"\W{{0,3}}(?:{'|'.join(_ATTRIBUTIONS)})\s*[:：]\s*", re.IGNORECASE)
ATTRIBUTION_SHAPE = re.compile(r"(?=.{0,300}<[^<>\s]{1,120}@[^<>\s]{1,120}>)(?=.{0,300}\d).{5,380}[:：]\s*")
_DATED = re.compile(r"\d{1,2}[:.h]\d{2}|\b20\d\d\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")


def is_attribution(line: str) -> bool:
    """Whether a line, or a few put together, introduces a quote."""
    if len(line) > 400 or not line.rstrip().endswith((":", "：")):
        return False
    if ATTRIBUTION_SHAPE.fullmatch(line):
        return bool(_DATED.search(line))
    return bool(ATTRIBUTION.fullmatch(line)) and bool(re.search(r"\d", line))


# The fields of a header as mail programs translate them.
_FROM = (
    "From|Von|De|Da|Van|Från|Fra|Od|Lähettäjä|Kimden|Gönderen|Feladó|De la|Odesílatel|Expéditeur|Mittente|Remitente|"
    "От|От кого|Від|Από|差出人|送信者|发件人|寄件者|寄件人|보낸 사람|מאת|من"
)
_OTHERS = (
    "Sent|Date|Gesendet|Datum|Envoyé|Envoyé le|Enviado|Enviado el|Enviada em|Fecha|Data|Inviato|Verzonden|Skickat|"
    "Sendt|Dato|Wysłano|Data wysłania|Odesláno|Päivä|Päiväys|Lähetetty|Tarih|Gönderildi|Dátum|Elküldve|Trimis|Дата|"
    "Отправлено|Надіслано|Ημερομηνία|Στάλθηκε|送信日時|日付|发送时间|日期|寄件日期|傳送時間|보낸 날짜|날짜|תאריך|נשלח|"
    "التاريخ|تاريخ الإرسال",
    "To|An|À|A|Para|Per|Aan|Till|Til|Do|Komu|Vastaanottaja|Kime|Alıcı|Címzett|Către|Destinataire|Destinatario|Кому|"
    "Προς|宛先|收件人|收件者|받는 사람|받는사람|אל|إلى",
    "Subject|Betreff|Objet|Asunto|Oggetto|Assunto|Onderwerp|Ämne|Emne|Temat|Předmět|Aihe|Konu|Tárgy|Subiect|Тема|Θέμα|"
    "件名|主题|主旨|제목|נושא|الموضوع",
)


def _key(words: str) -> re.Pattern[str]:
    return re.compile(rf"[*_ ]{{0,3}}(?:{words})[ *_\xa0]{{0,3}}[:：].{{0,500}}", re.IGNORECASE)


_FROM_LINE = _key(_FROM)
_OTHER_LINES = [_key(words) for words in _OTHERS]


def begins_header_block(lines: list[str]) -> bool:
    """Whether these lines begin with the header of a mail, as Outlook writes it above what it quotes."""
    if not lines or not _FROM_LINE.fullmatch(lines[0].strip()[:600]):
        return False
    following = [line.strip()[:600] for line in lines[1:8] if line.strip()][:5]
    return sum(any(map(pattern.fullmatch, following)) for pattern in _OTHER_LINES) >= 2


# "-----Original Message-----" in whatever language: a line of dashes around a few words.
MARKER = re.compile(r"[>\s]{0,10}[-_]{3,40}\s{0,3}[^\s_-][^_-]{2,60}\s{0,3}[-_]{3,40}\s{0,5}")
RULE = re.compile(r"\s{0,5}_{20,120}\s{0,5}")
FORWARDED = re.compile(
    r"forward|weitergeleitet|weiterleitung|transf[ée]r|reenviad|inoltrat|encaminhad|doorgestuurd|vidarebefordra|"
    r"videresend|przekazan|p[řr]eposlan|välitet|iletil|továbbít|redirecționat|пересл|пересыл|προωθ|転送|转发|轉寄|전달|"
    r"הועבר|معاد توجيه",
    re.IGNORECASE,
)
FORWARD_SUBJECT = re.compile(
    r"\s*(?:fwd?|wg|tr|rv|i|enc|vs|vb|pd|doorst|転送|转发|轉寄|переслано)\s*[:：]", re.IGNORECASE
)

SIGNATURE = re.compile(r"-- ?")
PHONE_SIGNATURE = re.compile(
    r"(?:Sent from (?:my|Mail|Yahoo|Outlook|AOL|Proton|Samsung)|Get Outlook for|Gesendet von|"
    r"Von meinem .{1,40}gesendet|Diese Nachricht wurde von meinem|Envoyé (?:de mon|depuis|à partir)|"
    r"Télécharger Outlook|Enviado (?:desde|do|de) |Obtener Outlook|Obter o Outlook|"
    r"Inviato da|Scarica Outlook|Verzonden (?:vanaf|met|vanuit)|Verstuurd vanaf|"
    r"Skickat från|Sendt fra|Wysłane z|Odesláno z|Отправлено с|Надіслано з|Lähetetty |iPhone'umdan|iPhone’umdan|"
    r"iPhoneから送信|从我的 ?iPhone|發自我的|发自我的|나의 iPhone에서 보냄|iPad에서 보냄|נשלח מה).{0,120}",
    re.IGNORECASE,
)
