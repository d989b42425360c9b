"""What YAML makes of a slip in bridge.yaml, and how it is told: at its line, in plain words, with the fix."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.config.loader import parse
from tests.config.test_configuration import CANARY, GOOD, SECOND, edited, problems

MAPPING = "should be a mapping: lines of `key: value`, such as public_url: https://…, and is"

# What is changed in GOOD, the one problem that follows, and the change that is accepted in its place.
SURPRISES = [
    ("type: sms → type: sms⏎    delivered_when: on", "bridge.yaml:20: channels.0123456789.delivered_when: should be"
     ' taken or confirmed, and is the word "on"', "type: sms → type: sms⏎    default_region: NO"),
    ("    host: smtp →     verify_certificate: flase⏎    host: smtp", "bridge.yaml:16: providers.mail"
     '.verify_certificate: should be true or false, and is a text; did you mean "false"?',
     "    host: smtp →     verify_certificate: on⏎    host: smtp"),
    ("token-of-the-account → [token, of]", "bridge.yaml:13: providers.twilio.auth_token: should be a text, and is a"
     " list; a value that begins with [ or { has to stand in quotes", "token-of-the-account → '[token, of]'"),
    ("token-of-the-account → {{ token }}", "bridge.yaml:13: providers.twilio.auth_token: has a mapping or a list where"
     " the name of a field should be; put a value that begins with { or [ in quotes",
     "token-of-the-account → 'token {{ of }} it'"),
    ("token-of-the-account → #token", "bridge.yaml:13: providers.twilio.auth_token: should be a text, and is empty;"
     " what follows # is a comment; put a value that begins with # in quotes", "token-of-the-account → '#token' # so"),
    ("token-of-the-account → ~", "bridge.yaml:13: providers.twilio.auth_token: should be a text, and is empty; write a"
     " value behind the colon", "token-of-the-account → '~'"),
    ("token-of-the-account → null", "bridge.yaml:13: providers.twilio.auth_token: should be a text, and is empty; write"
     " a value behind the colon", "token-of-the-account → 'null'"),
    ("token-of-the-account → &token", "bridge.yaml:13: providers.twilio.auth_token: begins with &, which YAML takes for"
     " an anchor and leaves out; put the whole value in quotes", "token-of-the-account → '&token'"),
    ("token-of-the-account → &token of", "bridge.yaml:13: providers.twilio.auth_token: begins with &, which YAML takes"
     " for an anchor and leaves out; put the whole value in quotes",
     "main-secret-00001, main-secret-00002 → &one main-secret-00001, *one"),
    ("token-of-the-account⏎ → 'token-of⏎    # a comment: ⏎    pace: {burst: '1'}⏎", "bridge.yaml:13: is not YAML: the"
     " quotation mark that opens in this line is closed in line 15 only; close it in its own line",
     "token-of-the-account⏎ → 'token-of'⏎    # a comment: ⏎    pace: {burst: '1'}⏎"),
    ("account_sid: AC00000000000000000000000000000000⏎    auth_token: token-of-the-account → account_sid: 'AC00⏎"
     "    auth_token: token-of-the-account'", "bridge.yaml:12: providers.twilio.account_sid: the quotation mark that"
     " opens in this line is closed in line 13 only; close it in its own line",
     "token-of-the-account → 'token of⏎      the account'"),
    ("company.com:⏎    type: email⏎    provider: mail → " + SECOND + "'+1 555 765-0124'⏎    <<: {pace: {burst: 2}}",
     "bridge.yaml:26: channels.second.<<: is a merge key of YAML, which is not read; write the fields themselves here",
     "  company.com:⏎    type: email → " + "  company.com:⏎    type: email # <<: *channel"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "said", "right"), SURPRISES)
def test_what_yaml_reads_otherwise_than_it_was_meant_is_told_with_its_fix(broken: str, said: str, right: str) -> None:
    assert problems(edited(broken)) == [said]
    parse(edited(right), {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"bridge.yaml:1: {MAPPING} empty"),
        ("- a\n- b\n", f"bridge.yaml:1: {MAPPING} a list"),
        (
            f"a: 1\nb: '{CANARY}\n",
            "bridge.yaml:2: is not YAML: the quotation mark that opens in this line is never closed",
        ),
        (f"a: *{CANARY}\n", "bridge.yaml:1: is not YAML: a value begins with *, which YAML takes for an alias"),
        ("a: b: c\n", "bridge.yaml:1: is not YAML: a second colon with a space behind it stands in the line"),
        ("a: &x [*x]\n", "bridge.yaml:1: a[0]: holds itself"),
        ("a: 1\nb: \x07\n", "bridge.yaml:2: is not YAML: holds a control character"),
        ("? [a]\n: 1\n", "bridge.yaml:1: has a mapping or a list where the name of a field should be"),
    ],
)
def test_what_is_not_a_mapping_in_yaml(text: str, said: str) -> None:
    told = problems(text)
    assert told[0].partition("; ")[0] == said
    assert CANARY not in "".join(told)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 'c\nd: 2\n", 2),
        ("a: 1\nb: 'c\nd: 'e'\nf: 2\n", 2),
        ('a: 1\nb: "c\nd: "e"\nf: 2\n', 2),
        ('a: "x"\nb: "c\n\nd: 1\ne: "f"\n', 2),
        ("a: [1, 'b]\nc: ['d']\n", 1),
        ("a:\n- 'b\n- 'c'\n", 2),
        ("a: [1,\n  2\nb: 1\n", 1),
        ("a: {b: 1,\n  c: 2\nd: 1\n", 1),
        ("a: 1\nb\nc: 1\n", 2),
    ],
)
def test_what_is_not_closed_is_told_where_it_opens(text: str, line: int) -> None:
    [told] = problems(text)
    assert told.startswith(f"bridge.yaml:{line}: is not YAML: ")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n  b: 1\n    c: 2\n", "indentation"),
        ("a:\n  - 1\n b: 2\n", "indentation"),
        ("a: b: c\n", "quotes"),
        ("a:\n\tb: 1\n", "indent with spaces"),
        ("a:\tb\n", "a space in its place"),
        ("a: b\t\n", "a space in its place"),
        ("a:\n \u00a0b: 1\n  c: 2\n  d\n  e: 3\n", "plain spaces"),
        ("a:\n  b: 1\n  c 2\n  d: 3\n", "key: value"),
        ("a:\n  b: 1\n  c:2\n  d: 3\n", "key: value"),
        ("a: @b\n", "quotes"),
        ("a: %b\n", "quotes"),
        ("a: `b`\n", "quotes"),
        ("a: |b\n", "quotes"),
        ("a: >b\n", "quotes"),
        ("a: ? b\n", "quotes"),
        ("a: - b\n", "quotes"),
        ("a: & b\n", "quotes"),
        ("a: * b\n", "quotes"),
        ("a: {b\nc: 1\n", "close it"),
        ("a: [b\nc: 1\n", "close it"),
        ("a: 'b'c\n", "quotes"),
        ('a: "b\\d"\n', "single quotes"),
        ("a: 1\n---\nb: 1\n", "---"),
        ("a:\n  <<: *b\n", "write the fields"),
        ("a: 1\nb: \x07\n", "write it anew"),
        ("a: *b\n", "quotes"),
    ],
)
def test_what_is_no_yaml_is_told_with_what_most_often_is_behind_it(text: str, hint: str) -> None:
    [told] = problems(text)
    assert hint in told.partition("; ")[2]


def nodes(loader: Any, text: str) -> object:
    """What is read of each node; "error" where the text is refused."""

    def told(node: Any) -> object:
        if node is None:
            return None
        if isinstance(node, yaml.MappingNode):
            return [(told(key), told(value)) for key, value in node.value]
        if isinstance(node, yaml.SequenceNode):
            return [told(value) for value in node.value]
        begin, end = node.start_mark, node.end_mark
        return node.tag, node.value, node.style or "", begin.line, begin.index, end.line, end.index

    try:
        return told(yaml.compose(text, Loader=loader))
    except yaml.YAMLError:
        return "error"


SLIPS = st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(" \n#:{}[]'\"&*!|>%@`?-,~<=x0\r\0"), st.booleans())


@pytest.mark.skipif(not hasattr(yaml, "CBaseLoader"), reason="PyYAML was built without libyaml")
@given(st.lists(SLIPS, max_size=4))
def test_the_fast_reader_reads_what_the_exact_one_does(slips: list[tuple[float, str, bool]]) -> None:
    text = GOOD
    for at, character, instead in slips:
        place = int(at * len(text))
        text = text[:place] + character + text[place + instead :]
    fast, exact = nodes(yaml.CBaseLoader, text), nodes(yaml.BaseLoader, text)
    assert "error" in (fast, exact) or fast == exact
