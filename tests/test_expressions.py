"""Every regular expression of the code, and the guard of the log, takes time in proportion to the text."""

from __future__ import annotations

import ast
import importlib
import io
import itertools
import logging
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from dcbridge.runtime.logs import Tokens, configure

ROOT = Path(__file__).parent.parent
FUNCTIONS = {"compile", "match", "fullmatch", "search", "split", "findall", "finditer", "sub", "subn"}
# What the text is made of: characters that the expressions name, and what a backtracking engine would try again.
LETTERS = ["a", "A", "0", " ", "\n", "/", "?", "@", ":", ".", "-", "+", "(", "<", ">", '"', "{", "=", ";", "_", "|"]
PAIRS = ["://", "a.", "0-", "0 ", "a@", "@.", "a/", "/?", "?/", ":0", "$${", "${a", "<a", "a>", "+4", "\r\n", ". ", "é"]
USED_RE = re.compile(rf"\b(\w+)\.({'|'.join(sorted(FUNCTIONS))})\b")
CALLED_RE = re.compile(r"\bre\.|\bpattern\b")
IMPORTS_RE = re.compile(r"^\s*(?:import|from) re\b", re.MULTILINE)
TRIES = 3  # of which the quickest counts
SIZE = 2_000  # characters of the short text; the long one has four times as many


def _calls(source: str) -> Iterator[tuple[int, tuple[str, ...], str | bytes, int]]:
    """Line, functions, expression and flags of each call of re, and of each `pattern=` of a field."""
    tree = ast.parse(source)  # each of pytest's workers goes through all of the code: walk no more of it than is needed
    named = {
        node.value.lineno: node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    used: dict[str, list[str]] = {}
    for name, function in USED_RE.findall(source):
        used.setdefault(name, []).append(function)
    lines = source.splitlines()
    within = (top for top in tree.body if CALLED_RE.search("\n".join(lines[top.lineno - 1 : top.end_lineno])))
    for node in itertools.chain.from_iterable(map(ast.walk, within)):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            value = keyword.value
            if keyword.arg == "pattern" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node.lineno, ("search",), value.value, 0
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re":
            if called.attr not in FUNCTIONS:
                continue
            flags = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr.isupper()}
            text = node.args[0]
            name = named.get(node.lineno, "") if called.attr == "compile" else ""
            functions = tuple(sorted(set(used.get(name, ["match"])))) if called.attr == "compile" else (called.attr,)
            if isinstance(text, ast.Constant):
                assert isinstance(text.value, (str, bytes))
                yield node.lineno, functions, text.value, sum(getattr(re, flag) for flag in flags)
            elif name:  # put together from pieces: the module has the whole
                yield node.lineno, functions, name, -1


def _expressions() -> Iterator[Any]:
    """One row for each."""
    for room in ("service", "workers", "dcbridge", "sandbox"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name, source = path.relative_to(ROOT).as_posix(), path.read_text()
            if not IMPORTS_RE.search(source) and "pattern=" not in source:
                continue
            for line, functions, text, flags in _calls(source):
                module = importlib.import_module(name.removesuffix(".py").replace("/", ".")) if flags < 0 else None
                expression = getattr(module, str(text)) if module else re.compile(text, flags)
                yield pytest.param(expression, functions, id=f"{name}:{line}")


def _once(run: Callable[[], object]) -> float:
    began = time.thread_time()
    run()
    return time.thread_time() - began


def _seconds(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(TRIES):
        best = min(best, _once(run))
        if best < 0.0005:
            break
    return best


def _run(expression: re.Pattern[Any], function: str, text: Any) -> None:
    if function in ("sub", "subn"):
        getattr(expression, function)(text[:0], text)
    elif function == "finditer":
        list(expression.finditer(text))
    else:
        getattr(expression, function)(text)


def grows_with_the_text(run: Callable[[Any], object], begin: Any, unit: Any, end: Any) -> str:
    """ "" or the figures. Four times the text takes four times as long; more than nine times is another power."""
    times = SIZE // len(unit)
    short, long = begin + unit * times + end, begin + unit * 4 * times + end
    if (slow := _once(lambda: run(long))) < 0.003:
        return ""
    quick = _seconds(lambda: run(short))
    for _ in range(TRIES - 1):  # the best of them; none more once one was good enough
        if slow > 9 * quick + 0.003:
            slow = min(slow, _once(lambda: run(long)))
    return "" if slow <= 9 * quick + 0.003 else f"{begin!r} {unit!r} {end!r}: {quick:.4f} s, then {slow:.4f} s"


@pytest.mark.parametrize(("expression", "functions"), list(_expressions()))
def test_an_expression_is_linear(expression: re.Pattern[Any], functions: tuple[str, ...]) -> None:
    source = expression.pattern if isinstance(expression.pattern, str) else expression.pattern.decode("latin-1")
    words = re.findall(r"[A-Za-z]{3,}|[!-/:-@]{2,}", re.sub(r"\\.|\[[^]]*\]", " ", source))
    units = [*LETTERS, *PAIRS, *words, *("".join(pair) for pair in itertools.product(LETTERS[:7], repeat=2))]
    for function, begin, unit, end in itertools.product(functions, ["", *words[:1]], units, ["", "\x00"]):
        texts: list[Any] = [begin, unit, end]
        if isinstance(expression.pattern, bytes):
            texts = [text.encode() for text in texts]
        slow = grows_with_the_text(partial(_run, expression, function), *texts)
        assert not slow, slow


def test_a_slow_expression_would_be_seen() -> None:
    slow = re.compile(r"[^ ]+@[^ ]+")
    assert grows_with_the_text(lambda text: slow.sub("", text), "", "a", "")
    assert not grows_with_the_text(lambda text: slow.sub("", text), "", "a ", "")


# ---------------------------------------------------------------- what a log line goes through

VALUES = [*LETTERS, *PAIRS, "://a", "a/b", "x://u:p", "/?a", "0 0", "(0", "a@b.", "é/", "16504661149 "]


def _log(**facts: object) -> None:
    structlog.get_logger().info("message_sent", **facts)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda text: _log(code=text), id="value"),
        pytest.param(lambda text: _log(message_ids=[text, text]), id="in a list"),
        pytest.param(lambda text: _log(facts={text[:10]: text}), id="in a mapping"),
        pytest.param(lambda text: _log(message=text), id="under a private name"),
        pytest.param(lambda text: structlog.get_logger().info(text), id="event"),
        pytest.param(lambda text: logging.getLogger("other").warning(text), id="of another library"),
        pytest.param(lambda text: Tokens(b"0123456789abcdef").of(text), id="token"),
    ],
)
def test_a_long_text_in_a_log_line(write: Callable[[str], object]) -> None:
    line = io.StringIO()
    try:
        configure("json", "info", line)
        for begin, unit, end in itertools.product(["", "+", "a://"], VALUES, ["", "\x00", "?", "@"]):
            slow = grows_with_the_text(write, begin, unit, end)
            assert not slow, slow
            line.seek(0)
            line.truncate()
    finally:
        logging.getLogger().handlers[:] = [
            one for one in logging.getLogger().handlers if "bridge" not in type(one).__module__
        ]
        structlog.reset_defaults()
