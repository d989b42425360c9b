"""`dcbridge send-again`: a message that has ended, sent once more."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

from dcbridge.cli import remote
from dcbridge.cli.controls import ByOption, WhyOption, who_acts
from dcbridge.cli.terminal import NO, ConfigOption, at_the_ledger, out, say_error, typed
from dcbridge.operations import send_again as operations
from dcbridge.operations.controls import UnknownName
from dcbridge.operations.session import Session
from dcbridge.printable import printable

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
    once = key or secrets.token_hex(16)

    async def work(session: Session) -> int:
        try:
            answer = await operations.send_again(session.ledger, session.configuration, named, who, once)
        except UnknownName as error:
            say_error(str(error))
            return NO
        if answer.outcome == "refused":
            say_error(f"not sent again: {answer.words}")
            return NO
        return _say(answer.ref, answer.outcome)

    def remotely(there: remote.Remote) -> int:
        answer = there.post(f"messages/{remote.segment(named)}/send-again", key=once, why=why)
        return _say(answer["ref"], answer["outcome"])

    raise at_the_ledger(config, work, remotely=remotely)


def _say(ref: str, outcome: str) -> int:
    before = "" if outcome == "new" else "; this key has sent it before"
    out.print(printable(f"sent again as {ref}{before}. dcbridge trace {ref} shows it"), markup=False)
    return 0
