"""Dead letters as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from dcbridge.ledger.dead_letters import DeadLetter
from dcbridge.operations.wording import format_duration, utc
from dcbridge.printable import printable

ROOMY = 110  # columns from which on a letter is told in full on one line


def letters_table(letters: Sequence[DeadLetter], *, roomy: bool) -> Table:
    """A line a letter, with its id in one piece; where there is no room, without the exact time and the size."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in (
        "id",
        "what",
        "channel",
        *(("since",) if roomy else ()),
        "age",
        *(("bytes",) if roomy else ()),
        "reason",
    ):
        right = name in ("age", "bytes")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=right or name == "id")
    now = time.time()
    for letter in letters:
        cells = [
            letter.id,
            letter.what,
            letter.channel_id,
            *([utc(letter.at)] if roomy else []),
            format_duration(now - letter.at),
        ]
        cells += [*([str(letter.size)] if roomy else []), letter.reason]
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
