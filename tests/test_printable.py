"""What others wrote, on its way to a terminal: in JSON as \\uXXXX, in text as "?"."""

from __future__ import annotations

import io
import json

import orjson
import pytest
import structlog

from dcbridge.cli.dev.log_lines import Printer
from dcbridge.printable import printable, printable_lines, safe_json
from dcbridge.runtime import logs

HOSTILE = {
    "NUL": "\0",
    "bell": "\a",
    "backspace": "\b",
    "carriage return": "\r",
    "escape": "\x1b[31m",
    "title of the window": "\x1b]0;title\x07",
    "DEL": "\x7f",
    "C1 CSI": "\x9b31m",
    "C1 OSC": "\x9d0;title\x9c",
    "C1 NEL": "\x85",
    "the first of C1": "\x80",
    "right-to-left override": "\u202e",
    "left-to-right override": "\u202d",
    "embedding": "\u202a",
    "isolate": "\u2066",
    "end of an isolate": "\u2069",
    "left-to-right mark": "\u200e",
    "right-to-left mark": "\u200f",
    "Arabic letter mark": "\u061c",
    "zero width space": "\u200b",
    "zero width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "soft hyphen": "\xad",
    "a tag beyond the first plane": "\U000e0041",
    "private use": "\ue000",
    "no character": "\uffff",
}
HARMLESS = ["", "plain", "Grüße", "日本語", "😀", "שלום", "a b", '"\\/']


def shown(text: str) -> bool:
    """Whether a terminal gets something from it that it would act on."""
    return not all(c.isprintable() or c == "\n" for c in text)


@pytest.mark.parametrize("what", HOSTILE)
def test_json_means_the_same_and_holds_nothing_that_a_terminal_acts_on(what: str) -> None:
    value = {f"key {HOSTILE[what]}": [f"before {HOSTILE[what]} after", {"x": HOSTILE[what] * 3}], "é": "😀"}
    line = safe_json(orjson.dumps(value).decode())
    assert not shown(line)
    assert json.loads(line) == orjson.loads(line) == value
    assert "é" in line, "what is harmless is left as it is"


@pytest.mark.parametrize("what", HOSTILE)
def test_text_has_a_question_mark_in_its_place(what: str) -> None:
    text = printable(f"before{HOSTILE[what]}after")
    assert not shown(text)
    assert (text.startswith("before?"), text.endswith("after")) == (True, True)
    assert printable_lines(f"one{HOSTILE[what]}\ntwo").splitlines()[1:] == ["two"]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays_as_it_is(text: str) -> None:
    assert (printable(text), safe_json(text)) == (text, text)
    assert json.loads(safe_json(orjson.dumps(text).decode())) == text


def written(form: str, **facts: object) -> str:
    out = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure("json" if form == "json" else "console", "info", out)
        structlog.get_logger().info("an_event", **facts)
        try:
            raise ValueError("x")
        except ValueError:
            structlog.get_logger().error("another_event", exc_info=True)
    finally:
        structlog.configure(**before)
    return out.getvalue()


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("what", HOSTILE)
def test_no_line_of_the_log_has_one(form: str, what: str) -> None:
    bad = HOSTILE[what]
    said = written(form, code=f"a{bad}b", inner={"k": [f"c{bad}d"]}, **{f"name{bad}": "v"})
    assert not shown(said), repr(said)
    assert len(said.splitlines()) >= 2
    if form == "json":
        line = json.loads(said.splitlines()[0])
        assert (line["code"], line["inner"]["k"]) == (f"a{bad}b", [f"c{bad}d"])
    else:
        assert "a?" in said
        assert "ValueError" in said


@pytest.mark.parametrize("what", HOSTILE)
def test_no_line_of_dev_has_one(what: str) -> None:
    bad = HOSTILE[what]
    printer = Printer(io.StringIO())
    facts = {"event": f"e{bad}", "level": "info", "timestamp": f"2026-11-22T02:03:54.123Z{bad}"}
    more = {f"k{bad}": f"v{bad}", "spaced": f"a {bad}", "list": [bad], "number": 1}
    for line in (orjson.dumps(facts | more).decode(), f"no JSON {bad}", safe_json(orjson.dumps(facts).decode())):
        assert not shown(printer.readable("worker", line))
