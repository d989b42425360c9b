"""`dcbridge worker` that kills itself at the third arrival in a session: "before" it is stored, or "after"."""

from __future__ import annotations

import os
import signal
import sys

from dcbridge.ledger import NewTask
from dcbridge.ledger.sessions import Sessions

AT = 3


def main(edge: str) -> None:
    original, seen = Sessions.arrive, 0

    async def arrive(self: Sessions, digest: str, session: str, task: NewTask) -> bool:
        nonlocal seen
        seen += 1
        if edge == "before" and seen == AT:
            os.kill(os.getpid(), signal.SIGKILL)
        new = await original(self, digest, session, task)
        if seen >= AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return new

    Sessions.arrive = arrive  # type: ignore[method-assign]
    from dcbridge.cli.app import main as product

    sys.argv = ["dcbridge", "worker"]
    product()


if __name__ == "__main__":
    main(sys.argv[1])
