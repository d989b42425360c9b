"""Which number or mailbox a channel may have in bridge.yaml, and what is said of one that cannot be."""

from __future__ import annotations

import pytest
import yaml

from dcbridge.config.loader import parse
from dcbridge.settings.problems import ConfigurationError

HEAD = """\
public_url: https://bridge.example.com
digital_channels: {base_url: https://d.example.com/nexus/v3, contact_center_id: 5f3c0c2e-6d0d-4a5e-9b1c-2f6a3f0f7a11}
endpoints: {main: {secrets: ["${SECRET}"]}}
providers:
  co: {kind: twilio, account_sid: AC00000000000000000000000000000001, auth_token: "${SECRET}"}
  post: {kind: smtp, host: mail.example.com}
channels:
"""
ENVIRONMENT = {"SECRET": "f3b1c7e09a5d4286"}


def channel(name: str, **fields: str) -> str:
    return f"  {yaml.safe_dump({name: fields}, default_flow_style=True, width=1000)[1:-2]}\n"


def problems(*channels: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parse(HEAD + "".join(channels), ENVIRONMENT)
    return [
        str(problem).removeprefix("bridge.yaml:8: ")
        for problem in refused.value.problems
        if "used by no channel" not in str(problem)
    ]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("care@company.com", "care@company.com"),
        (" care@company.com ", "care@company.com"),
        ("\u200bcare@company.com\u00ad", "care@company.com"),
        ("mailto:care@company.com", "care@company.com"),
        ("o'neil+news@mail.company.com", "o'neil+news@mail.company.com"),
        ("care@müller.example", "care@xn--mller-kva.example"),
        ("care@xn--mller-kva.example", "care@xn--mller-kva.example"),
    ],
)
def test_an_email_channel_has_one_mailbox(written: str, kept: str) -> None:
    configuration = parse(HEAD + channel("mail", type="email", provider="post", number=written), ENVIRONMENT)
    assert configuration.channels["mail"].number == kept


ALONE = "should be the mailbox alone, such as care@company.com: leave out the name and < >"
ONE = "should be one mailbox, such as care@company.com, and not several"
BLANK = "has white space in it: write the mailbox alone, such as care@company.com"
QUOTED = "has a quotation mark in it: write the mailbox alone, such as care@company.com"
LACKS = "should be a whole mailbox, such as care@company.com: it lacks "
LOCAL = "has something before the @ that no mailbox has: write it as care@company.com"
DOMAIN = "has a domain with something in it that no domain has: write it as care@company.com"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Care <care@company.com>", ALONE),
        ("<care@company.com>", ALONE),
        ('"Care" <care@company.com>', ALONE),
        ("care@company.com, sales@company.com", ONE),
        ("care@company.com; sales@company.com", ONE),
        ("care@company.com sales@company.com", ONE),
        ("care@sales@company.com", ONE),
        ("care@company,com", ONE),
        ("care @company.com", BLANK),
        ("care@company.com (Care)", BLANK),
        ("“care@company.com”", QUOTED),
        ("'care@company.com'", QUOTED),
        ("care", LACKS + "an @ and a domain"),
        ("company.com", LACKS + "an @ and a domain"),
        ("+15557650123", LACKS + "an @ and a domain"),
        ("care＠company.com", LACKS + "an @ and a domain"),
        ("care@", LACKS + "a domain after the @"),
        ("@company.com", LACKS + "something before the @"),
        ("care@company", "has no whole domain after the @: write it with its dot, such as care@company.com"),
        ("care@localhost", "has no whole domain after the @: write it with its dot, such as care@company.com"),
        ("care@company.com.", "has a dot at its end: leave it out"),
        ("care@[192.0.2.1]", "has an IP address for its domain: write the domain's name, such as care@company.com"),
        ("care..us@company.com", LOCAL),
        (".care@company.com", LOCAL),
        ("care.@company.com", LOCAL),
        ("a" * 65 + "@company.com", LOCAL),
        ("care@company..com", DOMAIN),
        ("care@.company.com", DOMAIN),
        ("care@-company.com", DOMAIN),
        ("care@my_company.com", DOMAIN),
        ("care@192.0.2.1", DOMAIN),
        ("care@a\u0300\u2603.example", "has a domain that does not exist in the DNS' own spelling (IDNA 2008)"),
        ("care@" + "a." * 120 + "company.com", "is longer than 254 bytes, and no mailbox is"),
    ],
)
def test_what_is_not_one_mailbox_is_refused(written: str, said: str) -> None:
    told = problems(channel("mail", type="email", provider="post", number=written))
    assert told == [f"channels.mail.number: {said}"]


