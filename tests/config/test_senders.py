"""From which number a message goes: the choice as a table, and what bridge.yaml may say about it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest
import yaml

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.config.senders import Choice, Country, Sender, choose, fits, mark_of
from dcbridge.errors import Refused
from dcbridge.messages import Reason
from dcbridge.providers.base import Template
from dcbridge.settings.problems import ConfigurationError

A, B, DE, ONLY_B = "+15557650101", "+15557650102", "+4915112345678", "+15557650103"
ANA, FRITZ, PIERRE, RAVI, LI, JEAN = (
    "12025550123", "4915198765432", "33612345678", "919812345678", "8613812345678", "15145550123"
)  # fmt: skip
POOL = (
    Sender(number=A), Sender(number=B), Sender(number=DE, countries=("DE", "AT")), Sender(number=ONLY_B, provider="b")
)  # fmt: skip
ORDER = "Dear {#var#}, your order {#var#} is ready."
RULES = {
    "FR": Country(sender="ACME"),
    "GB": Country(sender="ACME", always=True),
    "CN": Country(refuse=True),
    "IN": Country(sender="ACMEIN", entity_id="1601", templates=({"id": "1707", "text": ORDER},)),
    "US": Country(),
}
CLOSED = {"US": Country(), "others": Country(refuse=True)}


def chosen(to: str, kept: str = "-", text: str = "Hello", **given: Any) -> Choice:
    wanted: dict[str, Any] = {
        "senders": POOL, "by_country": RULES, "usual": None, "provider": "a", "region": None, **given
    }  # fmt: skip
    return choose(wanted.pop("senders"), wanted.pop("by_country"), to=to, kept=kept, text=text, **wanted)


def wrote(number: str) -> str:
    return f"w{mark_of(number)}"


def sent(number: str) -> str:
    return f"s{mark_of(number)}"


@pytest.mark.parametrize(
    ("to", "kept", "number", "why"),
    [
        (ANA, wrote(B), B, "wrote"),
        (ANA, wrote(A), A, "wrote"),
        (ANA, wrote(DE), DE, "wrote"),  # of another country: she wrote to it
        (ANA, sent(B), B, "kept"),
        (ANA, sent(A), A, "kept"),
        (FRITZ, "-", DE, "pool"),
        (FRITZ, sent(A), DE, "pool"),  # what was sent before is for no country that has a number of its own
        (FRITZ, wrote(A), A, "wrote"),
        (PIERRE, "-", "ACME", "country"),
        (PIERRE, sent(A), "ACME", "country"),
        (PIERRE, wrote(A), A, "wrote"),
        ("447400123456", wrote(A), "ACME", "country"),
        ("447700900123", "-", "ACME", "country"),  # a number that nobody has
        ("+33 6 12 34 56 78", "-", "ACME", "country"),
        (ANA, wrote("+15550000000"), None, "pool"),  # a number that the pool had once
        (ANA, sent(DE), None, "pool"),
        (ANA, sent(ONLY_B), None, "pool"),  # of another provider
        (ANA, "w", None, "pool"),
        (ANA, "x" * 200, None, "pool"),
        ("12345", "-", None, "pool"),  # of no country
        ("x", "-", None, "pool"),
    ],
)
def test_which_number_a_message_goes_from(to: str, kept: str, number: str | None, why: str) -> None:
    choice = chosen(to, kept)
    assert choice.why == why
    assert choice.number == (number or choice.number)
    assert choice.number in (A, B, DE, "ACME")
    assert choice == chosen(to, kept)
    if why == "pool" and to != FRITZ:
        assert choice.number in (A, B)
    assert choice.words == f"{why[0]} {choice.mark or '-'} {choice.number}"
    assert choice.mark == ("" if why == "country" else mark_of(str(choice.number)))


def test_a_number_of_one_provider_is_used_there() -> None:
    assert chosen(ANA, wrote(ONLY_B), provider="b").number == ONLY_B
    assert {chosen(f"1202555{n:04}", provider="b").number for n in range(100)} == {A, B, ONLY_B}
    assert {chosen(f"1202555{n:04}", provider="a").number for n in range(100)} == {A, B}


def test_consumers_are_spread_by_weight_and_stay_where_they_are_when_the_pool_grows() -> None:
    two = (Sender(number=A), Sender(number=B, weight=3))
    three = (*two, Sender(number=ONLY_B, weight=4))
    consumers = [f"1202{n:07}" for n in range(1000)]
    before = {one: chosen(one, senders=two, by_country={}).number for one in consumers}
    after = {one: chosen(one, senders=three, by_country={}).number for one in consumers}
    assert 0.21 < Counter(before.values())[A] / 1000 < 0.29
    assert 0.45 < Counter(after.values())[ONLY_B] / 1000 < 0.55
    assert all(after[one] in (before[one], ONLY_B) for one in consumers)


@pytest.mark.parametrize(
    ("to", "given", "code"),
    [
        (LI, {}, "country CN is refused"),
        (LI, {"kept": wrote(A)}, "country CN is refused"),
        (PIERRE, {"by_country": CLOSED}, "country FR is refused"),
        (RAVI, {"text": "Hello"}, "text fits no template of country IN"),
        (ANA, {"senders": (POOL[2],), "by_country": {}}, "no sender for country US"),
        ("12345", {"senders": (POOL[2],), "by_country": {}}, "no sender for country unknown"),
        (ANA, {"senders": (POOL[3],), "by_country": {}}, "no sender for country US"),
    ],
)
def test_what_is_not_sent_says_why(to: str, given: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as found:
        chosen(to, **given)
    assert (found.value.code, found.value.reason) == (code, Reason.NOT_ALLOWED)


@pytest.mark.parametrize(
    ("to", "given", "number", "why"),
    [
        (ANA, {"by_country": CLOSED}, A, None),
        (JEAN, {}, A, None),
        (PIERRE, {}, "ACME", "country"),
        (PIERRE, {"usual": None, "by_country": {}}, None, None),
        ("12345", {"by_country": CLOSED}, A, None),  # a short code is of no country
    ],
)
def test_a_channel_with_one_number_may_have_rules_for_countries(
    to: str, given: dict[str, Any], number: str | None, why: str | None
) -> None:
    choice = chosen(to, **{"senders": (), "usual": A, **given})
    assert (choice.number, choice.why) == (number, why)
    assert choice.words == (f"c - {number}" if why else "")


def test_a_registered_text_goes_with_its_ids() -> None:
    choice = chosen(RAVI, text=" Dear Ravi, your order 17 is ready.\n")
    assert choice == Choice("ACMEIN", "country", "", Template("1601", "1707"))
    assert chosen(RAVI, wrote(A), text="Dear Ravi, your order 17 is ready.").template == Template("1601", "1707")


@pytest.mark.parametrize(
    ("template", "text", "fit"),
    [
        ("Hello.", "Hello.", True),
        ("Hello.", "Hello!", False),
        ("Hello.", "Hello. ", False),
        ("Hi {#var#}!", "Hi Ana!", True),
        ("Hi {#var#}!", "Hi !", True),
        ("Hi {#var#}!", f"Hi {'a' * 30}!", True),
        ("Hi {#var#}!", f"Hi {'a' * 31}!", False),
        ("Hi {#VAR#}!", f"Hi {'a' * 31}!", False),
        ("See {#url#}", f"See {'a' * 100}", True),
        ("See {#url#}", f"See {'a' * 101}", False),
        ("{#var#}{#var#}", "a" * 60, True),
        ("{#var#}{#var#}", "a" * 61, False),
        ("{#var#} and {#var#}", "a and b and c", True),
        ("{#var#}.", "a.b.", True),
        ("a{#var#}a", "a", False),
        ("a{#var#}a", "aa", True),
        ("(.*)+{#var#}", "(.*)+x", True),
        (".*", "anything", False),
        ("ü {#var#} 😀", "ü नमस्ते 😀", True),
        ("", "", True),
    ],
)
def test_a_text_fits_a_template_or_it_does_not(template: str, text: str, fit: bool) -> None:
    assert fits(template, text) is fit


def test_a_template_of_many_gaps_takes_bounded_time() -> None:
    began = time.process_time()
    assert not fits("a{#url#}" * 20 + "b", "a" * 5000)
    assert time.process_time() - began < 5


# ---------------------------------------------------------------- bridge.yaml

HEAD = """\
public_url: https://bridge.example.com
digital_channels: {base_url: https://d.example.com/nexus/v3, contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11}
endpoints: {main: {secrets: ["${SECRET}"]}}
providers:
  co: {kind: twilio, account_sid: AC00000000000000000000000000000001, auth_token: "${SECRET}"}
  ind: {kind: plivo, auth_id: MA1, auth_token: "${SECRET}"}
  own: {kind: plivo, auth_id: MA2, auth_token: "${SECRET}", from_number: "+15557650100"}
  post: {kind: smtp, host: mail.example.com}
"""
ENVIRONMENT = {"SECRET": "f3b1c7e09a5d4286"}


def read(**channels: object) -> Configuration:
    return parse(HEAD + yaml.safe_dump({"channels": channels}), ENVIRONMENT)


def problems(**channels: object) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        read(**channels)
    found = [f"{one.path}: {one.what}; {one.suggestion}".removesuffix("; ") for one in refused.value.problems]
    return [one for one in found if "used by no channel" not in one]


def pool(*senders: object, **fields: object) -> dict[str, object]:
    return {"type": "sms", "provider": "co", "senders": [*senders], **fields}


def test_consumers_reach_the_channel_by_any_number_of_its_pool() -> None:
    both = pool({"number": "+1 555 765 0101"}, {"number": "15557650102", "provider": "ind"}, providers=["co", "ind"])
    del both["provider"]
    configuration = read(c1=both, c2={"type": "sms", "provider": "co", "number": "+15557650199"})
    assert [one.number for one in configuration.channels["c1"].senders] == [A, B]
    for address in ("15557650101", "+1 555 765 0101"):
        assert configuration.channel_of("co", address) == configuration.channel_of("ind", address) == "c1"
    assert configuration.channel_of("ind", B) == "c1"
    assert configuration.channel_of("co", B) is None
    assert configuration.channel_of("co", "c1") is None
    assert configuration.channel_of("co", "+15557650199") == "c2"
    limits = configuration.limits()
    assert " utabsP co ind" in limits["c1"]
    assert "pool" not in limits["c2"]
    assert read(c1=pool({"number": A})).limits()["c1"].endswith(" pool")


def test_one_opt_out_counts_for_the_whole_pool() -> None:
    configuration = read(c1=pool({"number": A}, {"number": B}, provider="ind"))
    assert configuration.consent_scopes == {"c1": "sender/15557650101"}


TEMPLATE = {"id": "1707", "text": ORDER}


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        ({"c1": pool({"number": A}), "c2": pool({"number": B}, {"number": "1 555 765 0101"})},
         ['channels.c2.senders[1].number: has the number of channel "c1" at the same provider: what a consumer answers'
          " is for either; give each channel a number of its own"]),
        ({"c1": pool({"number": A}), "c2": {"type": "sms", "provider": "co", "number": A}},
         ['channels.c2.number: has the number of channel "c1" at the same provider: what a consumer answers is for'
          " either; give each channel a number of its own"]),
        ({"c1": pool({"number": A, "provider": "ind"})},
         ["channels.c1.senders: has no number of provider co; add one, or take the provider out",
          "channels.c1.senders[0].provider: is none of the channel's providers; choose from co"]),
        ({"c1": pool({"number": A}, {"number": "1-555-765-0101", "weight": 2})},
         ["channels.c1.senders[1].number: is in the pool twice; leave one out, and use weight"]),
        ({"c1": pool({"number": A}, number=B)},
         ["channels.c1.number: stands beside senders; move it into senders, or leave senders out"]),
        ({"c1": pool({"number": "12"})},
         ["channels.c1.senders[0].number: is no number with a country code: write + and the country code before it,"
          " such as '+15557650123'"]),
        ({"c1": pool({"number": A}, provider="own")},
         ['providers.own.from_number: sends all messages from one number, and channel "c1" has several; leave it out']),
        ({"c1": {"type": "email", "provider": "post", "number": "a@b.example", "senders": [{"number": "c@b.example"}]}},
         ["channels.c1.senders: is for channels of type sms; leave it out"]),
        ({"c1": pool({"number": A, "countries": ["UK"]})},
         ["channels.c1.senders[0].countries[0]: should be a country in two capital letters, such as US"]),
        ({"c1": {"type": "sms", "provider": "co", "number": A, "by_country": {"UK": {"refuse": True}}}},
         ["channels.c1.by_country.UK: should be a country in two capital letters, such as US, or others"]),
        ({"c1": {"type": "sms", "provider": "co", "number": A, "by_country": {"FR": {"sender": "A NAME TOO LONG"}}}},
         ["channels.c1.by_country.FR.sender: should be a number with its country code, such as '+15557650123', a short"
          " code, or a sender's name: at most 11 of the letters A to Z, digits, space, &, + - and _"]),
        ({"c1": {"type": "sms", "provider": "co", "number": A,
                 "by_country": {"IN": {"entity_id": "1601", "templates": [TEMPLATE]}}}},
         ["channels.c1.by_country.IN.templates: provider co cannot be given the ids of templates; kinds that can:"
          " aws-sms, infobip, plivo, vonage"]),
        ({"c1": {"type": "sms", "provider": "ind", "number": A, "by_country": {"IN": {"templates": [TEMPLATE]}}}},
         ["channels.c1.by_country.IN: entity_id is needed beside templates"]),
        ({"c1": {"type": "sms", "provider": "ind", "number": A, "by_country": {"IN": {"refuse": True, "sender": "A"}}}},
         ["channels.c1.by_country.IN: refuse stands beside what to send: keep one of the two"]),
        ({"c1": {"type": "sms", "provider": "ind", "number": A, "by_country": {"IN": {"always": True}}}},
         ["channels.c1.by_country.IN: always is for a sender, and there is none"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(channels: dict[str, object], said: list[str]) -> None:
    assert problems(**channels) == said


def test_norway_is_a_country() -> None:
    text = (
        HEAD
        + "channels:\n  c1:\n    type: sms\n    provider: co\n    senders: [{number: '+4790000000', countries: [NO]}]\n"
    )
    configuration = parse(text + "    by_country: {NO: {refuse: true}}\n", ENVIRONMENT)
    assert configuration.channels["c1"].senders[0].countries == ("NO",)
    assert configuration.channels["c1"].by_country["NO"].refuse
