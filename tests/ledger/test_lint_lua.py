"""What the check of the Lua files finds, and what it lets pass."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dcbridge.ledger.lua import ledger_script
from tests.ledger.lint_lua import GLOBALS, Lint, places

FOUND = {
    "return nothing": ["global nothing"],
    "total = 1": ["global total is set"],
    "function helper() end": ["global helper is set"],
    "local one = 1": ["unused variable one"],
    "local one\none = 2": ["unused variable one"],
    "local function f() end": ["unused function f"],
    "local function f(one) end return f": ["unused argument one"],
    "for _, one in ipairs({}) do end": ["unused variable one"],
    "for i = 1, 2 do end": ["unused variable i"],
    "local one = 1\nlocal one = 2\nreturn one": ["unused variable one", "variable one hides another"],
    "local one = 1\nlocal function f(one) return one end\nreturn f(one)": ["argument one hides another"],
    "local one = {}\nreturn one[index]": ["global index"],
    "return {[key] = 1}": ["global key"],
    "local one = one": ["unused variable one", "global one"],
    "if a then elseif b then else c() end": ["global a", "global b", "global c"],
    "repeat local done = true until done": [],
    "local f\nlocal function g() return f() end\nf = function() return 1 end\nreturn g()": [],
    "local one = {}\none.two = 2\nfunction one.three() end\nreturn one": [],
    "local t = {}\nreturn t.missing, t:method(), {field = 1}": [],
    "for _, _ in pairs({}) do end": [],
    "return redis.call('GET', ARGV[1]), string.sub('a', 1), tonumber('1')": [],
}


@pytest.mark.parametrize("text", FOUND, ids=lambda text: text.splitlines()[0])
def test_what_is_found(text: str) -> None:
    assert sorted(sentence for _, sentence in Lint().script(text)) == sorted(FOUND[text])


@pytest.mark.parametrize("text", [text for text, found in FOUND.items() if "elseif" not in text])
@pytest.mark.skipif(shutil.which("luacheck") is None, reason="luacheck is not installed")
def test_luacheck_objects_to_the_same(text: str, tmp_path: Path) -> None:
    (tmp_path / "one.lua").write_text(text + "\n")
    known = ["--std", "none", "--globals", *GLOBALS, "--ignore", "542"]  # 542: an empty branch
    said = subprocess.run(["luacheck", *known, "--", tmp_path / "one.lua"], capture_output=True, text=True)
    assert bool(said.returncode) == bool(FOUND[text]), said.stdout


def test_a_line_is_told_by_its_file() -> None:
    text = ledger_script().split("\n")
    at = next(n for n, line in enumerate(text) if line.startswith("function verbs.sweep"))
    assert places()[at].startswith("sweep.lua:")
    assert len(places()) == len(text)
