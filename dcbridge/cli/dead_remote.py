"""`dcbridge dead`, asked of a console."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import typer

from dcbridge.cli.dead_table import ROOMY, letters_table
from dcbridge.cli.remote import Remote, segment
from dcbridge.cli.terminal import out, print_block, print_json, say_warning
from dcbridge.ledger.dead_letters import DeadLetter, Selection
from dcbridge.operations.dead_letters import Chosen
from dcbridge.operations.wording import utc
from dcbridge.printable import printable, printable_lines

_PAGE = 500


def _selected(selection: Selection) -> dict[str, object]:
    return {
        "what": selection.kind.replace(" ", "-"),
        "channel": selection.channel_id,
        "reason": selection.reason,
        "since": utc(selection.since) if selection.since else None,
    }


def show_list(there: Remote, selection: Selection, limit: int, as_json: bool) -> int:
    """The newest first."""
    found: list[Mapping[str, Any]] = []
    cursor = ""
    while len(found) < limit:
        at_once = min(_PAGE, limit - len(found))
        page = there.get("dead-letters", **_selected(selection), limit=at_once, cursor=cursor)
        found += page["dead_letters"]
        cursor = page["cursor"]
        if not cursor:
            break
    if as_json:
        for one in found:
            print_json(one)
        return 0
    if not found:
        out.print("No dead letter matches." if selection != Selection() else "There are no dead letters.")
        return 0
    print_block(letters_table([_letter(one) for one in found], roomy=not out.is_terminal or out.width >= ROOMY))
    if cursor:
        out.print(f"These are the newest {len(found)}; use --limit to see more.")
    return 0


def _letter(said: Mapping[str, Any]) -> DeadLetter:
    at = datetime.fromisoformat(said["at"]).timestamp()
    return DeadLetter(said["id"], said["what"], said["channel"], said["reason"], at, said["bytes"])


def show(there: Remote, letter_id: str, raw: bool, as_json: bool) -> int:
    """One of them."""
    if raw:
        content = base64.b64decode(there.post(f"dead-letters/{segment(letter_id)}/reveal")["raw"])
        say_warning("the following output is private: text, numbers, addresses")
        typer.echo(printable_lines(content.decode(errors="replace")) if out.is_terminal else content, nl=False)
        return 0
    found = there.get(f"dead-letters/{segment(letter_id)}")
    if as_json:
        print_json(found)
        return 0
    for name, value in found.items():
        if value != "":
            out.print(printable(f"{name.replace('_', ' ')}: {value}"), markup=False)
    return 0


def act(there: Remote, verb: str, chosen: Chosen, *, dry_run: bool, sure: bool) -> int:
    """Replay or drop: as many requests as that takes. 1 where a named one does not exist, or none was replayed."""
    body = _selected(chosen.selection) | {"ids": list(chosen.ids)}
    body |= {"all": not chosen.ids and chosen.selection == Selection()}
    if verb == "drop" and not (sure or dry_run or len(chosen.ids) == 1) and sys.stdin.isatty():
        count = len(there.post("dead-letters/drop", **body, dry_run=True)["results"])
        if count > 1 and not typer.confirm(f"Delete {count} dead letters or more with their raw bytes?", err=True):
            out.print("Nothing was dropped.")
            return 1
    done = stayed = 0
    while True:
        found = there.post(f"dead-letters/{verb}", **body, dry_run=dry_run)
        for one in found["results"]:
            done += one["done"]
            stayed += not one["done"]
            if verb == "replay" and not one["done"]:
                out.print(printable(f"{one['id']}: stays: {one['says']}"), markup=False)
        # What stays would come again; of what was only looked at, the first page is told.
        if not found["more"] or dry_run or not any(one["done"] for one in found["results"]):
            break
    word = {"replay": "replayed", "drop": "dropped"}[verb]
    out.print(f"{done} {'would be ' if dry_run else ''}{word}, {stayed} not.")
    missing = len(chosen.ids) - done if verb == "drop" and chosen.ids else 0
    return 1 if (verb == "replay" and not done and stayed) or missing > 0 else 0
