"""Bytes of a mail as text: whatever charset they claim, never an exception, and no character lost.

A label often names a part of what is used: Windows' letters under iso-8859-1, GBK's under gb2312, the extension of
EUC-KR under ks_c_5601-1987. So the larger set stands behind the label, as in
https://encoding.spec.whatwg.org/#names-and-labels.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

LONGEST_GUESSED = 20_000  # bytes that a guess looks at

_LABELS = {
    "cp1252": "iso-8859-1 iso_8859-1 iso8859-1 iso88591 latin1 l1 ascii us-ascii ansi_x3.4-1968 ansi_x3.110-1983 cp819"
    " windows-1252 x-cp1252 cp-1252 8bit",
    "gb18030": "gb2312 gb_2312-80 gb_2312 csgb2312 gbk x-gbk cp936 windows-936 chinese",
    "cp949": "ks_c_5601-1987 ks_c_5601 ks_c_5601-1989 ksc5601 ksc_5601 euc-kr euckr windows-949 korean uhc",
    "cp932": "shift_jis shift-jis x-sjis sjis ms_kanji windows-31j windows-932 csshiftjis",
    "big5hkscs": "big5 big5-hkscs x-x-big5 cn-big5 cp950 windows-950",
    "iso2022_jp_ext": "iso-2022-jp csiso2022jp iso-2022-jp-ms iso-2022-jp-1 cp50220 cp50221",
    "euc_jp": "euc-jp eucjp x-euc-jp x-euc",
    "iso8859_8": "iso-8859-8 iso-8859-8-i iso-8859-8-e logical visual",
    "iso8859_6": "iso-8859-6 iso-8859-6-i iso-8859-6-e arabic asmo-708",
    "cp1254": "iso-8859-9 iso8859-9 latin5 windows-1254",
    "cp874": "iso-8859-11 tis-620 tis620 windows-874 dos-874",
    "mac_roman": "x-mac-roman macintosh mac",
    "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp850": "cp-850 ibm850 ibm-850",
    "cp437": "cp-437 ibm437",
    "utf-8": "utf8 utf-8-mac utf8mb4 unicode-1-1-utf-8 x-unicode20utf8 cp65001",
    "utf-7": "utf7 unicode-1-1-utf-7 csunicode11utf7",
    "utf-16": "unicode ucs-2 iso-10646-ucs-2",
    "koi8-u": "koi8-ru",
    "koi8-r": "koi8 koi8_r koi",
}
_ALIASES = {label: codec for codec, labels in _LABELS.items() for label in labels.split()}
# Codecs of the standard library that are no charsets, or slow, are none of these.
_CHARSETS = re.compile(
    r"(?:iso|windows|cp|koi8|gb|hz|big5|euc|shift|utf|mac|ibm|tis|johab|ptcp|kz|latin)[a-z0-9_.-]{0,20}"
)
_SINGLE_BYTE = re.compile(r"(?:cp(?!9[345]|65)|iso8859|koi8|mac|latin|kz|ptcp)")

# What clients that give no label send; the guess is between these.
_GUESSES = [
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp932", "euc_jp", "gb18030", "big5",
    "cp949", "cp874",
]  # fmt: skip
_WESTERN = frozenset("àâäáãåæçèéêëìíîïñòóôõöøùúûüýÿœßÀÂÄÁÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒ€…‘’“”„‚–—•«»°§£©®¿¡\xa0´")


def decode(raw: bytes, label: str = "") -> str:
    """By its label, else as UTF-8, else by a guess, else as Windows-1252. Line ends stay as they are."""
    codec = known(label) if label else ""
    if raw.isascii() and b"\x1b" not in raw and codec in ("", "utf-8", "cp1252"):
        return raw.decode("ascii")
    if raw.startswith(codecs.BOM_UTF8):
        raw, codec = raw[3:], "utf-8"
    elif raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        codec = "utf-16"
    elif not codec and b"\x1b$" in raw and raw.isascii():
        codec = "iso2022_jp_ext"
    # Text in one byte a letter is not valid UTF-8 by chance, beyond a word or two; nor is UTF-16 without a zero byte.
    utf8_first = not codec or _SINGLE_BYTE.match(codec) or (codec.startswith("utf-16") and 0 not in raw)
    for each in ("utf-8", codec) if utf8_first else (codec, "utf-8"):
        if each and (text := _strictly(raw, each)) is not None:
            return text
    if (text := _mostly(raw, codec or "utf-8")) is not None:
        return text
    return raw.decode(_guess(raw), _LATIN)


@lru_cache(maxsize=256)
def known(label: str) -> str:
    """The codec behind a label; "" for none."""
    word = label.strip(" \t\r\n\"'").lower().removeprefix("charset=").partition("*")[0][:60]
    codec = _ALIASES.get(word) or _ALIASES.get(word.replace("_", "-"))
    if codec is None and _CHARSETS.fullmatch(word):
        try:
            codec = codecs.lookup(word).name
        except (LookupError, ValueError):
            return ""
        codec = _ALIASES.get(codec, codec)
    return codec or ""


def _strictly(raw: bytes, codec: str) -> str | None:
    try:
        return raw.decode(codec)
    except (UnicodeError, LookupError, ValueError):
        return None


def _mostly(raw: bytes, codec: str) -> str | None:
    """The text where a byte in fifty at most is wrong; each of these stands as one letter."""
    try:
        wrong = raw.decode(codec, "replace").count("\ufffd")
        return raw.decode(codec, _LATIN) if wrong * 50 <= max(len(raw), 100) else None
    except (UnicodeError, LookupError, ValueError):
        return None


def _guess(raw: bytes) -> str:
    sample = raw[:LONGEST_GUESSED]
    high = [char for char in sample.decode("cp1252", _LATIN) if not char.isascii()]
    if len(high) * 4 < len(sample) and _WESTERN.issuperset(high):
        return "cp1252"
    from charset_normalizer import from_bytes  # which takes 20 ms to load, and mail without a label is rare

    found = from_bytes(sample, steps=5, chunk_size=512, cp_isolation=_GUESSES, preemptive_behaviour=False).best()
    return found.encoding if found is not None else "cp1252"


def _as_latin(error: UnicodeError) -> tuple[str, int]:
    """Bytes that mean nothing in their charset, each as a letter, so that none is lost."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


_LATIN = "dcbridge.latin"
codecs.register_error(_LATIN, _as_latin)
