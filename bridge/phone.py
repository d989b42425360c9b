"""Phone numbers at the edge: Digital Channels' "16504661149" and the providers' "+16504661149"."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

from bridge.errors import Refused
from bridge.messages import Reason

_WRITTEN_NUMBER = re.compile(r"\+?[0-9(][0-9 ().\-/]*", re.ASCII)
_NOT_DIGITS = re.compile(r"[^0-9]", re.ASCII)
E164 = re.compile(r"\+[1-9][0-9]{1,14}", re.ASCII)
_SHORT_CODE = re.compile(r"[0-9]{3,8}", re.ASCII)


def to_e164(number: str, default_region: str | None = None) -> str:
    """A recipient's number as "+16504661149".

    Without a plus the digits are international, as Digital Channels writes them. `default_region`
    (ISO 3166, "US") reads them as a national number first. Raises Refused (530) for what cannot be
    a number that somebody outside the country can dial.
    """
    e164 = _e164(number, default_region)
    if e164 is None:
        raise Refused("not a phone number", reason=Reason.INVALID_DESTINATION)
    return e164


def sender_id(sender: str, default_region: str | None = None) -> str:
    """A sender as a provider wants it: numbers as E.164; short codes and alphanumeric ids stay."""
    if _SHORT_CODE.fullmatch(sender):
        return sender
    return _e164(sender, default_region) or sender


def from_e164(number: str) -> str:
    """A provider's "+16504661149" as Digital Channels writes it, without the plus; anything else stays."""
    digits = number.removeprefix("+")
    return digits if digits.isascii() and digits.isdigit() else number


def same_address(ours: str, theirs: str) -> bool:
    """True for two spellings of one number, or of one mailbox."""
    return from_e164(ours.strip()).casefold() == from_e164(theirs.strip()).casefold()


@lru_cache(maxsize=4096)
def _e164(number: str, default_region: str | None) -> str | None:
    written = number.strip()
    if not _WRITTEN_NUMBER.fullmatch(written):
        return None
    digits = _NOT_DIGITS.sub("", written)
    if not written.startswith("+") and digits.startswith("00"):
        written = "+" + digits[2:]
    if default_region and not written.startswith("+"):
        national = _possible(digits, default_region)
        if national is not None:
            return national
    return _possible("+" + _NOT_DIGITS.sub("", written), None)


def _possible(number: str, region: str | None) -> str | None:
    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None
    # is_possible_number() also says yes to a local number, which cannot be dialled from elsewhere.
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
