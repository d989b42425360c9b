"""A number says what it counts, in bridge.yaml and in process settings, and how it is written."""

from __future__ import annotations

import pytest

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.settings.process import Settings
from dcbridge.settings.units import unit_of
from tests.config.test_configuration import edited, problems

# What is changed in GOOD, the one problem that follows, and the change that is accepted in its place.
NUMBERS = [
    ("type: sms → type: sms⏎    time_to_live: 4h",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is a text; write"
     " 14400, the number of seconds without its unit", "type: sms → type: sms⏎    time_to_live: 14400"),
    ("kind: twilio → kind: twilio⏎    validity_period: 1 hour",
     "bridge.yaml:12: providers.twilio.validity_period: should be a whole number of seconds, such as 30, and is a text;"
     " write 3600, the number of seconds without its unit", "kind: twilio → kind: twilio⏎    validity_period: 3600"),
    ("type: sms → type: sms⏎    time_to_live: 1:30",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is a text; write"
     " the number of seconds alone, with no unit and no colon", "type: sms → type: sms⏎    time_to_live: 90"),
    ("type: sms → type: sms⏎    time_to_live: ten",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is a text; write"
     " it in digits", "type: sms → type: sms⏎    time_to_live: 0123"),
    ("type: sms → type: sms⏎    time_to_live: 1,000",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is a text; write"
     " the digits alone, with nothing between them", "type: sms → type: sms⏎    time_to_live: 1_000"),
    ("type: sms → type: sms⏎    time_to_live: 0x10",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is a text; write"
     " it in decimal digits", "type: sms → type: sms⏎    time_to_live: 16"),
    ("type: sms → type: sms⏎    time_to_live: yes",
     "bridge.yaml:20: channels.0123456789.time_to_live: should be a number of seconds, such as 30, and is the word"
     ' "yes"', "type: sms → type: sms⏎    time_to_live: ' 30 '"),
    ("type: sms → type: sms⏎    attempts: 2.5", "bridge.yaml:20: channels.0123456789.attempts: should be a whole number"
     " of times, such as 3, and is not one", "type: sms → type: sms⏎    attempts: 2"),
    ("type: sms → type: sms⏎    pace: {per_second: fast}", "bridge.yaml:20: channels.0123456789.pace.per_second:"
     " should be a number of messages a second, such as 10, and is a text",
     "type: sms → type: sms⏎    pace: {per_second: 0.5}"),
    ("kind: twilio → kind: twilio⏎    longest_pause: 1h", "bridge.yaml:12: providers.twilio.longest_pause: should be a"
     " number of seconds, such as 30, and is a text; write 3600, the number of seconds without its unit",
     "kind: twilio → kind: twilio⏎    longest_pause: 3600"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "said", "right"), NUMBERS)
def test_a_number_that_is_none_is_told_with_its_unit(broken: str, said: str, right: str) -> None:
    assert problems(edited(broken)) == [said]
    parse(edited(right), {})


@pytest.mark.parametrize(
    ("description", "written", "hint"),
    [
        ("Seconds to wait.", "30s", "write 30,"),
        ("Seconds to wait.", "5m", "write 300,"),
        ("Seconds to wait.", "1.5 Hours", "write 5400,"),
        ("Seconds to wait.", "500ms", "write 0.5,"),
        ("Seconds to wait.", "2 days", "write 172800,"),
        ("Seconds to wait.", "1h30m", "no unit"),
        ("Seconds to wait.", "PT5M", "no unit"),
        ("Seconds to wait.", "0:30", "no colon"),
        ("Seconds to wait.", "1:00:00", "no colon"),
        ("Seconds to wait.", "10 000", "with nothing between"),
        ("Seconds to wait.", "1'000", "with nothing between"),
        ("Seconds to wait.", "0x1F", "decimal"),
        ("Seconds to wait.", "Thirty", "in digits"),
        ("Days to keep.", "36h", "write 1.5,"),
        ("Bytes of it.", "10 kB", "write 10240,"),
        ("Bytes of it.", "1GiB", "write 1073741824,"),
        ("Messages a second; 0 is no limit.", "10/s", "alone"),
        ("Messages that may leave.", "10/min", "alone"),
        ("Share of it.", "50%", "write 0.5,"),
        ("Messages a second; 0 is no limit.", "a secret of 1234", ""),
        ("Share of it.", "half", ""),
    ],
)
def test_what_was_meant_by_a_number_is_read_of_it(description: str, written: str, hint: str) -> None:
    told = unit_of(description).hint(written)
    assert hint in told
    assert bool(hint) == bool(told)


def test_every_number_of_a_process_says_what_it_counts() -> None:
    numbers = {name: field for name, field in Settings.model_fields.items() if field.annotation in (int, float)}
    assert len(numbers) > 25
    assert [name for name, field in numbers.items() if not unit_of(field.description or "").name] == []
    assert unit_of(Configuration.model_fields["public_url"].description or "").name == ""
