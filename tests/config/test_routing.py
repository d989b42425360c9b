"""Several providers of one channel in bridge.yaml: what may stand there, and what the ledger is told."""

from __future__ import annotations

import pytest

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.settings.problems import ConfigurationError

HEAD = """\
public_url: https://bridge.example.com
digital_channels: {base_url: https://d.example.com/nexus/v3, contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11}
endpoints: {main: {secrets: ["${SECRET}"]}}
providers:
  a: {kind: twilio, account_sid: AC00000000000000000000000000000001, auth_token: "${SECRET}", pace: {per_second: 5}}
  b: {kind: vonage, api_key: abcd1234, api_secret: "${SECRET}", callback_secret: "${SECRET}"}
  post: {kind: smtp, host: mail.example.com}
channels:
  mail: {type: email, provider: post}
"""
SMS = '  "1": {type: sms, number: "+15557650123", '
ENVIRONMENT = {"SECRET": "f3b1c7e09a5d4286"}


def read(channel: str, more: str = "") -> Configuration:
    return parse(f"{HEAD}{SMS}{channel}}}\n{more}", ENVIRONMENT)


def test_one_provider_is_a_list_of_one() -> None:
    one = read("provider: a").channels["1"]
    assert (one.provider, one.providers) == ("a", ("a",))
    several = read("providers: [b, a]").channels["1"]
    assert (several.provider, several.providers) == ("b", ("b", "a"))


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ("provider: a, providers: [a, b]", "1.providers: stands beside provider: keep one of the two"),
        ("providers: []", "1.providers: should not be empty"),
        ("providers: a", "1.providers: should be a list"),
        ("providers: [a, b, a]", "1.providers[2]: is named twice"),
        ("providers: [a, c]", '1.providers[1]: no provider is named "c"'),
        ("providers: [a, post]", "1.providers[1]: smtp carries email, and this channel is sms"),
        ("number: x", "1.provider: is missing"),
        ("providers: [a, b], switch: {on: [slowly]}", "1.switch.on[0]: should be unreachable, throttled,"),
        ("providers: [a, b], switch: {after: -1}", "1.switch.after: should be at least 0"),
        ("providers: [a, b], numbers: {c: '+15557650124'}", "1.numbers.c: is none of the channel's providers"),
        ("providers: [a, b], numbers: {b: '+1555765012'}", "1.numbers.b: "),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(channel: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(f'{HEAD}  "1": {{type: sms, {channel}}}\n', ENVIRONMENT)
    assert any(says in str(problem) for problem in refused.value.problems), refused.value.problems


def test_a_number_of_one_provider_is_found_and_sent_from_there_alone() -> None:
    configuration = read("providers: [a, b], numbers: {b: '+15557650999'}")
    assert configuration.channel_of("a", "+15557650123") == "1"
    assert configuration.channel_of("b", "+15557650999") == "1"
    assert configuration.channel_of("b", "+15557650123") is None
    channel = configuration.channels["1"]
    assert (channel.number_at("a"), channel.number_at("b")) == ("+15557650123", "+15557650999")


def test_two_channels_with_one_number_at_a_second_provider_are_refused() -> None:
    with pytest.raises(ConfigurationError, match='has the number of channel "1" at the same provider'):
        read("providers: [a, b]", '  "2": {type: sms, provider: b, number: "+15557650123"}\n')


def test_the_ledger_is_told_of_a_choice_where_there_is_one() -> None:
    assert read("provider: a, confirm_within: 60").limits() == {
        "mail": "post 0 1 0 0 1 0",
        "1": "a 5 1 0 0 1 0 asked a 60000",
    }
    lines = read("providers: [a, b], confirm_within: 60, switch: {on: [breaker, slow], after: 5, stay: 100}").limits()
    assert lines["1"] == "a 5 1 0 0 1 0 asked a 60000 via 5000 100000 bs a b"
    assert lines["providers/a"] == "a 5 1 0 0 1 0 asked a 60000 slow 240000 0.15 0.05 50"
    assert lines["providers/b"].startswith("b 0 1 0 0 1 0")
    assert read("providers: [a, b], switch: {on: []}").limits()["1"].endswith(" via 30000 604800000 - a b")


def test_opt_outs_are_kept_unless_every_provider_does() -> None:
    assert "1" not in read("provider: a").consent_scopes  # Twilio does
    assert "1" in read("providers: [a, b]").consent_scopes


def test_sending_elsewhere_without_another_one_is_worth_a_warning() -> None:
    [warning] = [one for one in read("provider: a, outcome_unknown: resend_elsewhere").warnings if "other" in one.what]
    assert "has no other provider" in warning.what
    several = read("providers: [a, b], outcome_unknown: resend_elsewhere")
    assert not [one for one in several.warnings if "has no other provider" in one.what]
