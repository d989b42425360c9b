"""The ledger's script, put together: a header written from what Python knows, then the .lua files in their order.

What fields.py names stands in Lua as F.<field>, S.<state>, T.<task state>, U.<delivery status> or
K.<kind of a dead letter>. It is put in its
place here, so that a name costs nothing while the script runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from dcbridge.ledger.fields import MessageEntry, State, TaskEntry, TaskState, words
from dcbridge.ledger.jobs import JOBS
from dcbridge.ledger.verbs import Verb, read_verbs, with_places

HERE = Path(__file__).parent
FILES = (
    *(
        "clock",
        "aside",
        "common",
        "owed",
        "leases",
        "history",
        "index",
        "pauses",
        "pacing",
        "controls",
        "routes",
        "speed",
        "breaker",
    ),
    *("subscribers", "lines", "dispatch"),
    *(
        "parked",
        "outcomes",
        "messages",
        "attempts",
        "unconfigured",
        "lookups",
        "receipts",
        "blobs",
        "pieces",
        "uploads",
        "locks",
        "threads",
        "mailboxes",
        "own",
        "tasks",
        "sessions",
        "dead_letters",
        "work_items",
        "bookings",
        "requests",
        "deliveries",
        "events",
        "consent",
        "quiet",
        "operator",
        "tokens",
        "signals",
        "services",
        "signatures",
    ),
    *("announced", "sweep", "run"),
)
# Files of whose own locals no other one reads any; what others need of them stands in a table, or is declared in a file
# before. Each is a block of its own: one function of Lua has 200 locals at most.
APART = frozenset({"dispatch", "messages", "attempts", "quiet", "sweep"})
# Those of APART of which others need no more than their verbs. Their functions are made in the calls that use one of
# them: making all of them anew is most of what a short call costs.
LATER = frozenset(
    {"own", "threads", "mailboxes", "uploads", "lookups", "receipts", "dead_letters", "work_items", "events", "consent"}
    | {"bookings", "requests", "locks", "operator", "tokens", "signals", "services", "signatures"}
)
_NAME = re.compile(r"\b[FSTUK]\.[a-z]\w*")


@cache
def ledger_script() -> str:
    """All verbs, and what runs them."""
    return "\n".join([_header(), *map(_file, FILES)])


def _file(name: str) -> str:
    text = read_lua(HERE / f"{name}.lua")
    if name in APART:
        text = f"do {text}end"
    elif name in LATER:
        names = [name, *(verb.name for verb in read_verbs((HERE / f"{name}.lua").read_text()))]
        known = ",".join(f"deferred.{one}" for one in names)
        text = f"do local function build() {text}end {known}={','.join(['build'] * len(names))} end"
    return text  # in as many lines as before


@cache
def take_script() -> str:
    """How a worker takes jobs."""
    return "\n".join([_jobs(), read_lua(HERE / "take.lua")])


@cache
def verbs() -> Mapping[str, Verb]:
    """All verbs of the script, by name."""
    return {verb.name: verb for name in FILES for verb in read_verbs((HERE / f"{name}.lua").read_text())}


def read_lua(path: Path) -> str:
    """One file, with what is stored in place of each name."""
    return _stored(with_places(path.read_text()))


def _stored(text: str) -> str:
    """Raises ValueError for a name that fields.py does not know."""
    known = words()

    def stored(found: re.Match[str]) -> str:
        if found[0] not in known:
            raise ValueError(f"{found[0]} is not in dcbridge/ledger/fields.py")
        return f"'{known[found[0]]}'"

    return _NAME.sub(stored, text)


def _header() -> str:
    numbers = dict.fromkeys(one.wire for kind in (MessageEntry, TaskEntry) for one in kind.fields() if one.is_number)
    states = f"{{m={_set(State)},t={_set(TaskState)}}}"
    return f"{_jobs()}\nlocal NUMBERS = {_set(numbers)}\nlocal STATES = {states}"


def _jobs() -> str:
    rows = (f"{n}={{path='{j.path}',queue='{j.queue}',about='{j.about}',timeout={j.timeout}}}" for n, j in JOBS.items())
    return f"local JOBS = {{{','.join(rows)}}}"


def _set(words: Iterable[str]) -> str:
    return "{" + ",".join(f"['{word}']=true" for word in words) + "}"
