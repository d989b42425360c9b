"""Phone numbers at the edge: Digital Channels' "16504661149", the providers' "+16504661149", and what people write.

What can only mean one number is read as that number, however it is written. What cannot be read is refused where it is
our own (`own_number`), and left to the provider to judge where it is a consumer's and may be an address (`recipient`):
the provider's own numbering data is newer than ours, and it gave us most of these addresses itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumber, ValidationResult

from dcbridge.errors import Refused
from dcbridge.messages import Reason

E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_WRITTEN_NUMBER = re.compile(r"\(?\+?[0-9(][0-9 ().\-/]*", re.ASCII)
_NOT_DIGITS = re.compile(r"[^0-9]", re.ASCII)
_SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9&+_\-][A-Za-z0-9 &+_\-]{0,10}", re.ASCII)
_PREFIX = re.compile(r"([a-z]{2,20}:)(.*)", re.ASCII | re.IGNORECASE)
_OPAQUE = re.compile(r"[\w.\-+@]{1,128}", re.ASCII)
_EXTENSION = re.compile(r"\bext\b|\bx[0-9]|#", re.IGNORECASE)
_QUOTATION_MARKS = frozenset("\"'`´‘’‚‛“”„‟«»‹›")
_LONGEST = 200  # characters; nothing that is written longer is cleaned
_LONGEST_NUMBER = 64  # characters; nothing that is written longer is a number
_NORTH_AMERICA = 1  # the one large plan whose numbers have had the same length for as long as they can be dialled

# Marks that nobody sees beside those of category Cf: fillers, joiners, variation selectors, an empty Braille cell.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(code) for first, last in ((0x180B, 0x1810), (0xFE00, 0xFE10), (0xE0100, 0xE01F0)) for code in range(first, last)
}


@dataclass(frozen=True, slots=True)
class Senders:
    """What messages of one kind of provider may come from, besides numbers in E.164."""

    short_codes: bool = False
    names: bool = False  # alphanumeric sender ids, which nobody can answer
    prefixes: frozenset[str] = frozenset()  # "whatsapp:", written before an address


def is_blank(text: str) -> bool:
    """True where nothing of a text can be seen: no text, white space, invisible marks."""
    return not text or all(char.isspace() or _is_unseen(char) for char in text)


def without_unseen(text: str) -> str:
    """A text without the marks that nobody sees, which come along when an address is copied from a page."""
    return text if text.isascii() else "".join(char for char in text if not _is_unseen(char))


def plain(written: str) -> str:
    """A number as it would be typed: no invisible marks, ASCII digits, one kind of space and of dash."""
    if written.isascii() or len(written) > _LONGEST:
        return written.strip()
    return "".join(map(_typed, written)).strip()


def to_e164(number: str, default_region: str | None = None) -> str:
    """A number as "+16504661149".

    Without a plus the digits are international, as Digital Channels writes them. `default_region`
    (ISO 3166, "US") reads them as a national number first. Raises Refused (530) for what cannot be
    a number that somebody outside the country can dial.
    """
    e164 = _e164(plain(number), default_region)
    if e164 is None:
        raise Refused("not a phone number", reason=Reason.INVALID_DESTINATION)
    return e164


def recipient(address: str, default_region: str | None = None, prefixes: Collection[str] = ()) -> str:
    """A consumer's address as a provider wants it: E.164, and as it is what else may be an address at the provider.

    That is a short code, the name of a sender, a number with a plus that our data does not know, and an address with
    one of the provider's `prefixes` ("whatsapp:"). Raises Refused (530) for everything else.
    """
    word = plain(address)
    prefix, rest = _prefixed(word, prefixes)
    found = _e164(rest, default_region)
    if found or (prefix and _OPAQUE.fullmatch(rest)):
        return prefix + (found or rest)
    compact = re.sub(r"[ ().\-/]", "", word)
    if re.fullmatch(r"\+[1-9][0-9]{7,14}", compact, re.ASCII) and _WRITTEN_NUMBER.fullmatch(word):
        return compact
    if not prefix and (_SHORT_CODE.fullmatch(word) or _is_name(word)):
        return word
    raise Refused("not a phone number", reason=Reason.INVALID_DESTINATION)


def sender_id(sender: str, default_region: str | None = None, prefixes: Collection[str] = ()) -> str:
    """A sender as a provider wants it: numbers as E.164; short codes and alphanumeric ids stay."""
    word = plain(sender)
    if _is_short_code(word, default_region):
        return word
    prefix, rest = _prefixed(word, prefixes)
    return prefix + (_e164(rest, default_region) or rest)


def consumer_id(given: str, default_region: str | None = None, prefixes: Collection[str] = ()) -> str:
    """What a provider calls a consumer, as Digital Channels writes it: "+16504661149" without its plus.

    The plus stays where the digits alone would be read as another number when the agent answers.
    """
    word = plain(given)
    if not _WRITTEN_NUMBER.fullmatch(word):
        return word
    digits = _NOT_DIGITS.sub("", word)
    if not word.startswith("+") and not (default_region and _is_valid(f"+{digits}")):
        return word
    try:
        same = recipient(digits, default_region, prefixes) == f"+{digits}"
    except Refused:
        same = False
    return digits if same else f"+{digits}"


def address_key(address: str, default_region: str | None = None) -> str:
    """One text for all spellings of one number, of one mailbox, or of one name."""
    word = plain(address)
    prefix, rest = _any_prefix(word)
    number = rest if _is_short_code(rest, default_region) else _e164(rest, default_region)
    if number is None and _WRITTEN_NUMBER.fullmatch(rest):
        number = _NOT_DIGITS.sub("", rest)
    digits = (number or rest).removeprefix("+")
    return prefix + (_MOBILE_MARK.sub("", digits) if number else digits.casefold())


def is_dialable(key: str) -> bool:
    """Whether an `address_key` is a number, with or without "whatsapp:", that can be dialled from another country."""
    try:
        return bool(to_e164(key.rpartition(":")[2]))
    except Refused:
        return False


@lru_cache(maxsize=8192)
def country_of(e164: str) -> str | None:
    """The country of a number, in two letters, by its country code alone where our data does not know the number; None
    for a number of no country.
    """
    parsed = _parsed(e164, None)
    if parsed is None or parsed.country_code is None:
        return None
    region = phonenumbers.region_code_for_number(parsed)
    region = region or phonenumbers.region_code_for_country_code(parsed.country_code)
    return region if region in phonenumbers.SUPPORTED_REGIONS else None


@lru_cache(maxsize=8192)
def is_expensive(e164: str) -> bool:
    """Whether a text or a call to a number may cost far more than to others: satellite phones, international networks
    and services, which are of no country, and premium-rate numbers of a country.
    """
    parsed = _parsed(e164, None)
    if parsed is None or country_of(e164) is None:
        return True
    phonenumbers.truncate_too_long_number(parsed)  # networks pay no heed to digits after a whole number
    return bool(phonenumbers.number_type(parsed) == phonenumbers.PhoneNumberType.PREMIUM_RATE)


def same_address(ours: str, theirs: str) -> bool:
    """True for two spellings of one number, or of one mailbox."""
    return address_key(ours) == address_key(theirs)


def own_number(written: str, default_region: str | None, senders: Senders) -> str:
    """A channel's own number as it is sent from: E.164, or what else `senders` allows.

    Raises ValueError, whose words say what is wrong and never the number.
    """
    word = plain(written)
    prefix, rest = _prefixed(word, senders.prefixes)
    if _is_short_code(rest, default_region):
        if not senders.short_codes:
            raise ValueError(f"is a short code, and this kind of provider has none: write a number, {_EXAMPLE}")
        return prefix + rest
    found = _e164(rest, default_region, strict=True)
    if found and not (prefix or "+" in rest or default_region or _is_certainly_international(found, rest)):
        found = None
    if found is None and not prefix and _is_name(rest) and not _spells_a_number(rest, default_region):
        if not senders.names:
            raise ValueError(f"is a name, and this kind of provider sends from numbers alone: write one, {_EXAMPLE}")
        return rest
    if found is None and prefix and _OPAQUE.fullmatch(rest) and not _WRITTEN_NUMBER.fullmatch(rest):
        return prefix + rest
    if found is None:
        raise ValueError(_why_no_number(rest, default_region, senders))
    return prefix + found


def spellings(address: str, default_region: str | None = None) -> list[str]:
    """The ways in which one address may stand in the books: as typed, international and national."""
    word = plain(address)
    found = [address.strip(), word, word.casefold()]
    prefix, rest = _any_prefix(word)
    if prefix:
        return list(dict.fromkeys([*found, *(prefix + one for one in spellings(rest, default_region))]))
    word = rest
    if "@" not in word and _WRITTEN_NUMBER.fullmatch(word):
        digits = _NOT_DIGITS.sub("", word)
        found += [digits, f"+{digits}"]
        if e164 := _e164(word, default_region):
            parsed = phonenumbers.parse(e164)
            national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
            found += [e164, e164[1:], _NOT_DIGITS.sub("", national), phonenumbers.national_significant_number(parsed)]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------- reading

# A mobile number of Mexico and of Argentina is written with and without the digit behind the country code.
# https://www.twilio.com/docs/whatsapp/key-concepts (both spellings occur in To), our data knows only the shorter of 52.
_MOBILE_MARK = re.compile(r"(?<=^52)1(?=[0-9]{10}$)|(?<=^54)9(?=[0-9]{10}$)", re.ASCII)
_NORTH_AMERICA_REGIONS = frozenset(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[_NORTH_AMERICA])
_NORTH_AMERICAN = re.compile(r"1[2-9][0-9]{9}", re.ASCII)
_MEXICAN_MOBILE = re.compile(r"521[0-9]{10}", re.ASCII)


def _is_unseen(char: str) -> bool:
    return char in _UNSEEN or unicodedata.category(char) in ("Cf", "Cc")


def _typed(char: str) -> str:
    if char.isascii():
        return char
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if "\uff01" <= char <= "\uff5e":  # the full-width forms of what is on a keyboard
        return chr(ord(char) - 0xFEE0)
    category = unicodedata.category(char)
    if category in ("Zs", "Zl", "Zp"):
        return " "
    if category == "Pd" or char == "\u2212":
        return "-"
    return "" if _is_unseen(char) else char


def _any_prefix(word: str) -> tuple[str, str]:
    found = _PREFIX.fullmatch(word)
    if found is None:
        return "", word
    prefix = found[1].lower()
    return ("" if prefix == "tel:" else prefix), found[2].strip()


def _prefixed(word: str, prefixes: Collection[str]) -> tuple[str, str]:
    """("whatsapp:", "+1…") for a prefix that the provider has, else ("", the whole of it, less "tel:")."""
    prefix, rest = _any_prefix(word)
    return (prefix, rest) if not prefix or prefix in prefixes else ("", word)


def _is_short_code(word: str, default_region: str | None) -> bool:
    """3 to 8 digits; where a country is known whose numbers are as short, such as Singapore's, they are a number."""
    if not _SHORT_CODE.fullmatch(word):
        return False
    return default_region is None or len(word) < 7 or _e164(word, default_region) is None


