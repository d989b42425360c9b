"""The verbs of the ledger's script, by the header that stands above each of them in the Lua files.

    -- @verb submitted ref token part count provider_id delivered confirm_ms keep_ms -> State|next|stale
    -- @verb receipts_again channel code (ref delay_ms)… -> 1

What stands behind "…" may come any number of times. The body of a verb says `a.part` for an argument; for those that
come again and again, `for i = each.from, #ARGV, each.size do … each.ref`. Their places in ARGV are put in when the
script is loaded, so that a name costs nothing while it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

FIRST = 3  # in ARGV: the verb and the ISO time come before the arguments
_VERB = re.compile(
    r"^-- @verb (?P<name>\w+)(?P<arguments>.*?) -> .+\n(?:--.*\n)*function verbs\.(?P<function>\w+)\(\)\n"
    r"(?P<body>(?:(?!end$).*\n)*)end$",
    re.MULTILINE,
)
_EACH = re.compile(r"(?:\((?P<group>[^()]*)\)|(?<!\w)(?P<one>\w+))…$")
_NAME = re.compile(r"\b(?P<of>a|each)\.(?P<name>[a-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Verb:
    """What one verb takes: `arguments` once each, and `each` any number of times."""

    name: str
    arguments: tuple[str, ...]
    each: tuple[str, ...] = ()

    def takes(self, count: int) -> bool:
        """Whether it may be called with so many arguments."""
        more = count - len(self.arguments)
        return more == 0 or (bool(self.each) and more > 0 and more % len(self.each) == 0)

    def place(self, of: str, name: str) -> str:
        """What stands in Lua for a name. Raises ValueError for one that the header does not have."""
        begin = FIRST + len(self.arguments)
        if of == "a" and name in self.arguments:
            return f"ARGV[{FIRST + self.arguments.index(name)}]"
        if of == "each" and self.each and name in ("from", "size"):
            return str(begin if name == "from" else len(self.each))
        if of == "each" and name in self.each:
            at = self.each.index(name)
            return f"ARGV[i + {at}]" if at else "ARGV[i]"
        raise ValueError(f"{of}.{name} is not in the header of {self.name}")


def read_verbs(text: str) -> Iterator[Verb]:
    """Those of one Lua file. Raises ValueError for a verb without a header, or with one that is not its own."""
    found = list(_VERB.finditer(text))
    headers, functions = text.count("-- @verb "), len(re.findall(r"^function verbs\.", text, re.MULTILINE))
    if not len(found) == headers == functions:
        raise ValueError(f"{functions} verbs have {headers} headers, of which {len(found)} can be read")
    yield from map(_verb, found)


def with_places(text: str) -> str:
    """A Lua file, with a place in ARGV for each name of an argument."""

    def placed(found: re.Match[str]) -> str:
        verb = _verb(found)
        place: Callable[[re.Match[str]], str] = lambda name: verb.place(name["of"], name["name"])  # noqa: E731
        return found[0].replace(found["body"], _NAME.sub(place, found["body"]))

    return _VERB.sub(placed, text)


def _verb(found: re.Match[str]) -> Verb:
    if found["name"] != found["function"]:
        raise ValueError(f"the header of {found['function']} is of {found['name']}")
    arguments, each = found["arguments"].strip(), ()
    if many := _EACH.search(arguments):
        arguments = arguments[: many.start()]
        each = tuple((many["group"] or many["one"]).split())
    return Verb(found["name"], tuple(arguments.split()), each)
