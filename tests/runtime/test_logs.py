"""What leaves the process as a log line, and what never does."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from dcbridge.address_tokens import LONGEST_ADDRESS
from dcbridge.messages import Address, message_ref
from dcbridge.runtime.logs import (
    LONGEST,
    WITHHELD,
    Token,
    Tokens,
    configure,
    info_line,
    info_line_in_context,
    log_uncaught,
)

CANARY = "canary-8f1e6a"
NUMBER = "16504661149"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    access = logging.getLogger("uvicorn.access").disabled
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = access
    for name in ("httpx", "httpcore", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    out = io.StringIO()
    configure("auto", "debug", out)
    return out


def without_pytest() -> None:
    """pytest hangs its own handlers on the root for each test, and they raise where ours withhold."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if "pytest" not in type(handler).__module__]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_level_time_and_context(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace="t-1", message=message_ref("c", "m", 1)):
        structlog.get_logger().info("message_sent", provider="twilio", ms=12, attempt=1, ids=["a"], state=None)
    [line] = lines(stream)
    assert line.pop("timestamp")[10] == "T"
    assert line == {
        "event": "message_sent", "level": "info", "trace": "t-1", "message": message_ref("c", "m", 1),
        "provider": "twilio", "ms": 12, "attempt": 1, "ids": ["a"], "state": None,
    }  # fmt: skip


FACTS: dict[str, Any] = {
    "name": "main", "status": 200, "ms": 1.5, "trace": "t-1", "refs": [message_ref("c", "m")],
    "message_ids": (CANARY, "x" * 2 * LONGEST), "consumers": [Token("0123456789ab")], "to": NUMBER, "body": b"{}",
    "url": f"https://user:{CANARY}@example.com/a?token={CANARY}", "number": 1 << 70, "of": {"text": CANARY},
}  # fmt: skip


def test_a_cheap_line_is_the_line_that_the_usual_way_writes(stream: io.StringIO) -> None:
    structlog.get_logger().info("messages_webhook", **FACTS)
    info_line("messages_webhook", **FACTS)
    usual, cheap = lines(stream)
    assert cheap.pop("timestamp") >= usual.pop("timestamp")
    assert cheap == usual
    assert (cheap["to"], cheap["of"]) == (WITHHELD, {"text": WITHHELD})


def test_a_cheap_line_of_a_job_holds_its_context_behind_the_same_guards(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace="t-1", message=message_ref("c", "m"), consumer=NUMBER):
        structlog.get_logger().info("message_sent", trace="t-2", ms=12)
        info_line_in_context("message_sent", trace="t-2", ms=12)
    usual, cheap = lines(stream)
    assert cheap.pop("timestamp") >= usual.pop("timestamp")
    assert cheap == usual
    assert (cheap["trace"], cheap["message"], cheap["consumer"]) == ("t-2", message_ref("c", "m"), WITHHELD)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_cheap_line_heeds_the_level_and_the_form(form: Any) -> None:
    quiet, loud = io.StringIO(), io.StringIO()
    configure(form, "warning", quiet)
    info_line("messages_webhook", name="main")
    assert quiet.getvalue() == ""
    configure(form, "info", loud)
    info_line("messages_webhook", name="main")
    assert loud.getvalue().startswith("{") == (form == "json")
    assert "messages_webhook" in loud.getvalue()


def test_time_is_utc_in_milliseconds(stream: io.StringIO) -> None:
    structlog.get_logger().info("x")
    time = lines(stream)[0]["timestamp"]
    assert len(time) == len("2026-11-22T01:02:03.123Z")
    assert time.endswith("Z")


def test_the_standard_library_goes_through_the_same_formatter(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(trace="t-1"):
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 4)
        logging.getLogger("uvicorn.error").warning("Uvicorn lost %s", "socket 3")
        logging.getLogger("rq.worker").warning("Worker %s: %d jobs", CANARY, 3)
    first, second = lines(stream)
    assert (first["event"], first["logger"], first["level"]) == ("Uvicorn lost socket 3", "uvicorn.error", "warning")
    assert (second["event"], second["trace"]) == (f"Worker {WITHHELD}: 3 jobs", "t-1")


def test_levels_and_access_lines_are_left_out() -> None:
    out = io.StringIO()
    configure("json", "warning", out)
    structlog.get_logger().info("quiet")
    logging.getLogger("rq.worker").info("quiet")
    logging.getLogger("uvicorn.access").warning("GET /")
    configure("json", "debug", out)
    logging.getLogger("httpx").info("HTTP Request: POST https://example.com")
    assert out.getvalue() == ""
    structlog.get_logger().debug("loud")
    assert len(lines(out)) == 1