def test_a_mailbox_beyond_ascii_is_a_warning() -> None:
    written = channel("mail", type="email", provider="post", number="bücher@company.com")
    other = channel("sms", type="sms", provider="co", number="+15557650123")
    assert [str(one) for one in parse(HEAD + written + other, ENVIRONMENT).warnings] == [
        "bridge.yaml:8: channels.mail.number: is not ASCII before the @: mail systems without SMTPUTF8 refuse what it"
        " sends; choose a mailbox of ASCII letters"
    ]


@pytest.mark.parametrize(
    "written", ["+1 555 765-0123", "(+1) 555 765 0123", "0015557650123", "\u202a+15557650123\u202c"]
)
def test_a_number_is_kept_as_it_is_sent_from(written: str) -> None:
    kept = parse(HEAD + channel("sms", type="sms", provider="co", number=written), ENVIRONMENT)
    assert kept.channels["sms"].number == "+15557650123"
    assert kept.channel_of("co", "+15557650123") == "sms"
    assert kept.channel_of("post", "+15557650123") is None


def test_a_channel_id_stands_in_for_the_number_and_should_be_one() -> None:
    def warned(name: str, kind: str = "sms", provider: str = "co") -> list[str]:
        other = channel("other", type="sms", provider="co", number="+15557650124")
        configuration = parse(HEAD + channel(name, type=kind, provider=provider) + other, ENVIRONMENT)
        return [str(one) for one in configuration.warnings if "used by no channel" not in str(one)]

    assert parse(HEAD + channel("15557650123", type="sms", provider="co"), ENVIRONMENT).channel_of("co", "+15557650123")
    assert warned("15557650123") == warned("12345") == warned("company.com", "email", "post") == []
    lacks = "number is not given, and the channel id, which stands in for it, "
    assert warned("0123456789") == [
        f"bridge.yaml:8: channels.0123456789: {lacks}has no country code: write it with one, such as '+15557650123',"
        " or set default_region"
    ]
    assert warned("our_main_channel") == [
        f"bridge.yaml:8: channels.our_main_channel: {lacks}should be a number with its country code, such as"
        " '+15557650123', a short code, or a sender's name: at most 11 of the letters A to Z, digits, space, &, + - and"
        " _"
    ]


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("+15557650123", "+1 555 765 0123", True),
        ("+15557650123", "15557650123", True),
        ("+15557650123", "\u200b+1-555-765-0123", True),
        ("+525512345678", "+5215512345678", True),
        ("12345", "12345", True),
        ("whatsapp:+15557650123", "WhatsApp:+1 555 765 0123", True),
        ("+15557650123", "whatsapp:+15557650123", False),
        ("+15557650123", "+15557650124", False),
        ("Company", "Company", False),  # nobody can answer a name
    ],
)
def test_two_channels_do_not_share_a_number_in_any_spelling(first: str, second: str, shared: bool) -> None:
    both = [channel(name, type="sms", provider="co", number=number) for name, number in (("a", first), ("b", second))]
    if not shared:
        parse(HEAD + "".join(both), ENVIRONMENT)
        return
    assert problems(*both) == [
        'bridge.yaml:9: channels.b.number: has the number of channel "a" at the same provider: what a consumer answers'
        " is for either; give each channel a number of its own"
    ]


def test_a_region_that_is_none_is_the_only_problem() -> None:
    told = problems(channel("sms", type="sms", provider="co", number="020 7946 0958", default_region="UK"))
    assert told == ["channels.sms.default_region: should be a country in two capital letters, such as US"]


def test_the_sender_of_a_provider_is_read_as_that_of_a_channel() -> None:
    for written, kept in (("+1 555 765-0123", "+15557650123"), ("Company", "Company"), ("12345", "12345")):
        text = HEAD.replace("{kind: twilio, ", f"{{kind: twilio, from_number: '{written}', ")
        fields = parse(text + channel("sms", type="sms", provider="co", number="+15557650124"), ENVIRONMENT).providers[
            "co"
        ]
        assert fields.fields.model_dump()["from_number"] == kept
    text = HEAD.replace("{kind: twilio, ", "{kind: twilio, from_number: +1 555 CALL NOW, ")
    with pytest.raises(ConfigurationError, match=r"providers\.co: from_number has letters among its digits") as refused:
        parse(text + channel("sms", type="sms", provider="co", number="+15557650124"), ENVIRONMENT)
    assert "CALL" not in str(refused.value)
