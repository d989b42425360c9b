"""Each judge by itself, and a table of what was looked at: `make judges`, or `python -m tests.judges [--judge NAME]`.

Node.js and npm have to be on the PATH, and npm's registry or its cache in reach: what node/package-lock.json names is
installed into a scratch folder. Genesys' clients that are not on npm are fetched from their public repositories, or
from `--clones FOLDER`, which has each under its name. What cannot be had is skipped, says why, and is no pass.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.judges import authlib, bayeux, clients, cloud, oidc
from tests.judges.rows import FAILED, PASSED, SKIPPED, CannotJudge, Row, table
from tests.judges.stage import Stage

Judge = Callable[[Stage], Awaitable[list[Row]]]

JUDGES: dict[str, tuple[str, Judge]] = {
    "authentication": ("Genesys' client of Authentication", clients.authentication),
    "statistics": ("Genesys' client of Statistics", clients.statistics),
    "engagement": ("Genesys' client of Engagement", clients.engagement),
    "callbacks": ("Genesys' client of Engagement: callbacks", clients.callbacks),
    "cometd-client": ("CometD's client", clients.cometd),
    "cometd-server": ("CometD's server", bayeux.judge),
    "open-messaging": ("Open Messaging: Genesys' client, and who else verifies its signature", cloud.judge),
    "oidc": ("oidc-provider, at which people sign in to the console", oidc.judge),
    "authlib": ("Authlib, as client and as server", authlib.judge),
}


async def judged(names: list[str], clones: Path | None) -> list[tuple[str, list[Row]]]:
    found = []
    with tempfile.TemporaryDirectory(prefix="dcbridge-judges-") as folder:
        stage = Stage(Path(folder), clones)
        for name in names:
            title, judge = JUDGES[name]
            try:
                rows = await judge(stage)
            except CannotJudge as error:
                rows = [Row("all of it", SKIPPED, str(error))]
            found.append((title, rows))
            sys.stdout.write(table(title, rows))
            sys.stdout.flush()
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.judges", description=__doc__)
    parser.add_argument("--judge", action="append", choices=[*JUDGES], help="this one only; may be given again")
    parser.add_argument("--clones", type=Path, help="folder with clones of Genesys' repositories")
    asked = parser.parse_args(arguments)
    found = asyncio.run(judged(asked.judge or [*JUDGES], asked.clones))
    count = {what: sum(row.outcome == what for _, rows in found for row in rows) for what in (PASSED, FAILED, SKIPPED)}
    sys.stdout.write(f"\n{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped\n")
    return 1 if count[FAILED] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
