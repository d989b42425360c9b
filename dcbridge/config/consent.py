"""Opt-outs: which words a consumer stops and starts messages with, and for which channels dcbridge keeps to them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from dcbridge.settings.types import Model

ConsentWord = Literal["stop", "start", "help"]
Language = Literal["en", "fr", "de", "es", "pt", "it", "nl", "sv", "da", "no", "pl", "ja", "ar"]

LONGEST = 40  # letters of a message that may be such a word; the words are shorter

# STOP and its like: https://help.twilio.com/articles/223134027, https://docs.aws.amazon.com/sms-voice/latest/userguide/
# keywords-required.html, 47 CFR 64.1200(a)(10). Those of other languages are usual there and in no rule.
_STOP: Mapping[Language, str] = {
    "en": "stop stopall end quit cancel unsubscribe revoke optout remove",
    "fr": "stop arret arreter desabonner",
    "de": "stop stopp abmelden",
    "es": "stop baja alto parar",
    "pt": "stop sair parar cancelar",
    "it": "stop ferma annulla",
    "nl": "stop afmelden",
    "sv": "stop stopp avsluta",
    "da": "stop stopp afmeld",
    "no": "stop stopp avslutt",
    "pl": "stop rezygnuje",
    "ja": "stop 停止",
    "ar": "stop ايقاف",
}
_START = "start unstop yes"
_HELP = "help info aide hilfe ayuda"

Word = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]


Answer = Annotated[str, StringConstraints(min_length=1, max_length=160)]


class Answers(Model):
    """What a consumer is answered, by a provider that sends no such answers itself; at most one for each word."""

    stop: Answer | None = Field(None, description="The answer to STOP; it should name you, and say how to start again.")
    start: Answer | None = Field(None, description="The answer to START.")
    help: Answer | None = Field(None, description="The answer to HELP: who you are, and how to stop.")


class Consent(Model):
    """What follows from a consumer's STOP."""

    enforce: Literal["auto", "always", "never"] = Field(
        "auto",
        description="For which sms channels dcbridge keeps opt-outs: auto, where the provider does not do it itself;"
        " always; never.",
    )
    scope: Literal["sender", "channel", "brand"] = Field(
        "sender",
        description="What an opt-out counts for: the number that it was sent to, the channel, or all channels.",
    )
    languages: tuple[Language, ...] = Field(
        tuple(_STOP),
        description="Languages whose words for STOP are recognised.",
        json_schema_extra={"default": "all that are known"},
    )
    stop: tuple[Word, ...] = Field((), description="More words that stop messages.")
    start: tuple[Word, ...] = Field((), description="More words that start them again.")
    help: tuple[Word, ...] = Field((), description="More words that ask for help.")
    answers: Answers = Field(Answers(), description="What dcbridge answers, where the provider does not.")

    def words(self) -> dict[str, ConsentWord]:
        """Each word as `plain_word` writes it. A word of two meanings stops."""
        found: dict[str, ConsentWord] = {}
        for meaning, known, more in (
            ("help", _HELP, self.help),
            ("start", _START, self.start),
            ("stop", " ".join(_STOP[language] for language in self.languages), self.stop),
        ):
            said: ConsentWord = meaning  # type: ignore[assignment]  # one of the three above
            found |= dict.fromkeys([plain_word(word) for word in (*known.split(), *more)], said)
        found.pop("", None)
        return found


def plain_word(text: str) -> str:
    """A message that is one word, as it is compared: letters and digits alone, without case and accents; else ""."""
    if len(text) > 4 * LONGEST:
        return ""
    letters = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", letters) if letter.isalnum())
    return plain if len(plain) <= LONGEST else ""