def _is_certainly_international(e164: str, written: str) -> bool:
    """Whether digits without a plus are no national number that looks like another country's."""
    if written.startswith("00") or (e164.startswith("+1") and len(e164) == 12):
        return True
    return _is_valid(e164)


def _is_valid(e164: str) -> bool:
    parsed = _parsed(e164, None)
    return parsed is not None and phonenumbers.is_valid_number(parsed)


def _is_name(word: str) -> bool:
    """An alphanumeric sender: 1 to 11 characters, a letter among them, and not a number with a slip in it."""
    if not _NAME.fullmatch(word) or word.startswith("+") or not re.search(r"[A-Za-z]", word, re.ASCII):
        return False
    return len(_NOT_DIGITS.sub("", word)) < 7 and not re.match(r"[0-9]{4}", word, re.ASCII)


def _spells_a_number(word: str, default_region: str | None) -> bool:
    """Whether letters stand for the digits of their keys: 1800FLOWERS."""
    if not word[:1].isdigit() or len(word) < 10:
        return False
    return _e164(phonenumbers.convert_alpha_characters_in_number(word), default_region, strict=True) is not None


def _e164(written: str, default_region: str | None, *, strict: bool = False) -> str | None:
    """`written` as `plain` leaves it; "tel:" may stand before it. `strict`: only lengths that our data knows."""
    # Before the cache, which would keep megabytes of what strangers call an address.
    return None if len(written) > _LONGEST_NUMBER else _read(written, default_region, strict)


