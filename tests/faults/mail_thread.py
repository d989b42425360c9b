"""One conversation by email between an agent and a consumer, whose mailbox and ours are Dovecot's, and Postfix between.

python -m tests.faults.mail_thread FOLDER        # the headers, and pictures of the agent's page in FOLDER

1. The agent writes in a browser, with a picture. Postfix delivers it into the consumer's mailbox.
2. Her mail program, Python's imaplib and smtplib, answers as Gmail does, with a picture. Postfix delivers the answer
   into our mailbox, from which `dcbridge mail-in` fetches it.
3. The agent answers the answer, with a picture again; then the consumer does, as Outlook writes.

What holds the thread together is judged by Dovecot: its THREAD command, over all mails of each mailbox.
"""

from __future__ import annotations

import asyncio
import base64
import re
import smtplib
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP
from pathlib import Path
from typing import Any

from sandbox.files import File
from sandbox.mail_clients import Answer, compose
from sandbox.mailbox import Mail, files_of
from tests.faults import dovecot as dovecots
from tests.faults import postfix as postfixes
from tests.faults.dovecot import PASSWORD, Dovecot
from tests.faults.postfix import Postfix
from tests.sandbox.in_a_browser import BUBBLES, PICTURES, PIXELS, Page, browser
from tests.stack import EMAIL, Stack, quiet_port, until

HEADERS = ("From", "Message-ID", "In-Reply-To", "References")
ANA, CARE = "ana@example.test", "care@company.test"
FIRST = "Dear Ana,\n\nyour parcel comes on Tuesday in the morning.\n\nKind regards\nJo"
YES, THEN, BYE = (
    "Yes please, and this is the way.",
    "Thank you, then until Tuesday, and have a nice day.",
    "Until then!",
)


@dataclass(frozen=True)
class Found:
    """What each side has of the conversation."""

    mails: list[dict[str, str]]  # of the consumer's mailbox, in order: who wrote it, and what threads it
    thread: str  # all of them as Dovecot threads them
    our_thread: str  # what came to our mailbox
    agent_sees: list[str]
    pictures_of_the_agent: int  # that the consumer has, byte by byte
    pictures_of_the_consumer: int  # that the agent can open, byte by byte
    delivered: int  # emails of the agent that Postfix reported as delivered, into our mailbox
    left: int  # mails that nobody took from our mailbox
    violations: list[str] = field(default_factory=list)


def why_not() -> str:
    """Why it cannot be run here; "" where it can."""
    return dovecots.why_not() or postfixes.why_not()


class Consumer:
    """Her mail program: IMAP to read, SMTP to send; what she writes is kept beside what she answers."""

    def __init__(self, dovecot: Dovecot, port: int, picture: bytes) -> None:
        self._dovecot, self._port, self._picture = dovecot, port, picture

    def mails(self) -> list[EmailMessage]:
        with self._dovecot.client("ana") as client:
            client.select("INBOX", readonly=True)
            _, found = client.search(None, "ALL")
            raw = [client.fetch(number, "(BODY.PEEK[])")[1][0] for number in found[0].decode().split()]
        return [_read(one[1]) for one in raw if isinstance(one, tuple)]

    def answers(self, style: str, text: str, *, picture: bool) -> None:
        """The newest mail."""
        newest = self.mails()[-1]
        answered = Mail(0, time.time(), "", [], newest.as_bytes(policy=SMTP))
        files = [("way.png", File("image/png", self._picture))] if picture else []
        to = str(newest["Reply-To"] or newest["From"])
        written = compose(style, Answer(text, ANA, to, answered=answered, files=files))
        with smtplib.SMTP("127.0.0.1", self._port, timeout=30) as client:
            client.sendmail(ANA, [to], written.raw)
        self._dovecot.put("ana", written.raw)

    def has(self, text: str) -> bool:
        return any(text.split("\n")[-1] in (Mail(0, 0, "", [], one.as_bytes()).plain_text()) for one in self.mails())


