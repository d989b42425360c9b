"""Look for mistakes in the Lua that Redis runs, which stay silent until the line is reached.

python -m tests.ledger.lint_lua

The ledger's files are one script, so they are read together: a global is one that no file has made local before. Said
are globals but Redis' own, locals, arguments and functions that nobody reads, and a name that hides another.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from luaparser import ast, astnodes  # type: ignore[import-untyped]  # ships no types

from dcbridge.ledger.lua import FILES, HERE, ledger_script, read_lua, take_script

GLOBALS = frozenset({
    *("redis", "cjson", "ARGV", "KEYS"),
    *("error", "ipairs", "math", "next", "pairs", "pcall", "select", "string", "table", "tonumber", "tostring", "type"),
    "unpack", "rawget", "setmetatable",
})  # fmt: skip


@dataclass
class _Local:
    line: int
    what: str
    is_read: bool = False


@dataclass
class Lint:
    """What one script says. Warnings are (line, sentence)."""

    warnings: list[tuple[int, str]] = field(default_factory=list)
    scopes: list[dict[str, _Local]] = field(default_factory=list)
    line: int = 1  # of what was last seen to have one

    def script(self, text: str) -> list[tuple[int, str]]:
        """All of it, in the order of its lines."""
        with self._scope():
            self._statements(ast.parse(text).body.body)
        return sorted(self.warnings)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        self.scopes.append({})
        yield
        for name, local in self.scopes.pop().items():
            self._must_be_read(name, local)

    def _must_be_read(self, name: str, local: _Local) -> None:
        if not local.is_read and not name.startswith("_"):
            self.warnings.append((local.line, f"unused {local.what} {name}"))

    def _declare(self, node: Any, what: str) -> None:
        if not isinstance(node, astnodes.Name):
            return  # of "..."
        name, line = node.id, node.line or self.line
        if not name.startswith("_") and any(name in scope for scope in self.scopes):
            self.warnings.append((line, f"{what} {name} hides another"))
        if name in self.scopes[-1]:
            self._must_be_read(name, self.scopes[-1][name])
        self.scopes[-1][name] = _Local(line, what)

    def _read(self, node: Any) -> None:
        for scope in reversed(self.scopes):
            if node.id in scope:
                scope[node.id].is_read = True
                return
        if node.id not in GLOBALS:
            self.warnings.append((node.line or self.line, f"global {node.id}"))

    def _statements(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            self._visit(node)

    def _block(self, node: Any) -> None:
        with self._scope():
            self._statements(node.body)

    def _function(self, node: Any) -> None:
        with self._scope():
            for argument in node.args:
                self._declare(argument, "argument")
            self._statements(node.body.body)

    def _visit(self, node: Any) -> None:
        self.line = getattr(node, "line", None) or self.line
        match node:
            case astnodes.LocalAssign():
                self._statements(node.values)
                for target in node.targets:
                    self._declare(target, "variable")
            case astnodes.Assign():
                self._statements(node.values)
                for target in node.targets:
                    self._assign(target)
            case astnodes.LocalFunction():
                self._declare(node.name, "function")
                self._function(node)
            case astnodes.Function():
                self._assign(node.name)
                self._function(node)
            case astnodes.AnonymousFunction():
                self._function(node)
            case astnodes.Fornum():
                self._statements([node.start, node.stop, node.step])
                with self._scope():
                    self._declare(node.target, "variable")
                    self._statements(node.body.body)
            case astnodes.Forin():
                self._statements(node.iter)
                with self._scope():
                    for target in node.targets:
                        self._declare(target, "variable")
                    self._statements(node.body.body)
            case astnodes.Repeat():
                with self._scope():  # its condition sees what is local in it
                    self._statements([*node.body.body, node.test])
            case astnodes.Block():
                self._block(node)
            case astnodes.Index():
                self._visit(node.value)
                if node.notation == astnodes.IndexNotation.SQUARE:
                    self._visit(node.idx)
            case astnodes.Field():
                if node.between_brackets:
                    self._visit(node.key)
                self._visit(node.value)
            case astnodes.Invoke():
                self._visit(node.source)
                self._statements(node.args)
            case astnodes.Name():
                self._read(node)
            case astnodes.Node():
                for value in vars(node).values():
                    self._statements(one for one in _list(value) if isinstance(one, astnodes.Node))

    def _assign(self, target: Any) -> None:
        """A variable that is only written is as unused as before."""
        if not isinstance(target, astnodes.Name):
            self._visit(target)
        elif not any(target.id in scope for scope in self.scopes):
            self.warnings.append((target.line or self.line, f"global {target.id} is set"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def places() -> list[str]:
    """Of each line of the ledger's script, the file and the line in it."""
    files = [[f"{name}.lua:{n}" for n, _ in enumerate(read_lua(HERE / f"{name}.lua").split("\n"), 1)] for name in FILES]
    header = len(ledger_script().split("\n")) - sum(map(len, files))
    return [*["the header"] * header, *(place for lines in files for place in lines)]


def main() -> int:
    """Print each warning; 1 where there are any."""
    where = places()
    said = [f"{where[line - 1]}: {sentence}" for line, sentence in Lint().script(ledger_script())]
    for name, text in (("take.lua", take_script()), ("reports/books.lua", read_lua(HERE / "reports" / "books.lua"))):
        said += [f"{name}: {sentence}" for _, sentence in Lint().script(text)]
    for one in said:
        sys.stdout.write(f"dcbridge/ledger/{one}\n")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
