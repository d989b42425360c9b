"""Answers of channels in bridge.yaml: which message fits which rule, and what `dcbridge check` refuses."""

from __future__ import annotations

import pytest

from dcbridge.config.answers import AnswerRule, fitting, pieces, spoken
from dcbridge.config.models import Configuration
from dcbridge.settings.problems import ConfigurationError
from tests.config.test_routing import read


def rules(*words: str, match: str = "message") -> list[AnswerRule]:
    return [AnswerRule.model_validate({"when": [word], "say": "x", "match": match}) for word in words]


@pytest.mark.parametrize(
    ("word", "match", "text", "fits"),
    [
        ("hours", "message", "Hours", True),
        ("hours", "message", " HOURS?! ", True),
        ("hours", "message", "hours please", False),
        ("call me", "message", "Call-me.", True),
        ("call me", "message", "call me later", False),
        ("call me", "message", "callme", False),
        ("öffnungszeiten", "message", "OFFNUNGSZEITEN", True),
        ("straße", "message", "STRASSE", True),
        ("hours", "first_word", "hours on Sunday?", True),
        ("hours", "first_word", "your hours", False),
        ("call me", "first_word", "call me later", True),
        ("call me", "first_word", "call", False),
        ("hours", "first_word", "hours " + "x" * 500, True),
        ("hours", "message", "hours" + " " * 200, False),  # longer than any word is
        ("hours", "message", "", False),
        ("hours", "message", "?!", False),
        ("hours", "message", "h\ud800ours", False),
        ("時間", "message", "時間", True),
    ],
)
def test_which_message_fits(word: str, match: str, text: str, fits: bool) -> None:
    assert (fitting(rules(word, match=match), text) == 0) == fits


def test_the_first_rule_that_fits_counts() -> None:
    assert fitting(rules("a", "b", "c", match="first_word"), "b a") == 1
    assert spoken("a" * 10_000) == ("a" * 320,)


def test_a_text_falls_into_words_and_placeholders() -> None:
    said = [(one.words, one.name, one.argument) for one in pieces("About {wait:sales-wait}, {{so}} {name}.")]
    assert [one for one in said if one != ("", "", "")] == [
        ("About ", "", ""), ("", "wait", "sales-wait"), (", ", "", ""), ("{", "", ""), ("so", "", ""), ("}", "", ""),
        (" ", "", ""), ("", "name", ""), (".", "", ""),
    ]  # fmt: skip


