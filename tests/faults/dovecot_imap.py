"""Dovecot's mailboxes are emptied by `dcbridge mail-in` while both are disturbed: nothing is lost, nothing comes twice.

python -m tests.faults.dovecot_imap 400        # mails; the figures

1. Mails come while the folder is idle: told by IDLE, because the next look would be a minute later.
2. Dovecot is restarted while mails are fetched.
3. Dovecot comes back with another UIDVALIDITY and other UIDs.
4. `mail-in` is killed again and again (kill -9) while it fetches, stores and marks.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass

from tests.faults.dovecot import PASSWORD, Dovecot
from tests.mail.writing import plain
from tests.stack import EMAIL, Stack, until

CARE, USERS = "care@company.test", ("care", "shop")
SENDERS = 7


@dataclass(frozen=True)
class Found:
    """What became of the mails."""

    sent: int
    told_within: float  # seconds from a mail in an idle folder to the agent
    restarts: int
    renumbered: int
    kills: int
    fetched_again: int  # mails that were found stored after a kill or a lost connection
    lost: int
    twice: int
    unmarked: int  # mails that are still in the folder as if nobody had taken them


class Play:
    """One run."""

    def __init__(self, stack: Stack, dovecot: Dovecot) -> None:
        self._stack, self._dovecot = stack, dovecot
        self.sent = self.kills = self.restarts = self.last = 0

    def put(self, count: int) -> None:
        for user in USERS:
            numbers = range(self.sent, self.sent + count // len(USERS))
            self._dovecot.put(user, *map(_mail, numbers))
            self.sent += len(numbers)

    def seen(self) -> list[int]:
        return [int(one["text"]) for one in self._stack.recorded("seen") if one["channel_id"] == EMAIL]

    def all_arrive(self) -> None:
        until(lambda: len(set(self.seen())) >= self.sent, f"{self.sent} mails reach the agent", 300.0)

    def some_arrive(self, share: float) -> None:
        """So much of what was put last is under way."""
        wanted = self.sent - round(self.last * (1 - share))
        until(lambda: self._stored() >= wanted, "some are stored", 120.0, pause=0.01)

    def _stored(self) -> int:
        return len({line["message"] for line in self._stack.lines("mail-in", "mail")})

    def idle(self) -> float:
        """The folders are idle, and then a mail comes."""
        until(lambda: self._dovecot.log().count("Login: user=<") >= len(USERS), "both log in")
        time.sleep(1.0)
        began = time.monotonic()
        self.put(len(USERS))
        self.all_arrive()
        return time.monotonic() - began

    def restart(self, count: int, *, renumber: bool = False) -> None:
        self.last = count
        self.put(count)
        self.some_arrive(0.3)
        self._dovecot.stop()
        if renumber:
            for user in USERS:
                self._dovecot.renumber(user)
        self._dovecot.start()
        self.restarts += 1
        self.all_arrive()

    def _goes_on(self, before: int) -> None:
        until(lambda: self._stored() > before or self._stored() >= self.sent, "it goes on", 120.0, 0.001)

    def kill(self, count: int, kills: int) -> None:
        self.last = count
        self.put(count)
        for _ in range(kills):
            self._goes_on(self._stored())
            time.sleep(random.uniform(0, 0.02))
            self._stack.kill("mail-in")
            self.kills += 1
            self._stack.start("mail-in")
        self.all_arrive()


def play(mails: int, kills: int) -> Found:
    """`mails` in all, a quarter for each disturbance."""
    with Dovecot(*USERS) as dovecot:
        imap = {user: _told(dovecot, user) for user in USERS}
        inbound = {"addresses": [CARE], "per_sender": 10_000, "per_minute": 10_000, "hold_over": 10_000, "imap": imap}
        parts = ("sandbox", "service", "worker", "mail-in")
        settings = {"DCBRIDGE_MAIL_PROTOCOL": "none"}
        with Stack(channels={EMAIL: {"inbound": inbound}}, parts=parts, settings=settings) as stack:
            run = Play(stack, dovecot)
            told = run.idle()
            run.restart(mails // 4)
            run.restart(mails // 4, renumber=True)
            run.kill(mails // 2, kills)
            until(lambda: not any(stack.books().tasks.values()), "nothing waits")
            until(lambda: not _unmarked(dovecot), "all are marked", 60.0)
            outcomes = Counter(line["outcome"] for line in stack.lines("mail-in", "mail"))
            renumbered = len(stack.lines("mail-in", "mailbox_renumbered"))
            counted = Counter(run.seen())
            unmarked = _unmarked(dovecot)
    return Found(
        sent=run.sent,
        told_within=round(told, 2),
        restarts=run.restarts,
        renumbered=renumbered,
        kills=run.kills,
        fetched_again=outcomes["repeated"],
        lost=run.sent - len(counted),
        twice=sum(counted.values()) - len(counted),
        unmarked=unmarked,
    )


def _told(dovecot: Dovecot, user: str) -> dict[str, object]:
    return {
        "host": "127.0.0.1", "port": dovecot.port, "verify_certificate": False, "username": user,
        "password": PASSWORD, "after": "seen" if user == "care" else "flag", "poll_every": 60,
    }  # fmt: skip


def _unmarked(dovecot: Dovecot) -> int:
    return dovecot.count("care", "UNSEEN") + dovecot.count("shop", "UNKEYWORD $dcbridge")


def _mail(number: int) -> bytes:
    sender = f"ana{number % SENDERS}@example.test"
    return plain(f"{number}\r\n", f"From: {sender}", f"Message-ID: <{number}@example.test>", subject="")


def main() -> int:
    found = play(int(sys.argv[1]) if len(sys.argv) > 1 else 400, kills=10)
    sys.stdout.write(f"{found}\n")
    return 1 if found.lost or found.twice or found.unmarked else 0


if __name__ == "__main__":
    sys.exit(main())
