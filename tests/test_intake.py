"""What the ledger is to hold of a webhook: read once, for the service and for a replay."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest

from dcbridge import intake
from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.genesys.payloads import made_up_id
from dcbridge.ledger.intake import Intake

YAML = """\
public_url: https://bridge.example.com
digital_channels:
  base_url: https://digital.example.com/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main:
    secrets: [a-secret-of-the-main-endpoint]
  other:
    secrets: [a-secret-of-the-other-endpoint]
providers:
  relay:
    kind: smtp
    host: mail.example.com
channels:
  "care@example.com": {type: email, provider: relay, endpoint: main, time_to_live: 1800}
  "sales@example.com": {type: email, provider: relay, endpoint: other}
"""


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    file = tmp_path_factory.mktemp("intake") / "bridge.yaml"
    file.write_text(YAML)
    return load(str(file), {})


def message(channel: str = "care@example.com", *to: str, name: str = "m-1", **changes: Any) -> dict[str, Any]:
    address = {
        "id": channel,
        "type": "email",
        "from": {"id": channel},
        "to": [{"id": one} for one in to or ("a@example.org",)],
        "messageId": name,
    }
    return {"channel": address, "type": "Text", "text": "Hello", **changes}


def read(configuration: Configuration, value: object, endpoint: str = "main") -> Intake:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return intake.read(configuration, endpoint, body, "trace-1")


def test_a_message_to_two_recipients_is_two_copies_of_one_payload(configuration: Configuration) -> None:
    found = read(configuration, message("care@example.com", "a@example.org", "b@example.org"))
    assert (found.message_ids, found.channels) == (("m-1",), ("care@example.com",))
    assert (found.dead_letters, found.unconfigured, found.problems, found.readable) == ((), (), (), True)
    first, second = found.copies
    assert (first.to_id, second.to_id) == ("a@example.org", "b@example.org")
    assert (first.first_ref, second.first_ref, second.ref) == (first.ref, first.ref, f"{first.ref}-1")
    assert [(one.copies, one.time_to_live, one.trace_id) for one in found.copies] == [(2, 1800.0, "trace-1")] * 2
    assert orjson.loads(first.payload) == message("care@example.com", "a@example.org", "b@example.org")


def test_a_message_that_cannot_be_carried_ends_at_once_and_its_body_is_kept_once(configuration: Configuration) -> None:
    value = message("care@example.com", "a@example.org", "b@example.org", text=7)
    found = read(configuration, value)
    assert found.problems == ("520 text is not a text",)
    assert [(one.reason, one.detail) for one in found.copies] == [(520, "text is not a text")] * 2
    assert [one.raw for one in found.copies] == [orjson.dumps(value), b""]


def test_a_channel_of_nobody_is_named_once(configuration: Configuration) -> None:
    found = read(configuration, [message("a@nobody.example", name="m-1"), message("a@nobody.example", name="m-2")])
    assert found.unconfigured == found.channels == ("a@nobody.example",)
    assert found.problems == ("530 the channel is not configured",)
    assert [one.reason for one in found.copies] == [530, 530]


def test_a_channel_of_another_endpoint_is_a_dead_letter_and_no_message(configuration: Configuration) -> None:
    found = read(configuration, message("sales@example.com"))
    [letter] = found.dead_letters
    assert (letter.channel_id, letter.reason) == ("sales@example.com", intake.ELSEWHERE + "main")
    assert (found.copies, found.problems) == ((), (letter.reason,))
    accepted = read(configuration, message("sales@example.com"), "other")
    assert (len(accepted.copies), accepted.dead_letters) == (1, ())


def test_where_the_endpoint_is_not_known_any_channel_may_be_named(configuration: Configuration) -> None:
    found = read(configuration, [message("care@example.com"), message("sales@example.com", name="m-2")], "")
    assert ([one.channel_id for one in found.copies], found.dead_letters) == (
        ["care@example.com", "sales@example.com"],
        (),
    )


def test_messages_beside_one_without_a_channel_are_accepted(configuration: Configuration) -> None:
    nameless = {"type": "Text", "text": "Hello"}
    found = read(configuration, [nameless, message()])
    [letter] = found.dead_letters
    assert (letter.channel_id, letter.reason) == ("", "520 channel is missing or not an object")
    assert orjson.loads(letter.raw) == nameless
    assert (len(found.copies), len(found.message_ids), found.channels) == (1, 2, ("", "care@example.com"))


@pytest.mark.parametrize("body", [b"", b"{", b"text=hello", b'{"a": NaN}'])
def test_what_is_no_json_is_one_dead_letter_under_a_name_of_its_own(configuration: Configuration, body: bytes) -> None:
    found = read(configuration, body)
    name = made_up_id("main", body)
    assert found.message_ids == (name,)
    assert found.dead_letters == ((f"w-{name}", "", "520 the body is not JSON", body),)
    assert (found.copies, found.readable) == ((), False)


def test_a_dead_letter_is_known_by_the_endpoint_it_came_to(configuration: Configuration) -> None:
    for value in (b"{", orjson.dumps({"type": "Text"}), orjson.dumps(message("sales@example.com"))):
        [letter] = read(configuration, value).dead_letters
        assert intake.names_letter(letter.id, "main", value)
    assert not intake.names_letter("w-0", "main", b"{}")
    [letter] = read(configuration, b"{").dead_letters
    assert not intake.names_letter(letter.id, "other", b"{")


def test_a_dead_letter_has_the_name_that_older_versions_gave_it(configuration: Configuration) -> None:
    """They hashed the message as it was written again; a redelivery after an upgrade is the same letter."""
    pretty = orjson.dumps(message("sales@example.com"), option=orjson.OPT_INDENT_2)
    [letter] = read(configuration, pretty).dead_letters
    written = b"m-1" + orjson.dumps(message("sales@example.com"))
    assert letter.id == f"w-{hashlib.blake2b(written, digest_size=12).hexdigest()}"


def test_a_channel_that_is_named_like_books_of_own_messages_is_a_dead_letter(configuration: Configuration) -> None:
    """Its receipt would be owed in those books, and would never be posted."""
    body = orjson.dumps(
        {"text": "x", "channel": {"id": "own/1", "messageId": "m", "from": {"id": "1"}, "to": {"id": "2"}}}
    )
    found = intake.read(configuration, "main", body, "t")
    assert (found.copies, len(found.dead_letters)) == ((), 1)