def answers(text: str, more: str = "", provider: str = "provider: a") -> Configuration:
    return read(f"{provider}, answers: [{text}]", more)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{say: x}", "answers[0].when: is missing"),
        ("{when: [], say: x}", "answers[0].when: should not be empty"),
        ("{when: [a]}", "answers[0].say: is missing: the rule says and does nothing"),
        ("{when: ['?!'], say: x}", "answers[0].when[0]: has neither a letter nor a digit"),
        ("{when: [Stop], say: x}", "answers[0].when[0]: stands for STOP, which always wins"),
        ("{when: [opt out], say: x}", "answers[0].when[0]: stands for STOP"),
        ("{when: [info], say: x}", "answers[0].when[0]: stands for HELP"),
        ("{when: [a, A!], say: x}", "answers[0].when[1]: is a word of rule 1 as well"),
        ("{when: [a], say: x}, {when: [b, a], say: x}", "answers[1].when[1]: is a word of rule 1 as well"),
        (
            "{when: [call], match: first_word, say: x}, {when: [call me], say: x}",
            "answers[1].when[0]: begins with a word of rule 1, which has match: first_word and comes first",
        ),
        ("{when: [a], say: 'about {wiat:x}'}", "answers[0].say: has the placeholder {wiat:…}, which is not known"),
        ("{when: [a], say: 'a { b'}", "answers[0].say: has a { that is no placeholder"),
        ("{when: [a], say: 'a } b'}", "answers[0].say: has a } that is no placeholder"),
        ("{when: [a], say: ' '}", "answers[0].say: has nothing to read"),
        (f"{{when: [a], say: '{'ê' * 202}'}}", "answers[0].say: may take 4 SMS, and 3 are the most; shorten it"),
        ("{when: [a], say: x, then: halt}", "answers[0].then: should be pass or stop"),
        ("{when: [a], say: x, match: any}", "answers[0].match: should be message or first_word"),
        (", ".join(f"{{when: [w{n}], say: x}}" for n in range(21)), "answers: "),
    ],
)
def test_what_cannot_be_heard_or_said_is_refused_where_it_stands(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        answers(text)
    found = [str(problem) for problem in refused.value.problems]
    assert any(f"1.{says}" in one for one in found), found


def test_words_of_a_language_that_is_left_out_are_free() -> None:
    with pytest.raises(ConfigurationError):
        answers("{when: [baja], say: x}")
    assert answers("{when: [baja], say: x}", "consent: {languages: [en]}\n").own_channels == {"1"}


def test_an_email_channel_has_none() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read("provider: a", '  "2": {type: email, provider: post, answers: [{when: [a], say: x}]}\n')
    assert any("2.answers: is for channels of type sms; leave it out" in str(one) for one in refused.value.problems)


def test_what_is_never_said_is_worth_a_warning() -> None:
    found = answers("{when: [a], say: x, else: z}").warnings
    assert [str(one) for one in found if "is never said" in str(one)]


def test_a_channel_without_any_of_it_is_announced_as_before() -> None:
    assert read("provider: a").limits().keys() == {"1", "mail"}
    assert answers("{when: [a], say: x}").limits().keys() == {"1", "mail", "own/1"}
    assert answers("{when: [a], say: x}").limits()["own/1"] == answers("{when: [a], say: x}").limits()["1"]


SECRET = "whsec_" + "A" * 43 + "="


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{text: x, secrets: [S]}", "triggers.t.channel: is missing"),
        ("{channel: '1', secrets: [S]}", "triggers.t.text: is missing"),
        ("{channel: '1', text: x}", "triggers.t.secrets: is missing"),
        ("{channel: '1', text: x, secrets: []}", "triggers.t.secrets: should not be empty"),
        ("{channel: '1', text: x, secrets: [whsec_c2hvcnQ=]}", "triggers.t.secrets[0]: should hold 24 to 64 bytes"),
        ("{channel: '1', text: x, secrets: [a-secret-of-letters]}", "triggers.t.secrets[0]: should begin with whsec_"),
        ("{channel: '9', text: x, secrets: [S]}", "triggers.t.channel: is no channel"),
        ("{channel: mail, text: x, secrets: [S]}", "triggers.t.channel: is a channel of type email"),
        ("{channel: '1', text: '{a', secrets: [S]}", "triggers.t.text: has a { that is no placeholder: write {name}"),
        ("{channel: '1', text: '{wait:x}', secrets: [S]}", "triggers.t.text: has a placeholder {wait:…}"),
        (f"{{channel: '1', text: '{'ê' * 202}', secrets: [S]}}", "triggers.t.text: takes 4 SMS, and 3 are the most"),
        ("{channel: '1', text: x, secrets: [S], per_minute: 0}", "triggers.t.per_minute: should be at least 1"),
        ("{channel: '1', text: x, secrets: [S], tolerance: 7200}", "triggers.t.tolerance: should be at most"),
    ],
)
def test_a_trigger_that_cannot_be_called_is_refused_where_it_stands(given: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read("provider: a", f"triggers: {{t: {given.replace('S]', SECRET + ']')}}}\n")
    found = [str(problem) for problem in refused.value.problems]
    assert any(says in one for one in found), found


def test_a_trigger_makes_its_channel_one_of_own_messages() -> None:
    found = read("provider: a", f"triggers: {{t: {{channel: '1', text: 'Hi {{name}}', secrets: [{SECRET}]}}}}\n")
    assert (found.own_channels, found.triggers["t"].variables) == (frozenset({"1"}), frozenset({"name"}))
