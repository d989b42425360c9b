"""Why a text is no YAML, in the words of whoever wrote it and not of the parser; nothing of the text is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, cast

import yaml


class Mistake(NamedTuple):
    """The line, from 1, what is wrong there, and its fix."""

    line: int
    what: str
    fix: str


_IN_QUOTES = "put the whole value in quotes"
_VARIOUS = (
    "look at the indentation here and above, for a missing colon or one without a space behind it, and for one in a"
    " value, which then needs quotes"
)

MERGE_KEY = ("is a merge key of YAML, which is not read", "write the fields themselves here")
_NO_COLON = ("the line has no colon with a space behind it", "write it as key: value")

# What PyYAML says, and what most often is behind it.
_WORDS = (
    (r"expected <block end>, but found '-'", "a line that begins with a dash does not fit those above", _VARIOUS),
    (r"expected <block end>, but found '<scalar>'", "a word stands behind a value that has ended",
     "put the whole value in quotes, and write a quotation mark that is part of it twice"),
    (r"expected <block end>", "this line does not fit those above", _VARIOUS),
    (r"unindent does not match|inconsistent indentation", "this line does not fit those above", _VARIOUS),
    (r"undefined alias", "a value begins with *, which YAML takes for an alias", _IN_QUOTES),
    (r"duplicate anchor", "a value begins with &, which YAML takes for an anchor", _IN_QUOTES),
    (r"while scanning an? (alias|anchor)|expected alphabetic or numeric character",
     "a value begins with * or &, which YAML takes for an alias or an anchor", _IN_QUOTES),
    (r"character '([%@`])'", "a value begins with \\1, which YAML keeps for itself", _IN_QUOTES),
    (r"chomping or indentation|indentation indicator", "a value begins with | or >, which announces a long text",
     _IN_QUOTES),
    (r"mapping keys are not allowed|block sequence entries|sequence entries are not allowed",
     "a value begins with ? or a dash, which YAML keeps for itself", _IN_QUOTES),
    (r"unknown escape|escape sequence", "a backslash in double quotes stands before a character that it cannot change",
     "use single quotes"),
    (r"expected ',' or '\]'", "the list that opens with [ has no ] at its end", "close it, or put the value in quotes"),
    (r"expected ',' or '\}'", "the mapping that opens with {{ has no }} at its end",
     "close it, or put the value in quotes"),
    (r"another document", "a second document begins here", "leave out the line with --- or ..."),
    (r"tag", "a value begins with !, which YAML takes for a tag", _IN_QUOTES),
)  # fmt: skip


def mistake(error: yaml.YAMLError, text: str) -> Mistake:
    """What is wrong with a text that PyYAML cannot read."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, cast(int, error.position)) + 1
        return Mistake(line, "holds a control character", "delete the line and write it anew")
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return Mistake(1, "cannot be read", _VARIOUS)
    line = error.problem_mark.line + 1
    if error.context == "while scanning a quoted scalar" and error.context_mark and "stream" in (error.problem or ""):
        what = "the quotation mark that opens in this line is never closed"
        return Mistake(error.context_mark.line + 1, what, "close it, or leave it out")
    for opened, closed in _quotes_over_lines(text):
        if closed == line:
            return Mistake(opened, *open_quote(closed))
    written = _line(text, line)
    said = f"{error.context or ''}: {error.problem or ''}"
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return Mistake(line, "a tab stands at the beginning of the line", "indent with spaces")
    if "'\\t'" in said:
        return Mistake(line, "a tab stands beside a value", "write a space in its place")
    for at in (line, line - 1):
        if "\u00a0" in _line(text, at):
            return Mistake(at, "a no-break space, as web pages have it, stands in the line", "write plain spaces")
    if written.lstrip().startswith("<<:"):
        return Mistake(line, "<< " + MERGE_KEY[0], MERGE_KEY[1])
    if "mapping values" in said:
        return _colon(line, text)
    if error.context_mark and "expected ':'" in said:
        return Mistake(error.context_mark.line + 1, *_NO_COLON)
    if error.context_mark and "expected ','" in said:
        line = error.context_mark.line + 1
    for pattern, what, fix in _WORDS:
        if found := re.search(pattern, said):
            return Mistake(line, found.expand(what).replace("{{", "{").replace("}}", "}"), fix)
    return Mistake(line, "cannot be read", _VARIOUS)


def _colon(line: int, text: str) -> Mistake:
    """Of a colon that PyYAML has no use for."""
    colon = re.compile(r":(\s|$)")
    above, written = _line(text, line - 1), _line(text, line)
    if above.strip() and not above.lstrip().startswith("#") and not colon.search(above):
        return Mistake(line - 1, *_NO_COLON)
    if len(colon.findall(written)) > 1:
        return Mistake(line, "a second colon with a space behind it stands in the line", "put the value in quotes")
    return Mistake(line, "a colon stands where none can be", _VARIOUS)


def _line(text: str, number: int) -> str:
    return next(iter(text.split("\n")[number - 1 : number]), "") if number > 0 else ""


def open_quote(closed: int) -> tuple[str, str]:
    """Of a quotation mark that takes the next lines with it."""
    return f"the quotation mark that opens in this line is closed in line {closed} only", "close it in its own line"


def swallows_a_line(node: yaml.ScalarNode, text: str) -> bool:
    """Whether a value in quotes goes over several lines and takes keys along, as one that was not closed does."""
    if node.style not in ("'", '"') or node.start_mark.line == node.end_mark.line:
        return False
    inner = text.splitlines()[node.start_mark.line + 1 : node.end_mark.line + 1]
    return any(re.match(r"\s*(- )?[\w.-]+:(\s|$)", line) for line in inner)


def _quotes_over_lines(text: str) -> Iterator[tuple[int, int]]:
    """(first line, last line) of each text in quotes that is longer than a line, as far as tokens can be read."""
    try:
        for token in yaml.scan(text, Loader=yaml.BaseLoader):
            if isinstance(token, yaml.ScalarToken) and token.style in ("'", '"'):
                first, last = token.start_mark.line + 1, token.end_mark.line + 1
                if first != last:
                    yield first, last
    except yaml.YAMLError:
        return