@lru_cache(maxsize=8192)
def _read(written: str, default_region: str | None, strict: bool) -> str | None:
    if written[:4].lower() == "tel:":
        written = written[4:].strip()
    if not _WRITTEN_NUMBER.fullmatch(written):
        return None
    digits = _NOT_DIGITS.sub("", written)
    if "+" in written:
        return _international(digits, strict)
    if digits.startswith("00"):
        return _international(digits[2:], strict)
    if default_region is None or (default_region in _NORTH_AMERICA_REGIONS and _NORTH_AMERICAN.fullmatch(digits)):
        return _international(digits, strict)
    # Digital Channels writes "16504661149" also where a region is set, and a German channel must not ring Germany then.
    ways = [one for one in (_parsed(digits, default_region), _parsed(f"+{digits}", None)) if one is not None]
    for test in (phonenumbers.is_valid_number, _is_possible):
        for one in ways:
            if test(one):
                return _formatted(one)
    return _international(digits, strict)


def _international(digits: str, strict: bool) -> str | None:
    if not digits or digits[0] == "0" or len(digits) > 15:
        return None
    if _NORTH_AMERICAN.fullmatch(digits):  # to parse it would be a tenth of what a message costs, and say the same
        return f"+{digits}"
    parsed = _parsed(f"+{digits}", None)
    if parsed is None:
        return None
    if _is_possible(parsed):
        return _formatted(parsed)
    if _MEXICAN_MOBILE.fullmatch(digits):
        return f"+{digits}"
    if strict or parsed.country_code == _NORTH_AMERICA or len(digits) < 10:
        return None
    # Longer than our data knows: the plan may have grown. Too short is a slip, or a number without its country.
    reason = phonenumbers.is_possible_number_with_reason(parsed)
    return f"+{digits}" if reason in (ValidationResult.TOO_LONG, ValidationResult.INVALID_LENGTH) else None


