"""Exim delivers to `dcbridge mail-in` by LMTP while that is away, and then Redis: deferred, then delivered.

    python -m tests.faults.exim_mail_in 60        # away for a minute, and the figures

Debian's Exim and Postfix cannot be installed at the same time. So it is not installed but unpacked, anywhere:

    apt-get install libidn12
    apt-get download exim4-daemon-light exim4-base
    for package in *.deb; do dpkg -x $package root; done
    useradd -r -M -U Debian-exim
    DCBRIDGE_EXIM_ROOT=root python -m tests.faults.exim_mail_in 60
"""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Self

from tests.faults.postfix_mail_in import CARE, SENDERS, Found
from tests.mail.writing import plain
from tests.stack import EMAIL, Stack, quiet_port, until

_ROOT = Path(os.environ.get("DCBRIDGE_EXIM_ROOT", "/")).resolve()
_CONFIGURATION = """\
exim_path = {exim}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
primary_hostname = mx.relay.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
acl_smtp_rcpt = accept
acl_smtp_data = accept
host_lookup =
keep_environment =
tls_advertise_hosts =
smtp_accept_queue_per_connection = 0
delay_warning =
begin routers
bridge:
  driver = manualroute
  domains = company.test
  route_list = * 127.0.0.1
  self = send
  transport = bridge
begin transports
bridge:
  driver = smtp
  protocol = lmtp
  port = {lmtp}
  allow_localhost
begin retry
* * F,1d,1s
"""


class Exim:
    """Used as a context manager: it runs inside, and nothing of it is left after."""

    def __init__(self, lmtp: int) -> None:
        """`lmtp`: the port that mail for company.test goes to."""
        self._kept = tempfile.TemporaryDirectory(prefix="exim-", ignore_cleanup_errors=True)
        self.folder, self.port = Path(self._kept.name), quiet_port()
        self.folder.chmod(0o755)
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, "Debian-exim", "Debian-exim")
        path = self.folder / "exim.conf"
        self._exim = _ROOT / "usr/sbin/exim4"
        told = {"folder": self.folder, "port": self.port, "lmtp": lmtp, "exim": self._exim}
        path.write_text(_CONFIGURATION.format(**told))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [str(self._exim), "-C", str(self.folder / "exim.conf"), "-bdf", "-q1s"]
        with (self.folder / "start.log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
        until(self._listens, "Exim listens", 30.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
        self._kept.cleanup()

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Exim ended:\n{(self.folder / 'start.log').read_text()}{self.log()}"
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted((self.folder / "log").glob("*log")))


def play(away: float, mails: int) -> Found:
    """Half of the mails are sent while `mail-in` is away, some while Redis is."""
    inbound = {"addresses": [CARE], "per_sender": 10_000, "per_minute": 10_000, "hold_over": 10_000}
    parts = ("sandbox", "service", "worker", "mail-in")
    with Stack(channels={EMAIL: {"inbound": inbound}}, parts=parts) as stack, Exim(stack.mail_in) as exim:
        _send(exim, range(mails // 2))
        stack.kill("mail-in")
        _send(exim, range(mails // 2, mails))
        until(lambda: " == " in exim.log(), "Exim has to wait")
        time.sleep(away)
        stack.freeze_redis()
        stack.start("mail-in", wait=False)
        until(lambda: "451 4.3.0" in exim.log(), "it cannot be stored", 60.0)
        stack.thaw_redis()
        until(lambda: len(set(_seen(stack))) == mails, "every mail reaches the agent", 200.0)
        until(lambda: not any(stack.books().tasks.values()), "nothing waits")
        lines, counted = exim.log().splitlines(), Counter(_seen(stack))
    return Found(
        sent=mails,
        deferred=sum(f" == {CARE}" in line for line in lines),
        lost=mails - len(counted),
        twice=sum(counted.values()) - len(counted),
        bounced=sum(f" ** {CARE}" in line for line in lines),
    )


def _send(exim: Exim, numbers: range) -> None:
    with smtplib.SMTP("127.0.0.1", exim.port, timeout=30) as client:
        for n in numbers:
            sender = f"ana{n % SENDERS}@example.test"
            client.sendmail(
                sender, [CARE], plain(f"{n}\r\n", f"From: {sender}", f"Message-ID: <{n}@example.test>", subject="")
            )


def _seen(stack: Stack) -> list[int]:
    return [int(message["text"]) for message in stack.recorded("seen") if message["channel_id"] == EMAIL]


def main() -> int:
    pwd.getpwnam("Debian-exim")
    if not (_ROOT / "usr/sbin/exim4").exists():
        sys.stdout.write(f"Exim is not there:\n\n{__doc__}\n")
        return 2
    found = play(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, 100)
    sys.stdout.write(f"{found}\n")
    return 1 if found.lost or found.twice or found.bounced else 0


if __name__ == "__main__":
    sys.exit(main())
