"""Real Postfix, a bridge that is away, and every report: `python -m tests.faults.postfix_reports [seconds] [emails]`.

A worker hands emails to Postfix, each to recipients who exist and who do not, in ASCII and beyond. Postfix delivers,
bounces, and posts its reports by the recipe of docs/providers/smtp.md while the bridge's service is away. Afterwards no
report may be missing, and the callback secret may stand neither in the mail log nor in any command line. As root.
"""

from __future__ import annotations

import smtplib
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.postfix import BOUNCED, DELIVERED, PUT_ASIDE, REPORTS, SLOW, Postfix, why_not
from tests.stack import EMAIL, PATIENCE, Stack, quiet_port, until

ANA, BOB = f"ana@{DELIVERED}", f"bob@{BOUNCED}"
JOSE, JURGEN = f"josé@{DELIVERED}", f"jürgen@{BOUNCED}"
LATE = f"late@{SLOW}"


@dataclass
class CommandLines:
    """Reads all command lines of this machine, over and over, while it is entered."""

    secret: bytes
    seen: int = 0  # of curl, which posts a report: that it looked when there was something to see
    leaks: int = 0
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.03):
            for one in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = one.read_bytes()
                except OSError:
                    continue  # it has ended
                self.seen += b"report.conf" in line
                self.leaks += self.secret in line


@dataclass(frozen=True, slots=True)
class Found:
    """How it ended: recipient -> "Delivered" or the reason's code, of the last email; and what must be 0."""

    emails: int
    reports: int
    waited: int  # attempts of Postfix that met no bridge
    ended: dict[str, str]
    lost: int
    dead_letters: int
    kept: int
    secrets_in_log: int
    secrets_in_command_lines: int
    command_lines_seen: int
    seconds: float


def play(*, away: float, emails: int, smtputf8: bool) -> Found:
    """The whole story. `away`: seconds for which nobody takes a report after the first one was written."""
    port = quiet_port()
    provider = {"port": port, "mail_from": REPORTS}
    with Stack(providers={"mail": provider}, parts=("sandbox", "service")) as stack:
        secret = stack.kept("mail_callback_secret")
        url = f"{stack.public}/callbacks/mail/status"
        with Postfix(port, url, secret, smtputf8=smtputf8) as postfix, CommandLines(secret.encode()) as command_lines:
            began = time.monotonic()
            people = (ANA, BOB, JOSE, JURGEN)
            sent = [stack.agent_mails(*people) for _ in range(emails)]
            [late] = [stack.agent_mails(LATE)]
            stack.terminate("service")
            stack.start("worker")
            refused = "report not posted: curl ended with 7"
            until(lambda: refused in postfix.log(), "a report meets no bridge")
            time.sleep(away)
            waited = postfix.log().count(refused)
            stack.start("service")
            ended = {one: [_end(stack, message, one) for message in sent] for one in people}
            _a_delay(stack, postfix, late)
            return Found(
                emails,
                _taken(stack),
                waited,
                {one: ends[-1] for one, ends in ended.items()},
                sum(end == "" for ends in ended.values() for end in ends),
                _dead_letters(stack),
                len(postfix.kept()),
                postfix.log().count(secret),
                command_lines.leaks,
                command_lines.seen,
                round(time.monotonic() - began, 1),
            )


def _end(stack: Stack, message: str, recipient: str) -> str:
    """ "Delivered", the code of the reason, or "" where nobody ever said."""
    told = f"a receipt for {message} and {recipient}"
    try:
        receipt = until(lambda: stack.message(message, EMAIL)["receipts"].get(recipient), told, PATIENCE + PUT_ASIDE)
    except AssertionError:
        return ""
    return str(receipt["status"]) if receipt["status"] == "Delivered" else str(receipt["reasons"][0]["code"])


def _a_delay(stack: Stack, postfix: Postfix, late: str) -> None:
    """Postfix says that it could not deliver yet; the bridge reads it, and the message goes on waiting."""
    ref = stack.ref(late, EMAIL)
    until(lambda: stack.entry(late, EMAIL).state == "sent", "Postfix has the slow one")
    with smtplib.SMTP("127.0.0.1", postfix.port) as connection:
        connection.ehlo()
        connection.mail(REPORTS, ["RET=HDRS", f"ENVID={ref}"])
        connection.rcpt(LATE, ["NOTIFY=DELAY"])
        connection.data(b"Subject: the same once more\r\n\r\n")
    told = until(
        lambda: [one for one in stack.lines("worker", "delivery_update") if one["message"] == ref], "the delay is told"
    )
    assert told[0]["status"] == "sent"
    assert stack.entry(late, EMAIL).state == "sent"


def _taken(stack: Stack) -> int:
    return len({line["message"] for line in stack.lines("worker", "delivery_update")})


def _dead_letters(stack: Stack) -> int:
    with stack.ledger() as connection:
        found = connection.zcard("dcb:dead")
        assert isinstance(found, int)
        return found


def main(away: float = 60.0, emails: int = 10) -> int:
    """Both ways; 0 when nothing was lost and nothing leaked."""
    if why := why_not():
        print(f"cannot be run here: {why}")  # noqa: T201 (a script prints)
        return 2
    wrong = 0
    for smtputf8 in (True, False):
        found = play(away=away, emails=emails, smtputf8=smtputf8)
        print(f"SMTPUTF8 {'offered' if smtputf8 else 'not offered'}: {found}")  # noqa: T201
        wrong += found.lost + found.dead_letters + found.kept + found.secrets_in_log + found.secrets_in_command_lines
    return 1 if wrong else 0


if __name__ == "__main__":
    asked = [*sys.argv[1:3], *("60", "10")[len(sys.argv) - 1 :]]
    sys.exit(main(float(asked[0]), int(asked[1])))
