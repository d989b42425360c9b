"""Consent in bridge.yaml: which words count, for which channels, and under which key a consumer is known."""

from __future__ import annotations

import pytest

from dcbridge.config.consent import Consent, plain_word
from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.settings.problems import ConfigurationError

CCID = "0ff723ff-6c6f-44e0-9ce3-ce579337eadd"


@pytest.mark.parametrize("place", ["channel", "provider"])
def test_a_consumer_has_one_key_in_whatever_spelling(place: str) -> None:
    account = {"kind": "vonage", "api_key": "abcd1234", "api_secret": "0123456789abcdef", "callback_secret": "x" * 32}
    channel = {"type": "sms", "provider": "acme", "number": "+441632960961"}
    (channel if place == "channel" else account)["default_region"] = "GB"
    one = Configuration.model_validate(
        {
            "public_url": "https://bridge.example.com",
            "digital_channels": {"base_url": "https://x.example.com", "contact_center_id": CCID, "api_key": "x" * 16},
            "endpoints": {"main": {"secrets": ["x" * 16]}},
            "providers": {"acme": account},
            "channels": {"0123456789": channel},
        }
    )  # fmt: skip
    spellings = ("+447911123456", "07911 123456", "447911123456", "+44 (0)7911 123456")
    assert {one.consumer_key("0123456789", written) for written in spellings} == {"447911123456"}
    assert one.consent_scopes == {"0123456789": "sender/441632960961"}


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("STOP", "stop"), (" stop.\n", "stop"), ("Stop!!! \U0001f621", "stop"), ("\u201cSTOP\u201d", "stop"),
        ("OPT OUT", "stop"), ("opt-out", "stop"), ("Stop all", "stop"), ("Arr\u00eat", "stop"), ("ARRE\u0302T", "stop"),
        ("\u505c\u6b62", "stop"), ("\u0625\u064a\u0642\u0627\u0641", "stop"),
        ("\uff33\uff34\uff2f\uff30", "stop"), ("Abmelden", "stop"),
        ("start", "start"), ("UNSTOP", "start"), ("Yes", "start"), ("help?", "help"), ("INFO", "help"),
        ("stop it", None), ("do not stop", None), ("stopp!ed", None), ("", None), ("?", None), ("\U0001f6d1", None),
        ("stop" + " " * 1000, None), ("s" * 10**6, None), ("STOP\x00", "stop"), ("\ud800", None),
    ],
)  # fmt: skip
def test_a_word_counts_alone_whatever_its_case_accents_and_punctuation(text: str, means: str | None) -> None:
    assert Consent().words().get(plain_word(text)) == means


def test_words_of_ones_own_and_a_word_of_two_meanings() -> None:
    words = Consent(languages=("en",), stop=("Ya basta!", "yes"), help=("hey",)).words()
    assert (words["yabasta"], words["yes"], words["hey"], words.get("baja")) == ("stop", "stop", "help", None)
    assert "" not in Consent(stop=("!!",)).words()


FILE = f"""\
public_url: https://bridge.example.com
digital_channels: {{base_url: "https://x.example.com/nexus/v3", contact_center_id: {CCID}}}
endpoints: {{main: {{secrets: [f3b1c7e09a5d42861]}}}}
providers:
  acme: {{kind: http, send: {{url: "https://a.example/", sms: 1, json: ["{{text}}"]}}}}
channels: {{"0123456789": {{type: sms, provider: acme, number: "+12025550123"}}}}
consent: {{answers: {{stop: ANSWER}}}}
"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a" * 160, ""),
        ("я" * 70, ""),
        ("я" * 71, "takes more than one request through acme: shorten it to one SMS"),
        ("[" * 81, "takes more than one request through acme: shorten it to one SMS"),
        ("  ", "has no text that acme could send"),
    ],
)
def test_an_answer_that_is_more_than_one_request_is_refused_at_the_start(answer: str, said: str) -> None:
    """It is sent once at most, and of two parts nobody could say which was sent."""
    text = FILE.replace("ANSWER", f'"{answer}"')
    if not said:
        assert parse(text, {}).consent.answers.stop == answer
        return
    with pytest.raises(ConfigurationError) as raised:
        parse(text, {})
    assert [str(problem) for problem in raised.value.problems] == [f"bridge.yaml:7: consent.answers.stop: {said}"]