def test_configured_twice_writes_once(stream: io.StringIO) -> None:
    again = io.StringIO()
    configure("json", "info", again)
    logging.getLogger("rq").warning("one")
    structlog.get_logger().info("two")
    assert (stream.getvalue(), len(lines(again))) == ("", 2)


def test_a_terminal_gets_readable_lines_and_colours() -> None:
    terminal, plain = Terminal(), io.StringIO()
    for out in (terminal, plain):
        configure("auto" if out is terminal else "console", "info", out)
        try:
            raise_in_a_chain()
        except RuntimeError:
            structlog.get_logger().exception("failed", to=NUMBER, provider="twilio")
    assert "\x1b[" in terminal.getvalue()
    assert "\x1b[" not in plain.getvalue()
    for out in (terminal, plain):
        assert "ValueError" in out.getvalue()
        assert "test_logs.py" in out.getvalue()
        assert CANARY not in out.getvalue()
        assert NUMBER not in out.getvalue()


@pytest.mark.parametrize(
    "key",
    ["text", "body", "subject", "content", "to", "from_", "sender", "address", "number", "secret", "token", "password",
     "authorization", "Authorization", "X-Api-Key", "auth_token", "query", "payload", "message", "consumer", "headers"],
)  # fmt: skip
def test_a_private_name_is_withheld_at_every_depth(stream: io.StringIO, key: str) -> None:
    structlog.get_logger().info("x", **{key: CANARY}, deep={"list": [{key: CANARY, "kept": 1}]}, other=CANARY)
    [line] = lines(stream)
    assert (line[key], line["deep"], line["other"]) == (WITHHELD, {"list": [{key: WITHHELD, "kept": 1}]}, CANARY)


def test_tokens_and_references_may_stand_under_a_private_name(stream: io.StringIO) -> None:
    token, ref = Tokens(b"k").of(NUMBER), message_ref("c", "m")
    structlog.get_logger().info("x", consumer=token, message=ref, to=None)
    structlog.get_logger().info("x", consumer=str.__str__("441234567890"), message=f"c-{ref}")
    first, second = lines(stream)
    assert (first["consumer"], first["message"], first["to"]) == (token, ref, None)
    assert (second["consumer"], second["message"]) == (WITHHELD, f"c-{ref}")


def test_objects_are_told_by_their_type(stream: io.StringIO) -> None:
    structlog.get_logger().info("x", who=Address(NUMBER), blob=CANARY.encode(), error=ValueError(CANARY), big=1 << 70)
    [line] = lines(stream)
    assert (line["who"], line["blob"], line["error"]) == ("[Address]", "[bytes]", "[ValueError]")
    assert line["big"] == str(1 << 70)


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("https://example.com/a?To=1", f"https://example.com/a?{WITHHELD}"),
        ("https://example.com?To=1", f"https://example.com?{WITHHELD}"),
        ("/callbacks/x/status?sig=1", f"/callbacks/x/status?{WITHHELD}"),
        ("redis://user:pw@host:6379/0", "redis://host:6379/0"),
        ("https://example.com/a", "https://example.com/a"),
        ("what? nothing", "what? nothing"),
    ],
)
def test_a_url_loses_its_query_and_its_user(stream: io.StringIO, written: str, left: str) -> None:
    structlog.get_logger().info("x", url=written)
    assert lines(stream)[0]["url"] == left


@pytest.mark.parametrize(
    ("written", "begins", "ends"),
    [
        ("a" * 3300, "a" * LONGEST, "…"),
        ("a/" * 3000, "a/a/", "…"),
        ("a" * LONGEST, "a" * LONGEST, "a"),
        (" " * 3000, " ", "…"),
        ("x redis://" + "u" * 600 + ":" + CANARY + "@host", "x ", WITHHELD),
        ("redis://u:" + CANARY * 60 + "@host", WITHHELD, WITHHELD),
        ("redis://u:" + CANARY + "@" + CANARY + "@host/0", "redis://host/0", "0"),
        ("https://host/a?b=" + CANARY * 60, WITHHELD, WITHHELD),
        ("/a?b=" + CANARY * 60, "/a?" + WITHHELD, ""),
        ("what? x://a/b?" + CANARY, "what? x://a/b?" + WITHHELD, ""),
    ],
)
def test_a_long_value_is_cut_and_shows_nothing_by_that(
    stream: io.StringIO, written: str, begins: str, ends: str
) -> None:
    structlog.get_logger().info("x", one=written, several=[written], named={"one": written})
    [line] = lines(stream)
    assert line["several"] == [line["one"]] == [line["named"]["one"]]
    assert line["one"].startswith(begins)
    assert line["one"].endswith(ends)
    assert len(line["one"]) <= LONGEST + 20
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    "careless",
    [
        f"sent to +{NUMBER}",
        "sent to Some.One@example.com",
        "GET /a?b=canary-8f1e6a",
        "at (650) 466-1149",
        "x@y.example,+1 650.466.1149",
    ],
)
def test_data_in_an_event_is_cut(stream: io.StringIO, careless: str) -> None:
    structlog.get_logger().info(careless)
    logging.getLogger("any").warning(careless)
    for line in lines(stream):
        assert line["event"].endswith(WITHHELD)


