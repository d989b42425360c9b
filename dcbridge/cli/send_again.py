"""`dcbridge send-again`: a message that has ended, sent once more."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from dcbridge.cli.controls import ByOption, WhyOption, who_acts
from dcbridge.cli.terminal import NO, ConfigOption, at_the_ledger, out, say_error, typed
from dcbridge.operations import send_again as operations
from dcbridge.operations.controls import UnknownName
from dcbridge.operations.session import Session

RefArgument = Annotated[
    str, typer.Argument(metavar="REF", help="Reference of the message, as dcbridge trace and the log have it.")
]
KeyOption = Annotated[
    str, typer.Option("--key", help="The same key sends once, however often the command runs. Default: a new one.")
]


def send_again(
    ref: RefArgument,
    key: KeyOption = "",
    why: WhyOption = "",
    by: ByOption = "",
    config: ConfigOption = None,
) -> None:
    """Send a message that has ended once more, as a new message that its consumer gets a second time.

    Needs DCBRIDGE_KEEP_TEXT. It waits in its conversation; opt-outs, quiet hours, limits and pauses apply to it. Agents
    get no receipt for it.
    """
    named, who = typed(ref), who_acts(by, why)

    async def work(session: Session) -> int:
        try:
            answer = await operations.send_again(
                session.ledger, session.configuration, named, who, key or secrets.token_hex(8)
            )
        except UnknownName as error:
            say_error(str(error))
            return NO
        if answer.outcome == "refused":
            say_error(f"not sent again: {answer.words}")
            return NO
        before = "" if answer.outcome == "new" else "; this key has sent it before"
        out.print(f"sent again as {answer.ref}{before}. dcbridge trace {answer.ref} shows it", markup=False)
        return 0

    raise at_the_ledger(config, work)
