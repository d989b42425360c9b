"""Refused signatures in words: each reason that the service gives has its own advice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dcbridge.ledger.signatures import Refusals
from dcbridge.operations.signature_trouble import advice, place, told
from tests.console.running import configuration_of

ROOT = Path(__file__).parents[2]
HEADER = "The request had no signature header that can be right."


def verdicts() -> set[str]:
    """What signature.py says is wrong beside a header that cannot be right."""
    text = (ROOT / "dcbridge/genesys/signature.py").read_text()
    return set(re.findall(r'"(matches [^"]+|no secret matches)"', text))


def test_every_near_miss_has_advice_of_its_own() -> None:
    found = {why: advice("webhook", why) for why in verdicts()}
    assert len(found) >= 7
    assert HEADER not in {one.means for one in found.values()}
    assert len({one.means for one in found.values()}) == len(found)
    assert {advice("webhook", why).means for why in ("missing", "wrong length")} == {HEADER}


def test_every_reason_of_a_provider_has_a_sentence() -> None:
    adapters = "".join(path.read_text() for path in (ROOT / "dcbridge/providers").glob("*.py"))
    reasons = set(re.findall(r'BadSignature\("([^"]+)"\)', adapters))
    assert len(reasons) > 20
    for why in reasons:
        assert advice("callback", why).then
    assert "another secret" in advice("callback", "no secret matches").means


@pytest.mark.parametrize(
    ("where", "kind", "name"),
    [
        ("main", "webhook", "main"),
        ("interactions/events", "interactions", "events"),
        ("trigger/t", "trigger", "t"),
        ("callback/twilio", "callback", "twilio"),
        ("(unknown)", "address", ""),
        ("else/x", "webhook", "else/x"),
        ("callback/", "webhook", "callback/"),
        ("", "webhook", ""),
    ],
)
def test_a_place_has_a_kind_and_a_name(where: str, kind: str, name: str) -> None:
    assert place(where) == (kind, name)


def test_what_is_over_comes_last_and_channels_are_named() -> None:
    found = told(
        [
            Refusals("main", "matches a retired secret", 3, 10.0, 20.0),
            Refusals("callback/twilio", "no secret matches", 1, 5.0, 6.0),
            Refusals("interactions/events", "missing", 1, 1.0, 2.0),
        ],
        configuration_of(),
        {"main": 30.0, "interactions/events": 1.5},
    )
    assert [(one.where, one.is_over) for one in found] == [
        ("callback/twilio", False), ("interactions/events", False), ("main", True),
    ]  # fmt: skip
    assert [one.channels for one in found] == [("0123456789",), (), ("0123456789", "company.com")]
    assert "retired_secrets of main" in found[2].then
    assert "{name}" not in "".join(one.then for one in found)