def raise_in_a_chain() -> None:
    text = CANARY + " in a local variable"
    try:
        int(text)
    except ValueError as error:
        raise RuntimeError(f"could not send {text}") from error


def test_an_exception_is_types_and_places_without_messages_or_locals(stream: io.StringIO) -> None:
    for log in (structlog.get_logger().exception, logging.getLogger("rq").exception):
        try:
            raise_in_a_chain()
        except RuntimeError:
            log("failed")
    for line in lines(stream):
        kinds = [part for part in line["exception"].splitlines() if not part.startswith("  ")]
        assert kinds == ["RuntimeError", "caused by ValueError"]
        assert "runtime/test_logs.py:" in line["exception"]
        assert " raise_in_a_chain" in line["exception"]
    assert CANARY not in stream.getvalue()


def test_groups_context_and_loops_of_causes(stream: io.StringIO) -> None:
    looped = ValueError(CANARY)
    looped.__cause__ = KeyError(CANARY)
    looped.__cause__.__cause__ = looped
    structlog.get_logger().error("x", exc_info=looped)
    structlog.get_logger().error("x", exc_info=ExceptionGroup(CANARY, [OSError(CANARY), TypeError()]))
    try:
        try:
            dict[str, int]()[CANARY]
        except KeyError:
            int(CANARY)
    except ValueError:
        structlog.get_logger().error("x", exc_info=True)
    one, two, three = (line["exception"] for line in lines(stream))
    assert one == "ValueError\ncaused by KeyError"
    assert two == "ExceptionGroup\n  | OSError\n  | TypeError"
    assert "while handling KeyError" in three
    assert CANARY not in stream.getvalue()


async def test_a_task_that_nobody_awaited_does_not_quote_its_exception(stream: io.StringIO) -> None:
    asyncio.get_running_loop().call_exception_handler(
        {"message": "Task exception was never retrieved", "exception": ValueError(CANARY), "future": CANARY}
    )
    [line] = lines(stream)
    assert (line["event"], line["exception"]) == ("Task exception was never retrieved", "ValueError")
    assert CANARY not in stream.getvalue()


def test_the_exception_that_ends_a_process_is_told_the_same_way(stream: io.StringIO) -> None:
    log_uncaught(ValueError, ValueError(CANARY), None)
    log_uncaught(KeyboardInterrupt, KeyboardInterrupt(), None)
    [line] = lines(stream)
    assert (line["event"], line["exception"]) == ("uncaught", "ValueError")


def test_a_line_with_the_wrong_arguments_prints_neither_them_nor_a_traceback(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pytest()
    logging.getLogger("any").warning("one %s two %s", CANARY)
    logging.getLogger("uvicorn.error").warning("one %s two %s", CANARY)
    assert [line["event"] for line in lines(stream)] == ["one %s two %s", "log line failed"]
    assert CANARY not in stream.getvalue() + "".join(capsys.readouterr())


def test_a_text_that_is_not_utf_8_is_still_a_line(stream: io.StringIO) -> None:
    structlog.get_logger().info("x", code="\ud800")
    assert lines(stream)[0]["code"] == "\ud800"


SAME = [
    ("+16504661149", "16504661149"),
    ("+1 (650) 466-1149", "16504661149"),
    (" Some.One@Example.com ", "some.one@example.com"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_address_have_one_token(one: str, other: str) -> None:
    tokens = Tokens(b"key")
    assert tokens.of(one) == tokens.of(other)


def test_an_address_of_any_length_has_a_token() -> None:
    tokens = Tokens(b"key")
    for length in (LONGEST_ADDRESS, LONGEST_ADDRESS + 1, 50_000):
        assert tokens.of("+1" + "0" * length) != tokens.of("+1" + "0" * (length - 1))
    assert tokens.of(" 1 650 466 1149 ") == tokens.of("16504661149")


def test_a_token_is_keyed_and_twelve_hex_digits() -> None:
    token = Tokens(b"key").of(NUMBER)
    assert isinstance(token, Token)
    assert len(token) == 12
    assert int(token, 16) >= 0
    assert token not in {Tokens(b"other").of(NUMBER), Tokens(b"key").of(NUMBER + "0"), Tokens(b"key").of("a@b.example")}