async def _until(found: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(until, found, what, 60.0)


async def talk(page: Page, consumer: Consumer, picture: Path, folder: Path) -> list[str]:
    """The conversation; what the agent's page shows of it."""
    await page.run("document.getElementById('tab-email').click()")
    await page.attach("email-file", picture)
    await page.write("email-form", email_to=ANA, email_subject="Your order 17", email_text=FIRST)
    await _until(lambda: consumer.has(FIRST), "the first email is in her mailbox")
    await asyncio.to_thread(consumer.answers, "gmail", YES, picture=True)
    await page.until(f"{BUBBLES}.length === 2 && {PICTURES} === 2", "the agent sees the answer and both pictures")
    await page.run("document.querySelector('#letters .link-like').click()")
    await page.attach("email-file", picture)
    await page.write("email-form", email_text=THEN)
    await _until(lambda: consumer.has(THEN), "the second email is in her mailbox")
    await asyncio.to_thread(consumer.answers, "outlook", BYE, picture=False)
    await page.until(f"{BUBBLES}.length === 4 && {PICTURES} === 3", "the agent sees the second answer")
    said: list[str] = await page.run(BUBBLES)
    for width, height, dark in ((1440, 1000, False), (1440, 1000, True), (360, 800, False)):
        name = f"dovecot-{width}-{'dark' if dark else 'light'}.png"
        await page.picture(folder / name, width, height, dark=dark)
    assert page.errors == [], page.errors
    return said


def play(folder: Path) -> Found:
    """`folder`: where pictures are put."""
    picture = base64.b64decode(PIXELS)
    port = quiet_port()
    with tempfile.TemporaryDirectory(prefix="dcbridge-test-") as data, Dovecot("ana", "care") as dovecot:
        path = Path(data, "map.png")
        path.write_bytes(picture)
        mailbox = {"host": "127.0.0.1", "port": dovecot.port, "verify_certificate": False, "username": "care"}
        mailbox |= {"password": PASSWORD, "after": "move:Taken", "poll_every": 60}
        inbound = {"addresses": [CARE], "reply_reference": "plus", "imap": {"care": mailbox}}
        maildirs = {ANA: dovecot.folder / "mail/ana", CARE: dovecot.folder / "mail/care"}
        with (
            Stack(
                Path(data, "stack"), channels={EMAIL: {"inbound": inbound}}, providers={"mail": {"port": port}},
                parts=("sandbox", "service", "worker", "mail-in"), settings={"DCBRIDGE_MAIL_PROTOCOL": "none"},
            ) as stack,
            Postfix(port, stack.public, "unused", maildirs=maildirs),
        ):  # fmt: skip
            consumer = Consumer(dovecot, port, picture)

            async def walk() -> list[str]:
                async with browser(f"http://127.0.0.1:{stack.ports.page}/") as page:
                    return await talk(page, consumer, path, folder)

            said = asyncio.run(walk())
            sent = [str(one["message_id"]) for one in stack.recorded("agent")]
            delivered = [stack.receipt(one, ANA, EMAIL)["status"] for one in sent]
            until(lambda: dovecot.count("care") == 0, "our mailbox is empty")
            mails = consumer.mails()
            return Found(
                [{name: str(one[name] or "") for name in HEADERS} for one in mails],
                _thread(dovecot, "ana", "INBOX"),
                _thread(dovecot, "care", "Taken", "FROM", f'"{ANA}"'),
                said,
                sum(file.data == picture for one in mails if "ana" not in str(one["From"]) for file in files_of(one)),
                sum(_opened(stack, one["text"]) == picture for one in stack.recorded("seen")),
                delivered.count("Delivered"),
                dovecot.count("care"),
                stack.violations(),
            )


def _opened(stack: Stack, text: str) -> bytes:
    """What the link in a text leads to."""
    link = re.search(r"http://[^/\s]+(/m/\S+)", text)
    return stack.client.get(f"{stack.public}{link[1]}").content if link else b""


def _thread(dovecot: Dovecot, user: str, folder: str, *search: str) -> str:
    """As RFC 5256 threads by References, without what is written around it: (1 2 3 4) is one thread."""
    with dovecot.client(user) as client:
        client.select(folder, readonly=True)
        said, found = client.thread("REFERENCES", "UTF-8", *(search or ("ALL",)))
        assert said == "OK", found
        return _text(found)


def _text(found: list[Any]) -> str:
    return b"".join(one for one in found if isinstance(one, bytes)).decode()


def _read(raw: bytes) -> EmailMessage:
    message = BytesParser(policy=SMTP).parsebytes(raw)
    assert isinstance(message, EmailMessage)
    return message


def wrong(found: Found) -> list[str]:
    """What is not as it should be."""
    ids = [mail["Message-ID"] for mail in found.mails]
    agent = [mail for mail in found.mails if ANA not in mail["From"]]
    checks = {
        "four mails, two of each side": len(found.mails) == 4 and len(agent) == 2,
        "one thread in her mailbox": found.thread == "(1 2 3 4)",
        "one thread in ours": len(re.findall(r"\d+", found.our_thread)) == 2 and found.our_thread.count("((") == 0,
        "each mail answers the one before": [mail["In-Reply-To"] for mail in found.mails[1:]] == ids[:3],
        "each mail refers to all before": all(
            mail["References"].split() == ids[:place] for place, mail in enumerate(found.mails)
        ),
        "the agent sees what is new": [YES in found.agent_sees[1], "Tuesday" in found.agent_sees[1]] == [True, False]
        and BYE in found.agent_sees[3],
        "both pictures of the agent": found.pictures_of_the_agent == 2,
        "the picture of the consumer": found.pictures_of_the_consumer == 1,
        "both emails delivered": found.delivered == 2,
        "nothing left": found.left == 0,
        "no rule broken": found.violations == [],
    }
    return [what for what, right in checks.items() if not right]


def main() -> int:
    if why := why_not():
        sys.stdout.write(f"cannot be run here: {why}\n")
        return 2
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = play(folder)
    for mail in found.mails:
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in mail.items()) + "\n")
    sys.stdout.write(f"{found}\n{wrong(found) or 'one thread'}\n")
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main())