def _parsed(number: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None


def _is_possible(parsed: PhoneNumber) -> bool:
    # is_possible_number() also says yes to a local number, which cannot be dialled from elsewhere.
    return bool(phonenumbers.is_possible_number_with_reason(parsed) == ValidationResult.IS_POSSIBLE)


def _formatted(parsed: PhoneNumber) -> str:
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


# ---------------------------------------------------------------- what is wrong

_EXAMPLE = "such as '+15557650123'"


def _why_no_number(word: str, default_region: str | None, senders: Senders) -> str:
    if not word:
        return f"is empty, or has nothing that can be seen: write the number, {_EXAMPLE}"
    if any(char in _QUOTATION_MARKS for char in word):
        return f"has a quotation mark in it: write the number in plain quotes, {_EXAMPLE}"
    if (extension := _EXTENSION.search(word)) and any(char.isdecimal() for char in word[: extension.start()]):
        return "has an extension, which no message can be sent from: leave it out"
    if re.search(r"[,;|&]|[0-9)] *(/|or|and) *[+(]?[0-9]{4}", word):
        return f"should be one number, {_EXAMPLE}; a channel has one"
    if re.match(r"[+(]*[0-9]", word) and re.search(r"[^\W\d_]", word):
        return f"has letters among its digits: write digits alone, {_EXAMPLE}"
    if not _WRITTEN_NUMBER.fullmatch(word):
        code = ", a short code" if senders.short_codes else ""
        name = (
            ", or a sender's name: at most 11 of the letters A to Z, digits, space, &, + - and _"
            if senders.names
            else ""
        )
        return f"should be a number with its country code, {_EXAMPLE}{code}{name}"
    digits = _NOT_DIGITS.sub("", word)
    if "+" not in word and digits.startswith("0") and not digits.startswith("00") and default_region is None:
        return f"has no country code: write it with one, {_EXAMPLE}, or set default_region"
    parsed = _parsed(
        f"+{digits.removeprefix('00')}" if "+" in word or digits.startswith("00") else digits, default_region
    )
    if parsed is None or "+" not in word:
        where = f"in {default_region} or with a country code" if default_region else "with a country code"
        return f"is no number {where}: write + and the country code before it, {_EXAMPLE}"
    short = phonenumbers.is_possible_number_with_reason(parsed) != ValidationResult.TOO_LONG
    return f"has too {'few' if short else 'many'} digits for a number that begins with its country code: count them"
